import assert from "node:assert/strict";
import { ServiceError } from "../client.ts";
import { eventually, HttpStage } from "./http_stage.ts";
import { RawSocket } from "./raw.ts";

/** Calls a service over HTTP. */
function call(
  stage: HttpStage,
  name: string,
  body: BodyInit = "",
  headers: Record<string, string> = {},
): Promise<Response> {
  return fetch(`${stage.url}services/${name}`, { method: "POST", body, headers });
}

/** Why an answer is none. */
async function reason(response: Response): Promise<[status: number, message: string]> {
  const { error } = await response.json();
  assert.equal(error.code, response.status);
  return [response.status, error.message];
}

const bytes = (...values: number[]) => new Uint8Array(values);

Deno.test("`POST /services/NAME` answers with the FINAL of one frame as it is", async () => {
  await using stage = new HttpStage({ gateway: true });
  await stage.worker("echo", (request) => request.frames);
  const body = bytes(0, 255, 13, 10, 0);
  const response = await call(stage, "echo", body);
  assert.equal(response.status, 200);
  assert.equal(response.headers.get("content-type"), "application/octet-stream");
  assert.match(response.headers.get("content-security-policy")!, /^sandbox/);
  assert.deepEqual(await response.bytes(), body);
  assert.deepEqual(await (await call(stage, "echo")).bytes(), bytes());
});

Deno.test("`POST /services/NAME` takes and gives several frames as multipart/form-data", async () => {
  await using stage = new HttpStage({ gateway: true });
  await stage.worker("echo", (request) => request.frames);
  const form = new FormData();
  form.append("a", "text ü");
  form.append("b", new Blob([bytes(0, 255, 13, 10)]));
  form.append("c", "");
  const response = await call(stage, "echo", form);
  assert.equal(response.status, 200);
  const frames = (await response.formData()).getAll("frame") as File[];
  const contents = await Promise.all(frames.map((frame) => frame.bytes()));
  assert.deepEqual(contents, [new TextEncoder().encode("text ü"), bytes(0, 255, 13, 10), bytes()]);
});

Deno.test("`POST /services/NAME` takes parts as the bytes that they are, and none that are cut off", async () => {
  await using stage = new HttpStage({ gateway: true });
  await stage.worker("count", ({ frames }) => JSON.stringify(frames.map((frame) => [...frame])));
  const part = '--b\r\nContent-Disposition: form-data; name="a"\r\n\r\n';
  const utf8 = new TextEncoder(), type = { "content-type": "multipart/form-data; boundary=b" };
  const form = (...pieces: (string | Uint8Array)[]) =>
    new Blob(
      pieces.map((piece) => typeof piece === "string" ? utf8.encode(piece) : bytes(...piece)),
    );
  // Not UTF-8, and what would be taken for a mark of it.
  const odd = bytes(0xef, 0xbb, 0xbf, 0xff, 0);
  const whole = await call(stage, "count", form(part, odd, "\r\n", part, "A\r\n--b--\r\n"), type);
  assert.deepEqual(await whole.json(), [[...odd], [65]]);
  for (
    const broken of [
      form(part, "A\r\n", part, "B"),
      form(part, "A\r\n", part, "B\r\n--b"),
      form("--b\r\n\r\nA\r\n--b--\r\n"),
      form("--b--\r\n"),
      form(""),
      form(part.replace("b", "c"), "A\r\n--c--\r\n"),
    ]
  ) assert.equal((await reason(await call(stage, "count", broken, type)))[0], 400);
  const nameless = await call(stage, "count", "", { "content-type": "multipart/form-data" });
  assert.deepEqual(await reason(nameless), [400, '"multipart/form-data" names no boundary']);
});

Deno.test("`POST /services/NAME` answers 204 to a FINAL without a frame", async () => {
  await using stage = new HttpStage({ gateway: true });
  await using worker = RawSocket.dealer(stage.endpoint);
  worker.send("MDPW02", [1], "none");
  await eventually(() => stage.broker.stats().workers.registered === 1, "the worker joins");
  const calling = call(stage, "none");
  const request = await worker.receiveButHeartbeats();
  worker.send("MDPW02", [4], request[2]!, "");
  const response = await calling;
  assert.deepEqual([response.status, await response.text()], [204, ""]);
});

