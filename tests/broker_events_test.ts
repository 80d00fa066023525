import assert from "node:assert/strict";
import { getLogger } from "@logtape/logtape";
import { Broker, type BrokerEvent } from "../broker.ts";
import { BrokerEvents } from "../broker_events.ts";
import { encode, MULTIPLEXED } from "../codec.ts";
import { type RawFrame, WX } from "./raw.ts";
import {
  C,
  C_FINAL,
  C_REQUEST,
  DISCONNECT,
  fence,
  FINAL,
  HEARTBEAT,
  READY,
  REQUEST,
  Stage,
  W,
} from "./stage.ts";

/** What is told, without times. */
function untimed(event: BrokerEvent): unknown {
  const { time, ...rest } = event as BrokerEvent & { wait?: number; serviceTime?: number };
  assert.ok(Math.abs(Date.now() - time) < 60_000, `${time} is not now`);
  for (const name of ["wait", "serviceTime"] as const) {
    const value = rest[name];
    if (value !== undefined) assert.ok(value >= 0 && value < 60_000, `${name} is ${value}`);
    delete rest[name];
  }
  return rest;
}

const ABOUT = { client: "63", service: "echo" };

/** What ends a worker of this dialect that holds a request of "c", and what is told of it. */
const VIOLATIONS: readonly [string, "rfc" | "multiplexed", RawFrame[][]][] = [
  ["READY again", "rfc", [[W, READY, "echo"]]],
  ["an answer to a request that it does not hold", "rfc", [[W, FINAL, "x", "", "y"]]],
  ["an invalid answer, and no other in time", "rfc", [[W, FINAL, "c"], [W, HEARTBEAT]]],
  ["CREDIT in another dialect", "rfc", [[WX(9, 0, 1)]]],
  ["READY again", "multiplexed", [[W, READY, "echo"]]],
  ["an answer to a request that it does not hold", "multiplexed", [[WX(4, 12_345)]]],
  ["an invalid message", "multiplexed", [[WX(99)]]],
];
for (const [violation, dialect, messages] of VIOLATIONS) {
  const what = `${violation} (${dialect})`;
  Deno.test(`\`on()\` tells what it was that ended a worker when it is ${what}`, async () => {
    await using stage = new Stage({ heartbeatInterval: 50, heartbeatTimeout: 200 });
    const left: unknown[] = [];
    stage.broker.on((event) => left.push(untimed(event)), { types: ["worker left"] });
    const client = stage.peer("c"), worker = stage.peer("w");
    if (dialect === "rfc") worker.send(W, READY, "echo");
    else worker.send(WX(1, 0, 1), "echo");
    client.send(C, C_REQUEST, "echo", "x");
    await stage.until("it holds it", ({ inFlight }) => inFlight === 1);
    for (const message of messages) worker.send(...message);
    await stage.until("it left", ({ workers }) => workers.registered === 0);
    assert.deepEqual(left, [
      {
        type: "worker left",
        worker: "77",
        service: "echo",
        reason: "violation",
        violation,
        held: 1,
      },
    ]);
  });
}

Deno.test("`on()` tells all that becomes of workers and their requests", async () => {
  await using stage = new Stage({ maxAttempts: 2, maxQueue: 1 });
  const events: unknown[] = [];
  stage.broker.on((event) => events.push(untimed(event)));
  const told = async (...expected: unknown[]) => {
    await fence(client);
    assert.deepEqual(events.splice(0), expected);
  };
  const client = stage.peer("c"), w = await stage.worker("w", "echo");
  await told({ type: "worker joined", worker: "77", service: "echo", dialect: "rfc", credit: 1 });
  await stage.ask(client, "echo", "x");
  await told(
    { type: "request accepted", request: 1, ...ABOUT },
    { type: "request dispatched", request: 1, ...ABOUT, worker: "77", attempt: 1 },
  );
  await w.expect(W, REQUEST, "c", "", "x");
  w.send(W, DISCONNECT);
  await fence(w);
  await told(
    { type: "worker left", worker: "77", service: "echo", reason: "disconnect", held: 1 },
    { type: "request recovered", request: 1, ...ABOUT, worker: "77", attempts: 1 },
  );
  client.send(C, C_REQUEST, "echo", "y");
  await told({ type: "request refused", ...ABOUT, reason: "queueFull" });
  w.send(W, READY, "echo");
  await w.expect(W, REQUEST, "c", "", "x");
  await told(
    { type: "worker joined", worker: "77", service: "echo", dialect: "rfc", credit: 1 },
    { type: "request dispatched", request: 1, ...ABOUT, worker: "77", attempt: 2 },
  );
  w.send(W, DISCONNECT);
  await fence(w);
  await told(
    { type: "worker left", worker: "77", service: "echo", reason: "disconnect", held: 1 },
    { type: "request dropped", request: 1, ...ABOUT, reason: "attempts", worker: "77" },
  );
});

