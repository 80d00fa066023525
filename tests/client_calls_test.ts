// How calls of the client go and end: turns, timeouts, deadlines, retries, failover, signals.

import assert from "node:assert/strict";
import { getEventListeners } from "node:events";
import { Client, ProtocolError, type RequestOptions, TimeoutError } from "../client.ts";
import {
  asked,
  assertFails,
  C,
  ClientStage,
  failure,
  FINAL,
  isSettled,
  PARTIAL,
  REQUEST,
} from "./client_stage.ts";

/** How long a call goes on, in ms. */
async function elapsed(call: () => Promise<unknown>): Promise<number> {
  const before = performance.now();
  await call();
  return performance.now() - before;
}

// ---- timeouts ----

Deno.test("`request` rejects with TimeoutError, which says what it waited for, when none answers", async () => {
  await using stage = new ClientStage();
  const error = await failure(stage.client().request("slow", "", { timeout: 30 }));
  assert.ok(error instanceof TimeoutError, error.stack);
  assert.equal(
    error.message,
    `Service "slow" at "${stage.endpoint}" sent no reply within the timeout of 30 ms (1 attempt)`,
  );
});

Deno.test("the stack of what a call fails with names who has called, though that was long ago", async () => {
  await using stage = new ClientStage();
  // One of its own: V8 does not see who has called if others wait for the same promise.
  await using client = new Client({ broker: stage.endpoint, timeout: 100, dialect: "rfc" });
  const whoHasCalled = async () => await client.request("slow");
  const late = await failure(whoHasCalled());
  assert.ok(late instanceof TimeoutError);
  assert.match(late.stack!, /at async whoHasCalled /);
  await stage.asked("slow", "");

  const refused = failure(whoHasCalled());
  const { answer } = await stage.asked("slow", "");
  answer("no header");
  const error = await refused;
  assert.ok(error instanceof ProtocolError);
  assert.match(error.stack!, /at async whoHasCalled /);
});

Deno.test("`timeout` counts for each part when they come slowly", async () => {
  await using stage = new ClientStage();
  const parts = stage.client({ timeout: 400 }).stream("slow");
  const before = performance.now();
  let next = parts.next();
  const { answer } = await stage.asked("slow", "");
  for (let i = 0; i < 4; i++) {
    await new Promise((resolve) => setTimeout(resolve, 150));
    answer(C, PARTIAL, "slow", `${i}`);
    assert.equal((await next).value?.text(), `${i}`);
    next = parts.next();
  }
  assert.ok(performance.now() - before > 400, "the test waited too little to show anything");
  await assertFails(
    next,
    TimeoutError,
    /no further part of its reply within the timeout of 400 ms/,
  );
});

Deno.test("`timeout` does not count while a part is used, only while one is waited for", async () => {
  await using stage = new ClientStage();
  const parts = stage.client({ timeout: 100 }).stream("slow");
  const first = parts.next();
  const { answer } = await stage.asked("slow", "");
  answer(C, PARTIAL, "slow", "1");
  await first;
  await new Promise((resolve) => setTimeout(resolve, 150));
  const second = parts.next();
  answer(C, FINAL, "slow", "2");
  assert.equal((await second).value?.text(), "2");
});

Deno.test("`deadline` bounds the whole call when parts keep coming", async () => {
  await using stage = new ClientStage();
  const call = stage.client().request("chatty", "", { deadline: 150, timeout: 100_000 });
  const { answer } = await stage.asked("chatty", "");
  const ticking = setInterval(() => answer(C, PARTIAL, "chatty", "tick"), 20);
  try {
    await assertFails(call, TimeoutError, /"chatty".*deadline of 150 ms/);
  } finally {
    clearInterval(ticking);
  }
});

Deno.test("`deadline` ends a stream when parts come faster than they are used", async () => {
  await using stage = new ClientStage();
  const parts = stage.client().stream("chatty", "", { deadline: 100 });
  const first = parts.next();
  const { answer } = await stage.asked("chatty", "");
  for (let i = 0; i < 5; i++) answer(C, PARTIAL, "chatty", `${i}`);
  await first;
  await new Promise((resolve) => setTimeout(resolve, 110));
  await assertFails(parts.next(), TimeoutError, /deadline of 100 ms/);
});

