// This project's broker, client and worker with those of the Python project majortomo. They run
// where the variable MAJORTOMO_PYTHON names the folder that has its package `majortomo` (a
// checkout) and a Python with pyzmq is at hand (Debian: python3-zmq).

import assert from "node:assert/strict";
import { Client, TimeoutError } from "../client.ts";
import { Worker } from "../worker.ts";
import { Program } from "./broker_process.ts";
import { assertFrames } from "./raw.ts";
import { C, C_FINAL, C_PARTIAL, C_REQUEST, FINAL, PARTIAL, REQUEST, Stage, W } from "./stage.ts";

/** A Python that has pyzmq and finds majortomo. */
const python = Deno.env.has("MAJORTOMO_PYTHON")
  ? ["/usr/bin/python3", "python3"].find((command) => {
    try {
      const path = `import sys; sys.path.insert(0, ${
        JSON.stringify(Deno.env.get("MAJORTOMO_PYTHON"))
      })`;
      const args = ["-c", `${path}; import zmq, majortomo`];
      return new Deno.Command(command, { args, stderr: "null" }).outputSync().success;
    } catch {
      return false;
    }
  })
  : undefined;
const reason = !Deno.env.has("MAJORTOMO_PYTHON")
  ? " (ignored: MAJORTOMO_PYTHON is not set)"
  : python === undefined
  ? " (ignored: no Python with pyzmq and the package in MAJORTOMO_PYTHON)"
  : "";

function test(name: string, run: () => Promise<void>): void {
  Deno.test({ name: `majortomo: ${name}${reason}`, ignore: reason !== "", fn: run });
}

const start = (...args: string[]) => new Program("./interop_peer.py", args, { command: python });

/** A worker of majortomo that has connected. */
async function startWorker(endpoint: string, service: string, seconds = 0): Promise<Program> {
  const worker = start("worker", endpoint, service, `${seconds}`);
  assert.equal(await worker.line(), "ready");
  return worker;
}

const BODIES = [["hello"], ["", "a", ""], [""], ["\xff\x00\xfe", "b"], ["x".repeat(100_000)]];

test("its client and its worker talk through our broker", async () => {
  await using stage = new Stage();
  await using _worker = await startWorker(stage.endpoint, "echo");
  await using client = start("client", stage.endpoint, "echo", JSON.stringify(BODIES));
  for (const body of BODIES) {
    assert.deepEqual(JSON.parse(await client.line()), [["part"], [...body].reverse()]);
  }
  const { answered, invalid, unknown } = stage.broker.stats();
  assert.equal(answered, BODIES.length);
  assert.ok([...Object.values(invalid), unknown].every((count) => count === 0));
});

test("its worker answers a client of RFC 18 on our broker", async () => {
  await using stage = new Stage();
  await using _worker = await startWorker(stage.endpoint, "echo");
  const client = stage.peer("c");
  client.send(C, C_REQUEST, "echo", "a", "", "b");
  await client.expect(C, C_PARTIAL, "echo", "part");
  await client.expect(C, C_FINAL, "echo", "b", "", "a");
});

test("its client is answered by a worker of RFC 18 on our broker, and by the broker itself", async () => {
  await using stage = new Stage();
  const worker = await stage.worker("w", "echo");
  await using client = start("client", stage.endpoint, "echo", `[["a", ""], ["b"]]`);
  for (const body of [["a", ""], ["b"]]) {
    const request = await worker.receive();
    assertFrames(request, [W, REQUEST, request[2]!, "", ...body]);
    worker.send(W, PARTIAL, request[2]!, "", "1");
    worker.send(W, FINAL, request[2]!, "", "2", "3");
    assert.deepEqual(JSON.parse(await client.line()), [["1"], ["2", "3"]]);
  }
  await using asker = start("client", stage.endpoint, "mmi.service", `[["echo"], ["nothing"]]`);
  assert.equal(await asker.line(), `[["200"]]`);
  assert.equal(await asker.line(), `[["404"]]`);
});

test("its worker stays registered when it works for longer than the heartbeat timeout", async () => {
  await using stage = new Stage({
    heartbeatInterval: 50,
    heartbeatTimeout: 400,
    busyWorkerTimeout: 60_000,
  });
  await using _worker = await startWorker(stage.endpoint, "slow", 0.9);
  const client = stage.peer("c");
  for (let i = 0; i < 3; i++) client.send(C, C_REQUEST, "slow", `${i}`);
  for (let i = 0; i < 3; i++) {
    await client.expect(C, C_PARTIAL, "slow", "part");
    await client.expect(C, C_FINAL, "slow", `${i}`);
  }
  const { workers, dispatched } = stage.broker.stats();
  assert.deepEqual([workers.joined, workers.registered, dispatched], [1, 1, 3]);
  await stage.until("it heartbeats when idle", (stats) => stats.received.heartbeat > 5);
});