Deno.test("`on()` tells how a request ended, and by whom", async () => {
  await using stage = new Stage({ requestExpiry: 30 });
  const events: unknown[] = [];
  stage.broker.on((event) => events.push(untimed(event)));
  const client = stage.peer("c"), ghost = stage.stranger();
  const w = await stage.worker("w", "echo");
  await stage.ask(client, "echo", "x");
  await w.expect(W, REQUEST, "c", "", "x");
  w.send(W, FINAL, "c", "", "y");
  await client.expect(C, C_FINAL, "echo", "y");
  assert.deepEqual(events.splice(0).at(-1), {
    type: "request answered",
    request: 1,
    ...ABOUT,
    worker: "77",
  });
  w.send(W, DISCONNECT);
  w.send(W, FINAL, "c", "", "z");
  await w.expect(W, DISCONNECT);
  assert.deepEqual(events.splice(0), [
    { type: "worker left", worker: "77", service: "echo", reason: "disconnect", held: 0 },
    { type: "answer from unknown worker", worker: "77" },
  ]);
  await stage.ask(client, "echo", "late");
  await stage.until("the expiry", ({ expired }) => expired === 1);
  assert.deepEqual(events.splice(0), [
    { type: "request accepted", request: 2, ...ABOUT },
    { type: "request expired", request: 2, ...ABOUT, reason: "no worker" },
  ]);
  w.send(W, READY, "mmi.mine");
  await w.expect(W, DISCONNECT);
  assert.deepEqual(events.splice(0), [{
    type: "worker refused",
    worker: "77",
    service: "mmi.mine",
  }]);
  await stage.worker("v", "echo");
  await stage.ask(ghost, "echo", "nobody listens");
  await ghost.close();
  await stage.until("the client's end", ({ received }) => received.gone > 0);
});

Deno.test("`on()` tells the code of an ERROR, and who held what was cancelled", async () => {
  await using stage = new Stage();
  const events: unknown[] = [];
  stage.broker.on((event) => events.push(untimed(event)));
  const worker = stage.peer("w"), client = stage.peer("c");
  const service = new TextEncoder().encode("echo"), dialect = MULTIPLEXED;
  worker.send(...encode({ side: "worker", command: "ready", dialect, service, credit: 9 }));
  await worker.receive();
  for (const id of [1, 2]) {
    client.send(...encode({ side: "client", command: "request", dialect, id, service, body: [] }));
  }
  await worker.receive();
  await worker.receive();
  client.send(...encode({ side: "client", command: "cancel", dialect, id: 2 }));
  await fence(client);
  const message = new TextEncoder().encode("No");
  worker.send(
    ...encode({ side: "worker", command: "error", dialect, token: 1, code: 418, message }),
  );
  await client.receive();
  assert.deepEqual(events.slice(-2), [
    { type: "request dropped", request: 2, ...ABOUT, reason: "cancelled", worker: "77" },
    { type: "request answered", request: 1, ...ABOUT, worker: "77", code: 418 },
  ]);
});

Deno.test("`on()` tells nothing any more when what it returned is disposed of", async () => {
  await using stage = new Stage();
  let first = 0, second = 0;
  const one = stage.broker.on(() => first++), two = stage.broker.on(() => second++);
  await stage.worker("w", "echo");
  one[Symbol.dispose]();
  one[Symbol.dispose]();
  await stage.worker("v", "echo");
  two[Symbol.dispose]();
  await stage.worker("u", "echo");
  assert.deepEqual([first, second], [1, 2]);
  assert.throws(() => stage.broker.on("worker joined" as never), TypeError);
});

