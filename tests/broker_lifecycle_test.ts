// Binding, running and stopping a broker.

import assert from "node:assert/strict";
import { Broker } from "../broker.ts";
import { Client } from "../client.ts";
import { StateError, ZmqError } from "../errors.ts";
import { IPV6, RawSocket } from "./raw.ts";
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
import { tellErrors } from "./tell_errors.ts";

const ANY = "tcp://127.0.0.1:*";

const isState = (message: RegExp) => (error: unknown) =>
  error instanceof StateError && message.test(error.message);
const isInUse = (endpoint: string) => (error: unknown) =>
  error instanceof ZmqError && error.code === "EADDRINUSE" && error.call === "zmq_bind" &&
  error.message.includes(endpoint);

/** A folder for ipc endpoints, removed at the end. */
function folder(): { path: string } & Disposable {
  const path = Deno.makeTempDirSync({ prefix: "mdp" });
  return { path, [Symbol.dispose]: () => Deno.removeSync(path, { recursive: true }) };
}

// ---- bind ----

Deno.test("`bind` returns the endpoints with the ports that were chosen when they are `*`", async () => {
  await using broker = new Broker({ bind: [ANY, ANY] });
  assert.deepEqual(broker.endpoints, []);
  const endpoints = broker.bind();
  assert.equal(endpoints.length, 2);
  for (const endpoint of endpoints) assert.match(endpoint, /^tcp:\/\/127\.0\.0\.1:[1-9]\d*$/);
  assert.notEqual(endpoints[0], endpoints[1]);
  assert.deepEqual(broker.endpoints, endpoints);
});

Deno.test("peers at tcp, ipc and IPv6 endpoints reach each other when one broker has all of them", async () => {
  using directory = folder();
  await using stage = new Stage({
    bind: [ANY, `ipc://${directory.path}/broker`, "tcp://*:*", ...(IPV6 ? ["tcp://[::1]:*"] : [])],
  });
  const [tcp, ipc, wildcard, tcp6] = stage.broker.endpoints;
  assert.equal(ipc, `ipc://${directory.path}/broker`);
  assert.match(wildcard!, /^tcp:\/\/0\.0\.0\.0:\d+$/);
  if (IPV6) assert.match(tcp6!, /^tcp:\/\/\[::1\]:\d+$/);
  const worker = await stage.worker("w", "echo", ipc);
  const others = [tcp!, ipc!, wildcard!.replace("0.0.0.0", "127.0.0.1")];
  for (const [i, endpoint] of others.entries()) {
    const client = stage.peer(`c${i}`, endpoint);
    client.send(C, C_REQUEST, "echo", endpoint);
    await worker.expect(W, REQUEST, `c${i}`, "", endpoint);
    worker.send(W, FINAL, `c${i}`, "", "yes");
    await client.expect(C, C_FINAL, "echo", "yes");
  }
  if (!IPV6) return;
  const client = RawSocket.dealer(tcp6!, { ipv6: 1 });
  client.send(C, C_REQUEST, "mmi.service", "echo");
  await client.expect(C, C_FINAL, "mmi.service", "200");
  await client.close();
});

Deno.test({
  name: "`tcp://[*]` takes peers by IPv6 and IPv4, and a name in brackets is one of IPv6",
  ignore: !IPV6,
  async fn() {
    await using broker = new Broker({ bind: "tcp://[*]:*" });
    const [endpoint] = broker.bind();
    const ended = broker.run();
    const [, port] = /^tcp:\/\/\[::\]:(\d+)$/.exec(endpoint!)!;
    for (const host of ["127.0.0.1", "localhost", "[::1]", "[localhost]"]) {
      await using client = new Client(`tcp://${host}:${port}`);
      assert.equal((await client.request("mmi.service", "none")).text(), "404", host);
    }
    await broker.close();
    await ended;
  },
});

