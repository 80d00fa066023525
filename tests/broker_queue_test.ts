// How the broker queues requests and gives them to workers: order, fairness, bounds, expiry,
// recovery, and the counting of all that.

import assert from "node:assert/strict";
import { Broker, type BrokerStats } from "../broker.ts";
import { control } from "./hostile.ts";
import { assertFrames, bytes, RawSocket } from "./raw.ts";
import {
  assertAddsUp,
  C,
  C_FINAL,
  C_PARTIAL,
  C_REQUEST,
  DISCONNECT,
  fence,
  FINAL,
  HEARTBEAT,
  PARTIAL,
  READY,
  REQUEST,
  Stage,
  W,
} from "./stage.ts";

/** What a worker gets, as "client body", each answered at once. */
async function work(worker: RawSocket, count: number): Promise<string[]> {
  const seen: string[] = [];
  for (let i = 0; i < count; i++) {
    const message = await worker.receive();
    const [header, command, client, empty, body] = message;
    assertFrames([header!, command!, empty!], [W, REQUEST, ""]);
    seen.push(`${new TextDecoder().decode(client)} ${new TextDecoder().decode(body)}`);
    worker.send(W, FINAL, client!, "", body!);
  }
  return seen;
}

// ---- order ----

Deno.test("requests of one client are worked off first in, first out", async () => {
  await using stage = new Stage();
  const client = stage.peer("c");
  for (let i = 0; i < 20; i++) client.send(C, C_REQUEST, "echo", `${i}`);
  await fence(client);
  assert.equal(stage.broker.stats().queued, 20);
  const worker = stage.peer("w");
  worker.send(W, READY, "echo");
  const expected = Array.from({ length: 20 }, (_, i) => `c ${i}`);
  assert.deepEqual(await work(worker, 20), expected);
  for (let i = 0; i < 20; i++) await client.expect(C, C_FINAL, "echo", `${i}`);
});

Deno.test("a backlog is worked off in turns when several clients have one", async () => {
  await using stage = new Stage();
  const a = stage.peer("a"), b = stage.peer("b"), c = stage.peer("c");
  for (let i = 1; i <= 5; i++) await stage.ask(a, "echo", `${i}`);
  for (let i = 1; i <= 2; i++) await stage.ask(b, "echo", `${i}`);
  await stage.ask(c, "echo", "1");
  const worker = stage.peer("w");
  worker.send(W, READY, "echo");
  const expected = ["a 1", "b 1", "c 1", "a 2", "b 2", "a 3", "a 4", "a 5"];
  assert.deepEqual(await work(worker, 8), expected);
});

Deno.test("a newcomer's turn comes next round, however long the others' backlog", async () => {
  await using stage = new Stage();
  const a = stage.peer("a"), b = stage.peer("b"), worker = await stage.worker("w", "echo");
  for (let i = 0; i < 100; i++) a.send(C, C_REQUEST, "echo", `${i}`);
  await fence(a);
  await stage.ask(b, "echo", "0");
  assert.deepEqual(await work(worker, 4), ["a 0", "a 1", "b 0", "a 2"]);
  await work(worker, 97);
});

Deno.test("services do not hold up each other", async () => {
  await using stage = new Stage();
  const client = stage.peer("c"), worker = await stage.worker("w", "fast");
  for (let i = 0; i < 10; i++) client.send(C, C_REQUEST, "slow", `${i}`);
  client.send(C, C_REQUEST, "fast", "x");
  assert.deepEqual(await work(worker, 1), ["c x"]);
  await client.expect(C, C_FINAL, "fast", "x");
});

Deno.test("the least recently used worker gets the next request", async () => {
  await using stage = new Stage();
  const client = stage.peer("c");
  const one = await stage.worker("w1", "echo");
  const two = await stage.worker("w2", "echo");
  const three = await stage.worker("w3", "echo");
  for (const [worker, body] of [[one, "1"], [two, "2"], [three, "3"]] as const) {
    client.send(C, C_REQUEST, "echo", body);
    await worker.expect(W, REQUEST, "c", "", body);
  }
  for (const [worker, body] of [[two, "2"], [three, "3"], [one, "1"]] as const) {
    worker.send(W, FINAL, "c", "", body);
    await client.expect(C, C_FINAL, "echo", body);
  }
  for (const [worker, body] of [[two, "4"], [three, "5"], [one, "6"]] as const) {
    client.send(C, C_REQUEST, "echo", body);
    await worker.expect(W, REQUEST, "c", "", body);
  }
});

