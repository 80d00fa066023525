// The rules of the multiplexed dialect, each against a real broker with raw sockets: byte by byte,
// what peers in other languages see.

import assert from "node:assert/strict";
import { bytes, CX, type RawFrame, RawSocket, show, WX } from "./raw.ts";
import { C, fence, Stage, until, W } from "./stage.ts";

/** Numbers of commands, client side and worker side. */
const C_REQUEST = 1, C_PARTIAL = 2, C_FINAL = 3, C_ERROR = 4;
const READY = 1, REQUEST = 2, PARTIAL = 3, FINAL = 4, ERROR = 7, CREDIT = 9;
const HEARTBEAT = 5, DISCONNECT = 6, CANCEL = 8;
/** Flags. */
const HEADERS = 1, NOWAIT = 2, ONCE = 4;

/** A registered worker. */
async function workerOf(
  stage: Stage,
  name: string,
  credit: number,
  service: RawFrame = "echo",
): Promise<RawSocket> {
  const worker = stage.peer(name);
  worker.send(WX(READY, 0, credit), service);
  await worker.expect(WX(HEARTBEAT));
  return worker;
}

/** The next message, a REQUEST with this body. @returns Its token, and its value. */
async function taken(
  worker: RawSocket,
  ...body: RawFrame[]
): Promise<{ token: Uint8Array; value: number }> {
  const [control, ...frames] = await worker.receive();
  const token = control!.slice(8, 16), value = new DataView(control!.buffer, 16).getUint32(0);
  assert.deepEqual(show([control!, ...frames]), show([WX(REQUEST, token, value), ...body]));
  assert.ok(token.some((byte) => byte !== 0), "a token is not 0");
  return { token, value };
}

/** The next message, an ERROR. @returns Its message. */
async function failed(client: RawSocket, id: number | bigint, code: number): Promise<string> {
  const frames = await client.receive();
  assert.deepEqual(show(frames.slice(0, 1)), show([CX(C_ERROR, id, code)]));
  assert.equal(frames.length, 2, "message, and no details");
  return new TextDecoder().decode(frames[1]);
}

// ---- 1: ids ----

Deno.test("Rule 1: answers come in any order, parts of several mixed, each with its id", async () => {
  await using stage = new Stage();
  const client = stage.peer("c"), worker = await workerOf(stage, "w", 3);
  const ids = [2n ** 64n - 1n, 2n ** 53n + 1n, 1];
  const tokens: Uint8Array[] = [];
  for (const [i, id] of ids.entries()) {
    client.send(CX(C_REQUEST, id), "echo", `r${i}`, "");
    tokens.push((await taken(worker, `r${i}`, "")).token);
  }
  const [a, b, c] = tokens;
  worker.send(WX(PARTIAL, c!), "c1");
  worker.send(WX(PARTIAL, a!), "", "a1");
  worker.send(WX(FINAL, b!));
  worker.send(WX(PARTIAL, c!));
  worker.send(WX(ERROR, a!, 418), "teapot", [0, 255]);
  worker.send(WX(FINAL, c!), "");
  await client.expect(CX(C_PARTIAL, 1), "c1");
  await client.expect(CX(C_PARTIAL, ids[0]), "", "a1");
  await client.expect(CX(C_FINAL, ids[1]));
  await client.expect(CX(C_PARTIAL, 1));
  await client.expect(CX(C_ERROR, ids[0], 418), "teapot", [0, 255]);
  await client.expect(CX(C_FINAL, 1), "");
  await fence(client);
  await fence(worker);
});

Deno.test("Rule 1: ids that differ in their highest or lowest bits alone are not confused", async () => {
  await using stage = new Stage();
  const client = stage.peer("c"), worker = await workerOf(stage, "w", 64);
  const ids = [1n, 2n ** 32n, 2n ** 32n + 1n, 2n ** 53n, 2n ** 53n + 1n, 2n ** 63n, 2n ** 63n + 1n];
  const tokens = new Map<bigint, Uint8Array>();
  for (const id of ids) {
    client.send(CX(C_REQUEST, id), "echo", `${id}`);
    tokens.set(id, (await taken(worker, `${id}`)).token);
  }
  for (const id of ids.toReversed()) {
    worker.send(WX(FINAL, tokens.get(id)!), `${id}`);
    await client.expect(CX(C_FINAL, id), `${id}`);
  }
});

Deno.test("Rule 1: an id that is in flight is answered by DISCONNECT, and all is dropped as by CANCEL", async () => {
  await using stage = new Stage();
  const client = stage.peer("c"), other = stage.peer("o"), worker = await workerOf(stage, "w", 2);
  client.send(CX(C_REQUEST, 1), "echo", "r1");
  const first = await taken(worker, "r1");
  other.send(CX(C_REQUEST, 1), "echo", "o1");
  const others = await taken(worker, "o1");
  client.send(CX(C_REQUEST, 2), "echo", "queued");
  client.send(CX(C_REQUEST, 2), "echo", "the same id");
  await client.expect(CX(DISCONNECT));
  await worker.expect(WX(CANCEL, first.token));
  worker.send(WX(PARTIAL, first.token), "late");
  worker.send(WX(FINAL, first.token), "late");
  worker.send(WX(FINAL, others.token), "o2");
  await other.expect(CX(C_FINAL, 1), "o2");
  await fence(client);
  await fence(worker);
  // It may go on, with the same ids too.
  client.send(CX(C_REQUEST, 2), "echo", "again");
  await taken(worker, "again");
});

for (const service of ["mmi.service", "nobody"]) {
  Deno.test(`Rule 1: it is so for a second request for ${service} with NOWAIT, too`, async () => {
    await using stage = new Stage();
    const client = stage.peer("c"), worker = await workerOf(stage, "w", 1);
    client.send(CX(C_REQUEST, 1), "echo", "r1");
    const { token } = await taken(worker, "r1");
    client.send(CX(C_REQUEST, 1, 0, NOWAIT), service, "echo");
    await client.expect(CX(DISCONNECT));
    await worker.expect(WX(CANCEL, token));
    worker.send(WX(FINAL, token), "late");
    await fence(worker);
    await fence(client);
  });
}

