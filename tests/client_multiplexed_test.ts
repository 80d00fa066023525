// The client in the multiplexed dialect, on the wire: MULTIPLEX.md's rules, where they bind a
// client. How it finds the dialect out is in client_auto_test.ts.

import assert from "node:assert/strict";
import {
  type Client,
  type ClientOptions,
  DisconnectedError,
  ServiceError,
  StateError,
  TimeoutError,
} from "../client.ts";
import { assertFails, ClientStage, failure, isSettled, whenFree } from "./client_stage.ts";
import { assertFrames, bytes, type RawFrame, RawSocket } from "./raw.ts";

const REQUEST = 1, PARTIAL = 2, FINAL = 3, ERROR = 4, HEARTBEAT = 5, DISCONNECT = 6, CANCEL = 8;
const HEADERS = 1, NOWAIT = 2, ONCE = 4;

/** A control frame of the client side. */
function control(command: number, id = 0, value = 0, flags = 0): Uint8Array {
  const frame = [...bytes("MDPCX1"), command, flags];
  for (const [number, length] of [[id, 8], [value, 4]] as const) {
    for (let shift = length - 1; shift >= 0; shift--) {
      frame.push(Math.floor(number / 256 ** shift) % 256);
    }
  }
  return new Uint8Array(frame);
}

interface Got {
  /** The address of the client. */
  address: Uint8Array;
  /** The id of the request. */
  id: number;
  /** Sends a command with this id. */
  answer(command: number, ...frames: RawFrame[]): void;
  /** Sends an ERROR with this id. */
  fail(code: number, ...frames: RawFrame[]): void;
}

/** The next message, which must be this REQUEST without a time to live. */
async function got(router: RawSocket, id: number, ...frames: RawFrame[]): Promise<Got> {
  const [address, ...rest] = await router.receive();
  assertFrames(rest, [control(REQUEST, id), ...frames]);
  return toGot(router, address!, id);
}

function toGot(router: RawSocket, address: Uint8Array, id: number): Got {
  return {
    address,
    id,
    answer: (command, ...frames) => router.send(address, control(command, id), ...frames),
    fail: (code, ...frames) => router.send(address, control(ERROR, id, code), ...frames),
  };
}

/** The next message, which must have these frames after the address. */
async function expect(router: RawSocket, ...frames: RawFrame[]): Promise<void> {
  assertFrames((await router.receive()).slice(1), frames);
}

const insisting = (stage: ClientStage, options: ClientOptions = {}): Client =>
  stage.client({ dialect: "multiplexed", ...options });

/** A client whose request 1 was answered: it is connected, and the next is sent at once. */
async function connected(stage: ClientStage): Promise<Client> {
  const client = insisting(stage);
  const call = client.request("echo", "first");
  (await got(stage.router, 1, "echo", "first")).answer(FINAL);
  await call;
  return client;
}

// ---- requests and replies ----

Deno.test("Rule 1: requests share a connection, and answers come in any order", async () => {
  await using stage = new ClientStage();
  const client = insisting(stage);
  const calls = ["a", "b", "c"].map((body) => client.request("echo", body));
  const requests = [];
  for (const [i, body] of ["a", "b", "c"].entries()) {
    requests.push(await got(stage.router, i + 1, "echo", body));
  }
  assert.equal(new Set(requests.map(({ address }) => String(address))).size, 1);
  requests[2]!.answer(FINAL, "C");
  assert.equal((await calls[2]!).text(), "C");
  requests[0]!.answer(PARTIAL, "1");
  requests[1]!.answer(FINAL);
  requests[0]!.answer(FINAL, "A", "");
  assert.deepEqual((await calls[1]!).frames, []);
  const reply = await calls[0]!;
  assert.deepEqual(reply.parts.map((part) => [part.type, part.text()]), [
    ["partial", "1"],
    ["final", "A"],
  ]);
  const next = client.request("echo", "d");
  (await got(stage.router, 4, "echo", "d")).answer(FINAL, "D");
  assert.equal((await next).text(), "D");
});

