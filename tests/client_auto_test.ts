// How the client finds out whether a broker speaks the multiplexed dialect, and what it does if
// not: MULTIPLEX.md, "Finding out".

import assert from "node:assert/strict";
import { Client, DisconnectedError, ServiceError, StateError, TimeoutError } from "../client.ts";
import { startBroker } from "../testing.ts";
import {
  asked,
  assertFails,
  bytes,
  C,
  ClientStage,
  failure,
  FINAL,
  REQUEST,
  whenFree,
} from "./client_stage.ts";
import { assertFrames, RawSocket } from "./raw.ts";

const QUESTION = [C, REQUEST, "mmi.multiplexed", ""] as const;
const answered = (code: string) => [C, FINAL, "mmi.multiplexed", code] as const;

/** A REQUEST or FINAL of the multiplexed dialect. */
function control(command: number, id: number): Uint8Array {
  return new Uint8Array([...bytes("MDPCX1"), command, ...Array(8).fill(0), id, 0, 0, 0, 0]);
}

Deno.test('Finding out: "auto" asks first, and speaks the dialect on the same socket after 200', async () => {
  await using stage = new ClientStage();
  const call = stage.client({ dialect: "auto" }).request("echo", "x");
  const question = await asked(stage.router, ...QUESTION);
  question.answer(...answered("200"));
  const request = await asked(stage.router, control(1, 1), "echo", "x");
  assert.equal(request.from, question.from);
  request.answer(control(3, 1), "y");
  assert.equal((await call).text(), "y");
});

Deno.test('Finding out: "auto" is the default, and costs the first request one question', async () => {
  await using stage = new ClientStage();
  const client = stage.client({ dialect: undefined });
  const calls = ["a", "b"].map((body) => client.request("echo", body));
  (await asked(stage.router, ...QUESTION)).answer(...answered("200"));
  for (const [i, body] of ["a", "b"].entries()) {
    (await asked(stage.router, control(1, i + 1), "echo", body)).answer(control(3, i + 1));
  }
  await Promise.all(calls);
  const next = client.request("echo", "c");
  (await asked(stage.router, control(1, 3), "echo", "c")).answer(control(3, 3));
  await next;
});

Deno.test('Finding out: "auto" speaks RFC 18 after 501', async () => {
  await using stage = new ClientStage();
  const client = stage.client({ dialect: "auto" });
  const calls = [client.request("echo", "a"), client.request("echo", "b")];
  (await asked(stage.router, ...QUESTION)).answer(...answered("501"));
  for (const body of ["a", "b"]) {
    const [address, ...rest] = await stage.router.receive();
    assertFrames(rest.slice(0, 3), [C, REQUEST, "echo"]);
    stage.router.send(address!, C, FINAL, "echo", rest[3]!);
    assert.ok(body);
  }
  assert.deepEqual((await Promise.all(calls)).map((reply) => reply.text()), ["a", "b"]);
});

Deno.test('Finding out: "auto" speaks RFC 18 after a second of silence, a late 200 notwithstanding', async () => {
  await using stage = new ClientStage();
  const client = stage.client({ dialect: "auto" });
  const before = performance.now();
  const call = client.request("echo", "x");
  const question = await asked(stage.router, ...QUESTION);
  const request = await asked(stage.router, C, REQUEST, "echo", "x");
  const waited = performance.now() - before;
  assert.ok(waited > 900 && waited < 5_000, `${waited} ms`);
  question.answer(...answered("200"));
  request.answer(C, FINAL, "echo", "y");
  assert.equal((await call).text(), "y");
  const next = client.request("echo", "z");
  (await asked(stage.router, C, REQUEST, "echo", "z")).answer(C, FINAL, "echo");
  await next;
});

const HINT = /: it may speak majortomo's dialect \(dialect: "majortomo", --dialect majortomo\)$/;

Deno.test('Finding out: the TimeoutError of "auto" says what a broker may speak that never said a thing', async () => {
  await using stage = new ClientStage();
  const client = stage.client({ dialect: "auto", timeout: 1_500 });
  const call = failure(client.request("echo", "x"));
  await asked(stage.router, ...QUESTION);
  await asked(stage.router, C, REQUEST, "echo", "x");
  const error = await call;
  assert.ok(error instanceof TimeoutError);
  assert.match(error.message, HINT);
  // One that has answered speaks RFC 18, and does not answer that question.
  const next = client.request("echo", "y");
  (await asked(stage.router, C, REQUEST, "echo", "y")).answer(C, FINAL, "echo");
  await next;
  const { message } = await failure(client.request("echo", "z", { timeout: 50 }));
  assert.match(message, /within the timeout of 50 ms \(1 attempt\)$/);
});