Deno.test("Rule 1: it is so while the broker drains", async () => {
  await using stage = new Stage();
  const client = stage.peer("c"), worker = await workerOf(stage, "w", 1);
  client.send(CX(C_REQUEST, 1), "echo", "r1");
  const { token } = await taken(worker, "r1");
  const closed = stage.broker.close({ drain: 10_000 });
  client.send(CX(C_REQUEST, 1), "echo", "again");
  await client.expect(CX(DISCONNECT));
  await worker.expect(WX(CANCEL, token));
  await closed;
});

Deno.test("Rule 1: an invalid REQUEST whose id is in flight is told 400, and that one is dropped", async () => {
  await using stage = new Stage();
  const client = stage.peer("c"), worker = await workerOf(stage, "w", 2);
  client.send(CX(C_REQUEST, 1), "echo", "r1");
  client.send(CX(C_REQUEST, 2), "echo", "r2");
  const r1 = await taken(worker, "r1"), r2 = await taken(worker, "r2");
  client.send(CX(C_REQUEST, 1, 0, 8), "echo", "r1");
  await failed(client, 1, 400);
  await worker.expect(WX(CANCEL, r1.token));
  worker.send(WX(FINAL, r1.token), "dropped");
  worker.send(WX(FINAL, r2.token), "f2");
  await client.expect(CX(C_FINAL, 2), "f2");
  await fence(client);
});

Deno.test("Rule 1: CANCEL, FINAL and ERROR free the id at once", async () => {
  await using stage = new Stage();
  const client = stage.peer("c"), worker = await workerOf(stage, "w", 4);
  client.send(CX(C_REQUEST, 1), "echo", "r1");
  client.send(CX(CANCEL, 1));
  client.send(CX(C_REQUEST, 1), "echo", "r2");
  const first = await taken(worker, "r1");
  await worker.expect(WX(CANCEL, first.token));
  const second = await taken(worker, "r2");
  worker.send(WX(FINAL, first.token), "late");
  worker.send(WX(FINAL, second.token), "f2");
  await client.expect(CX(C_FINAL, 1), "f2");
  client.send(CX(C_REQUEST, 1), "echo", "r3");
  worker.send(WX(ERROR, (await taken(worker, "r3")).token, 500), "");
  await client.expect(CX(C_ERROR, 1, 500), "");
  client.send(CX(C_REQUEST, 1), "echo", "r4");
  await taken(worker, "r4");
});

// ---- 2: time to live ----

Deno.test("Rule 2: ERROR 504 when the time to live passes in the queue and at the worker, which gets CANCEL", async () => {
  await using stage = new Stage();
  const client = stage.peer("c"), worker = await workerOf(stage, "w", 1);
  const begin = performance.now();
  client.send(CX(C_REQUEST, 1, 80), "echo", "held");
  const { token, value } = await taken(worker, "held");
  assert.ok(value > 0 && value <= 80, `${value} ms are left`);
  client.send(CX(C_REQUEST, 2, 120), "echo", "queued");
  client.send(CX(C_REQUEST, 3), "echo", "patient");
  await failed(client, 1, 504);
  assert.ok(performance.now() - begin >= 79);
  await failed(client, 2, 504);
  await worker.expect(WX(CANCEL, token));
  // The credit is not given back by that, only by the FINAL, which nobody gets.
  await fence(worker);
  worker.send(WX(PARTIAL, token), "late");
  worker.send(WX(FINAL, token), "late");
  const patient = await taken(worker, "patient");
  assert.equal(patient.value, 0);
  worker.send(WX(FINAL, patient.token), "done");
  await client.expect(CX(C_FINAL, 3), "done");
  await fence(client);
});

Deno.test("Rule 2: the worker sees what is left of the time to live, and never 0 for it", async () => {
  await using stage = new Stage();
  const client = stage.peer("c"), worker = await workerOf(stage, "w", 1);
  client.send(CX(C_REQUEST, 1), "echo", "first");
  const first = await taken(worker, "first");
  client.send(CX(C_REQUEST, 2, 60_000), "echo", "second");
  await fence(client);
  await new Promise((resolve) => setTimeout(resolve, 60));
  worker.send(WX(FINAL, first.token));
  const { token, value } = await taken(worker, "second");
  assert.ok(value > 50_000 && value <= 59_941, `${value} ms are left`);
  worker.send(WX(FINAL, token));
  client.send(CX(C_REQUEST, 3, 2 ** 32 - 1), "echo", "longest");
  const longest = await taken(worker, "longest");
  assert.ok(longest.value > 2 ** 32 - 10_000, `${longest.value} ms are left`);
});

Deno.test("Rule 2: the broker's own expiry is 504 too, and a longer time to live does not extend it", async () => {
  await using stage = new Stage({ requestExpiry: 100 });
  const client = stage.peer("c");
  client.send(CX(C_REQUEST, 1, 3_600_000), "nobody", "");
  client.send(CX(C_REQUEST, 2), "nobody", "");
  client.send(CX(C_REQUEST, 3, 20), "nobody", "");
  await failed(client, 3, 504);
  await failed(client, 1, 504);
  await failed(client, 2, 504);
});

Deno.test("Rule 2: the value that the worker sees counts the time to live alone, not the expiry", async () => {
  await using stage = new Stage({ requestExpiry: 5_000 });
  const client = stage.peer("c");
  client.send(CX(C_REQUEST, 1), "echo", "r1");
  client.send(CX(C_REQUEST, 2, 100_000), "echo", "r2");
  await fence(client);
  const worker = await workerOf(stage, "w", 2);
  assert.equal((await taken(worker, "r1")).value, 0);
  const { value } = await taken(worker, "r2");
  assert.ok(value > 90_000 && value <= 100_000, `${value} ms are left`);
});

// ---- 3: CANCEL ----