// ---- expiry ----

Deno.test("a request expires when its service has no worker for so long", async () => {
  await using stage = new Stage({ requestExpiry: 150 });
  const client = stage.peer("c"), start = performance.now();
  client.send(C, C_REQUEST, "nothing", "x");
  await stage.until("expired", (stats) => stats.expired === 1);
  assert.ok(performance.now() - start >= 150);
  const { queued, queuedBytes, services } = stage.broker.stats();
  assert.deepEqual([queued, queuedBytes, services], [0, 0, 0]);
  const worker = await stage.worker("w", "nothing");
  await fence(worker);
  await fence(client);
});

Deno.test("a request does not expire while its service has a worker, however busy", async () => {
  await using stage = new Stage({ requestExpiry: 100 });
  const client = stage.peer("c"), other = stage.peer("o");
  const worker = await stage.worker("w", "echo");
  client.send(C, C_REQUEST, "echo", "1");
  await worker.expect(W, REQUEST, "c", "", "1");
  await stage.ask(client, "echo", "2");
  // Asked later, and gone earlier.
  other.send(C, C_REQUEST, "nothing", "x");
  await stage.until("the other's expired", (stats) => stats.expired === 1);
  assert.deepEqual([stage.broker.stats().queued, stage.broker.stats().inFlight], [1, 1]);
  worker.send(W, FINAL, "c", "", "1");
  await worker.expect(W, REQUEST, "c", "", "2");
});

Deno.test("a request that came before any worker does not expire when one comes and is busy", async () => {
  await using stage = new Stage({ requestExpiry: 200 });
  const client = stage.peer("c"), other = stage.peer("o");
  await stage.ask(client, "echo", "1");
  await stage.ask(client, "echo", "2");
  await stage.ask(other, "nothing", "x");
  const worker = stage.peer("w");
  worker.send(W, READY, "echo");
  await worker.expect(W, REQUEST, "c", "", "1");
  await stage.until("the other's expired", (stats) => stats.expired === 1);
  worker.send(W, FINAL, "c", "", "1");
  await worker.expect(W, REQUEST, "c", "", "2");
});

Deno.test("a queued request expires when the last worker has been gone for so long", async () => {
  await using stage = new Stage({ requestExpiry: 150 });
  const client = stage.peer("c"), worker = await stage.worker("w", "echo");
  client.send(C, C_REQUEST, "echo", "1");
  await worker.expect(W, REQUEST, "c", "", "1");
  await stage.ask(client, "echo", "2");
  const start = performance.now();
  worker.send(W, DISCONNECT);
  await stage.until("both expired", (stats) => stats.expired === 2);
  assert.ok(performance.now() - start >= 150);
  assert.equal(stage.broker.stats().services, 0);
});

for (const requestExpiry of [0, Infinity]) {
  Deno.test(`a request never expires when \`requestExpiry\` is ${requestExpiry}`, async () => {
    await using stage = new Stage({ requestExpiry });
    await using clock = new Stage({ requestExpiry: 200 });
    const client = stage.peer("c"), ticker = clock.peer("c");
    await stage.ask(client, "later", "x");
    await clock.ask(ticker, "later", "x");
    await clock.until("the other broker's expired", (stats) => stats.expired === 1);
    const worker = stage.peer("w");
    worker.send(W, READY, "later");
    await worker.expect(W, REQUEST, "c", "", "x");
    assert.equal(stage.broker.stats().expired, 0);
  });
}

// ---- bounds ----

Deno.test("requests are refused and counted when `maxQueue` wait for their service", async () => {
  await using stage = new Stage({ maxQueue: 3 });
  const client = stage.peer("c");
  for (let i = 0; i < 5; i++) client.send(C, C_REQUEST, "full", `${i}`);
  client.send(C, C_REQUEST, "other", "x");
  await fence(client);
  const { queued, accepted, refused } = stage.broker.stats();
  assert.deepEqual([queued, accepted, refused.queueFull], [4, 4, 2]);
  const worker = stage.peer("w");
  worker.send(W, READY, "full");
  assert.deepEqual(await work(worker, 3), ["c 0", "c 1", "c 2"]);
  client.send(C, C_REQUEST, "full", "5");
  assert.deepEqual(await work(worker, 1), ["c 5"]);
});

