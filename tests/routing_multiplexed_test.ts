import assert from "node:assert/strict";
import { MULTIPLEXED } from "../codec.ts";
import { Harness } from "./routing_shell.ts";

/** A worker of this credit for "echo", and nothing said of it. */
function withWorker(credit: number, options = {}): Harness {
  const harness = new Harness(options);
  harness.offer("w1", "echo", credit);
  harness.take();
  return harness;
}

Deno.test("Rule 1: each request gets one FINAL or ERROR with its id, in any order", () => {
  const harness = withWorker(4);
  for (const id of [7, 8, 2n ** 63n]) harness.ask("c1", "echo", id);
  harness.done("w1", 2, "partial");
  harness.done("w1", 3);
  harness.done("w1", 2, "error");
  harness.done("w1", 1);
  assert.deepEqual(harness.take(), [
    "w1 < REQUEST #1 c1/7",
    "w1 < REQUEST #2 c1/8",
    `w1 < REQUEST #3 c1/${2n ** 63n}`,
    "c1 < PARTIAL 8 partial of #2",
    `c1 < FINAL ${2n ** 63n} final of #3`,
    "c1 < ERROR 8 500 error of #2",
    "c1 < FINAL 7 final of #1",
  ]);
  assert.equal(harness.routing.counters.answered, 3);
  assert.equal(harness.routing.counters.errors, 1);
  assert.equal(harness.routing.clients.size, 0);
  harness.assertNothingLost();
});

Deno.test("Rule 1: an id that is in flight already voids all that its client has in flight", () => {
  const harness = withWorker(1);
  harness.ask("c1", "echo", 1);
  harness.ask("c1", "echo", 2);
  harness.ask("c2", "echo", 1);
  harness.take();
  harness.ask("c1", "echo", 2);
  assert.deepEqual(harness.take(), ["w1 < CANCEL #1", "c1 < DISCONNECT"]);
  assert.equal(harness.routing.counters.refused.duplicate, 1);
  assert.equal(harness.routing.counters.dropped.cancelled, 2);
  harness.done("w1", 1);
  assert.deepEqual(harness.take(), ["w1 < REQUEST #2 c2/1"]);
  harness.assertNothingLost();
});

Deno.test("Rule 1: an id is free again once its request is over", () => {
  const harness = withWorker(1);
  harness.ask("c1", "echo", 1);
  harness.routing.cancel("c1", 1, harness.now);
  harness.take();
  harness.ask("c1", "echo", 1);
  harness.done("w1", 1);
  harness.done("w1", 2);
  assert.deepEqual(harness.take(), ["w1 < REQUEST #2 c1/1", "c1 < FINAL 1 final of #2"]);
});

Deno.test("Rule 2: a request whose time to live has passed goes to no worker, though the timer be late", () => {
  const harness = new Harness();
  harness.ask("c1", "echo", 1, { timeToLive: 50 });
  harness.ask("c1", "echo", 2);
  harness.now += 50;
  harness.offer("w1", "echo", 4);
  assert.deepEqual(harness.takeButHeartbeats(), [
    "c1 < ERROR 1 504 Time to live has passed",
    "w1 < REQUEST #1 c1/2",
  ]);
});

Deno.test("Rule 2: a queued request whose time to live passes gets ERROR 504", () => {
  const harness = withWorker(1);
  harness.ask("c1", "echo", 1);
  harness.ask("c1", "echo", 2, { timeToLive: 50 });
  harness.take();
  harness.pass(49);
  assert.deepEqual(harness.take(), []);
  harness.pass(1);
  assert.deepEqual(harness.take(), ["c1 < ERROR 2 504 Time to live has passed"]);
  harness.done("w1", 1);
  assert.deepEqual(harness.take(), ["c1 < FINAL 1 final of #1"]);
  assert.equal(harness.routing.counters.expired, 1);
  harness.assertNothingLost();
});

Deno.test("Rule 2: a request in flight gets it too, its worker CANCEL, and the answer is dropped", () => {
  const harness = withWorker(1);
  harness.ask("c1", "echo", 1, { timeToLive: 50 });
  harness.take();
  harness.pass(50);
  assert.deepEqual(harness.take(), ["w1 < CANCEL #1", "c1 < ERROR 1 504 Time to live has passed"]);
  harness.done("w1", 1, "partial");
  harness.done("w1", 1);
  assert.deepEqual(harness.take(), []);
  assert.equal(harness.routing.workers.size, 1);
  harness.assertNothingLost();
});

