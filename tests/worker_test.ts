// The worker on the wire: its bytes, heartbeats, and connections. How it is used is in
// worker_serve_test.ts (a handler) and worker_use_test.ts (iteration, majortomo's verbs, stopping).

import assert from "node:assert/strict";
import { DisconnectedError, StateError, ZmqError } from "../errors.ts";
import { Worker, type WorkerOptions, type WorkerRequest } from "../worker.ts";
import type { RawFrame } from "./raw.ts";
import { until } from "./stage.ts";
import { captureLog, FakeBroker, pause } from "./worker_stage.ts";

// ---- bytes ----

for (const dialect of ["rfc", "majortomo"] as const) {
  // FakeBroker looks at majortomo's leading empty frame.
  Deno.test(`\`Worker\` sends what the protocol says when it speaks ${dialect}`, async () => {
    await using broker = new FakeBroker(dialect);
    const worker = broker.worker({ dialect, heartbeatInterval: 50, heartbeatTimeout: 60_000 });
    const served = worker.serve(async function* (request) {
      yield request.frames;
      yield "two";
      await peer.heartbeats.next("a heartbeat while the handler runs");
      return [request.text(), "end"];
    });
    const peer = await broker.ready();
    await peer.heartbeats.next("a heartbeat");
    peer.send("MDPW02", [5]);
    peer.send("MDPW02", [2], [0, 0xff, 1], "", "a", "", "b");
    await peer.expect("MDPW02", [3], [0, 0xff, 1], "", "a", "", "b");
    await peer.expect("MDPW02", [3], [0, 0xff, 1], "", "two");
    await peer.expect("MDPW02", [4], [0, 0xff, 1], "", "ab", "end");
    await worker.close();
    await peer.expect("MDPW02", [6]);
    await served;
    assert.equal(broker.peers.size, 1);
  });
}

Deno.test("`Worker` registers with the bytes of the name when the service is not text", async () => {
  await using broker = new FakeBroker();
  await using worker = broker.worker({ service: new Uint8Array([0xff, 0, 1]) });
  worker.connect();
  await broker.ready([0xff, 0, 1]);
});

Deno.test("`Worker` registers in UTF-8 when the service is text", async () => {
  await using broker = new FakeBroker();
  await using worker = broker.worker({ service: "größe" });
  const waiting = worker.waitForRequest();
  const peer = await broker.ready(new TextEncoder().encode("größe"));
  peer.request("c", "1");
  assert.equal((await waiting).service, "größe");
});

Deno.test("`Worker` answers when a request has no body frame", async () => {
  await using broker = new FakeBroker();
  await using worker = broker.worker();
  worker.serve((request) => `${request.frames.length} frames, "${request.text()}"`);
  const peer = await broker.ready();
  peer.request("c");
  await peer.expect("MDPW02", [4], "c", "", '0 frames, ""');
});

// ---- options ----

Deno.test("`Worker` connects to nothing when it is only made", async () => {
  await using broker = new FakeBroker();
  await using worker = broker.worker();
  assert.equal(worker.isConnected, false);
  await pause(50);
  assert.equal(broker.peers.size, 0);
});

