// The strict dialogue of majortomo's client: connect, send, receive, one request at a time.

import assert from "node:assert/strict";
import { DisconnectedError, ProtocolError, StateError, TimeoutError } from "../client.ts";
import {
  asked,
  assertFails,
  C,
  ClientStage,
  failure,
  FINAL,
  OLD_FINAL,
  OLD_PARTIAL,
  OLD_REQUEST,
  PARTIAL,
  REQUEST,
  texts,
} from "./client_stage.ts";
import { until } from "./stage.ts";

Deno.test("`isConnected` tells whether `connect` was called, and not whether a broker is there", async () => {
  await using stage = new ClientStage();
  const client = stage.client({ broker: "tcp://127.0.0.1:1", linger: 0 });
  assert.equal(client.isConnected, false);
  client.connect();
  assert.equal(client.isConnected, true);
  client.connect();
  client.connect({ reconnect: true });
  assert.equal(client.isConnected, true);
  await client.close();
  assert.equal(client.isConnected, false);
});

for (const dialect of ["rfc", undefined, "multiplexed"] as const) {
  Deno.test(`\`send\` and \`recvPart\` speak RFC 18, and ask nothing, when the dialect is ${dialect}`, async () => {
    await using stage = new ClientStage();
    const client = stage.client({ dialect });
    client.connect();
    client.send("echo", "a", new Uint8Array([0]), "");
    const { answer } = await asked(stage.router, "MDPC02", [1], "echo", "a", [0], "");
    answer(C, PARTIAL, "echo", "1", "2");
    answer(C, FINAL, "echo", "3");
    assert.deepEqual(texts((await client.recvPart())!), ["1", "2"]);
    assert.deepEqual(texts((await client.recvPart())!), ["3"]);
    assert.equal(await client.recvPart(), undefined);
    assert.equal(await client.recvPart(0), undefined);
  });
}

Deno.test("`send` and `recvAllAsList` speak majortomo when that is the dialect", async () => {
  await using stage = new ClientStage();
  const client = stage.client({ dialect: "majortomo" });
  client.send("echo", "a");
  const { answer } = await asked(stage.router, "", "MDPC02", OLD_REQUEST, "echo", "a");
  answer("", C, OLD_PARTIAL, "1", "2");
  answer("", C, OLD_FINAL, "3");
  assert.deepEqual(texts(await client.recvAllAsList()), ["1", "2", "3"]);
  assert.deepEqual(await client.recvAllAsList(), []);
});

Deno.test("`send` connects, and keeps to one connection, when there was no `connect`", async () => {
  await using stage = new ClientStage();
  const client = stage.client();
  const from = new Set<string>();
  for (const body of ["1", "2", "3"]) {
    client.send("echo", body);
    assert.equal(client.isConnected, true);
    const request = await stage.asked("echo", body);
    from.add(request.from);
    request.answer(C, FINAL, "echo", body);
    assert.deepEqual(texts(await client.recvAllAsList()), [body]);
  }
  // Calls beside it have connections of their own.
  const call = client.request("echo");
  const request = await stage.asked("echo", "");
  from.add(request.from);
  request.answer(C, FINAL, "echo");
  await call;
  assert.equal(from.size, 2);
});

Deno.test("`send` throws StateError while a reply is due, until its FINAL was received", async () => {
  await using stage = new ClientStage();
  const client = stage.client();
  client.send("echo", "1");
  assert.throws(() => client.send("other", "2"), (error: Error) => {
    assert.ok(error instanceof StateError);
    assert.match(error.message, /"other".*"echo" is still due/);
    return true;
  });
  const { answer } = await stage.asked("echo", "1");
  answer(C, PARTIAL, "echo", "part");
  answer(C, FINAL, "echo", "end");
  await client.recvPart();
  assert.throws(() => client.send("echo", "2"), StateError);
  await client.recvPart();
  client.send("echo", "2");
  await stage.asked("echo", "2");
});

Deno.test("`send` throws TypeError, and nothing is due, when an argument is wrong", async () => {
  await using stage = new ClientStage();
  const client = stage.client();
  // deno-lint-ignore no-explicit-any -- What a caller without types can do.
  const send = client.send.bind(client) as (...args: any[]) => void;
  for (const args of [[], [""], [7, "x"], ["echo", 7], ["echo", ["a"]]]) {
    assert.throws(() => send(...args), TypeError);
  }
  assert.equal(await client.recvPart(), undefined);
  assert.equal(client.isConnected, false);
});