Deno.test("requests are refused when `maxTotalQueue` wait in all", async () => {
  await using stage = new Stage({ maxTotalQueue: 3 });
  const client = stage.peer("c");
  for (let i = 0; i < 5; i++) client.send(C, C_REQUEST, `service ${i}`, "x");
  await fence(client);
  const { queued, services, refused } = stage.broker.stats();
  assert.deepEqual([queued, services, refused.queueFull], [3, 3, 2]);
});

Deno.test("requests are refused when `maxQueueBytes` wait for their service", async () => {
  await using stage = new Stage({ maxQueueBytes: 1_000 });
  const client = stage.peer("c");
  client.send(C, C_REQUEST, "full", new Uint8Array(1_001));
  client.send(C, C_REQUEST, "full", new Uint8Array(500), new Uint8Array(100));
  client.send(C, C_REQUEST, "full", new Uint8Array(401));
  client.send(C, C_REQUEST, "full", new Uint8Array(400));
  client.send(C, C_REQUEST, "full", "");
  client.send(C, C_REQUEST, "full", "x");
  client.send(C, C_REQUEST, "other", new Uint8Array(1_000));
  await fence(client);
  const { queued, queuedBytes, refused } = stage.broker.stats();
  assert.deepEqual([queued, queuedBytes, refused.queueFull], [4, 2_000, 3]);
});

Deno.test("requests are refused when `maxTotalQueueBytes` wait in all", async () => {
  await using stage = new Stage({ maxTotalQueueBytes: 1_000 });
  const client = stage.peer("c");
  client.send(C, C_REQUEST, "one", new Uint8Array(600));
  client.send(C, C_REQUEST, "two", new Uint8Array(401));
  client.send(C, C_REQUEST, "two", new Uint8Array(400));
  await fence(client);
  const { queued, queuedBytes, refused } = stage.broker.stats();
  assert.deepEqual([queued, queuedBytes, refused.queueFull], [2, 1_000, 1]);
});

Deno.test("a client that has `maxClientQueue` waiting is refused, in every dialect, and others are not", async () => {
  await using stage = new Stage({ maxClientQueue: 2, maxClientQueueBytes: 1_000 });
  const ask = (id: string) => control("MDPCX1", { command: 1, id });
  const own = stage.peer("rfc"), theirs = stage.peer("majortomo"), many = stage.peer("x");
  for (let i = 0; i < 4; i++) own.send(C, C_REQUEST, `service ${i}`, "x");
  for (let i = 0; i < 4; i++) theirs.send("", C, [2], "service 0", new Uint8Array(501));
  for (let i = 1; i <= 3; i++) many.send(ask(`000000000000000${i}`), "service 0", "x");
  // Only who speaks a dialect with errors is told.
  await many.expect(
    control("MDPCX1", { command: 4, id: "0000000000000003", value: 429 }),
    "Too many requests of this client are queued",
  );
  await fence(own);
  await stage.until("all came", ({ received }) => received.request >= 11);
  const { queued, refused } = stage.broker.stats();
  assert.deepEqual([queued, refused.clientQueueFull, refused.queueFull], [5, 6, 0]);
  const other = stage.peer("other"), worker = await stage.worker("w", "service 9");
  other.send(C, C_REQUEST, "service 9", "x");
  await worker.expect(W, REQUEST, "other", "", "x");
});

Deno.test("nothing is queued, but waiting workers are used, when `maxQueue` is 0", async () => {
  await using stage = new Stage({ maxQueue: 0 });
  const client = stage.peer("c"), worker = await stage.worker("w", "echo");
  client.send(C, C_REQUEST, "echo", "1");
  await worker.expect(W, REQUEST, "c", "", "1");
  await stage.ask(client, "echo", "2");
  worker.send(W, FINAL, "c", "", "1");
  await client.expect(C, C_FINAL, "echo", "1");
  await fence(worker);
  assert.equal(stage.broker.stats().refused.queueFull, 1);
});

// ---- recovery ----