Deno.test("Rule 2: the worker sees what is left of the time to live", () => {
  const harness = new Harness({ requestExpiry: 5_000 });
  harness.ask("c1", "echo", 1, { timeToLive: 500 });
  harness.now += 120;
  harness.offer("w1", "echo", 9);
  harness.ask("c1", "echo", 2, { timeToLive: 500 });
  harness.ask("c1", "echo", 3);
  assert.deepEqual(harness.takeButHeartbeats(), [
    "w1 < REQUEST #1 c1/1 (380 ms)",
    "w1 < REQUEST #2 c1/2 (500 ms)",
    "w1 < REQUEST #3 c1/3",
  ]);
});

Deno.test("Rule 2: the worker never sees more than the time to live, whatever the clock says", () => {
  const harness = new Harness();
  harness.now = 100;
  harness.offer("w1", "echo", 1);
  harness.take();
  for (let id = 1; id <= 100; id++) {
    harness.now += 0.123_456_7;
    harness.ask("c1", "echo", id, { timeToLive: 80 });
    assert.deepEqual(harness.take(), [`w1 < REQUEST #${id} c1/${id} (80 ms)`]);
    harness.done("w1", id);
    harness.take();
  }
});

Deno.test("Rule 2: a longer time to live does not extend the broker's own expiry", () => {
  const harness = new Harness({ requestExpiry: 1_000 });
  harness.ask("c1", "nobody", 1, { timeToLive: 60_000 });
  harness.ask("c1", "nobody", 2);
  harness.pass(1_000);
  assert.deepEqual(harness.take(), ["c1 < ERROR 1 504 No worker", "c1 < ERROR 2 504 No worker"]);
  assert.equal(harness.routing.services.size, 0);
});

Deno.test("Rule 2: the time to live passes, too, where the broker's own expiry ended with a worker", () => {
  const harness = new Harness({ requestExpiry: 300, heartbeatTimeout: 10_000 });
  for (const id of [1, 2]) harness.ask("c1", "echo", id, { timeToLive: id === 2 ? 500 : 0 });
  harness.offer("w1", "echo", 1);
  harness.take();
  harness.pass(499);
  assert.deepEqual(harness.takeButHeartbeats(), []);
  harness.pass(1);
  assert.deepEqual(harness.takeButHeartbeats(), ["c1 < ERROR 2 504 Time to live has passed"]);
});

Deno.test("Rule 2: ten thousand times to live that do not pass leave nothing behind", () => {
  const harness = withWorker(1);
  for (let id = 1; id <= 10_000; id++) {
    harness.ask("c1", "echo", id, { timeToLive: 60_000 + id });
    harness.done("w1", id);
  }
  harness.disconnect("w1");
  assert.equal(harness.routing.nextDeadline(), Infinity);
});

Deno.test("Rule 3: CANCEL drops a queued request", () => {
  const harness = withWorker(1);
  for (const id of [1, 2, 3]) harness.ask("c1", "echo", id);
  harness.take();
  harness.routing.cancel("c1", 2, harness.now);
  harness.done("w1", 1);
  harness.done("w1", 2);
  assert.deepEqual(harness.take(), [
    "c1 < FINAL 1 final of #1",
    "w1 < REQUEST #2 c1/3",
    "c1 < FINAL 3 final of #2",
  ]);
  assert.equal(harness.routing.counters.dropped.cancelled, 1);
  harness.assertNothingLost();
});

Deno.test("Rule 3: CANCEL goes to the worker that holds the request, and nothing to the client", () => {
  const harness = withWorker(2);
  harness.ask("c1", "echo", 1);
  harness.take();
  harness.routing.cancel("c1", 1, harness.now);
  harness.routing.cancel("c1", 1, harness.now);
  harness.routing.cancel("c1", 99, harness.now);
  harness.routing.cancel("c9", 1, harness.now);
  harness.done("w1", 1, "error");
  assert.deepEqual(harness.take(), ["w1 < CANCEL #1"]);
  harness.assertNothingLost();
});

Deno.test("Rule 4: NOWAIT gets ERROR 404 at once if nobody serves it, but waits for a full worker", () => {
  const harness = withWorker(1);
  harness.ask("c1", "nobody", 1, { noWait: true });
  harness.ask("c1", "echo", 2, { noWait: true });
  harness.ask("c1", "echo", 3, { noWait: true });
  assert.deepEqual(harness.take(), [
    "c1 < ERROR 1 404 No worker serves this",
    "w1 < REQUEST #1 c1/2",
  ]);
  assert.equal(harness.routing.queued, 1);
  harness.routing.credit("w1", MULTIPLEXED, 0, harness.now);
  harness.ask("c1", "echo", 4, { noWait: true });
  assert.deepEqual(harness.take(), ["c1 < ERROR 4 404 No worker serves this"]);
  assert.equal(harness.routing.counters.refused.noWorker, 2);
  harness.assertNothingLost();
});

