import assert from "node:assert/strict";
import { timestamp } from "../traces.ts";
import { run as runProgram, start } from "./cli.ts";
import { ROOT, run } from "./program.ts";

/** A span as OTLP has it in JSON. */
interface Span {
  traceId: string;
  spanId: string;
  parentSpanId: string;
  name: string;
  kind: number;
  startTimeUnixNano: string;
  endTimeUnixNano: string;
  attributes: { key: string; value: { stringValue?: string; doubleValue?: number } }[];
  status: { code: number; message: string };
}

const INTERNAL = 1, SERVER = 2, CLIENT = 3;
const ERROR = 2;

/** Takes what programs export by OTLP that have its `env`. */
class Receiver implements AsyncDisposable {
  readonly spans: Span[] = [];
  readonly #server: Deno.HttpServer<Deno.NetAddr>;

  constructor() {
    const options = { hostname: "127.0.0.1", port: 0, onListen: () => {} };
    this.#server = Deno.serve(options, async (request) => {
      const body = await request.json();
      if (new URL(request.url).pathname === "/v1/traces") {
        // deno-lint-ignore no-explicit-any -- the shape is OTLP's, and checked by what is found
        for (const { scopeSpans } of body.resourceSpans as any[]) {
          for (const scope of scopeSpans) {
            if (scope.scope.name === "@majortomo/mdp") this.spans.push(...scope.spans);
          }
        }
      }
      return Response.json({});
    });
  }

  get env(): Record<string, string> {
    return {
      OTEL_DENO: "true",
      OTEL_DENO_CONSOLE: "ignore",
      OTEL_EXPORTER_OTLP_PROTOCOL: "http/json",
      OTEL_EXPORTER_OTLP_ENDPOINT: `http://127.0.0.1:${this.#server.addr.port}`,
    };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#server.shutdown();
  }
}

/** Runs a program with Deno's OpenTelemetry on; what it exports comes to a server that is here. */
async function traced(
  text: string,
  flags?: string[],
): Promise<{ spans: Span[]; stdout: string }> {
  await using receiver = new Receiver();
  const { code, stdout, stderr } = await run(text, { env: receiver.env, flags });
  assert.deepEqual({ code, stderr }, { code: 0, stderr: "" });
  return { spans: receiver.spans, stdout: stdout.trim() };
}

function attributes(span: Span): Record<string, string> {
  return Object.fromEntries(
    span.attributes.map(({ key, value }) => [key, value.stringValue ?? `${value.doubleValue}`]),
  );
}

/** The spans as a tree: the names, each followed by what is in it in the order of its time. */
function tree(spans: readonly Span[], parent = ""): unknown[] {
  return spans.filter(({ parentSpanId }) => parentSpanId === parent)
    .sort((a, b) => Number(BigInt(a.startTimeUnixNano) - BigInt(b.startTimeUnixNano)))
    .map(({ name, spanId, status }) => {
      const within = tree(spans, spanId);
      const shown = status.code === ERROR ? `${name} (failed)` : name;
      return within.length === 0 ? shown : [shown, ...within];
    });
}

function the(spans: readonly Span[], name: string): Span {
  const found = spans.filter((span) => span.name === name);
  assert.equal(found.length, 1, `one span "${name}" in ${spans.map(({ name }) => name)}`);
  return found[0]!;
}

const SETTING = `
  import { Broker, Client, ServiceError, Worker } from "${new URL("mod.ts", ROOT)}";
  await using broker = new Broker({ bind: "tcp://127.0.0.1:*" });
  const [endpoint] = broker.bind();
  broker.run();
  await using client = new Client({ broker: endpoint, timeout: 20_000 });
`;