Deno.test("`deadline` does not take what had come in time from who uses it slowly", async () => {
  await using stage = new ClientStage();
  const parts = stage.client().stream("quick", "", { deadline: 100 });
  const first = parts.next();
  const { answer } = await stage.asked("quick", "");
  for (const text of ["1", "2"]) answer(C, PARTIAL, "quick", text);
  answer(C, FINAL, "quick", "3");
  await first;
  await new Promise((resolve) => setTimeout(resolve, 110));
  const rest: string[] = [];
  for await (const part of parts) rest.push(part.text());
  assert.deepEqual(rest, ["2", "3"]);
});

Deno.test("`timeout: 0` fails at once and sends nothing, and is not for ever", async () => {
  await using stage = new ClientStage();
  const client = stage.client({ retries: 5 });
  for (const options of [{ timeout: 0 }, { deadline: 0 }]) {
    const took = await elapsed(() =>
      assertFails(client.request("echo", "", options), TimeoutError, /of 0 ms \(0 attempts\)/)
    );
    assert.ok(took < 1_000, `${took} ms`);
    await assertFails(client.stream("echo", "", options).next(), TimeoutError, /of 0 ms/);
  }
  const reply = client.request("echo", "the first");
  (await stage.asked("echo", "the first")).answer(C, FINAL, "echo");
  await reply;
});

Deno.test("`timeout` may be longer than a timer can be", async () => {
  await using stage = new ClientStage();
  const client = stage.client();
  for (const time of [Infinity, 2 ** 31, 1e15]) {
    const reply = client.request("echo", "", { timeout: time, deadline: time });
    const { answer } = await stage.asked("echo", "");
    await new Promise((resolve) => setTimeout(resolve, 20));
    assert.equal(await isSettled(reply), false);
    answer(C, FINAL, "echo");
    await reply;
  }
});

Deno.test("a reply is taken when it came while the event loop was too busy for the timeout", async () => {
  await using stage = new ClientStage();
  const client = stage.client();
  const warm = client.request("echo");
  (await stage.asked("echo", "")).answer(C, FINAL, "echo");
  await warm;
  const reply = client.request("echo", "", { timeout: 100 });
  (await stage.asked("echo", "")).answer(C, FINAL, "echo", "in time");
  for (const end = performance.now() + 150; performance.now() < end;);
  assert.equal((await reply).text(), "in time");
});

Deno.test("a late reply reaches no other request, since its connection is given up", async () => {
  await using stage = new ClientStage();
  const client = stage.client();
  const late = client.request("echo", "late", { timeout: 150 });
  const first = await stage.asked("echo", "late");
  await assertFails(late, TimeoutError, /"echo"/);
  const next = client.request("echo", "next");
  const second = await stage.asked("echo", "next");
  assert.notEqual(second.from, first.from);
  first.answer(C, FINAL, "echo", "too late");
  second.answer(C, FINAL, "echo", "right");
  assert.equal((await next).text(), "right");
});

// ---- retries ----

Deno.test("`retries` send the same frames on a new connection after each timeout", async () => {
  await using stage = new ClientStage();
  const call = stage.client({ timeout: 150 }).request("echo", ["a", "b"], { retries: 2 });
  const from = new Set<string>();
  from.add((await stage.asked("echo", "a", "b")).from);
  from.add((await stage.asked("echo", "a", "b")).from);
  const last = await stage.asked("echo", "a", "b");
  from.add(last.from);
  assert.equal(from.size, 3);
  last.answer(C, FINAL, "echo", "at last");
  assert.equal((await call).text(), "at last");
});

Deno.test("`retries` do not use an idle connection, which may be as dead as the first", async () => {
  await using stage = new ClientStage();
  const client = stage.client();
  const replies = ["1", "2"].map((service) => client.request(service));
  const before = new Set<string>();
  for (const [service, { from, answer }] of await stage.askedInAnyOrder(2)) {
    before.add(from);
    answer(C, FINAL, service);
  }
  await Promise.all(replies);
  const retried = client.request("echo", "3", { timeout: 150, retries: 1 });
  assert.ok(before.has((await stage.asked("echo", "3")).from));
  const { from, answer } = await stage.asked("echo", "3");
  assert.ok(!before.has(from));
  answer(C, FINAL, "echo");
  await retried;
});

Deno.test("`retries` are used up when nothing ever comes", async () => {
  await using stage = new ClientStage();
  const call = stage.client().request("echo", "", { timeout: 150, retries: 2 });
  await assertFails(call, TimeoutError, /within the timeout of 150 ms \(3 attempts\)/);
  for (let i = 0; i < 3; i++) await stage.asked("echo", "");
  assert.equal(stage.router.unread.length, 0);
});

