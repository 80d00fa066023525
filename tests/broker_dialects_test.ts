// Every dialect of clients with every dialect of workers on one broker, byte by byte, and what
// bodies and names may be.

import assert from "node:assert/strict";
import { assertFrames, bytes, CX, type RawFrame, RawSocket, WX } from "./raw.ts";
import { C, fence, Stage, W } from "./stage.ts";

type Frames = readonly RawFrame[];

interface ClientDialect {
  request(service: RawFrame, body: Frames): Frames;
  partial(service: RawFrame, body: Frames): Frames;
  final(service: RawFrame, body: Frames): Frames;
}

interface WorkerDialect {
  ready(service: RawFrame): Frames;
  /** What the broker answers READY with. */
  welcome?: Frames;
  /** What a request is answered by: the client's address, or the token. */
  key(request: Uint8Array[]): Uint8Array;
  request(key: RawFrame, body: Frames): Frames;
  partial(key: RawFrame, body: Frames): Frames;
  final(key: RawFrame, body: Frames): Frames;
  heartbeat: Frames;
  disconnect: Frames;
}

const CLIENTS: Record<string, ClientDialect> = {
  "RFC 18": {
    request: (service, body) => [C, [1], service, ...body],
    partial: (service, body) => [C, [2], service, ...body],
    final: (service, body) => [C, [3], service, ...body],
  },
  "RFC 18 with a REQ's empty frame": {
    request: (service, body) => ["", C, [1], service, ...body],
    partial: (service, body) => ["", C, [2], service, ...body],
    final: (service, body) => ["", C, [3], service, ...body],
  },
  majortomo: {
    request: (service, body) => ["", C, [2], service, ...body],
    partial: (_, body) => ["", C, [3], ...body],
    final: (_, body) => ["", C, [4], ...body],
  },
  multiplexed: {
    request: (service, body) => [CX(1, 7), service, ...body],
    partial: (_, body) => [CX(2, 7), ...body],
    final: (_, body) => [CX(3, 7), ...body],
  },
};

const WORKERS: Record<string, WorkerDialect> = {
  "RFC 18": {
    ready: (service) => [W, [1], service],
    key: (request) => request[2]!,
    request: (client, body) => [W, [2], client, "", ...body],
    partial: (client, body) => [W, [3], client, "", ...body],
    final: (client, body) => [W, [4], client, "", ...body],
    heartbeat: [W, [5]],
    disconnect: [W, [6]],
  },
  majortomo: {
    ready: (service) => ["", W, [1], service],
    key: (request) => request[3]!,
    request: (client, body) => ["", W, [2], client, "", ...body],
    partial: (client, body) => ["", W, [3], client, "", ...body],
    final: (client, body) => ["", W, [4], client, "", ...body],
    heartbeat: ["", W, [5]],
    disconnect: ["", W, [6]],
  },
  multiplexed: {
    ready: (service) => [WX(1, 0, 1), service],
    welcome: [WX(5)],
    key: (request) => request[0]!.slice(8, 16),
    request: (token, body) => [WX(2, token), ...body],
    partial: (token, body) => [WX(3, token), ...body],
    final: (token, body) => [WX(4, token), ...body],
    heartbeat: [WX(5)],
    disconnect: [WX(6)],
  },
};

/** Registers a worker. */
async function register(worker: RawSocket, w: WorkerDialect, service: RawFrame): Promise<void> {
  worker.send(...w.ready(service));
  if (w.welcome !== undefined) await worker.expect(...w.welcome);
  await fence(worker);
}

/** The next message, a request of this client with this body. @returns Its address or token. */
async function receiveRequest(
  worker: RawSocket,
  w: WorkerDialect,
  client: RawFrame,
  body: Frames,
): Promise<Uint8Array> {
  const request = await worker.receive(), key = w.key(request);
  assertFrames(request, w.request(w.welcome === undefined ? client : key, body));
  return key;
}

const random = (size: number) => {
  const data = new Uint8Array(size);
  // As much as getRandomValues gives at once, over and over.
  const seed = crypto.getRandomValues(new Uint8Array(Math.min(size, 65_536)));
  for (let at = 0; at < size; at += seed.length) data.set(seed.subarray(0, size - at), at);
  return data;
};

