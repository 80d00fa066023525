// What networks do to connections, between the real broker, client and worker, in all dialects.

import assert from "node:assert/strict";
import { Broker, type BrokerStats } from "../broker.ts";
import { Client, type ClientOptions } from "../client.ts";
import type { DialectOption } from "../options.ts";
import { Worker, type WorkerOptions } from "../worker.ts";
import { Program } from "./broker_process.ts";
import { FaultProxy } from "./fault_proxy.ts";
import { assertAddsUp, until } from "./stage.ts";

const DIALECTS: readonly DialectOption[] = ["rfc", "majortomo", "multiplexed"];

/** Intervals that let a test see silence, and that a loaded machine keeps. */
const HEARTBEATS = { heartbeatInterval: 100, heartbeatTimeout: 1_000 };

/** A broker, and clients and workers that reach it through proxies. */
class Network implements AsyncDisposable {
  readonly broker: Broker;
  readonly endpoint: string;
  readonly dialect: DialectOption;
  readonly #all = new AsyncDisposableStack();

  constructor(dialect: DialectOption, { linger = 0 }: { linger?: number } = {}) {
    this.broker = new Broker({
      bind: "tcp://127.0.0.1:*",
      ...HEARTBEATS,
      busyWorkerTimeout: 3_000,
      linger,
    });
    this.endpoint = this.broker.bind()[0]!;
    this.dialect = dialect;
    this.#all.defer(async () => {
      await this.broker.close();
      assertAddsUp(this.broker.stats());
    });
  }

  proxy(): FaultProxy {
    return this.#all.use(new FaultProxy(this.endpoint));
  }

  client(broker: string, options: ClientOptions = {}): Client {
    const { dialect } = this;
    return this.#all.use(
      new Client({ broker, dialect, timeout: 20_000, backoff: 5, maxBackoff: 50, ...options }),
    );
  }

  /** A worker that the broker has registered, that of the name in the answers. */
  async worker(
    name: string,
    broker: string,
    handle: (text: string) => Promise<string> | string = (text) => text,
    options: Partial<WorkerOptions> = {},
  ): Promise<Worker> {
    const { joined } = this.broker.stats().workers;
    const worker = this.#all.use(
      new Worker({
        broker,
        service: "echo",
        dialect: this.dialect,
        ...HEARTBEATS,
        backoff: 5,
        maxBackoff: 50,
        drain: 0,
        linger: 0,
        ...options,
      }),
    );
    worker.serve(async (request) => `${name}: ${await handle(request.text())}`);
    await this.until("the worker is registered", (stats) => stats.workers.joined > joined);
    return worker;
  }

  until(what: string, condition: (stats: BrokerStats) => boolean): Promise<void> {
    return until(() => condition(this.broker.stats()), what, () => this.broker.stats(), 20_000);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#all.disposeAsync();
  }
}

/** A handler that takes a request and never answers it. */
function stuck(): { taken: Promise<void>; handle: () => Promise<string> } {
  const { promise: taken, resolve } = Promise.withResolvers<void>();
  const never = new Promise<string>(() => {});
  return { taken, handle: () => (resolve(), never) };
}

/** Texts of many lengths, for replies that differ. */
const TEXTS = Array.from({ length: 40 }, (_, i) => `${i} `.padEnd(1 + i * i * 7, "x"));

