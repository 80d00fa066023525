// The other ways to use a worker (iteration, majortomo's verbs), and how it is stopped.

import assert from "node:assert/strict";
import { DisconnectedError, StateError } from "../errors.ts";
import { Worker, type WorkerRequest } from "../worker.ts";
import { until } from "./stage.ts";
import { captureLog, FakeBroker, pause, soon } from "./worker_stage.ts";

const PARTIAL = [3], FINAL = [4], DISCONNECT = [6];

const isUsed = (by: string) => (error: unknown) =>
  error instanceof StateError && error.message.includes(`in use already, by ${by}`);
const isClosed = (error: unknown) =>
  error instanceof StateError && /"echo" is closed/.test(error.message);

// ---- iteration ----

Deno.test("iteration yields requests in order, and ends when the worker is closed", async () => {
  await using broker = new FakeBroker();
  await using worker = broker.worker();
  const bodies: string[] = [];
  const loop = (async () => {
    const requests = worker[Symbol.asyncIterator]();
    assert.equal(requests[Symbol.asyncIterator](), requests);
    for await (const request of requests) {
      bodies.push(request.text());
      await request.partial("…");
      if (bodies.length === 1) await request.final(request.frames);
      else await request.replyFrom(["a"], "b");
    }
  })();
  const peer = await broker.ready();
  peer.request("c", "1");
  await peer.expect("MDPW02", PARTIAL, "c", "", "…");
  await peer.expect("MDPW02", FINAL, "c", "", "1");
  peer.request("c", "2");
  await peer.expect("MDPW02", PARTIAL, "c", "", "…");
  await peer.expect("MDPW02", PARTIAL, "c", "", "a");
  await peer.expect("MDPW02", FINAL, "c", "", "b");
  await worker.close();
  await soon(loop, "the end of the loop");
  await peer.expect("MDPW02", DISCONNECT);
  assert.deepEqual(bodies, ["1", "2"]);
});

Deno.test("iteration goes on with a new connection when the broker says DISCONNECT", async () => {
  await using broker = new FakeBroker();
  await using worker = broker.worker();
  const loop = (async () => {
    for await (const request of worker) {
      await request.final(request.frames);
      if (request.text() === "last") worker.close();
    }
  })();
  const first = await broker.ready();
  first.request("c", "1");
  await first.expect("MDPW02", FINAL, "c", "", "1");
  first.send("MDPW02", DISCONNECT);
  const second = await broker.ready();
  second.request("c", "last");
  await second.expect("MDPW02", FINAL, "c", "", "last");
  await second.expect("MDPW02", DISCONNECT);
  await soon(loop, "the end of the loop");
});

Deno.test("`connect` throws TypeError when its options are none, and connects to nothing", async () => {
  await using broker = new FakeBroker();
  await using worker = broker.worker();
  for (const wrong of ["x", null, 5, { reconnect: "no" }, { reconect: true }, [true]]) {
    assert.throws(() => worker.connect(wrong as never), TypeError, `${wrong}`);
  }
  assert.equal(worker.isConnected, false);
});

Deno.test("iteration stops the worker at once when the loop is left by break", async () => {
  await using broker = new FakeBroker();
  await using worker = broker.worker({ drain: 60_000 });
  const requests: WorkerRequest[] = [];
  const loop = (async () => {
    for await (const request of worker) {
      requests.push(request);
      break;
    }
  })();
  const peer = await broker.ready();
  peer.request("c", "1");
  await soon(loop, "the end of the loop");
  await peer.expect("MDPW02", DISCONNECT);
  assert.ok(requests[0]!.signal.reason instanceof DisconnectedError);
  await assert.rejects(requests[0]!.final("late"), DisconnectedError);
  assert.equal(worker.isConnected, false);
  peer.assertNothingElse();
});

Deno.test("iteration sends the FINAL before DISCONNECT when the loop is left after it", async () => {
  await using broker = new FakeBroker();
  const worker = broker.worker();
  const loop = (async () => {
    for await (const request of worker) {
      request.final("answer");
      return;
    }
  })();
  const peer = await broker.ready();
  peer.request("c", "1");
  await peer.expect("MDPW02", FINAL, "c", "", "answer");
  await peer.expect("MDPW02", DISCONNECT);
  await soon(loop, "the end of the loop");
});

