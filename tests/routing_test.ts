import assert from "node:assert/strict";
import { MAJORTOMO, RFC } from "../codec.ts";
import type { RoutingOptions } from "../routing.ts";
import { Harness, OPTIONS } from "./routing_shell.ts";

/** The state of the worker w1 when something comes from it. */
type State = "waiting" | "busy" | "unknown";

function inState(state: State, options: Partial<RoutingOptions> = {}): Harness {
  const harness = new Harness(options);
  if (state !== "unknown") harness.ready("w1", "echo");
  if (state === "busy") harness.request("c1", "echo", "r1");
  harness.take();
  return harness;
}

/** Whether w1 is registered, and what has become of its request. */
function outcome(harness: Harness): string {
  const { routing } = harness;
  const worker = routing.workers.get("w1");
  const state = worker === undefined ? "unknown" : worker.holding > 0 ? "busy" : "waiting";
  return routing.queued > 0 ? `${state}, recovered` : state;
}

const ROWS: [
  event: string,
  act: (harness: Harness) => void,
  expected: Record<State, [outcome: string, ...sent: string[]]>,
][] = [
  ["READY", (h) => h.ready("w1", "echo"), {
    waiting: ["unknown", "w1 < DISCONNECT"],
    busy: ["unknown, recovered", "w1 < DISCONNECT"],
    unknown: ["waiting"],
  }],
  ["HEARTBEAT", (h) => h.heartbeat("w1"), {
    waiting: ["waiting"],
    busy: ["busy"],
    unknown: ["unknown", "w1 < DISCONNECT"],
  }],
  ["PARTIAL for the client it was given", (h) => h.partial("w1", "c1", "p"), {
    waiting: ["unknown", "w1 < DISCONNECT"],
    busy: ["busy", "c1 < PARTIAL p"],
    unknown: ["unknown", "w1 < DISCONNECT"],
  }],
  ["FINAL for the client it was given", (h) => h.final("w1", "c1", "f"), {
    waiting: ["unknown", "w1 < DISCONNECT"],
    busy: ["waiting", "c1 < FINAL f"],
    unknown: ["unknown", "w1 < DISCONNECT"],
  }],
  ["PARTIAL for another", (h) => h.partial("w1", "c2", "p"), {
    waiting: ["unknown", "w1 < DISCONNECT"],
    busy: ["unknown, recovered", "w1 < DISCONNECT"],
    unknown: ["unknown", "w1 < DISCONNECT"],
  }],
  ["FINAL for another", (h) => h.final("w1", "c2", "f"), {
    waiting: ["unknown", "w1 < DISCONNECT"],
    busy: ["unknown, recovered", "w1 < DISCONNECT"],
    unknown: ["unknown", "w1 < DISCONNECT"],
  }],
  ["DISCONNECT", (h) => h.disconnect("w1"), {
    waiting: ["unknown"],
    busy: ["unknown, recovered"],
    unknown: ["unknown"],
  }],
  ["connection gone", (h) => h.gone("w1"), {
    waiting: ["unknown"],
    busy: ["unknown, recovered"],
    unknown: ["unknown"],
  }],
  ["silence for the heartbeat timeout", (h) => h.pass(400), {
    waiting: ["unknown", "w1 < DISCONNECT"],
    busy: ["busy"],
    unknown: ["unknown"],
  }],
  ["silence for the busy timeout", (h) => h.pass(9_000), {
    waiting: ["unknown", "w1 < DISCONNECT"],
    busy: ["unknown, recovered", "w1 < DISCONNECT"],
    unknown: ["unknown"],
  }],
];

for (const [event, act, expected] of ROWS) {
  for (const state of ["waiting", "busy", "unknown"] as const) {
    Deno.test(`Routing follows the table when ${event} meets a ${state} worker`, () => {
      const harness = inState(state, { requestExpiry: Infinity });
      act(harness);
      const [then, ...sent] = expected[state];
      assert.equal(outcome(harness), then);
      assert.deepEqual(harness.takeButHeartbeats(), sent);
      harness.assertNothingLost();
    });
  }
}