Deno.test("Rule 3: CANCEL drops what is queued, is passed on for what is held, and ignored for what is unknown", async () => {
  await using stage = new Stage();
  const client = stage.peer("c"), other = stage.peer("o"), worker = await workerOf(stage, "w", 1);
  client.send(CX(C_REQUEST, 1), "echo", "held");
  const { token } = await taken(worker, "held");
  client.send(CX(C_REQUEST, 2), "echo", "queued");
  client.send(CX(C_REQUEST, 3), "echo", "next");
  client.send(CX(CANCEL, 2));
  client.send(CX(CANCEL, 99));
  other.send(CX(CANCEL, 3));
  other.send(CX(CANCEL, 1));
  await fence(client);
  await fence(other);
  await fence(worker);
  client.send(CX(CANCEL, 1));
  client.send(CX(CANCEL, 1));
  await worker.expect(WX(CANCEL, token));
  worker.send(WX(PARTIAL, token), "late");
  worker.send(WX(ERROR, token, 500), "late");
  const next = await taken(worker, "next");
  worker.send(WX(FINAL, next.token), "done");
  await client.expect(CX(C_FINAL, 3), "done");
  client.send(CX(CANCEL, 3));
  await fence(client);
  await fence(worker);
});

Deno.test("headers count for the size of a message", async () => {
  await using stage = new Stage({ maxMessageSize: 100 });
  const client = stage.peer("c");
  const headers = JSON.stringify({ a: "x".repeat(52) });
  client.send(CX(C_REQUEST, 1, 0, HEADERS), "nobody", headers, "y".repeat(41));
  assert.match(await failed(client, 1, 400), /101 bytes/);
  client.send(CX(C_REQUEST, 2, 0, HEADERS), "nobody", headers, "y".repeat(40));
  await stage.until("the request is queued", ({ queued }) => queued === 1);
});

Deno.test("peers whose addresses are as long as libzmq's own, and end alike, are not mistaken", async () => {
  await using stage = new Stage();
  for (const name of ["1same", "2same"]) {
    const client = stage.peer(name);
    client.send(C, [1], "mmi.service", name);
    await client.expect(C, [3], "mmi.service", "404");
  }
});

// ---- 4: NOWAIT and ONCE ----

Deno.test("Rule 4: NOWAIT is 404 when nobody serves it or all drain, and queued when all are full", async () => {
  await using stage = new Stage();
  const client = stage.peer("c");
  client.send(CX(C_REQUEST, 1, 0, NOWAIT), "echo", "");
  await failed(client, 1, 404);
  // A request that waits does not make a service that is served.
  client.send(CX(C_REQUEST, 2), "echo", "r2");
  client.send(CX(C_REQUEST, 3, 0, NOWAIT | ONCE), "echo", "");
  await failed(client, 3, 404);
  const worker = await workerOf(stage, "w", 1);
  const r2 = await taken(worker, "r2");
  client.send(CX(C_REQUEST, 4, 0, NOWAIT), "echo", "r4");
  await fence(client);
  worker.send(WX(CREDIT, 0, 0));
  await fence(worker);
  client.send(CX(C_REQUEST, 5, 0, NOWAIT), "echo", "r5");
  await failed(client, 5, 404);
  worker.send(WX(CREDIT, 0, 1));
  worker.send(WX(FINAL, r2.token));
  await client.expect(CX(C_FINAL, 2));
  // The flag is not passed on.
  await taken(worker, "r4");
});

Deno.test("Rule 4: ONCE is 502 when its worker is lost, what is not goes to another", async () => {
  await using stage = new Stage();
  const client = stage.peer("c"), first = await workerOf(stage, "w1", 2);
  client.send(CX(C_REQUEST, 1, 0, ONCE), "echo", "once");
  client.send(CX(C_REQUEST, 2), "echo", "often");
  await taken(first, "once");
  await taken(first, "often");
  const second = await workerOf(stage, "w2", 2);
  await first.close();
  await failed(client, 1, 502);
  await taken(second, "often");
  await fence(client);
});

// ---- 5: credit ----

Deno.test("Rule 5: a worker holds its credit, the least recently used comes first", async () => {
  await using stage = new Stage();
  const client = stage.peer("c");
  const one = await workerOf(stage, "w1", 2), two = await workerOf(stage, "w2", 1);
  for (let id = 1; id <= 5; id++) client.send(CX(C_REQUEST, id), "echo", `r${id}`);
  const r1 = await taken(one, "r1"), r2 = await taken(two, "r2");
  await taken(one, "r3");
  await fence(one);
  await fence(two);
  two.send(WX(FINAL, r2.token));
  const r4 = await taken(two, "r4");
  one.send(WX(PARTIAL, r1.token), "no credit comes back by this");
  await fence(one);
  one.send(WX(ERROR, r1.token, 599), "but by this");
  await taken(one, "r5");
  two.send(WX(FINAL, r4.token));
  await fence(one);
  await fence(two);
});

Deno.test("Rule 5: what is cancelled or expired counts until the worker ends it", async () => {
  await using stage = new Stage();
  const client = stage.peer("c"), worker = await workerOf(stage, "w", 2);
  client.send(CX(C_REQUEST, 1), "echo", "r1");
  client.send(CX(C_REQUEST, 2, 30), "echo", "r2");
  client.send(CX(C_REQUEST, 3), "echo", "r3");
  client.send(CX(C_REQUEST, 4), "echo", "r4");
  const r1 = await taken(worker, "r1"), r2 = await taken(worker, "r2");
  client.send(CX(CANCEL, 1));
  await worker.expect(WX(CANCEL, r1.token));
  await failed(client, 2, 504);
  await worker.expect(WX(CANCEL, r2.token));
  await fence(worker);
  worker.send(WX(FINAL, r2.token), "dropped");
  const r3 = await taken(worker, "r3");
  await fence(worker);
  worker.send(WX(ERROR, r1.token, 400), "dropped");
  await taken(worker, "r4");
  worker.send(WX(FINAL, r3.token), "f3");
  await client.expect(CX(C_FINAL, 3), "f3");
});