Deno.test("headers go both ways as a JSON object", async () => {
  await using stage = new ClientStage();
  const call = insisting(stage).request("echo", "x", { headers: { trace: "ä1" } });
  const [address, ...rest] = await stage.router.receive();
  assertFrames(rest, [control(REQUEST, 1, 0, HEADERS), "echo", '{"trace":"ä1"}', "x"]);
  const send = (command: number, ...frames: RawFrame[]) =>
    stage.router.send(address!, control(command, 1, 0, HEADERS), ...frames);
  send(PARTIAL, '{"part":"1"}', "p");
  send(FINAL, '{"part":"2","no":1}', "f");
  const reply = await call;
  assert.deepEqual(reply.parts.map((part) => ({ ...part.headers })), [{ part: "1" }, {
    part: "2",
  }]);
  assert.deepEqual({ ...reply.headers }, { part: "2" });
});

Deno.test("headers are none when there are none or they are no JSON object", async () => {
  await using stage = new ClientStage();
  const client = insisting(stage);
  for (const [i, frame] of [undefined, "[]", "{", "7"].entries()) {
    const call = client.request("echo");
    const { address } = await got(stage.router, i + 1, "echo", "");
    const frames = frame === undefined ? [] : [frame];
    stage.router.send(address, control(FINAL, i + 1, 0, frames.length), ...frames, "f");
    const reply = await call;
    assert.deepEqual({ ...reply.headers }, {});
    assert.equal(reply.text(), "f");
  }
});

Deno.test("`headers` that are no strings by name are a TypeError", async () => {
  await using stage = new ClientStage();
  for (const headers of [7, ["a"], { a: 1 }] as never[]) {
    await assertFails(insisting(stage).request("echo", "", { headers }), TypeError, /header/);
  }
});

Deno.test("Rule 4: `noWait` and `once` are flags of the request", async () => {
  await using stage = new ClientStage();
  const client = insisting(stage);
  const calls = [{ noWait: true }, { once: true }, { noWait: true, once: true }].map((options) =>
    client.request("echo", "", options)
  );
  for (const [i, flags] of [NOWAIT, ONCE, NOWAIT | ONCE].entries()) {
    const [address, ...rest] = await stage.router.receive();
    assertFrames(rest, [control(REQUEST, i + 1, 0, flags), "echo", ""]);
    toGot(stage.router, address!, i + 1).answer(FINAL, `${i}`);
  }
  assert.deepEqual((await Promise.all(calls)).map((reply) => reply.text()), ["0", "1", "2"]);
});

Deno.test("Rule 4: `once` holds though the options are changed before the request is sent", async () => {
  await using stage = new ClientStage();
  const client = insisting(stage, { maxInFlight: 1 });
  const first = client.request("echo", "1");
  const options = { once: true };
  const second = client.request("pay", "2", options);
  options.once = false;
  (await got(stage.router, 1, "echo", "1")).answer(FINAL);
  await first;
  const [address, ...rest] = await stage.router.receive();
  assertFrames(rest, [control(REQUEST, 2, 0, ONCE), "pay", "2"]);
  toGot(stage.router, address!, 2).fail(502, "Its worker was lost");
  assert.equal((await failure(second) as ServiceError).code, 502);
});

// ---- the ends of calls ----

Deno.test("Rule 12: ERROR is a ServiceError with code, message and details, not sent again", async () => {
  await using stage = new ClientStage();
  const client = insisting(stage, { retries: 3 });
  const plain = client.request("echo", "1"), detailed = client.request("echo", "2");
  (await got(stage.router, 1, "echo", "1")).fail(404, "Nobody serves it");
  (await got(stage.router, 2, "echo", "2")).fail(500, "größe", [1, 2]);
  const first = await failure(plain), second = await failure(detailed);
  assert.ok(first instanceof ServiceError && second instanceof ServiceError);
  assert.deepEqual([first.code, first.message, first.details], [
    404,
    "Nobody serves it",
    undefined,
  ]);
  assert.deepEqual([second.code, second.message, [...second.details!]], [500, "größe", [1, 2]]);
  assert.equal(stage.router.unread.length, 0);
});

