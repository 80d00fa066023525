import assert from "node:assert/strict";
import { Liveness, Standstill } from "../liveness.ts";

const INTERVAL = 100, TIMEOUT = 350;

Deno.test("`deadline` is the next heartbeat when nothing was sent for less than the interval", () => {
  const liveness = new Liveness(INTERVAL, TIMEOUT, 1_000);
  assert.equal(liveness.deadline, 1_100);
  liveness.sent(1_070);
  assert.equal(liveness.deadline, 1_170);
});

Deno.test("`deadline` is the loss when that comes before the next heartbeat", () => {
  const liveness = new Liveness(INTERVAL, TIMEOUT, 1_000);
  liveness.sent(1_300);
  assert.equal(liveness.deadline, 1_350);
  liveness.heard(1_200);
  assert.equal(liveness.deadline, 1_400);
});

Deno.test("`check` asks for a heartbeat when nothing was sent for the interval, until one is", () => {
  const liveness = new Liveness(INTERVAL, TIMEOUT, 0);
  assert.equal(liveness.check(99.9), undefined);
  assert.equal(liveness.check(100), "heartbeat");
  assert.equal(liveness.check(101), "heartbeat");
  liveness.sent(101);
  assert.equal(liveness.check(101), undefined);
  assert.equal(liveness.check(200), undefined);
  assert.equal(liveness.check(201), "heartbeat");
});

Deno.test("`check` asks for no heartbeat when other messages are sent", () => {
  const liveness = new Liveness(INTERVAL, TIMEOUT, 0);
  for (let now = 0; now <= 340; now += 10) {
    liveness.sent(now);
    assert.equal(liveness.check(now + 9), undefined);
  }
});

Deno.test("`check` says lost when nothing was heard for the timeout, whatever was sent", () => {
  const liveness = new Liveness(INTERVAL, TIMEOUT, 0);
  liveness.sent(340);
  assert.equal(liveness.check(349.9), undefined);
  assert.equal(liveness.check(350), "lost");
  assert.equal(liveness.check(10_000), "lost");
});

Deno.test("`check` says lost no more when the peer is heard after all", () => {
  const liveness = new Liveness(INTERVAL, TIMEOUT, 0);
  assert.equal(liveness.check(400), "lost");
  liveness.heard(400);
  assert.equal(liveness.check(400), "heartbeat");
  assert.equal(liveness.check(749), "heartbeat");
  assert.equal(liveness.check(750), "lost");
});

Deno.test("`check` says lost at the first chance when the timeout is as short as the interval", () => {
  const liveness = new Liveness(INTERVAL, INTERVAL, 0);
  assert.equal(liveness.deadline, 100);
  assert.equal(liveness.check(100), "lost");
});

Deno.test("a peer that is asked at each deadline is sent heartbeats an interval apart when idle", () => {
  const liveness = new Liveness(INTERVAL, TIMEOUT, 0);
  const sent: number[] = [];
  for (let now = 0; now < 1_000; now = liveness.deadline) {
    const verdict = liveness.check(now);
    assert.notEqual(verdict, "lost");
    if (verdict === "heartbeat") {
      sent.push(now);
      liveness.sent(now);
      liveness.heard(now);
    }
  }
  assert.deepEqual(sent, [100, 200, 300, 400, 500, 600, 700, 800, 900]);
});

Deno.test("`Standstill` is told by a timer that is very late, and not again for long", () => {
  const standstill = new Standstill();
  assert.equal(standstill.check(1_000, 1_250), undefined);
  assert.equal(standstill.check(1_000, 1_251), 1_751);
  assert.equal(standstill.check(1_751, 9_000), undefined);
  assert.equal(standstill.check(11_000, 11_750), undefined);
  assert.equal(standstill.check(11_000, 11_751), 12_251);
});