Deno.test("`request` drops the parts of an attempt that failed", async () => {
  await using stage = new ClientStage();
  const call = stage.client().request("report", "", { timeout: 200, retries: 1 });
  (await stage.asked("report", "")).answer(C, PARTIAL, "report", "of the first");
  const second = await stage.asked("report", "");
  second.answer(C, PARTIAL, "report", "of the second");
  second.answer(C, FINAL, "report", ", whole");
  assert.equal((await call).text(), "of the second, whole");
});

Deno.test("`stream` is sent again while no part was yielded, and not after", async () => {
  await using stage = new ClientStage();
  const parts = stage.client().stream("report", "", { timeout: 200, retries: 5 });
  const first = parts.next();
  await stage.asked("report", "");
  (await stage.asked("report", "")).answer(C, PARTIAL, "report", "1");
  assert.equal((await first).value?.text(), "1");
  await assertFails(parts.next(), TimeoutError, /further part.*\(2 attempts\)/);
  assert.equal(stage.router.unread.length, 0);
});

Deno.test("`deadline` ends the pause before a retry when that would be too long", async () => {
  await using stage = new ClientStage();
  const client = stage.client({ backoff: 60_000, maxBackoff: 60_000 });
  const options = { timeout: 30, deadline: 2_000, retries: 3 };
  await assertFails(client.request("echo", "", options), TimeoutError, /\(1 attempt\)/);
});

// ---- several brokers ----

Deno.test("`request` asks the second broker when the first is silent, and then keeps to it", async () => {
  await using stage = new ClientStage();
  const second = stage.another();
  const client = stage.client({ broker: [stage.endpoint, second.endpoint], timeout: 200 });
  const call = client.request("echo", "1");
  await stage.asked("echo", "1");
  (await asked(second, C, REQUEST, "echo", "1")).answer(C, FINAL, "echo", "one");
  assert.equal((await call).text(), "one");

  const next = client.request("echo", "2");
  (await asked(second, C, REQUEST, "echo", "2")).answer(C, FINAL, "echo", "two");
  assert.equal((await next).text(), "two");
  assert.equal(stage.router.unread.length, 0);
});

Deno.test("`request` begins again with the first broker when the last is silent", async () => {
  await using stage = new ClientStage();
  const second = stage.another();
  const broker = [stage.endpoint, second.endpoint];
  const call = stage.client({ broker, timeout: 150, retries: 2 }).request("echo");
  await stage.asked("echo", "");
  await asked(second, C, REQUEST, "echo", "");
  (await stage.asked("echo", "")).answer(C, FINAL, "echo", "one");
  assert.equal((await call).text(), "one");
});

Deno.test("`request` asks the second broker when the first began to answer and stopped", async () => {
  await using stage = new ClientStage();
  const second = stage.another();
  const client = stage.client({ broker: [stage.endpoint, second.endpoint] });
  const call = client.request("echo", "", { timeout: 150 });
  (await stage.asked("echo", "")).answer(C, PARTIAL, "echo", "1");
  (await asked(second, C, REQUEST, "echo", "")).answer(C, FINAL, "echo", "one");
  assert.equal((await call).text(), "one");
});

Deno.test("`request` tries each broker once when none answers, and names them", async () => {
  await using stage = new ClientStage();
  const second = stage.another();
  const broker = [stage.endpoint, second.endpoint];
  const error = await failure(stage.client({ broker, timeout: 30 }).request("echo"));
  assert.match(error.message, /\(2 attempts\)/);
  for (const endpoint of broker) assert.ok(error.message.includes(endpoint), error.message);
});

Deno.test("`deadline` lets the next call ask the second broker when the first was silent", async () => {
  await using stage = new ClientStage();
  const second = stage.another();
  const client = stage.client({ broker: [stage.endpoint, second.endpoint] });
  await assertFails(client.request("echo", "1", { deadline: 40 }), TimeoutError, /deadline/);
  const next = client.request("echo", "2");
  (await asked(second, C, REQUEST, "echo", "2")).answer(C, FINAL, "echo");
  await next;
});

// ---- turns ----

Deno.test("`maxInFlight` has further calls wait for their turn, in order", async () => {
  await using stage = new ClientStage();
  const client = stage.client({ maxInFlight: 2 });
  const done: number[] = [];
  const calls = [0, 1, 2, 3, 4].map(async (i) => {
    await client.request(`s${i}`);
    done.push(i);
  });
  const first = await stage.askedInAnyOrder(2);
  const requests = [first.get("s0"), first.get("s1")];
  for (let i = 0; i < 5; i++) {
    assert.equal(stage.router.unread.length, 0, "more than two were in flight");
    requests[i]!.answer(C, FINAL, `s${i}`);
    await calls[i];
    if (i + 2 < 5) requests.push(await stage.asked(`s${i + 2}`, ""));
  }
  assert.deepEqual(done, [0, 1, 2, 3, 4]);
});