Deno.test("`send` throws RangeError when the body is larger than `maxMessageSize`", async () => {
  await using stage = new ClientStage();
  const client = stage.client({ maxMessageSize: 100 });
  assert.throws(() => client.send("echo", "x".repeat(60), "x".repeat(41)), RangeError);
  client.send("echo", "x".repeat(100));
  await stage.asked("echo", "x".repeat(100));
});

Deno.test("`recvPart` rejects when its timeout or options are wrong", async () => {
  await using stage = new ClientStage();
  const client = stage.client();
  // deno-lint-ignore no-explicit-any -- What a caller without types can do.
  const recvPart = client.recvPart.bind(client) as (...args: any[]) => Promise<unknown>;
  await assertFails(recvPart(-1), RangeError, /timeout.*-1/);
  await assertFails(recvPart("1"), TypeError, /timeout.*"1"/);
  await assertFails(recvPart(null), TypeError, /timeout.*null/);
  await assertFails(recvPart({ signal: 1 }), TypeError, /signal.*1/);
  assert.throws(() => client.recvAll(-1), RangeError);
  for (const wrong of [AbortSignal.timeout(1), ["x"], { timout: 5 }]) {
    await assertFails(recvPart(wrong), TypeError, /^The options of a wait /);
    await assertFails(client.recvAllAsList(wrong as never), TypeError, /^The options of a wait/);
    assert.throws(() => client.recvAll(wrong as never), TypeError);
  }
});

Deno.test("`recvAll` takes its options as they are when it is called", async () => {
  await using stage = new ClientStage();
  const client = stage.client();
  client.send("slow", "x");
  const { answer } = await stage.asked("slow", "x");
  const options = { timeout: 60_000 };
  const parts = client.recvAll(options);
  options.timeout = 0;
  const next = parts.next();
  answer(C, FINAL, "slow", "at last");
  assert.deepEqual(texts((await next).value!), ["at last"]);
});

Deno.test("`recvPart` leaves the reply due after TimeoutError", async () => {
  await using stage = new ClientStage();
  const client = stage.client({ timeout: 60_000 });
  client.send("slow", "x");
  const { answer } = await stage.asked("slow", "x");
  const message = new RegExp(`"slow" at "${stage.endpoint}" sent no reply within.* 20 ms`);
  await assertFails(client.recvPart(20), TimeoutError, message);
  await assertFails(client.recvPart({ timeout: 20 }), TimeoutError, message);
  assert.throws(() => client.send("slow", "y"), StateError);
  answer(C, FINAL, "slow", "at last");
  assert.deepEqual(texts((await client.recvPart())!), ["at last"]);
});

Deno.test("`recvPart(0)` takes what is there, and else fails at once", async () => {
  await using stage = new ClientStage();
  const client = stage.client();
  client.send("echo", "x");
  const { answer } = await stage.asked("echo", "x");
  await assertFails(client.recvPart(0), TimeoutError, /of 0 ms/);
  answer(C, FINAL, "echo", "there");
  for (const end = performance.now() + 10_000;;) {
    assert.ok(performance.now() < end, "nothing was there");
    // The event loop has no turn in between.
    try {
      const part = await client.recvPart(0);
      assert.deepEqual(texts(part!), ["there"]);
      break;
    } catch (error) {
      assert.ok(error instanceof TimeoutError);
    }
  }
});

Deno.test("`connect({ reconnect: true })` gives up a reply that is due", async () => {
  await using stage = new ClientStage();
  const client = stage.client();
  client.send("echo", "1");
  const first = await stage.asked("echo", "1");
  client.connect();
  assert.throws(() => client.send("echo", "2"), StateError);
  const waiting = client.recvPart();
  client.connect(true);
  await assertFails(waiting, StateError, /connected anew.*"echo"/);
  assert.equal(await client.recvPart(), undefined);

  client.send("echo", "2");
  const second = await stage.asked("echo", "2");
  assert.notEqual(second.from, first.from);
  first.answer(C, FINAL, "echo", "too late");
  second.answer(C, FINAL, "echo", "right");
  assert.deepEqual(texts(await client.recvAllAsList()), ["right"]);
});