Deno.test("Routing sends nothing to a worker after DISCONNECT", () => {
  const harness = inState("waiting");
  harness.ready("w1", "echo");
  assert.deepEqual(harness.take(), ["w1 < DISCONNECT"]);
  harness.pass(5_000);
  assert.deepEqual(harness.take(), []);
});

Deno.test("Routing heartbeats waiting and busy workers when it sent nothing else", () => {
  const harness = inState("waiting");
  harness.ready("w2", "echo");
  harness.now += 60;
  harness.request("c1", "echo", "r1"); // to w1, at 60
  harness.take();
  harness.pass(40);
  assert.deepEqual(harness.take(), ["w2 < HEARTBEAT"]); // at 100
  harness.pass(60);
  assert.deepEqual(harness.take(), ["w1 < HEARTBEAT"]); // at 160
  harness.pass(100);
  assert.deepEqual(harness.take(), ["w2 < HEARTBEAT", "w1 < HEARTBEAT"]);
});

Deno.test("Routing keeps a worker while it heartbeats", () => {
  const harness = inState("waiting");
  for (let i = 0; i < 20; i++) {
    harness.pass(390);
    harness.heartbeat("w1");
  }
  assert.equal(outcome(harness), "waiting");
  harness.pass(399);
  assert.equal(outcome(harness), "waiting");
  harness.pass(1);
  assert.equal(outcome(harness), "unknown");
});

Deno.test("Routing takes a PARTIAL for a heartbeat of a worker that heartbeats when busy", () => {
  const harness = inState("busy");
  harness.pass(300);
  harness.heartbeat("w1");
  for (let i = 0; i < 5; i++) {
    harness.pass(390);
    harness.partial("w1", "c1", "p");
  }
  assert.equal(outcome(harness), "busy");
});

Deno.test("Routing holds a busy worker to the heartbeat timeout once it has heartbeat while busy", () => {
  const harness = inState("busy");
  harness.pass(300);
  harness.heartbeat("w1");
  harness.pass(399);
  assert.equal(outcome(harness), "busy");
  harness.pass(1);
  assert.equal(outcome(harness), "unknown, recovered");
});

Deno.test("Routing counts the silence of a busy worker from the request or from its last word", () => {
  for (const speaks of [false, true]) {
    const harness = inState("waiting");
    harness.pass(300);
    harness.request("c1", "echo", "r1");
    if (speaks) {
      harness.pass(5_000);
      harness.partial("w1", "c1", "p");
    }
    harness.pass(8_999);
    assert.equal(outcome(harness), "busy");
    harness.pass(1);
    assert.equal(harness.routing.workers.size, 0);
  }
});

Deno.test("Routing keeps to that for the worker's later requests", () => {
  const harness = inState("busy");
  harness.pass(300);
  harness.heartbeat("w1");
  harness.final("w1", "c1", "f");
  harness.request("c2", "echo", "r2");
  harness.pass(400);
  assert.equal(outcome(harness), "unknown, recovered");
});

Deno.test("Routing has a worker that heartbeats only while it waits work for as long as it may", () => {
  const harness = inState("waiting");
  for (let i = 0; i < 3; i++) {
    harness.pass(300);
    harness.heartbeat("w1");
  }
  harness.pass(1);
  harness.request("c1", "echo", "r1");
  harness.pass(8_999);
  assert.equal(outcome(harness), "busy");
  harness.pass(1);
  assert.equal(outcome(harness), "unknown, recovered");
});

Deno.test("Routing keeps to what a heartbeat says that came 25 ms after the request, in RFC 18", () => {
  for (const [after, outcomeLater] of [[24, "busy"], [25, "unknown, recovered"]] as const) {
    const harness = inState("busy");
    harness.pass(after);
    harness.heartbeat("w1");
    harness.final("w1", "c1", "f");
    harness.request("c2", "echo", "r2");
    harness.pass(400);
    assert.equal(outcome(harness), outcomeLater, `${after} ms`);
  }
});

