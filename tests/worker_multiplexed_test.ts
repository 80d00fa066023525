// The worker in the multiplexed dialect on the wire, each rule of docs/multiplexed.md that binds
// it, and how it finds out what its broker speaks.

import assert from "node:assert/strict";
import { DisconnectedError, ServiceError, TimeoutError } from "../errors.ts";
import { Worker, type WorkerOptions, type WorkerRequest } from "../worker.ts";
import { Socket } from "../zmq/socket.ts";
import { bytes, type RawFrame, WX } from "./raw.ts";
import { until } from "./stage.ts";
import { captureLog, FakeBroker, pause, type Peer, soon } from "./worker_stage.ts";

const READY = 1, REQUEST = 2, PARTIAL = 3, FINAL = 4, HEARTBEAT = 5, DISCONNECT = 6, ERROR = 7;
const CANCEL = 8, CREDIT = 9;
const HEADERS = 1;

/** A control frame of the worker side. Ids up to 255 and values up to 65,535 are enough here. */
function control(command: number, id = 0, value = 0, flags = 0): RawFrame {
  const text = [0x4d, 0x44, 0x50, 0x57, 0x58, 0x31];
  return [...text, command, flags, 0, 0, 0, 0, 0, 0, 0, id, 0, 0, value >> 8, value & 0xff];
}

const QUESTION: RawFrame[] = ["MDPC02", [1], "mmi.multiplexed", ""];

/** Waits for a peer that asks, and answers it. */
async function asked(broker: FakeBroker, answer?: string): Promise<Peer> {
  const peer = await broker.joined.next("a socket that asks");
  await peer.expect(...QUESTION);
  if (answer !== undefined) peer.send("MDPC02", [3], "mmi.multiplexed", answer);
  return peer;
}

/** A worker for "echo", and the broker's view of it once it is registered. */
class Pair {
  readonly broker: FakeBroker;
  readonly worker: Worker;
  readonly #answer: Promise<Peer>;

  constructor(options: Partial<WorkerOptions> = {}) {
    this.broker = new FakeBroker();
    this.worker = this.broker.worker({ dialect: "multiplexed", concurrency: 4, ...options });
    this.#answer = this.broker.joined.next("a socket");
  }

  async registered(credit = 4): Promise<Peer> {
    const peer = await this.#answer;
    await peer.expect(control(READY, 0, credit), "echo");
    peer.send(control(HEARTBEAT));
    return peer;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.worker.close({ drain: 0 });
    await this.broker.close();
  }
}

// ---- finding out ----

Deno.test("Finding out: `auto` asks first and registers with its whole credit when told 200", async () => {
  await using broker = new FakeBroker();
  await using worker = broker.worker({ dialect: "auto", concurrency: 300 });
  worker.connect();
  const peer = await asked(broker);
  assert.equal(worker.isConnected, false);
  peer.assertNothingElse();
  peer.send("MDPC02", [3], "mmi.multiplexed", "200");
  await peer.expect(control(READY, 0, 300), "echo");
  assert.equal(worker.isConnected, true);
  assert.equal(broker.peers.size, 1);
});

Deno.test("Finding out: `auto` is so many workers of RFC 18 when told 501", async () => {
  await using broker = new FakeBroker();
  await using worker = broker.worker({ dialect: "auto", concurrency: 3 });
  worker.serve((request) => request.frames);
  const first = await asked(broker, "501");
  await first.expect("MDPW02", [1], "echo");
  for (const peer of [first, await broker.ready(), await broker.ready()]) {
    peer.request("c", "1");
    await peer.expect("MDPW02", [4], "c", "", "1");
  }
  assert.equal(broker.peers.size, 3);
});

Deno.test("Finding out: `auto` speaks RFC 18 after a second, a late 200 notwithstanding", async () => {
  using log = captureLog();
  await using broker = new FakeBroker();
  await using worker = broker.worker({
    dialect: "auto",
    heartbeatInterval: 100,
    heartbeatTimeout: 60_000,
  });
  worker.serve((request) => request.frames);
  const start = performance.now();
  const peer = await asked(broker);
  await peer.expect("MDPW02", [1], "echo");
  const elapsed = performance.now() - start;
  assert.ok(elapsed > 900 && elapsed < 5_000, `after ${elapsed} ms`);
  peer.send("MDPC02", [3], "mmi.multiplexed", "200");
  peer.request("c", "1");
  await peer.expect("MDPW02", [4], "c", "", "1");
  assert.deepEqual(log.texts().filter((text) => text.startsWith("warn")), []);
});