test("its worker's request is answered by another when it is killed", async () => {
  await using stage = new Stage();
  await using first = await startWorker(stage.endpoint, "echo", 600);
  const client = stage.peer("c");
  client.send(C, C_REQUEST, "echo", "x");
  await stage.until("dispatched", (stats) => stats.inFlight === 1);
  await using _second = await startWorker(stage.endpoint, "echo");
  await first.kill();
  await client.expect(C, C_PARTIAL, "echo", "part");
  await client.expect(C, C_FINAL, "echo", "x");
});

test("its worker is told when our broker stops", async () => {
  await using stage = new Stage();
  await using worker = await startWorker(stage.endpoint, "echo");
  await stage.until("registered", (stats) => stats.workers.registered === 1);
  await stage.broker.close();
  assert.equal(await worker.line(), "disconnected");
});

test("its broker and its worker serve our client", async () => {
  await using broker = start("broker");
  const endpoint = await broker.line();
  await using _worker = await startWorker(endpoint, "echo");
  await using client = new Client({ broker: endpoint, dialect: "majortomo" });
  const parts: string[][] = [];
  const decode = (frame: Uint8Array) => new TextDecoder().decode(frame);
  for await (const part of client.stream("echo", ["a", "", "b"])) {
    parts.push(part.frames.map(decode));
  }
  assert.deepEqual(parts, [["part"], ["b", "", "a"]]);
  const replies = await Promise.all(
    Array.from({ length: 20 }, (_, i) => client.request("echo", `${i}`)),
  );
  for (const [i, reply] of replies.entries()) assert.equal(decode(reply.frames.at(-1)!), `${i}`);
});

test("its broker and its client are served by our worker, however long that was idle", async () => {
  await using broker = start("broker");
  const endpoint = await broker.line();
  await using worker = new Worker({
    broker: endpoint,
    service: "echo",
    dialect: "majortomo",
    heartbeatInterval: 50,
  });
  const serving = worker.serve(async function* (request) {
    yield "part";
    return request.frames.toReversed();
  });
  for (let round = 0; round < 2; round++) {
    await using client = start("client", endpoint, "echo", JSON.stringify(BODIES));
    for (const body of BODIES) {
      assert.deepEqual(JSON.parse(await client.line()), [["part"], [...body].reverse()]);
    }
    // Twice the time after which its broker gives up a worker that does not heartbeat.
    if (round === 0) await new Promise((resolve) => setTimeout(resolve, 1_000));
  }
  await worker.close();
  await serving;
});

test("our worker registers anew when its broker is killed and another comes", async () => {
  const first = start("broker");
  const endpoint = await first.line();
  await using worker = new Worker({
    broker: endpoint,
    service: "echo",
    dialect: "majortomo",
    heartbeatInterval: 50,
    heartbeatTimeout: 400,
    backoff: 10,
  });
  const serving = worker.serve((request) => request.frames);
  await using client = new Client({ broker: endpoint, dialect: "majortomo" });
  assert.equal((await client.request("echo", "1")).text(), "1");
  await first[Symbol.asyncDispose]();
  await using second = start("broker", endpoint);
  assert.equal(await second.line(), endpoint);
  const reply = await client.request("echo", "2", { timeout: 1_000, retries: 20 });
  assert.equal(reply.text(), "2");
  await worker.close();
  await serving;
});

test("its broker goes on when our client and worker find nothing out, and the client fails in time", async () => {
  await using broker = start("broker");
  const endpoint = await broker.line();
  await using worker = new Worker({ broker: endpoint, service: "echo", drain: 0, linger: 0 });
  worker.connect();
  await using client = new Client({ broker: endpoint, linger: 0 });
  await assert.rejects(client.request("echo", "x", { timeout: 1_500 }), TimeoutError);
  await using _worker = await startWorker(endpoint, "theirs");
  await using old = new Client({ broker: endpoint, dialect: "majortomo" });
  assert.equal((await old.request("theirs", "x")).final.text(), "x");
});

for (const dialect of ["auto", "rfc", "majortomo"] as const) {
  test(`our client and worker of dialect ${dialect} talk with it through our broker`, async () => {
    await using stage = new Stage();
    await using worker = new Worker({ broker: stage.endpoint, service: "ours", dialect });
    const serving = worker.serve((request) => request.frames);
    await using theirs = start("client", stage.endpoint, "ours", JSON.stringify(BODIES));
    for (const body of BODIES) assert.deepEqual(JSON.parse(await theirs.line()), [body]);
    await using _worker = await startWorker(stage.endpoint, "theirs");
    await using client = new Client({ broker: stage.endpoint, dialect });
    const { frames } = await client.request("theirs", ["a", "", "b"]);
    assert.deepEqual(frames.map((frame) => new TextDecoder().decode(frame)).slice(-3), [
      "b",
      "",
      "a",
    ]);
    await worker.close();
    await serving;
  });
}