const BODIES: Record<string, Frames> = {
  "one frame": ["hello"],
  "no frames": [],
  "an empty frame": [""],
  "empty frames around others": ["", "a", "", "", "b", ""],
  "frames that look like MDP": ["", "MDPC02", [1], "MDPW02", [6], ""],
  "every byte": [Uint8Array.from({ length: 256 }, (_, i) => i)],
  "1,000 frames": Array.from({ length: 1_000 }, (_, i) => i % 7 === 0 ? "" : `frame ${i}`),
};

for (const [clientName, c] of Object.entries(CLIENTS)) {
  for (const [workerName, w] of Object.entries(WORKERS)) {
    Deno.test(`a client of ${clientName} and a worker of ${workerName} understand each other`, async () => {
      await using stage = new Stage();
      const client = stage.peer("c"), worker = stage.peer("w");
      await register(worker, w, "echo");
      for (const [name, body] of Object.entries(BODIES)) {
        try {
          client.send(...c.request("echo", body));
          const key = await receiveRequest(worker, w, "c", body);
          worker.send(...w.heartbeat);
          worker.send(...w.partial(key, body));
          worker.send(...w.partial(key, ["part", "two"]));
          worker.send(...w.final(key, [...body].reverse()));
          await client.expect(...c.partial("echo", body));
          await client.expect(...c.partial("echo", ["part", "two"]));
          await client.expect(...c.final("echo", [...body].reverse()));
        } catch (error) {
          throw new Error(`with ${name}`, { cause: error });
        }
      }
      worker.send(...w.ready("echo"));
      await worker.expect(...w.disconnect);
      await fence(client);
      assert.deepEqual(
        Object.values(stage.broker.stats().invalid).filter((count) => count > 0),
        [],
      );
    });
  }
}

Deno.test("all dialects are told apart by the message when they are on one broker at once", async () => {
  await using stage = new Stage();
  const workers: { w: WorkerDialect; worker: RawSocket }[] = [];
  for (const [i, w] of Object.values(WORKERS).entries()) {
    const worker = stage.peer(`w${i}`);
    await register(worker, w, "echo");
    workers.push({ w, worker });
  }
  // One socket, whose every request is in another dialect: the answer is in that of its request.
  const client = stage.peer("c");
  let turn = 0;
  for (let round = 0; round < 3; round++) {
    for (const [name, c] of Object.entries(CLIENTS)) {
      const { w, worker } = workers[turn++ % workers.length]!;
      client.send(...c.request("echo", [name, `${round}`]));
      const key = await receiveRequest(worker, w, "c", [name, `${round}`]);
      worker.send(...w.final(key, [name]));
      await client.expect(...c.final("echo", [name]));
    }
  }
});

Deno.test("a request is passed on in its own dialect when its first worker is lost", async () => {
  await using stage = new Stage();
  const { "RFC 18": plain, majortomo: old } = WORKERS;
  const client = stage.peer("c"), c = CLIENTS.majortomo!;
  const first = await stage.oldWorker("w1", "echo"), second = await stage.worker("w2", "echo");
  client.send(...c.request("echo", ["x", ""]));
  await first.expect(...old!.request("c", ["x", ""]));
  first.send(...old!.disconnect);
  await second.expect(...plain!.request("c", ["x", ""]));
  second.send(...plain!.final("c", ["y"]));
  await client.expect(...c.final("echo", ["y"]));
});

for (const [workerName, w] of Object.entries(WORKERS)) {
  Deno.test(`a REQ socket is answered when the worker is of ${workerName}`, async () => {
    await using stage = new Stage();
    const req: RawSocket = stage.req(), worker = stage.peer("w");
    await register(worker, w, "echo");
    for (const [name, body] of Object.entries(BODIES)) {
      req.send(C, [1], "echo", ...body);
      const request = await worker.receive(), key = w.key(request);
      assertFrames(request, w.request(key, body));
      worker.send(...w.final(key, [name]));
      await req.expect(C, [3], "echo", name);
    }
  });
}

// ---- sizes ----

Deno.test("a body of 8 MiB frames crosses the broker unchanged", async () => {
  await using stage = new Stage();
  const client = stage.peer("c"), worker = await stage.worker("w", "echo");
  const size = 8 * 2 ** 20, frames = [random(size), random(0), random(size + 1)];
  client.send(C, [1], "echo", ...frames);
  const request = await worker.receive();
  assertFrames(request.slice(0, 4), [W, [2], "c", ""]);
  assertSame(request.slice(4), frames);
  worker.send(W, [4], "c", "", ...request.slice(4));
  const reply = await client.receive();
  assertFrames(reply.slice(0, 3), [C, [3], "echo"]);
  assertSame(reply.slice(3), frames);
});