Deno.test("Finding out: the second begins when the broker is there", async () => {
  const nobody = new FakeBroker();
  const { endpoint } = nobody;
  await nobody.close();
  const worker = nobody.worker({ dialect: "auto" });
  worker.connect();
  await pause(1_200);
  assert.equal(worker.isConnected, false);
  await using broker = new FakeBroker("rfc", endpoint);
  const peer = await asked(broker, "200");
  await peer.expect(control(READY, 0, 1), "echo");
  await worker.close();
});

Deno.test("Finding out: a reconnection asks again, and goes from RFC 18 to one connection", async () => {
  await using broker = new FakeBroker();
  await using worker = broker.worker({ dialect: "auto", concurrency: 3 });
  worker.connect();
  const first = await asked(broker, "501");
  await first.expect("MDPW02", [1], "echo");
  const others = [await broker.ready(), await broker.ready()];
  first.send("MDPW02", [6]);
  const again = await asked(broker, "200");
  await again.expect(control(READY, 0, 3), "echo");
  for (const peer of others) await peer.expect("MDPW02", [6]);
  again.send(control(DISCONNECT));
  const back = await asked(broker, "501");
  await back.expect("MDPW02", [1], "echo");
  await broker.ready();
  await broker.ready();
});

Deno.test("Finding out: those that follow wait for the first when all are lost", async () => {
  await using broker = new FakeBroker();
  await using worker = broker.worker({ dialect: "auto", concurrency: 2 });
  worker.connect();
  const first = await asked(broker, "501");
  await first.expect("MDPW02", [1], "echo");
  const second = await broker.ready();
  first.send("MDPW02", [6]);
  second.send("MDPW02", [6]);
  const again = await asked(broker);
  await pause(50);
  assert.equal(broker.peers.size, 3);
  again.send("MDPC02", [3], "mmi.multiplexed", "501");
  await again.expect("MDPW02", [1], "echo");
  await broker.ready();
});

Deno.test("Finding out: those that follow turn to the broker that the first has found", async () => {
  const dead = new FakeBroker();
  await dead.close();
  await using one = new FakeBroker();
  await using two = new FakeBroker();
  const heartbeatTimeout = 1_000;
  await using worker = one.worker({
    broker: [one.endpoint, dead.endpoint, two.endpoint],
    dialect: "auto",
    concurrency: 2,
    heartbeatInterval: 100,
    heartbeatTimeout,
  });
  worker.connect();
  const first = await asked(one, "501");
  await first.expect("MDPW02", [1], "echo");
  for (const peer of [await one.ready(), first]) peer.send("MDPW02", [6]);
  await (await asked(two, "501")).expect("MDPW02", [1], "echo");
  const start = performance.now();
  await two.ready();
  const elapsed = performance.now() - start;
  assert.ok(
    elapsed < heartbeatTimeout / 2,
    `it waited ${elapsed} ms for the one that is not there`,
  );
});

Deno.test("Finding out: `concurrency` holds while sessions of RFC 18 end beside the one connection", async () => {
  await using broker = new FakeBroker();
  await using worker = broker.worker({ dialect: "auto", concurrency: 3 });
  const gates = new Map<string, () => void>();
  worker.serve(async (request) => {
    await new Promise<void>((resolve) => gates.set(request.text(), resolve));
    return request.frames;
  });
  const first = await asked(broker, "501");
  await first.expect("MDPW02", [1], "echo");
  const others = [await broker.ready(), await broker.ready()];
  for (const [i, peer] of others.entries()) peer.request("c", `${i}`);
  await until(() => gates.size === 2, "two are in hand");
  first.send("MDPW02", [6]);
  const one = await asked(broker, "200");
  await one.expect(control(READY, 0, 1), "echo");
  gates.get("0")!();
  await others[0]!.expect("MDPW02", [4], "c", "", "0");
  await others[0]!.expect("MDPW02", [6]);
  await one.expect(control(CREDIT, 0, 2));
  // And back: there is one less than there may be until the last of the old ones has ended.
  one.send(control(DISCONNECT));
  const back = await asked(broker, "501");
  await back.expect("MDPW02", [1], "echo");
  await broker.ready();
  await pause(20);
  assert.deepEqual(broker.joined.items, []);
  gates.get("1")!();
  await others[1]!.expect("MDPW02", [4], "c", "", "1");
  await broker.ready();
});