for (const dialect of DIALECTS) {
  Deno.test(`${dialect}: replies are right when every piece is late and small`, async () => {
    await using network = new Network(dialect);
    const here = network.proxy(), there = network.proxy();
    await network.worker("w", there.endpoint, undefined, { concurrency: 4 });
    Object.assign(here.faults, { delay: 3, piece: 700 });
    Object.assign(there.faults, { delay: 2, piece: 1_000 });
    const client = network.client(here.endpoint);
    const replies = await Promise.all(TEXTS.map((text) => client.request("echo", text)));
    assert.deepEqual(replies.map((reply) => reply.text()), TEXTS.map((text) => `w: ${text}`));
  });

  Deno.test(`${dialect}: a connection stands though its first bytes come one by one`, async () => {
    await using network = new Network(dialect);
    const here = network.proxy();
    Object.assign(here.faults, { delay: 1, piece: 1 });
    await network.worker("w", network.endpoint);
    const reply = await network.client(here.endpoint).request("echo", "slow");
    assert.equal(reply.text(), "w: slow");
  });

  Deno.test(`${dialect}: a reply that is on its way arrives though its broker has gone`, async () => {
    await using network = new Network(dialect, { linger: 20_000 });
    const here = network.proxy(), long = "x".repeat(4e6);
    await network.worker("w", network.endpoint);
    const client = network.client(here.endpoint, { retries: 0 });
    await client.request("echo", "first");
    Object.assign(here.faults, { delay: 2, piece: 65_536 });
    const reply = client.request("echo", long);
    await network.until("the reply is on its way", ({ answered }) => answered === 2);
    await network.broker.close();
    assert.equal((await reply).text(), `w: ${long}`);
  });

  Deno.test(`${dialect}: every request is answered though the client's connections are cut`, async () => {
    await using network = new Network(dialect);
    const here = network.proxy();
    await network.worker("w", network.endpoint, undefined, { concurrency: 4 });
    const client = network.client(here.endpoint, { timeout: 500, retries: 60 });
    let asked = 0, cuts = 0;
    const all = Array.from({ length: 8 }, async (_, i) => {
      for (let n = 0; n < 25; n++) {
        asked++;
        const text = `${i}/${n}`;
        assert.equal((await client.request("echo", text)).text(), `w: ${text}`);
      }
    });
    const done = Promise.all(all);
    for (let over = false; !over;) {
      over = await Promise.race([
        done.then(() => true),
        new Promise<boolean>((resolve) => setTimeout(() => resolve(false), 60)),
      ]);
      if (cuts < 8 && here.standing > 0 && ++cuts > 0) here.cut();
    }
    assert.equal(asked, 200);
    assert.ok(cuts > 0, "nothing was cut");
  });

  Deno.test(`${dialect}: a request goes to another worker when its worker's connection is cut`, async () => {
    await using network = new Network(dialect);
    const there = network.proxy(), { taken, handle } = stuck();
    await network.worker("lost", there.endpoint, handle);
    const reply = network.client(network.endpoint).request("echo", "x");
    await taken;
    await network.worker("other", network.endpoint);
    there.faults.refuse = true;
    const cutAt = performance.now();
    there.cut();
    assert.equal((await reply).text(), "other: x");
    const took = performance.now() - cutAt;
    // The promise is 100 ms; a loaded machine is given more, and less than any timeout.
    assert.ok(took < 900, `it took ${took.toFixed()} ms`);
    const { workers, recovered } = network.broker.stats();
    assert.deepEqual([workers.left.gone, workers.left.silent, recovered], [1, 0, 1]);
  });

  Deno.test(`${dialect}: a request goes to another worker when its worker's connection stands and nothing passes`, async () => {
    await using network = new Network(dialect);
    const there = network.proxy(), { taken, handle } = stuck();
    await network.worker("lost", there.endpoint, handle);
    const reply = network.client(network.endpoint).request("echo", "x");
    await taken;
    // A worker that heartbeats while it is busy is held to the heartbeat timeout.
    const { heartbeat } = network.broker.stats().received;
    await network.until("it heartbeats", ({ received }) => received.heartbeat >= heartbeat + 4);
    there.stall();
    // Its own next connection, too.
    await network.worker("other", network.endpoint);
    assert.equal((await reply).text(), "other: x");
    const { workers, recovered } = network.broker.stats();
    assert.deepEqual([workers.left.silent, recovered], [1, 1]);
  });

  Deno.test(`${dialect}: a worker is back when what was stuck flows again`, async () => {
    await using network = new Network(dialect);
    const there = network.proxy();
    await network.worker("w", there.endpoint);
    there.stall();
    await network.until("held for dead", ({ workers }) => workers.left.silent === 1);
    there.resume();
    await network.until("registered anew", ({ workers }) => workers.registered === 1);
    const client = network.client(network.endpoint, { retries: 20, timeout: 2_000 });
    assert.equal((await client.request("echo", "x")).text(), "w: x");
  });

  Deno.test(`${dialect}: a request is answered though the client's first connection gets stuck`, async () => {
    await using network = new Network(dialect);
    const here = network.proxy();
    await network.worker("w", network.endpoint);
    const client = network.client(here.endpoint, { timeout: 300, retries: 40, ...HEARTBEATS });
    assert.equal((await client.request("echo", "1")).text(), "w: 1");
    here.stall();
    const reply = client.request("echo", "2");
    const before = here.accepted;
    await until(() => here.accepted > before, "it connects anew", () => here.accepted);
    here.resume();
    assert.equal((await reply).text(), "w: 2");
  });

  for (const end of ["peer", "target"] as const) {
    const who = end === "peer" ? "worker" : "broker";
    Deno.test(`${dialect}: a request goes to another worker when the ${who} is told that nothing more comes`, async () => {
      await using network = new Network(dialect);
      const there = network.proxy(), { taken, handle } = stuck();
      await network.worker("lost", there.endpoint, handle);
      const reply = network.client(network.endpoint).request("echo", "x");
      await taken;
      await network.worker("other", network.endpoint);
      there.faults.refuse = true;
      await there.halfClose(end);
      assert.equal((await reply).text(), "other: x");
      assert.equal(network.broker.stats().workers.left.gone, 1);
    });
  }

  Deno.test(`${dialect}: client and worker find a broker that greets them with garbage at first`, async () => {
    await using network = new Network(dialect);
    const here = network.proxy(), there = network.proxy();
    const garbage = crypto.getRandomValues(new Uint8Array(2_000));
    here.faults.greeting = new TextEncoder().encode("HTTP/1.1 400 Bad Request\r\n\r\n");
    there.faults.greeting = garbage;
    const client = network.client(here.endpoint, { timeout: 1_000, retries: 30, ...HEARTBEATS });
    const reply = client.request("echo", "x");
    // If this fails before, then not with the end of the client.
    reply.catch(() => {});
    const worker = network.worker("w", there.endpoint);
    await until(
      () => here.accepted > 1 && there.accepted > 1,
      "both have tried more than once",
      () => [here.accepted, there.accepted],
      20_000,
    );
    here.faults.greeting = there.faults.greeting = undefined;
    await worker;
    assert.equal((await reply).text(), "w: x");
  });
}

