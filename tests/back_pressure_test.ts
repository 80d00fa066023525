// Nobody buffers without end: a client and a worker against a broker that takes nothing, and refusals
// that are told at once.

import assert from "node:assert/strict";
import { Broker, type BrokerOptions } from "../broker.ts";
import { Client, ServiceError, TimeoutError } from "../client.ts";
import { Worker } from "../worker.ts";
import { FaultProxy } from "./fault_proxy.ts";
import { until } from "./stage.ts";

const BIG = new Uint8Array(20_000);

Deno.test("a client keeps nothing for a broker that takes nothing of requests that it has given up", async () => {
  await using broker = new Broker({ bind: "tcp://127.0.0.1:*" });
  const [endpoint] = broker.bind() as [string];
  await using proxy = new FaultProxy(endpoint);
  const options = { broker: proxy.endpoint, dialect: "multiplexed" } as const;
  await using client = new Client({ ...options, maxInFlight: 3_000 });
  assert.equal((await client.request("mmi.multiplexed")).text(), "200");
  proxy.stall();
  const given = 3_000;
  const calls = Array.from({ length: given }, () => client.request("x", BIG, { timeout: 300 }));
  for (const { status, reason } of await Promise.allSettled(calls) as PromiseRejectedResult[]) {
    assert.ok(status === "rejected" && reason instanceof TimeoutError, `${status} ${reason}`);
  }
  proxy.resume();
  // Behind all that was sent: then the broker has got that.
  assert.equal((await client.request("mmi.multiplexed")).text(), "200");
  const { request, cancel } = broker.stats().received;
  // libzmq and the kernel hold some; what they did not take was given up for good.
  assert.ok(request < given * 0.9, `${request} requests of ${given} were sent all the same`);
  assert.equal(cancel, request - 2, "each that was sent is cancelled");
});

Deno.test("a client has no more in flight than `maxInFlight`, and the others wait", async () => {
  await using broker = new Broker({ bind: "tcp://127.0.0.1:*" });
  const [endpoint] = broker.bind() as [string];
  await using client = new Client({ broker: endpoint, dialect: "multiplexed", maxInFlight: 20 });
  const calls = Array.from({ length: 200 }, (_, i) => client.request("later", `${i}`));
  await until(() => broker.stats().queued === 20, "20 are queued", () => broker.stats().queued);
  await using worker = new Worker({ broker: endpoint, service: "later", dialect: "multiplexed" });
  let most = 0;
  worker.serve((request) => {
    most = Math.max(most, broker.stats().queued + broker.stats().inFlight);
    return request.frames;
  });
  const replies = await Promise.all(calls);
  assert.deepEqual(replies.map((reply) => reply.text()), calls.map((_, i) => `${i}`));
  assert.ok(most <= 20, `${most} at a time`);
});

Deno.test("a handler that yields waits while the broker takes nothing, and nothing is lost", async () => {
  await using broker = new Broker({ bind: "tcp://127.0.0.1:*" });
  const [endpoint] = broker.bind() as [string];
  await using proxy = new FaultProxy(endpoint);
  await using worker = new Worker({
    broker: proxy.endpoint,
    service: "flood",
    dialect: "multiplexed",
    heartbeatTimeout: 30_000,
  });
  const parts = 6_000;
  let yielded = 0;
  worker.serve(async function* () {
    if (yielded === 0) proxy.stall();
    for (; yielded < parts; yielded++) yield BIG;
  });
  await using client = new Client({ broker: endpoint, dialect: "multiplexed" });
  const reply = client.request("flood");
  // It comes to rest: two looks, a while apart, see the same.
  let before = -1, seenAt = performance.now();
  await until(
    () => {
      if (performance.now() - seenAt < 200) return false;
      const resting = yielded > 0 && yielded === before;
      before = yielded;
      seenAt = performance.now();
      return resting;
    },
    "the handler waits",
    () => yielded,
  );
  assert.ok(yielded < parts * 0.9, `${yielded} parts were yielded into the void`);
  proxy.resume();
  assert.equal((await reply).parts.length, parts + 1);
});