Deno.test("Rule 5: CREDIT above and below what is held, to 0 and back", async () => {
  await using stage = new Stage();
  const client = stage.peer("c"), worker = await workerOf(stage, "w", 1);
  for (let id = 1; id <= 6; id++) client.send(CX(C_REQUEST, id), "echo", `r${id}`);
  const tokens = [(await taken(worker, "r1")).token];
  worker.send(WX(CREDIT, 0, 3));
  for (const id of [2, 3]) tokens.push((await taken(worker, `r${id}`)).token);
  worker.send(WX(CREDIT, 0, 1));
  for (const token of tokens.splice(0, 2)) worker.send(WX(FINAL, token));
  await fence(worker);
  worker.send(WX(FINAL, tokens.pop()!));
  const r4 = await taken(worker, "r4");
  worker.send(WX(CREDIT, 0, 0));
  worker.send(WX(PARTIAL, r4.token), "what is held goes on");
  worker.send(WX(FINAL, r4.token));
  await fence(worker);
  worker.send(WX(CREDIT, 0, 65_535));
  await taken(worker, "r5");
  await taken(worker, "r6");
});

Deno.test("Rule 5: a worker that drains, ends what it holds and disconnects loses nothing", async () => {
  await using stage = new Stage();
  const client = stage.peer("c"), worker = await workerOf(stage, "w1", 2);
  client.send(CX(C_REQUEST, 1, 0, ONCE), "echo", "r1");
  const { token } = await taken(worker, "r1");
  worker.send(WX(CREDIT, 0, 0));
  await fence(worker);
  client.send(CX(C_REQUEST, 2, 0, ONCE), "echo", "r2");
  worker.send(WX(FINAL, token), "f1");
  worker.send(WX(DISCONNECT));
  await client.expect(CX(C_FINAL, 1), "f1");
  await taken(await workerOf(stage, "w2", 1), "r2");
});

// ---- 6: workers' lives ----

Deno.test("Rule 6: READY is answered by HEARTBEAT before any REQUEST", async () => {
  await using stage = new Stage();
  const client = stage.peer("c"), worker = stage.peer("w");
  client.send(CX(C_REQUEST, 1), "echo", "r1");
  await fence(client);
  worker.send(WX(READY, 0, 65_535), "echo");
  await worker.expect(WX(HEARTBEAT));
  await taken(worker, "r1");
});

const VIOLATIONS: Record<string, (token: Uint8Array) => RawFrame[]> = {
  "READY twice": () => [WX(READY, 0, 1), "echo"],
  "a PARTIAL with another token": () => [WX(PARTIAL, 12_345)],
  "a FINAL with another token": () => [WX(FINAL, 2n ** 64n - 1n)],
  "an ERROR with another token": () => [WX(ERROR, 12_345, 500), ""],
  "a FINAL of RFC 18": () => [W, [4], "c", "", "x"],
  "a READY of RFC 18": () => [W, [1], "echo"],
};
for (const [what, violation] of Object.entries(VIOLATIONS)) {
  Deno.test(`Rule 6: ${what} earns DISCONNECT, and what the worker held goes to another`, async () => {
    await using stage = new Stage();
    const client = stage.peer("c"), worker = await workerOf(stage, "w1", 2);
    client.send(CX(C_REQUEST, 1), "echo", "r1");
    client.send(CX(C_REQUEST, 2), "echo", "r2");
    const { token } = await taken(worker, "r1");
    await taken(worker, "r2");
    const other = await workerOf(stage, "w2", 2);
    worker.send(...violation(token));
    await worker.expect(WX(DISCONNECT));
    await taken(other, "r1");
    await taken(other, "r2");
    await fence(client);
  });
}

Deno.test("Rule 6: a token is void once its request was answered", async () => {
  await using stage = new Stage();
  const client = stage.peer("c"), worker = await workerOf(stage, "w", 2);
  client.send(CX(C_REQUEST, 1), "echo", "r1");
  const { token } = await taken(worker, "r1");
  worker.send(WX(FINAL, token));
  await client.expect(CX(C_FINAL, 1));
  worker.send(WX(FINAL, token));
  await worker.expect(WX(DISCONNECT));
  await fence(client);
});

Deno.test("Rule 6: another worker's token is none", async () => {
  await using stage = new Stage();
  const client = stage.peer("c"), one = await workerOf(stage, "w1", 1);
  client.send(CX(C_REQUEST, 1), "echo", "r1");
  const { token } = await taken(one, "r1");
  const two = await workerOf(stage, "w2", 1);
  two.send(WX(FINAL, token), "stolen");
  await two.expect(WX(DISCONNECT));
  one.send(WX(FINAL, token), "f1");
  await client.expect(CX(C_FINAL, 1), "f1");
});

Deno.test("Rule 6: unknown workers are told DISCONNECT, but for a DISCONNECT", async () => {
  await using stage = new Stage();
  const worker = stage.peer("w");
  const commands: RawFrame[][] = [
    [WX(HEARTBEAT)],
    [WX(PARTIAL, 1)],
    [WX(FINAL, 1), "x"],
    [WX(ERROR, 1, 500), "x"],
    [WX(CREDIT, 0, 5)],
  ];
  for (const command of commands) {
    worker.send(...command);
    await worker.expect(WX(DISCONNECT));
  }
  worker.send(WX(DISCONNECT));
  worker.send(WX(READY, 0, 1), "mmi.mine");
  await worker.expect(WX(DISCONNECT));
  await fence(worker);
});

Deno.test("Rule 6: the heartbeat timeout alone applies to busy workers, and the broker heartbeats", async () => {
  await using stage = new Stage({
    heartbeatInterval: 40,
    heartbeatTimeout: 200,
    busyWorkerTimeout: 3_600_000,
  });
  const client = stage.peer("c"), worker = await workerOf(stage, "w1", 1);
  client.send(CX(C_REQUEST, 1), "echo", "r1");
  await taken(worker, "r1");
  await worker.expect(WX(HEARTBEAT));
  worker.send(WX(HEARTBEAT));
  for (let frames; show(frames = await worker.receive())[0] !== show([WX(DISCONNECT)])[0];) {
    assert.deepEqual(show(frames), show([WX(HEARTBEAT)]));
  }
  const other = stage.peer("w2");
  other.send(WX(READY, 0, 1), "echo");
  await other.expect(WX(HEARTBEAT));
  await taken(other, "r1");
});