Deno.test("`deadline` applies while a call waits for its turn, and `timeout` does not", async () => {
  await using stage = new ClientStage();
  const client = stage.client({ maxInFlight: 1 });
  const first = client.request("first");
  const request = await stage.asked("first", "");
  const patient = client.request("patient", "", { timeout: 400 });
  const error = await failure(client.request("second", "", { deadline: 600 }));
  assert.ok(error instanceof TimeoutError);
  assert.match(error.message, /^No turn for .*"second" within the deadline of 600 ms/);
  assert.equal(await isSettled(patient), false);
  request.answer(C, FINAL, "first");
  (await stage.asked("patient", "")).answer(C, FINAL, "patient");
  await Promise.all([first, patient]);
});

Deno.test("a turn is passed on when the call that had it or waited for it is over", async () => {
  await using stage = new ClientStage();
  const client = stage.client({ maxInFlight: 1 });
  const controller = new AbortController();
  const failures = [
    client.request("late", "", { timeout: 150 }),
    client.request("aborted", "", { signal: controller.signal }),
    client.request("broken"),
  ].map(failure);
  const last = client.request("last");
  controller.abort();
  await stage.asked("late", "");
  (await stage.asked("broken", "")).answer("nonsense");
  await Promise.all(failures);
  (await stage.asked("last", "")).answer(C, FINAL, "last");
  await last;
});

Deno.test("`stream` gives its turn up as soon as the FINAL is there, however it is used", async () => {
  await using stage = new ClientStage();
  const client = stage.client({ maxInFlight: 1 });
  const seen: string[] = [];
  const used = (async () => {
    for await (const part of client.stream("report")) {
      seen.push(part.text(), (await client.request("detail", part.text())).text());
    }
  })();
  const { answer } = await stage.asked("report", "");
  answer(C, PARTIAL, "report", "1");
  answer(C, FINAL, "report", "2");
  for (const text of ["1", "2"]) {
    (await stage.asked("detail", text)).answer(C, FINAL, "detail", `of ${text}`);
  }
  await used;
  assert.deepEqual(seen, ["1", "of 1", "2", "of 2"]);
});

Deno.test("`stream` gives its turn and its connection up when the loop is left", async () => {
  await using stage = new ClientStage();
  const client = stage.client({ maxInFlight: 1 });
  const from = new Set<string>();
  for (const leave of ["break", "throw"]) {
    const used = (async () => {
      for await (const part of client.stream("report")) {
        assert.equal(part.text(), "1");
        if (leave === "break") break;
        throw new RangeError("Enough");
      }
    })();
    const { from: address, answer } = await stage.asked("report", "");
    from.add(address);
    answer(C, PARTIAL, "report", "1");
    if (leave === "break") await used;
    else await assertFails(used, RangeError, /Enough/);
    answer(C, PARTIAL, "report", "2");
    answer(C, FINAL, "report", "3");
  }
  const next = client.request("report");
  const { from: address, answer } = await stage.asked("report", "");
  from.add(address);
  answer(C, FINAL, "report", "right");
  assert.equal((await next).text(), "right");
  assert.equal(from.size, 3);
});

Deno.test("`stream` keeps its connection for the next when the loop is left at the FINAL", async () => {
  await using stage = new ClientStage();
  const client = stage.client({ maxInFlight: 1 });
  const used = (async () => {
    for await (const part of client.stream("report")) if (part.type === "final") break;
  })();
  const first = await stage.asked("report", "");
  first.answer(C, FINAL, "report");
  await used;
  const next = client.request("report");
  const second = await stage.asked("report", "");
  assert.equal(second.from, first.from);
  second.answer(C, FINAL, "report");
  await next;
});

// ---- signals ----

Deno.test("`signal` fails the call with its reason when it is aborted already", async () => {
  await using stage = new ClientStage();
  const client = stage.client();
  const reason = new Error("Changed my mind");
  const signal = AbortSignal.abort(reason);
  assert.equal(await failure(client.request("echo", "", { signal })), reason);
  assert.equal(await failure(client.stream("echo", "", { signal }).next()), reason);
  const error = await failure(client.request("echo", "", { signal: AbortSignal.abort() }));
  assert.equal(error.name, "AbortError");
  assert.equal(stage.router.unread.length, 0);
});