Deno.test("`bind` throws, and nothing is bound, when one endpoint is taken", async () => {
  using directory = folder();
  await using first = new Broker({ bind: ANY });
  const [taken] = first.bind();
  const free = `ipc://${directory.path}/broker`;
  await using second = new Broker({ bind: [free, taken!] });
  assert.throws(() => second.bind(), isInUse(taken!));
  assert.deepEqual(second.endpoints, []);
  assert.equal(second.stats().uptime, 0);
  const other = new Broker({ bind: [`${free}2`, taken!] });
  await assert.rejects(other.run(), isInUse(taken!));
  // libzmq lets go of an endpoint in the background, so the peer comes when it has a new owner.
  await using third = new Broker({ bind: free });
  third.bind();
  const peer = RawSocket.dealer(free, { reconnectInterval: 5 });
  await fence(peer);
  await peer.close();
});

Deno.test("`bind` frees the ports that it had bound when one endpoint is taken", async () => {
  await using first = new Broker({ bind: ANY });
  const [taken] = first.bind();
  const before = new Broker({ bind: ANY });
  const [free] = before.bind();
  await before.close();
  await using second = new Broker({ bind: [free!, taken!] });
  assert.throws(() => second.bind(), isInUse(taken!));
  // libzmq lets go of them in the background.
  await using third = new Broker({ bind: free! });
  let isBound = false;
  for (let i = 0; i < 300 && !isBound; i++) {
    await new Promise((resolve) => setTimeout(resolve, 10));
    try {
      isBound = third.bind().length > 0;
    } catch (error) {
      if (!isInUse(free!)(error)) throw error;
    }
  }
  assert.ok(isBound);
});

Deno.test("`bind` can be called again when it failed and the cause is gone", async () => {
  const first = new Broker({ bind: ANY });
  const [endpoint] = first.bind();
  await using second = new Broker({ bind: endpoint });
  assert.throws(() => second.bind(), isInUse(endpoint!));
  await first.close();
  assert.deepEqual(second.bind(), [endpoint]);
  const peer = RawSocket.dealer(endpoint!);
  await fence(peer);
  await peer.close();
});

for (
  const [bind, code] of [
    ["tcp://no-such-host.invalid:5555", "ENODEV"],
    ["tcp://203.0.113.1:5555", "EADDRNOTAVAIL"],
    ["ipc:///no/such/folder/broker", "ENOENT"],
  ] as const
) {
  Deno.test(`\`bind\` throws ${code} when the endpoint is "${bind}"`, async () => {
    await using broker = new Broker({ bind });
    assert.throws(
      () => broker.bind(),
      (error) => error instanceof ZmqError && error.code === code && error.message.includes(bind),
    );
  });
}

Deno.test("`Broker` throws a RangeError when a port is too large, and does not take another", () => {
  assert.throws(() => new Broker({ bind: "tcp://127.0.0.1:65536" }), RangeError);
  assert.throws(() => new Broker({ bind: ["tcp://*:5555", "tcp://[::1]:99999"] }), RangeError);
  new Broker({ bind: ["tcp://127.0.0.1:65535", "ipc:///tmp/x:99999"] });
});

Deno.test("`bind` throws a StateError when it is bound already, or closed", async () => {
  const broker = new Broker({ bind: ANY });
  const [endpoint] = broker.bind();
  assert.throws(
    () => broker.bind(),
    (error) => isState(/already bound/)(error) && (error as Error).message.includes(endpoint!),
  );
  await broker.close();
  assert.throws(() => broker.bind(), isState(/closed/));
});

// ---- run ----

Deno.test("`run` binds and serves until `close`", async () => {
  const broker = new Broker({ bind: ANY });
  const running = broker.run();
  const peer = RawSocket.dealer(broker.endpoints[0]!);
  await fence(peer);
  await broker.close();
  await running;
  await peer.close();
  await assert.rejects(broker.run(), isState(/closed/));
});