Deno.test("a request is one trace, from the client over the broker to the worker", async () => {
  const { spans, stdout } = await traced(`${SETTING}
    await using worker = new Worker({ broker: endpoint, service: "echo" });
    worker.serve((request) => {
      console.log(JSON.stringify(request.headers));
      return request.text().toUpperCase();
    });
    const headers = { mine: "too" };
    console.log((await client.request("echo", "hello", { headers })).text());
  `);
  const [headers, reply] = stdout.split("\n");
  assert.equal(reply, "HELLO");
  const [request, route, dispatch, handle] = ["request", "route", "dispatch", "handle"]
    .map((what) => the(spans, `${what} echo`)) as [Span, Span, Span, Span];
  assert.deepEqual(JSON.parse(headers!), {
    mine: "too",
    traceparent: `00-${request.traceId}-${dispatch.spanId}-01`,
  });
  for (const span of spans) assert.equal(span.traceId, request.traceId, span.name);
  const queued = spans.some(({ name }) => name === "queue echo");
  const dispatched = ["dispatch echo", "handle echo"];
  assert.deepEqual(tree(spans), [
    ["request echo", ["route echo", ...(queued ? ["queue echo"] : []), dispatched]],
  ]);
  assert.deepEqual(
    [request.kind, route.kind, dispatch.kind, handle.kind],
    [CLIENT, SERVER, CLIENT, SERVER],
  );
  assert.partialDeepStrictEqual(attributes(request), {
    "rpc.system": "mdp",
    "rpc.service": "echo",
    "mdp.attempts": "1",
  });
  assert.match(attributes(request)["server.address"]!, /^tcp:\/\/127\.0\.0\.1:\d+$/);
  assert.match(attributes(dispatch)["mdp.worker"]!, /^00[0-9a-f]{8}$/);
  const now = BigInt(Date.now()) * 1_000_000n, minute = 60_000_000_000n;
  for (const { name, startTimeUnixNano, endTimeUnixNano } of spans) {
    const start = BigInt(startTimeUnixNano), end = BigInt(endTimeUnixNano);
    assert.ok(end >= start && start > now - minute && end < now + minute, `${name}: the times`);
  }
});

Deno.test("what a handler does is part of its request's trace, in generators too", async () => {
  const { spans } = await traced(`${SETTING}
    await using outer = new Worker({ broker: endpoint, service: "outer" });
    outer.serve(async function* (request) {
      yield "part";
      return (await client.request("inner")).frames;
    });
    await using inner = new Worker({ broker: endpoint, service: "inner" });
    inner.serve(() => "done");
    await client.request("outer");
  `);
  assert.equal(the(spans, "request inner").parentSpanId, the(spans, "handle outer").spanId);
  assert.equal(new Set(spans.map(({ traceId }) => traceId)).size, 1);
});

Deno.test("a request that waits, and whose worker is lost, shows both in its trace", async () => {
  const { spans } = await traced(`${SETTING}
    const reply = client.request("echo", "hello");
    while (broker.stats().queued === 0) await new Promise((resolve) => setTimeout(resolve, 3));
    const lost = new Worker({ broker: endpoint, service: "echo" });
    for await (const request of lost) break;
    await using worker = new Worker({ broker: endpoint, service: "echo" });
    for await (const request of worker) {
      await request.final("done");
      break;
    }
    console.log((await reply).text());
  `);
  const [[request, [route, ...within]]] = tree(spans) as [[string, [string, ...unknown[]]]];
  assert.deepEqual([request, route], ["request echo", "route echo"]);
  assert.deepEqual(within, [
    "queue echo",
    ["dispatch echo (failed)", "handle echo (failed)"],
    "queue echo",
    ["dispatch echo", "handle echo"],
  ]);
  assert.equal(spans.find(({ name }) => name === "queue echo")!.kind, INTERNAL);
});

Deno.test("a trace tells what failed, and how", async () => {
  const { spans } = await traced(`${SETTING}
    await using worker = new Worker({ broker: endpoint, service: "echo" });
    worker.serve(() => {
      throw new ServiceError(418, "No coffee here");
    });
    await client.request("echo").catch(() => {});
    await client.request("nobody", "", { deadline: 200 }).catch(() => {});
    const controller = new AbortController(), { signal } = controller;
    const left = client.request("left", "", { signal, retries: 1 }).catch((reason) => reason);
    const reason = Object.create(null);
    controller.abort(reason);
    if (await left !== reason) throw new Error("It went on");
  `);
  const failed = (name: string) => {
    const span = the(spans, name);
    return [span.status.code, attributes(span)["error.type"]];
  };
  assert.deepEqual(failed("request echo"), [ERROR, "418"]);
  assert.deepEqual(failed("route echo"), [ERROR, "418"]);
  assert.deepEqual(failed("handle echo"), [ERROR, "418"]);
  assert.equal(the(spans, "handle echo").status.message, "No coffee here");
  assert.deepEqual(failed("request nobody"), [ERROR, "TimeoutError"]);
  assert.deepEqual(failed("request left"), [ERROR, "object"]);
  assert.equal(failed("route nobody")[0], ERROR);
  assert.equal(failed("queue nobody")[0], ERROR);
});