// ---- 7: clients' heartbeats ----

Deno.test("Rule 7: a client's HEARTBEAT is answered by one, whatever it has in flight, none sent unasked", async () => {
  await using stage = new Stage({ heartbeatInterval: 20, heartbeatTimeout: 60_000 });
  const client = stage.peer("c"), worker = await workerOf(stage, "w", 1);
  client.send(CX(HEARTBEAT));
  await client.expect(CX(HEARTBEAT));
  client.send(CX(C_REQUEST, 1), "echo", "r1");
  await taken(worker, "r1");
  for (let i = 0; i < 3; i++) await worker.expect(WX(HEARTBEAT));
  await fence(client);
  client.send(CX(HEARTBEAT));
  client.send(CX(HEARTBEAT));
  await client.expect(CX(HEARTBEAT));
  await client.expect(CX(HEARTBEAT));
});

// ---- 8: DISCONNECT ----

Deno.test("Rule 8: a client's DISCONNECT drops all it has in flight as by CANCEL", async () => {
  await using stage = new Stage();
  const client = stage.peer("c"), other = stage.peer("o"), worker = await workerOf(stage, "w", 1);
  client.send(CX(C_REQUEST, 1), "echo", "r1");
  const { token } = await taken(worker, "r1");
  client.send(CX(C_REQUEST, 2), "echo", "r2");
  client.send(CX(DISCONNECT));
  await worker.expect(WX(CANCEL, token));
  other.send(CX(C_REQUEST, 1), "echo", "o1");
  worker.send(WX(FINAL, token), "dropped");
  await taken(worker, "o1");
  await fence(client);
});

Deno.test("Rule 8: a broker that stops sends DISCONNECT to workers, and to clients with requests in flight alone", async () => {
  await using stage = new Stage();
  const queued = stage.peer("c1"), held = stage.peer("c2"), cancelled = stage.peer("c3");
  const answered = stage.peer("c4"), worker = await workerOf(stage, "w", 1);
  answered.send(CX(C_REQUEST, 1), "echo", "x");
  worker.send(WX(FINAL, (await taken(worker, "x")).token));
  await answered.expect(CX(C_FINAL, 1));
  held.send(CX(C_REQUEST, 1), "echo", "y");
  await taken(worker, "y");
  queued.send(CX(C_REQUEST, 1), "echo", "z");
  cancelled.send(CX(C_REQUEST, 1), "echo", "z");
  cancelled.send(CX(CANCEL, 1));
  for (const client of [queued, cancelled]) await fence(client);
  await stage.broker.close({ drain: 0 });
  await worker.expect(WX(DISCONNECT));
  await queued.expect(CX(DISCONNECT));
  await held.expect(CX(DISCONNECT));
  await Promise.all([queued, held, cancelled, answered].map(async (peer) => {
    await assert.rejects(peer.receive(100), /No message/);
  }));
});

Deno.test("Rule 8: while it drains new requests get ERROR 503, and what there is goes on", async () => {
  await using stage = new Stage();
  const client = stage.peer("c"), worker = await workerOf(stage, "w", 1);
  client.send(CX(C_REQUEST, 1), "echo", "r1");
  const { token } = await taken(worker, "r1");
  client.send(CX(C_REQUEST, 2), "echo", "r2");
  await fence(client);
  const closed = stage.broker.close({ drain: 10_000 });
  client.send(CX(C_REQUEST, 3), "echo", "r3");
  await failed(client, 3, 503);
  client.send(CX(C_REQUEST, 4, 0, NOWAIT), "nobody", "r4");
  await failed(client, 4, 503);
  client.send(CX(C_REQUEST, 5), "mmi.multiplexed", "");
  await client.expect(CX(C_FINAL, 5), "200");
  client.send(CX(HEARTBEAT));
  await client.expect(CX(HEARTBEAT));
  worker.send(WX(FINAL, token), "f1");
  await client.expect(CX(C_FINAL, 1), "f1");
  worker.send(WX(FINAL, (await taken(worker, "r2")).token), "f2");
  await client.expect(CX(C_FINAL, 2), "f2");
  await closed;
  await worker.expect(WX(DISCONNECT));
  await assert.rejects(client.receive(100), /No message/);
});

// ---- 9 and 10: what is lost ----

Deno.test("Rule 9: a client's lost connection voids what was in flight on it", async () => {
  await using stage = new Stage();
  const client = stage.stranger(), worker = await workerOf(stage, "w", 1);
  client.send(CX(C_REQUEST, 1), "echo", "r1");
  client.send(CX(C_REQUEST, 2), "echo", "r2");
  const { token } = await taken(worker, "r1");
  await client.close();
  await worker.expect(WX(CANCEL, token));
  worker.send(WX(FINAL, token));
  await stage.until("both are dropped", ({ dropped }) => dropped.clientGone === 2);
  await fence(worker);
});

Deno.test("Rule 10: what a lost worker held goes to the head of the queue in the order of dispatch", async () => {
  await using stage = new Stage();
  const client = stage.peer("c"), worker = await workerOf(stage, "w1", 5);
  for (let id = 1; id <= 6; id++) client.send(CX(C_REQUEST, id), "echo", `r${id}`);
  const tokens: Uint8Array[] = [];
  for (let id = 1; id <= 5; id++) tokens.push((await taken(worker, `r${id}`)).token);
  // One is over, one has begun, one is not wanted any more.
  worker.send(WX(FINAL, tokens[2]!));
  await client.expect(CX(C_FINAL, 3));
  await taken(worker, "r6");
  client.send(CX(C_REQUEST, 7), "echo", "r7");
  worker.send(WX(PARTIAL, tokens[1]!), "begun");
  await client.expect(CX(C_PARTIAL, 2), "begun");
  client.send(CX(CANCEL, 4));
  await worker.expect(WX(CANCEL, tokens[3]!));
  worker.send(WX(DISCONNECT));
  await failed(client, 2, 502);
  const other = await workerOf(stage, "w2", 9);
  for (const id of [1, 5, 6, 7]) await taken(other, `r${id}`);
  await fence(other);
  await fence(client);
});