Deno.test("`run` ends when its signal is aborted, and leaves no listener on it", async () => {
  const controller = new AbortController();
  const broker = new Broker({ bind: ANY });
  const running = broker.run({ signal: controller.signal });
  const worker = RawSocket.dealer(broker.endpoints[0]!);
  worker.send(W, READY, "echo");
  await fence(worker);
  controller.abort();
  await worker.expect(W, DISCONNECT);
  await running;
  await worker.close();
});

Deno.test("`run` ends at once when its signal was aborted before", async () => {
  const broker = new Broker({ bind: ANY });
  await broker.run({ signal: AbortSignal.abort() });
  assert.throws(() => broker.bind(), isState(/closed/));
});

Deno.test("`run` rejects when it runs already", async () => {
  await using broker = new Broker({ bind: ANY });
  const running = broker.run();
  await assert.rejects(broker.run(), isState(/already running/));
  await broker.close();
  await running;
});

Deno.test("`run` rejects when an endpoint is taken, and can be called again", async () => {
  const first = new Broker({ bind: ANY });
  const second = new Broker({ bind: first.bind() });
  await assert.rejects(second.run(), isInUse(first.endpoints[0]!));
  await first.close();
  const running = second.run();
  assert.equal(second.endpoints.length, 1);
  await second.close();
  await running;
});

// ---- close ----

Deno.test("`close` frees the endpoints, whatever other sockets the process has", async () => {
  await using bystander = RawSocket.router();
  for (let round = 0; round < 100; round++) {
    const broker = new Broker({ bind: ANY });
    const [endpoint] = broker.bind();
    await broker.close();
    const next = new Broker({ bind: endpoint });
    assert.deepEqual(next.bind(), [endpoint], `round ${round}`);
    await next.close();
  }
  assert.ok(!bystander.socket.isClosed);
});

Deno.test("`close` resolves when nothing was bound, and again when it was called before", async () => {
  const broker = new Broker({ bind: ANY });
  await broker.close();
  await broker.close();
  assert.equal(broker.stats().uptime, 0);
});

Deno.test("`close` sends each worker DISCONNECT in its dialect, waiting or busy", async () => {
  await using stage = new Stage();
  const client = stage.peer("c");
  const busy = await stage.worker("w1", "echo"), busyOld = await stage.oldWorker("w2", "echo");
  client.send(C, C_REQUEST, "echo", "1");
  await busy.expect(W, REQUEST, "c", "", "1");
  client.send(C, C_REQUEST, "echo", "2");
  await busyOld.expect("", W, REQUEST, "c", "", "2");
  const waiting = await stage.worker("w3", "echo"), waitingOld = await stage.oldWorker("w4", "old");
  const closing = stage.broker.close();
  await busy.expect(W, DISCONNECT);
  await busyOld.expect("", W, DISCONNECT);
  await waiting.expect(W, DISCONNECT);
  await waitingOld.expect("", W, DISCONNECT);
  await closing;
  const { workers, dropped, uptime } = stage.broker.stats();
  assert.deepEqual([workers.registered, workers.left.stopped, dropped.stopped], [0, 4, 2]);
  assert.ok(uptime > 0);
});

Deno.test("`close` frees the endpoint", async () => {
  const first = new Broker({ bind: ANY });
  const [endpoint] = first.bind();
  await first.close();
  await using second = new Broker({ bind: endpoint });
  assert.deepEqual(second.bind(), [endpoint]);
});

Deno.test("`await using` closes a broker", async () => {
  let endpoint: string | undefined;
  {
    await using broker = new Broker({ bind: ANY });
    [endpoint] = broker.bind();
  }
  await using again = new Broker({ bind: endpoint });
  assert.deepEqual(again.bind(), [endpoint]);
});

// ---- drain ----

