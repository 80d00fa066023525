import assert from "node:assert/strict";
import { Broker, type ServicesAnswer, type ServiceStats, type WorkersAnswer } from "../broker.ts";
import manifest from "../deno.json" with { type: "json" };
import type { RawFrame, RawSocket } from "./raw.ts";
import {
  C,
  C_FINAL,
  C_PARTIAL,
  C_REQUEST,
  DISCONNECT,
  fence,
  FINAL,
  PARTIAL,
  READY,
  REQUEST,
  Stage,
  W,
} from "./stage.ts";

const HEX_W = "77";

/** Asks the broker for something that it answers in JSON. */
async function ask<T>(peer: RawSocket, name: string, ...body: RawFrame[]): Promise<T> {
  peer.send(C, C_REQUEST, name, ...body);
  const frames = await peer.receive();
  assert.equal(frames.length, 4, "one frame of body");
  return JSON.parse(new TextDecoder().decode(frames[3]));
}

/** Without the histograms. */
function counts({ wait: _, serviceTime: __, ...rest }: ServiceStats) {
  return rest;
}

const NOTHING = {
  workers: 0,
  waiting: 0,
  credit: 0,
  inFlight: 0,
  queued: 0,
  queuedBytes: 0,
  accepted: 0,
  answered: 0,
  errors: 0,
  expired: 0,
  dropped: 0,
  refused: 0,
  recovered: 0,
  partials: 0,
  workersLost: 0,
};

Deno.test("`services()` tells what each service has and has counted", async () => {
  await using stage = new Stage({ maxQueue: 2 });
  const { broker } = stage;
  assert.deepEqual(broker.services(), []);
  const worker = await stage.worker("w", "echo"), client = stage.peer("c");
  for (const body of ["answered", "in flight", "queued", "put", "refused"]) {
    client.send(C, C_REQUEST, "echo", body);
  }
  // All of them are there before the first is answered.
  await fence(client);
  await worker.expect(W, REQUEST, "c", "", "answered");
  worker.send(W, PARTIAL, "c", "", "1");
  worker.send(W, FINAL, "c", "", "2");
  await client.expect(C, C_PARTIAL, "echo", "1");
  await client.expect(C, C_FINAL, "echo", "2");
  await worker.expect(W, REQUEST, "c", "", "in flight");
  await stage.ask(client, "nobody", "12345");
  const [echo, nobody, ...others] = broker.services();
  assert.deepEqual(others, []);
  assert.deepEqual(counts(echo!), {
    ...NOTHING,
    name: "echo",
    workers: 1,
    credit: 1,
    inFlight: 1,
    queued: 1,
    queuedBytes: 6,
    accepted: 3,
    answered: 1,
    refused: 2,
    partials: 1,
  });
  assert.deepEqual(counts(nobody!), {
    ...NOTHING,
    name: "nobody",
    queued: 1,
    queuedBytes: 5,
    accepted: 1,
  });
  assert.deepEqual([echo!.wait.count, echo!.serviceTime.count], [2, 1]);
  assert.deepEqual([nobody!.wait.count, nobody!.wait.counts.length], [0, 21]);

  await worker.close();
  await stage.until("the worker's end", ({ recovered }) => recovered === 1);
  assert.partialDeepStrictEqual(broker.services()[0], {
    workers: 0,
    waiting: 0,
    credit: 0,
    inFlight: 0,
    queued: 2,
    recovered: 1,
    workersLost: 1,
  });
  // One that says so is not lost.
  const other = stage.peer("v");
  other.send(W, READY, "echo");
  await other.expect(W, REQUEST, "c", "", "in flight");
  other.send(W, DISCONNECT);
  await stage.until("its end", ({ workers: { left } }) => left.disconnect === 1);
  assert.equal(broker.services().find(({ name }) => name === "echo")!.workersLost, 1);
});

