import assert from "node:assert/strict";
import { Broker } from "../broker.ts";
import { Socket } from "../zmq/socket.ts";
import { Harness, OPTIONS } from "./routing_shell.ts";
import { C, C_REQUEST, fence, FINAL, Stage, W } from "./stage.ts";

Deno.test("`reconfigure()` changes limits for what comes from then on", async () => {
  await using stage = new Stage({ maxQueue: 1 });
  const { broker } = stage;
  const client = stage.peer("c");
  for (const body of ["1", "2"]) client.send(C, C_REQUEST, "nobody", body);
  await fence(client);
  broker.reconfigure({ maxQueue: 3 });
  for (const body of ["3", "4", "5"]) client.send(C, C_REQUEST, "nobody", body);
  await fence(client);
  broker.reconfigure({ maxQueue: 2, maxAttempts: undefined });
  client.send(C, C_REQUEST, "nobody", "6");
  await fence(client);
  const { queued, refused } = broker.stats();
  assert.deepEqual([queued, refused.queueFull], [3, 3]);
});

Deno.test("`reconfigure()` holds what waits already to a shorter expiry, by when it came", async () => {
  await using stage = new Stage({ requestExpiry: 3_600_000 });
  const client = stage.peer("c");
  await stage.ask(client, "nobody", "x");
  stage.broker.reconfigure({ requestExpiry: 40 });
  await stage.until("the expiry", ({ expired }) => expired === 1);
});

Deno.test("`reconfigure()` forgets a silent worker when the timeout becomes shorter", async () => {
  await using stage = new Stage({ heartbeatTimeout: 3_600_000 });
  await stage.worker("w", "echo");
  stage.broker.reconfigure({ heartbeatInterval: 20, heartbeatTimeout: 60 });
  await stage.until("the worker's end", ({ workers }) => workers.left.silent === 1);
});

Deno.test("`reconfigure()` changes how long a stop may take", async () => {
  await using stage = new Stage();
  await stage.ask(stage.peer("c"), "nobody", "x");
  stage.broker.reconfigure({ drain: 30 });
  const before = performance.now();
  await stage.broker.close();
  assert.ok(performance.now() - before >= 29);
});

Deno.test("`reconfigure()` changes how long what was sent may take to leave", async () => {
  await using stage = new Stage({ linger: 30_000 });
  const worker = await stage.worker("w", "big");
  await using greedy = new Socket("DEALER", { linger: 0, receiveHighWaterMark: 1 });
  greedy.connect(stage.endpoint);
  for (let i = 0; i < 8; i++) {
    greedy.send([C, "\x01", "big", "x"]);
    const [, , client] = await worker.receive();
    worker.send(W, FINAL, client!, "", new Uint8Array(2 ** 22));
  }
  await fence(worker);
  stage.broker.reconfigure({ linger: 100 });
  const before = performance.now();
  await stage.broker.close();
  assert.ok(performance.now() - before < 10_000);
});

Deno.test("`reconfigure()` works on a broker that is not bound yet, and not on one that is closed", async () => {
  const broker = new Broker({ bind: "tcp://127.0.0.1:*" });
  broker.reconfigure({ maxQueue: 5, linger: 0 });
  await broker.close();
  assert.throws(() => broker.reconfigure({ maxQueue: 5 }), {
    name: "StateError",
    message: "The broker is closed",
  });
});