Deno.test("`close` lets work in flight and queued finish, and refuses new requests, while it drains", async () => {
  await using stage = new Stage({ drain: 60_000 });
  const client = stage.peer("c"), worker = await stage.worker("w", "echo");
  client.send(C, C_REQUEST, "echo", "1");
  await worker.expect(W, REQUEST, "c", "", "1");
  await stage.ask(client, "echo", "2");
  const closing = stage.broker.close();
  assert.equal(closing, stage.broker.close(), "one promise for all calls");
  await stage.ask(client, "echo", "3");
  assert.equal(stage.broker.stats().refused.stopping, 1);
  const late = stage.peer("late");
  await fence(late);
  worker.send(W, PARTIAL, "c", "", "half");
  worker.send(W, FINAL, "c", "", "whole");
  await client.expect(C, C_PARTIAL, "echo", "half");
  await client.expect(C, C_FINAL, "echo", "whole");
  await worker.expect(W, REQUEST, "c", "", "2");
  worker.send(W, FINAL, "c", "", "whole");
  await worker.expect(W, DISCONNECT);
  await client.expect(C, C_FINAL, "echo", "whole");
  await closing;
  const { answered, dropped } = stage.broker.stats();
  assert.deepEqual([answered, dropped.stopped], [2, 0]);
});

Deno.test("`close` ends a drain when its time is up", async () => {
  await using stage = new Stage();
  const client = stage.peer("c"), worker = await stage.worker("w", "echo");
  client.send(C, C_REQUEST, "echo", "x");
  await worker.expect(W, REQUEST, "c", "", "x");
  const start = performance.now();
  await stage.broker.close({ drain: 150 });
  const took = performance.now() - start;
  assert.ok(took >= 149, `it took ${took} ms`);
  await worker.expect(W, DISCONNECT);
  assert.equal(stage.broker.stats().dropped.stopped, 1);
});

Deno.test("`close` does not drain when there is nothing to wait for", async () => {
  await using stage = new Stage({ drain: 60_000 });
  const worker = await stage.worker("w", "echo");
  await stage.broker.close();
  await worker.expect(W, DISCONNECT);
});

Deno.test("`close({ drain: 0 })` cuts a drain short", async () => {
  await using stage = new Stage({ drain: 60_000 });
  const client = stage.peer("c"), worker = await stage.worker("w", "echo");
  client.send(C, C_REQUEST, "echo", "x");
  await worker.expect(W, REQUEST, "c", "", "x");
  const closing = stage.broker.close();
  await fence(client);
  const start = performance.now();
  await stage.broker.close({ drain: 0 });
  await closing;
  const took = performance.now() - start;
  assert.ok(took < 10_000, `it took ${took} ms`);
  await worker.expect(W, DISCONNECT);
  assert.equal(stage.broker.stats().dropped.stopped, 1);
});

Deno.test("`close` shortens a drain, and does not lengthen it, when it is called again", async () => {
  await using stage = new Stage({ drain: 60_000 });
  const client = stage.peer("c"), worker = await stage.worker("w", "echo");
  client.send(C, C_REQUEST, "echo", "x");
  await worker.expect(W, REQUEST, "c", "", "x");
  const start = performance.now();
  const closing = stage.broker.close();
  stage.broker.close({ drain: 100 });
  stage.broker.close({ drain: 3_600_000 });
  await closing;
  const took = performance.now() - start;
  assert.ok(took < 10_000, `it took ${took} ms`);
  await worker.expect(W, DISCONNECT);
});

Deno.test("`close` drains for as long as it takes, whatever a timer can hold", async () => {
  for (const drain of [2 ** 31, Infinity]) {
    await using stage = new Stage();
    const client = stage.peer("c"), worker = await stage.worker("w", "echo");
    client.send(C, C_REQUEST, "echo", "x");
    await worker.expect(W, REQUEST, "c", "", "x");
    const closing = stage.broker.close({ drain });
    await new Promise((resolve) => setTimeout(resolve, 50));
    worker.send(W, FINAL, "c", "", "y");
    await client.expect(C, C_FINAL, "echo", "y");
    await closing;
    assert.equal(stage.broker.stats().dropped.stopped, 0);
  }
});