Deno.test("iteration stops the worker at once when the loop throws", async () => {
  await using broker = new FakeBroker();
  const worker = broker.worker({ drain: 60_000 });
  const loop = (async () => {
    for await (const request of worker) throw new Error(request.text());
  })();
  const peer = await broker.ready();
  peer.request("c", "broken");
  await assert.rejects(loop, /broken/);
  await peer.expect("MDPW02", DISCONNECT);
});

Deno.test("iteration skips a request when its connection was lost before its turn", async () => {
  await using broker = new FakeBroker();
  await using worker = broker.worker({ concurrency: 2 });
  const iterator = worker[Symbol.asyncIterator]();
  const [one, two] = [await broker.ready(), await broker.ready()];
  one.request("c", "lost");
  await pause(20);
  one.send("MDPW02", DISCONNECT);
  await broker.ready();
  two.request("c", "kept");
  const { value } = await iterator.next();
  assert.equal(value?.text(), "kept");
  await iterator.return!();
  assert.deepEqual(await iterator.next(), { done: true, value: undefined });
});

Deno.test("iteration has several requests in hand when concurrency is 2 and the loop does not wait", async () => {
  await using broker = new FakeBroker();
  await using worker = broker.worker({ concurrency: 2 });
  const requests: WorkerRequest[] = [];
  const loop = (async () => {
    for await (const request of worker) requests.push(request);
  })();
  const [one, two] = [await broker.ready(), await broker.ready()];
  one.request("c", "1");
  two.request("d", "2");
  await until(() => requests.length === 2, "both are in hand");
  for (const request of requests) await request.final(request.frames);
  await one.expect("MDPW02", FINAL, "c", "", "1");
  await two.expect("MDPW02", FINAL, "d", "", "2");
  await worker.close();
  await soon(loop, "the end of the loop");
});

// ---- one use at a time ----

Deno.test("a second use is refused with StateError when the worker is served", async () => {
  await using broker = new FakeBroker();
  await using worker = broker.worker();
  const served = worker.serve((request) => request.frames);
  await assert.rejects(worker.serve(() => ""), isUsed("serve()"));
  assert.throws(() => worker[Symbol.asyncIterator](), isUsed("serve()"));
  await assert.rejects(worker.waitForRequest(), isUsed("serve()"));
  worker.connect();
  const peer = await broker.ready();
  peer.request("c", "1");
  await peer.expect("MDPW02", FINAL, "c", "", "1");
  await worker.close();
  await served;
});

Deno.test("a second use is refused with StateError when the worker is iterated over or waited for", async () => {
  await using broker = new FakeBroker();
  await using iterated = broker.worker();
  const iterator = iterated[Symbol.asyncIterator]();
  assert.throws(() => iterated[Symbol.asyncIterator](), isUsed("an iteration"));
  await assert.rejects(iterated.serve(() => ""), isUsed("an iteration"));
  await assert.rejects(iterated.waitForRequest(), isUsed("an iteration"));
  await iterator.return!();

  await using waited = broker.worker();
  const waiting = waited.waitForRequest();
  await assert.rejects(waited.serve(() => ""), isUsed("waitForRequest()"));
  assert.throws(() => waited[Symbol.asyncIterator](), isUsed("waitForRequest()"));
  await Promise.all([assert.rejects(waiting, DisconnectedError), waited.close()]);
});

Deno.test("every use is refused with StateError when the worker is closed", async () => {
  await using broker = new FakeBroker();
  const worker = broker.worker();
  await worker.close();
  await assert.rejects(worker.serve(() => ""), isClosed);
  await assert.rejects(worker.waitForRequest(), isClosed);
  assert.throws(() => worker[Symbol.asyncIterator](), isClosed);
  assert.throws(() => worker.connect(), isClosed);
  assert.throws(() => worker.stopOnSignal(), isClosed);
  await worker.close();
  assert.equal(broker.peers.size, 0);
});