Deno.test("`connect({ reconnect: true })` takes the next broker when the first was silent", async () => {
  await using stage = new ClientStage();
  const second = stage.another();
  const client = stage.client({ broker: [stage.endpoint, second.endpoint] });
  client.send("echo", "1");
  await assertFails(client.recvPart(20), TimeoutError, /"echo"/);
  client.connect({ reconnect: true });
  client.send("echo", "2");
  (await asked(second, C, REQUEST, "echo", "2")).answer(C, FINAL, "echo", "two");
  assert.deepEqual(texts(await client.recvAllAsList()), ["two"]);
});

Deno.test("`recvPart` may be called as soon as the wait before it is given up", async () => {
  await using stage = new ClientStage();
  const client = stage.client();
  client.send("echo", "1");
  await stage.asked("echo", "1");
  const first = client.recvPart();
  client.connect(true);
  client.send("echo", "2");
  const second = client.recvPart();
  await assertFails(first, StateError, /connected anew/);
  (await stage.asked("echo", "2")).answer(C, PARTIAL, "echo", "two");
  assert.deepEqual(texts((await second)!), ["two"]);

  const controller = new AbortController();
  const third = client.recvPart({ signal: controller.signal });
  controller.abort("enough");
  const fourth = client.recvPart();
  assert.equal(await failure(third), "enough");
  await assertFails(client.recvPart(), StateError, /waits.*"echo"/);
  await assertFails(client.recvPart(1), StateError, /waits.*"echo"/);
  client.connect(true);
  await assertFails(fourth, StateError, /connected anew/);
});

Deno.test("`recvPart` rejects with StateError while another call waits", async () => {
  await using stage = new ClientStage();
  const client = stage.client();
  client.send("echo", "x");
  const first = client.recvPart();
  await assertFails(client.recvPart(), StateError, /waits.*"echo"/);
  (await stage.asked("echo", "x")).answer(C, FINAL, "echo", "one");
  assert.deepEqual(texts((await first)!), ["one"]);
});

Deno.test("`recvPart` rejects with the signal's reason, and the reply is still due", async () => {
  await using stage = new ClientStage();
  const client = stage.client();
  client.send("echo", "x");
  const { answer } = await stage.asked("echo", "x");
  const controller = new AbortController();
  const waiting = client.recvPart({ signal: controller.signal });
  controller.abort("enough");
  assert.equal(await failure(waiting), "enough");
  assert.equal(await failure(client.recvPart({ signal: controller.signal })), "enough");
  answer(C, FINAL, "echo", "one");
  assert.deepEqual(texts((await client.recvPart())!), ["one"]);
});

Deno.test("`recvPart` rejects with ProtocolError, and gives up the connection, when it is no reply", async () => {
  await using stage = new ClientStage();
  const client = stage.client();
  client.send("echo", "1");
  const first = await stage.asked("echo", "1");
  first.answer(C, FINAL, "other", "x");
  first.answer(C, FINAL, "echo", "too late");
  await assertFails(client.recvPart(), ProtocolError, /"other"/);
  assert.equal(client.isConnected, false);
  assert.equal(await client.recvPart(), undefined);
  client.send("echo", "2");
  const second = await stage.asked("echo", "2");
  assert.notEqual(second.from, first.from);
  second.answer(C, FINAL, "echo", "right");
  assert.deepEqual(texts(await client.recvAllAsList()), ["right"]);
});

Deno.test("a message is dropped when no reply is due", async () => {
  await using stage = new ClientStage();
  const client = stage.client();
  client.send("echo", "1");
  const { answer } = await stage.asked("echo", "1");
  answer(C, FINAL, "echo", "one");
  answer(C, FINAL, "echo", "one again");
  assert.deepEqual(texts(await client.recvAllAsList()), ["one"]);
  // What came before is handled when this has come.
  const fence = client.request("fence");
  (await stage.asked("fence", "")).answer(C, FINAL, "fence");
  await fence;
  client.send("echo", "2");
  (await stage.asked("echo", "2")).answer(C, FINAL, "echo", "two");
  assert.deepEqual(texts(await client.recvAllAsList()), ["two"]);
});