Deno.test("Rule 4: ONCE is never dispatched a second time", () => {
  const harness = withWorker(1);
  harness.ask("c1", "echo", 1, { once: true });
  harness.gone("w1");
  harness.offer("w2", "echo", 1);
  assert.deepEqual(harness.takeButHeartbeats(), [
    "w1 < REQUEST #1 c1/1",
    "c1 < ERROR 1 502 The worker was lost with the request",
  ]);
  assert.equal(harness.routing.counters.dropped.once, 1);
  harness.assertNothingLost();
});

Deno.test("Rule 4: ONCE may go to another worker if it never got to the first", () => {
  const harness = withWorker(1);
  harness.offer("w2", "echo", 1);
  harness.unsendable.set("w1", "unreachable");
  harness.take();
  harness.ask("c1", "echo", 1, { once: true });
  assert.deepEqual(harness.take(), ["w2 < REQUEST #2 c1/1"]);
});

Deno.test("Rule 5: a worker holds at most its credit, the least recently used comes first", () => {
  const harness = withWorker(2);
  harness.offer("w2", "echo", 3);
  harness.take();
  for (let id = 1; id <= 7; id++) harness.ask("c1", "echo", id);
  assert.deepEqual(harness.take().map((line) => line.slice(0, 2)), ["w1", "w2", "w1", "w2", "w2"]);
  assert.equal(harness.routing.queued, 2);
});

Deno.test("Rule 5: a cancelled request counts until the worker ends it", () => {
  const harness = withWorker(1);
  harness.ask("c1", "echo", 1);
  harness.routing.cancel("c1", 1, harness.now);
  harness.ask("c1", "echo", 2);
  assert.deepEqual(harness.take(), ["w1 < REQUEST #1 c1/1", "w1 < CANCEL #1"]);
  harness.done("w1", 1, "error");
  assert.deepEqual(harness.take(), ["w1 < REQUEST #2 c1/2"]);
});

Deno.test("Rule 5: CREDIT changes the limit, up and down", () => {
  const harness = withWorker(1);
  for (let id = 1; id <= 6; id++) harness.ask("c1", "echo", id);
  harness.take();
  harness.routing.credit("w1", MULTIPLEXED, 3, harness.now);
  assert.deepEqual(harness.take(), ["w1 < REQUEST #2 c1/2", "w1 < REQUEST #3 c1/3"]);
  harness.routing.credit("w1", MULTIPLEXED, 1, harness.now);
  harness.done("w1", 1);
  harness.done("w1", 2);
  assert.deepEqual(harness.take(), ["c1 < FINAL 1 final of #1", "c1 < FINAL 2 final of #2"]);
  harness.done("w1", 3);
  assert.deepEqual(harness.take(), ["c1 < FINAL 3 final of #3", "w1 < REQUEST #4 c1/4"]);
});

Deno.test("Rule 5: a worker that holds more than its new credit is in nobody's way", () => {
  const harness = withWorker(3);
  for (const id of [1, 2, 3]) harness.ask("c1", "echo", id);
  harness.routing.credit("w1", MULTIPLEXED, 1, harness.now);
  for (const worker of ["w2", "w3"]) harness.offer(worker, "echo", 1);
  harness.done("w1", 1);
  harness.take();
  for (const id of [4, 5]) harness.ask("c1", "echo", id);
  assert.deepEqual(harness.take(), ["w2 < REQUEST #4 c1/4", "w3 < REQUEST #5 c1/5"]);
});

Deno.test("Rule 5: a worker that drains finishes what it holds, and then goes", () => {
  const harness = withWorker(2);
  harness.ask("c1", "echo", 1);
  harness.routing.credit("w1", MULTIPLEXED, 0, harness.now);
  harness.ask("c1", "echo", 2);
  harness.take();
  harness.done("w1", 1);
  harness.disconnect("w1");
  assert.deepEqual(harness.take(), ["c1 < FINAL 1 final of #1"]);
  harness.offer("w2", "echo", 1);
  assert.deepEqual(harness.takeButHeartbeats(), ["w2 < REQUEST #2 c1/2"]);
});

Deno.test("Rule 5: what waits for a service whose workers all drain expires", () => {
  const harness = withWorker(1, { requestExpiry: 300, heartbeatTimeout: 10_000 });
  harness.ask("c1", "echo", 1);
  harness.ask("c1", "echo", 2);
  harness.routing.credit("w1", MULTIPLEXED, 0, harness.now);
  harness.take();
  harness.pass(200);
  harness.routing.credit("w1", MULTIPLEXED, 0, harness.now);
  harness.pass(100);
  assert.deepEqual(harness.takeButHeartbeats(), ["c1 < ERROR 2 504 No worker"]);
});