Deno.test("Rule 2: `deadline` is sent as time to live, and ERROR 504 is a TimeoutError", async () => {
  await using stage = new ClientStage();
  const call = insisting(stage).request("echo", "", { deadline: 60_000 });
  const [address, head, ...rest] = await stage.router.receive();
  assertFrames(rest, ["echo", ""]);
  const left = new DataView(head!.buffer, head!.byteOffset).getUint32(16);
  assert.ok(left > 50_000 && left <= 60_000, `${left} ms`);
  toGot(stage.router, address!, 1).fail(504, "Its time to live has passed");
  await assertFails(call, TimeoutError, /"echo".*time to live/);
});

Deno.test("Rule 12: ERROR 504 is a ServiceError like any other when no `deadline` was set", async () => {
  await using stage = new ClientStage();
  const call = insisting(stage).request("echo", "");
  (await got(stage.router, 1, "echo", "")).fail(504, "No answer from upstream", [1, 2]);
  const error = await failure(call) as ServiceError;
  assert.ok(error instanceof ServiceError, `${error}`);
  assert.deepEqual([error.code, error.message, [...error.details!]], [
    504,
    "No answer from upstream",
    [1, 2],
  ]);
});

Deno.test("Rule 2: a `deadline` beyond 32 bits is sent as the most that they hold", async () => {
  await using stage = new ClientStage();
  const call = insisting(stage).request("echo", "", { deadline: 1e12 });
  const [address, head] = await stage.router.receive();
  assertFrames([head!], [control(REQUEST, 1, 2 ** 32 - 1)]);
  toGot(stage.router, address!, 1).answer(FINAL);
  await call;
});

Deno.test("Rule 3: a signal that aborts sends CANCEL, and a late answer is dropped", async () => {
  await using stage = new ClientStage();
  const client = insisting(stage);
  const controller = new AbortController();
  const call = client.request("echo", "", { signal: controller.signal });
  const request = await got(stage.router, 1, "echo", "");
  controller.abort("enough");
  assert.equal(await failure(call), "enough" as never);
  await expect(stage.router, control(CANCEL, 1));
  request.answer(FINAL, "late");
  const next = client.request("echo", "next");
  (await got(stage.router, 2, "echo", "next")).answer(FINAL, "right");
  assert.equal((await next).text(), "right");
});

Deno.test("Rule 3: `timeout` sends CANCEL, and a retry has another id on the same connection", async () => {
  await using stage = new ClientStage();
  const call = (await connected(stage)).request("echo", "x", { timeout: 50, retries: 1 });
  const first = await got(stage.router, 2, "echo", "x");
  await expect(stage.router, control(CANCEL, 2));
  first.answer(FINAL, "late");
  const second = await got(stage.router, 3, "echo", "x");
  assert.deepEqual(second.address, first.address);
  second.answer(FINAL, "right");
  assert.equal((await call).text(), "right");
});

Deno.test("Rule 3: `once` is not sent again after `timeout`", async () => {
  await using stage = new ClientStage();
  const client = await connected(stage);
  const call = client.request("echo", "", { timeout: 30, retries: 3, once: true });
  await stage.router.receive();
  await assertFails(call, TimeoutError, /\(1 attempt\)/);
  await expect(stage.router, control(CANCEL, 2));
});

Deno.test("Rule 3: a stream that is left sends CANCEL", async () => {
  await using stage = new ClientStage();
  const client = insisting(stage);
  const used = (async () => {
    for await (const part of client.stream("report")) return part.text();
  })();
  (await got(stage.router, 1, "report", "")).answer(PARTIAL, "1");
  assert.equal(await used, "1");
  await expect(stage.router, control(CANCEL, 1));
});

