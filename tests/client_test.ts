// The client on the wire: requests, replies, connections. Timeouts, retries and the ends of calls
// are in client_calls_test.ts, the strict dialogue in client_dialogue_test.ts.

import assert from "node:assert/strict";
import { Client, ProtocolError, StateError } from "../client.ts";
import {
  asked,
  assertFails,
  bytes,
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
  whenFree,
} from "./client_stage.ts";
import { Socket } from "../zmq/socket.ts";
import { until } from "./stage.ts";
import { captureLog } from "./worker_stage.ts";
import { RawSocket } from "./raw.ts";

// ---- requests ----

Deno.test("`request` sends the frames of RFC 18 when that is the dialect", async () => {
  await using stage = new ClientStage();
  const reply = stage.client().request("echo", ["hello", bytes([0, 255]), ""]);
  const { answer } = await asked(stage.router, "MDPC02", [1], "echo", "hello", [0, 255], "");
  answer("MDPC02", [3], "echo", "world", "", [7]);
  assert.deepEqual((await reply).frames.map((frame) => [...frame]), [
    [...bytes("world")],
    [],
    [7],
  ]);
});

Deno.test("`request` sends the frames of majortomo when that is the dialect", async () => {
  await using stage = new ClientStage();
  const reply = stage.client({ dialect: "majortomo" }).request("echo", ["hello", "you"]);
  const { answer } = await asked(stage.router, "", "MDPC02", OLD_REQUEST, "echo", "hello", "you");
  answer("", "MDPC02", OLD_PARTIAL, "wor");
  answer("", "MDPC02", OLD_FINAL, "ld");
  assert.deepEqual((await reply).parts.map((part) => [part.type, part.text()]), [
    ["partial", "wor"],
    ["final", "ld"],
  ]);
});

Deno.test("`request` sends UTF-8, bytes, one frame or one empty frame when given those", async () => {
  await using stage = new ClientStage();
  const client = stage.client();
  for (
    const [service, body, ...frames] of [
      ["größe", "ä", bytes("größe"), bytes("ä")],
      [bytes([0, 1]), bytes([2]), [0, 1], [2]],
      ["none", undefined, "none", ""],
      ["empty", [], "empty", ""],
      ["text", "", "text", ""],
    ] as const
  ) {
    const reply = client.request(service, body);
    const { answer } = await asked(stage.router, C, REQUEST, ...frames);
    answer(C, FINAL, frames[0]);
    assert.deepEqual((await reply).frames, []);
  }
});

