// `serve`: what a handler may return and do, and what becomes of its failures.

import assert from "node:assert/strict";
import { DisconnectedError, StateError } from "../errors.ts";
import {
  type HandlerResult,
  type RequestHandler,
  type ServeOptions,
  WorkerRequest,
} from "../worker.ts";
import type { RawFrame } from "./raw.ts";
import { until } from "./stage.ts";
import { captureLog, FakeBroker, pause, type Peer, soon } from "./worker_stage.ts";

const PARTIAL = [3], FINAL = [4];

/** A worker with this handler, and its first connection. */
async function serving(handler: RequestHandler, options?: ServeOptions) {
  const broker = new FakeBroker(), worker = broker.worker();
  const served = worker.serve(handler, options);
  return {
    broker,
    worker,
    served,
    peer: await broker.ready(),
    async [Symbol.asyncDispose]() {
      await worker.close();
      await served;
      await broker.close();
    },
  };
}

/** Shows that the same registration still serves. */
async function assertServes(peer: Peer, handled: () => number): Promise<void> {
  const before = handled();
  peer.request("last", "?");
  await until(() => handled() > before, "the next request is handled");
}

// ---- results ----

const bytes = (text: string) => new TextEncoder().encode(text);
const nothing = undefined;

const RESULTS: [name: string, make: () => unknown, ...answer: [number[], ...RawFrame[]][]][] = [
  ["text", () => "text", [FINAL, "text"]],
  ["empty text", () => "", [FINAL, ""]],
  ["bytes", () => bytes("bytes"), [FINAL, "bytes"]],
  ["a list of both", () => ["a", bytes("b"), ""], [FINAL, "a", "b", ""]],
  ["an empty list", () => [], [FINAL, ""]],
  ["a promise", () => Promise.resolve("later"), [FINAL, "later"]],
  ["nothing", () => nothing, [FINAL, ""]],
  ["a promise of nothing", () => Promise.resolve(), [FINAL, ""]],
  [
    "a generator",
    function* () {
      yield "1";
      yield ["2", "3"];
      return "4";
    },
    [PARTIAL, "1"],
    [PARTIAL, "2", "3"],
    [FINAL, "4"],
  ],
  [
    "an async generator",
    async function* () {
      yield await Promise.resolve("1");
      return bytes("2");
    },
    [PARTIAL, "1"],
    [FINAL, "2"],
  ],
  [
    "a generator that returns nothing",
    async function* () {
      yield "1";
    },
    [PARTIAL, "1"],
    [FINAL, ""],
  ],
  // deno-lint-ignore require-yield -- that is the case
  ["a generator that yields nothing", async function* () {
    return "1";
  }, [FINAL, "1"]],
  [
    "a promise of a generator",
    () =>
      Promise.resolve((function* () {
        yield "1";
        return "2";
      })()),
    [PARTIAL, "1"],
    [FINAL, "2"],
  ],
  [
    "a ReadableStream",
    () => ReadableStream.from([bytes("1"), bytes("2")]),
    [PARTIAL, "1"],
    [PARTIAL, "2"],
    [FINAL, ""],
  ],
  ["an empty ReadableStream", () => ReadableStream.from([]), [FINAL, ""]],
  ["a Set", () => new Set(["1", "2"]), [PARTIAL, "1"], [PARTIAL, "2"], [FINAL, ""]],
];
for (const [name, make, ...answer] of RESULTS) {
  Deno.test(`\`serve\` answers with what the handler returns when it is ${name}`, async () => {
    await using stage = await serving(make as () => HandlerResult);
    stage.peer.request("c", "?");
    for (const [command, ...body] of answer) {
      await stage.peer.expect("MDPW02", command, "c", "", ...body);
    }
    stage.peer.request("d", "?");
    await stage.peer.expect("MDPW02", answer[0]![0], "d", "", ...answer[0]!.slice(1));
    assert.equal(stage.broker.peers.size, 1);
  });
}

Deno.test("`serve` adds no FINAL when the handler has sent it and returns nothing", async () => {
  let handled = 0;
  await using stage = await serving(async (request) => {
    await request.partial("1");
    await request.final("2");
    handled++;
  });
  stage.peer.request("c", "?");
  await stage.peer.expect("MDPW02", PARTIAL, "c", "", "1");
  await stage.peer.expect("MDPW02", FINAL, "c", "", "2");
  await assertServes(stage.peer, () => handled);
  await stage.peer.expect("MDPW02", PARTIAL, "last", "", "1");
});