Deno.test("`reconfigure()` refuses what cannot change, or does not fit, and changes nothing then", async () => {
  await using stage = new Stage({ maxQueue: 1 });
  const { broker } = stage;
  const refuses = (options: object, name: string, message: string) =>
    assert.throws(() => broker.reconfigure({ maxQueue: 9, ...options }), { name, message });
  refuses(
    { bind: "tcp://127.0.0.1:1" },
    "TypeError",
    'bind cannot change while a broker runs, got "tcp://127.0.0.1:1"',
  );
  refuses(
    { maxMessageSize: 1 },
    "TypeError",
    "maxMessageSize cannot change while a broker runs, got 1",
  );
  refuses(
    { transport: "libzmq" },
    "TypeError",
    'transport cannot change while a broker runs, got "libzmq"',
  );
  refuses(
    { sendHighWaterMark: 1 },
    "TypeError",
    "sendHighWaterMark cannot change while a broker runs, got 1",
  );
  refuses({ maxAttempts: 0 }, "RangeError", "maxAttempts is a whole number of at least 1, got 0");
  refuses(
    { heartbeatTimeout: 100 },
    "RangeError",
    "heartbeatTimeout must be at least heartbeatInterval (3600000), got 100",
  );
  assert.throws(() => broker.reconfigure(null as never), TypeError);
  assert.throws(
    () => broker.reconfigure({ maxQueu: 5 } as never),
    /TypeError: .* have no "maxQueu", only /,
  );
  const client = stage.peer("c");
  for (const body of ["1", "2"]) client.send(C, C_REQUEST, "nobody", body);
  await fence(client);
  assert.equal(broker.stats().refused.queueFull, 1);
});

// ---- routing ----

Deno.test("`reconfigure` has requests expire by when they came, or by when their service lost its last worker", () => {
  const harness = new Harness({
    requestExpiry: 10_000,
    heartbeatTimeout: 1e6,
    heartbeatInterval: 1e6,
  });
  const { routing } = harness;
  harness.ready("w", "served");
  harness.request("c1", "served", "in flight");
  harness.request("c1", "served", "queued");
  harness.request("c2", "never", "early");
  harness.pass(1_000);
  harness.disconnect("w");
  harness.request("c2", "never", "late");
  assert.equal(routing.queued, 4);
  routing.reconfigure({ ...OPTIONS, requestExpiry: 1_500 }, harness.now);
  harness.pass(499);
  assert.equal(routing.counters.expired, 0);
  harness.pass(1);
  assert.equal(routing.counters.expired, 1, "what came 1,500 ms ago");
  harness.pass(999);
  assert.equal(routing.counters.expired, 1);
  harness.pass(1);
  assert.equal(routing.counters.expired, 4, "and what nobody serves for so long");
  harness.assertNothingLost();
});

Deno.test("`reconfigure` lets requests wait for longer", () => {
  const harness = new Harness({ requestExpiry: 1_000 });
  const { routing } = harness;
  harness.request("c", "never", "x");
  harness.ask("m", "never", 1, { timeToLive: 3_000 });
  routing.reconfigure({ ...OPTIONS, requestExpiry: Infinity }, harness.now);
  harness.pass(2_999);
  assert.equal(routing.counters.expired, 0);
  harness.pass(1);
  assert.equal(routing.counters.expired, 1, "by its own time to live");
  routing.reconfigure({ ...OPTIONS, requestExpiry: 1_000 }, harness.now);
  harness.pass(1);
  assert.equal(routing.counters.expired, 2, "late already");
  harness.assertNothingLost();
});

Deno.test("`reconfigure` moves heartbeats, and when a silent client of no known connection is lost", () => {
  const harness = new Harness({ heartbeatInterval: 1_000, heartbeatTimeout: 5_000 });
  const { routing } = harness;
  routing.seesGone = false;
  harness.ready("w", "echo");
  harness.ask("m", "never", 1);
  routing.clientHeartbeat("m", harness.now);
  harness.take();
  const options = { ...OPTIONS, requestExpiry: 1e6, heartbeatInterval: 100, heartbeatTimeout: 300 };
  routing.reconfigure(options, harness.now);
  harness.pass(100);
  assert.deepEqual(harness.take(), ["w < HEARTBEAT"]);
  harness.pass(200);
  assert.equal(routing.counters.left.silent, 1);
  assert.equal(routing.counters.dropped.clientGone, 1);
});