Deno.test("`serve` answers what came before when the worker was connected first", async () => {
  await using broker = new FakeBroker();
  await using worker = broker.worker();
  worker.connect();
  const peer = await broker.ready();
  peer.request("c", "early");
  await pause(20);
  const served = worker.serve((request) => request.frames);
  await peer.expect("MDPW02", FINAL, "c", "", "early");
  assert.equal(broker.peers.size, 1);
  await worker.close();
  await served;
});

// ---- majortomo's verbs ----

Deno.test("`waitForRequest` and the `sendReply` verbs answer when given the request or its client", async () => {
  await using broker = new FakeBroker();
  await using worker = broker.worker();
  assert.equal(worker.isConnected, false);
  worker.connect();
  assert.equal(worker.isConnected, true);
  const peer = await broker.ready();
  peer.request([1, 2], "a");
  const first = await worker.waitForRequest();
  await worker.sendReplyPartial(first.client, [new Uint8Array([1]), new Uint8Array()]);
  await worker.sendReplyFinal(first.client, first.frames);
  await peer.expect("MDPW02", PARTIAL, [1, 2], "", [1], "");
  await peer.expect("MDPW02", FINAL, [1, 2], "", "a");
  assert.equal(first.isAnswered, true);

  peer.request([1, 2], "b");
  const second = await worker.waitForRequest();
  await worker.sendReplyPartial(second, "p");
  await worker.sendReplyFromIterable(second, ["q", "r"], "f");
  for (const part of ["p", "q", "r"]) await peer.expect("MDPW02", PARTIAL, [1, 2], "", part);
  await peer.expect("MDPW02", FINAL, [1, 2], "", "f");

  peer.request([3], "c");
  const third = await worker.waitForRequest();
  await worker.sendReplyFromIterable(third.client, ["s"]);
  await peer.expect("MDPW02", PARTIAL, [3], "", "s");
  await peer.expect("MDPW02", FINAL, [3], "", "");
  await worker.close();
  assert.equal(worker.isConnected, false);
  await peer.expect("MDPW02", DISCONNECT);
});

Deno.test("`sendReplyFinal` rejects when no such request is in hand", async () => {
  await using broker = new FakeBroker();
  await using worker = broker.worker();
  const isUnknown = (error: unknown) =>
    error instanceof StateError && /No request of client 0102 .*"echo"/.test(error.message);
  const client = new Uint8Array([1, 2]);
  await assert.rejects(worker.sendReplyFinal(client, "x"), isUnknown);
  worker.connect();
  const peer = await broker.ready();
  peer.request(client, "1");
  const request = await worker.waitForRequest();
  await assert.rejects(worker.sendReplyFinal(new Uint8Array([1]), "x"), StateError);
  await assert.rejects(worker.sendReplyFinal("client" as never, "x"), TypeError);
  await worker.sendReplyFinal(client, "x");
  await assert.rejects(worker.sendReplyFinal(client, "x"), isUnknown);
  await assert.rejects(worker.sendReplyPartial(client, "x"), isUnknown);
  await assert.rejects(worker.sendReplyFromIterable(client, ["x"]), isUnknown);
  await assert.rejects(worker.sendReplyFinal(request, "x"), /has been answered/);
});

Deno.test("`sendReplyFinal` rejects when the connection of the request is lost", async () => {
  await using broker = new FakeBroker();
  await using worker = broker.worker();
  const waiting = worker.waitForRequest();
  const first = await broker.ready();
  first.request("c", "1");
  const request = await waiting;
  first.send("MDPW02", DISCONNECT);
  const second = await broker.ready();
  await assert.rejects(worker.sendReplyFinal(request, "late"), DisconnectedError);
  await assert.rejects(worker.sendReplyFinal(request.client, "late"), StateError);
  second.request("c", "2");
  await worker.sendReplyFinal(await worker.waitForRequest(), "in time");
  await second.expect("MDPW02", FINAL, "c", "", "in time");
  second.assertNothingElse();
});