Deno.test("a listener that throws does not disturb the broker, nor other listeners", async () => {
  await using stage = new Stage();
  let seen = 0;
  stage.broker.on(() => {
    throw new Error("no");
  });
  stage.broker.on(() => seen++);
  await stage.assertServes();
  assert.ok(seen >= 4, `${seen}`);
});

Deno.test("`events()` yields from the call on, until the loop is left", async () => {
  await using stage = new Stage();
  const events = stage.broker.events();
  await stage.worker("w", "one");
  await stage.worker("v", "two");
  const services: string[] = [];
  for await (const event of events) {
    assert.equal(event.type, "worker joined");
    if (event.type === "worker joined") services.push(event.service);
    if (services.length === 2) break;
  }
  assert.deepEqual(services, ["one", "two"]);
  assert.deepEqual(await events.next(), { value: undefined, done: true });
});

Deno.test("`events()` waits for the next event", async () => {
  await using stage = new Stage();
  const events = stage.broker.events();
  const next = events.next(), after = events.next();
  await stage.worker("w", "one");
  await stage.worker("v", "two");
  assert.partialDeepStrictEqual((await next).value, { service: "one" });
  assert.partialDeepStrictEqual((await after).value, { service: "two" });
});

Deno.test("`events()` drops the oldest when they are not taken, and counts them", async () => {
  await using stage = new Stage();
  const events = stage.broker.events({ buffer: 2 });
  for (const name of ["a", "b", "c", "d", "e"]) await stage.worker(name, name);
  assert.equal(events.dropped, 3);
  const first = await events.next(), second = await events.next();
  assert.partialDeepStrictEqual(first.value, { service: "d" });
  assert.partialDeepStrictEqual(second.value, { service: "e" });
});

Deno.test("`events()` ends when its signal aborts, after what had come", async () => {
  await using stage = new Stage();
  const controller = new AbortController();
  const events = stage.broker.events({ signal: controller.signal });
  await stage.worker("w", "echo");
  controller.abort();
  await stage.worker("v", "echo");
  const all = await Array.fromAsync(events);
  assert.deepEqual(all.map(({ type }) => type), ["worker joined"]);
  const aborted = stage.broker.events({ signal: AbortSignal.abort() });
  assert.equal((await aborted.next()).done, true);
});

Deno.test("`events()` ends with the broker, and tells its end", async () => {
  await using stage = new Stage();
  const events = stage.broker.events();
  await stage.worker("w", "echo");
  await stage.broker.close();
  const all = await Array.fromAsync(events);
  assert.deepEqual(all.map(({ type }) => type), ["worker joined", "worker left"]);

  const unbound = new Broker({ bind: "tcp://127.0.0.1:*" });
  const none = unbound.events();
  await unbound.close();
  assert.deepEqual(await Array.fromAsync(none), []);

  for (const stopped of [stage.broker, unbound]) {
    assert.deepEqual(await Array.fromAsync(stopped.events()), []);
  }
});

Deno.test("`events()` ends when it is returned from or disposed of, and drops what it has", async () => {
  await using stage = new Stage();
  const over = { value: undefined, done: true };
  const returned = stage.broker.events(), disposed = stage.broker.events();
  await stage.worker("w", "echo");
  assert.deepEqual(await returned.return(), over);
  {
    await using _ = disposed;
  }
  await stage.worker("v", "echo");
  for (const events of [returned, disposed]) assert.deepEqual(await events.next(), over);
});

Deno.test("`events()` refuses wrong options", () => {
  const broker = new Broker();
  assert.throws(() => broker.events({ buffer: 0 }), {
    name: "RangeError",
    message: "buffer is a whole number of at least 1, got 0",
  });
  assert.throws(() => broker.events({ buffer: "1" as never }), TypeError);
  assert.throws(() => broker.events({ signal: {} as never }), TypeError);
});