Deno.test("Routing does not keep to that when the heartbeat may have crossed the request", () => {
  const harness = inState("busy");
  harness.pass(1);
  harness.heartbeat("w1");
  harness.final("w1", "c1", "f");
  harness.request("c2", "echo", "r2");
  harness.pass(8_000);
  assert.equal(outcome(harness), "busy");
  // Others follow, and so it does heartbeat.
  harness.pass(1);
  harness.final("w1", "c2", "f");
  harness.request("c3", "echo", "r3");
  for (const pause of [1, 300]) {
    harness.pass(pause);
    harness.heartbeat("w1");
  }
  harness.final("w1", "c3", "f");
  harness.request("c4", "echo", "r4");
  harness.pass(400);
  assert.equal(outcome(harness), "unknown, recovered");
});

Deno.test("Routing does not count a heartbeat that came with the FINAL before the request", () => {
  const harness = inState("busy");
  harness.request("c2", "echo", "r2");
  harness.final("w1", "c1", "f");
  harness.heartbeat("w1");
  harness.pass(8_000);
  assert.equal(outcome(harness), "busy");
});

Deno.test("Routing keeps a client's requests in order when their workers are lost in any order", () => {
  for (const order of [[1, 2, 3], [3, 2, 1], [2, 3, 1], [2, 1, 3], [1, 3, 2], [3, 1, 2]]) {
    const harness = new Harness();
    for (const n of [1, 2, 3]) harness.ready(`w${n}`, "echo");
    for (const n of [1, 2, 3, 4]) harness.request("c", "echo", `r${n}`);
    for (const n of order) harness.gone(`w${n}`);
    harness.take();
    for (const n of [1, 2, 3, 4]) harness.ready(`v${n}`, "echo");
    assert.deepEqual(
      harness.take(),
      [1, 2, 3, 4].map((n) => `v${n} < REQUEST c r${n}`),
      `${order}`,
    );
  }
});

Deno.test("Routing has a worker that sent an invalid answer send a right one within the heartbeat timeout", () => {
  for (const isMended of [false, true]) {
    const harness = inState("busy");
    harness.routing.invalid("w1", { isAnswer: true }, "too large", harness.now);
    harness.pass(300);
    harness.heartbeat("w1");
    if (isMended) harness.partial("w1", "c1", "p");
    harness.pass(100);
    assert.equal(outcome(harness), isMended ? "busy" : "unknown, recovered");
    assert.equal(harness.routing.counters.left.violation, isMended ? 0 : 1);
  }
});

Deno.test("Routing gives it that time, too, when it has worked in silence for longer", () => {
  const harness = inState("busy");
  harness.pass(5_000);
  harness.routing.invalid("w1", { isAnswer: true }, "too large", harness.now);
  harness.pass(399);
  assert.equal(outcome(harness), "busy");
  harness.pass(1);
  assert.equal(outcome(harness), "unknown, recovered");
  assert.equal(harness.routing.counters.left.violation, 1);
});

Deno.test("Routing lets a busy worker work on after an invalid message that is no answer", () => {
  const harness = inState("busy");
  harness.routing.invalid("w1", {}, "what is this", harness.now);
  harness.pass(8_000);
  assert.equal(outcome(harness), "busy");
});

Deno.test("Routing drops an invalid answer of a worker that was asked nothing, and keeps the worker", () => {
  const harness = inState("waiting");
  harness.routing.invalid("w1", { isAnswer: true }, "too large", harness.now);
  for (let i = 0; i < 3; i++) {
    harness.pass(300);
    harness.heartbeat("w1");
  }
  assert.equal(outcome(harness), "waiting");
  assert.deepEqual(harness.takeButHeartbeats(), []);
});

Deno.test("Routing does not count as an attempt what was not sent to a worker that has left", () => {
  const harness = new Harness();
  for (let n = 1; n <= 9; n++) harness.ready(`w${n}`, "echo");
  harness.request("c", "echo", "r");
  for (let n = 1; n <= 8; n++) {
    const [request] = harness.routing.workers.get(`w${n}`)!.held;
    harness.routing.disconnect(`w${n}`, harness.now, [request!]);
  }
  assert.ok(harness.take().includes("w9 < REQUEST c r"));
  const { dispatched, recovered } = harness.routing.counters;
  assert.deepEqual([dispatched, recovered], [1, 0]);
  // This was the first: another may try.
  harness.gone("w9");
  harness.ready("w10", "echo");
  assert.deepEqual(harness.take(), ["w10 < REQUEST c r"]);
  harness.assertNothingLost();
});