for (const dialect of ["rfc", "majortomo"] as const) {
  Deno.test(`Finding out: \`${dialect}\` never asks`, async () => {
    await using broker = new FakeBroker(dialect);
    await using worker = broker.worker({ dialect });
    worker.connect();
    await broker.ready();
  });
}

// ---- requests ----

Deno.test("Rule 1: requests are answered in any order, with parts, by their tokens", async () => {
  await using pair = new Pair();
  const gates = new Map<string, () => void>();
  pair.worker.serve(async function* (request) {
    yield ["part of", request.text()];
    await new Promise<void>((resolve) => gates.set(request.text(), resolve));
    return request.frames;
  });
  const peer = await pair.registered();
  for (const id of [1, 2, 3]) {
    peer.send(control(REQUEST, id), `${id}`);
    await peer.expect(control(PARTIAL, id), "part of", `${id}`);
  }
  await until(() => gates.size === 3, "all three run at once");
  for (const id of [2, 3, 1]) {
    gates.get(`${id}`)!();
    await peer.expect(control(FINAL, id), `${id}`);
  }
});

Deno.test("Rule 1: tokens are 8 bytes of any value, and bodies may have no frames", async () => {
  await using pair = new Pair();
  pair.worker.serve((request) => [`${request.frames.length}`, ...request.frames]);
  const peer = await pair.registered();
  for (const token of [1n, 2n ** 53n, 2n ** 53n + 1n, 2n ** 63n, 2n ** 64n - 1n]) {
    peer.send(WX(REQUEST, token), "", "x");
    await peer.expect(WX(FINAL, token), "2", "", "x");
    peer.send(WX(REQUEST, token));
    await peer.expect(WX(FINAL, token), "0");
  }
});

Deno.test("Rule 1: headers go both ways", async () => {
  await using pair = new Pair();
  pair.worker.serve(async (request) => {
    await request.partial("a", { headers: { n: request.headers.n! } });
    await request.final("b", { headers: { done: "yes" } });
  });
  const peer = await pair.registered();
  peer.send(control(REQUEST, 1, 0, HEADERS), '{"n":"é"}', "body");
  await peer.expect(control(PARTIAL, 1, 0, HEADERS), bytes('{"n":"é"}'), "a");
  await peer.expect(control(FINAL, 1, 0, HEADERS), '{"done":"yes"}', "b");
});

const ENDS: [name: string, handler: (request: WorkerRequest) => void, frames: RawFrame[]][] = [
  ["an error", () => {
    throw new Error("broken");
  }, [control(ERROR, 1, 500), "broken"]],
  ["what is no error", () => {
    throw "broken";
  }, [control(ERROR, 1, 500), "broken"]],
  ["a ServiceError", () => {
    throw new ServiceError(429, "slow down", bytes("details"));
  }, [control(ERROR, 1, 429), "slow down", "details"]],
];
for (const [name, handler, frames] of ENDS) {
  Deno.test(`Rule 1: the client is told when the handler throws ${name}`, async () => {
    using log = captureLog();
    await using pair = new Pair();
    pair.worker.serve(handler);
    const peer = await pair.registered();
    peer.send(control(REQUEST, 1), "?");
    await peer.expect(...frames);
    const logged = log.texts().some((text) => text.startsWith("error"));
    assert.equal(logged, name !== "a ServiceError");
    peer.send(control(REQUEST, 2), "?");
    await peer.inbox.next("the same registration");
    assert.equal(pair.broker.peers.size, 1);
  });
}

Deno.test("a body that is larger than any broker takes is an error of the handler", async () => {
  await using pair = new Pair({ maxMessageSize: 100 });
  pair.worker.serve((request) =>
    request.text() === "one frame" ? "x".repeat(101) : ["x".repeat(60), "x".repeat(41)]
  );
  using _ = captureLog();
  const peer = await pair.registered();
  for (const [id, how] of ["one frame", "two frames"].entries()) {
    peer.send(control(REQUEST, id + 1), how);
    const words = "The body counts for 101 bytes, and at most 100 are sent (maxMessageSize)";
    await peer.expect(control(ERROR, id + 1, 500), words);
  }
});

