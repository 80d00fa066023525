// The worker with the broker and the client of this project, and as a program of its own.

import assert from "node:assert/strict";
import { Broker } from "../broker.ts";
import { Client } from "../client.ts";
import { type RequestHandler, Worker, type WorkerOptions } from "../worker.ts";
import { Socket } from "../zmq/socket.ts";
import { bytes, type RawFrame } from "./raw.ts";
import { until } from "./stage.ts";
import { FakeBroker, pause } from "./worker_stage.ts";

/** A broker, a client, and as many workers as are asked for. */
class Trio {
  readonly broker = new Broker({ bind: "tcp://127.0.0.1:*" });
  readonly endpoint = this.broker.bind()[0]!;
  readonly client = new Client({ broker: this.endpoint, timeout: 10_000 });
  readonly workers: Worker[] = [];

  async serve(handler: RequestHandler, options: Partial<WorkerOptions> = {}): Promise<Worker> {
    const { registered } = this.broker.stats().workers;
    const worker = new Worker({
      broker: this.endpoint,
      service: "echo",
      dialect: "rfc",
      backoff: 10,
      ...options,
    });
    this.workers.push(worker);
    worker.serve(handler);
    await this.registered(registered + (options.concurrency ?? 1));
    return worker;
  }

  registered(count: number): Promise<void> {
    const stats = () => this.broker.stats().workers;
    return until(() => stats().registered === count, `${count} are registered`, stats);
  }

  async [Symbol.asyncDispose]() {
    await this.client.close();
    await Promise.all(this.workers.map((worker) => worker.close({ drain: 0 })));
    await this.broker.close();
  }
}

for (const dialect of ["rfc", "majortomo"] as const) {
  Deno.test(`requests are answered when the worker speaks ${dialect}`, async () => {
    await using trio = new Trio();
    await trio.serve(async function* (request) {
      for (const frame of request.frames) yield frame;
      return ["", request.text()];
    }, { dialect });
    for (let i = 0; i < 20; i++) {
      const { parts } = await trio.client.request("echo", [`${i}`, "", "x"]);
      assert.deepEqual(
        parts.map((part) => part.frames.map((frame) => new TextDecoder().decode(frame))),
        [[`${i}`], [""], ["x"], ["", `${i}x`]],
      );
    }
    const { registered, joined } = trio.broker.stats().workers;
    assert.deepEqual([registered, joined], [1, 1]);
  });
}

Deno.test("the broker finds no fault with a worker when many requests are answered at once", async () => {
  await using trio = new Trio();
  await trio.serve((request) => request.frames, { concurrency: 8 });
  const calls = Array.from({ length: 500 }, (_, i) => trio.client.request("echo", `${i}`));
  for (const [i, call] of calls.entries()) assert.equal((await call).text(), `${i}`);
  const stats = trio.broker.stats();
  assert.equal(stats.answered, 500);
  assert.equal(stats.workers.registered, 8);
  assert.ok(Object.values(stats.invalid).every((count) => count === 0));
  assert.equal(stats.unknown, 0);
});

Deno.test("a request goes to another worker when the handler of the first fails", async () => {
  await using trio = new Trio();
  let failures = 0;
  const failing = await trio.serve(() => {
    failures++;
    throw new Error("broken");
  }, { backoff: 60_000, maxBackoff: 60_000 });
  const reply = trio.client.request("echo", "hello");
  await until(() => failures === 1, "the first has it");
  await trio.registered(0);
  await trio.serve((request) => `${request.text()} from the second`);
  assert.equal((await reply).text(), "hello from the second");
  assert.equal(failing.isConnected, false);
});

Deno.test("a request is answered by the same worker when its handler fails twice", async () => {
  await using trio = new Trio();
  let calls = 0;
  await trio.serve(() => {
    if (++calls < 3) throw new Error("broken");
    return "at last";
  });
  assert.equal((await trio.client.request("echo", "hello")).text(), "at last");
  assert.equal(trio.broker.stats().recovered, 2);
});

Deno.test("handlers run at once when concurrency is 3", async () => {
  await using trio = new Trio();
  let running = 0, most = 0;
  await trio.serve(async (request) => {
    most = Math.max(most, ++running);
    await until(() => most === 3, "three run at once");
    running--;
    return request.frames;
  }, { concurrency: 3 });
  await Promise.all([1, 2, 3].map((i) => trio.client.request("echo", `${i}`)));
  assert.equal(most, 3);
});

Deno.test("a worker keeps its registration when its handler takes longer than the timeout", async () => {
  await using broker = new Broker({
    bind: "tcp://127.0.0.1:*",
    heartbeatInterval: 50,
    heartbeatTimeout: 400,
  });
  const [endpoint] = broker.bind();
  await using worker = new Worker({
    broker: endpoint,
    service: "slow",
    heartbeatInterval: 50,
    heartbeatTimeout: 400,
  });
  worker.serve(async ({ signal }) => {
    await pause(1_200);
    return signal.aborted ? "lost" : "kept";
  });
  await using client = new Client({ broker: endpoint });
  assert.equal((await client.request("slow", "?")).text(), "kept");
  assert.equal(broker.stats().workers.joined, 1);
});