// ---- refusals ----

/** How often a refusal is provoked: the quickest counts, since the machine may be busy. */
const TRIES = 10;
/** Within how many ms of the decision it is told. */
const SOON = 10;

async function assertToldSoon(
  what: string,
  provoke: () => Promise<[told: Promise<unknown>, decidedAt: () => number]>,
  check: (error: unknown) => boolean,
): Promise<void> {
  let quickest = Infinity;
  for (let i = 0; i < TRIES; i++) {
    const [told, decidedAt] = await provoke();
    const error = await told.then(() => undefined, (error) => error);
    quickest = Math.min(quickest, performance.now() - decidedAt());
    assert.ok(check(error), `${what}: ${error}`);
  }
  assert.ok(quickest < SOON, `${what}: told after ${quickest.toFixed(1)} ms at best`);
}

const isCode = (code: number) => (error: unknown) =>
  error instanceof ServiceError && error.code === code;

async function pair(options: BrokerOptions = {}): Promise<
  { broker: Broker; client: Client; endpoint: string } & AsyncDisposable
> {
  const broker = new Broker({ bind: "tcp://127.0.0.1:*", ...options });
  const [endpoint] = broker.bind() as [string];
  const client = new Client({ broker: endpoint, dialect: "multiplexed" });
  await client.request("mmi.multiplexed");
  return {
    broker,
    client,
    endpoint,
    async [Symbol.asyncDispose]() {
      await client.close();
      await broker.close();
    },
  };
}

Deno.test("a request that is not to wait fails with 404 in milliseconds when nobody serves", async () => {
  await using stage = await pair();
  await assertToldSoon("404", () => {
    const start = performance.now();
    const call = stage.client.request("nobody's", "x", { noWait: true });
    return Promise.resolve([call, () => start]);
  }, isCode(404));
});

Deno.test("a request fails with 429 in milliseconds when the queue is full", async () => {
  await using stage = await pair({ maxQueue: 0 });
  await assertToldSoon("429", () => {
    const start = performance.now();
    return Promise.resolve([stage.client.request("nobody's"), () => start]);
  }, isCode(429));
  assert.equal(stage.broker.stats().refused.queueFull, TRIES);
});

Deno.test("a request fails as late within milliseconds of its deadline", async () => {
  await using stage = await pair();
  await assertToldSoon("504", () => {
    const due = performance.now() + 60;
    return Promise.resolve([stage.client.request("later", "", { deadline: 60 }), () => due]);
  }, (error) => error instanceof TimeoutError);
});

Deno.test("a request that is sent once fails with 502 within milliseconds of its worker's end", async () => {
  await using stage = await pair();
  await assertToldSoon("502", async () => {
    const taken = Promise.withResolvers<void>();
    const worker = new Worker({
      broker: stage.endpoint,
      service: "x",
      dialect: "multiplexed",
      drain: 0,
    });
    worker.serve(() => (taken.resolve(), new Promise<void>(() => {})));
    const call = stage.client.request("x", "", { once: true });
    call.catch(() => {});
    await taken.promise;
    const endedAt = performance.now();
    worker.close();
    return [call, () => endedAt];
  }, isCode(502));
});

Deno.test("a request fails with 503 in milliseconds while the broker stops", async () => {
  await using stage = await pair({ drain: 60_000 });
  // Something that the drain waits for.
  const held = stage.client.request("later");
  held.catch(() => {});
  await until(() => stage.broker.stats().queued === 1, "it is queued");
  const closed = stage.broker.close();
  await assertToldSoon("503", () => {
    const start = performance.now();
    return Promise.resolve([stage.client.request("x"), () => start]);
  }, isCode(503));
  await stage.broker.close({ drain: 0 });
  await closed;
});