Deno.test('Finding out: the TimeoutError of "auto" says nothing of the dialect when a broker has answered or was told it', async () => {
  await using stage = new ClientStage();
  const client = stage.client({ dialect: "auto", timeout: 200 });
  const call = failure(client.request("echo", "x"));
  (await asked(stage.router, ...QUESTION)).answer(...answered("501"));
  await asked(stage.router, C, REQUEST, "echo", "x");
  assert.doesNotMatch((await call).message, HINT);
  const rfc = stage.client({ dialect: "rfc", timeout: 200 });
  assert.doesNotMatch((await failure(rfc.request("echo", "x"))).message, HINT);
});

Deno.test('Finding out: "auto" asks again when a broker of RFC 18 was lost, and its requests are sent again', async () => {
  await using stage = new ClientStage();
  const router = stage.another();
  const { endpoint } = router;
  const call = stage.client({ dialect: "auto", broker: endpoint }).request("echo", "x");
  (await asked(router, ...QUESTION)).answer(...answered("501"));
  await asked(router, C, REQUEST, "echo", "x");
  await router.close();
  await using again = await whenFree(() => RawSocket.router(endpoint));
  (await asked(again, ...QUESTION)).answer(...answered("200"));
  (await asked(again, control(1, 1), "echo", "x")).answer(control(3, 1), "y");
  assert.equal((await call).text(), "y");
});

Deno.test('Finding out: "auto" asks again when a multiplexed broker was lost', async () => {
  await using stage = new ClientStage();
  const router = stage.another();
  const { endpoint } = router;
  const call = stage.client({ dialect: "auto", broker: endpoint }).request("echo", "x");
  (await asked(router, ...QUESTION)).answer(...answered("200"));
  await asked(router, control(1, 1), "echo", "x");
  await router.close();
  await using again = await whenFree(() => RawSocket.router(endpoint));
  (await asked(again, ...QUESTION)).answer(...answered("501"));
  (await asked(again, C, REQUEST, "echo", "x")).answer(C, FINAL, "echo", "y");
  assert.equal((await call).text(), "y");
});

Deno.test('Finding out: "auto" asks over inproc, of whose connections libzmq does not tell', async () => {
  await using router = RawSocket.router("inproc://finding-out");
  await using stage = new ClientStage();
  const call = stage.client({ dialect: "auto", broker: router.endpoint }).request("echo", "x");
  (await asked(router, ...QUESTION)).answer(...answered("200"));
  (await asked(router, control(1, 1), "echo", "x")).answer(control(3, 1), "y");
  assert.equal((await call).text(), "y");
});

Deno.test('Finding out: "rfc" and "majortomo" never ask', async () => {
  await using stage = new ClientStage();
  stage.client({ dialect: "rfc" }).request("echo").catch(() => {});
  await asked(stage.router, C, REQUEST, "echo", "");
  stage.client({ dialect: "majortomo" }).request("echo").catch(() => {});
  await asked(stage.router, "", C, [2], "echo", "");
});

for (const dialect of ["rfc", "majortomo", "auto"] as const) {
  Deno.test(`\`once\` and \`headers\` are a StateError, and nothing is sent, when the dialect is ${dialect} and has none`, async () => {
    await using stage = new ClientStage();
    const client = stage.client({ dialect });
    for (const [i, options] of [{ once: true }, { headers: {} }].entries()) {
      const call = client.request("echo", "", options);
      if (dialect === "auto" && i === 0) {
        (await asked(stage.router, ...QUESTION)).answer(...answered("501"));
      }
      const name = Object.keys(options)[0]!;
      await assertFails(call, StateError, new RegExp(`"echo".*${name}.*dialect`));
    }
    assert.equal(stage.router.unread.length, 0);
  });
}

Deno.test("`noWait` is a StateError, and nothing is sent, when the dialect is majortomo", async () => {
  await using stage = new ClientStage();
  const client = stage.client({ dialect: "majortomo" });
  const call = client.request("echo", "", { noWait: true });
  await assertFails(call, StateError, /"echo".*noWait.*dialect "majortomo"/);
  assert.equal(stage.router.unread.length, 0);
});

Deno.test("`noWait` asks `mmi.service` first when RFC 18 is spoken", async () => {
  await using stage = new ClientStage();
  const client = stage.client();
  const answerRollCall = async (code: string) =>
    (await asked(stage.router, C, REQUEST, "mmi.service", "echo"))
      .answer(C, FINAL, "mmi.service", code);
  const served = client.request("echo", "x", { noWait: true });
  await answerRollCall("200");
  (await asked(stage.router, C, REQUEST, "echo", "x")).answer(C, FINAL, "echo", "y");
  assert.equal((await served).text(), "y");

  const unserved = client.request("echo", "x", { noWait: true, retries: 3 });
  await answerRollCall("404");
  const error = await failure(unserved);
  assert.ok(error instanceof ServiceError && error.code === 404, `got ${error}`);

  const unknown = client.request("echo", "x", { noWait: true, retries: 3 });
  await answerRollCall("501");
  await assertFails(unknown, StateError, /"echo".*noWait.*mmi\.service.*"501"/);

  // The broker's own services are always there.
  const own = client.request("mmi.other", "x", { noWait: true });
  (await asked(stage.router, C, REQUEST, "mmi.other", "x")).answer(C, FINAL, "mmi.other", "501");
  assert.equal((await own).text(), "501");
  assert.equal(stage.router.unread.length, 0);
});