Deno.test("a lost worker's request goes to the head of the queue, its frames unchanged", async () => {
  await using stage = new Stage();
  const client = stage.peer("c"), first = await stage.worker("w1", "echo");
  const big = crypto.getRandomValues(new Uint8Array(60_000));
  client.send(C, C_REQUEST, "echo", "", big, [0, 255], "");
  await first.expect(W, REQUEST, "c", "", "", big, [0, 255], "");
  await stage.ask(client, "echo", "next");
  await stage.ask(stage.peer("d"), "echo", "other");
  await first.close();
  await stage.until("recovered", (stats) => stats.recovered === 1);
  const second = stage.peer("w2");
  second.send(W, READY, "echo");
  await second.expect(W, REQUEST, "c", "", "", big, [0, 255], "");
  second.send(W, FINAL, "c", "", "done");
  await client.expect(C, C_FINAL, "echo", "done");
  assert.deepEqual((await work(second, 2)).sort(), ["c next", "d other"]);
});

for (const [how, maxAttempts] of [["3 by default", undefined], ["1", 1], ["2", 2]] as const) {
  Deno.test(`a request is dropped when \`maxAttempts\` workers were lost with it: ${how}`, async () => {
    await using stage = new Stage({ maxAttempts });
    const client = stage.peer("c"), attempts = maxAttempts ?? 3;
    await stage.ask(client, "poison", "x");
    for (let i = 0; i < attempts; i++) {
      const worker = stage.peer(`w${i}`);
      worker.send(W, READY, "poison");
      await worker.expect(W, REQUEST, "c", "", "x");
      worker.send(W, DISCONNECT);
      await fence(worker);
    }
    await stage.worker("last", "poison");
    await fence(client);
    const { dropped, dispatched, recovered, queued } = stage.broker.stats();
    assert.deepEqual(
      [dropped.attempts, dispatched, recovered, queued],
      [1, attempts, attempts - 1, 0],
    );
  });
}

Deno.test("a request counts as not tried by a worker that said DISCONNECT before it was sent", async () => {
  await using stage = new Stage({ maxAttempts: 1 });
  const client = stage.peer("c"), first = await stage.worker("w1", "echo");
  const second = await stage.worker("w2", "echo");
  // The broker, which is in this thread, finds both at once.
  client.send(C, C_REQUEST, "echo", "body");
  standStill(100);
  first.send(W, DISCONNECT);
  standStill(500);
  await second.expect(W, REQUEST, "c", "", "body");
  assert.equal(stage.broker.stats().dropped.attempts, 0);
});

Deno.test("a request is dropped, not sent again, when a PARTIAL was forwarded before its worker was lost", async () => {
  await using stage = new Stage();
  const client = stage.peer("c"), first = await stage.worker("w1", "echo");
  client.send(C, C_REQUEST, "echo", "x");
  await first.expect(W, REQUEST, "c", "", "x");
  first.send(W, PARTIAL, "c", "", "half");
  await client.expect(C, C_PARTIAL, "echo", "half");
  await first.close();
  await stage.until("dropped", (stats) => stats.dropped.partial === 1);
  await stage.worker("w2", "echo");
  await fence(client);
  assert.equal(stage.broker.stats().recovered, 0);
});

// ---- clients that go ----

Deno.test("queued requests are dropped when their client's connection is gone", async () => {
  await using stage = new Stage();
  const client = stage.stranger(), other = stage.peer("o");
  client.send(C, C_REQUEST, "one", "x");
  client.send(C, C_REQUEST, "one", "y");
  client.send(C, C_REQUEST, "two", "z");
  await fence(client);
  await stage.ask(other, "one", "mine");
  await client.close();
  await stage.until("dropped", (stats) => stats.dropped.clientGone === 3);
  const { queued, queuedBytes, services } = stage.broker.stats();
  assert.deepEqual([queued, queuedBytes, services], [1, 4, 1]);
  const worker = stage.peer("w");
  worker.send(W, READY, "one");
  assert.deepEqual(await work(worker, 1), ["o mine"]);
});

Deno.test("queued requests stay when their client chose its address: it may come back for the reply", async () => {
  await using stage = new Stage();
  const client = stage.peer("c");
  await stage.ask(client, "echo", "x");
  await client.close();
  await stage.until("gone", (stats) => stats.received.gone === 1);
  const again = stage.peer("c");
  await fence(again);
  const worker = stage.peer("w");
  worker.send(W, READY, "echo");
  assert.deepEqual(await work(worker, 1), ["c x"]);
  await again.expect(C, C_FINAL, "echo", "x");
});