Deno.test("a worker comes back when its broker is started anew", async () => {
  const first = new Broker({ bind: "tcp://127.0.0.1:*" });
  const endpoint = first.bind()[0]!;
  await using worker = new Worker({
    broker: endpoint,
    service: "echo",
    heartbeatInterval: 50,
    heartbeatTimeout: 500,
    backoff: 10,
    maxBackoff: 100,
  });
  worker.serve((request) => request.frames);
  await until(() => first.stats().workers.registered === 1, "it is registered");
  await first.close();
  await pause(100);
  await using second = new Broker({ bind: endpoint });
  second.bind();
  await using client = new Client({ broker: endpoint });
  assert.equal((await client.request("echo", "again")).text(), "again");
});

Deno.test("requests in hand are answered when the worker stops, and the rest by another", async () => {
  await using trio = new Trio();
  const gate = Promise.withResolvers<void>();
  let inHand = 0;
  const worker = await trio.serve(async () => {
    inHand++;
    await gate.promise;
    return "first";
  }, { concurrency: 2 });
  const held = [1, 2].map((i) => trio.client.request("echo", `${i}`));
  await until(() => inHand === 2, "both are in hand");
  const queued = trio.client.request("echo", "3");
  await until(() => trio.broker.stats().queued === 1, "the third waits");
  const closed = worker.close();
  gate.resolve();
  assert.deepEqual((await Promise.all(held)).map((reply) => reply.text()), ["first", "first"]);
  await closed;
  await trio.registered(0);
  await trio.serve(() => "second");
  assert.equal((await queued).text(), "second");
});

Deno.test("a request goes to another worker when the loop of the first is left", async () => {
  await using trio = new Trio();
  const first = new Worker({ broker: trio.endpoint, service: "echo" });
  const reply = trio.client.request("echo", "hello");
  for await (const request of first) {
    assert.equal(request.text(), "hello");
    break;
  }
  await trio.registered(0);
  await trio.serve(() => "second");
  assert.equal((await reply).text(), "second");
});

Deno.test("`partial` waits, and loses nothing, when the broker does not take what comes", async () => {
  const COUNT = 2_500, part = new Uint8Array(8_192);
  const router = new Socket("ROUTER", { linger: 0, receiveHighWaterMark: 10 });
  const worker = new Worker({
    broker: router.bind("tcp://127.0.0.1:*"),
    service: "echo",
    dialect: "rfc",
    heartbeatInterval: 3_600_000,
  });
  let sent = 0;
  const served = worker.serve(async (request) => {
    for (; sent < COUNT; sent++) {
      part[0] = sent % 256;
      await request.partial(part);
    }
    return "end";
  });
  const receive = async () => {
    let message: Uint8Array[] | undefined;
    await until(() => (message = router.receiveBytes()) !== undefined, "a message came");
    return message!;
  };
  const [identity] = await receive();
  const frames: RawFrame[] = [identity!, "MDPW02", [2], "c", "", "?"];
  assert.equal(router.send(frames.map(bytes)), "sent");
  let before = -1;
  await until(() => {
    const isStuck = sent > 0 && sent === before;
    before = sent;
    return isStuck;
  }, "no more is taken");
  assert.ok(sent < COUNT, `${sent} were taken, and nobody has read one`);
  for (let i = 0; i < COUNT; i++) {
    const [, , command, , , body] = await receive();
    assert.equal(command![0], 3);
    assert.equal(body![0], i % 256);
  }
  assert.equal((await receive())[2]![0], 4);
  await worker.close();
  await served;
  await router.close();
});

Deno.test({
  name: "a program that serves exits with 0 when it gets SIGTERM, after it has answered",
  ignore: Deno.build.os === "windows",
  async fn() {
    await using broker = new FakeBroker();
    const program = `
      import { Worker } from ${JSON.stringify(import.meta.resolve("../worker.ts"))};
      const worker = new Worker({ broker: Deno.args[0], service: "echo", dialect: "rfc" });
      worker.stopOnSignal();
      await worker.serve(async (request) => {
        await request.partial("working");
        await new Promise((resolve) => setTimeout(resolve, 150));
        return request.frames;
      });
      console.log("stopped");
    `;
    const child = new Deno.Command(Deno.execPath(), {
      args: ["run", "--allow-ffi", "--ext=ts", "-", broker.endpoint],
      cwd: new URL("..", import.meta.url),
      stdin: "piped",
      stdout: "piped",
      stderr: "piped",
    }).spawn();
    const stdin = child.stdin.getWriter();
    await stdin.write(new TextEncoder().encode(program));
    await stdin.close();
    const peer = await broker.ready();
    peer.request("c", "hello");
    await peer.expect("MDPW02", [3], "c", "", "working");
    child.kill("SIGTERM");
    await peer.expect("MDPW02", [4], "c", "", "hello");
    await peer.expect("MDPW02", [6]);
    const { code, stdout, stderr } = await child.output();
    const text = (output: Uint8Array) => new TextDecoder().decode(output);
    assert.equal(text(stderr), "");
    assert.equal(text(stdout), "stopped\n");
    assert.equal(code, 0);
  },
});