Deno.test("Routing holds nobody for dead before the time that they are spared until", () => {
  const harness = inState("waiting");
  harness.pass(390);
  harness.take();
  harness.routing.spare(harness.now + 50);
  harness.pass(49);
  assert.equal(outcome(harness), "waiting");
  assert.deepEqual(harness.take(), ["w1 < HEARTBEAT"]);
  harness.pass(1);
  assert.equal(outcome(harness), "unknown");
});

Deno.test("Routing lets the long names of services count for what may wait in all", () => {
  const harness = new Harness({ maxTotalQueueBytes: 2_000 });
  const names = ["a", "b"].map((name) => name.repeat(1_000));
  for (const name of [...names, "short"]) harness.request("c", name, "x");
  assert.equal(harness.routing.queued, 3);
  harness.request("c", "c".repeat(1_000), "x");
  assert.equal(harness.routing.counters.refused.queueFull, 1);
  // A service that has workers is no request's doing.
  harness.ready("w", names[0]!);
  harness.request("c", "c".repeat(1_000), "x");
  assert.equal(harness.routing.queued, 3);
  harness.request("c", names[0]!, "y");
  harness.disconnect("w");
  harness.request("c", "d".repeat(1_000), "x");
  assert.equal(harness.routing.counters.refused.queueFull, 2);
  // Nor do those count that are forgotten.
  harness.pass(1_000);
  for (const name of ["e", "f"]) harness.request("c", name.repeat(1_000), "x");
  assert.equal(harness.routing.queued, 2);
});

Deno.test("Routing does not count a majortomo worker's heartbeat that crossed its request", () => {
  const harness = new Harness({ heartbeatInterval: 1_000, heartbeatTimeout: 4_000 });
  harness.ready("w1", "echo", MAJORTOMO);
  harness.request("c1", "echo", "r1");
  harness.pass(200);
  harness.heartbeat("w1", MAJORTOMO);
  harness.pass(8_000);
  assert.equal(outcome(harness), "busy");
  harness.heartbeat("w1", MAJORTOMO);
  harness.pass(4_000);
  assert.equal(outcome(harness), "unknown, recovered");
});

Deno.test("Routing gives a request to the least recently used worker", () => {
  const harness = new Harness();
  for (const worker of ["w1", "w2", "w3"]) harness.ready(worker, "echo");
  harness.request("c1", "echo", "r1");
  harness.request("c2", "echo", "r2");
  harness.final("w2", "c2", "f2");
  harness.final("w1", "c1", "f1");
  harness.take();
  for (const n of [3, 4, 5]) harness.request(`c${n}`, "echo", `r${n}`);
  assert.deepEqual(harness.take(), [
    "w3 < REQUEST c3 r3",
    "w2 < REQUEST c4 r4",
    "w1 < REQUEST c5 r5",
  ]);
});

Deno.test("Routing keeps the order of a client's requests", () => {
  const harness = new Harness();
  for (const n of [1, 2, 3]) harness.request("c1", "echo", `r${n}`);
  harness.ready("w1", "echo");
  harness.final("w1", "c1", "f1");
  harness.final("w1", "c1", "f2");
  harness.final("w1", "c1", "f3");
  assert.deepEqual(harness.take(), [
    "w1 < REQUEST c1 r1",
    "c1 < FINAL f1",
    "w1 < REQUEST c1 r2",
    "c1 < FINAL f2",
    "w1 < REQUEST c1 r3",
    "c1 < FINAL f3",
  ]);
});

Deno.test("Routing serves clients in turn when one has a backlog", () => {
  const harness = new Harness();
  for (let n = 1; n <= 50; n++) harness.request("hog", "echo", `h${n}`);
  harness.request("c2", "echo", "a1");
  harness.request("c2", "echo", "a2");
  harness.request("c3", "echo", "b1");
  for (let n = 1; n <= 7; n++) harness.ready(`w${n}`, "echo");
  assert.deepEqual(harness.take().map((line) => line.split(" ").at(-1)), [
    "h1",
    "a1",
    "b1",
    "h2",
    "a2",
    "h3",
    "h4",
  ]);
});