Deno.test("Rule 10: ERROR 502 after three dispatches", async () => {
  await using stage = new Stage();
  const client = stage.peer("c");
  client.send(CX(C_REQUEST, 1), "echo", "r1");
  for (const name of ["w1", "w2", "w3"]) {
    const worker = await workerOf(stage, name, 1);
    await taken(worker, "r1");
    await worker.close();
  }
  await failed(client, 1, 502);
  await workerOf(stage, "w4", 1);
  await fence(client);
});

// ---- 11: mixed pairs; bodies are in broker_dialects_test.ts ----

Deno.test("Rule 11: headers are dropped where RFC 18 has none, and handed on as they are elsewhere", async () => {
  await using stage = new Stage();
  const client = stage.peer("c"), plain = stage.peer("p");
  const old = await stage.worker("old", "old"), worker = await workerOf(stage, "w", 4);
  const headers = bytes("{not json");
  client.send(CX(C_REQUEST, 1, 0, HEADERS), "old", headers, "r1");
  await old.expect(W, [2], "c", "", "r1");
  old.send(W, [4], "c", "", "f1");
  await client.expect(CX(C_FINAL, 1), "f1");
  for (const given of [headers, bytes("")]) {
    client.send(CX(C_REQUEST, 2, 0, HEADERS | NOWAIT | ONCE), "echo", given);
    const [control, ...frames] = await worker.receive();
    const token = control!.slice(8, 16);
    assert.deepEqual(show([control!, ...frames]), show([WX(REQUEST, token, 0, HEADERS), given]));
    worker.send(WX(PARTIAL, token, 0, HEADERS), given, "p2");
    worker.send(WX(FINAL, token, 0, HEADERS), given);
    await client.expect(CX(C_PARTIAL, 2, 0, HEADERS), given, "p2");
    await client.expect(CX(C_FINAL, 2, 0, HEADERS), given);
  }
  plain.send(C, [1], "echo", "r3");
  const { token } = await taken(worker, "r3");
  worker.send(WX(PARTIAL, token, 0, HEADERS), headers, "p3");
  worker.send(WX(FINAL, token, 0, HEADERS), headers);
  await plain.expect(C, [2], "echo", "p3");
  await plain.expect(C, [3], "echo");
});

Deno.test("Rule 11: an ERROR ends the request of an RFC 18 client, which is told nothing", async () => {
  await using stage = new Stage();
  const worker = await workerOf(stage, "w", 1);
  for (const request of [[C, [1]], ["", C, [2]]] as RawFrame[][]) {
    const client = stage.peer(`c${request.length}`);
    client.send(...request, "echo", "x");
    worker.send(WX(ERROR, (await taken(worker, "x")).token, 500), "failed", "details");
    await fence(client);
  }
  await fence(worker);
  const { dropped, inFlight } = stage.broker.stats();
  assert.deepEqual([dropped.failed, inFlight], [2, 0]);
});

Deno.test("Rule 11: an RFC 18 worker gets one request at a time and no CANCEL, and what is late is dropped", async () => {
  await using stage = new Stage();
  const client = stage.peer("c"), worker = await stage.worker("w", "echo");
  client.send(CX(C_REQUEST, 1), "echo", "r1");
  client.send(CX(C_REQUEST, 2), "echo", "r2");
  client.send(CX(C_REQUEST, 3, 40), "echo", "r3");
  await worker.expect(W, [2], "c", "", "r1");
  await failed(client, 3, 504);
  client.send(CX(CANCEL, 1));
  await fence(client);
  await fence(worker);
  worker.send(W, [3], "c", "", "late");
  worker.send(W, [4], "c", "", "late");
  await worker.expect(W, [2], "c", "", "r2");
  worker.send(W, [4], "c", "", "f2");
  await client.expect(CX(C_FINAL, 2), "f2");
  await fence(client);
});

Deno.test("Rule 11: a lost RFC 18 worker is 502 for ONCE, and another of any dialect has the rest", async () => {
  await using stage = new Stage();
  const client = stage.peer("c");
  const w1 = await stage.worker("w1", "echo"), w2 = await stage.oldWorker("w2", "echo");
  client.send(CX(C_REQUEST, 1, 0, ONCE), "echo", "once");
  client.send(CX(C_REQUEST, 2), "echo", "often");
  await w1.expect(W, [2], "c", "", "once");
  await w2.expect("", W, [2], "c", "", "often");
  await Promise.all([w1.close(), w2.close()]);
  await failed(client, 1, 502);
  await taken(await workerOf(stage, "w3", 1), "often");
});

// ---- 12 and 13: codes, and what is invalid ----

Deno.test("Rule 12: a worker's codes are 400 to 599, message and details are handed on as they are", async () => {
  await using stage = new Stage();
  const client = stage.peer("c"), worker = await workerOf(stage, "w", 1);
  const messages: RawFrame[][] = [[""], ["Zürich 🚋", ""], [[0xff, 0x00], "details"]];
  for (const code of [400, 599]) {
    for (const frames of messages) {
      client.send(CX(C_REQUEST, 1), "echo");
      worker.send(WX(ERROR, (await taken(worker)).token, code), ...frames);
      await client.expect(CX(C_ERROR, 1, code), ...frames);
    }
  }
  client.send(CX(C_REQUEST, 1), "echo", "x");
  const { token } = await taken(worker, "x");
  const other = await workerOf(stage, "w2", 1);
  worker.send(WX(ERROR, token, 399), "");
  await worker.expect(WX(DISCONNECT));
  other.send(WX(ERROR, (await taken(other, "x")).token, 600), "");
  await other.expect(WX(DISCONNECT));
});

Deno.test("Rule 12: ERROR 429 when the queue is full, and a worker with room takes what no queue would", async () => {
  await using stage = new Stage({ maxQueue: 1 });
  const client = stage.peer("c");
  client.send(CX(C_REQUEST, 1), "echo", "r1");
  client.send(CX(C_REQUEST, 2), "echo", "r2");
  await failed(client, 2, 429);
  const worker = await workerOf(stage, "w", 3);
  await taken(worker, "r1");
  client.send(CX(C_REQUEST, 2), "echo", "r2");
  client.send(CX(C_REQUEST, 3), "echo", "r3");
  await taken(worker, "r2");
  await taken(worker, "r3");
});