Deno.test("`maxInFlight` has further calls wait for their turn", async () => {
  await using stage = new ClientStage();
  const client = insisting(stage, { maxInFlight: 2 });
  const calls = ["a", "b", "c"].map((body) => client.request("echo", body));
  const first = await got(stage.router, 1, "echo", "a");
  await got(stage.router, 2, "echo", "b");
  assert.equal(stage.router.unread.length, 0);
  first.answer(FINAL);
  await calls[0];
  await got(stage.router, 3, "echo", "c");
});

Deno.test("1,500 requests at once, more than the socket's queue holds, each get their own reply", async () => {
  await using stage = new ClientStage();
  const client = insisting(stage, { maxInFlight: 1_500 });
  const bodies = Array.from({ length: 1_500 }, (_, i) => `${i}`);
  const replies = Promise.all(bodies.map((body) => client.request("echo", body)));
  for (const [i, body] of bodies.entries()) {
    (await got(stage.router, i + 1, "echo", body)).answer(FINAL, body);
    // The test's own socket has a queue, too.
    if (i % 500 === 0) await new Promise((resolve) => setTimeout(resolve));
  }
  assert.deepEqual((await replies).map((reply) => reply.text()), bodies);
});

// ---- heartbeats and losses ----

Deno.test("Rule 7: a HEARTBEAT is sent once an interval while a request is in flight", async () => {
  await using stage = new ClientStage();
  const client = insisting(stage, { heartbeatInterval: 30, heartbeatTimeout: 10_000 });
  const call = client.request("echo");
  const request = await got(stage.router, 1, "echo", "");
  for (let i = 0; i < 3; i++) {
    await expect(stage.router, control(HEARTBEAT));
    stage.router.send(request.address, control(HEARTBEAT));
  }
  request.answer(FINAL, "done");
  assert.equal((await call).text(), "done");
});

Deno.test("Rule 7: a broker that is silent for the heartbeat timeout is lost", async () => {
  await using stage = new ClientStage();
  const client = insisting(stage, { heartbeatInterval: 30, heartbeatTimeout: 100 });
  const call = client.request("echo");
  const first = await got(stage.router, 1, "echo", "");
  for (;;) {
    const [address, ...rest] = await stage.router.receive();
    if (rest.length === 1) {
      assertFrames(rest, [control(HEARTBEAT)]);
      continue;
    }
    assertFrames(rest, [control(REQUEST, 1), "echo", ""]);
    assert.notDeepEqual(address, first.address);
    toGot(stage.router, address!, 1).answer(FINAL, "again");
    break;
  }
  assert.equal((await call).text(), "again");
});

Deno.test("Rule 7: a broker is lost that is silent while short requests come and go", async () => {
  await using stage = new ClientStage();
  const client = insisting(stage, { heartbeatInterval: 30, heartbeatTimeout: 200 });
  const call = client.request("echo", "first");
  const first = await got(stage.router, 1, "echo", "first");
  first.answer(FINAL);
  await call;
  // A HEARTBEAT falls due when nothing is in flight.
  let isOver = false;
  const asking = (async () => {
    while (!isOver) {
      await client.request("echo", "x", { timeout: 5 }).catch(() => {});
      await new Promise((resolve) => setTimeout(resolve, 40));
    }
  })();
  for (;;) {
    const [address] = await stage.router.receive();
    if (!first.address.every((byte, i) => byte === address![i])) break;
  }
  isOver = true;
  await asking;
});

