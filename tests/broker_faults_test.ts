// What breaks in the wild: processes that are killed, peers that do not read, that flood, or that
// leave without a word.

import assert from "node:assert/strict";
import { configure, type LogRecord, reset } from "@logtape/logtape";
import { Broker, type DialectName } from "../broker.ts";
import { Worker } from "../worker.ts";
import { Socket } from "../zmq/socket.ts";
import { BrokerProcess, Program } from "./broker_process.ts";
import { control } from "./hostile.ts";
import { run } from "./program.ts";
import { assertFrames, bytes, type RawFrame, RawSocket, show } from "./raw.ts";
import {
  assertAddsUp,
  C,
  C_FINAL,
  C_REQUEST,
  DISCONNECT,
  fence,
  FINAL,
  HEARTBEAT,
  READY,
  REQUEST,
  Stage,
  until,
  W,
} from "./stage.ts";

// ---- processes ----

for (const dialect of ["rfc", "majortomo", "multiplexed"]) {
  Deno.test(`${dialect}: a request is answered by another when its worker's process is killed`, async () => {
    await using stage = new Stage();
    const client = stage.peer("c");
    await using program = new Program("./stuck_worker.ts", [stage.endpoint, "echo", dialect]);
    assert.equal(await program.line(), "ready");
    await stage.until("registered", (stats) => stats.workers.registered === 1);
    client.send(C, C_REQUEST, "echo", "survive this");
    assert.equal(await program.line(), "survive this");
    const worker = await stage.worker("w", "echo");
    assert.equal(stage.broker.stats().workers.waiting, 1);
    const status = await program.kill("SIGKILL");
    assert.equal(status.signal, "SIGKILL");
    await worker.expect(W, REQUEST, "c", "", "survive this");
    worker.send(W, FINAL, "c", "", "survived");
    await client.expect(C, C_FINAL, "echo", "survived");
    const { workers, recovered } = stage.broker.stats();
    assert.deepEqual([workers.left.gone, recovered], [1, 1]);
  });

  Deno.test(`${dialect}: a request is answered by another when its worker's process is stopped but its connection stands`, async () => {
    await using stage = new Stage({
      heartbeatInterval: 50,
      heartbeatTimeout: 300,
      busyWorkerTimeout: 1_000,
    });
    const client = stage.peer("c");
    await using program = new Program("./stuck_worker.ts", [stage.endpoint, "echo", dialect]);
    assert.equal(await program.line(), "ready");
    client.send(C, C_REQUEST, "echo", "survive this");
    assert.equal(await program.line(), "survive this");
    program.child.kill("SIGSTOP");
    await stage.until("held for dead", (stats) => stats.workers.left.silent === 1);
    const worker = stage.peer("w");
    worker.send(W, READY, "echo");
    assertFrames(await worker.receiveButHeartbeats(), [W, REQUEST, "c", "", "survive this"]);
  });
}

Deno.test("workers that are alive stay when it was the broker that stood still", async () => {
  await using broker = await BrokerProcess.start({
    heartbeatInterval: 100,
    heartbeatTimeout: 2_000,
  });
  const workers = Array.from({ length: 20 }, () => RawSocket.dealer(broker.endpoints[0]!));
  await using client = RawSocket.dealer(broker.endpoints[0]!);
  for (const worker of workers) worker.send(W, READY, "echo");
  const heart = setInterval(() => workers.forEach((worker) => worker.send(W, HEARTBEAT)), 100);
  try {
    await fence(client);
    broker.child.kill("SIGSTOP");
    await new Promise((resolve) => setTimeout(resolve, 3_000));
    broker.child.kill("SIGCONT");
    // Long enough for any that is held for dead to be told.
    await new Promise((resolve) => setTimeout(resolve, 1_000));
    for (const worker of workers) {
      for (const frames of worker.unread) assertFrames(frames, [W, HEARTBEAT]);
    }
    const { left } = (await broker.stop()).workers;
    assert.deepEqual([left.silent, left.stopped], [0, 20]);
  } finally {
    clearInterval(heart);
    await Promise.all(workers.map((worker) => worker.close()));
  }
});

/** Stops the process that this is part of, and has it go on after so long. */
const STAND_STILL = `
  async function standStill(milliseconds) {
    const seconds = milliseconds / 1_000;
    new Deno.Command("sh", { args: ["-c", "sleep " + seconds + "; kill -CONT " + Deno.pid] }).spawn();
    Deno.kill(Deno.pid, "SIGSTOP");
    await new Promise((resolve) => setTimeout(resolve, milliseconds));
  }`;