Deno.test("Rule 5: a worker that leaves when it has drained changes nothing for what waits", () => {
  const harness = withWorker(1, { requestExpiry: 300, heartbeatTimeout: 10_000 });
  harness.ask("c1", "echo", 1);
  harness.ask("c1", "echo", 2);
  harness.routing.credit("w1", MULTIPLEXED, 0, harness.now);
  harness.pass(200);
  harness.done("w1", 1);
  harness.disconnect("w1");
  harness.assertNothingLost();
  harness.take();
  harness.pass(99);
  assert.deepEqual(harness.take(), []);
  harness.pass(1);
  assert.deepEqual(harness.take(), ["c1 < ERROR 2 504 No worker"]);
});

Deno.test("Rule 5: what a worker held when it was lost in its drain expires", () => {
  for (const alsoQueued of [false, true]) {
    const harness = withWorker(1, { requestExpiry: 300, heartbeatTimeout: 10_000 });
    harness.ask("c1", "echo", 1);
    if (alsoQueued) harness.ask("c1", "echo", 2);
    harness.routing.credit("w1", MULTIPLEXED, 0, harness.now);
    harness.pass(200);
    harness.gone("w1");
    harness.take();
    // Since it left, or since nobody serves what has waited from then on.
    harness.pass(alsoQueued ? 100 : 300);
    const late = alsoQueued ? [1, 2] : [1];
    assert.deepEqual(harness.take(), late.map((id) => `c1 < ERROR ${id} 504 No worker`));
    assert.equal(harness.routing.services.size, 0);
  }
});

Deno.test("Rule 6: READY is answered by HEARTBEAT before any REQUEST", () => {
  const harness = new Harness();
  harness.ask("c1", "echo", 1);
  harness.offer("w1", "echo", 1);
  assert.deepEqual(harness.take(), ["w1 < HEARTBEAT", "w1 < REQUEST #1 c1/1"]);
});

Deno.test("Rule 6: READY twice, and an answer to what is not held, end the worker", () => {
  const acts: ((harness: Harness) => void)[] = [
    (h) => h.offer("w1", "echo", 1),
    (h) => h.done("w1", 99),
    (h) => h.done("w1", 99, "partial"),
    (h) => h.done("w1", 99, "error"),
    (h) => h.final("w1", "c1", "in RFC 18's manner"),
  ];
  for (const act of acts) {
    const harness = withWorker(2);
    harness.ask("c1", "echo", 1);
    harness.take();
    act(harness);
    assert.deepEqual(harness.take(), ["w1 < DISCONNECT"]);
    assert.equal(harness.routing.queued, 1);
    harness.assertNothingLost();
  }
});

Deno.test("Rule 6: an answer to what the worker has ended already ends it", () => {
  for (const what of ["partial", "final", "error"] as const) {
    const harness = withWorker(2);
    harness.ask("c1", "echo", 1);
    harness.ask("c1", "echo", 2);
    harness.done("w1", 1);
    harness.take();
    harness.done("w1", 1, what);
    assert.deepEqual(harness.take(), ["w1 < DISCONNECT"]);
    assert.equal(harness.routing.queued, 1);
    harness.assertNothingLost();
  }
});

Deno.test("Rule 6: unknown workers are told DISCONNECT", () => {
  const harness = new Harness();
  harness.done("w1", 1);
  harness.done("w1", 1, "error");
  harness.heartbeat("w1", MULTIPLEXED);
  harness.routing.credit("w1", MULTIPLEXED, 3, harness.now);
  assert.deepEqual(harness.take(), Array(4).fill("w1 < DISCONNECT"));
});

Deno.test("Rule 6: the heartbeat timeout alone applies to a busy worker", () => {
  const harness = withWorker(1);
  harness.ask("c1", "echo", 1);
  harness.pass(399);
  assert.equal(harness.routing.inFlight, 1);
  harness.pass(1);
  assert.equal(harness.routing.workers.size, 0);
  assert.equal(harness.routing.counters.left.silent, 1);
});

Deno.test("Rule 6: CREDIT is a sign of life, too", () => {
  const harness = withWorker(1);
  for (let i = 0; i < 3; i++) {
    harness.pass(390);
    harness.routing.credit("w1", MULTIPLEXED, 1, harness.now);
  }
  assert.equal(harness.routing.workers.size, 1);
  harness.pass(400);
  assert.equal(harness.routing.counters.left.silent, 1);
});