Deno.test("Rule 8: DISCONNECT voids what is in flight, and it is sent again on a new socket", async () => {
  await using stage = new ClientStage();
  const client = insisting(stage);
  const calls = [client.request("echo", "a"), client.request("echo", "b")];
  const first = await got(stage.router, 1, "echo", "a");
  await got(stage.router, 2, "echo", "b");
  stage.router.send(first.address, control(DISCONNECT));
  for (const [i, body] of ["a", "b"].entries()) {
    const again = await got(stage.router, i + 1, "echo", body);
    assert.notDeepEqual(again.address, first.address);
    again.answer(FINAL, body);
  }
  assert.deepEqual((await Promise.all(calls)).map((reply) => reply.text()), ["a", "b"]);
});

Deno.test("Rule 8: after DISCONNECT the next connection waits for its time, whatever is asked meanwhile", async () => {
  await using stage = new ClientStage();
  const client = insisting(stage, { backoff: 600, maxBackoff: 600 });
  client.request("echo", "a");
  const { address } = await got(stage.router, 1, "echo", "a");
  stage.router.send(address, control(DISCONNECT));
  const start = performance.now();
  await new Promise((resolve) => setTimeout(resolve, 50));
  client.request("echo", "b");
  await stage.router.receive();
  const took = performance.now() - start;
  assert.ok(took >= 290, `it took ${took} ms, and half of the backoff is the least`);
});

Deno.test("Rule 8: what is `once` is not sent again after DISCONNECT", async () => {
  await using stage = new ClientStage();
  const call = insisting(stage, { retries: 5 }).request("echo", "", { once: true });
  const [address] = await stage.router.receive();
  stage.router.send(address!, control(DISCONNECT));
  await assertFails(call, DisconnectedError, /ended by the broker.*"echo".*\(1 attempt\)/);
});

Deno.test("Rule 8: a request whose connections are lost again and again fails", async () => {
  await using stage = new ClientStage();
  const call = insisting(stage).request("echo");
  for (let i = 0; i < 2; i++) {
    stage.router.send((await got(stage.router, 1, "echo", "")).address, control(DISCONNECT));
  }
  await assertFails(call, DisconnectedError, /\(2 attempts\)/);
});

Deno.test("Rule 8: with several brokers a void request goes to the next, and 503 does too", async () => {
  for (const how of ["disconnect", "503"]) {
    await using stage = new ClientStage();
    const second = stage.another();
    const client = insisting(stage, { broker: [stage.endpoint, second.endpoint] });
    const call = client.request("echo", how);
    const request = await got(stage.router, 1, "echo", how);
    if (how === "503") request.fail(503, "Stopping");
    else stage.router.send(request.address, control(DISCONNECT));
    (await got(second, 1, "echo", how)).answer(FINAL, "second");
    assert.equal((await call).text(), "second");
    const next = client.request("echo", "next");
    (await got(second, 2, "echo", "next")).answer(FINAL);
    await next;
  }
});

Deno.test("Rule 10: after ERROR 502 the next broker may have a worker; for other calls it says nothing", async () => {
  await using stage = new ClientStage();
  const second = stage.another();
  const client = insisting(stage, { broker: [stage.endpoint, second.endpoint] });
  const lost = client.request("echo", "1", { retries: 0 });
  (await got(stage.router, 1, "echo", "1")).fail(502, "The worker was lost");
  assert.ok(await failure(lost) instanceof ServiceError);
  const call = client.request("echo", "2");
  (await got(stage.router, 2, "echo", "2")).fail(502, "The worker was lost");
  (await got(second, 1, "echo", "2")).answer(FINAL, "second");
  assert.equal((await call).text(), "second");
});

Deno.test("Rule 12: a service's own 503 reaches the caller when no other broker has an answer", async () => {
  await using stage = new ClientStage();
  const second = stage.another();
  const client = insisting(stage, { broker: [stage.endpoint, second.endpoint] });
  const call = client.request("echo", "1", { timeout: 200 });
  (await got(stage.router, 1, "echo", "1")).fail(503, "Come back later");
  await got(second, 1, "echo", "1");
  const error = await failure(call);
  assert.ok(error instanceof ServiceError, error.stack);
  assert.deepEqual([error.code, error.message], [503, "Come back later"]);
  const next = client.request("other", "2");
  (await got(stage.router, 2, "other", "2")).answer(FINAL);
  await next;
});