for (const dialect of ["rfc", "multiplexed"]) {
  Deno.test(`${dialect}: a worker that stood still does not hold its broker for lost`, async () => {
    await using broker = new Broker({ bind: "tcp://127.0.0.1:*", heartbeatInterval: 100 });
    const [endpoint] = broker.bind();
    const { code, stdout, stderr } = await run(
      `import { Worker } from "./worker.ts"; ${STAND_STILL}
      await using worker = new Worker({
        broker: "${endpoint}", service: "echo", dialect: "${dialect}",
        heartbeatInterval: 100, heartbeatTimeout: 500,
      });
      worker.serve((request) => request.frames);
      await new Promise((resolve) => setTimeout(resolve, 300));
      await standStill(1_000);
      console.log(worker.isConnected);`,
      { flags: ["--allow-all"] },
    );
    assert.deepEqual({ code, stdout, stderr }, { code: 0, stdout: "true\n", stderr: "" });
    const { joined, left } = broker.stats().workers;
    assert.deepEqual([joined, left.silent, left.disconnect], [1, 0, 1]);
  });
}

Deno.test("a client that stood still does not send again what its broker has", async () => {
  await using broker = new Broker({ bind: "tcp://127.0.0.1:*" });
  const [endpoint] = broker.bind();
  await using worker = new Worker({ broker: endpoint, service: "slow" });
  worker.serve(async () => {
    await new Promise((resolve) => setTimeout(resolve, 2_500));
    return "done";
  });
  const { code, stdout, stderr } = await run(
    `import { Client } from "./client.ts"; ${STAND_STILL}
    await using client = new Client({
      broker: "${endpoint}", heartbeatInterval: 100, heartbeatTimeout: 500,
    });
    const call = client.request("slow");
    await new Promise((resolve) => setTimeout(resolve, 300));
    await standStill(1_000);
    console.log((await call).text());`,
    { flags: ["--allow-all"] },
  );
  assert.deepEqual({ code, stdout, stderr }, { code: 0, stdout: "done\n", stderr: "" });
  assert.deepEqual(broker.stats().accepted, 1);
});

Deno.test("peers go on with the broker that comes after the one that was killed", async () => {
  const first = await BrokerProcess.start({ heartbeatInterval: 100 });
  const [endpoint] = first.endpoints as [string];
  await using client = RawSocket.dealer(endpoint, { routingId: bytes("c") });
  await using worker = RawSocket.dealer(endpoint, { routingId: bytes("w") });
  worker.send(W, READY, "echo");
  client.send(C, C_REQUEST, "echo", "1");
  assertFrames(await worker.receiveButHeartbeats(), [W, REQUEST, "c", "", "1"]);
  worker.send(W, FINAL, "c", "", "1");
  await client.expect(C, C_FINAL, "echo", "1");
  await first[Symbol.asyncDispose]();

  await using second = await BrokerProcess.start({ bind: endpoint, heartbeatInterval: 100 });
  assert.deepEqual(second.endpoints, [endpoint]);
  // A live worker heartbeats on. What it sends before its socket sees the end is lost.
  const heart = setInterval(() => worker.send(W, HEARTBEAT), 50);
  try {
    assertFrames(await worker.receiveButHeartbeats(), [W, DISCONNECT]);
  } finally {
    clearInterval(heart);
  }
  // There may be more heartbeats of an unknown worker on their way, and answers to them.
  await fenceThrough(worker);
  worker.send(W, READY, "echo");
  await fenceThrough(client);
  client.send(C, C_REQUEST, "echo", "2");
  assertFrames(await worker.receiveButHeartbeats(), [W, REQUEST, "c", "", "2"]);
  worker.send(W, FINAL, "c", "", "2");
  await client.expect(C, C_FINAL, "echo", "2");
  const stats = await second.stop();
  assertFrames(await worker.receiveButHeartbeats(), [W, DISCONNECT]);
  assertAddsUp(stats);
  assert.deepEqual([stats.answered, stats.workers.left.stopped], [1, 1]);
});

/** Asks the broker, over and over as long as questions may get lost, and reads to the answer. */
async function fenceThrough(peer: RawSocket): Promise<void> {
  const question = `mmi.${crypto.randomUUID()}`;
  const ask = () => peer.send(C, C_REQUEST, question);
  ask();
  const timer = setInterval(ask, 1_000);
  try {
    while (!show(await peer.receive()).includes(question));
  } finally {
    clearInterval(timer);
  }
}

// ---- peers that do not read ----

/** A peer that sends and never reads. */
class Deaf implements AsyncDisposable {
  readonly #stage: Stage;
  readonly #socket: Socket;

  constructor(stage: Stage, name: string) {
    this.#stage = stage;
    const options = { linger: 0, receiveHighWaterMark: 1, routingId: bytes(name) };
    this.#socket = new Socket("DEALER", options);
    this.#socket.connect(stage.endpoint);
  }