Deno.test("Routing gives a lost worker's request to another before all others", () => {
  const harness = inState("busy");
  harness.request("c2", "echo", "r2");
  harness.request("c1", "echo", "r3");
  harness.gone("w1");
  harness.ready("w2", "echo");
  harness.final("w2", "c1", "f1");
  assert.deepEqual(harness.take(), [
    "w2 < REQUEST c1 r1",
    "c1 < FINAL f1",
    "w2 < REQUEST c2 r2",
  ]);
  assert.equal(harness.routing.counters.recovered, 1);
});

Deno.test("Routing gives a lost worker's request to one that waits at once", () => {
  const harness = inState("busy");
  harness.ready("w2", "echo");
  harness.gone("w1");
  assert.deepEqual(harness.take(), ["w2 < REQUEST c1 r1"]);
});

Deno.test("Routing drops a request after maxAttempts workers were lost with it", () => {
  const harness = new Harness();
  harness.request("c1", "echo", "r1");
  for (const n of [1, 2, 3, 4]) {
    harness.ready(`w${n}`, "echo");
    harness.gone(`w${n}`);
  }
  assert.deepEqual(harness.take(), [1, 2, 3].map((n) => `w${n} < REQUEST c1 r1`));
  assert.equal(harness.routing.counters.dropped.attempts, 1);
  assert.equal(harness.routing.counters.recovered, 2);
  harness.assertNothingLost();
});

Deno.test("Routing drops a request whose worker is lost after a PARTIAL was forwarded", () => {
  const harness = inState("busy");
  harness.partial("w1", "c1", "p");
  harness.gone("w1");
  harness.ready("w2", "echo");
  assert.deepEqual(harness.take(), ["c1 < PARTIAL p"]);
  assert.equal(harness.routing.counters.dropped.partial, 1);
  harness.assertNothingLost();
});

Deno.test("Routing does not count as an attempt what never reached a worker", () => {
  const harness = new Harness({ maxAttempts: 1 });
  for (let n = 1; n <= 3_000; n++) {
    harness.ready(`w${n}`, "echo");
    harness.unsendable.set(`w${n}`, n % 2 ? "unreachable" : "full");
  }
  harness.ready("good", "echo");
  harness.request("c1", "echo", "r1");
  assert.deepEqual(harness.takeButHeartbeats(), ["good < REQUEST c1 r1"]);
  assert.equal(harness.routing.workers.size, 1);
  assert.deepEqual(
    [harness.routing.counters.left.gone, harness.routing.counters.left.full],
    [1_500, 1_500],
  );
  harness.assertNothingLost();
});

Deno.test("Routing drops the rest of a reply when a part of it cannot be delivered", () => {
  for (const [result, reason] of [["unreachable", "clientGone"], ["full", "clientFull"]] as const) {
    const harness = inState("busy");
    harness.partial("w1", "c1", "p1");
    harness.unsendable.set("c1", result);
    harness.partial("w1", "c1", "p2");
    harness.unsendable.delete("c1");
    harness.partial("w1", "c1", "p3");
    harness.final("w1", "c1", "f");
    assert.deepEqual(harness.take(), ["c1 < PARTIAL p1"]);
    assert.equal(harness.routing.counters.dropped[reason], 1);
    assert.equal(harness.routing.counters.answered, 0);
    assert.equal(outcome(harness), "waiting");
    harness.assertNothingLost();
  }
});

Deno.test("Routing drops a reply once, when several of its parts cannot be delivered", () => {
  const harness = inState("busy");
  harness.unsendable.set("c1", "full");
  for (const part of [["p1"], ["p2"]]) {
    harness.held.add(part);
    harness.routing.reply("w1", RFC, "partial", "c1", part, harness.now);
  }
  harness.settle();
  assert.equal(harness.routing.counters.dropped.clientFull, 1);
  assert.equal(harness.routing.counters.partials, 0);
  harness.assertNothingLost();
});