Deno.test("Rule 7: a client's HEARTBEAT is answered, and none sent unasked", () => {
  const harness = withWorker(1);
  harness.ask("c1", "echo", 1);
  harness.take();
  harness.routing.clientHeartbeat("c1", harness.now);
  harness.routing.clientHeartbeat("c2", harness.now);
  assert.deepEqual(harness.take(), ["c1 < HEARTBEAT", "c2 < HEARTBEAT"]);
  for (let i = 0; i < 10; i++) {
    harness.pass(350);
    harness.heartbeat("w1", MULTIPLEXED);
  }
  assert.deepEqual(harness.takeButHeartbeats(), []);
  assert.equal(harness.routing.inFlight, 1);
});

Deno.test("Rule 7: where connections are not seen to end, a silent client is lost if it heartbeat", () => {
  const harness = withWorker(2, { heartbeatInterval: 100, heartbeatTimeout: 400 });
  harness.routing.seesGone = false;
  harness.ask("c1", "echo", 1);
  harness.ask("c2", "echo", 1);
  harness.routing.clientHeartbeat("c1", harness.now);
  harness.pass(300);
  harness.heartbeat("w1", MULTIPLEXED);
  harness.routing.clientHeartbeat("c1", harness.now);
  harness.take();
  harness.pass(300);
  harness.heartbeat("w1", MULTIPLEXED);
  assert.equal(harness.routing.inFlight, 2);
  harness.pass(100);
  assert.deepEqual(harness.takeButHeartbeats(), ["w1 < CANCEL #1"]);
  assert.equal(harness.routing.counters.dropped.clientGone, 1);
  assert.equal(harness.routing.inFlight, 1);
});

Deno.test("Rule 7: whatever such a client sends is a word of it", () => {
  const acts: ((harness: Harness, id: number) => void)[] = [
    (h, id) => h.ask("c1", "echo", id),
    (h, id) => h.routing.cancel("c1", id, h.now),
    (h) => h.routing.clientHeartbeat("c1", h.now),
  ];
  for (const act of acts) {
    const harness = withWorker(9, { heartbeatTimeout: 400 });
    harness.routing.seesGone = false;
    harness.ask("c1", "echo", 1);
    harness.routing.clientHeartbeat("c1", harness.now);
    for (let id = 2; id < 6; id++) {
      harness.pass(300);
      harness.heartbeat("w1", MULTIPLEXED);
      act(harness, id);
    }
    assert.equal(harness.routing.counters.dropped.clientGone, 0);
  }
});

Deno.test("Rule 7: what such a client asks after all was answered is not held to its heartbeats before", () => {
  const harness = withWorker(1, { heartbeatTimeout: 400 });
  harness.routing.seesGone = false;
  harness.ask("c1", "echo", 1);
  harness.routing.clientHeartbeat("c1", harness.now);
  harness.done("w1", 1);
  harness.pass(300);
  harness.heartbeat("w1", MULTIPLEXED);
  harness.ask("c1", "echo", 1);
  for (let i = 0; i < 3; i++) {
    harness.pass(300);
    harness.heartbeat("w1", MULTIPLEXED);
  }
  assert.equal(harness.routing.inFlight, 1);
});

Deno.test("Rule 8: DISCONNECT from a client drops all it has in flight", () => {
  const harness = withWorker(1);
  harness.ask("c1", "echo", 1);
  harness.ask("c1", "echo", 2);
  harness.ask("c2", "echo", 1);
  harness.take();
  harness.routing.clientDisconnect("c1", harness.now);
  assert.deepEqual(harness.take(), ["w1 < CANCEL #1"]);
  assert.equal(harness.routing.counters.dropped.cancelled, 2);
  assert.equal(harness.routing.queued, 1);
});

Deno.test("Rule 8: at its end the broker tells each client with requests in flight", () => {
  const harness = withWorker(1);
  harness.ask("c1", "echo", 1);
  harness.ask("c2", "echo", 1);
  harness.ask("c3", "echo", 1);
  harness.routing.cancel("c3", 1, harness.now);
  harness.routing.stop();
  harness.take();
  harness.ask("c1", "echo", 9);
  assert.deepEqual(harness.take(), ["c1 < ERROR 9 503 The broker is stopping"]);
  harness.routing.end(harness.now);
  assert.deepEqual(harness.take(), ["w1 < DISCONNECT", "c1 < DISCONNECT", "c2 < DISCONNECT"]);
  harness.assertNothingLost();
});