Deno.test("`signal` fails the call with its reason when it aborts in flight", async () => {
  await using stage = new ClientStage();
  const client = stage.client();
  const controller = new AbortController();
  const call = client.request("echo", "", { signal: controller.signal, retries: 3 });
  const first = await stage.asked("echo", "");
  first.answer(C, PARTIAL, "echo", "1");
  const reason = new Error("Changed my mind");
  controller.abort(reason);
  assert.equal(await failure(call), reason);
  const next = client.request("echo", "next");
  const second = await stage.asked("echo", "next");
  assert.notEqual(second.from, first.from);
  second.answer(C, FINAL, "echo");
  await next;
});

Deno.test("`signal` fails the call when it aborts in the pause before a retry", async () => {
  await using stage = new ClientStage();
  const client = stage.client({ backoff: 60_000, maxBackoff: 60_000 });
  const controller = new AbortController();
  const call = client.request("echo", "", { signal: controller.signal, timeout: 150, retries: 3 });
  await stage.asked("echo", "");
  await new Promise((resolve) => setTimeout(resolve, 200));
  assert.equal(await isSettled(call), false);
  controller.abort("enough");
  assert.equal(await failure(call), "enough");
});

Deno.test("`signal` fails a stream when it aborts while a part is used", async () => {
  await using stage = new ClientStage();
  const client = stage.client({ maxInFlight: 1 });
  const controller = new AbortController();
  const parts = client.stream("report", "", { signal: controller.signal });
  const first = parts.next();
  const { answer } = await stage.asked("report", "");
  answer(C, PARTIAL, "report", "1");
  answer(C, PARTIAL, "report", "2");
  await first;
  controller.abort("enough");
  // Its turn is free before the generator learns of it.
  const next = client.request("echo");
  (await stage.asked("echo", "")).answer(C, FINAL, "echo");
  await next;
  assert.equal(await failure(parts.next()), "enough");
});

Deno.test("`signal` has no listeners left when calls are over, however they ended", async () => {
  await using stage = new ClientStage();
  const client = stage.client({ maxInFlight: 3 });
  const { signal } = new AbortController();
  const fine = client.request("fine", "", { signal });
  const failures = [
    client.request("late", "", { signal, timeout: 150, retries: 1 }),
    client.request("broken", "", { signal }),
    client.request("waiting", "", { signal, deadline: 5 }),
  ].map(failure);
  assert.equal(getEventListeners(signal, "abort").length, 4);
  for (let left = 4; left > 0; left--) {
    const [address, , , service] = await stage.router.receive();
    const name = new TextDecoder().decode(service);
    if (name === "fine") stage.router.send(address!, C, FINAL, "fine");
    if (name === "broken") stage.router.send(address!, "nonsense");
  }
  await fine;
  await Promise.all(failures);
  await failure(client.stream("never", "", { signal, timeout: 0 }).next());
  assert.equal(getEventListeners(signal, "abort").length, 0);
});

// ---- options ----

Deno.test("the options of a call are taken as they are when it is made", async () => {
  await using stage = new ClientStage();
  const client = stage.client({ maxInFlight: 1, timeout: 60_000 });
  const { signal } = new AbortController();
  const options: RequestOptions = { signal };
  const first = client.request("first", "", options);
  delete options.signal;
  const second = client.request("second", "", options);
  options.noWait = true;
  const third = client.stream("third", "", options);
  options.noWait = false;
  options.signal = AbortSignal.abort("of another");
  const next = third.next();

  (await stage.asked("first", "")).answer(C, FINAL, "first", "1");
  assert.equal((await first).text(), "1");
  assert.equal(getEventListeners(signal, "abort").length, 0);
  // It had to wait for its turn.
  (await stage.asked("second", "")).answer(C, FINAL, "second", "2");
  assert.equal((await second).text(), "2");
  (await stage.asked("mmi.service", "third")).answer(C, FINAL, "mmi.service", "200");
  (await stage.asked("third", "")).answer(C, FINAL, "third", "3");
  assert.equal((await next).value?.text(), "3");
});

Deno.test("the options of a call can be an AbortController, or inherited", async () => {
  await using stage = new ClientStage();
  const client = stage.client();
  const controller = new AbortController();
  const calls = [controller, Object.create({ signal: controller.signal })].map((options) =>
    client.request("echo", "", options)
  );
  controller.abort("enough");
  for (const call of calls) assert.equal(await failure(call), "enough");
});