/** REQUESTs that are none, whose client is told. */
const BAD_REQUESTS: Record<string, RawFrame[]> = {
  "no service": [CX(C_REQUEST, 5)],
  "an empty service": [CX(C_REQUEST, 5), "", "x"],
  "an unknown flag": [CX(C_REQUEST, 5, 0, 8), "echo", "x"],
  "the highest flag": [CX(C_REQUEST, 5, 0, 0x80 | HEADERS), "echo", "h", "x"],
  "HEADERS without headers": [CX(C_REQUEST, 5, 0, HEADERS), "echo"],
  "a service that is too long": [CX(C_REQUEST, 5), new Uint8Array(65_536), "x"],
};
for (const [what, frames] of Object.entries(BAD_REQUESTS)) {
  Deno.test(`Rule 13: an invalid REQUEST is answered by ERROR 400 when it has ${what}`, async () => {
    await using stage = new Stage();
    const client = stage.peer("c"), worker = await workerOf(stage, "w", 2);
    client.send(CX(C_REQUEST, 4), "echo", "r4");
    const { token } = await taken(worker, "r4");
    client.send(...frames);
    assert.notEqual(await failed(client, 5, 400), "");
    // The others go on, and so does the client.
    worker.send(WX(FINAL, token), "f4");
    await client.expect(CX(C_FINAL, 4), "f4");
    await fence(worker);
    assert.equal(sum(stage.broker.stats().invalid), 1);
    client.send(CX(C_REQUEST, 5), "echo", "r5");
    await taken(worker, "r5");
  });
}

const cut = (control: Uint8Array, length: number) => {
  const frame = new Uint8Array(length);
  frame.set(control.subarray(0, length));
  return frame;
};

/** What anybody may send, and is told nothing of. */
const IGNORED: Record<string, RawFrame[]> = {
  "a REQUEST with the id 0": [CX(C_REQUEST, 0), "echo", "x"],
  "a control frame of 19 bytes": [cut(CX(C_REQUEST, 5), 19), "echo", "x"],
  "a control frame of 21 bytes": [cut(CX(C_REQUEST, 5), 21), "echo", "x"],
  "no more than a header": ["MDPCX1"],
  "another version": [cut(bytes("MDPCX2\x01"), 20), "echo"],
  "the side of nobody": [cut(bytes("MDPXX1\x01"), 20), "echo"],
  "command 0": [CX(0, 5), "echo", "x"],
  "a PARTIAL of a client": [CX(C_PARTIAL, 5), "x"],
  "a FINAL of a client": [CX(C_FINAL, 5), "x"],
  "an ERROR of a client": [CX(C_ERROR, 5, 500), "x"],
  "command 7 of a client": [CX(7, 5)],
  "command 9 of a client": [CX(9, 0, 5)],
  "command 255": [CX(255)],
  "a CANCEL with the id 0": [CX(CANCEL, 0)],
  "a CANCEL with a value": [CX(CANCEL, 4, 1)],
  "a CANCEL with a flag": [CX(CANCEL, 4, 0, HEADERS)],
  "a CANCEL with a body": [CX(CANCEL, 4), "x"],
  "a HEARTBEAT with an id": [CX(HEARTBEAT, 1)],
  "a HEARTBEAT with a value": [CX(HEARTBEAT, 0, 1)],
  "a HEARTBEAT with a frame": [CX(HEARTBEAT), ""],
  "a HEARTBEAT with a flag": [CX(HEARTBEAT, 0, 0, NOWAIT)],
  "a DISCONNECT with an id": [CX(DISCONNECT, 4)],
  "a DISCONNECT with a frame": [CX(DISCONNECT), ""],
  "a CANCEL after an empty frame": ["", CX(CANCEL, 4)],
  "a REQUEST after an empty frame": ["", CX(C_REQUEST, 5), "echo", "x"],
};
Deno.test("Rule 13: what is invalid is dropped and counted, and nobody notices", async (t) => {
  await using stage = new Stage();
  const client = stage.peer("c"), worker = await workerOf(stage, "w", 2);
  client.send(CX(C_REQUEST, 4), "echo", "r4");
  const { token } = await taken(worker, "r4");
  let count = 0;
  for (const [what, frames] of Object.entries(IGNORED)) {
    await t.step(what, async () => {
      client.send(...frames);
      await fence(client);
      await fence(worker);
      assert.equal(sum(stage.broker.stats().invalid), ++count);
    });
  }
  worker.send(WX(FINAL, token), "f4");
  await client.expect(CX(C_FINAL, 4), "f4");
});