const BAD: [name: string, options: unknown, error: typeof Error, message: RegExp][] = [
  ["no options", undefined, TypeError, /options are an object, got undefined/],
  ["a string", "tcp://127.0.0.1:5555", TypeError, /options are an object, got "tcp:/],
  ["no service", {}, TypeError, /service name is a string or a Uint8Array, got undefined/],
  ["an empty service", { service: "" }, TypeError, /at least one byte/],
  ["a bad endpoint", { service: "s", broker: "nowhere" }, TypeError, /got "nowhere"/],
  ["no endpoint", { service: "s", broker: [] }, TypeError, /at least one endpoint/],
  ["a bad dialect", { service: "s", dialect: "mdp" }, TypeError, /got "mdp"/],
  ["a bad interval", { service: "s", heartbeatInterval: 0 }, RangeError, /heartbeatInterval/],
  [
    "a timeout below the interval",
    { service: "s", heartbeatInterval: 200, heartbeatTimeout: 100 },
    RangeError,
    /heartbeatTimeout must be at least heartbeatInterval \(200\), got 100/,
  ],
  ["no concurrency", { service: "s", concurrency: 0 }, RangeError, /concurrency/],
  ["half a worker", { service: "s", concurrency: 1.5 }, RangeError, /got 1.5/],
  ["a negative drain", { service: "s", drain: -1 }, RangeError, /drain/],
  ["a drain in words", { service: "s", drain: "5s" }, TypeError, /drain.*got "5s"/],
  ["a negative backoff", { service: "s", backoff: -1 }, RangeError, /backoff/],
];
for (const [name, options, error, message] of BAD) {
  Deno.test(`\`new Worker\` throws a ${error.name} when it is given ${name}`, () => {
    assert.throws(() => new Worker(options as WorkerOptions), (thrown) => {
      assert.ok(thrown instanceof error, `got ${thrown}`);
      assert.match(thrown.message, message);
      return true;
    });
  });
}

Deno.test("`connect` throws and the worker stays idle when libzmq refuses the endpoint", async () => {
  // A socket's path has about 100 bytes at most.
  const broker = `ipc:///tmp/${"x".repeat(200)}`;
  await using worker = new Worker({ service: "s", broker, concurrency: 2 });
  const isRefused = (error: unknown) =>
    error instanceof ZmqError && error.call === "zmq_connect" && error.message.includes(broker);
  assert.throws(() => worker.connect(), isRefused);
  await assert.rejects(worker.serve(() => ""), isRefused);
  await assert.rejects(worker.waitForRequest(), isRefused);
  assert.throws(() => worker[Symbol.asyncIterator](), isRefused);
  assert.equal(worker.isConnected, false);
});

// ---- heartbeats ----

Deno.test("`Worker` heartbeats every interval when it is idle and when its handler runs", async () => {
  await using broker = new FakeBroker();
  await using worker = broker.worker({ heartbeatInterval: 60, heartbeatTimeout: 60_000 });
  const { promise, resolve } = Promise.withResolvers<string>();
  worker.serve(() => promise);
  const peer = await broker.ready();
  for (const what of ["idle", "busy"]) {
    if (what === "busy") peer.request("c", "1");
    const start = await peer.heartbeats.next(`a heartbeat while ${what}`);
    let last = start;
    for (let i = 0; i < 5; i++) last = await peer.heartbeats.next(`a heartbeat while ${what}`);
    const mean = (last - start) / 5;
    assert.ok(mean > 50 && mean < 200, `${what}: ${mean} ms apart on average`);
  }
  peer.assertNothingElse();
  resolve("done");
  await peer.expect("MDPW02", [4], "c", "", "done");
});

Deno.test("`Worker` sends no heartbeat when it sends other messages", async () => {
  await using broker = new FakeBroker();
  await using worker = broker.worker({ heartbeatInterval: 400 });
  worker.serve(async function* () {
    for (const end = performance.now() + 1_000; performance.now() < end;) {
      yield "part";
      await pause(20);
    }
  });
  const peer = await broker.ready();
  peer.request("c", "1");
  for (;;) {
    const [, command] = await peer.inbox.next("a part");
    if (command![0] === 4) break;
  }
  assert.deepEqual(peer.heartbeats.items, []);
  await peer.heartbeats.next("a heartbeat after the last part");
});

Deno.test("`Worker` stays with a broker when that is heard often enough", async () => {
  await using broker = new FakeBroker();
  await using worker = broker.worker({ heartbeatInterval: 100, heartbeatTimeout: 400 });
  worker.serve((request) => request.frames);
  const peer = await broker.ready();
  for (let i = 0; i < 12; i++) {
    await pause(80);
    // Each command counts.
    if (i % 2 === 0) peer.send("MDPW02", [5]);
    else peer.request("c", "1");
  }
  for (let i = 0; i < 6; i++) await peer.expect("MDPW02", [4], "c", "", "1");
  assert.equal(broker.peers.size, 1);
  peer.assertNothingElse();
});

Deno.test("`Worker` stays with a broker when it was itself too busy to listen", async () => {
  await using broker = new FakeBroker();
  await using worker = broker.worker({ heartbeatInterval: 50, heartbeatTimeout: 150 });
  worker.serve((request) => request.frames);
  const peer = await broker.ready();
  const block = (milliseconds: number) => {
    for (const end = performance.now() + milliseconds; performance.now() < end;);
  };
  // When a timer's callback ends, other timers are due before sockets are read.
  await new Promise<void>((resolve) =>
    setTimeout(() => {
      block(200);
      peer.send("MDPW02", [5]);
      block(50);
      resolve();
    }, 10)
  );
  peer.request("c", "1");
  await peer.expect("MDPW02", [4], "c", "", "1");
  assert.equal(broker.peers.size, 1);
  peer.assertNothingElse();
});

// ---- connections ----

/** A worker whose handler holds its request, and what became of it. */
function holding(worker: Worker) {
  const taken = Promise.withResolvers<WorkerRequest>(), release = Promise.withResolvers<void>();
  let calls = 0;
  worker.serve(async (request) => {
    if (calls++ > 0) return "answered";
    taken.resolve(request);
    await release.promise;
    return "too late";
  });
  return { taken: taken.promise, release: release.resolve };
}

Deno.test("`Worker` registers anew on a new socket when the broker says DISCONNECT", async () => {
  await using broker = new FakeBroker();
  await using worker = broker.worker();
  const { taken, release } = holding(worker);
  const first = await broker.ready();
  first.request("c", "1");
  const request = await taken;
  assert.equal(request.signal.aborted, false);
  first.send("MDPW02", [6]);

  const second = await broker.ready();
  assert.notEqual(second.name, first.name);
  assert.ok(request.signal.aborted);
  assert.ok(request.signal.reason instanceof DisconnectedError);
  assert.match(request.signal.reason.message, /said DISCONNECT.*"echo"/);
  assert.ok(request.signal.reason.message.includes(broker.endpoint));
  await assert.rejects(request.partial("late"), DisconnectedError);
  await assert.rejects(request.final("late"), DisconnectedError);
  await assert.rejects(request.replyFrom(["late"]), DisconnectedError);
  assert.equal(request.isAnswered, false);
  release();
  second.request("c", "2");
  await second.expect("MDPW02", [4], "c", "", "answered");
  first.assertNothingElse();
  second.assertNothingElse();
});

Deno.test("`Worker` registers anew on a new socket when the broker is silent", async () => {
  using log = captureLog();
  await using broker = new FakeBroker();
  await using worker = broker.worker({ heartbeatInterval: 40, heartbeatTimeout: 200 });
  const { taken, release } = holding(worker);
  const first = await broker.ready();
  const start = performance.now();
  first.request("c", "1");
  const request = await taken;
  const second = await broker.ready();
  const elapsed = performance.now() - start;
  assert.ok(elapsed > 150, `it waited ${elapsed} ms`);
  assert.ok(request.signal.reason instanceof DisconnectedError);
  assert.match(request.signal.reason.message, /silent for 200 ms/);
  await assert.rejects(request.final("late"), DisconnectedError);
  release();
  second.send("MDPW02", [5]);
  second.request("c", "2");
  await second.expect("MDPW02", [4], "c", "", "answered");
  first.assertNothingElse();
  assert.ok(
    log.texts().some((text) => /warning: .*silent for 200 ms/.test(text)),
    `${log.texts()}`,
  );
});

Deno.test("`Worker` says what a broker may speak that has never said a thing on its connection", async () => {
  using log = captureLog();
  await using broker = new FakeBroker();
  await using worker = broker.worker({ heartbeatInterval: 100, heartbeatTimeout: 200 });
  worker.serve(() => "");
  const silences = () => log.texts().filter((text) => text.includes(" was silent for "));
  await broker.ready();
  const second = await broker.ready();
  second.send("MDPW02", [5]);
  const third = await broker.ready();
  third.send("no MDP");
  await broker.ready();
  const hint = `: it may speak majortomo's dialect (dialect: "majortomo", --dialect majortomo)`;
  const silence = `warning: ${broker.endpoint} was silent for 200 ms`;
  assert.deepEqual(silences(), [silence + hint, silence, silence]);
});

Deno.test("`Worker` does not doubt the dialect of a broker that has answered what it speaks", async () => {
  using log = captureLog();
  await using broker = new FakeBroker();
  await using worker = broker.worker({
    dialect: "auto",
    heartbeatInterval: 100,
    heartbeatTimeout: 200,
  });
  worker.serve(() => "");
  const peer = await broker.joined.next("a socket");
  await peer.expect("MDPC02", [1], "mmi.multiplexed", "");
  peer.send("MDPC02", [3], "mmi.multiplexed", "501");
  await peer.expect("MDPW02", [1], "echo");
  await broker.joined.next("another socket");
  assert.ok(log.texts().includes(`warning: ${broker.endpoint} was silent for 200 ms`));
});

Deno.test("`Worker` holds silence against majortomo's broker only while it waits for a request", async () => {
  await using broker = new FakeBroker("majortomo");
  await using worker = broker.worker({
    dialect: "majortomo",
    heartbeatInterval: 100,
    heartbeatTimeout: 200,
  });
  const { taken, release } = holding(worker);
  const peer = await broker.ready();
  peer.request("c", "1");
  const request = await taken;
  // That broker sends no heartbeats to who has a request in hand.
  await pause(500);
  assert.equal(request.signal.aborted, false);
  release();
  await peer.expect("MDPW02", [4], "c", "", "too late");
  // From now on it would.
  await broker.ready();
  assert.equal(broker.peers.size, 2);
});

Deno.test("`Worker` holds silence against a broker of majortomo's dialect that has spoken to it while busy", async () => {
  await using broker = new FakeBroker("majortomo");
  await using worker = broker.worker({
    dialect: "majortomo",
    heartbeatInterval: 100,
    heartbeatTimeout: 200,
  });
  const { taken, release } = holding(worker);
  const peer = await broker.ready();
  peer.request("c", "1");
  const request = await taken;
  peer.send("MDPW02", [5]);
  await broker.ready();
  assert.match(request.signal.reason.message, /silent for 200 ms/);
  release();
});

Deno.test("`Worker` comes back slower and slower when each READY is answered with DISCONNECT", async () => {
  await using broker = new FakeBroker();
  await using worker = broker.worker({ backoff: 50, maxBackoff: 400 });
  worker.connect();
  let running = true;
  const refusing = (async () => {
    while (running) (await broker.ready()).send("MDPW02", [6]);
  })();
  await pause(1_200);
  running = false;
  // At the earliest after 0, 25, 75, 175, 375, 575, … ms.
  const { size } = broker.peers;
  assert.ok(size >= 3 && size <= 12, `it came ${size} times`);
  await refusing;
});

Deno.test("`Worker` comes back fast when the broker was heard before its DISCONNECT", async () => {
  await using broker = new FakeBroker();
  await using worker = broker.worker({ backoff: 50, maxBackoff: 60_000 });
  worker.connect();
  for (let i = 0; i < 5; i++) (await broker.ready()).send("MDPW02", [6]);
  const peer = await broker.ready();
  peer.send("MDPW02", [5]);
  const start = performance.now();
  peer.send("MDPW02", [6]);
  await broker.ready();
  const elapsed = performance.now() - start;
  assert.ok(elapsed < 700, `it took ${elapsed} ms, at least 800 if it had not been heard`);
});

Deno.test("`Worker` turns to the next broker when one is silent or says DISCONNECT", async () => {
  await using one = new FakeBroker();
  await using two = new FakeBroker();
  await using worker = one.worker({
    broker: [one.endpoint, two.endpoint],
    heartbeatInterval: 50,
    heartbeatTimeout: 200,
  });
  worker.serve((request) => request.frames);
  const first = await one.ready();
  assert.equal(two.peers.size, 0);
  const second = await two.ready();
  assert.equal(one.peers.size, 1);
  second.request("c", "1");
  await second.expect("MDPW02", [4], "c", "", "1");
  second.send("MDPW02", [6]);
  const third = await one.ready();
  assert.notEqual(third.name, first.name);
});

Deno.test("`Worker` keeps trying, and piles nothing up, when no broker is there yet", async () => {
  const directory = await Deno.makeTempDir({ prefix: "mdp" });
  const endpoint = `ipc://${directory}/broker`;
  await using worker = new Worker({
    dialect: "rfc",
    broker: endpoint,
    service: "echo",
    heartbeatInterval: 20,
    heartbeatTimeout: 100,
    backoff: 10,
    maxBackoff: 50,
    drain: 0,
  });
  worker.serve((request) => request.frames);
  await pause(600);
  await using broker = new FakeBroker("rfc", endpoint);
  for (let answered = false; !answered;) {
    const peer = await broker.ready();
    // What came in the same moment had been queued.
    const queued = peer.heartbeats.items.length;
    assert.ok(queued <= 10, `${queued} heartbeats were queued`);
    peer.request("c", "1");
    // The connection may have been given up just as it came to stand; then there is a next one.
    while (peer.inbox.items.length === 0 && broker.joined.items.length === 0) await pause(5);
    answered = peer.inbox.items.length > 0;
    if (answered) await peer.expect("MDPW02", [4], "c", "", "1");
  }
  await worker.close();
  await Deno.remove(directory, { recursive: true });
});

Deno.test("`connect` does nothing when connected, and makes a new connection when told to", async () => {
  await using broker = new FakeBroker();
  await using worker = broker.worker();
  worker.connect();
  const first = await broker.ready();
  first.request("c", "1");
  const request = await worker.waitForRequest();
  for (const options of [undefined, false, { reconnect: false }]) worker.connect(options);
  worker.connect(true);
  assert.equal(worker.isConnected, true);
  await first.expect("MDPW02", [6]);
  const second = await broker.ready();
  assert.notEqual(second.name, first.name);
  assert.ok(request.signal.reason instanceof DisconnectedError);
  await assert.rejects(request.final("late"), DisconnectedError);
  assert.equal(broker.peers.size, 2);
});

// ---- what a broker should not send ----

const MALFORMED: [name: string, frames: RawFrame[]][] = [
  ["empty", [""]],
  ["without a command", ["MDPW02"]],
  ["of another protocol", ["MDPW01", [5]]],
  ["of a client", ["MDPC02", [2], "echo", "1"]],
  ["of majortomo", ["", "MDPW02", [5]]],
  ["READY", ["MDPW02", [1], "echo"]],
  ["PARTIAL", ["MDPW02", [3], "c", "", "1"]],
  ["FINAL", ["MDPW02", [4], "c", "", "1"]],
  ["an unknown command", ["MDPW02", [7]]],
  ["a command of two bytes", ["MDPW02", [5, 5]]],
  ["an empty command", ["MDPW02", ""]],
  ["a HEARTBEAT with more", ["MDPW02", [5], "x"]],
  ["a DISCONNECT with more", ["MDPW02", [6], "x"]],
  ["a REQUEST without a client", ["MDPW02", [2]]],
  ["a REQUEST with an empty client", ["MDPW02", [2], "", "", "1"]],
  ["a REQUEST without a delimiter", ["MDPW02", [2], "c"]],
  ["a REQUEST with a full delimiter", ["MDPW02", [2], "c", "x", "1"]],
  ["noise", [crypto.getRandomValues(new Uint8Array(100))]],
];
for (const [name, frames] of MALFORMED) {
  Deno.test(`\`Worker\` drops a message and goes on when it is ${name}`, async () => {
    using log = captureLog();
    await using broker = new FakeBroker();
    await using worker = broker.worker();
    worker.serve((request) => request.frames);
    const peer = await broker.ready();
    peer.send(...frames);
    peer.request("c", "1");
    await peer.expect("MDPW02", [4], "c", "", "1");
    assert.equal(broker.peers.size, 1);
    const texts = log.texts().filter((text) => text.startsWith("warning"));
    assert.equal(texts.length, 1, `${texts}`);
    assert.ok(texts[0]!.includes(broker.endpoint), texts[0]);
  });
}

Deno.test("`Worker` logs only some when the broker sends nothing but nonsense", async () => {
  using log = captureLog();
  await using broker = new FakeBroker();
  await using worker = broker.worker();
  worker.serve((request) => request.frames);
  const peer = await broker.ready();
  for (let i = 0; i < 900; i++) peer.send("MDPW02", [1], "echo");
  peer.request("c", "1");
  await peer.expect("MDPW02", [4], "c", "", "1");
  const { length } = log.records.filter((record) => record.level === "warning");
  assert.ok(length >= 1 && length <= 50, `${length} lines`);
});

Deno.test("`Worker` answers in turn when the broker sends a request too many", async () => {
  using log = captureLog();
  await using broker = new FakeBroker();
  await using worker = broker.worker();
  let running = 0;
  worker.serve(async (request) => {
    assert.equal(running++, 0, "one at a time");
    await pause(10);
    running--;
    return request.frames;
  });
  const peer = await broker.ready();
  for (const body of ["1", "2", "3"]) peer.request(`client ${body}`, body);
  for (const body of ["1", "2", "3"]) {
    await peer.expect("MDPW02", [4], `client ${body}`, "", body);
  }
  assert.ok(log.texts().some((text) => /before the last was answered/.test(text)));
});

Deno.test("`Worker` keeps a bounded number when the broker sends requests without end", async () => {
  await using broker = new FakeBroker();
  await using worker = broker.worker();
  const gate = Promise.withResolvers<void>();
  let answered = 0;
  worker.serve(async () => {
    await gate.promise;
    answered++;
  });
  const peer = await broker.ready();
  for (let i = 0; i < 500; i++) peer.request("c", `${i}`);
  // It was read after all of those, if malformed messages are dropped in turn.
  using log = captureLog();
  peer.send("MDPW02", [1], "echo");
  await until(() => log.texts().some((text) => /Dropped a message/.test(text)), "all were read");
  gate.resolve();
  await until(() => answered === 101, "101 were answered", () => answered);
  await pause(30);
  assert.equal(answered, 101);
});

// ---- several logical workers ----

Deno.test("`Worker` has a socket for each and runs as many handlers when concurrency is 3", async () => {
  await using broker = new FakeBroker();
  await using worker = broker.worker({ concurrency: 3 });
  const gate = Promise.withResolvers<void>();
  let running = 0;
  worker.serve(async (request) => {
    running++;
    await gate.promise;
    return request.frames;
  });
  const peers = [await broker.ready(), await broker.ready(), await broker.ready()];
  assert.equal(new Set(peers.map((peer) => peer.name)).size, 3);
  for (const [i, peer] of peers.entries()) peer.request(`client ${i}`, `${i}`);
  await until(() => running === 3, "three handlers run at once", () => running);
  gate.resolve();
  for (const [i, peer] of peers.entries()) {
    await peer.expect("MDPW02", [4], `client ${i}`, "", `${i}`);
  }
});

Deno.test("`Worker` loses one registration only when one of several is told DISCONNECT", async () => {
  await using broker = new FakeBroker();
  await using worker = broker.worker({ concurrency: 2 });
  const requests: WorkerRequest[] = [];
  worker.serve(async (request) => {
    requests.push(request);
    await new Promise((resolve) => request.signal.addEventListener("abort", resolve));
  });
  const [one, two] = [await broker.ready(), await broker.ready()];
  one.request("a", "1");
  await until(() => requests.length === 1, "the first is in hand");
  two.request("b", "2");
  await until(() => requests.length === 2, "the second is in hand");
  one.send("MDPW02", [6]);
  await broker.ready();
  assert.deepEqual(requests.map((request) => request.signal.aborted), [true, false]);
  await requests[1]!.final("answer");
  await two.expect("MDPW02", [4], "b", "", "answer");
  assert.equal(broker.peers.size, 3);
});

Deno.test("`close` ends every logical worker when there are several", async () => {
  await using broker = new FakeBroker();
  await using worker = broker.worker({ concurrency: 3 });
  const served = worker.serve((request) => request.frames);
  const peers = [await broker.ready(), await broker.ready(), await broker.ready()];
  await worker.close();
  for (const peer of peers) await peer.expect("MDPW02", [6]);
  await served;
  assert.equal(worker.isConnected, false);
  await assert.rejects(worker.serve(() => ""), StateError);
});