Deno.test("Rule 9: a connection that is gone voids what was in flight on it", () => {
  const harness = withWorker(1);
  harness.ask("chosen", "echo", 1);
  harness.ask("chosen", "echo", 2);
  harness.ask("chosen", "nobody", 3);
  harness.take();
  harness.gone("chosen");
  assert.deepEqual(harness.take(), ["w1 < CANCEL #1"]);
  assert.equal(harness.routing.counters.dropped.clientGone, 3);
  assert.deepEqual([...harness.routing.services.keys()], ["echo"]);
  harness.assertNothingLost();
});

Deno.test("Rule 10: a lost worker's requests go back to the head in the order of their dispatch", () => {
  const harness = withWorker(3);
  for (let id = 1; id <= 4; id++) harness.ask("c1", "echo", id);
  harness.gone("w1");
  harness.take();
  harness.offer("w2", "echo", 9);
  assert.deepEqual(
    harness.takeButHeartbeats(),
    [1, 2, 3, 4].map((id) => {
      return `w2 < REQUEST #${id + 3} c1/${id}`;
    }),
  );
});

Deno.test("Rule 10: ERROR 502 after a PARTIAL, and when the attempts are used up", () => {
  const harness = withWorker(2);
  harness.ask("c1", "echo", 1);
  harness.ask("c1", "echo", 2);
  harness.done("w1", 1, "partial");
  harness.gone("w1");
  for (const worker of ["w2", "w3"]) {
    harness.offer(worker, "echo", 1);
    harness.gone(worker);
  }
  assert.deepEqual(harness.take().filter((line) => line.includes("ERROR")), [
    "c1 < ERROR 1 502 The worker was lost after a part of its reply",
    "c1 < ERROR 2 502 Too many workers were lost with the request",
  ]);
  harness.assertNothingLost();
});

Deno.test("Rule 11: an RFC 18 client gets a multiplexed worker's PARTIAL and FINAL, not its ERROR", () => {
  const harness = withWorker(2);
  harness.request("c1", "echo", "r1");
  harness.done("w1", 1, "partial");
  harness.done("w1", 1);
  harness.request("c1", "echo", "r2");
  harness.done("w1", 2, "error");
  assert.deepEqual(harness.take(), [
    "w1 < REQUEST #1 r1",
    "c1 < PARTIAL partial of #1",
    "c1 < FINAL final of #1",
    "w1 < REQUEST #2 r2",
  ]);
  assert.equal(harness.routing.counters.dropped.failed, 1);
  harness.assertNothingLost();
});

Deno.test("Rule 11: an RFC 18 worker gets one request at a time, and no CANCEL", () => {
  const harness = new Harness();
  harness.ready("w1", "echo");
  harness.ask("c1", "echo", 5);
  harness.ask("c1", "echo", 6);
  harness.routing.cancel("c1", 5, harness.now);
  harness.final("w1", "c1", "f5");
  harness.final("w1", "c1", "f6");
  assert.deepEqual(harness.take(), [
    "w1 < REQUEST c1 c1/5",
    "w1 < REQUEST c1 c1/6",
    "c1 < FINAL 6 f6",
  ]);
  harness.assertNothingLost();
});

Deno.test("Rule 12: a full queue gets ERROR 429", () => {
  const harness = new Harness({ maxQueue: 1 });
  harness.ask("c1", "echo", 1);
  harness.ask("c1", "echo", 2);
  assert.deepEqual(harness.take(), ["c1 < ERROR 2 429 Too many requests are queued"]);
});

Deno.test("Rule 13: an invalid message ends a registered worker; the client of a REQUEST is told", () => {
  const harness = withWorker(1);
  harness.routing.invalid("w1", {}, "why", harness.now);
  harness.routing.invalid("w9", {}, "why", harness.now);
  harness.routing.invalid("c1", { request: 3 }, "why", harness.now);
  harness.routing.invalid("c1", {}, "why", harness.now);
  assert.deepEqual(harness.take(), ["w1 < DISCONNECT", "c1 < ERROR 3 400 why"]);
});

Deno.test("Rule 13: a HEARTBEAT that says the worker's credit again does no harm", () => {
  const harness = withWorker(5);
  harness.pass(300);
  harness.routing.invalid("w1", { heartbeat: 5 }, "why", harness.now);
  harness.pass(300);
  assert.equal(harness.routing.workers.size, 1);
  harness.routing.invalid("w1", { heartbeat: 4 }, "why", harness.now);
  assert.equal(harness.routing.workers.size, 0);
});