Deno.test("a reply is dropped and its worker goes on when the client is gone", async () => {
  await using stage = new Stage();
  const client = stage.stranger(), other = stage.peer("o");
  const worker = await stage.worker("w", "echo");
  client.send(C, C_REQUEST, "echo", "x");
  const [, , address] = await worker.receive();
  await client.close();
  await stage.until("gone", (stats) => stats.received.gone === 1);
  worker.send(W, PARTIAL, address!, "", "half");
  worker.send(W, FINAL, address!, "", "whole");
  other.send(C, C_REQUEST, "echo", "y");
  assert.deepEqual(await work(worker, 1), ["o y"]);
  await other.expect(C, C_FINAL, "echo", "y");
  const { dropped, partials, answered } = stage.broker.stats();
  assert.deepEqual([dropped.clientGone, partials, answered], [1, 0, 1]);
});

// ---- memory ----

Deno.test("services are forgotten when they have neither workers nor requests", async () => {
  await using stage = new Stage({ requestExpiry: 50 });
  const client = stage.peer("c");
  for (let i = 0; i < 500; i++) client.send(C, C_REQUEST, `service ${i}`, "x");
  await stage.until("all expired", (stats) => stats.expired === 500);
  assert.equal(stage.broker.stats().services, 0);
  const worker = await stage.worker("w", "echo");
  assert.equal(stage.broker.stats().services, 1);
  worker.send(W, DISCONNECT);
  await fence(worker);
  assert.equal(stage.broker.stats().services, 0);
});

// ---- stats ----

Deno.test("`stats()` adds up at every step when all that can happen to a request has", async () => {
  await using stage = new Stage({ requestExpiry: 200, maxQueue: 4, maxAttempts: 1 });
  const step = async (peer: RawSocket, check: (stats: BrokerStats) => boolean) => {
    await fence(peer);
    await stage.until("step", check);
    assertAddsUp(stats());
  };
  const stats = () => stage.broker.stats();
  const client = stage.peer("c"), ghost = stage.stranger();
  const a = await stage.worker("a", "echo");
  client.send(C, C_REQUEST, "echo", "answered");
  await a.expect(W, REQUEST, "c", "", "answered");
  await step(client, ({ inFlight }) => inFlight === 1);
  a.send(W, PARTIAL, "c", "", "1");
  a.send(W, FINAL, "c", "", "2");
  await client.expect(C, C_PARTIAL, "echo", "1");
  await client.expect(C, C_FINAL, "echo", "2");
  await step(a, ({ answered }) => answered === 1);

  client.send(C, C_REQUEST, "echo", "broken off");
  await a.expect(W, REQUEST, "c", "", "broken off");
  a.send(W, PARTIAL, "c", "", "1");
  a.send(W, DISCONNECT);
  await client.expect(C, C_PARTIAL, "echo", "1");
  await step(a, ({ dropped }) => dropped.partial === 1);

  a.send(W, READY, "echo");
  client.send(C, C_REQUEST, "echo", "too often");
  await a.expect(W, REQUEST, "c", "", "too often");
  await a.close();
  await step(client, ({ dropped }) => dropped.attempts === 1);

  ghost.send(C, C_REQUEST, "echo", "nobody listens");
  await fence(ghost);
  await ghost.close();
  await step(client, ({ dropped }) => dropped.clientGone === 1);

  for (let i = 0; i < 6; i++) client.send(C, C_REQUEST, "echo", `${i}`);
  await step(client, ({ refused }) => refused.queueFull === 2);
  await step(client, ({ expired }) => expired === 4);

  const b = await stage.worker("b", "echo");
  client.send(C, C_REQUEST, "echo", "in flight");
  await b.expect(W, REQUEST, "c", "", "in flight");
  client.send(C, C_REQUEST, "echo", "queued");
  client.send(C, C_REQUEST, "mmi.service", "echo");
  client.send("no MDP");
  await client.expect(C, C_FINAL, "mmi.service", "200");
  await step(client, ({ queued, inFlight }) => queued === 1 && inFlight === 1);

  await stage.broker.close();
  assert.partialDeepStrictEqual(stats(), {
    accepted: 10,
    answered: 1,
    partials: 2,
    refused: { queueFull: 2, stopping: 0 },
    expired: 4,
    dispatched: 4,
    recovered: 0,
    dropped: { attempts: 1, partial: 1, clientGone: 1, clientFull: 0, stopped: 2 },
    unknown: 0,
    queued: 0,
    queuedBytes: 0,
    inFlight: 0,
    services: 0,
    invalid: { header: 1, delimiter: 0, command: 0, frames: 0, service: 0, size: 0 },
    workers: { registered: 0, waiting: 0, joined: 3 },
  });
  assertAddsUp(stats());
});

