// What the testing module offers to users' own tests.

import assert from "node:assert/strict";
import {
  Client,
  type ClientLike,
  MdpError,
  ServiceError,
  StateError,
  TimeoutError,
} from "../client.ts";
import { MockClient, startBroker } from "../testing.ts";
import { assertFails, bytes, failure, texts } from "./client_stage.ts";
import { RawSocket } from "./raw.ts";

// ---- MockClient: replies ----

Deno.test("`setReply` answers every service with these frames when it has no other reply", async () => {
  await using client = new MockClient();
  client.setReply("a", bytes([0]), "");
  client.reply("other", "b");
  assert.deepEqual((await client.request("any")).frames, [bytes("a"), bytes([0]), bytes("")]);
  assert.equal((await client.request("other")).text(), "b");
  client.setReply("c");
  assert.equal((await client.request("any")).text(), "c");
});

Deno.test("`reply` gives PARTIALs and a FINAL to `request`, `stream` and `recvPart`", async () => {
  await using client = new MockClient();
  client.reply("report", { partials: ["1", ["2", "3"]], final: "4" });
  const reply = await client.request("report");
  assert.deepEqual(texts(reply.frames), ["1", "2", "3", "4"]);
  assert.equal(reply.final.text(), "4");

  const parts = [];
  for await (const part of client.stream("report")) parts.push([part.type, part.text()]);
  assert.deepEqual(parts, [["partial", "1"], ["partial", "23"], ["final", "4"]]);

  client.send("report");
  assert.deepEqual(texts((await client.recvPart())!), ["1"]);
  assert.deepEqual(texts(await client.recvAllAsList(0)), ["2", "3", "4"]);
  assert.equal(await client.recvPart(), undefined);
});

Deno.test("`reply` calls its function for each request", async () => {
  await using client = new MockClient();
  client.reply("sum", (request) => {
    assert.equal(request.service, "sum");
    return `${request.json<number[]>().reduce((sum, each) => sum + each, 0)}`;
  });
  client.reply("later", async (request) => {
    await Promise.resolve();
    return { partials: ["…"], final: request.frames };
  });
  assert.equal((await client.request("sum", "[1,2]")).json(), 3);
  assert.equal((await client.request("sum", "[3,4]")).json(), 7);
  assert.equal((await client.request("later", ["x", "y"])).text(), "…xy");
  client.send("later", "z");
  assert.deepEqual(texts(await client.recvAllAsList()), ["…", "z"]);
});

Deno.test("`reply` answers one request with each, and the rest with the last, when given several", async () => {
  await using client = new MockClient();
  const busy = new ServiceError(503, "Busy");
  client.reply("flaky", busy, "fine", (request) => request.text());
  assert.equal(await failure(client.request("flaky", "x")), busy);
  assert.equal((await client.request("flaky", "x")).text(), "fine");
  assert.equal((await client.request("flaky", "x")).text(), "x");
  assert.equal((await client.request("flaky", "y")).text(), "y");
});

Deno.test("`MockClient` makes a request again after 502 and 503, as far as its retries go", async () => {
  await using client = new MockClient({ retries: 1, backoff: 1 });
  for (const code of [502, 503]) {
    const refusal = new ServiceError(code, "Not now");
    client.reply("once", refusal, "fine");
    assert.equal((await client.request("once")).text(), "fine");
    client.reply("always", refusal);
    assert.equal(await failure(client.request("always")), refusal);
    client.send("always");
    assert.equal(await failure(client.recvPart()), refusal);
  }
  assert.equal(client.requests.length, 10);
  client.reply("other", new ServiceError(500, "Never"), "fine");
  assert.equal((await failure(client.request("other")) as ServiceError).code, 500);
});