Deno.test("Rule 8: a broker that says that it stops is not the one for the next call", async () => {
  await using stage = new ClientStage();
  const second = stage.another();
  const broker = [stage.endpoint, second.endpoint];
  const client = insisting(stage, { broker, retries: 0 });
  const call = client.request("echo", "1");
  (await got(stage.router, 1, "echo", "1")).fail(503, "The broker is stopping");
  assert.ok(await failure(call) instanceof ServiceError);
  const next = client.request("echo", "2");
  (await got(second, 1, "echo", "2")).answer(FINAL);
  await next;
});

Deno.test("a call that runs out of time does not take the others off a broker that is there", async () => {
  await using stage = new ClientStage();
  const second = stage.another();
  const client = insisting(stage, { broker: [stage.endpoint, second.endpoint], retries: 0 });
  for (const limits of [{ timeout: 40 }, { deadline: 40 }]) {
    await assertFails(client.request("slow", "", limits), TimeoutError, /of 40 ms/);
  }
  // REQUEST, HEARTBEAT and CANCEL, and then but one question for both.
  for (let messages = 0; messages < 5; messages++) {
    const [address, head] = await stage.router.receive();
    if (head![6] === HEARTBEAT) stage.router.send(address!, control(HEARTBEAT));
  }
  await new Promise((resolve) => setTimeout(resolve, 1_100));
  const next = client.request("echo", "x");
  (await got(stage.router, 3, "echo", "x")).answer(FINAL);
  await next;
});

Deno.test("a call that runs out of time has the broker asked, and left if it does not answer", async () => {
  await using stage = new ClientStage();
  const second = stage.another();
  const client = insisting(stage, { broker: [stage.endpoint, second.endpoint], retries: 0 });
  const before = performance.now();
  while (second.unread.length === 0) {
    assert.ok(performance.now() - before < 5_000, "the first broker is not left");
    await assertFails(client.request("echo", "", { timeout: 50 }), TimeoutError, /of 50 ms/);
  }
  assert.ok(performance.now() - before > 1_000);
});

Deno.test("what one broker refused is not what another failed with that had begun to answer", async () => {
  await using stage = new ClientStage();
  const second = stage.another();
  const client = insisting(stage, { broker: [stage.endpoint, second.endpoint] });
  const parts = client.stream("echo", "1", { timeout: 200 });
  const first = parts.next();
  (await got(stage.router, 1, "echo", "1")).fail(503, "Come back later");
  (await got(second, 1, "echo", "1")).answer(PARTIAL, "part");
  assert.equal((await first).value?.text(), "part");
  await assertFails(parts.next(), TimeoutError, /no further part/);
});

for (const code of [502, 503]) {
  Deno.test(`Rule 8: ERROR ${code} is a ServiceError when no retries are left`, async () => {
    await using stage = new ClientStage();
    const call = insisting(stage).request("echo");
    (await got(stage.router, 1, "echo", "")).fail(code, "Stopping");
    const error = await failure(call);
    assert.ok(error instanceof ServiceError);
    assert.equal(error.code, code);
  });
}

Deno.test("Rule 10: a request is sent again after ERROR 502 when retries are left, and what came before does not count", async () => {
  await using stage = new ClientStage();
  const call = insisting(stage, { retries: 1 }).request("echo");
  const request = await got(stage.router, 1, "echo", "");
  request.answer(PARTIAL, "half");
  request.fail(502, "The worker was lost after a part of its reply");
  (await got(stage.router, 2, "echo", "")).answer(FINAL, "whole");
  const reply = await call;
  assert.deepEqual([reply.text(), reply.parts.length], ["whole", 1]);
});