Deno.test("an error that is larger than any broker takes is told as far as it can be", async () => {
  await using pair = new Pair({ maxMessageSize: 2_000 });
  pair.worker.serve((request) => {
    if (request.text() === "words") throw new Error("x".repeat(3_000));
    throw new ServiceError(422, "Wrong", new Uint8Array(3_000));
  });
  using _ = captureLog();
  const peer = await pair.registered();
  peer.send(control(REQUEST, 1), "words");
  await peer.expect(control(ERROR, 1, 500), "x".repeat(1_000));
  peer.send(control(REQUEST, 2), "details");
  await peer.expect(control(ERROR, 2, 500), "Wrong");
});

const UNTELLABLE: [name: string, error: () => unknown, words: string][] = [
  ["an object without a text", () => Object.create(null), "The handler failed"],
  ["an Error without a message", () => new Error(), "The handler failed"],
  ["an error whose message throws", () =>
    Object.defineProperty(new Error(), "message", {
      get() {
        throw new Error("worse");
      },
    }), "The handler failed"],
  ["a ServiceError whose details are no bytes", () => {
    return new ServiceError(422, "bad", { field: "x" } as never);
  }, 'A service error\'s details are a Uint8Array, got { field: "x" }'],
  ["a ServiceError with a code of its own", () => {
    return new class NotFound extends ServiceError {
      override code = 4041;
    }(404, "not here");
  }, "not here"],
  [
    "a ServiceError whose code throws",
    () =>
      Object.defineProperty(new ServiceError(404, "nowhere"), "code", {
        get() {
          throw new Error("worse");
        },
      }),
    "nowhere",
  ],
  ["what cannot be looked at", () => {
    const { proxy, revoke } = Proxy.revocable({}, {});
    revoke();
    return proxy;
  }, "The handler failed"],
];
for (const [name, error, words] of UNTELLABLE) {
  Deno.test(`Rule 1: a handler that throws ${name} ends its request all the same`, async () => {
    using _ = captureLog();
    await using pair = new Pair();
    pair.worker.serve(() => {
      throw error();
    });
    const peer = await pair.registered();
    for (const token of [1, 2]) {
      peer.send(control(REQUEST, token), "?");
      await peer.expect(control(ERROR, token, 500), words);
    }
  });
}

Deno.test("Rule 1: `onError` may still answer with a FINAL", async () => {
  await using pair = new Pair();
  pair.worker.serve(() => {
    throw new Error("broken");
  }, { onError: (error) => `sorry: ${error}` });
  const peer = await pair.registered();
  peer.send(control(REQUEST, 1), "?");
  await peer.expect(control(FINAL, 1), "sorry: Error: broken");
});

Deno.test("Rule 1: `fail` sends an ERROR, and nothing after it", async () => {
  await using pair = new Pair();
  pair.worker.serve(async (request) => {
    await request.fail(404, "no such thing", bytes("here"));
    assert.equal(request.isAnswered, true);
    await assert.rejects(request.final("x"), { name: "StateError" });
  });
  const peer = await pair.registered();
  peer.send(control(REQUEST, 1), "?");
  await peer.expect(control(ERROR, 1, 404), "no such thing", "here");
  await pause(20);
  peer.assertNothingElse();
});

Deno.test("`fail` takes for its words whatever an error would", async () => {
  await using pair = new Pair();
  pair.worker.serve((request) => request.fail(404, new Error("gone") as never));
  const peer = await pair.registered();
  peer.send(control(REQUEST, 1), "?");
  await peer.expect(control(ERROR, 1, 404), "Error: gone");
});

Deno.test("`fail` is as if the handler threw when RFC 18 is spoken", async () => {
  await using broker = new FakeBroker();
  await using worker = broker.worker();
  worker.serve((request) => request.fail(404, "no such thing"), {
    onError: (error) => `${(error as ServiceError).code}`,
  });
  const peer = await broker.ready();
  peer.request("c", "1");
  await peer.expect("MDPW02", [4], "c", "", "404");
});

Deno.test("`fail` gives the request back when RFC 18 is spoken and nobody deals with it", async () => {
  await using broker = new FakeBroker();
  await using worker = broker.worker();
  worker.serve((request) => request.fail(404, "no such thing"));
  const peer = await broker.ready();
  peer.request("c", "1");
  await peer.expect("MDPW02", [6]);
  await broker.ready();
});