Deno.test("`POST /services/NAME` tells content types both ways, and passes a trace on", async () => {
  await using stage = new HttpStage({ gateway: true });
  let seen: Readonly<Record<string, string>> = {};
  await stage.worker("json", async (request) => {
    seen = request.headers;
    await request.final(`{"a":1}`, { headers: { "content-type": "application/json" } });
  });
  const traceparent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
  const response = await call(stage, "json", "x", { "content-type": "text/plain", traceparent });
  assert.equal(response.headers.get("content-type"), "application/json");
  assert.deepEqual(await response.json(), { a: 1 });
  assert.deepEqual(seen, { "content-type": "text/plain", traceparent });
});

Deno.test("`POST /services/NAME` streams PARTIALs as they come", async () => {
  await using stage = new HttpStage({ gateway: true });
  const gate = Promise.withResolvers<void>();
  await stage.worker("parts", async function* () {
    yield "one ";
    await gate.promise;
    yield [];
    yield ["two ", "three "];
    return "end";
  });
  const response = await call(stage, "parts");
  const reader = response.body!.pipeThrough(new TextDecoderStream()).getReader();
  assert.equal((await reader.read()).value, "one ");
  gate.resolve();
  let rest = "";
  for (let chunk; !(chunk = await reader.read()).done;) rest += chunk.value;
  assert.equal(rest, "two three end");
});

Deno.test("`POST /services/NAME` streams server-sent events to whoever accepts them", async () => {
  await using stage = new HttpStage({ gateway: true });
  await stage.worker("parts", async function* (request) {
    yield "one";
    yield ["two\n", bytes(255)];
    if (request.text() === "fail") throw new ServiceError(422, "No more");
    return await Promise.resolve("end");
  });
  const events = async (body: string) => {
    const response = await call(stage, "parts", body, { accept: "text/event-stream" });
    assert.equal(response.headers.get("content-type"), "text/event-stream");
    return (await response.text()).trim().split("\n\n");
  };
  for (const accept of ["*/*", "text/event-stream;q=0", "text/event-streams"]) {
    const response = await call(stage, "parts", "", { accept });
    assert.equal(response.headers.get("content-type"), "application/octet-stream", accept);
    await response.body?.cancel();
  }
  const mixed = await call(stage, "parts", "", { accept: "text/html, TEXT/Event-Stream ; q=0.5" });
  assert.equal(mixed.headers.get("content-type"), "text/event-stream");
  await mixed.body?.cancel();
  const partials = [
    `event: partial\ndata: {"frames":["one"]}`,
    `event: partial\ndata: {"frames":["two\\n",{"base64":"/w=="}]}`,
  ];
  assert.deepEqual(await events(""), [...partials, `event: final\ndata: {"frames":["end"]}`]);
  assert.deepEqual(await events("fail"), [
    ...partials,
    `event: error\ndata: {"code":422,"message":"No more"}`,
  ]);
});

Deno.test("`POST /services/NAME` breaks off when the reply fails after a PARTIAL", async () => {
  await using stage = new HttpStage({ gateway: true });
  await stage.worker("parts", async function* () {
    yield "one";
    await Promise.resolve();
    throw new ServiceError(422, "No more");
  });
  const response = await call(stage, "parts");
  assert.equal(response.status, 200);
  await assert.rejects(response.text());
  await eventually(
    async () => (await stage.metrics()).get("majortomo_gateway_requests_in_flight") === 0,
    "the call is over",
  );
});

Deno.test("`POST /services/NAME` says why there is no reply", async () => {
  await using stage = new HttpStage({ gateway: { maxContentSize: 10 } });
  await stage.worker("slow", () => new Promise(() => {}));
  await stage.worker("fail", () => {
    throw new ServiceError(422, "Division by zero", new TextEncoder().encode("a / b"));
  });
  const answer = async (
    ...args: Parameters<typeof call> extends [unknown, ...infer R] ? R : never
  ) => await reason(await call(stage, ...args));
  assert.deepEqual(await answer("nobody"), [404, "No worker serves this"]);
  assert.deepEqual(await answer("fail"), [422, "Division by zero"]);
  const { error } = await (await call(stage, "fail")).json();
  assert.equal(error.details, "a / b");
  const late = await answer("slow", "", { "x-timeout": "50ms" });
  assert.equal(late[0], 504);
  assert.doesNotMatch(late[1], /\d\.\d+ ms/);
  for (const timeout of ["soon", "0", "-1", "9999h"]) {
    const [status, message] = await answer("slow", "", { "x-timeout": timeout });
    assert.equal(status, 400);
    assert.match(message, /^Expected seconds such as 2\.5, .* in X-Timeout, but got /);
  }
  assert.equal((await answer("slow", "12345678901"))[0], 413);
  assert.deepEqual(await answer(""), [400, "Expected the name of a service in /services/NAME"]);
  assert.equal((await answer("slow", "x", { "content-type": "multipart/mixed" }))[0], 415);
  assert.equal(
    (await answer("slow", "x", { "content-type": "multipart/form-data; boundary=b" }))[0],
    400,
  );
  const get = await fetch(`${stage.url}services/slow`);
  assert.equal(get.headers.get("allow"), "POST");
  assert.deepEqual(await reason(get), [405, "Services are called by POST, and not by GET"]);
});