  /** Whether the message was sent: it may not be while many are on their way. */
  send(...frames: RawFrame[]): boolean {
    return this.#socket.send(frames.map(bytes)) === "sent";
  }

  /**
   * Closes it, and waits until the broker knows. libzmq aborts the process (session_base.cpp:233,
   * its issue 3442) when a socket is closed with linger 0 in the moment in which a peer goes to
   * which it has sent half a message, so the broker may not be closed at the same time.
   */
  async [Symbol.asyncDispose](): Promise<void> {
    const { gone } = this.#stage.broker.stats().received;
    await this.#socket.close();
    await this.#stage.until("the broker knows", (stats) => stats.received.gone > gone);
  }
}

/** A request of the n-th time, as each client writes it. */
const ASKING: Record<DialectName, (service: string, n: number) => RawFrame[]> = {
  rfc: (service) => [C, C_REQUEST, service, "x"],
  majortomo: (service) => ["", C, [2], service, "x"],
  multiplexed: (service, n) => [
    control("MDPCX1", { command: 1, id: n.toString(16).padStart(16, "0") }),
    service,
    "x",
  ],
};

for (const [dialect, asking] of Object.entries(ASKING)) {
  Deno.test(`${dialect}: a client that never reads loses its replies, and others do not wait`, async () => {
    await using stage = new Stage({ sendHighWaterMark: 20, linger: 0 });
    const worker = await stage.worker("w", "big"), client = stage.peer("c");
    await using greedy = new Deaf(stage, "greedy");
    const big = new Uint8Array(2 ** 18);
    // As many as the kernel's buffers, libzmq's and the broker's will not hold.
    let asked = 0;
    while (stage.broker.stats().dropped.clientFull === 0) {
      assert.ok(++asked < 2_000, "nothing was ever dropped");
      assert.ok(greedy.send(...asking("big", asked)));
      await worker.expect(W, REQUEST, "greedy", "", "x");
      worker.send(W, FINAL, "greedy", "", big);
      // The polite one's turn comes with each of the greedy one's.
      client.send(C, C_REQUEST, "big", `${asked}`);
      await worker.expect(W, REQUEST, "c", "", `${asked}`);
      worker.send(W, FINAL, "c", "", `${asked}`);
      await client.expect(C, C_FINAL, "big", `${asked}`);
    }
    const { answered, dropped, workers } = stage.broker.stats();
    assert.equal(answered + dropped.clientFull, 2 * asked);
    assert.deepEqual([dropped.clientFull, workers.waiting], [1, 1]);
  });
}

Deno.test("a client that never reads gets `mmi.*` answers as far as they fit, and others do not wait", async () => {
  await using stage = new Stage({ sendHighWaterMark: 5, linger: 0 });
  await using greedy = new Deaf(stage, "greedy");
  const service = new Uint8Array(60_000).fill(65);
  service.set(bytes("mmi."));
  let asked = 0;
  await until(
    () => {
      for (let i = 0; i < 20 && asked < 2_000; i++) {
        if (!greedy.send(C, C_REQUEST, service)) break;
        asked++;
      }
      return asked === 2_000 && stage.broker.stats().mmi >= asked;
    },
    "all are handled",
    () => stage.broker.stats(),
  );
  await stage.assertServes();
});

/** How each worker registers, and answers the n-th request that it gets, of the client "c". */
const WORKING: Record<DialectName, { ready: RawFrame[]; final: (n: number) => RawFrame[] }> = {
  rfc: { ready: [W, READY, "big"], final: () => [W, FINAL, "c", "", "y"] },
  majortomo: { ready: ["", W, READY, "big"], final: () => ["", W, FINAL, "c", "", "y"] },
  multiplexed: {
    ready: [control("MDPWX1", { command: 1, id: "0".repeat(16), value: 1 }), "big"],
    // The first tokens of a broker are 1, 2, 3 and so on.
    final: (n) => [
      control("MDPWX1", { command: 4, id: n.toString(16).padStart(16, "0") }),
      "y",
    ],
  },
};

