import assert from "node:assert/strict";
import fc from "fast-check";
import { noTimes, TIME_BOUNDS, Times } from "../routing_times.ts";

Deno.test("`Times` puts a duration at or below the first bound that it does not exceed", () => {
  const duration = fc.oneof(
    fc.double({ min: 0, max: 200_000, noNaN: true }),
    fc.constantFrom(0, 0.125, 0.25, 1, 65_536, 65_536.01, 1e12, ...TIME_BOUNDS.map((s) => s * 1e3)),
  );
  fc.assert(fc.property(fc.array(duration, { maxLength: 20, size: "max" }), (durations) => {
    const times = new Times();
    for (const each of durations) times.add(each);
    const { bounds, counts, count, sum } = times.histogram();
    const expected = new Array(bounds.length + 1).fill(0);
    for (const each of durations) {
      const at = bounds.findIndex((bound) => each / 1_000 <= bound);
      expected[at < 0 ? bounds.length : at]++;
    }
    assert.deepEqual(counts, expected);
    assert.equal(count, durations.length);
    const seconds = durations.reduce((sum, each) => sum + each, 0) / 1_000;
    assert.ok(Math.abs(sum - seconds) <= seconds * 1e-9, `${sum} is not ${seconds}`);
  }));
});

Deno.test("`Times` has bounds that ascend from 0.125 ms to 65.536 s", () => {
  assert.equal(TIME_BOUNDS[0], 0.000125);
  assert.equal(TIME_BOUNDS.at(-1), 65.536);
  assert.deepEqual([...TIME_BOUNDS].sort((a, b) => a - b), TIME_BOUNDS);
  assert.deepEqual(new Times().histogram(), noTimes());
});