Deno.test("peers of RFC 18 get no headers from who traces, and are in its trace as far as it sees", async () => {
  const { spans, stdout } = await traced(`${SETTING}
    await using worker = new Worker({ broker: endpoint, service: "echo", dialect: "rfc" });
    worker.serve((request) => JSON.stringify([request.frames.length, request.headers]));
    console.log((await client.request("echo")).text());
    await using old = new Client({ broker: endpoint, dialect: "majortomo" });
    console.log((await old.request("echo")).text());
  `);
  assert.deepEqual(stdout.split("\n"), ["[1,{}]", "[1,{}]"]);
  const requests = spans.filter(({ name }) => name === "request echo");
  const routes = spans.filter(({ name }) => name === "route echo");
  assert.equal(requests.length, 2);
  // That of the old client begins with the broker.
  const parents = routes.map(({ parentSpanId }) =>
    requests.findIndex(({ spanId }) => spanId === parentSpanId)
  );
  assert.deepEqual(parents.map((at) => at < 0).sort(), [false, true]);
});

Deno.test("peers of RFC 18 get the very frames that RFC 18 has, whoever traces", async () => {
  const { spans, stdout } = await traced(`${SETTING}
    import { RawSocket } from "${new URL("tests/raw.ts", ROOT)}";
    const shown = (frames) => frames.map((frame) => frame.toHex()).join(" ");
    await using oldWorker = RawSocket.dealer(endpoint);
    oldWorker.send("MDPW02", [1], "old");
    const reply = client.request("old", "hello", { headers: { mine: "too" } });
    const request = await oldWorker.receiveButHeartbeats();
    console.log(shown(request.toSpliced(2, 1)));
    oldWorker.send("MDPW02", [4], request[2], "", "world");
    await reply;
    await using worker = new Worker({ broker: endpoint, service: "new" });
    worker.serve(async (request) => {
      await request.partial("part", { headers: { mine: "too" } });
      await request.final("end", { headers: { mine: "too" } });
    });
    await using oldClient = RawSocket.dealer(endpoint);
    oldClient.send("MDPC02", [1], "new", "hello");
    console.log(shown(await oldClient.receive()));
    console.log(shown(await oldClient.receive()));
  `);
  const hex = (...frames: (string | number)[]) =>
    frames.map((frame) =>
      typeof frame === "number" ? `0${frame}` : new TextEncoder().encode(frame).toHex()
    ).join(" ");
  assert.deepEqual(stdout.split("\n"), [
    hex("MDPW02", 2, "", "hello"),
    hex("MDPC02", 2, "new", "part"),
    hex("MDPC02", 3, "new", "end"),
  ]);
  // They were traced all the same.
  assert.equal(the(spans, "route old").status.code, 0);
  assert.equal(the(spans, "route new").status.code, 0);
});

Deno.test("the programs trace what they do, and no more: one trace over three processes", async () => {
  await using receiver = new Receiver();
  const { env } = receiver;
  const permissions = ["--allow-run=sh"];
  await using broker = start("cli/broker.ts", ["-b", "tcp://127.0.0.1:*"], [], { env });
  const [, endpoint] = await broker.stderr(/Listening on (tcp:\S+)/);
  const at = ["-b", endpoint!];
  const serve = ["serve", "up", "--command", "tr a-z A-Z", ...at];
  await using worker = start("cli/mdp.ts", serve, permissions, { env });
  await worker.stderr(/^Serving /);
  const call = await runProgram("cli/mdp.ts", ["call", "up", "hello", ...at], [], { env });
  assert.deepEqual(call, { code: 0, stdout: ["HELLO"], stderr: [] });
  for (const program of [worker, broker]) {
    program.kill("SIGTERM");
    assert.equal((await program.ended()).code, 0);
  }
  const { spans } = receiver;
  assert.deepEqual([...new Set(spans.map(({ name }) => name.split(" ")[1]))], ["up"]);
  const [[request, [route, ...within]], ...others] = tree(spans) as [[string, [string]]];
  assert.deepEqual([request, route, others], ["request up", "route up", []]);
  assert.deepEqual(within.at(-1), ["dispatch up", "handle up"]);
  assert.equal(new Set(spans.map(({ traceId }) => traceId)).size, 1);
});

Deno.test("nothing is traced, and no header is sent, when nobody takes spans", async () => {
  const { code, stdout, stderr } = await run(`${SETTING}
    await using worker = new Worker({ broker: endpoint, service: "echo" });
    worker.serve((request) => JSON.stringify(request.headers));
    console.log((await client.request("echo")).text());
  `);
  assert.deepEqual([code, stdout.trim(), stderr], [0, "{}", ""]);
});