Deno.test("Rule 10: a request that is sent `once` is not sent again after ERROR 502", async () => {
  await using stage = new ClientStage();
  const call = insisting(stage, { retries: 3 }).request("echo", "", { once: true });
  const [address] = await stage.router.receive();
  toGot(stage.router, address!, 1).fail(502, "The worker was lost");
  const error = await failure(call);
  assert.ok(error instanceof ServiceError && error.code === 502, `${error}`);
  assert.equal(stage.router.unread.length, 0);
});

Deno.test("Rule 9: a request is sent again as soon as a lost broker is back, within its timeout", async () => {
  await using stage = new ClientStage();
  const router = stage.another();
  const { endpoint } = router;
  const client = insisting(stage, { broker: endpoint });
  const call = client.request("echo", "x");
  await got(router, 1, "echo", "x");
  await router.close();
  await using again = await whenFree(() => RawSocket.router(endpoint));
  const late = client.request("echo", "y");
  const seen = new Map<string, Got>();
  for (let i = 1; i <= 2; i++) {
    const [address, , , body] = await again.receive();
    seen.set(new TextDecoder().decode(body), toGot(again, address!, i));
  }
  seen.get("x")!.answer(FINAL, "X");
  seen.get("y")!.answer(FINAL, "Y");
  assert.deepEqual([(await call).text(), (await late).text()], ["X", "Y"]);
});

Deno.test("Rule 9: `once` fails at once when the connection is lost", async () => {
  await using stage = new ClientStage();
  const router = stage.another();
  const call = insisting(stage, { broker: router.endpoint }).request("echo", "", { once: true });
  await router.receive();
  await router.close();
  await assertFails(call, DisconnectedError, /was lost/);
});

Deno.test("Rule 9: a stream that has yielded fails when the connection is lost", async () => {
  await using stage = new ClientStage();
  const parts = insisting(stage, { retries: 5 }).stream("report");
  const first = parts.next();
  const request = await got(stage.router, 1, "report", "");
  request.answer(PARTIAL, "1");
  assert.equal((await first).value?.text(), "1");
  stage.router.send(request.address, control(DISCONNECT));
  await assertFails(parts.next(), DisconnectedError, /ended by the broker/);
});

Deno.test("a request waits for a broker that comes later; its timeout counts", async () => {
  await using stage = new ClientStage();
  const { endpoint } = stage.another();
  const gone = stage.another();
  const nowhere = gone.endpoint;
  await gone.close();
  const client = insisting(stage, { broker: nowhere });
  await assertFails(client.request("echo", "", { timeout: 30 }), TimeoutError, /timeout of 30 ms/);
  const call = client.request("echo", "late");
  await using router = await whenFree(() => RawSocket.router(nowhere));
  (await got(router, 1, "echo", "late")).answer(FINAL, "here");
  assert.equal((await call).text(), "here");
  assert.notEqual(endpoint, nowhere);
});

Deno.test("Rule 13: an invalid message is dropped, and the request goes on", async () => {
  await using stage = new ClientStage();
  const call = insisting(stage).request("echo");
  const request = await got(stage.router, 1, "echo", "");
  for (
    const frames of [
      ["nonsense"],
      ["MDPC02", [3], "echo", "x"],
      [control(FINAL, 0), "x"],
      [control(ERROR, 1, 200), "x"],
      [control(FINAL, 1).slice(0, 19), "x"],
      [control(7, 1), "x"],
    ]
  ) stage.router.send(request.address, ...frames as RawFrame[]);
  request.answer(FINAL, "right");
  assert.equal((await call).text(), "right");
});

Deno.test("`close` fails what is in flight and says DISCONNECT", async () => {
  await using stage = new ClientStage();
  const client = insisting(stage);
  const call = client.request("echo");
  await got(stage.router, 1, "echo", "");
  assert.equal(await isSettled(call), false);
  await client.close();
  await assertFails(call, StateError, /closed/);
  await expect(stage.router, control(CANCEL, 1));
  await expect(stage.router, control(DISCONNECT));
});