// ---- deadlines and cancelling ----

Deno.test("Rule 2: a request knows its deadline, and is aborted when it passes", async () => {
  await using pair = new Pair();
  const { promise, resolve } = Promise.withResolvers<unknown>();
  pair.worker.serve(async (request) => {
    const left = request.deadline!.getTime() - Date.now();
    assert.ok(left > 0 && left <= 201, `${left} ms`);
    await new Promise((stop) => request.signal.addEventListener("abort", stop));
    resolve(request.signal.reason);
    await request.partial("left out");
    return "too late";
  });
  const peer = await pair.registered();
  const start = performance.now();
  peer.send(control(REQUEST, 1, 200), "?");
  assert.ok(await soon(promise, "the abortion") instanceof TimeoutError);
  assert.ok(performance.now() - start >= 199);
  await peer.expect(control(FINAL, 1), "too late");
});

Deno.test("Rule 2: a request without a time to live has no deadline", async () => {
  await using pair = new Pair();
  pair.worker.serve((request) => `${request.deadline}`);
  const peer = await pair.registered();
  peer.send(control(REQUEST, 1), "?");
  await peer.expect(control(FINAL, 1), "undefined");
});

Deno.test("Rule 3: CANCEL aborts the signal, and the request is ended without a log", async () => {
  using log = captureLog();
  await using pair = new Pair();
  const started = Promise.withResolvers<void>();
  pair.worker.serve(async (request) => {
    started.resolve();
    await new Promise((_, reject) =>
      request.signal.addEventListener("abort", () => reject(request.signal.reason))
    );
  });
  const peer = await pair.registered();
  peer.send(control(REQUEST, 7), "?");
  await started.promise;
  peer.send(control(CANCEL, 7));
  await peer.expect(control(ERROR, 7, 504), "The client no longer wants the answer");
  assert.deepEqual(log.texts().filter((text) => /^(error|warn)/.test(text)), []);
});

/** Waits for the command that ends an answer; only PARTIALs may come before. */
async function endOf(peer: Peer, command: number): Promise<void> {
  for (;;) {
    const [head] = await peer.inbox.next("the end");
    if (head![6] === command) return;
    assert.equal(head![6], PARTIAL);
  }
}

Deno.test("Rule 3: CANCEL ends a generator", async () => {
  await using pair = new Pair();
  let ended = false;
  pair.worker.serve(async function* () {
    try {
      for (;;) {
        yield "part";
        await pause(5);
      }
    } finally {
      ended = true;
    }
  });
  const peer = await pair.registered();
  peer.send(control(REQUEST, 7), "?");
  await peer.expect(control(PARTIAL, 7), "part");
  peer.send(control(CANCEL, 7));
  await endOf(peer, ERROR);
  assert.ok(ended);
});

for (const kind of ["async", "plain"] as const) {
  Deno.test(`Rule 3: CANCEL ends \`replyFrom\`, the ${kind} generator in it too`, async () => {
    await using pair = new Pair();
    let items = 0, ended = false;
    const forever = async function* () {
      try {
        for (;; items++) {
          yield "part";
          await pause(5);
        }
      } finally {
        ended = true;
      }
    };
    // It leaves no turn to the event loop, unless the socket is full.
    const atOnce = function* () {
      try {
        for (; items < 3e6; items++) yield "part";
      } finally {
        ended = true;
      }
    };
    pair.worker.serve(async (request) => {
      await request.replyFrom(kind === "async" ? forever() : atOnce());
    });
    const peer = await pair.registered();
    peer.send(control(REQUEST, 7), "?");
    await peer.expect(control(PARTIAL, 7), "part");
    peer.send(control(CANCEL, 7));
    await endOf(peer, FINAL);
    assert.ok(ended);
    assert.ok(items < 3e6, `${items} items`);
  });
}

Deno.test("Rule 3: CANCEL ends a stream of which nothing comes any more", async () => {
  await using pair = new Pair({ concurrency: 2 });
  const reasons: unknown[] = [];
  const stream = () =>
    new ReadableStream<string>({
      start: (controller) => controller.enqueue("first"),
      cancel: (reason) => void reasons.push(reason),
    });
  pair.worker.serve((request) =>
    request.text() === "returned" ? stream() : request.replyFrom(stream())
  );
  const peer = await pair.registered(2);
  for (const [id, how] of [[7, "returned"], [8, "by replyFrom"]] as const) {
    peer.send(control(REQUEST, id), how);
    await peer.expect(control(PARTIAL, id), "first");
    peer.send(control(CANCEL, id));
    await peer.expect(control(FINAL, id), "");
  }
  assert.deepEqual(reasons.map((reason) => (reason as Error).name), ["AbortError", "AbortError"]);
});