Deno.test("`serve` sends parts in the order of the calls when the handler awaits none", async () => {
  await using stage = await serving((request) => {
    for (let i = 0; i < 5; i++) request.partial(`${i}`);
    request.final("end");
  });
  stage.peer.request("c", "?");
  for (let i = 0; i < 5; i++) await stage.peer.expect("MDPW02", PARTIAL, "c", "", `${i}`);
  await stage.peer.expect("MDPW02", FINAL, "c", "", "end");
});

Deno.test("`serve` gives the handler all that the client sent when it is called", async () => {
  const seen = Promise.withResolvers<WorkerRequest>();
  await using stage = await serving((request) => seen.resolve(request));
  stage.peer.request([0, 1, 255], '{"a":', "", "[1]}");
  const request = await seen.promise;
  assert.ok(request instanceof WorkerRequest);
  assert.equal(request.service, "echo");
  assert.deepEqual([...request.client], [0, 1, 255]);
  assert.deepEqual(request.frames.map((frame) => frame.length), [5, 0, 4]);
  assert.equal(request.text(), '{"a":[1]}');
  assert.deepEqual(request.json(), { a: [1] });
  assert.deepEqual(request.bytes(), bytes('{"a":[1]}'));
  await stage.peer.expect("MDPW02", FINAL, [0, 1, 255], "", "");
  assert.equal(request.isAnswered, true);
  assert.equal(request.signal.aborted, false);
});

// ---- failures ----