Deno.test("`stats()` is a copy that later traffic does not change", async () => {
  await using stage = new Stage();
  const before = stage.broker.stats(), snapshot = structuredClone(before);
  const client = stage.peer("c");
  await stage.ask(client, "echo", "x");
  client.send("no MDP");
  await stage.worker("w", "other");
  await fence(client);
  assert.deepEqual(before, snapshot);
  before.invalid.header = before.received.request = 1_000_000;
  assert.ok(stage.broker.stats().invalid.header < 10);
  assert.ok(stage.broker.stats().received.request < 10);
  assert.equal(bytes("x").length, stage.broker.stats().queuedBytes);
});

Deno.test("requests of very many empty frames are refused when they would outgrow `maxQueueBytes`", async () => {
  await using broker = new Broker({ bind: "tcp://127.0.0.1:*", maxQueueBytes: 2 ** 20 });
  const [endpoint] = broker.bind();
  await using client = RawSocket.dealer(endpoint!);
  const frames = Array.from({ length: 10_000 }, () => "");
  client.send("MDPC02", [1], "nobody", ...frames);
  client.send("MDPC02", [1], "nobody", ...frames);
  client.send("MDPC02", [1], "mmi.nonsense", "");
  await client.expect("MDPC02", [3], "mmi.nonsense", "501");
  const { accepted, refused } = broker.stats();
  assert.deepEqual({ accepted, queueFull: refused.queueFull }, { accepted: 1, queueFull: 1 });
});

Deno.test("a reply is dropped as invalid when it is larger than `maxMessageSize`", async () => {
  await using broker = new Broker({ bind: "tcp://127.0.0.1:*", maxMessageSize: 100 });
  const [endpoint] = broker.bind();
  await using worker = RawSocket.dealer(endpoint!);
  await using client = RawSocket.dealer(endpoint!);
  worker.send("MDPW02", [1], "echo");
  client.send("MDPC02", [1], "echo", "hello");
  const address = (await worker.receiveButHeartbeats())[2]!;
  worker.send("MDPW02", [4], address, "", "x".repeat(60), "y".repeat(60));
  worker.send("MDPW02", [4], address, "", "x".repeat(60), "y".repeat(40));
  await client.expect("MDPC02", [3], "echo", "x".repeat(60), "y".repeat(40));
  assert.equal(broker.stats().invalid.size, 1);
});

Deno.test("a worker is told to go, and another asked, when its answer was invalid and no right one follows", async () => {
  await using stage = new Stage({
    maxMessageSize: 100,
    heartbeatInterval: 50,
    heartbeatTimeout: 300,
  });
  const client = stage.peer("c"), first = await stage.worker("w1", "echo");
  client.send(C, C_REQUEST, "echo", "body");
  await first.expect(W, REQUEST, "c", "", "body");
  const second = await stage.worker("w2", "echo");
  const heart = setInterval(() => [first, second].forEach((peer) => peer.send(W, HEARTBEAT)), 50);
  try {
    first.send(W, FINAL, "c", "", "x".repeat(60), "y".repeat(60));
    assertFrames(await second.receiveButHeartbeats(), [W, REQUEST, "c", "", "body"]);
    assertFrames(await first.receiveButHeartbeats(), [W, DISCONNECT]);
    assert.equal(stage.broker.stats().workers.left.violation, 1);
  } finally {
    clearInterval(heart);
  }
});

/** Has the event loop wait, and so the broker in it, but nobody else. */
function standStill(milliseconds: number): void {
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, milliseconds);
}