Deno.test("a stream that is wrong is no answer, though it may never come to its end", async () => {
  await using pair = new Pair();
  pair.worker.serve(() =>
    new ReadableStream({
      start: (controller) => controller.enqueue(7 as never),
      cancel: () => new Promise(() => {}),
    })
  );
  using _ = captureLog();
  const peer = await pair.registered();
  peer.send(control(REQUEST, 7), "?");
  await peer.expect(
    control(ERROR, 7, 500),
    "A body is a string, a Uint8Array or a list of those, got 7",
  );
});

Deno.test("a stream of which nothing comes any more is ended when the broker is lost", async () => {
  await using pair = new Pair();
  const reason = Promise.withResolvers<unknown>();
  pair.worker.serve(() => new ReadableStream<string>({ cancel: reason.resolve }));
  const peer = await pair.registered();
  peer.send(control(REQUEST, 7), "?");
  peer.send(control(DISCONNECT));
  assert.ok(await soon(reason.promise, "its end") instanceof DisconnectedError);
});

Deno.test("Rule 3: CANCEL for what is not held is ignored", async () => {
  using log = captureLog();
  await using pair = new Pair();
  pair.worker.serve((request) => request.frames);
  const peer = await pair.registered();
  peer.send(control(REQUEST, 1), "1");
  await peer.expect(control(FINAL, 1), "1");
  peer.send(control(CANCEL, 1));
  peer.send(control(REQUEST, 2), "2");
  await peer.expect(control(FINAL, 2), "2");
  assert.deepEqual(log.texts().filter((text) => /^(error|warn)/.test(text)), []);
});

Deno.test("Rule 5: the credit of a request that nobody has taken comes back when it is cancelled", async () => {
  await using pair = new Pair();
  pair.worker.connect();
  const peer = await pair.registered();
  peer.send(control(REQUEST, 1), "1");
  peer.send(control(REQUEST, 2), "2");
  peer.send(control(CANCEL, 1));
  await peer.expect(control(ERROR, 1, 504), "Nobody wants the answer any more");
  const request = await pair.worker.waitForRequest();
  assert.equal(request.text(), "2");
  await pair.worker.sendReplyFinal(request.client, "done");
  await peer.expect(control(FINAL, 2), "done");
});

// ---- credit and stopping ----

Deno.test("Rule 5: what comes beyond the credit waits for its turn", async () => {
  await using pair = new Pair({ concurrency: 2 });
  const gates: (() => void)[] = [];
  pair.worker.serve(async (request) => {
    await new Promise<void>((resolve) => gates.push(resolve));
    return request.frames;
  });
  const peer = await pair.registered(2);
  for (const id of [1, 2, 3, 4]) peer.send(control(REQUEST, id), `${id}`);
  await until(() => gates.length === 2, "two run");
  peer.send(control(CANCEL, 3));
  await peer.expect(control(ERROR, 3, 504), "The client no longer wants the answer");
  assert.equal(gates.length, 2);
  gates[0]!();
  await peer.expect(control(FINAL, 1), "1");
  await until(() => gates.length === 3, "the next runs");
});

Deno.test("Rule 5: a worker that stops sends CREDIT 0, finishes what it holds, then DISCONNECT", async () => {
  await using pair = new Pair({ drain: 60_000 });
  const gates = new Map<string, () => void>();
  const served = pair.worker.serve(async (request) => {
    await new Promise<void>((resolve) => gates.set(request.text(), resolve));
    return request.frames;
  });
  const peer = await pair.registered();
  peer.send(control(REQUEST, 1), "1");
  await until(() => gates.size === 1, "it runs");
  const closed = pair.worker.close();
  await peer.expect(control(CREDIT));
  // This one has crossed the CREDIT.
  peer.send(control(REQUEST, 2), "2");
  await until(() => gates.size === 2, "it runs, too");
  gates.get("1")!();
  await peer.expect(control(FINAL, 1), "1");
  gates.get("2")!();
  await peer.expect(control(FINAL, 2), "2");
  await peer.expect(control(DISCONNECT));
  await soon(Promise.all([closed, served]), "the end");
});