/** What a registered worker may not send. */
const BAD_WORK: Record<string, (token: Uint8Array) => RawFrame[]> = {
  "a control frame of 19 bytes": (token) => [cut(WX(FINAL, token), 19), "x"],
  "a control frame of 21 bytes": (token) => [cut(WX(FINAL, token), 21), "x"],
  "an empty frame before it": (token) => ["", WX(FINAL, token), "x"],
  "an unknown flag": (token) => [WX(FINAL, token, 0, 8), "x"],
  "NOWAIT on a FINAL": (token) => [WX(FINAL, token, 0, NOWAIT), "x"],
  "ONCE on a PARTIAL": (token) => [WX(PARTIAL, token, 0, ONCE), "x"],
  "HEADERS on an ERROR": (token) => [WX(ERROR, token, 500, HEADERS), "h", "x"],
  "HEADERS without headers": (token) => [WX(FINAL, token, 0, HEADERS)],
  "a FINAL with the token 0": () => [WX(FINAL, 0), "x"],
  "a FINAL with a value": (token) => [WX(FINAL, token, 1), "x"],
  "an ERROR without a code": (token) => [WX(ERROR, token, 0), "x"],
  "an ERROR with the code 200": (token) => [WX(ERROR, token, 200), "x"],
  "an ERROR without a message": (token) => [WX(ERROR, token, 500)],
  "an ERROR with two details": (token) => [WX(ERROR, token, 500), "x", "y", "z"],
  "a READY without credit": () => [WX(READY, 0, 0), "echo"],
  "a READY with too much": () => [WX(READY, 0, 65_536), "echo"],
  "a CREDIT above 65,535": () => [WX(CREDIT, 0, 65_536)],
  "a CREDIT with an id": (token) => [WX(CREDIT, token, 1)],
  "a CREDIT with a frame": () => [WX(CREDIT, 0, 1), ""],
  "a REQUEST": (token) => [WX(REQUEST, token), "x"],
  "a CANCEL": (token) => [WX(CANCEL, token)],
  "command 0": () => [WX(0)],
  "command 10": () => [WX(10)],
  "a HEARTBEAT with an id": (token) => [WX(HEARTBEAT, token)],
  "a DISCONNECT with a frame": () => [WX(DISCONNECT), ""],
  "what is no MDP": () => ["hello"],
};
for (const [what, frames] of Object.entries(BAD_WORK)) {
  Deno.test(`Rule 13: a registered worker gets DISCONNECT when it sends ${what}`, async () => {
    await using stage = new Stage();
    const client = stage.peer("c"), worker = await workerOf(stage, "w1", 1);
    client.send(CX(C_REQUEST, 1), "echo", "r1");
    const { token } = await taken(worker, "r1");
    worker.send(...frames(token));
    await worker.expect(WX(DISCONNECT));
    await fence(worker);
    assert.equal(sum(stage.broker.stats().invalid), 1);
    await taken(await workerOf(stage, "w2", 1), "r1");
    await fence(client);
  });
}

Deno.test("Rule 13: a READY that is invalid registers nobody", async () => {
  await using stage = new Stage();
  const worker = stage.peer("w");
  const readies: RawFrame[][] = [
    [WX(READY, 0, 0), "echo"],
    [WX(READY, 0, 65_536), "echo"],
    [WX(READY, 1, 1), "echo"],
    [WX(READY, 0, 1, HEADERS), "echo"],
    [WX(READY, 0, 1), ""],
    [WX(READY, 0, 1)],
    [WX(READY, 0, 1), "echo", "echo"],
    ["", WX(READY, 0, 1), "echo"],
  ];
  for (const ready of readies) {
    worker.send(...ready);
    await fence(worker);
  }
  assert.equal(stage.broker.stats().workers.registered, 0);
  assert.equal(sum(stage.broker.stats().invalid), readies.length);
});

// ---- 14: MMI, and finding out ----

Deno.test("Rule 14: mmi.* is answered by FINAL whatever the flags and the time to live", async () => {
  await using stage = new Stage();
  const client = stage.peer("c"), worker = await workerOf(stage, "w", 1);
  for (let flags = 0; flags < 8; flags++) {
    const headers = flags & HEADERS ? ["{}"] : [];
    const ask = async (service: string, body: RawFrame[], answer: string) => {
      client.send(CX(C_REQUEST, 9, flags, flags), service, ...headers, ...body);
      await client.expect(CX(C_FINAL, 9), answer);
    };
    await ask("mmi.multiplexed", [""], "200");
    await ask("mmi.multiplexed", [], "200");
    await ask("mmi.multiplexed", ["any", "body"], "200");
    await ask("mmi.service", ["echo"], "200");
    await ask("mmi.service", ["nobody"], "404");
    await ask("mmi.service", [], "404");
    await ask("mmi.nonsense", ["x"], "501");
    await ask("mmi.", ["x"], "501");
  }
  worker.send(WX(CREDIT, 0, 0));
  await fence(worker);
  client.send(CX(C_REQUEST, 9), "mmi.service", "echo");
  await client.expect(CX(C_FINAL, 9), "404");
});

Deno.test("Finding out: mmi.multiplexed is answered by 200 in every dialect, with any body", async () => {
  await using stage = new Stage();
  const peer = stage.peer("p"), req = stage.req();
  for (const body of [[""], [], ["x", ""]]) {
    peer.send(C, [1], "mmi.multiplexed", ...body);
    await peer.expect(C, [3], "mmi.multiplexed", "200");
    peer.send("", C, [1], "mmi.multiplexed", ...body);
    await peer.expect("", C, [3], "mmi.multiplexed", "200");
    peer.send("", C, [2], "mmi.multiplexed", ...body);
    await peer.expect("", C, [4], "200");
    req.send(C, [1], "mmi.multiplexed", ...body);
    await req.expect(C, [3], "mmi.multiplexed", "200");
  }
});

// ---- thousands in flight ----

Deno.test("a socket carries 5,000 requests in flight, each with a deadline, and all are answered or told", async () => {
  await using stage = new Stage();
  const client = RawSocket.dealer(stage.endpoint, {
    sendHighWaterMark: 0,
    receiveHighWaterMark: 0,
  });
  const worker = RawSocket.dealer(stage.endpoint, {
    sendHighWaterMark: 0,
    receiveHighWaterMark: 0,
  });
  try {
    worker.send(WX(READY, 0, 4_000), "echo");
    await worker.expect(WX(HEARTBEAT));
    for (let id = 1; id <= 5_000; id++) client.send(CX(C_REQUEST, id, 60_000), "echo", `${id}`);
    await stage.until("all are there", ({ inFlight, queued }) => inFlight + queued === 5_000);
    assert.equal(stage.broker.stats().inFlight, 4_000);
    for (let n = 1; n <= 5_000; n++) {
      const [control, body] = await worker.receive();
      worker.send(WX(FINAL, control!.slice(8, 16)), body!);
    }
    const seen = new Set<string>();
    for (let n = 1; n <= 5_000; n++) {
      const [control, body] = await client.receive();
      const id = new TextDecoder().decode(body);
      assert.deepEqual(show([control!]), show([CX(C_FINAL, Number(id))]));
      seen.add(id);
    }
    assert.equal(seen.size, 5_000);
    await until(() => stage.broker.stats().inFlight === 0, "none is left");
  } finally {
    await Promise.all([client.close(), worker.close()]);
  }
});

function sum(counts: object): number {
  return Object.values(counts).reduce((total: number, count: number) => total + count, 0);
}
