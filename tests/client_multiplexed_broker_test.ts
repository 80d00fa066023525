// The client in the multiplexed dialect against the real broker.

import assert from "node:assert/strict";
import { Client, DisconnectedError, ServiceError, TimeoutError } from "../client.ts";
import { startBroker, type TestBroker } from "../testing.ts";
import { assertFails, failure, whenFree } from "./client_stage.ts";
import { bytes, RawSocket } from "./raw.ts";
import { until } from "./stage.ts";

/** A control frame of the worker side with small numbers. */
function control(command: number, value = 0): Uint8Array {
  return new Uint8Array([...bytes("MDPWX1"), command, 0, ...Array(8).fill(0), 0, 0, 0, value]);
}

/** A multiplexed worker that is registered and takes nine requests at once. */
async function worker(broker: TestBroker, service: string): Promise<RawSocket> {
  const socket = RawSocket.dealer(broker.endpoint);
  socket.send(control(1, 9), service);
  await socket.expect(control(5));
  return socket;
}

/** Sends a request's control frame back as this command, with the frames. */
function answer(
  worker: RawSocket,
  request: Uint8Array,
  command: number,
  value: number,
  ...frames: string[]
) {
  const head = request.slice();
  head[6] = command;
  head[7] = 0;
  new DataView(head.buffer).setUint32(16, value);
  worker.send(head, ...frames);
}

for (const dialect of ["auto", "multiplexed"] as const) {
  Deno.test(`\`request\` is answered out of order by one worker when the dialect is ${dialect}`, async () => {
    await using broker = startBroker();
    await using echo = await worker(broker, "echo");
    await using client = new Client({ broker: broker.endpoint, dialect });
    const calls = ["a", "b", "c"].map((body) => client.request("echo", body));
    const heads = new Map<string, Uint8Array>();
    for (let i = 0; i < 3; i++) {
      const [head, body] = await echo.receive();
      heads.set(new TextDecoder().decode(body), head!);
    }
    for (const body of ["c", "a", "b"]) answer(echo, heads.get(body)!, 4, 0, body);
    assert.deepEqual((await Promise.all(calls)).map((reply) => reply.text()), ["a", "b", "c"]);
  });
}

Deno.test("Rule 3: an aborted `request` is cancelled at its worker", async () => {
  await using broker = startBroker();
  await using echo = await worker(broker, "echo");
  await using client = new Client({ broker: broker.endpoint, dialect: "auto" });
  const controller = new AbortController();
  const call = client.request("echo", "x", { signal: controller.signal });
  const [head] = await echo.receive();
  controller.abort();
  assert.equal((await failure(call)).name, "AbortError");
  const [cancel] = await echo.receive();
  assert.equal(cancel![6], 8);
  assert.deepEqual(cancel!.slice(8, 16), head!.slice(8, 16));
});

Deno.test("Rule 4: `noWait` fails with 404 without workers, and `once` with 502 when its worker is lost", async () => {
  await using broker = startBroker();
  await using client = new Client({ broker: broker.endpoint, dialect: "auto", retries: 3 });
  const code = async (call: Promise<unknown>) => {
    const error = await failure(call);
    assert.ok(error instanceof ServiceError, error.stack);
    return error.code;
  };
  assert.equal(await code(client.request("echo", "", { noWait: true })), 404);
  const echo = await worker(broker, "echo");
  const call = code(client.request("echo", "", { once: true }));
  await echo.receive();
  await echo.close();
  assert.equal(await call, 502);
});

Deno.test("Rule 2: a `deadline` that passes at the worker is a TimeoutError, and it is told", async () => {
  await using broker = startBroker();
  await using echo = await worker(broker, "echo");
  await using client = new Client({ broker: broker.endpoint, dialect: "auto" });
  const call = client.request("echo", "", { deadline: 100 });
  await echo.receive();
  await assertFails(call, TimeoutError, /"echo"/);
  assert.equal((await echo.receive())[0]![6], 8);
});

Deno.test("Rule 12: a worker's ERROR is the client's ServiceError, with its details", async () => {
  await using broker = startBroker();
  await using echo = await worker(broker, "echo");
  await using client = new Client({ broker: broker.endpoint, dialect: "auto" });
  const call = client.request("echo");
  const [head] = await echo.receive();
  answer(echo, head!, 7, 422, "No such thing", "details");
  const error = await failure(call);
  assert.ok(error instanceof ServiceError, error.stack);
  assert.deepEqual([error.code, error.message, error.details], [
    422,
    "No such thing",
    bytes("details"),
  ]);
});

Deno.test("Rule 8: requests survive a broker that stops and is started anew, those with `once` fail", async () => {
  const first = startBroker();
  await using client = new Client({ broker: first.endpoint, dialect: "auto", backoff: 1 });
  const echo = await worker(first, "echo");
  const calls = Array.from({ length: 50 }, (_, i) => client.request("echo", `${i}`));
  for (const call of calls) call.catch(() => {});
  const once = failure(client.request("echo", "", { once: true }));
  await until(
    () => first.broker.stats().accepted >= 51,
    "all requests",
    () => first.broker.stats(),
  );
  await first.close();
  await echo.close();
  assert.ok((await once) instanceof DisconnectedError, (await once).stack);
  await using second = await whenFree(() => startBroker({ bind: first.endpoint }));
  await using again = await worker(second, "echo");
  for (let i = 0; i < 50; i++) {
    const [head, body] = await again.receive();
    answer(again, head!, 4, 0, new TextDecoder().decode(body));
  }
  const texts = (await Promise.all(calls)).map((reply) => reply.text());
  assert.deepEqual(texts, Array.from({ length: 50 }, (_, i) => `${i}`));
});
