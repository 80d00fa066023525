import assert from "node:assert/strict";
import { ComplaintLog } from "../complaint_log.ts";

/** Runs with a clock that stands until it is moved. @returns What is due then. */
function withClock(body: (clock: { now: number; readonly timers: (() => void)[] }) => void): void {
  const clock = { now: 0, timers: [] as (() => void)[] };
  const { setTimeout } = globalThis, { now } = performance;
  const own = ((callback: () => void) => {
    clock.timers.push(callback);
    const timer = setTimeout(() => {}, 0);
    clearTimeout(timer);
    return timer;
  }) as typeof setTimeout;
  Object.assign(globalThis, { setTimeout: own });
  performance.now = () => clock.now;
  try {
    body(clock);
  } finally {
    Object.assign(globalThis, { setTimeout });
    performance.now = now;
  }
}

Deno.test("`ComplaintLog` tells the rest by itself, and wakes nobody when there is none", () => {
  withClock((clock) => {
    const log = new ComplaintLog(), lines: string[] = [];
    const complain = (times: number) => {
      for (let i = 0; i < times; i++) {
        log.log(
          "gone",
          clock.now,
          (template, { omitted }) => {
            lines.push(template.replace("{omitted}", `${omitted}`));
          },
          "gone",
          {},
        );
      }
    };
    complain(5);
    assert.equal(clock.timers.length, 0, "nothing was left out");
    complain(3);
    assert.equal(clock.timers.length, 1);
    // Since then some more were, in a second of their own.
    clock.now = 1_000;
    complain(7);
    assert.deepEqual(lines.splice(0), [
      ...Array(5).fill("gone"),
      "gone (3 more like it were left out)",
      ...Array(4).fill("gone"),
    ]);
    clock.timers.shift()!();
    assert.deepEqual(lines, [], "their second is not over");
    assert.equal(clock.timers.length, 1);
    clock.now = 2_000;
    clock.timers.shift()!();
    assert.deepEqual(lines.splice(0), ["gone (1 more like it were left out)"]);
    assert.equal(clock.timers.length, 0, "all is told");
    complain(9);
    log.close();
    // One of the five that pass was told just before.
    assert.deepEqual(lines.splice(4), ["gone (4 more like it were left out)"]);
  });
});