Deno.test("`request` rejects with TypeError or RangeError when an argument is wrong", async () => {
  await using stage = new ClientStage();
  const client = stage.client({ maxMessageSize: 10 });
  // deno-lint-ignore no-explicit-any -- What a caller without types can do.
  const request = client.request.bind(client) as (...args: any[]) => Promise<unknown>;
  for (
    const [type, message, ...args] of [
      [TypeError, /service name.*got none/, ""],
      [TypeError, /service name.*got none/, new Uint8Array(0)],
      [TypeError, /service name.*got 7/, 7],
      [TypeError, /service name.*got undefined/],
      [TypeError, /body.*got 7/, "echo", 7],
      [TypeError, /body.*got \{/, "echo", ["a", {}]],
      [TypeError, /options.*got 1000/, "echo", "a", 1000],
      [TypeError, /options.*got null/, "echo", "a", null],
      [TypeError, /options of a request have no "timout", only timeout, /, "echo", "a", {
        timout: 5,
      }],
      [TypeError, /timeout.*got "1"/, "echo", "a", { timeout: "1" }],
      [RangeError, /timeout.*got -1/, "echo", "a", { timeout: -1 }],
      [RangeError, /timeout.*got NaN/, "echo", "a", { timeout: NaN }],
      [RangeError, /deadline.*got -5/, "echo", "a", { deadline: -5 }],
      [RangeError, /retries.*got 1.5/, "echo", "a", { retries: 1.5 }],
      [TypeError, /signal.*got/, "echo", "a", { signal: {} }],
      [TypeError, /options.*got AbortSignal/, "echo", "a", AbortSignal.timeout(1)],
      [TypeError, /headers.*got Headers/, "echo", "a", { headers: new Headers({ a: "b" }) }],
      [TypeError, /headers.*got Map/, "echo", "a", { headers: new Map([["a", "b"]]) }],
      [TypeError, /noWait is true or false, got 1/, "echo", "a", { noWait: 1 }],
      [TypeError, /once is true or false, got "no"/, "echo", "a", { once: "no" }],
      [TypeError, /body.*got undefined/, "echo", new Array(2)],
      [
        RangeError,
        /body counts for 11 bytes, .* 10 are sent \(maxMessageSize\)/,
        "echo",
        "eleven byte",
      ],
      [RangeError, /body counts for 11 bytes/, "echo", ["eleven", " byte"]],
      [RangeError, /body counts for 64 bytes/, "echo", new Array(17).fill("")],
      [RangeError, /body counts for 13 bytes/, "echo", "five.", { headers: { a: "" } }],
    ] as const
  ) await assertFails(request(...args), type, message);
  // deno-lint-ignore no-explicit-any -- The same.
  assert.throws(() => client.stream("echo", 7 as any), TypeError);
  assert.throws(() => client.stream("echo", "", { timeout: -1 }), RangeError);
  assert.equal(stage.router.unread.length, 0);
});

Deno.test("`new Client` throws when an option is wrong, and takes endpoints alone", () => {
  // deno-lint-ignore no-explicit-any -- What a caller without types can do.
  const make = (options: any) => () => new Client(options);
  assert.throws(make("localhost:5555"), /broker.*got "localhost:5555"/);
  assert.throws(make([]), TypeError);
  assert.throws(make(5555), /got 5555/);
  assert.throws(make(null), TypeError);
  assert.throws(make(new URL("tcp://127.0.0.1:1")), /options or endpoints, got URL/);
  assert.throws(make(new Set(["tcp://127.0.0.1:1"])), /options or endpoints, got Set/);
  assert.throws(make({ broker: ["tcp://127.0.0.1:1", 3] }), TypeError);
  assert.throws(make({ dialect: "esperanto" }), /dialect.*"esperanto"/);
  assert.throws(make({ maxInFlight: 0 }), RangeError);
  assert.throws(make({ timeout: -1 }), RangeError);
  assert.throws(make({ backoff: 50, maxBackoff: 10 }), RangeError);
  for (const options of [undefined, {}, "tcp://127.0.0.1:1", ["ipc:///a", "tcp://[::1]:1"]]) {
    assert.equal(new Client(options).isConnected, false);
  }
});

// ---- replies ----

Deno.test("`Reply` has all frames, its parts and its final when PARTIALs came", async () => {
  await using stage = new ClientStage();
  const pending = stage.client().request("report");
  const { answer } = await stage.asked("report", "");
  answer(C, PARTIAL, "report", "{", '"a"');
  answer(C, PARTIAL, "report");
  answer(C, FINAL, "report", ":1}");
  const reply = await pending;
  assert.deepEqual(texts(reply.frames), ["{", '"a"', ":1}"]);
  assert.deepEqual(reply.parts.map((part) => part.type), ["partial", "partial", "final"]);
  assert.equal(reply.final, reply.parts[2]);
  assert.equal(reply.final.text(), ":1}");
  assert.equal(reply.text(), '{"a":1}');
  assert.deepEqual(reply.json(), { a: 1 });
  assert.deepEqual(reply.bytes(), bytes('{"a":1}'));
  assert.deepEqual(reply.parts[1]!.bytes(), new Uint8Array(0));
  assert.throws(() => reply.parts[0]!.json(), SyntaxError);
});

Deno.test("`text` puts a character together when frames cut it in two", async () => {
  await using stage = new ClientStage();
  const reply = stage.client().request("cut");
  const { answer } = await stage.asked("cut", "");
  answer(C, PARTIAL, "cut", [0xe2]);
  answer(C, FINAL, "cut", [0x82, 0xac]);
  assert.equal((await reply).text(), "€");
});

Deno.test("`stream` yields each part as it comes, when the next is not there yet", async () => {
  await using stage = new ClientStage();
  const parts = stage.client().stream("report", ["2026", "Q3"]);
  const first = parts.next();
  const { answer } = await stage.asked("report", "2026", "Q3");
  answer(C, PARTIAL, "report", "one");
  assert.equal((await first).value?.text(), "one");
  const second = parts.next();
  answer(C, FINAL, "report", "two");
  const { value } = await second;
  assert.deepEqual([value?.type, value?.text()], ["final", "two"]);
  assert.deepEqual(await parts.next(), { value: undefined, done: true });
});

Deno.test("`stream` sends nothing when no part is asked for", async () => {
  await using stage = new ClientStage();
  const client = stage.client({ maxInFlight: 1 });
  const unused = client.stream("never");
  const reply = client.request("echo");
  const { answer } = await stage.asked("echo", "");
  answer(C, FINAL, "echo");
  await reply;
  await unused.return();
  assert.equal(stage.router.unread.length, 0);
});

// ---- what is no reply ----

const MALFORMED: [string, RegExp, ...Parameters<RawSocket["send"]>][] = [
  ["header", /header/, "MDPC01", FINAL, "echo", "x"],
  ["header", /header/, "MDPW02", [5]],
  ["header", /header/, "hello"],
  ["delimiter", /empty frame/, "", C, FINAL, "echo", "x"],
  ["delimiter", /empty frame/, ""],
  ["command", /command/, C, REQUEST, "echo", "x"],
  ["command", /command/, C, [9], "echo", "x"],
  ["command", /command/, C, [3, 3], "echo", "x"],
  ["command", /command/, C, "", "echo", "x"],
  ["frames", /missing/, C],
  ["frames", /missing/, C, FINAL],
  ["service", /empty/, C, FINAL, "", "x"],
  ["service", /names service "other"/, C, FINAL, "other", "x"],
  ["service", /names service "ech"/, C, PARTIAL, "ech", "x"],
];

for (const [kind, message, ...frames] of MALFORMED) {
  const shown = Deno.inspect(frames, { breakLength: Infinity });
  Deno.test(`\`request\` rejects with ProtocolError when the reply is ${shown}`, async () => {
    await using stage = new ClientStage();
    const client = stage.client({ retries: 3 });
    const broken = client.request("echo");
    const first = await stage.asked("echo", "");
    first.answer(...frames);
    const error = await failure(broken);
    assert.ok(error instanceof ProtocolError, error.stack);
    assert.equal(error.kind, kind);
    assert.match(error.message, message);
    assert.ok(error.message.includes('"echo"') && error.message.includes(stage.endpoint));

    const next = client.request("echo", "again");
    const second = await stage.asked("echo", "again");
    assert.notEqual(second.from, first.from, "the connection was used again");
    second.answer(C, FINAL, "echo", "fine");
    assert.equal((await next).text(), "fine");
  });
}

Deno.test("`request` rejects with ProtocolError when a majortomo client gets RFC 18", async () => {
  await using stage = new ClientStage();
  const reply = stage.client({ dialect: "majortomo" }).request("echo");
  const { answer } = await asked(stage.router, "", C, OLD_REQUEST, "echo", "");
  answer(C, FINAL, "echo", "x");
  await assertFails(reply, ProtocolError, /empty frame/);
});

Deno.test("`stream` hands out the parts before it throws when a bad one follows", async () => {
  await using stage = new ClientStage();
  const parts = stage.client().stream("echo");
  const first = parts.next();
  const { answer } = await stage.asked("echo", "");
  answer(C, PARTIAL, "echo", "one");
  answer(C, PARTIAL, "echo", "two");
  answer("nonsense");
  assert.equal((await first).value?.text(), "one");
  assert.equal((await parts.next()).value?.text(), "two");
  await assertFails(parts.next(), ProtocolError, /header/);
  assert.deepEqual(await parts.next(), { value: undefined, done: true });
});

// ---- connections ----

Deno.test("`request` uses the same connection when the one before has its FINAL", async () => {
  await using stage = new ClientStage();
  const client = stage.client();
  const from = new Set<string>();
  for (let i = 0; i < 5; i++) {
    const reply = client.request("echo", `${i}`);
    const request = await stage.asked("echo", `${i}`);
    from.add(request.from);
    request.answer(C, PARTIAL, "echo", "part");
    request.answer(C, FINAL, "echo", `${i}`);
    assert.equal((await reply).final.text(), `${i}`);
  }
  assert.equal(from.size, 1);
});

Deno.test("`request` uses a connection for each when several are in flight", async () => {
  await using stage = new ClientStage();
  const client = stage.client();
  const replies = [1, 2, 3].map((i) => client.request("echo", `${i}`));
  const requests = [];
  for (let i = 0; i < 3; i++) {
    const [address, , , , body] = await stage.router.receive();
    requests.push({ address: address!, body: body! });
  }
  assert.equal(new Set(requests.map(({ address }) => address.toString())).size, 3);
  // Answered in the wrong order, each reply still reaches its request.
  for (const { address, body } of requests.reverse()) {
    stage.router.send(address, C, FINAL, "echo", body);
  }
  assert.deepEqual((await Promise.all(replies)).map((reply) => reply.text()), ["1", "2", "3"]);
});

Deno.test("a message is dropped, and reaches no request, when nobody asked for it", async () => {
  using log = captureLog();
  await using stage = new ClientStage();
  const client = stage.client();
  const reply = client.request("echo", "1");
  const first = await stage.asked("echo", "1");
  first.answer(C, FINAL, "echo", "one");
  first.answer(C, FINAL, "echo", "one again");
  first.answer("nonsense");
  assert.equal((await reply).text(), "one");
  // When it comes is up to the network; what comes after the next request is taken for its answer.
  await until(() => log.texts().some((text) => /^debug: Dropped /.test(text)), "it has come");
  for (let i = 2; i < 5; i++) {
    const next = client.request("echo", `${i}`);
    const request = await stage.asked("echo", `${i}`);
    request.answer(C, FINAL, "echo", `${i}`);
    assert.equal((await next).text(), `${i}`);
  }
});

Deno.test("a message that nobody asked for is seen before its connection is used again", async () => {
  const router = new Socket("ROUTER", { linger: 0 });
  await using client = new Client({ broker: router.bind("inproc://stray"), dialect: "rfc" });
  const received = async () => {
    let message: Uint8Array[] | undefined;
    await until(() => (message = router.receiveBytes()) !== undefined, "a request came");
    return message![0]!;
  };
  const answer = (to: Uint8Array, body: string) =>
    router.send([to, ...[C, FINAL, "echo", body].map((frame) => bytes(frame))]);
  const first = client.request("echo");
  const idle = await received();
  answer(idle, "first");
  assert.equal((await first).text(), "first");
  // It is there when the next is asked, and the reactor has not seen it.
  answer(idle, "stray");
  const second = client.request("echo");
  const other = await received();
  answer(other, "second");
  assert.equal((await second).text(), "second");
  assert.notDeepEqual(other, idle);
  await router.close();
});

Deno.test("a connection is given up when a message came on it that nobody asked for", async () => {
  await using stage = new ClientStage();
  const client = stage.client();
  const from = new Set<string>();
  for (const end = performance.now() + 10_000; from.size < 2;) {
    assert.ok(performance.now() < end, "the connection is still used");
    const reply = client.request("echo");
    const request = await stage.asked("echo", "");
    request.answer(C, FINAL, "echo");
    // Sent once; when it is seen is up to the network.
    if (from.size === 0) request.answer(C, FINAL, "echo", "again");
    from.add(request.from);
    await reply;
    await new Promise((resolve) => setTimeout(resolve, 3));
  }
});

Deno.test("`request` reaches a broker that is bound later, when its timeout allows", async () => {
  const before = RawSocket.router();
  const { endpoint } = before;
  await before.close();
  await using client = new Client({ broker: endpoint, dialect: "rfc" });
  const reply = client.request("echo", "early");
  await using router = await whenFree(() => RawSocket.router(endpoint));
  const { answer } = await asked(router, C, REQUEST, "echo", "early");
  answer(C, FINAL, "echo", "late");
  assert.equal((await reply).text(), "late");
});

Deno.test("`request` gets each its own reply when 100 are in flight, in any order", async () => {
  await using stage = new ClientStage();
  const client = stage.client();
  const replies = Array.from({ length: 100 }, (_, i) => client.request("echo", `${i}`));
  const requests = [];
  for (let i = 0; i < 100; i++) requests.push(await stage.router.receive());
  requests.sort(() => Math.random() - 0.5);
  for (const [address, , , service, body] of requests) {
    stage.router.send(address!, C, PARTIAL, service!, "a reply to ");
    stage.router.send(address!, C, FINAL, service!, body!);
  }
  assert.deepEqual(
    (await Promise.all(replies)).map((reply) => reply.text()),
    Array.from({ length: 100 }, (_, i) => `a reply to ${i}`),
  );
});

Deno.test("`request` rejects with StateError when the client is closed", async () => {
  const client = new Client("tcp://127.0.0.1:1");
  await client.close();
  await client.close();
  await assertFails(client.request("echo"), StateError, /client is closed/);
  await assertFails(client.stream("echo").next(), StateError, /client is closed/);
  assert.throws(() => client.connect(), StateError);
  assert.throws(() => client.send("echo", "x"), StateError);
  await assertFails(client.recvPart(), StateError, /client is closed/);
  assert.equal(client.isConnected, false);
});

Deno.test("`close` fails the calls that are in flight or wait for their turn", async () => {
  await using stage = new ClientStage();
  const client = stage.client({ maxInFlight: 2 });
  const stream = client.stream("stream");
  const first = stream.next();
  const calls = ["a", "b", "c"].map((service) => client.request(service));
  (await stage.askedInAnyOrder(2)).get("stream")!.answer(C, PARTIAL, "stream", "1");
  await first;
  const closed = client.close();
  assert.equal(client.close(), closed);
  for (const [i, call] of calls.entries()) {
    await assertFails(call, StateError, new RegExp(`closed.*"${"abc"[i]}"`));
  }
  await assertFails(stream.next(), StateError, /closed.*"stream"/);
  await closed;
});