Deno.test("`on()` tells of the types asked for alone, and `events()` does", async () => {
  await using stage = new Stage();
  const seen: string[] = [];
  using _ = stage.broker.on(({ type }) => seen.push(type), {
    types: ["worker left", "request recovered"],
  });
  const answered = stage.broker.events({ types: ["request answered"] });
  const worker = await stage.worker("w", "echo"), client = stage.peer("c");
  await stage.ask(client, "echo", "question");
  await worker.expect(W, REQUEST, "c", "", "question");
  worker.send(W, FINAL, "c", "", "answer");
  worker.send(W, DISCONNECT);
  await fence(worker);
  assert.deepEqual(seen, ["worker left"]);
  assert.partialDeepStrictEqual((await answered.next()).value, {
    type: "request answered",
    service: "echo",
  });
  await answered.return();
});

Deno.test("`BrokerEvents` has routing tell of every request only while somebody wants to know", () => {
  const told: boolean[] = [];
  const events = new BrokerEvents(getLogger(), (isObserved) => told.push(isObserved));
  const rare = events.on(() => {}, { types: ["worker left", "request dropped"] });
  assert.deepEqual(told, []);
  const all = events.on(() => {});
  const answers = events.on(() => {}, { types: ["request answered"] });
  assert.deepEqual(told, [true]);
  all[Symbol.dispose]();
  rare[Symbol.dispose]();
  assert.deepEqual(told, [true]);
  answers[Symbol.dispose]();
  assert.deepEqual(told, [true, false]);
});

Deno.test("`on()` and `events()` refuse types that there are not, and what are no options", () => {
  const broker = new Broker();
  const wrong = { types: ["worker lost"] } as never;
  for (const listen of [() => broker.on(() => {}, wrong), () => broker.events(wrong)]) {
    assert.throws(listen, {
      name: "TypeError",
      message: /^A type of event is one of "worker joined", .*, got "worker lost"$/,
    });
  }
  assert.throws(() => broker.events({ types: "worker left" } as never), TypeError);
  for (const wrong of [5, null, ["worker left"], { type: ["worker left"] }]) {
    const error = { name: "TypeError", message: /^The options of on\(\) / };
    assert.throws(() => broker.on(() => {}, wrong as never), error);
  }
});

Deno.test("`on()`: whoever listens may close the broker, which ends the turn first", async () => {
  await using stage = new Stage();
  const client = stage.peer("c"), w = await stage.worker("w", "echo");
  let heard = 0;
  const end = Promise.withResolvers<void>();
  stage.broker.on(() => {
    heard++;
    stage.broker.close({ drain: 0 }).then(end.resolve, end.reject);
  }, { types: ["request accepted"] });
  for (let i = 0; i < 100; i++) client.send(C, C_REQUEST, "echo", `${i}`);
  await end.promise;
  assert.equal(heard, 1);
  await w.expect(W, REQUEST, "c", "", "0");
  await w.expect(W, DISCONNECT);
});

Deno.test("`on()`: who closes the broker at the first request has it answered in the drain", async () => {
  await using stage = new Stage();
  const client = stage.peer("c"), w = await stage.worker("w", "echo");
  const ends: Promise<void>[] = [];
  stage.broker.on(() => {
    ends.push(stage.broker.close({ drain: 60_000 }));
  }, { types: ["request accepted"] });
  client.send(C, C_REQUEST, "echo", "first");
  await w.expect(W, REQUEST, "c", "", "first");
  w.send(W, FINAL, "c", "", "answer");
  await client.expect(C, C_FINAL, "echo", "answer");
  await w.expect(W, DISCONNECT);
  assert.equal(ends.length, 1);
  await ends[0];
});

Deno.test("`close` heeds a shorter drain that is told before the first has begun", async () => {
  await using stage = new Stage();
  const client = stage.peer("c"), w = await stage.worker("w", "echo");
  client.send(C, C_REQUEST, "echo", "never answered");
  await w.expect(W, REQUEST, "c", "", "never answered");
  stage.broker.close({ drain: 60_000 });
  await stage.broker.close({ drain: 5 });
  await w.expect(W, DISCONNECT);
});