Deno.test("Rule 14: mmi.* is answered by FINAL whatever the flags, mmi.multiplexed by 200", () => {
  const harness = new Harness();
  for (const name of ["mmi.multiplexed", "mmi.service", "mmi.nonsense"]) {
    harness.ask("c1", name, 1, { noWait: true, once: true, timeToLive: 1 });
    harness.request("c2", name, "");
  }
  assert.deepEqual(harness.take(), [
    "c1 < FINAL mmi.multiplexed 200",
    "c2 < FINAL mmi.multiplexed 200",
    "c1 < FINAL mmi.service 404",
    "c2 < FINAL mmi.service 404",
    "c1 < FINAL mmi.nonsense 501",
    "c2 < FINAL mmi.nonsense 501",
  ]);
  assert.equal(harness.routing.clients.size, 0);
});

Deno.test("Routing tells a client that did not take a reply DISCONNECT as soon as it can", () => {
  const harness = withWorker(2);
  harness.ask("c1", "echo", 1);
  harness.ask("c1", "echo", 2);
  harness.take();
  harness.unsendable.set("c1", "full");
  harness.done("w1", 1);
  assert.deepEqual(harness.take(), ["w1 < CANCEL #2"]);
  assert.equal(harness.routing.counters.dropped.clientFull, 2);
  harness.unsendable.delete("c1");
  harness.ask("c1", "echo", 3);
  harness.ask("c1", "echo", 4);
  assert.deepEqual(harness.take(), ["c1 < DISCONNECT", "w1 < REQUEST #3 c1/4"]);
  assert.equal(harness.routing.counters.refused.clientFull, 1);
  harness.assertNothingLost();
});

Deno.test("Routing tells a client that did not take an ERROR or a FINAL of the broker's own, too", () => {
  const acts: ((harness: Harness) => void)[] = [
    (h) => h.ask("c1", "nobody", 9, { noWait: true }),
    (h) => h.ask("c1", "mmi.service", 9),
    (h) => h.ask("c1", "echo", 1),
    (h) => h.pass(50),
    (h) => h.routing.invalid("c1", { request: 9 }, "why", h.now),
  ];
  for (const act of acts) {
    const harness = withWorker(2);
    harness.ask("c1", "echo", 1);
    harness.ask("c1", "echo", 2, { timeToLive: 50 });
    harness.take();
    harness.unsendable.set("c1", "full");
    act(harness);
    harness.settle();
    harness.unsendable.delete("c1");
    harness.routing.clientHeartbeat("c1", harness.now);
    assert.equal(harness.take().at(-1), "c1 < DISCONNECT");
    assert.equal(harness.routing.clients.size, 0);
    harness.assertNothingLost();
    harness.ask("c1", "echo", 1);
    assert.equal(harness.routing.clients.size, 1);
  }
});

/** In which c1 has not taken the reply to its request 1, and could take more by now. */
function withDeafClient(): Harness {
  const harness = withWorker(2);
  harness.ask("c1", "echo", 1);
  harness.unsendable.set("c1", "full");
  harness.done("w1", 1);
  harness.unsendable.delete("c1");
  harness.take();
  return harness;
}

Deno.test("Routing tells a client that did not take a reply DISCONNECT whatever it sends next", () => {
  const acts: ((harness: Harness) => void)[] = [
    (h) => h.ask("c1", "echo", 2),
    (h) => h.ask("c1", "mmi.service", 2),
    (h) => h.routing.cancel("c1", 1, h.now),
    (h) => h.routing.clientHeartbeat("c1", h.now),
  ];
  for (const act of acts) {
    const harness = withDeafClient();
    act(harness);
    assert.deepEqual(harness.take(), ["c1 < DISCONNECT"]);
  }
});

Deno.test("Routing serves others while a client is to be told DISCONNECT", () => {
  const harness = withWorker(4);
  for (const client of ["c1", "c2"]) harness.ask(client, "echo", 1);
  harness.unsendable.set("c1", "full");
  harness.done("w1", 1);
  harness.take();
  harness.ask("c2", "echo", 2);
  harness.routing.clientHeartbeat("c2", harness.now);
  harness.routing.cancel("c2", 1, harness.now);
  assert.deepEqual(harness.take(), ["w1 < REQUEST #3 c2/2", "c2 < HEARTBEAT", "w1 < CANCEL #2"]);
});

Deno.test("Routing serves a client that did not take a reply when it has left and comes back", () => {
  const acts: ((harness: Harness) => void)[] = [
    (h) => h.gone("c1"),
    (h) => h.routing.clientDisconnect("c1", h.now),
  ];
  for (const act of acts) {
    const harness = withDeafClient();
    act(harness);
    harness.ask("c1", "echo", 1);
    assert.deepEqual(harness.take(), ["w1 < REQUEST #2 c1/1"]);
  }
});