Deno.test("Rule 5: an idle worker that stops takes what has crossed its CREDIT 0", async () => {
  await using pair = new Pair({ drain: 60_000 });
  const served = pair.worker.serve((request) => request.frames);
  const peer = await pair.registered();
  const closed = pair.worker.close();
  await peer.expect(control(CREDIT));
  // A worker that does not listen has gone by now.
  await pause(5);
  peer.send(control(REQUEST, 1), "1");
  await peer.expect(control(FINAL, 1), "1");
  await peer.expect(control(DISCONNECT));
  await soon(Promise.all([closed, served]), "the end");
});

Deno.test("Rule 5: an idle worker that stops waits for nothing when it is not to drain", async () => {
  await using pair = new Pair();
  const served = pair.worker.serve((request) => request.frames);
  const peer = await pair.registered();
  const start = performance.now();
  await Promise.all([pair.worker.close({ drain: 0 }), served]);
  const elapsed = performance.now() - start;
  assert.ok(elapsed < 90, `after ${elapsed} ms`);
  await peer.expect(control(CREDIT));
  await peer.expect(control(DISCONNECT));
});

Deno.test("Rule 5: what nobody has taken is left to others at the stop", async () => {
  await using pair = new Pair({ drain: 60_000 });
  pair.worker.connect();
  const peer = await pair.registered();
  peer.send(control(REQUEST, 1), "1");
  peer.send(control(REQUEST, 2), "2");
  const request = await pair.worker.waitForRequest();
  const closed = pair.worker.close();
  await peer.expect(control(CREDIT));
  await request.final("done");
  await peer.expect(control(FINAL, 1), "done");
  await peer.expect(control(DISCONNECT));
  await soon(closed, "the end");
});

Deno.test("`abandon` tells the client, and keeps what else is in hand", async () => {
  await using pair = new Pair();
  pair.worker.connect();
  const peer = await pair.registered();
  peer.send(control(REQUEST, 1), "1");
  peer.send(control(REQUEST, 2), "2");
  const first = await pair.worker.waitForRequest(), second = await pair.worker.waitForRequest();
  first.abandon();
  await peer.expect(control(ERROR, 1, 503), "The worker gave the request back");
  assert.ok(first.signal.reason instanceof DisconnectedError);
  await second.final("2");
  await peer.expect(control(FINAL, 2), "2");
});

// ---- heartbeats and loss ----

Deno.test("Rule 6: a multiplexed worker heartbeats while busy", async () => {
  await using pair = new Pair({ heartbeatInterval: 50, heartbeatTimeout: 60_000 });
  pair.worker.serve(() => new Promise<void>(() => {}));
  const peer = await pair.registered();
  peer.send(control(REQUEST, 1), "1");
  for (let i = 0; i < 3; i++) await peer.expect(control(HEARTBEAT));
});

Deno.test("Rule 9: all that is in hand is aborted at once when the broker says DISCONNECT", async () => {
  await using pair = new Pair();
  const reasons: unknown[] = [];
  pair.worker.serve((request) => {
    request.signal.addEventListener("abort", () => reasons.push(request.signal.reason));
    return new Promise<void>(() => {});
  });
  const peer = await pair.registered();
  for (const id of [1, 2, 3]) peer.send(control(REQUEST, id), `${id}`);
  peer.send(control(DISCONNECT));
  const again = await pair.broker.joined.next("another socket");
  await again.expect(control(READY, 0, 4), "echo");
  assert.equal(reasons.length, 3);
  assert.ok(reasons.every((reason) => reason instanceof DisconnectedError));
  peer.assertNothingElse();
});

for (const dialect of ["multiplexed", "rfc", "majortomo"] as const) {
  Deno.test(`Rule 9: a lost connection is noticed at once in the dialect ${dialect}`, async () => {
    const first = new FakeBroker(dialect === "majortomo" ? dialect : "rfc");
    const { promise, resolve } = Promise.withResolvers<unknown>();
    await using worker = first.worker({ dialect });
    worker.serve((request) => {
      request.signal.addEventListener("abort", () => resolve(request.signal.reason));
      return new Promise<void>(() => {});
    });
    const peer = await first.joined.next("a socket");
    if (dialect === "multiplexed") peer.send(control(REQUEST, 1), "?");
    else peer.request("c", "?");
    await pause(50);
    await first.close();
    assert.ok(await soon(promise, "the abortion") instanceof DisconnectedError);
    await using second = new FakeBroker(
      dialect === "majortomo" ? dialect : "rfc",
      first.endpoint,
    );
    await (await second.joined.next("the worker on its new connection")).inbox.next("READY");
  });
}