Deno.test("`waitForRequest` goes on waiting when the broker says DISCONNECT", async () => {
  await using broker = new FakeBroker();
  await using worker = broker.worker();
  const waiting = worker.waitForRequest();
  (await broker.ready()).send("MDPW02", DISCONNECT);
  (await broker.ready()).request("c", "1");
  assert.equal((await waiting).text(), "1");
});

Deno.test("`waitForRequest` rejects with the reason, and loses no request, when its signal is aborted", async () => {
  await using broker = new FakeBroker();
  await using worker = broker.worker();
  await assert.rejects(worker.waitForRequest({ signal: AbortSignal.abort("before") }), (reason) => {
    assert.equal(reason, "before");
    return true;
  });
  assert.equal(worker.isConnected, false);
  const controller = new AbortController();
  const waiting = worker.waitForRequest({ signal: controller.signal });
  const peer = await broker.ready();
  controller.abort(new Error("enough"));
  await assert.rejects(waiting, /enough/);
  peer.request("c", "1");
  const request = await worker.waitForRequest();
  assert.equal(request.text(), "1");
});

Deno.test("`waitForRequest` serves several calls in their order when concurrency is 2", async () => {
  await using broker = new FakeBroker();
  await using worker = broker.worker({ concurrency: 2 });
  const waiting = [worker.waitForRequest(), worker.waitForRequest()];
  const [one, two] = [await broker.ready(), await broker.ready()];
  two.request("c", "1");
  assert.equal((await waiting[0]!).text(), "1");
  one.request("c", "2");
  assert.equal((await waiting[1]!).text(), "2");
});

// ---- stopping ----

Deno.test("`close` lets the handler finish and sends its FINAL before DISCONNECT when there is time", async () => {
  await using broker = new FakeBroker();
  const worker = broker.worker({ drain: 60_000 });
  const gate = Promise.withResolvers<void>();
  let signal: AbortSignal | undefined;
  const served = worker.serve(async (request) => {
    signal = request.signal;
    await gate.promise;
    return request.frames;
  });
  const peer = await broker.ready();
  peer.request("c", "1");
  await until(() => signal !== undefined, "the request is in hand");
  const closed = worker.close();
  await pause(30);
  peer.assertNothingElse();
  assert.equal(worker.isConnected, true);
  gate.resolve();
  await peer.expect("MDPW02", FINAL, "c", "", "1");
  await peer.expect("MDPW02", DISCONNECT);
  await soon(Promise.all([closed, served]), "the end");
  assert.equal(signal!.aborted, false);
});

Deno.test("`close` takes no request when one comes while it drains", async () => {
  await using broker = new FakeBroker();
  const worker = broker.worker({ drain: 60_000, concurrency: 2 });
  const gate = Promise.withResolvers<void>();
  const bodies: string[] = [];
  worker.serve(async (request) => {
    bodies.push(request.text());
    await gate.promise;
    return "done";
  });
  const [busy, idle] = [await broker.ready(), await broker.ready()];
  busy.request("c", "1");
  await until(() => bodies.length === 1, "the request is in hand");
  const closed = worker.close();
  await idle.expect("MDPW02", DISCONNECT);
  busy.request("c", "2");
  await pause(30);
  gate.resolve();
  await busy.expect("MDPW02", FINAL, "c", "", "done");
  await busy.expect("MDPW02", DISCONNECT);
  await soon(closed, "the end");
  assert.deepEqual(bodies, ["1"]);
  busy.assertNothingElse();
});

Deno.test("`close` aborts the request and says DISCONNECT when the drain time is over", async () => {
  await using broker = new FakeBroker();
  const worker = broker.worker({ drain: 60_000 });
  const requests: WorkerRequest[] = [];
  const served = worker.serve((request) => {
    requests.push(request);
    return new Promise(() => {});
  });
  const peer = await broker.ready();
  peer.request("c", "1");
  await until(() => requests.length === 1, "the request is in hand");
  const start = performance.now();
  await worker.close({ drain: 100 });
  const elapsed = performance.now() - start;
  assert.ok(elapsed >= 95, `it took ${elapsed} ms`);
  await peer.expect("MDPW02", DISCONNECT);
  await soon(served, "the end");
  assert.ok(requests[0]!.signal.reason instanceof DisconnectedError);
  assert.match(requests[0]!.signal.reason.message, /worker has stopped/);
  peer.assertNothingElse();
});