Deno.test("`POST /services/NAME` answers 503 while the broker drains", async () => {
  await using stage = new HttpStage({ gateway: true }, { drain: 60_000 });
  const gate = Promise.withResolvers<void>();
  await stage.worker("slow", async () => {
    await gate.promise;
    return "done";
  });
  const running = call(stage, "slow");
  await eventually(() => stage.broker.stats().inFlight === 1, "the call is under way");
  const closed = stage.broker.close();
  const [status] = await reason(await call(stage, "slow", "", { "x-timeout": "5s" }));
  assert.equal(status, 503);
  gate.resolve();
  assert.equal(await (await running).text(), "done");
  await closed;
  assert.deepEqual(await reason(await call(stage, "slow")), [503, "The broker does not listen"]);
});

/** Whoever never answers. */
const forever = () => new Promise<never>(() => {});

Deno.test("`POST /services/NAME` answers 503 when the HTTP side is closed meanwhile", async () => {
  await using stage = new HttpStage({ gateway: true });
  await stage.worker("slow", forever);
  const running = call(stage, "slow");
  await eventually(() => stage.broker.stats().inFlight === 1, "the call is under way");
  // Who sends bit by bit does not hold it up.
  using stalling = await Deno.connect({ port: Number(new URL(stage.url).port) });
  const head = "POST /services/slow HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\na";
  await stalling.write(new TextEncoder().encode(head));
  await eventually(
    async () => (await stage.metrics()).get("majortomo_gateway_requests_in_flight") === 2,
    "both calls are under way",
  );
  await stage.http.close();
  assert.deepEqual(await reason(await running), [503, "The HTTP side is closed"]);
  for (const path of ["services/slow", "events", "healthz"]) {
    const late = await stage.http.handle(new Request(stage.url + path, { method: "POST" }));
    assert.deepEqual(await reason(late), [503, "The HTTP side is closed"]);
  }
});

Deno.test("`POST /services/NAME` answers 503 when the broker stops, and does not wait for it", async () => {
  await using stage = new HttpStage({ gateway: true });
  await stage.worker("slow", forever);
  const running = call(stage, "slow", "", { "x-timeout": "1h" });
  await eventually(() => stage.broker.stats().inFlight === 1, "the call is under way");
  await stage.broker.close();
  assert.deepEqual(await reason(await running), [503, "The broker has stopped"]);
});

Deno.test("`POST /services/NAME` answers 413 to what the broker would not take, and others go on", async () => {
  await using stage = new HttpStage({ gateway: true }, { maxMessageSize: 1_000 });
  const gate = Promise.withResolvers<void>();
  await stage.worker("slow", async ({ frames }) => {
    await gate.promise;
    return frames;
  });
  const running = call(stage, "slow", "fine");
  await eventually(() => stage.broker.stats().inFlight === 1, "the call is under way");
  for (const size of [1_001, 1_000]) {
    // The type of the content goes with it, and counts.
    assert.equal((await reason(await call(stage, "slow", "x".repeat(size))))[0], 413, `${size}`);
  }
  gate.resolve();
  assert.equal(await (await running).text(), "fine");
});

Deno.test("`POST /services/NAME` counts the time that the content takes to come", async () => {
  await using stage = new HttpStage({ gateway: true });
  await stage.worker("echo", ({ frames }) => frames);
  const body = new ReadableStream<Uint8Array>({ start: (c) => c.enqueue(bytes(1)) });
  const response = await stage.http.handle(
    new Request(`${stage.url}services/echo`, {
      method: "POST",
      body,
      headers: { "x-timeout": "50ms" },
    }),
  );
  assert.deepEqual(await reason(response), [408, "The content did not come within 50 ms"]);
});