Deno.test("headers that a caller gives come before those of the trace", async () => {
  const traceparent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
  const { spans } = await traced(`${SETTING}
    await using worker = new Worker({ broker: endpoint, service: "echo" });
    worker.serve(() => "done");
    await client.request("echo", "", { headers: { traceparent: "${traceparent}" } });
  `);
  assert.equal(the(spans, "route echo").parentSpanId, "b7ad6b7169203331");
  assert.equal(the(spans, "handle echo").traceId, "0af7651916cd43dd8448eb211c80319c");
});

Deno.test("a call over HTTP is part of the caller's trace, whoever serves HTTP", async () => {
  const { spans, stdout } = await traced(
    `${SETTING}
    import { BrokerHttp } from "${new URL("http/server.ts", ROOT)}";
    await using http = new BrokerHttp(broker, { gateway: true });
    await using worker = new Worker({ broker: endpoint, service: "echo" });
    worker.serve((request) => JSON.stringify(request.headers));
    const headers = {
      traceparent: "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
      tracestate: "mine=too",
    };
    while (broker.stats().workers.waiting === 0) await new Promise((resolve) => setImmediate(resolve));
    const init = { method: "POST", headers, body: new Uint8Array(1) };
    const response = await http.handle(new Request("http://localhost/services/echo", init));
    console.log(await response.text());

    // By a connection that is not traced itself.
    const { hostname, port } = new URL(http.listen());
    await using connection = await Deno.connect({ hostname, port: Number(port) });
    await connection.write(new TextEncoder().encode(
      "POST /services/echo HTTP/1.1\\r\\nHost: localhost\\r\\nContent-Length: 0\\r\\n" +
        "Connection: close\\r\\n" +
        Object.entries(headers).map((entry) => entry.join(": ") + "\\r\\n").join("") + "\\r\\n",
    ));
    const answer = await new Response(connection.readable).text();
    console.log(answer.slice(answer.indexOf("{")).trim());
  `,
    ["--allow-ffi", "--allow-net=127.0.0.1"],
  );
  const told = stdout.split("\n").map((line) => JSON.parse(line));
  const dispatches = spans.filter(({ name }) => name === "dispatch echo");
  assert.deepEqual(
    told.map(({ traceparent, tracestate }) => [traceparent.split("-").slice(1, 3), tracestate]),
    dispatches.map(({ traceId, spanId }) => [[traceId, spanId], "mine=too"]),
  );
  for (const { traceId } of spans) assert.equal(traceId, "0af7651916cd43dd8448eb211c80319c");
  const requests = spans.filter(({ name }) => name === "request echo");
  const routes = spans.filter(({ name }) => name === "route echo");
  assert.deepEqual(
    routes.map(({ parentSpanId }) => parentSpanId),
    requests.map(({ spanId }) => spanId),
  );
  const [direct, served] = requests.map(({ parentSpanId }) => parentSpanId);
  assert.equal(direct, "b7ad6b7169203331");
  // That of Deno's server is between.
  assert.notEqual(served, "b7ad6b7169203331");
});

Deno.test("a request that leaves no room for the headers of its trace goes without", async () => {
  const { spans, stdout } = await traced(`
    import { Broker, Client, Worker } from "${new URL("mod.ts", ROOT)}";
    const maxMessageSize = 1_000;
    await using broker = new Broker({ bind: "tcp://127.0.0.1:*", maxMessageSize });
    const [endpoint] = broker.bind();
    broker.run();
    await using client = new Client({ broker: endpoint, timeout: 20_000, maxMessageSize });
    await using worker = new Worker({ broker: endpoint, service: "echo" });
    worker.serve((request) => JSON.stringify([request.bytes().length, request.headers.mine]));
    const ask = async (size, options) => {
      console.log((await client.request("echo", new Uint8Array(size), options)).text());
    };
    await ask(900);
    await ask(1_000);
    await ask(980, { headers: { mine: "too" } });
  `);
  assert.deepEqual(stdout.split("\n"), ["[900,null]", "[1000,null]", '[980,"too"]']);
  const requests = spans.filter(({ name }) => name === "request echo");
  assert.deepEqual(requests.map(({ status }) => status.code), [0, 0, 0]);
  const routes = spans.filter(({ name }) => name === "route echo");
  assert.deepEqual(
    routes.map(({ parentSpanId }) => parentSpanId),
    [requests[0]!.spanId, "", ""],
  );
});

Deno.test("`timestamp` goes by the clock as it is set now", () => {
  const { now } = Date;
  try {
    for (const step of [0, 3_600_000, -3_600_000]) {
      Date.now = () => now() + step;
      const off = timestamp(performance.now()) - Date.now();
      assert.ok(Math.abs(off) < 1_000, `off by ${off} ms after a step to ${step}`);
    }
  } finally {
    Date.now = now;
  }
});