// ---- a cable ----

async function ip(...args: string[]): Promise<boolean> {
  const { success } = await new Deno.Command("ip", { args, stdout: "null", stderr: "null" })
    .output().catch(() => ({ success: false }));
  return success;
}

/** A network namespace at the other end of a cable, as far as the system lets us have one. */
class Cable implements AsyncDisposable {
  readonly name = `mdp${Deno.pid}`;
  readonly here = "10.213.77.1";

  async lay(): Promise<boolean> {
    const { name } = this, there = `${name}t`;
    return await ip("netns", "add", name) &&
      await ip("link", "add", name, "type", "veth", "peer", "name", there) &&
      await ip("link", "set", there, "netns", name) &&
      await ip("addr", "add", `${this.here}/30`, "dev", name) &&
      await ip("link", "set", name, "up") &&
      await ip("-n", name, "addr", "add", "10.213.77.2/30", "dev", there) &&
      await ip("-n", name, "link", "set", there, "up");
  }

  async cut(): Promise<void> {
    assert.ok(await ip("link", "set", this.name, "down"));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await ip("link", "del", this.name);
    await ip("netns", "del", this.name);
  }
}

/** Whether there can be one here, tried once. */
async function canLayCables(): Promise<boolean> {
  await using cable = new Cable();
  return await cable.lay();
}

Deno.test({
  name: "a request goes to another worker when the cable to its worker is cut",
  ignore: !await canLayCables(),
  async fn() {
    await using cable = new Cable();
    assert.ok(await cable.lay());
    await using broker = new Broker({
      bind: [`tcp://${cable.here}:*`, "tcp://127.0.0.1:*"],
      heartbeatInterval: 100,
      heartbeatTimeout: 500,
      busyWorkerTimeout: 1_500,
      linger: 0,
    });
    const [there, here] = broker.bind() as [string, string];
    const under = ["ip", "netns", "exec", cable.name];
    await using program = new Program("./stuck_worker.ts", [there, "echo"], { under });
    assert.equal(await program.line(), "ready");
    await using client = new Client({ broker: here, dialect: "rfc", timeout: 20_000 });
    const reply = client.request("echo", "survive this");
    assert.equal(await program.line(), "survive this");
    await using worker = new Worker({
      broker: here,
      service: "echo",
      dialect: "rfc",
      heartbeatInterval: 100,
    });
    worker.serve((request) => request.text());
    await cable.cut();
    assert.equal((await reply).text(), "survive this");
    const { workers, recovered } = broker.stats();
    // Nothing tells of it but silence.
    assert.deepEqual([workers.left.silent, workers.left.gone, recovered], [1, 0, 1]);
  },
});