Deno.test("`close` ends the drain when it is called again with less time", async () => {
  await using broker = new FakeBroker();
  const worker = broker.worker();
  const served = worker.serve(() => new Promise(() => {}));
  const peer = await broker.ready();
  peer.request("c", "1");
  await pause(20);
  const closed = worker.close({ drain: Infinity });
  const stopped = worker.stop({ drain: 60_000 });
  await worker.close({ drain: 0 });
  await Promise.all([closed, stopped, served]);
  await peer.expect("MDPW02", DISCONNECT);
});

Deno.test("`close` rejects, and closes nothing, when the drain is wrong", async () => {
  await using broker = new FakeBroker();
  await using worker = broker.worker();
  worker.connect();
  await assert.rejects(worker.close({ drain: -1 }), RangeError);
  await assert.rejects(worker.stop({ drain: "1s" as never }), TypeError);
  assert.equal(worker.isConnected, true);
});

Deno.test("`close` ends with the registration when that is lost while it drains", async () => {
  await using broker = new FakeBroker();
  const worker = broker.worker({ drain: 60_000 });
  const requests: WorkerRequest[] = [];
  const served = worker.serve(async (request) => {
    requests.push(request);
    await new Promise((resolve) => request.signal.addEventListener("abort", resolve));
  });
  const peer = await broker.ready();
  peer.request("c", "1");
  await until(() => requests.length === 1, "the request is in hand");
  const closed = worker.close();
  peer.send("MDPW02", DISCONNECT);
  await soon(Promise.all([closed, served]), "the end");
  peer.assertNothingElse();
  assert.equal(broker.peers.size, 1);
});

Deno.test("`close` gives a request back when nobody has taken it", async () => {
  await using broker = new FakeBroker();
  const worker = broker.worker({ drain: 60_000 });
  worker.connect();
  const peer = await broker.ready();
  peer.request("c", "1");
  await pause(20);
  await soon(worker.close(), "the end");
  await peer.expect("MDPW02", DISCONNECT);
  peer.assertNothingElse();
});

Deno.test("`close` takes effect when the worker pauses before it comes back", async () => {
  await using broker = new FakeBroker();
  const worker = broker.worker({ backoff: 60_000, maxBackoff: 60_000 });
  const served = worker.serve(() => "");
  (await broker.ready()).send("MDPW02", DISCONNECT);
  await until(() => !worker.isConnected, "the connection is gone");
  await worker.close();
  await soon(served, "the end");
  assert.equal(broker.peers.size, 1);
});

Deno.test("`close` does not wait for a broker that was never there", async () => {
  const worker = new Worker({ broker: "ipc:///tmp/mdp-nobody", service: "echo", linger: 60_000 });
  const served = worker.serve(() => "");
  const start = performance.now();
  await worker.close();
  await soon(served, "the end");
  const elapsed = performance.now() - start;
  assert.ok(elapsed < 5_000, `it took ${elapsed} ms`);
});

Deno.test("`close` may be called by whoever is told of a loss", async () => {
  await using broker = new FakeBroker();
  const worker = broker.worker();
  const served = worker.serve(async (request) => {
    await new Promise((resolve) =>
      request.signal.addEventListener("abort", () => {
        worker.close();
        resolve(undefined);
      })
    );
  });
  const peer = await broker.ready();
  peer.request("c", "1");
  await pause(20);
  peer.send("MDPW02", DISCONNECT);
  await soon(served, "the end");
  await pause(50);
  assert.equal(broker.peers.size, 1, "it does not come back");
  assert.equal(worker.isConnected, false);
});

Deno.test("`connect` makes one connection when whoever is told of a loss calls for it", async () => {
  await using broker = new FakeBroker();
  await using worker = broker.worker();
  worker.connect();
  const first = await broker.ready();
  first.request("c", "1");
  const request = await worker.waitForRequest();
  request.signal.addEventListener("abort", () => worker.connect({ reconnect: true }));
  first.send("MDPW02", DISCONNECT);
  const second = await broker.ready();
  await pause(50);
  assert.equal(broker.peers.size, 2);
  second.request("c", "2");
  assert.equal((await worker.waitForRequest()).text(), "2");
});