Deno.test("A part that waits for room keeps its own token", async () => {
  const router = new Socket("ROUTER", { linger: 0, receiveHighWaterMark: 10 });
  await using pair = new Pair({
    broker: router.bind("tcp://127.0.0.1:*"),
    concurrency: 2,
  });
  const COUNT = 2_000, part = new Uint8Array(8_192);
  let sent = 0;
  pair.worker.serve(async (request) => {
    for (let i = 0; i < COUNT; i++, sent++) await request.partial(part);
    return "end";
  });
  const receive = async () => {
    let message: Uint8Array[] | undefined;
    await until(() => (message = router.receiveBytes()) !== undefined, "a message came");
    return message!;
  };
  const [identity] = await receive();
  for (const id of [1, 2]) {
    router.send([identity!, control(REQUEST, id), "?"].map((frame) => bytes(frame)));
  }
  let before = -1;
  await until(() => {
    const isStuck = sent > 0 && sent === before;
    before = sent;
    return isStuck;
  }, "no more is taken");
  assert.ok(sent < 2 * COUNT, `${sent} were taken, and nobody has read one`);
  const parts = [0, 0, 0], ends = [0, 0, 0];
  while (ends[1]! + ends[2]! < 2) {
    const [, head] = await receive();
    (head![6] === FINAL ? ends : parts)[head![15]!]!++;
  }
  assert.deepEqual([parts, ends], [[0, COUNT, COUNT], [0, 1, 1]]);
  await pair.worker.close();
  await router.close();
});

Deno.test("Rule 5: a request that comes right after a FINAL which had to wait for room is in time", async () => {
  using log = captureLog();
  const router = new Socket("ROUTER", { linger: 0, receiveHighWaterMark: 1 });
  await using worker = new Worker({
    broker: router.bind("inproc://in-time"),
    service: "echo",
    dialect: "multiplexed",
    concurrency: 1,
    heartbeatInterval: 3_600_000,
  });
  // More than the queue of the socket takes, and they are not waited for.
  const parts = 1_100, id = (head: Uint8Array) => head[15]!;
  let isAnswered = false;
  worker.serve((request) => {
    for (let i = 0; i < parts; i++) request.partial("x");
    isAnswered = true;
    return "end";
  });
  const ends: number[] = [];
  const receiveAll = () => {
    for (let message; (message = router.receiveBytes()) !== undefined;) {
      identity = message[0]!;
      if (message[1]![6] === FINAL) ends.push(id(message[1]!));
    }
  };
  let identity: Uint8Array | undefined;
  await until(() => (receiveAll(), identity !== undefined), "it has registered");
  const request = (token: number) =>
    router.send([identity!, ...[control(REQUEST, token), ""].map((frame) => bytes(frame))]);
  request(1);
  await until(() => isAnswered, "it has answered");
  // That makes room, and the worker finds both at once: the room, and the next request.
  receiveAll();
  assert.deepEqual(ends, []);
  request(2);
  await until(() => (receiveAll(), ends.length === 2), "both were answered");
  assert.deepEqual(ends, [1, 2]);
  assert.deepEqual(log.texts().filter((text) => /before the last/.test(text)), []);
  await worker.close({ drain: 0 });
  await router.close();
});

Deno.test("Rule 5: requests beyond what a worker keeps for later get ERROR 503", async () => {
  await using pair = new Pair({ concurrency: 1 });
  const gate = Promise.withResolvers<void>();
  pair.worker.serve(async ({ frames }) => {
    await gate.promise;
    return frames;
  });
  const peer = await pair.registered(1);
  for (let token = 1; token <= 103; token++) peer.send(control(REQUEST, token), `${token}`);
  for (const token of [102, 103]) {
    await peer.expect(control(ERROR, token, 503), "The worker has too many requests in hand");
  }
  gate.resolve();
  for (let token = 1; token <= 101; token++) await peer.expect(control(FINAL, token), `${token}`);
});