Deno.test("a body of 100,000 frames crosses the broker unchanged", async () => {
  await using stage = new Stage();
  const client = stage.peer("c"), worker = await stage.worker("w", "echo");
  const frames = Array.from({ length: 100_000 }, (_, i) => bytes(`${i}`));
  client.send(C, [1], "echo", ...frames);
  const request = await worker.receive();
  assertSame(request.slice(4), frames);
  worker.send(W, [4], "c", "", ...frames);
  assertSame((await client.receive()).slice(3), frames);
});

/** Like `assertFrames`, for what is too long to be shown. */
function assertSame(actual: readonly Uint8Array[], expected: readonly Uint8Array[]): void {
  assert.equal(actual.length, expected.length);
  for (const [i, frame] of expected.entries()) {
    assert.equal(actual[i]!.length, frame.length, `the length of frame ${i}`);
    const wrong = frame.findIndex((byte, at) => byte !== actual[i]![at]);
    assert.equal(wrong, -1, `frame ${i} differs at byte ${wrong}`);
  }
}

// ---- names ----

const NAMES: Record<string, RawFrame> = {
  "a byte": "e",
  "text beyond ASCII": "Zürich 🚋",
  "bytes that are not UTF-8": [0xff, 0xfe, 0x00, 0x80, 0xc3],
  "a zero byte": [0],
  "the byte of an empty command": [1],
  "MDPC02": "MDPC02",
  "a JavaScript property": "__proto__",
  "constructor": "constructor",
  "255 bytes": random(255),
  "256 bytes": random(256),
  "257 bytes": random(257),
  "10,000 bytes": random(10_000),
};

for (const [what, name] of Object.entries(NAMES)) {
  Deno.test(`a service is served in every dialect when its name is ${what}`, async () => {
    await using stage = new Stage();
    const workers: (readonly [WorkerDialect, RawSocket])[] = [];
    for (const [workerName, w] of Object.entries(WORKERS)) {
      const worker = stage.peer(workerName);
      await register(worker, w, name);
      workers.push([w, worker]);
    }
    for (const [clientName, c] of Object.entries(CLIENTS)) {
      const client = stage.peer(`client ${clientName}`);
      for (const [w, worker] of workers) {
        client.send(...c.request(name, ["x"]));
        const key = await receiveRequest(worker, w, `client ${clientName}`, ["x"]);
        worker.send(...w.partial(key, ["y"]), "");
        worker.send(...w.final(key, ["z"]));
        await client.expect(...c.partial(name, ["y", ""]));
        await client.expect(...c.final(name, ["z"]));
      }
    }
    const asker = stage.peer("asker");
    asker.send(C, [1], "mmi.service", name);
    await asker.expect(C, [3], "mmi.service", "200");
    // Another name that differs in its last byte is another service.
    const other = bytes(name);
    other[other.length - 1]! ^= 1;
    asker.send(C, [1], "mmi.service", other);
    await asker.expect(C, [3], "mmi.service", "404");
  });
}

for (const length of [1, 2, 5, 255]) {
  Deno.test(`a client is answered when the address that it chose has ${length} bytes`, async () => {
    await using stage = new Stage();
    // libzmq keeps addresses that begin with a zero byte to itself.
    const address = random(length).map((byte, i) => i === 0 ? byte | 0x80 : byte);
    const client = RawSocket.dealer(stage.endpoint, { routingId: address });
    const worker = await stage.worker("worker", "echo");
    client.send(C, [1], "echo", "x");
    await worker.expect(W, [2], address, "", "x");
    worker.send(W, [4], address, "", "y");
    await client.expect(C, [3], "echo", "y");
    await client.close();
  });
}

Deno.test("a worker and a client on one socket do not get in each other's way", async () => {
  await using stage = new Stage();
  const both = await stage.worker("both", "echo");
  both.send(C, [1], "echo", "to myself");
  await both.expect(W, [2], "both", "", "to myself");
  both.send(W, [4], "both", "", "answer");
  await both.expect(C, [3], "echo", "answer");
});