for (const [dialect, { ready, final }] of Object.entries(WORKING)) {
  Deno.test(`${dialect}: a worker that never reads is given up when it does not take what it is sent`, async () => {
    await using stage = new Stage({ sendHighWaterMark: 3, linger: 0, maxAttempts: 1_000 });
    await using sink = new Deaf(stage, "sink");
    const client = stage.peer("c"), big = new Uint8Array(2 ** 18);
    // It answers what it does not read: what it would need of that is known.
    sink.send(...ready);
    await stage.until("registered", (stats) => stats.workers.registered === 1);
    let asked = 0;
    while (stage.broker.stats().workers.left.full === 0) {
      assert.ok(++asked < 200, "it was never given up");
      const { dispatched } = stage.broker.stats();
      client.send(C, C_REQUEST, "big", big);
      await stage.until(
        "dispatched or given up",
        (stats) => stats.dispatched > dispatched || stats.workers.left.full > 0,
      );
      if (stage.broker.stats().workers.left.full > 0) break;
      sink.send(...final(asked));
      await client.expect(C, C_FINAL, "big", "y");
    }
    const worker = stage.peer("w");
    worker.send(W, READY, "big");
    await worker.expect(W, REQUEST, "c", "", big);
    worker.send(W, FINAL, "c", "", "y");
    await client.expect(C, C_FINAL, "big", "y");
    await stage.assertServes();
  });
}

Deno.test("`close` ends with the linger when a peer does not take what it was sent", async () => {
  await using program = await BrokerProcess.start({ linger: 200 });
  const [endpoint] = program.endpoints as [string];
  await using worker = RawSocket.dealer(endpoint, { routingId: bytes("w") });
  const options = { linger: 0, receiveHighWaterMark: 1, routingId: bytes("greedy") };
  await using greedy = new Socket("DEALER", options);
  greedy.connect(endpoint);
  worker.send(W, READY, "big");
  await fence(worker);
  for (let i = 0; i < 8; i++) {
    assert.equal(greedy.send([C, "\x01", "big", "x"]), "sent");
    await worker.expect(W, REQUEST, "greedy", "", "x");
    worker.send(W, FINAL, "greedy", "", new Uint8Array(2 ** 22));
  }
  await fence(worker);
  const stats = await program.stop();
  assert.equal(stats.answered, 8, "they were sent as far as the broker knows");
  await worker.expect(W, DISCONNECT);
});

// ---- floods ----

Deno.test("nothing is left of 500 connections when they were opened and abandoned", async () => {
  await using stage = new Stage();
  const { port } = new URL(stage.endpoint.replace("tcp:", "http:"));
  // Half of them never say a word of ZMTP.
  const mute = await Promise.all(
    Array.from({ length: 250 }, () => Deno.connect({ port: Number(port), hostname: "127.0.0.1" })),
  );
  for (let round = 0; round < 5; round++) {
    const peers = Array.from({ length: 50 }, () => stage.stranger());
    for (const [i, peer] of peers.entries()) {
      if (i % 2 === 0) peer.send(W, READY, `service ${i}`);
      else peer.send(C, C_REQUEST, `nobody's ${i}`, "x");
    }
    await stage.until(
      "all are there",
      ({ received: { ready, request } }) => ready + request === (round + 1) * 50,
    );
    await Promise.all(peers.map((peer) => peer.close()));
  }
  await stage.until("all are gone", (stats) => stats.received.gone === 250);
  await stage.assertServes();
  const { services, queued, workers, dropped } = stage.broker.stats();
  assert.deepEqual([services, queued, workers.registered], [0, 0, 0]);
  assert.deepEqual([dropped.clientGone, workers.left.gone], [125, 125]);
  for (const connection of mute) connection.close();
  await stage.assertServes();
});

Deno.test("others do not notice, and the log stays short, when one peer floods with READY", async () => {
  const records: LogRecord[] = [];
  await configure({
    sinks: { memory: (record) => void records.push(record) },
    loggers: [
      { category: "majortomo", sinks: ["memory"], lowestLevel: "info" },
      { category: ["logtape", "meta"], sinks: [], lowestLevel: "error" },
    ],
  });
  try {
    await using stage = new Stage();
    const flood = stage.peer("flood"), client = stage.peer("c");
    const worker = await stage.worker("w", "echo");
    const start = performance.now();
    for (let i = 0; i < 100; i++) {
      for (let j = 0; j < 50; j++) flood.send(W, READY, `service ${i * j}`);
      client.send(C, C_REQUEST, "echo", `${i}`);
      await worker.expect(W, REQUEST, "c", "", `${i}`);
      worker.send(W, FINAL, "c", "", `${i}`);
      await client.expect(C, C_FINAL, "echo", `${i}`);
    }
    await stage.until("all came", (stats) => stats.received.ready === 5_001);
    const seconds = Math.ceil((performance.now() - start) / 1_000) + 1;
    const { workers, services } = stage.broker.stats();
    assert.deepEqual([workers.left.violation, workers.registered, services], [2_500, 1, 1]);
    const warnings = records.filter(({ level }) => level !== "info").length;
    assert.ok(warnings <= 10 * seconds, `${warnings} warnings in ${seconds} s`);
    assert.ok(records.length <= 50 * seconds, `${records.length} records in ${seconds} s`);
  } finally {
    await reset();
  }
});