const FAILURES: [name: string, handler: () => unknown, message: RegExp][] = [
  ["throws", () => {
    throw new Error("broken");
  }, /broken/],
  ["rejects", () => Promise.reject(new Error("broken")), /broken/],
  ["throws what is no error", () => Promise.reject("broken"), /broken/],
  ["returns a number", () => 42, /A handler returns a body, .* got 42/],
  ["returns null", () => null, /got null/],
  ["returns an object", () => ({ a: 1 }), /got \{ a: 1 \}|got \[?Object/],
  ["returns an ArrayBuffer", () => new ArrayBuffer(1), /got ArrayBuffer/],
  ["returns a list with a number", () => ["a", 1], /got 1/],
  ["yields a number", function* () {
    yield 1;
  }, /got 1/],
  // deno-lint-ignore require-yield -- it fails before
  ["throws in a generator", async function* () {
    throw new Error("broken");
  }, /broken/],
  ["returns a stream that fails", () =>
    new ReadableStream({
      pull(controller) {
        controller.error(new Error("broken"));
      },
    }), /broken/],
];
for (const [name, handler, message] of FAILURES) {
  Deno.test(`\`serve\` gives the request back and registers anew when the handler ${name}`, async () => {
    using log = captureLog();
    let calls = 0;
    await using stage = await serving(
      ((request) => calls++ === 0 ? handler() : request.frames) as RequestHandler,
    );
    stage.peer.request("c", "?");
    await stage.peer.expect("MDPW02", [6]);
    const second = await stage.broker.ready();
    assert.notEqual(second.name, stage.peer.name);
    second.request("d", "!");
    await second.expect("MDPW02", FINAL, "d", "", "!");
    stage.peer.assertNothingElse();
    const errors = log.texts().filter((text) => text.startsWith("error"));
    assert.equal(errors.length, 1, `${errors}`);
    assert.match(errors[0]!, message);
  });
  Deno.test(`\`serve\` sends what \`onError\` returns when the handler ${name}`, async () => {
    using log = captureLog();
    const failed: [unknown, WorkerRequest][] = [];
    await using stage = await serving(handler as RequestHandler, {
      onError(error, request) {
        failed.push([error, request]);
        return ["sorry", request.text()];
      },
    });
    for (const body of ["1", "2"]) {
      stage.peer.request("c", body);
      await stage.peer.expect("MDPW02", FINAL, "c", "", "sorry", body);
    }
    assert.equal(failed.length, 2);
    assert.match(String(failed[0]![0]), message);
    assert.equal(stage.broker.peers.size, 1);
    assert.deepEqual(log.texts().filter((text) => text.startsWith("error")), []);
  });
}

const DEALINGS: [name: string, onError: ServeOptions["onError"], ...answer: RawFrame[]][] = [
  ["a promise of a body", () => Promise.resolve("later"), "later"],
  ["nothing after it has answered", (_, request) => request.final("itself"), "itself"],
];
for (const [name, onError, ...answer] of DEALINGS) {
  Deno.test(`\`serve\` takes a failure for dealt with when \`onError\` returns ${name}`, async () => {
    using log = captureLog();
    await using stage = await serving(() => Promise.reject(new Error("broken")), { onError });
    stage.peer.request("c", "?");
    await stage.peer.expect("MDPW02", FINAL, "c", "", ...answer);
    stage.peer.request("d", "?");
    await stage.peer.expect("MDPW02", FINAL, "d", "", ...answer);
    assert.equal(stage.broker.peers.size, 1);
    assert.deepEqual(log.texts().filter((text) => text.startsWith("error")), []);
  });
}

const UNHELPFUL: [name: string, onError: ServeOptions["onError"], errors: number][] = [
  ["returns nothing", () => {}, 1],
  ["throws", () => {
    throw new Error("worse");
  }, 2],
  ["returns no body", () => 42 as unknown as string, 2],
  ["calls `fail()`", (error, request) => request.fail(422, `${error}`), 1],
  ["calls `fail()` later", async (error, request) => {
    await pause(10);
    await request.fail(422, `${error}`);
  }, 1],
];
for (const [name, onError, count] of UNHELPFUL) {
  Deno.test(`\`serve\` gives the request back when \`onError\` ${name}`, async () => {
    using log = captureLog();
    await using stage = await serving(() => Promise.reject(new Error("broken")), { onError });
    stage.peer.request("c", "?");
    await stage.peer.expect("MDPW02", [6]);
    await stage.broker.ready();
    const errors = log.texts().filter((text) => text.startsWith("error"));
    assert.equal(errors.length, count, `${errors}`);
    assert.match(errors[0]!, /broken/);
  });
}

Deno.test("`serve` keeps the registration when the handler fails after its FINAL", async () => {
  using log = captureLog();
  let calls = 0;
  await using stage = await serving(async (request) => {
    await request.final("done");
    calls++;
    if (calls === 1) throw new Error("afterwards");
    return "another";
  });
  for (const client of ["c", "d", "e"]) {
    stage.peer.request(client, "?");
    await stage.peer.expect("MDPW02", FINAL, client, "", "done");
  }
  await until(() => calls === 3, "all are handled");
  stage.peer.assertNothingElse();
  assert.equal(stage.broker.peers.size, 1);
  assert.ok(log.texts().some((text) => /error.*afterwards/.test(text)));
  assert.ok(log.texts().some((text) => /error.*has been answered/.test(text)));
});

Deno.test("`serve` ends a generator when its request is lost", async () => {
  using log = captureLog();
  const ended = Promise.withResolvers<void>();
  await using stage = await serving(async function* (request) {
    try {
      yield "1";
      await new Promise((resolve) => request.signal.addEventListener("abort", resolve));
      yield "2";
      assert.fail("it goes on");
    } finally {
      ended.resolve();
    }
  });
  stage.peer.request("c", "?");
  await stage.peer.expect("MDPW02", PARTIAL, "c", "", "1");
  stage.peer.send("MDPW02", [6]);
  await soon(ended.promise, "the generator's end");
  await stage.broker.ready();
  assert.deepEqual(log.texts().filter((text) => text.startsWith("error")), []);
});

Deno.test("`serve` takes no failure for one when it comes of the request's loss", async () => {
  using log = captureLog();
  let failures = 0;
  const started = Promise.withResolvers<void>();
  await using stage = await serving(({ signal }) => {
    started.resolve();
    return new Promise((_, reject) => {
      signal.addEventListener("abort", () => reject(new DOMException("Aborted", "AbortError")));
    });
  }, { onError: () => void failures++ });
  stage.peer.request("c", "?");
  await started.promise;
  stage.peer.send("MDPW02", [6]);
  await stage.broker.ready();
  assert.equal(failures, 0);
  assert.deepEqual(log.texts().filter((text) => text.startsWith("error")), []);
});

// ---- requests ----

Deno.test("`partial` and `final` reject with StateError when the FINAL was sent", async () => {
  const seen = Promise.withResolvers<WorkerRequest>();
  await using stage = await serving((request) => {
    seen.resolve(request);
    return "once";
  });
  stage.peer.request("c", "?");
  await stage.peer.expect("MDPW02", FINAL, "c", "", "once");
  const request = await seen.promise;
  const isOver = (error: unknown) =>
    error instanceof StateError && /"echo" has been answered/.test(error.message);
  await assert.rejects(request.partial("late"), isOver);
  await assert.rejects(request.final("late"), isOver);
  await assert.rejects(request.replyFrom(["late"]), isOver);
  await assert.rejects(request.replyFrom([]), isOver);
  stage.peer.assertNothingElse();
});

Deno.test("`partial` and `final` reject with TypeError, and send nothing, when given no body, or no options", async () => {
  await using stage = await serving(async (request) => {
    await assert.rejects(request.partial(1 as unknown as string), TypeError);
    await assert.rejects(request.final({} as unknown as string), TypeError);
    await assert.rejects(request.replyFrom("text"), TypeError);
    await assert.rejects(request.replyFrom(bytes("bytes") as never), TypeError);
    await assert.rejects(request.replyFrom(1 as never), TypeError);
    await assert.rejects(request.replyFrom(["1"], 1 as never), TypeError);
    for (const wrong of [null, 5, { a: "b" }, new Headers({ a: "b" })]) {
      const error = { name: "TypeError", message: /^The options of a part / };
      await assert.rejects(request.partial("x", wrong as never), error);
      await assert.rejects(request.final("x", wrong as never), error);
    }
    assert.equal(request.isAnswered, false);
    return "fine";
  });
  stage.peer.request("c", "?");
  await stage.peer.expect("MDPW02", FINAL, "c", "", "fine");
});

Deno.test("`replyFrom` sends a PARTIAL for each item and a FINAL when it is given an iterable", async () => {
  const items = async function* () {
    yield "1";
    yield ["2", bytes("3")];
  };
  let calls = 0;
  await using stage = await serving((request) =>
    calls++ === 0 ? request.replyFrom(items()) : request.replyFrom(new Set(["1"]), ["end", ""])
  );
  stage.peer.request("c", "?");
  await stage.peer.expect("MDPW02", PARTIAL, "c", "", "1");
  await stage.peer.expect("MDPW02", PARTIAL, "c", "", "2", "3");
  await stage.peer.expect("MDPW02", FINAL, "c", "", "");
  stage.peer.request("d", "?");
  await stage.peer.expect("MDPW02", PARTIAL, "d", "", "1");
  await stage.peer.expect("MDPW02", FINAL, "d", "", "end", "");
});

Deno.test("`abandon` gives the request back when it is unanswered, and does nothing later", async () => {
  const requests: WorkerRequest[] = [];
  await using stage = await serving((request) => {
    requests.push(request);
    if (requests.length === 1) request.abandon();
    return "answer";
  });
  stage.peer.request("c", "?");
  await stage.peer.expect("MDPW02", [6]);
  const second = await stage.broker.ready();
  assert.ok(requests[0]!.signal.reason instanceof DisconnectedError);
  requests[0]!.abandon();
  second.request("d", "?");
  await second.expect("MDPW02", FINAL, "d", "", "answer");
  requests[1]!.abandon();
  second.request("e", "?");
  await second.expect("MDPW02", FINAL, "e", "", "answer");
  assert.equal(stage.broker.peers.size, 2);
});

// ---- arguments ----

Deno.test("`serve` rejects with TypeError, and connects to nothing, when its arguments are wrong", async () => {
  await using broker = new FakeBroker();
  await using worker = broker.worker();
  await assert.rejects(
    worker.serve("echo" as never),
    /TypeError: handler is a function, got "echo"/,
  );
  await assert.rejects(worker.serve(undefined as never), TypeError);
  await assert.rejects(
    worker.serve(() => "", { onError: "sorry" as never }),
    /TypeError: onError is a function, got "sorry"/,
  );
  await assert.rejects(
    worker.serve(() => "", { signal: new AbortController() as never }),
    /TypeError: signal is an AbortSignal, got AbortController/,
  );
  await assert.rejects(
    worker.serve(() => "", null as never),
    /TypeError: The options of serve\(\) are an object, got null/,
  );
  await assert.rejects(
    worker.serve(() => "", { onEror: () => "sorry" } as never),
    /TypeError: The options of serve\(\) have no "onEror", only signal, onError/,
  );
  await assert.rejects(
    worker.waitForRequest({ signal: 5 as never }),
    /TypeError: signal is an AbortSignal, got 5/,
  );
  assert.equal(worker.isConnected, false);
  const served = worker.serve(() => "");
  await broker.ready();
  await assert.rejects(
    worker.close(5 as never),
    /TypeError: The options of close\(\) are an object, got 5/,
  );
  await worker.close();
  await served;
});