Deno.test("`reply` fails calls with the error that it is given, returned, thrown or told last", async () => {
  await using client = new MockClient();
  const error = new TimeoutError("Too late");
  client.reply("given", error);
  client.reply("returned", () => error);
  client.reply("thrown", () => {
    throw error;
  });
  client.reply("rejected", () => Promise.reject(error));
  for (const service of ["given", "returned", "thrown", "rejected"]) {
    assert.equal(await failure(client.request(service, "", { retries: 3 })), error);
    assert.equal(await failure(client.stream(service).next()), error);
    client.send(service);
    assert.equal(await failure(client.recvPart()), error);
  }
  const frozen = Object.freeze(new TimeoutError("Too late, and frozen"));
  client.reply("frozen", frozen);
  assert.equal(await failure(client.request("frozen")), frozen);
  client.reply("last", { partials: ["1"], final: error });
  const parts = client.stream("last");
  assert.equal((await parts.next()).value?.text(), "1");
  assert.equal(await failure(parts.next()), error);
});

Deno.test("`reply` gives headers with a PARTIAL and a FINAL, and `requests` has those of the request", async () => {
  await using client = new MockClient();
  client.reply("cached", { body: "42", headers: { age: "7" } });
  const reply = await client.request("cached", "", { headers: { trace: "abc" } });
  assert.deepEqual([reply.text(), { ...reply.headers }], ["42", { age: "7" }]);
  assert.deepEqual({ ...client.requests[0]!.headers }, { trace: "abc" });
  await client.request("cached");
  assert.deepEqual({ ...client.requests[1]!.headers }, {});
  client.reply("parts", () => ({
    partials: [{ body: ["a", "b"], headers: { part: "1" } }, "c"],
    final: { headers: { status: "ok" } },
  }));
  const { parts } = await client.request("parts");
  assert.deepEqual(parts.map((part) => [texts(part.frames), { ...part.headers }]), [
    [["a", "b"], { part: "1" }],
    [["c"], {}],
    [[""], { status: "ok" }],
  ]);
});

Deno.test("`MockClient` takes ServiceError 504 for a TimeoutError when a deadline was set", async () => {
  await using client = new MockClient();
  const late = new ServiceError(504, "Its time to live has passed");
  client.reply("slow", late);
  const error = await failure(client.request("slow", "", { deadline: 60_000 }));
  assert.ok(error instanceof TimeoutError, `${error}`);
  assert.equal(error.cause, late);
  assert.match(error.message, /"slow" was not answered in time: Its time to live has passed/);
  assert.equal(await failure(client.request("slow")), late);
  await using hasty = new MockClient({ deadline: 60_000 });
  hasty.reply("slow", late);
  await assertFails(hasty.stream("slow").next(), TimeoutError, /"slow".*in time/);
});

Deno.test("`MockClient` refuses what its dialect cannot keep, as a `Client` does", async () => {
  await using router = RawSocket.router();
  const refused = { rfc: ["once", "headers"], majortomo: ["noWait", "once", "headers"] };
  const values = { noWait: true, once: true, headers: { a: "b" } };
  for (const dialect of ["rfc", "majortomo"] as const) {
    await using mock = new MockClient({ broker: router.endpoint, dialect });
    await using client = new Client({ broker: router.endpoint, dialect });
    mock.setReply("x");
    for (const [name, value] of Object.entries(values)) {
      if (!refused[dialect].includes(name)) continue;
      const [error, same] = await Promise.all(
        [mock, client].map((either) => failure(either.request("echo", "", { [name]: value }))),
      );
      assert.ok(error instanceof StateError, `${error}`);
      assert.equal(error.message, same!.message);
      assert.equal(mock.requests.length, 0);
    }
    assert.equal((await mock.request("echo", "", { noWait: dialect === "rfc" })).text(), "x");
  }
});

Deno.test("`reply` gives code, message and details of a ServiceError", async () => {
  await using client = new MockClient();
  client.reply("divide", new ServiceError(422, "Division by zero", bytes([1])));
  const error = await failure(client.request("divide"));
  assert.ok(error instanceof ServiceError);
  assert.deepEqual([error.code, error.message, [...error.details!]], [422, "Division by zero", [
    1,
  ]]);
});

Deno.test("a request fails, and says how to set a reply, when none is set for the service", async () => {
  await using client = new MockClient();
  client.reply("known", "x");
  const error = await failure(client.request("unknown"));
  assert.ok(
    !(error instanceof MdpError),
    "code under test must not take it for a failure it knows",
  );
  assert.match(error.message, /no reply for service "unknown".*reply\(\)/);
});

