import assert from "node:assert/strict";
import { Alarm, type Alarmed } from "../alarm.ts";
import { Gate } from "../gate.ts";

class Item implements Alarmed {
  day: Alarmed["day"] = undefined;
  dueBefore: Alarmed["dueBefore"] = undefined;
  dueAfter: Alarmed["dueAfter"] = undefined;
  readonly due = Promise.withResolvers<number>();
  onDue(): void {
    this.due.resolve(performance.now());
  }
}

Deno.test("`Alarm` calls each item when it is due, and never before", async () => {
  const alarm = new Alarm();
  const start = performance.now();
  const items = [30, 10, 20].map((milliseconds) => {
    const item = new Item();
    alarm.set(item, start + milliseconds);
    return { item, milliseconds };
  });
  for (const { item, milliseconds } of items) {
    const at = await item.due.promise;
    assert.ok(at >= start + milliseconds, `${at - start} ms for ${milliseconds}`);
  }
  alarm.close();
});

Deno.test("`Alarm` does not call what was taken back or set for never, and a later time counts", async () => {
  const alarm = new Alarm();
  const now = performance.now();
  const [taken, never, later, last] = [new Item(), new Item(), new Item(), new Item()];
  for (const item of [taken, never, later]) alarm.set(item, now + 5);
  alarm.clear(taken);
  alarm.set(never, Infinity);
  alarm.set(later, now + 40);
  alarm.set(last, now + 20);
  let called = false;
  for (const item of [taken, never]) item.due.promise.then(() => called = true);
  await last.due.promise;
  assert.ok(await later.due.promise >= now + 40);
  assert.equal(called, false);
  alarm.close();
});

Deno.test("`Gate` tells whether it was woken in time, or fails", async () => {
  const alarm = new Alarm();
  const gate = new Gate(alarm);
  assert.equal(await gate.wait(5), false);
  const woken = gate.wait(60_000);
  gate.wake();
  assert.equal(await woken, true);
  const failed = gate.wait(Infinity);
  gate.fail("reason");
  await assert.rejects(failed, (reason) => reason === "reason");
  gate.wake();
  assert.equal(await gate.wait(1), false);
  alarm.close();
});