Deno.test("`recvAll` yields the parts, and leaves the rest due when the loop is left", async () => {
  await using stage = new ClientStage();
  const client = stage.client();
  client.send("report", "x");
  const { answer } = await stage.asked("report", "x");
  for (const text of ["1", "2"]) answer(C, PARTIAL, "report", text);
  answer(C, FINAL, "report", "3");
  for await (const part of client.recvAll()) {
    assert.deepEqual(texts(part), ["1"]);
    break;
  }
  assert.throws(() => client.send("report"), StateError);
  const rest = [];
  for await (const part of client.recvAll({ timeout: 10_000 })) rest.push(...texts(part));
  assert.deepEqual(rest, ["2", "3"]);
});

Deno.test("`recvPart` rejects with DisconnectedError at once when the broker is gone, after what had come", async () => {
  await using stage = new ClientStage();
  const router = stage.another(), second = stage.another();
  const client = stage.client({ broker: [router.endpoint, second.endpoint], timeout: 60_000 });
  client.send("echo", "1");
  const { answer } = await asked(router, C, REQUEST, "echo", "1");
  answer(C, PARTIAL, "echo", "part");
  await client.recvPart();
  answer(C, PARTIAL, "echo", "another");
  await router.close();
  await until(() => !client.isConnected, "the loss is noticed");
  assert.deepEqual(texts((await client.recvPart())!), ["another"]);
  await assertFails(client.recvPart(), DisconnectedError, /was lost before.*"echo"/);
  assert.equal(client.isConnected, false);
  assert.equal(await client.recvPart(), undefined);
  client.send("echo", "2");
  (await asked(second, C, REQUEST, "echo", "2")).answer(C, FINAL, "echo", "y");
  assert.deepEqual(texts(await client.recvAllAsList()), ["y"]);
});

Deno.test("`send` connects anew when the connection was lost while no reply was due", async () => {
  await using stage = new ClientStage();
  const router = stage.another();
  const client = stage.client({ broker: [router.endpoint, stage.endpoint] });
  client.send("echo", "1");
  (await asked(router, C, REQUEST, "echo", "1")).answer(C, FINAL, "echo", "x");
  assert.deepEqual(texts(await client.recvAllAsList()), ["x"]);
  await router.close();
  await until(() => !client.isConnected, "the loss is noticed");
  client.send("echo", "2");
  (await stage.asked("echo", "2")).answer(C, FINAL, "echo", "y");
  assert.deepEqual(texts(await client.recvAllAsList()), ["y"]);
});

Deno.test("`connect` gives up a reply that is due when the connection was lost", async () => {
  await using stage = new ClientStage();
  const router = stage.another();
  const client = stage.client({ broker: [router.endpoint, stage.endpoint] });
  client.send("echo", "1");
  await asked(router, C, REQUEST, "echo", "1");
  await router.close();
  await until(() => !client.isConnected, "the loss is noticed");
  client.connect();
  assert.equal(client.isConnected, true);
  client.send("echo", "2");
  (await stage.asked("echo", "2")).answer(C, FINAL, "echo", "y");
  assert.deepEqual(texts(await client.recvAllAsList()), ["y"]);
});

Deno.test("`recvPart` gives the FINAL that was there when the connection was lost", async () => {
  await using stage = new ClientStage();
  const router = stage.another();
  const client = stage.client({ broker: router.endpoint });
  client.send("echo", "1");
  const { answer } = await asked(router, C, REQUEST, "echo", "1");
  answer(C, PARTIAL, "echo", "part");
  await client.recvPart();
  answer(C, FINAL, "echo", "end");
  await router.close();
  // The loss is noticed before the FINAL is taken.
  await new Promise((resolve) => setTimeout(resolve, 50));
  assert.deepEqual(texts((await client.recvPart())!), ["end"]);
  await until(() => !client.isConnected, "the loss is noticed");
  assert.equal(await client.recvPart(), undefined);
});

Deno.test("`close` fails a wait for a reply", async () => {
  await using stage = new ClientStage();
  const client = stage.client();
  client.send("echo", "x");
  const { answer } = await stage.asked("echo", "x");
  const waiting = client.recvPart();
  answer(C, PARTIAL, "echo", "1");
  await waiting;
  const again = failure(client.recvAllAsList());
  await client.close();
  assert.match((await again).message, /closed before.*"echo"/);
});

Deno.test("`send` gets the request out when `close` follows at once", async () => {
  await using stage = new ClientStage();
  const client = stage.client();
  client.send("log", "a line");
  await client.close();
  await stage.asked("log", "a line");
});