Deno.test("Routing drops what a vanished client has queued if its identity cannot come back", () => {
  const harness = inState("busy");
  harness.request("\0abcd", "echo", "r2");
  harness.request("\0abcd", "other", "r3");
  harness.request("chosen", "echo", "r4");
  harness.gone("\0abcd");
  harness.gone("chosen");
  assert.equal(harness.routing.counters.dropped.clientGone, 2);
  assert.equal(harness.routing.queued, 1);
  assert.deepEqual([...harness.routing.services.keys()], ["echo"]);
  harness.assertNothingLost();
});

Deno.test("Routing expires a request for a service that has no worker", () => {
  const harness = new Harness();
  harness.request("c1", "nobody", "r1");
  harness.pass(500);
  harness.request("c1", "nobody", "r2");
  harness.pass(499);
  assert.equal(harness.routing.counters.expired, 0);
  harness.pass(1);
  assert.equal(harness.routing.counters.expired, 1);
  harness.pass(500);
  assert.equal(harness.routing.counters.expired, 2);
  assert.equal(harness.routing.services.size, 0);
  assert.equal(harness.routing.nextDeadline(), Infinity);
  assert.deepEqual(harness.take(), []); // RFC 18 has no word for it
  harness.assertNothingLost();
});

Deno.test("Routing expires nothing while the service has a worker", () => {
  const harness = inState("busy", { heartbeatTimeout: 1e6, busyWorkerTimeout: 1e6 });
  harness.request("c1", "echo", "r2");
  harness.pass(50_000);
  assert.equal(harness.routing.counters.expired, 0);
  assert.equal(harness.routing.queued, 1);
});

Deno.test("Routing counts the expiry from when the last worker left", () => {
  const harness = new Harness({ heartbeatTimeout: 1e6, busyWorkerTimeout: 1e6 });
  harness.request("c1", "echo", "r1"); // at 0, due at 1,000 while there is no worker
  harness.request("c1", "echo", "r2");
  harness.pass(900);
  harness.ready("w1", "echo"); // takes r1
  harness.pass(5_000);
  harness.disconnect("w1"); // at 5,900: both are queued
  harness.pass(500);
  harness.request("c1", "echo", "r3"); // at 6,400
  harness.pass(499);
  assert.equal(harness.routing.counters.expired, 0);
  harness.pass(1); // at 6,900
  assert.equal(harness.routing.counters.expired, 2);
  harness.pass(499);
  assert.equal(harness.routing.counters.expired, 2);
  harness.pass(1); // at 7,400
  assert.equal(harness.routing.counters.expired, 3);
  harness.assertNothingLost();
});

Deno.test("Routing counts the expiry from then for what came before any worker, too", () => {
  const harness = new Harness({ busyWorkerTimeout: 1e6 });
  for (const body of ["r1", "r2"]) harness.request("c1", "echo", body);
  harness.pass(500);
  harness.ready("w1", "echo");
  harness.pass(400);
  harness.disconnect("w1");
  harness.pass(999);
  assert.equal(harness.routing.counters.expired, 0);
  harness.pass(1);
  assert.equal(harness.routing.counters.expired, 2);
});

Deno.test("Routing expires nothing when another worker has come in time", () => {
  const harness = inState("busy", { busyWorkerTimeout: 1e6 });
  harness.request("c1", "echo", "r2");
  harness.disconnect("w1");
  harness.pass(500);
  harness.ready("w2", "echo");
  harness.pass(5_000);
  assert.equal(harness.routing.counters.expired, 0);
  assert.equal(harness.routing.queued, 1);
});

Deno.test("Routing expires nothing when requestExpiry is Infinity", () => {
  const harness = new Harness({ requestExpiry: Infinity });
  harness.request("c1", "nobody", "r1");
  assert.equal(harness.routing.nextDeadline(), Infinity);
  harness.pass(1e9);
  assert.equal(harness.routing.queued, 1);
});