Deno.test("`noWait` does the same in both dialects when the broker is real", async () => {
  await using broker = startBroker();
  for (const dialect of ["rfc", "multiplexed"] as const) {
    await using client = new Client({ broker: broker.endpoint, dialect });
    const error = await failure(client.request("nobody's", "x", { noWait: true }));
    assert.ok(error instanceof ServiceError, `got ${error}`);
    assert.deepEqual([error.code, error.message], [404, "No worker serves this"]);
  }
});

Deno.test("a broker that is not there, or answers nothing, is left after the first call", async () => {
  await using stage = new ClientStage();
  const gone = stage.another();
  for (const first of ["tcp://127.0.0.1:1", gone.endpoint]) {
    const second = stage.another();
    const client = stage.client({
      dialect: "auto",
      broker: [first, second.endpoint],
      timeout: 300,
    });
    const call = client.request("echo", "1");
    const answer = async () => {
      const [address, , , service] = await second.receive();
      const isQuestion = new TextDecoder().decode(service) === "mmi.multiplexed";
      second.send(address!, C, FINAL, service!, isQuestion ? "501" : "second");
      return isQuestion;
    };
    assert.equal(await answer(), true);
    assert.equal(await answer(), false);
    assert.equal((await call).text(), "second");
    // It has no time for the first.
    const next = client.request("echo", "2", { retries: 0 });
    assert.equal(await answer(), false);
    assert.equal((await next).text(), "second");
  }
});

Deno.test("a dead broker is noticed at once when the dialect is RFC 18", async () => {
  await using stage = new ClientStage();
  const router = stage.another(), second = stage.another();
  const broker = [router.endpoint, second.endpoint];
  const client = stage.client({ broker, timeout: 60_000 });
  const first = client.request("echo", "1");
  (await asked(router, C, REQUEST, "echo", "1")).answer(C, FINAL, "echo");
  await first;
  const call = client.request("echo", "x");
  await asked(router, C, REQUEST, "echo", "x");
  await router.close();
  (await asked(second, C, REQUEST, "echo", "x")).answer(C, FINAL, "echo", "y");
  assert.equal((await call).text(), "y");
});

Deno.test("a stream that has yielded fails when its broker of RFC 18 is gone", async () => {
  await using stage = new ClientStage();
  const router = stage.another();
  const client = stage.client({ broker: router.endpoint });
  const first = client.request("mmi.service", "x");
  (await asked(router, C, REQUEST, "mmi.service", "x")).answer(C, FINAL, "mmi.service");
  await first;
  const parts = client.stream("report");
  const part = parts.next();
  (await asked(router, C, REQUEST, "report", "")).answer(C, [2], "report", "1");
  await part;
  await router.close();
  await assertFails(parts.next(), DisconnectedError, /was lost/);
});

Deno.test('Finding out: what is given up while "auto" asks is never sent', async () => {
  await using stage = new ClientStage();
  const client = stage.client({ dialect: "auto" });
  const controller = new AbortController();
  const given = client.request("echo", "a", { signal: controller.signal });
  const kept = client.request("echo", "b");
  const question = await asked(stage.router, ...QUESTION);
  controller.abort("enough");
  assert.equal(await failure(given), "enough" as never);
  question.answer(...answered("200"));
  (await asked(stage.router, control(1, 1), "echo", "b")).answer(control(3, 1));
  await kept;
});

Deno.test("Finding out: `once` waits for the next connection when it was not sent on the first", async () => {
  await using stage = new ClientStage();
  const router = stage.another();
  const { endpoint } = router;
  const call = stage.client({ dialect: "auto", broker: endpoint }).request("echo", "x", {
    once: true,
  });
  await asked(router, ...QUESTION);
  await router.close();
  await using again = await whenFree(() => RawSocket.router(endpoint));
  (await asked(again, ...QUESTION)).answer(...answered("200"));
  const once = control(1, 1);
  once[7] = 4;
  (await asked(again, once, "echo", "x")).answer(control(3, 1), "y");
  assert.equal((await call).text(), "y");
});

Deno.test("Finding out: `headers` in flight are a StateError when the next broker speaks RFC 18 only", async () => {
  await using stage = new ClientStage();
  const router = stage.another();
  const { endpoint } = router;
  const call = stage.client({ dialect: "auto", broker: endpoint }).request("echo", "x", {
    headers: { a: "b" },
  });
  (await asked(router, ...QUESTION)).answer(...answered("200"));
  await router.receive();
  await router.close();
  await using again = await whenFree(() => RawSocket.router(endpoint));
  (await asked(again, ...QUESTION)).answer(...answered("501"));
  await assertFails(call, StateError, /headers/);
  assert.equal(again.unread.length, 0);
});