Deno.test("`reply` and `setReply` throw TypeError when that is no reply", () => {
  const client = new MockClient();
  // deno-lint-ignore no-explicit-any -- What a caller without types can do.
  const untyped = client as any;
  assert.throws(() => untyped.reply("echo", 7), TypeError);
  assert.throws(() => untyped.reply("echo", { partials: [7] }), TypeError);
  assert.throws(() => untyped.reply("echo", { partials: "ab" }), {
    name: "TypeError",
    message: 'partials are a list of bodies, got "ab"',
  });
  assert.throws(() => untyped.reply("echo", { final: "x" }), TypeError);
  assert.throws(() => untyped.reply("echo", { headers: { count: 7 } }), TypeError);
  assert.throws(() => untyped.reply("echo", null), TypeError);
  assert.throws(() => untyped.reply("", "x"), TypeError);
  assert.throws(() => untyped.setReply(7), TypeError);
});

// ---- MockClient: the rest ----

Deno.test("`requests` has each request with a copy of its frames, and its options", async () => {
  await using client = new MockClient();
  client.setReply("x");
  const frame = bytes([1]);
  const options = { timeout: 50 };
  await client.request(bytes("a"), [frame, "text"], options);
  frame[0] = 2;
  for await (const _ of client.stream("b"));
  client.send("c", "d");
  const [a, b, c] = client.requests;
  assert.deepEqual([a!.service, b!.service, c!.service], ["a", "b", "c"]);
  assert.deepEqual(a!.frames, [bytes([1]), bytes("text")]);
  assert.deepEqual(a!.options, options);
  assert.deepEqual(b!.frames, [bytes("")]);
  assert.equal(c!.text(), "d");
  assert.equal(client.requests.length, 3);
});

Deno.test("`requests` has the options as they were when the call was made", async () => {
  await using client = new MockClient();
  client.setReply("x");
  const headers: Record<string, string> = { a: "1" }, options = { timeout: 50, headers };
  const call = client.request("a", "", options), parts = client.stream("b", "", options);
  options.timeout = 60;
  headers.a = "2";
  await Promise.all([call, parts.next()]);
  for (const request of client.requests) {
    assert.deepEqual(request.options, { timeout: 50, headers: { a: "1" } });
    assert.deepEqual({ ...request.headers }, { a: "1" });
  }
});

Deno.test("`raiseTimeout` fails every wait at once, and leaves a strict reply due", async () => {
  await using client = new MockClient("tcp://10.0.0.1:5555");
  client.setReply("x");
  client.raiseTimeout = true;
  const before = performance.now();
  const error = await failure(client.request("echo", "", { timeout: 3_600_000 }));
  assert.ok(error instanceof TimeoutError);
  assert.match(error.message, /"echo" at "tcp:\/\/10.0.0.1:5555".* 3600000 ms \(1 attempt\)/);
  await assertFails(client.stream("echo").next(), TimeoutError, /30000 ms/);
  client.send("echo");
  await assertFails(client.recvPart(60_000), TimeoutError, /60000 ms/);
  await assertFails(client.recvAllAsList(), TimeoutError, /30000 ms/);
  assert.throws(() => client.send("echo"), StateError);
  assert.ok(performance.now() - before < 5_000);
  client.raiseTimeout = false;
  assert.deepEqual(texts((await client.recvPart())!), ["x"]);
  assert.equal(client.requests.length, 3);
});

Deno.test("`raiseTimeout` fails a wait for a reply that would fail itself", async () => {
  await using client = new MockClient();
  client.raiseTimeout = true;
  client.reply("throws", () => {
    throw new Error("At once");
  });
  client.reply("rejects", () => Promise.reject(new Error("Later")));
  await assertFails(client.request("throws"), TimeoutError, /30000 ms/);
  await assertFails(client.request("rejects"), TimeoutError, /30000 ms/);
});