Deno.test("`close` recovers a lost worker's request while it drains", async () => {
  await using stage = new Stage({ drain: 60_000 });
  const client = stage.peer("c"), first = await stage.worker("w1", "echo");
  const second = await stage.worker("w2", "echo");
  client.send(C, C_REQUEST, "echo", "x");
  await first.expect(W, REQUEST, "c", "", "x");
  const closing = stage.broker.close();
  await first.close();
  await second.expect(W, REQUEST, "c", "", "x");
  second.send(W, FINAL, "c", "", "y");
  await client.expect(C, C_FINAL, "echo", "y");
  await closing;
});

for (
  const [drain, kind] of [
    [-1, RangeError],
    [NaN, RangeError],
    ["1" as unknown as number, TypeError],
  ] as const
) {
  Deno.test(`\`close\` rejects with a ${kind.name}, and goes on serving, when \`drain\` is ${Deno.inspect(drain)}`, async () => {
    await using stage = new Stage();
    await assert.rejects(stage.broker.close({ drain }), kind);
    await stage.assertServes();
  });
}

Deno.test("the broker answers what it has received when the next receive fails", async () => {
  await using stage = new Stage();
  const client = stage.peer("c");
  await fence(client);
  let failed = Promise.withResolvers<unknown>();
  const onError = (event: ErrorEvent) => {
    event.preventDefault();
    failed.resolve(event.error);
  };
  addEventListener("error", onError);
  try {
    // In some rounds the receive that fails is the first of its turn.
    for (let round = 0; round < 30; round++) {
      failed = Promise.withResolvers();
      {
        // Of more tries than there can be: what comes between two of them begins them anew.
        using _ = tellErrors(...new Array(1_000).fill(12));
        for (const name of ["a", "b", "c"]) client.send(C, C_REQUEST, "mmi.service", name);
        assert.equal((await failed.promise as ZmqError).code, "ENOMEM");
      }
      for (let i = 0; i < 3; i++) await client.expect(C, C_FINAL, "mmi.service", "404");
    }
  } finally {
    removeEventListener("error", onError);
  }
});

Deno.test("`Broker` refuses what are no options, where they would be ignored", async () => {
  // deno-lint-ignore no-explicit-any -- What a caller without types can do.
  const make = (options: any) => () => new Broker(options);
  for (
    const [wrong, got] of [[null, "null"], [5, "5"], [ANY, `"${ANY}"`], [[ANY], /\[/]] as const
  ) {
    assert.throws(make(wrong), (error: Error) => {
      assert.equal(error.name, "TypeError");
      assert.match(error.message, /^A broker's options are an object, got /);
      assert.ok(typeof got === "string" ? error.message.endsWith(got) : got.test(error.message));
      return true;
    });
  }
  await using broker = new Broker({ bind: ANY });
  // deno-lint-ignore no-explicit-any -- The same.
  const { run, close, events } = broker as any;
  const signal = AbortSignal.abort();
  for (const [method, name] of [[run, "run"], [close, "close"]] as const) {
    for (const wrong of [null, 5, signal]) {
      await assert.rejects(method.call(broker, wrong), {
        name: "TypeError",
        message: new RegExp(`^The options of ${name}\\(\\) are an object, got `),
      });
    }
  }
  await assert.rejects(
    run.call(broker, { signal: 5 }),
    /TypeError: signal is an AbortSignal, got 5/,
  );
  assert.throws(
    () => events.call(broker, signal),
    /TypeError: The options of events\(\) are an object/,
  );
  broker.bind();
});

Deno.test("an endpoint of inproc is free again when the broker is closed, or could not bind all", async () => {
  // Keeps the context that they share.
  await using other = new Broker({ bind: "inproc://others" });
  other.bind();
  await using taken = new Broker({ bind: "tcp://127.0.0.1:*" });
  const [endpoint] = taken.bind();
  for (let i = 0; i < 50; i++) {
    const failing = new Broker({ bind: ["inproc://again", endpoint!] });
    assert.throws(() => failing.bind(), { code: "EADDRINUSE", message: /tcp:/ });
    await using broker = new Broker({ bind: "inproc://again" });
    assert.deepEqual(broker.bind(), ["inproc://again"]);
  }
});