Deno.test("`serve` resolves after the handler's end when that comes after its FINAL", async () => {
  await using broker = new FakeBroker();
  const worker = broker.worker({ drain: 60_000 });
  const gate = Promise.withResolvers<void>();
  let isOver = false;
  const served = worker.serve(async (request) => {
    await request.final("answer");
    await gate.promise;
    isOver = true;
  });
  const peer = await broker.ready();
  peer.request("c", "1");
  await peer.expect("MDPW02", FINAL, "c", "", "answer");
  const closed = worker.close();
  await peer.expect("MDPW02", DISCONNECT);
  await pause(20);
  gate.resolve();
  await soon(Promise.all([closed, served]), "the end");
  assert.equal(isOver, true);
});

Deno.test("`serve` resolves after an orderly stop when its signal is aborted", async () => {
  await using broker = new FakeBroker();
  const worker = broker.worker();
  const controller = new AbortController();
  const served = worker.serve((request) => request.frames, { signal: controller.signal });
  const peer = await broker.ready();
  controller.abort();
  await soon(served, "the end");
  await peer.expect("MDPW02", DISCONNECT);
  assert.equal(worker.isConnected, false);
});

Deno.test("`serve` resolves and connects to nothing when its signal is aborted already", async () => {
  await using broker = new FakeBroker();
  const worker = broker.worker();
  await worker.serve(() => "", { signal: AbortSignal.abort() });
  await pause(20);
  assert.equal(broker.peers.size, 0);
});

Deno.test("`await using` closes the worker when it is left", async () => {
  await using broker = new FakeBroker();
  {
    await using worker = broker.worker();
    worker.connect();
    await broker.ready();
  }
  const [peer] = broker.peers.values();
  await peer!.expect("MDPW02", DISCONNECT);
});

Deno.test({
  name: "`stopOnSignal` stops in order at the first signal, and at once at the second",
  ignore: Deno.build.os === "windows",
  async fn() {
    using log = captureLog();
    await using broker = new FakeBroker();
    const worker = broker.worker({ drain: 60_000 });
    worker.stopOnSignal(["SIGUSR2"]);
    worker.stopOnSignal(["SIGUSR2"]);
    const served = worker.serve(() => new Promise(() => {}));
    const peer = await broker.ready();
    peer.request("c", "1");
    await pause(20);
    Deno.kill(Deno.pid, "SIGUSR2");
    await until(() => log.texts().some((text) => /Caught SIGUSR2/.test(text)), "it is caught");
    await pause(30);
    peer.assertNothingElse();
    Deno.kill(Deno.pid, "SIGUSR2");
    await peer.expect("MDPW02", DISCONNECT);
    await soon(served, "the end");
    assert.equal(log.texts().filter((text) => /Caught/.test(text)).length, 2);
  },
});

Deno.test({
  name: "`stopOnSignal` gives the signals back to the system when the worker is closed",
  ignore: Deno.build.os === "windows",
  async fn() {
    const { addSignalListener, removeSignalListener } = Deno;
    const listening = new Map<() => void, Deno.Signal>();
    Deno.addSignalListener = (signal, listener) => void listening.set(listener, signal);
    Deno.removeSignalListener = (_, listener) => void listening.delete(listener);
    try {
      await using broker = new FakeBroker();
      const worker = broker.worker();
      worker.stopOnSignal();
      assert.deepEqual([...listening.values()], ["SIGINT", "SIGTERM"]);
      await worker.close();
      assert.equal(listening.size, 0);
    } finally {
      Object.assign(Deno, { addSignalListener, removeSignalListener });
    }
  },
});

Deno.test("`stopOnSignal` throws when the system has no such signal", async () => {
  await using broker = new FakeBroker();
  await using worker = broker.worker();
  assert.throws(() => worker.stopOnSignal(["SIGNOTHING" as Deno.Signal]), TypeError);
});