Deno.test("`services()` tells how long requests waited and were worked at", async () => {
  await using stage = new Stage();
  const client = stage.peer("c");
  await stage.ask(client, "slow", "x");
  await new Promise((resolve) => setTimeout(resolve, 40));
  const worker = stage.peer("w");
  worker.send(W, READY, "slow");
  await worker.expect(W, REQUEST, "c", "", "x");
  await new Promise((resolve) => setTimeout(resolve, 80));
  worker.send(W, FINAL, "c", "", "y");
  await client.expect(C, C_FINAL, "slow", "y");
  const [{ wait, serviceTime }] = stage.broker.services() as [ServiceStats];
  assert.deepEqual([wait.count, serviceTime.count], [1, 1]);
  assert.ok(wait.sum >= 0.039 && wait.sum < 10, `${wait.sum}`);
  assert.ok(serviceTime.sum >= 0.079 && serviceTime.sum < 10, `${serviceTime.sum}`);
  assert.ok(wait.counts.findIndex((count) => count > 0) > 7, `not beyond 32 ms: ${wait.counts}`);
});

Deno.test("`services()` forgets a service without workers and requests, `stats()` does not", async () => {
  await using stage = new Stage();
  await stage.assertServes();
  assert.deepEqual(stage.broker.services(), []);
  assert.equal(stage.broker.stats().answered, 1);
});

Deno.test("`workers()` tells of all workers, or of a service's", async () => {
  await using stage = new Stage();
  const { broker } = stage;
  await stage.worker("w", "echo");
  await stage.oldWorker("old", "other");
  const client = stage.peer("c");
  await stage.ask(client, "echo", "x");
  const [one, two] = broker.workers();
  const { registered, heard, ...rest } = one!;
  assert.deepEqual(rest, {
    identity: HEX_W,
    service: "echo",
    address: "127.0.0.1",
    dialect: "rfc",
    credit: 1,
    inFlight: 1,
  });
  assert.ok(registered >= heard && heard >= 0 && registered < 60_000, `${registered}, ${heard}`);
  assert.partialDeepStrictEqual(two, { service: "other", dialect: "majortomo", inFlight: 0 });
  assert.deepEqual(broker.workers("other").map(({ service }) => service), ["other"]);
  assert.deepEqual(broker.workers(new TextEncoder().encode("echo")).length, 1);
  assert.deepEqual(broker.workers("none"), []);
  assert.throws(() => broker.workers(""), TypeError);
  assert.throws(() => broker.workers(1 as never), TypeError);
});

Deno.test("names that are no UTF-8 are told with their bytes escaped", async () => {
  await using stage = new Stage();
  const name = new Uint8Array([0x61, 0x5c, 0xff]);
  await stage.worker("w", name);
  await stage.worker("v", "größe");
  assert.deepEqual(stage.broker.services().map(({ name }) => name), ["a\\x5c\\xff", "größe"]);
  const { services } = await ask<ServicesAnswer>(stage.peer("c"), "mmi.services", name);
  assert.deepEqual(services.map(({ name }) => name), ["a\\x5c\\xff"]);
});

Deno.test("`stats()` counts messages and their bytes in both directions", async () => {
  await using stage = new Stage();
  const client = stage.peer("c");
  await fence(client);
  const before = stage.broker.stats();
  await fence(client);
  const { messages, bytes } = stage.broker.stats();
  assert.deepEqual([messages.in - before.messages.in, messages.out - before.messages.out], [1, 1]);
  // MDPC02, the command, mmi.fence and what is empty; 501 in the answer.
  assert.deepEqual([bytes.in - before.bytes.in, bytes.out - before.bytes.out], [16, 19]);
  assert.deepEqual(new Broker().stats().messages, { in: 0, out: 0 });
});

Deno.test("`stats()` counts a peer's end as no message", async () => {
  await using stage = new Stage();
  const client = stage.stranger();
  await fence(client);
  const { messages } = stage.broker.stats();
  await client.close();
  await stage.until("the end", ({ received }) => received.gone === 1);
  assert.equal(stage.broker.stats().messages.in, messages.in);
});

// ---- mmi ----

Deno.test("`mmi.services` answers what `services()` tells, of all or of one", async () => {
  await using stage = new Stage();
  await stage.worker("w", "echo");
  await stage.worker("v", "größe");
  const client = stage.peer("c");
  const all = await ask<ServicesAnswer>(client, "mmi.services", "");
  assert.deepEqual(all, { services: stage.broker.services(), total: 2 });
  assert.deepEqual(await ask(client, "mmi.services"), all, "without a body");
  const one = await ask<ServicesAnswer>(client, "mmi.services", "größe", "and more");
  assert.deepEqual([one.total, one.services[0]!.name], [1, "größe"]);
  assert.deepEqual(await ask(client, "mmi.services", "none"), { services: [], total: 0 });
});