Deno.test("Routing refuses what is over a bound of the queues, and says so", () => {
  const rows: [Partial<RoutingOptions>, services: string[], accepted: number][] = [
    [{ maxQueue: 3 }, ["a", "a", "a", "a", "a"], 3],
    [{ maxQueue: 3 }, ["a", "b", "a", "b", "a", "b", "a"], 6],
    [{ maxQueueBytes: 20 }, ["a", "a", "a"], 2],
    [{ maxTotalQueue: 3 }, ["a", "b", "c", "d", "e"], 3],
    [{ maxTotalQueueBytes: 30 }, ["a", "b", "c", "d", "e"], 3],
    [{ maxQueue: 0 }, ["a"], 0],
  ];
  for (const [options, services, accepted] of rows) {
    const harness = new Harness(options);
    for (const service of services) harness.request("c1", service, "ten bytes!");
    const { counters } = harness.routing;
    assert.equal(counters.accepted, accepted, JSON.stringify(options));
    assert.equal(counters.refused.queueFull, services.length - accepted);
    assert.equal(
      harness.events.filter((event) => event.type === "request refused").length,
      services.length - accepted,
    );
    harness.assertNothingLost();
  }
});

Deno.test("Routing refuses what is over a client's own bound, and not what others ask", () => {
  const rows: [Partial<RoutingOptions>, services: string[], accepted: number][] = [
    [{ maxClientQueue: 3 }, ["a", "a", "a", "a", "a"], 3],
    [{ maxClientQueue: 3 }, ["a", "b", "c", "d", "e"], 3],
    [{ maxClientQueueBytes: 20 }, ["a", "b", "a"], 2],
    [{ maxClientQueue: 0 }, ["a"], 0],
  ];
  for (const [options, services, accepted] of rows) {
    const harness = new Harness(options), { counters } = harness.routing;
    for (const service of services) harness.request("c1", service, "ten bytes!");
    assert.equal(counters.accepted, accepted, JSON.stringify(options));
    assert.equal(counters.refused.clientQueueFull, services.length - accepted);
    assert.equal(counters.refused.queueFull, 0);
    if (accepted === 0) continue;
    harness.request("c2", "a", "ten bytes!");
    assert.equal(counters.accepted, accepted + 1, "another has a bound of its own");
    // What has left the queue no longer counts, however it left.
    harness.ready("w1", "a");
    harness.request("c1", "a", "ten bytes!");
    assert.equal(counters.accepted, accepted + 2, "one was dispatched");
    harness.gone("w1");
    harness.pass(OPTIONS.requestExpiry);
    harness.request("c1", "a", "ten bytes!");
    assert.equal(counters.accepted, accepted + 3, "all have expired");
    harness.assertNothingLost();
  }
});

Deno.test("Routing recovers a request beyond its client's bound, which holds for what comes", () => {
  const harness = new Harness({ maxClientQueue: 1 });
  harness.ready("w1", "echo");
  harness.request("c1", "echo", "r1");
  harness.request("c1", "echo", "r2");
  harness.disconnect("w1");
  assert.equal(harness.routing.queued, 2);
  harness.request("c1", "echo", "r3");
  assert.deepEqual(harness.routing.counters.refused.clientQueueFull, 1);
  harness.assertNothingLost();
});

Deno.test("Routing accepts a request beyond the bounds when a worker waits for it", () => {
  const harness = inState("waiting", { maxQueue: 0 });
  harness.request("c1", "echo", "r1");
  assert.deepEqual(harness.take(), ["w1 < REQUEST c1 r1"]);
});

Deno.test("Routing takes a recovered request back beyond the bounds", () => {
  const harness = inState("busy", { maxQueue: 1 });
  harness.request("c1", "echo", "r2");
  harness.gone("w1");
  assert.equal(harness.routing.queued, 2);
  harness.assertNothingLost();
});

Deno.test("Routing answers mmi.service by whether the service has a worker", () => {
  const harness = inState("busy");
  harness.request("c9", "queued-only", "x");
  for (const name of ["echo", "nobody", "queued-only", "", "mmi.service", "mmi.nonsense"]) {
    harness.request("c2", "mmi.service", name);
  }
  harness.request("c2", "mmi.service");
  harness.request("c2", "mmi.nonsense", "echo");
  harness.request("c2", "mmi.", "echo");
  assert.deepEqual(harness.take().map((line) => line.split(" ").slice(-2).join(" ")), [
    "mmi.service 200",
    "mmi.service 404",
    "mmi.service 404",
    "mmi.service 404",
    "mmi.service 200",
    "mmi.service 404",
    "mmi.service 404",
    "mmi.nonsense 501",
    "mmi. 501",
  ]);
  assert.equal(harness.routing.counters.mmi, 9);
  assert.equal(harness.routing.counters.accepted, 2);
  harness.assertNothingLost();
});