Deno.test("Routing is fair when one client has 100,000 requests queued", () => {
  const harness = withWorker(1, {
    maxQueue: 200_000,
    maxTotalQueue: 200_000,
    maxQueueBytes: 1e9,
    maxTotalQueueBytes: 1e9,
  });
  for (let id = 1; id <= 100_000; id++) harness.ask("hog", "echo", id);
  harness.ask("c2", "echo", 1);
  harness.take();
  harness.done("w1", 1);
  harness.done("w1", 2);
  assert.deepEqual(harness.take().filter((line) => line.includes("c2")), ["w1 < REQUEST #3 c2/1"]);
});

Deno.test("Routing puts requests that never got to their worker back in their order, uncounted", () => {
  const harness = withWorker(3);
  harness.unsendable.set("w1", "unreachable");
  for (const id of [1, 2, 3]) harness.ask("c1", "echo", id, { once: true });
  assert.equal(harness.routing.workers.size, 0);
  assert.equal(harness.routing.counters.dispatched, 0);
  harness.take();
  harness.offer("w2", "echo", 3);
  assert.deepEqual(
    harness.take().filter((line) => line.includes("REQUEST")).map((line) => line.split(" ").at(-1)),
    ["c1/1", "c1/2", "c1/3"],
  );
  harness.assertNothingLost();
});

Deno.test("Routing does not take back what was not sent when that is over, or with another worker", () => {
  const harness = withWorker(1);
  harness.offer("w2", "echo", 1);
  harness.ask("c1", "echo", 1);
  const [request] = harness.routing.workers.get("w1")!.held;
  harness.take();
  harness.gone("w1");
  assert.deepEqual(harness.take(), ["w2 < REQUEST #2 c1/1"]);
  const message = { peer: "w1", what: "request", request, why: "unreachable" } as const;
  harness.routing.unsent([message], harness.now);
  assert.equal(harness.routing.inFlight, 1);
  harness.routing.cancel("c1", 1, harness.now);
  harness.routing.unsent([{ ...message, peer: "w2" }], harness.now);
  assert.equal(harness.routing.queued, 0);
  harness.assertNothingLost();
});

Deno.test("Routing sends nothing again of which a part was forwarded before it was sent to its worker", () => {
  const harness = withWorker(1);
  for (const id of [1, 2]) harness.ask("c1", "echo", id);
  harness.done("w1", 1);
  const [request] = harness.routing.workers.get("w1")!.held;
  harness.done("w1", 2, "partial");
  harness.take();
  harness.routing.disconnect("w1", harness.now, [request!]);
  const [error, ...others] = harness.take();
  assert.match(error!, /^c1 < ERROR 2 502 /);
  assert.deepEqual(others, []);
  assert.equal(harness.routing.queued, 0);
  harness.assertNothingLost();
});

Deno.test("Routing counts an answer that could not be sent as dropped, not as answered", () => {
  const harness = withWorker(2);
  harness.ask("c1", "echo", 1);
  harness.ask("c1", "echo", 2);
  harness.unsendable.set("c1", "unreachable");
  harness.done("w1", 1, "partial");
  harness.done("w1", 1, "error");
  const { counters } = harness.routing;
  const { answered, errors, partials, dropped } = counters;
  assert.deepEqual({ answered, errors, partials }, { answered: 0, errors: 0, partials: 0 });
  assert.equal(dropped.clientGone, 2);
  harness.assertNothingLost();
});

Deno.test("Routing counts no ERROR that could not be sent, and no PARTIAL", () => {
  for (const what of ["error", "partial"] as const) {
    const harness = withWorker(2);
    harness.ask("c1", "echo", 1);
    harness.unsendable.set("c1", "unreachable");
    harness.done("w1", 1, what);
    const { counters, services } = harness.routing;
    const of = ({ answered, errors, partials }: typeof counters) => ({
      answered,
      errors,
      partials,
    });
    const none = { answered: 0, errors: 0, partials: 0 };
    assert.deepEqual(of(counters), none);
    const { answered, errors, partials, dropped } = services.get("echo")!;
    assert.deepEqual({ answered, errors, partials, dropped }, { ...none, dropped: 1 });
    harness.assertNothingLost();
  }
});

Deno.test("Routing has the worker cancel a request whose client did not take a PARTIAL", () => {
  const harness = withWorker(2);
  harness.ask("c1", "echo", 1);
  harness.ask("c1", "echo", 2);
  harness.take();
  harness.unsendable.set("c1", "full");
  harness.done("w1", 1, "partial");
  assert.deepEqual(harness.take(), ["w1 < CANCEL #1", "w1 < CANCEL #2"]);
  assert.equal(harness.routing.counters.dropped.clientFull, 2);
  harness.assertNothingLost();
});