Deno.test("`POST /services/NAME` passes no headers on in RFC 18, which has none", async () => {
  await using stage = new HttpStage({ gateway: true, client: { dialect: "rfc" } });
  await stage.worker("echo", ({ frames }) => frames);
  const response = await call(stage, "echo", "hello", { "content-type": "text/plain" });
  assert.deepEqual([response.status, await response.text()], [200, "hello"]);
  assert.equal((await reason(await call(stage, "nobody")))[0], 404);
});

Deno.test("`GET /healthz` is asked for though the gateway has no room for more calls", async () => {
  await using stage = new HttpStage({ gateway: true, client: { maxInFlight: 1 } });
  await stage.worker("slow", forever);
  const running = call(stage, "slow", "", { "x-timeout": "1h" });
  await eventually(() => stage.broker.stats().inFlight === 1, "the call is under way");
  assert.equal((await stage.get("healthz")).status, 200);
  await stage.http.close();
  await (await running).body?.cancel();
});

Deno.test("`handle` outlives a caller that leaves, whatever the reason", async () => {
  await using stage = new HttpStage({ gateway: true });
  await stage.worker("parts", async (request) => {
    await request.partial("one");
    await forever();
  });
  const url = `${stage.url}services/parts`, left = new Error("the user left");
  const gone = new Request(url, { method: "POST", signal: AbortSignal.abort(left) });
  assert.deepEqual(await reason(await stage.http.handle(gone)), [499, "The caller has left"]);
  const controller = new AbortController();
  const response = await stage.http.handle(
    new Request(url, {
      method: "POST",
      signal: controller.signal,
      headers: { accept: "text/event-stream" },
    }),
  );
  controller.abort(left);
  assert.match(await response.text(), /event: error\ndata: {"code":499,/);
});

Deno.test("`POST /services/NAME` tells the worker when the caller hangs up", async () => {
  await using stage = new HttpStage({ gateway: true });
  const cancelled = Promise.withResolvers<void>();
  await stage.worker("slow", async (request) => {
    if (request.text() === "parts") await request.partial("one");
    request.signal.addEventListener("abort", () => cancelled.resolve());
    await new Promise(() => {});
  }, { concurrency: 2 });
  const controller = new AbortController();
  const url = `${stage.url}services/slow`;
  const waiting = fetch(url, { method: "POST", body: "", signal: controller.signal });
  await eventually(() => stage.broker.stats().inFlight === 1, "the call is under way");
  controller.abort();
  await assert.rejects(waiting);
  await cancelled.promise;

  const response = await fetch(url, { method: "POST", body: "parts" });
  await response.body!.cancel();
  await eventually(() => stage.broker.stats().dropped.cancelled === 2, "both are cancelled");
  await eventually(
    async () => (await stage.metrics()).get("majortomo_gateway_requests_in_flight") === 0,
    "no call is under way",
  );
});

Deno.test("`POST /services/NAME` cancels the request of a caller that reads too slowly", async () => {
  await using stage = new HttpStage({ gateway: { maxBacklog: 100_000 } });
  const cancelled = Promise.withResolvers<void>();
  await stage.worker("flood", async (request) => {
    // More than fits on the way, as often as it takes.
    for (const part = bytes(...new Array(50_000).fill(7)); !request.signal.aborted;) {
      await request.partial(part);
      await new Promise((resolve) => setTimeout(resolve, 0));
    }
    cancelled.resolve();
  });
  const response = await call(stage, "flood");
  await cancelled.promise;
  await assert.rejects(response.bytes());
  assert.equal(stage.broker.stats().dropped.cancelled, 1);
  const inFlight = (await stage.metrics()).get("majortomo_gateway_requests_in_flight");
  assert.equal(inFlight, 0);
});

Deno.test("`POST /services/NAME` gives one that reads all of it, however much and slowly", async () => {
  await using stage = new HttpStage({ gateway: { maxBacklog: 100_000 } });
  const gate = [Promise.withResolvers<void>(), Promise.withResolvers<void>()];
  const part = bytes(...new Array(70_000).fill(7));
  await stage.worker("slow", async function* () {
    for (const { promise } of gate) {
      yield part;
      await promise;
    }
    // One part may be more than may wait.
    return new Uint8Array(1_000_000);
  });
  const response = await call(stage, "slow");
  let length = 0, parts = 0;
  for await (const chunk of response.body!) {
    length += chunk.length;
    // Each part is sent when the one before has been read.
    if (length >= (parts + 1) * part.length) gate[parts++]?.resolve();
  }
  assert.equal(length, 2 * part.length + 1_000_000);
});

Deno.test("`POST /services/NAME` takes names that are escaped, of any bytes", async () => {
  await using stage = new HttpStage({ gateway: true });
  await stage.worker(bytes(0xff, 0x2f), () => "bytes");
  await stage.worker("a b/ü%", () => "text");
  assert.equal(await (await call(stage, "%FF%2f")).text(), "bytes");
  assert.equal(await (await call(stage, encodeURIComponent("a b/ü%"))).text(), "text");
});

Deno.test("`POST /services/NAME` refuses web pages of other origins, unless they are named", async () => {
  await using stage = new HttpStage({ gateway: { origins: ["https://example.org"] } });
  await stage.worker("echo", (request) => request.frames);
  const { host } = new URL(stage.url);
  const from = (origin: string) => call(stage, "echo", "x", { origin });
  for (
    const origin of ["https://example.com", "http://example.org", "null", "http://127.0.0.1:1"]
  ) {
    const [status, message] = await reason(await from(origin));
    assert.equal(status, 403, origin);
    assert.ok(message.includes(origin), message);
  }
  const own = await from(`http://${host}`);
  assert.deepEqual([own.status, await own.text()], [200, "x"]);
  assert.equal(own.headers.get("access-control-allow-origin"), null);
  const named = await from("https://example.org");
  assert.deepEqual([named.status, await named.text()], [200, "x"]);
  assert.equal(named.headers.get("access-control-allow-origin"), "https://example.org");
  const asked = await fetch(`${stage.url}services/echo`, {
    method: "OPTIONS",
    headers: { origin: "https://example.org", "access-control-request-method": "POST" },
  });
  assert.equal(asked.status, 204);
  assert.match(asked.headers.get("access-control-allow-headers")!, /x-timeout/);
});

Deno.test("`POST /services/NAME` refuses pages that a name of theirs has brought to this address", async () => {
  await using stage = new HttpStage({ gateway: true });
  // As after DNS rebinding: the name is the page's, and the address the gateway's.
  const request = new Request("http://evil.example:9090/services/echo", {
    method: "POST",
    headers: { origin: "http://evil.example:9090", host: "evil.example:9090" },
  });
  assert.equal((await stage.http.handle(request)).status, 403);
});

Deno.test("a call whose caller leaves in the midst of its content is no failure of ours", async () => {
  await using stage = new HttpStage({ gateway: true });
  const { hostname, port } = new URL(stage.url);
  const connection = await Deno.connect({ hostname, port: Number(port) });
  await connection.write(new TextEncoder().encode(
    "POST /services/echo HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\nhalf",
  ));
  const inFlight = async () => (await stage.metrics()).get("majortomo_gateway_requests_in_flight");
  await eventually(async () => await inFlight() === 1, "the call is under way");
  connection.close();
  await eventually(async () => await inFlight() === 0, "the call is over");
  const metrics = await stage.metrics();
  assert.equal(metrics.get('majortomo_gateway_requests_total{code="499"}'), 1);
});

Deno.test("`GET /metrics` counts the gateway's calls by status", async () => {
  await using stage = new HttpStage({ gateway: true });
  await stage.worker("echo", (request) => request.frames);
  for (const name of ["echo", "echo", "nobody"]) await (await call(stage, name)).body?.cancel();
  const url = `${stage.url}services/echo`;
  await (await fetch(url)).body?.cancel();
  const foreign = { method: "POST", headers: { origin: "https://example.org" } };
  await (await fetch(url, foreign)).body?.cancel();
  // A browser's question before the call is none.
  await (await fetch(url, { ...foreign, method: "OPTIONS" })).body?.cancel();
  await (await fetch(url, { method: "OPTIONS" })).body?.cancel();
  const metrics = await stage.metrics();
  assert.equal(metrics.get('majortomo_gateway_requests_total{code="200"}'), 2);
  assert.equal(metrics.get('majortomo_gateway_requests_total{code="204"}'), undefined);
  for (const code of [403, 404, 405]) {
    assert.equal(metrics.get(`majortomo_gateway_requests_total{code="${code}"}`), 1, `${code}`);
  }
});