Deno.test("Routing lets nobody register mmi.*", () => {
  const harness = new Harness();
  harness.ready("w1", "mmi.service");
  harness.ready("w2", "mmi.mine", MAJORTOMO);
  assert.deepEqual(harness.take(), ["w1 < DISCONNECT", "w2 < DISCONNECT (majortomo)"]);
  assert.equal(harness.routing.workers.size, 0);
  assert.equal(harness.routing.services.size, 0);
  assert.equal(harness.routing.counters.reserved, 2);
});

Deno.test("Routing forgets a service that has no worker and no request", () => {
  const harness = inState("busy");
  harness.final("w1", "c1", "f");
  assert.equal(harness.routing.services.size, 1);
  harness.disconnect("w1");
  assert.equal(harness.routing.services.size, 0);
  assert.equal(harness.routing.nextDeadline(), Infinity);
});

Deno.test("Routing refuses new requests when it is stopping, and finishes the others", () => {
  const harness = inState("busy");
  harness.request("c2", "echo", "r2");
  harness.routing.stop();
  harness.request("c3", "echo", "r3");
  harness.final("w1", "c1", "f1");
  harness.final("w1", "c2", "f2");
  assert.deepEqual(harness.take(), ["c1 < FINAL f1", "w1 < REQUEST c2 r2", "c2 < FINAL f2"]);
  assert.equal(harness.routing.counters.refused.stopping, 1);
  harness.assertNothingLost();
});

Deno.test("Routing disconnects all workers at its end, and drops what is left by name", () => {
  const harness = inState("busy");
  harness.ready("w2", "other", MAJORTOMO);
  harness.request("c2", "echo", "r2");
  harness.request("c2", "nobody", "r3");
  harness.routing.end(harness.now);
  assert.deepEqual(harness.take(), ["w1 < DISCONNECT", "w2 < DISCONNECT (majortomo)"]);
  assert.equal(harness.routing.counters.dropped.stopped, 3);
  assert.equal(harness.routing.nextDeadline(), Infinity);
  harness.assertNothingLost();
});

Deno.test("Routing looks at no worker that is not due", () => {
  const harness = new Harness({ heartbeatInterval: 100, heartbeatTimeout: 400 });
  for (let n = 0; n < 10_000; n++) {
    harness.ready(`w${n}`, "echo");
    if (n % 100 === 99) harness.now += 1;
  }
  const first = harness.routing.nextDeadline();
  harness.routing.elapse(first);
  assert.equal(harness.take().length, 100);
});

Deno.test("Routing has heartbeats leave together, up to a hundredth of the interval early", () => {
  const harness = new Harness({ heartbeatInterval: 2_500, heartbeatTimeout: 10_000 });
  harness.now = 10_000;
  for (let n = 0; n < 50; n++) {
    harness.ready(`w${n}`, "echo");
    harness.now += 1;
  }
  harness.take();
  for (const [at, first] of [[12_500, 0], [12_525, 25]] as const) {
    assert.equal(harness.routing.nextDeadline(), at);
    harness.routing.elapse(at);
    const due = Array.from({ length: 25 }, (_, i) => `w${first + i} < HEARTBEAT`);
    assert.deepEqual(harness.take(), due);
  }
  assert.equal(harness.routing.nextDeadline(), 15_000);
});

Deno.test("Routing answers in the dialect that the request came in", () => {
  const harness = new Harness();
  const seen: string[] = [];
  harness.reply = (request, command) => {
    seen.push(`${request.dialect.name} ${command}`);
    return "sent";
  };
  harness.ready("w1", "echo");
  harness.ready("w2", "echo", MAJORTOMO);
  for (const dialect of [MAJORTOMO, RFC]) {
    const body = ["r"];
    harness.held.add(body);
    harness.routing.request("c1", "echo", { dialect }, body, harness.now);
  }
  harness.final("w1", "c1", "f");
  harness.final("w2", "c1", "f");
  assert.deepEqual(seen, ["majortomo final", "rfc final"]);
});