Deno.test("`mmi.workers` answers what `workers()` tells, of all or of a service's", async () => {
  await using stage = new Stage();
  await stage.worker("w", "echo");
  await stage.worker("v", "other");
  const client = stage.peer("c");
  const all = await ask<WorkersAnswer>(client, "mmi.workers", "");
  assert.deepEqual([all.total, all.workers.map(({ service }) => service)], [2, ["echo", "other"]]);
  const one = await ask<WorkersAnswer>(client, "mmi.workers", "echo");
  assert.deepEqual([one.total, one.workers.map(({ identity }) => identity)], [1, [HEX_W]]);
  assert.deepEqual(await ask(client, "mmi.workers", "none"), { workers: [], total: 0 });
});

Deno.test("`mmi.workers` and `mmi.services` leave out what is beyond their bounds, and tell", async () => {
  await using stage = new Stage();
  const client = stage.peer("c");
  for (let i = 0; i < 1_001; i++) {
    client.send(C, C_REQUEST, `service ${i}`, "");
    // libzmq holds 1,000 messages: the broker must have its turn before.
    if (i % 250 === 249) await ask(client, "mmi.ping");
  }
  const { services, total } = await ask<ServicesAnswer>(client, "mmi.services");
  assert.deepEqual([services.length, total], [1_000, 1_001]);
  assert.equal(stage.broker.services().length, 1_001);
});

Deno.test("docs/protocol.md names each member of `mmi.stats`", async () => {
  await using stage = new Stage();
  const text = await Deno.readTextFile(new URL("../docs/protocol.md", import.meta.url));
  const [, table] = /`mmi\.stats` has what([\s\S]*?)\n## /.exec(text)!;
  for (const member of Object.keys(stage.broker.stats())) {
    assert.ok(table!.includes(`\`${member}\``), member);
  }
});

Deno.test("`mmi.stats` answers what `stats()` tells", async () => {
  await using stage = new Stage();
  const told = await ask<Record<string, unknown>>(stage.peer("c"), "mmi.stats", "");
  const own = stage.broker.stats();
  assert.deepEqual(Object.keys(told), Object.keys(own));
  assert.partialDeepStrictEqual(told, { mmi: 1, messages: { in: 1, out: 0 }, queued: 0 });
});

Deno.test("`mmi.ping` answers how the broker is, while it drains too", async () => {
  await using stage = new Stage();
  const { broker } = stage;
  const client = stage.peer("c"), other = stage.peer("d");
  await stage.ask(other, "nobody", "x");
  assert.deepEqual([broker.isBound, broker.isDraining], [true, false]);
  const { uptime, ...ping } = await ask<{ uptime: number }>(client, "mmi.ping", "");
  assert.deepEqual(ping, {
    version: manifest.version,
    endpoints: [stage.endpoint],
    draining: false,
  });
  assert.ok(uptime > 0 && uptime < 60_000, `${uptime}`);
  const closed = broker.close({ drain: 30_000 });
  assert.deepEqual([broker.isBound, broker.isDraining], [true, true]);
  assert.partialDeepStrictEqual(await ask(client, "mmi.ping", ""), { draining: true });
  await broker.close({ drain: 0 });
  await closed;
  assert.deepEqual([broker.isBound, broker.isDraining], [false, false]);
});

Deno.test("`isBound` and `isDraining` are false before a broker is bound", async () => {
  const broker = new Broker({ bind: "tcp://127.0.0.1:*" });
  assert.deepEqual([broker.isBound, broker.isDraining], [false, false]);
  await broker.close();
  assert.deepEqual([broker.isBound, broker.isDraining], [false, false]);
});

Deno.test("`mmi.service` answers 200 for what the broker answers itself", async () => {
  await using stage = new Stage();
  const client = stage.peer("c");
  for (const name of ["mmi.services", "mmi.workers", "mmi.stats", "mmi.ping", "mmi.multiplexed"]) {
    client.send(C, C_REQUEST, "mmi.service", name);
    await client.expect(C, C_FINAL, "mmi.service", "200");
  }
});