Deno.test("`startBroker` listens on a free port when its endpoint is undefined", async () => {
  await using one = startBroker({ bind: undefined });
  await using other = startBroker({ bind: undefined });
  assert.notEqual(one.endpoint, other.endpoint);
});

Deno.test("`MockClient` keeps to timeout, signal and close when a reply takes its time", async () => {
  const client = new MockClient();
  client.reply("never", () => new Promise(() => {}));
  await assertFails(client.request("never", "", { timeout: 20 }), TimeoutError, /"never".* 20 ms/);
  const signal = AbortSignal.abort("enough");
  assert.equal(await failure(client.request("never", "", { signal })), "enough");
  client.send("never");
  await assertFails(client.recvPart(20), TimeoutError, /"never".* 20 ms/);
  const calls = [client.request("never"), client.stream("never").next()].map(failure);
  const waiting = failure(client.recvPart());
  const closed = client.close();
  assert.equal(client.close(), closed);
  await closed;
  for (const error of [...await Promise.all(calls), await waiting]) {
    assert.ok(error instanceof StateError, error.stack);
  }
  await assertFails(client.request("never"), StateError, /closed/);
});

Deno.test("`MockClient` fails as a `Client` does when it is used in the wrong order", async () => {
  const using = async (client: ClientLike) => {
    const seen: string[] = [];
    const note = async (what: string, action: () => unknown) => {
      try {
        const result = await action();
        seen.push(`${what}: ${Deno.inspect(result)}`);
      } catch (error) {
        seen.push(`${what}: ${error}`.replace(/"tcp:.*?"/, '"tcp:"'));
      }
      seen.push(`${client.isConnected}`);
    };
    // deno-lint-ignore no-explicit-any -- What a caller without types can do.
    const untyped = client as any;
    await note("receive first", () => client.recvPart());
    await note("no service", () => untyped.send());
    await note("bad body", () => untyped.request("a", 7));
    await note("bad timeout", () => client.recvPart(-1));
    for (const wrong of ["x", null, 5, { reconnect: "no" }, [true]]) {
      await note(`connect ${wrong}`, () => untyped.connect(wrong));
    }
    await note("connect", () => client.connect());
    await note("send", () => client.send("echo", "x"));
    await note("send again", () => client.send("other", "x"));
    await note("receive with nothing there", () => client.recvPart(0));
    await note("reconnect", () => client.connect({ reconnect: true }));
    await note("receive nothing", () => client.recvAllAsList());
    await note("close", () => client.close());
    await note("send at the end", () => client.send("echo", "x"));
    await note("request at the end", () => client.request("echo", "x"));
    await note("connect at the end", () => client.connect());
    return seen;
  };
  await using router = RawSocket.router();
  const mock = new MockClient(router.endpoint);
  mock.reply("echo", () => new Promise(() => {}));
  assert.deepEqual(await using(mock), await using(new Client(router.endpoint)));
});

// ---- startBroker ----

Deno.test("`startBroker` serves real workers and clients until it is closed", async () => {
  const broker = startBroker({ heartbeatInterval: 50 });
  assert.match(broker.endpoint, /^tcp:\/\/127\.0\.0\.1:\d+$/);
  await using worker = RawSocket.dealer(broker.endpoint);
  worker.send("MDPW02", [1], "echo");
  {
    await using client = new Client(broker.endpoint);
    const reply = client.request("echo", "hello");
    const [, , address, , body] = await worker.receiveButHeartbeats();
    worker.send("MDPW02", [4], address!, "", body!);
    assert.equal((await reply).text(), "hello");
  }
  assert.equal(broker.broker.stats().answered, 1);
  await broker.close();
  assert.deepEqual(texts((await worker.receiveButHeartbeats()).slice(0, 1)), ["MDPW02"]);
  await broker.close();
});

Deno.test("`startBroker` throws when an option is wrong", () => {
  assert.throws(() => startBroker({ bind: "nowhere" }), TypeError);
  assert.throws(() => startBroker({ heartbeatInterval: -1 }), RangeError);
  assert.throws(() => startBroker({ port: 5555 } as never), /TypeError: .* have no "port", only /);
});
