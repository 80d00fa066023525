import assert from "node:assert/strict";
import manifest from "../deno.json" with { type: "json" };
import { Broker } from "../broker.ts";
import { Client } from "../client.ts";
import { MdpError, ServiceError, StateError } from "../errors.ts";
import { BrokerHttp } from "../http/server.ts";
import { eventually, HttpStage } from "./http_stage.ts";
import { isInstalled } from "./program.ts";
import { IPV6, RawSocket } from "./raw.ts";

Deno.test("`GET /metrics` tells requests by service and outcome, and workers by state", async () => {
  await using stage = new HttpStage();
  await stage.worker("echo", (request) => request.frames, { concurrency: 4 });
  await stage.worker("fail", () => {
    throw new ServiceError(422, "No");
  });
  await using client = new Client(stage.endpoint);
  for (let i = 0; i < 3; i++) await client.request("echo", "hello");
  await assert.rejects(client.request("fail"), ServiceError);
  await assert.rejects(client.request("nobody", "", { noWait: true }), ServiceError);
  const metrics = await stage.metrics();
  const expected = {
    'majortomo_requests_total{service="echo",outcome="answered"}': 3,
    'majortomo_requests_total{service="echo",outcome="error"}': 0,
    'majortomo_requests_total{service="fail",outcome="answered"}': 0,
    'majortomo_requests_total{service="fail",outcome="error"}': 1,
    'majortomo_requests_total{service="other",outcome="refused"}': 1,
    'majortomo_requests_accepted_total{service="echo"}': 3,
    'majortomo_requests_refused_total{reason="no_worker"}': 1,
    'majortomo_workers{service="echo",state="waiting"}': 1,
    'majortomo_workers{service="echo",state="busy"}': 0,
    'majortomo_worker_credit{service="echo"}': 4,
    'majortomo_requests_in_flight{service="echo"}': 0,
    'majortomo_dispatch_wait_seconds_count{service="echo"}': 3,
    'majortomo_service_time_seconds_count{service="echo"}': 3,
    'majortomo_service_time_seconds_bucket{service="echo",le="+Inf"}': 3,
    majortomo_workers_joined_total: 2,
    majortomo_services: 2,
    majortomo_ready: 1,
    majortomo_draining: 0,
  };
  for (const [name, value] of Object.entries(expected)) {
    assert.equal(metrics.get(name), value, name);
  }
  for (
    const name of [
      "majortomo_uptime_seconds",
      "majortomo_messages_received_total",
      "majortomo_sent_bytes_total",
      "process_resident_memory_bytes",
      "process_start_time_seconds",
      "majortomo_heap_used_bytes",
    ]
  ) assert.ok(metrics.get(name)! > 0, name);
  const build = [...metrics].filter(([name]) => name.startsWith("majortomo_build_info{"));
  assert.equal(build.length, 1);
  assert.match(build[0]![0], new RegExp(`version="${manifest.version}"`));
  await eventually(
    async () => (await stage.metrics()).get("majortomo_event_loop_lag_seconds_count")! > 0,
    "the event loop is looked at",
  );
});

Deno.test("`GET /metrics` tells what waits, and what is malformed by kind", async () => {
  await using stage = new HttpStage();
  await using peer = RawSocket.dealer(stage.endpoint);
  peer.send("MDPC02", [1], "nobody", "12345");
  peer.send("MDPC99", [1], "nobody", "hello");
  await eventually(() => stage.broker.stats().invalid.header === 1, "both have come");
  const metrics = await stage.metrics();
  assert.equal(metrics.get('majortomo_requests_queued{service="nobody"}'), 1);
  assert.equal(metrics.get('majortomo_requests_queued_bytes{service="nobody"}'), 5);
  assert.equal(metrics.get('majortomo_messages_malformed_total{kind="header"}'), 1);
  assert.equal(metrics.get('majortomo_commands_received_total{command="request"}'), 1);
});

Deno.test("`GET /metrics` is written once for all who ask at once", async () => {
  await using stage = new HttpStage();
  const { broker } = stage;
  let looks = 0;
  const stats = broker.stats.bind(broker);
  broker.stats = () => {
    looks++;
    return stats();
  };
  const ask = async () => (await stage.http.handle(new Request(`${stage.url}metrics`))).text();
  const [first, ...others] = await Promise.all(Array.from({ length: 20 }, ask));
  // The page's feed may have looked, too.
  assert.ok(looks <= 3, `looked ${looks} times`);
  for (const other of others) assert.equal(other, first);
  const before = looks;
  await ask();
  assert.ok(looks > before, "it is written anew for who asks later");
});

/** Debian's program that judges metrics, if it is installed. */
const promtool = isInstalled("promtool");

Deno.test({
  name: "`GET /metrics` is what promtool takes, whatever services are called",
  ignore: !promtool,
  async fn() {
    await using stage = new HttpStage({ gateway: true });
    for (const name of ['a"b\\c\nd', "ü", "other", new Uint8Array([0xff, 0x5c]), "x".repeat(300)]) {
      await stage.worker(name, (request) => request.frames);
    }
    await fetch(`${stage.url}services/other`, { method: "POST", body: "x" })
      .then((response) => response.text());
    const { text, headers } = await stage.get("metrics");
    assert.equal(headers.get("content-type"), "text/plain; version=0.0.4; charset=utf-8");
    const child = new Deno.Command("promtool", {
      args: ["check", "metrics"],
      stdin: "piped",
      stdout: "piped",
      stderr: "piped",
    }).spawn();
    const writer = child.stdin.getWriter();
    await writer.write(new TextEncoder().encode(text));
    await writer.close();
    const { code, stdout, stderr } = await child.output();
    const said = new TextDecoder().decode(stdout) + new TextDecoder().decode(stderr);
    assert.deepEqual([code, said], [0, ""]);
  },
});

Deno.test("`GET /status.json` tells the same, and of each worker", async () => {
  await using stage = new HttpStage();
  await stage.worker("echo", (request) => request.frames);
  const { status, text, headers } = await stage.get("status.json");
  assert.equal(status, 200);
  assert.match(headers.get("content-type")!, /^application\/json/);
  const { state, endpoints, build, stats, services, workers } = JSON.parse(text);
  assert.deepEqual([state, endpoints], ["running", [stage.endpoint]]);
  assert.equal(build.version, manifest.version);
  assert.equal(stats.workers.registered, 1);
  assert.deepEqual(services.map(({ name }: { name: string }) => name), ["echo"]);
  assert.equal(workers[0].service, "echo");
});

Deno.test("`GET /healthz` and `GET /readyz` say 200 of a broker that serves", async () => {
  await using stage = new HttpStage();
  const live = await stage.get("healthz"), ready = await stage.get("readyz");
  assert.deepEqual([live.status, JSON.parse(live.text).status], [200, "ok"]);
  assert.deepEqual([ready.status, JSON.parse(ready.text)], [200, { status: "ready" }]);
});

Deno.test("`GET /readyz` says 503 before the broker is bound, while it drains and after", async () => {
  const broker = new Broker({ bind: "tcp://127.0.0.1:*", drain: 60_000 });
  await using http = new BrokerHttp(broker);
  const url = http.listen();
  const states = async () =>
    await Promise.all(["readyz", "healthz"].map(async (path) => {
      const response = await fetch(url + path);
      return [response.status, (await response.json()).status];
    }));
  assert.deepEqual(await states(), [[503, "not bound"], [200, "not bound"]]);

  const [endpoint] = broker.bind();
  assert.deepEqual(await states(), [[200, "ready"], [200, "ok"]]);
  await using client = RawSocket.dealer(endpoint!);
  await using worker = RawSocket.dealer(endpoint!);
  worker.send("MDPW02", [1], "echo");
  client.send("MDPC02", [1], "echo", "hello");
  const request = await worker.receiveButHeartbeats();
  const closed = broker.close();
  assert.deepEqual(await states(), [[503, "draining"], [200, "ok"]]);

  worker.send("MDPW02", [4], request[2]!, "", "world");
  await closed;
  assert.deepEqual(await states(), [[503, "not bound"], [200, "not bound"]]);
});

Deno.test("`GET /healthz` says 503 when the broker does not answer a request in a second", async () => {
  await using silent = RawSocket.router();
  await using stage = new HttpStage({ client: { broker: silent.endpoint } });
  const { status, text } = await stage.get("healthz");
  assert.equal(status, 503);
  const { status: said, reason } = JSON.parse(text);
  assert.equal(said, "stuck");
  assert.match(reason, /mmi\.service/);
});

Deno.test("`GET /healthz` answers all who ask at once", async () => {
  await using stage = new HttpStage();
  const all = await Promise.all(Array.from({ length: 20 }, () => stage.get("healthz")));
  for (const { status, text } of all) {
    assert.deepEqual([status, JSON.parse(text).status], [200, "ok"]);
  }
});

Deno.test("`GET /healthz` has no answer while the loop is stuck, and 200 when it turns again", async () => {
  const program = `
    import { Broker, } from "./broker.ts";
    import { BrokerHttp } from "./http/server.ts";
    const broker = new Broker({ bind: "tcp://127.0.0.1:*" });
    broker.bind();
    const http = new BrokerHttp(broker);
    console.log(http.listen());
    for await (const _ of Deno.stdin.readable) {
      const end = performance.now() + 2_000;
      while (performance.now() < end);
    }
    await http.close();
    await broker.close();
  `;
  const child = new Deno.Command(Deno.execPath(), {
    args: ["eval", "--quiet", program],
    cwd: new URL("../", import.meta.url),
    stdin: "piped",
    stdout: "piped",
  }).spawn();
  const stdin = child.stdin.getWriter();
  const lines = child.stdout.pipeThrough(new TextDecoderStream()).getReader();
  const url = (await lines.read()).value!.trim();
  const live = async (patience: number) => {
    const response = await fetch(`${url}healthz`, { signal: AbortSignal.timeout(patience) });
    await response.body?.cancel();
    return response.status;
  };
  assert.equal(await live(15_000), 200);
  await stdin.write(new Uint8Array(1));
  await assert.rejects(async () => {
    // The first may come before the program has read.
    for (;;) await live(500);
  }, { name: "TimeoutError" });
  assert.equal(await live(15_000), 200);
  await stdin.close();
  assert.equal((await child.status).code, 0);
  await lines.cancel();
});

Deno.test("`GET /events` greets with what has been, then tells of the broker each second", async () => {
  await using stage = new HttpStage();
  await stage.worker("echo", (request) => request.frames);
  const response = await fetch(`${stage.url}events`);
  assert.equal(response.headers.get("content-type"), "text/event-stream");
  const events: [type: string, data: Record<string, unknown>][] = [];
  let text = "";
  for await (const chunk of response.body!.pipeThrough(new TextDecoderStream())) {
    text += chunk;
    const whole = text.split("\n\n");
    text = whole.pop()!;
    for (const event of whole) {
      const [, type, data] = /^event: (\w+)\ndata: (.*)$/.exec(event)!;
      events.push([type!, JSON.parse(data!)]);
    }
    if (events.length >= 3) break;
  }
  assert.deepEqual(events.map(([type]) => type), ["hello", "update", "update"]);
  const [[, hello], [, update]] = events as [typeof events[0], typeof events[0]];
  assert.partialDeepStrictEqual(hello, { version: manifest.version, state: "running" });
  assert.deepEqual(
    (hello.events as { type: string; service: string }[]).map((
      { type, service },
    ) => [type, service]),
    [["worker joined", "echo"]],
  );
  assert.partialDeepStrictEqual(update, {
    services: [{ name: "echo", workers: 1, queued: 0 }],
    workers: [{ service: "echo", dialect: "multiplexed" }],
    sample: { workers: 1 },
  });
});

Deno.test("`BrokerHttp` shows the beginning of a name that is long", async () => {
  await using stage = new HttpStage();
  const name = (i: number) => `${i}`.padStart(6, "0") + "\x01".repeat(64_000);
  await stage.worker(name(0), (request) => request.frames);
  await using peer = RawSocket.dealer(stage.endpoint);
  for (let i = 1; i <= 250; i++) peer.send("MDPC02", [1], name(i), "hello");
  await eventually(() => stage.broker.stats().queued === 250, "all are queued");
  stage.broker.reconfigure({ requestExpiry: 1 });
  await eventually(() => stage.broker.stats().expired === 250, "all have expired");

  const response = await fetch(`${stage.url}events`);
  let text = "";
  for await (const chunk of response.body!.pipeThrough(new TextDecoderStream())) {
    text += chunk;
    assert.ok(text.length < 1e6, "hello is less than 1 MB, and an update so much less");
    if (text.split("\n\n").length > 2) break;
  }
  const [hello, update] = text.split("\n\n") as [string, string];
  const { events } = JSON.parse(hello.split("\ndata: ")[1]!);
  const shown = new Set(events.map(({ service }: { service: string }) => service));
  assert.equal(shown.size, 200);
  const short = /^000000x{194}…[\da-f]{8}$/;
  for (const told of [update.split("\ndata: ")[1]!, (await stage.get("status.json")).text]) {
    const { services, workers } = JSON.parse(told);
    assert.equal(services.length, 1);
    assert.match(services[0].name.replaceAll("\x01", "x"), short);
    assert.equal(workers[0].service, services[0].name);
  }
});

Deno.test("`GET /` is a page that needs nothing else, and may fetch nothing else", async () => {
  await using stage = new HttpStage();
  const { status, text, headers } = await stage.get("");
  assert.equal(status, 200);
  assert.match(headers.get("content-type")!, /^text\/html/);
  const policy = headers.get("content-security-policy")!;
  assert.match(policy, /^default-src 'none'; script-src 'sha256-[^']+' 'sha256-[^']+';/);
  assert.match(policy, /connect-src 'self'/);
  assert.doesNotMatch(text, /<script[^>]* src=|<link[^>]* href="(?!data:)|@import|url\(/);
  assert.match(text, /uPlot/);
});

Deno.test("`BrokerHttp` answers 400 to a request whose Host is none", async () => {
  await using stage = new HttpStage();
  const { hostname, port } = new URL(stage.url);
  using connection = await Deno.connect({ hostname, port: Number(port) });
  const request = "GET /readyz HTTP/1.1\r\nHost: x:99999\r\nConnection: close\r\n\r\n";
  await connection.write(new TextEncoder().encode(request));
  const answer = await new Response(connection.readable).text();
  assert.match(answer, /^HTTP\/1\.1 400 /);
  assert.match(answer, /"The request is for no URL: /);
});

Deno.test("`BrokerHttp` answers 404 and 405 with what there is instead", async () => {
  await using stage = new HttpStage();
  const missing = await stage.get("metric");
  assert.equal(missing.status, 404);
  assert.match(JSON.parse(missing.text).error.message, /^There is no \/metric here, only \/, /);
  const post = await fetch(`${stage.url}metrics`, { method: "POST", body: "" });
  assert.deepEqual([post.status, post.headers.get("allow")], [405, "GET, HEAD"]);
  await post.body?.cancel();
  // Else it is compressed, and nobody knows how long it becomes.
  const headers = { "accept-encoding": "identity" };
  for (const path of ["", "metrics", "healthz", "readyz", "status.json", "events"]) {
    const head = await fetch(stage.url + path, { method: "HEAD", headers });
    assert.deepEqual([head.status, await head.text()], [200, ""], path);
    // As long as what GET has, which for a stream nobody can tell.
    const length = head.headers.get("content-length");
    if (path === "events") assert.equal(length, null, path);
    else assert.ok(Number(length) > 0, `${path}: ${length}`);
  }
  const [head, get] = await Promise.all(["HEAD", "GET"].map(async (method) => {
    const response = await fetch(`${stage.url}readyz`, { method, headers });
    await response.body?.cancel();
    return [...response.headers].filter(([name]) => name !== "date");
  }));
  assert.deepEqual(head, get);
  const off = await fetch(`${stage.url}services/echo`, { method: "POST", body: "" });
  assert.equal(off.status, 404);
  assert.match((await off.json()).error.message, /--gateway/);
});

Deno.test("`BrokerHttp` ends at once when it is closed, whoever looks on", async () => {
  const broker = new Broker({ bind: "tcp://127.0.0.1:*" });
  await using _ = broker;
  broker.bind();
  const http = new BrokerHttp(broker);
  const url = http.listen();
  const response = await fetch(`${url}events`);
  const reading = response.text();
  const begin = performance.now();
  await http.close();
  assert.ok(performance.now() - begin < 5_000);
  assert.match(await reading, /^event: hello/);
  await assert.rejects(fetch(url), TypeError);
  assert.throws(() => http.listen(), StateError);
});

Deno.test({
  name: "`listen` takes an address of IPv6 with brackets and without",
  ignore: !IPV6,
  async fn() {
    await using broker = new Broker();
    for (const hostname of ["::1", "[::1]"]) {
      await using http = new BrokerHttp(broker, { hostname });
      const url = http.listen();
      assert.match(url, /^http:\/\/\[::1\]:\d+\/$/);
      const response = await fetch(`${url}healthz`);
      assert.deepEqual(await response.json(), { status: "not bound" });
    }
  },
});

Deno.test("`listen` says where it cannot", async () => {
  await using stage = new HttpStage();
  const { port } = new URL(stage.url);
  await using other = new BrokerHttp(stage.broker, { port: Number(port) });
  assert.throws(() => other.listen(), (error) => {
    assert.ok(error instanceof MdpError);
    assert.match(error.message, new RegExp(`^Cannot listen on "http://127.0.0.1:${port}": Addr`));
    return true;
  });
  assert.throws(() => stage.http.listen(), StateError);
});

Deno.test("`BrokerHttp` refuses wrong options", () => {
  const broker = new Broker();
  const wrong: [options: unknown, error: string, message: RegExp][] = [
    [{ port: 65_536 }, "RangeError", /^port must be .*, got 65536$/],
    [{ port: "80" }, "TypeError", /^port must be a number, got 80$/],
    [{ hostname: 1 }, "TypeError", /^hostname must be a string, got 1$/],
    [{ gateway: { timeout: 0 } }, "RangeError", /^timeout must be .*, got 0$/],
    [{ gateway: { maxContentSize: "1" } }, "TypeError", /^maxContentSize must be a number/],
    [{ gateway: { origins: ["example.org"] } }, "TypeError", /^An origin is .*"example.org"$/],
    [{ hostname: "" }, "TypeError", /^hostname must not be empty$/],
    [{ hostname: "[]" }, "TypeError", /^hostname must not be empty$/],
    [{ gateway: 1 }, "TypeError", /^gateway must be/],
    [{ gateway: null }, "TypeError", /^gateway must be true, false or options, got null$/],
    [{ gateway: [] }, "TypeError", /^The gateway's options are an object, got \[\]$/],
    [{ gateway: new Map() }, "TypeError", /^The gateway's options are an object, got Map/],
    [{ gateway: { origins: "https://a.b" } }, "TypeError", /^origins must be a list, got "https/],
    [{ client: "tcp://127.0.0.1:1" }, "TypeError", /^client must be options, got "tcp:/],
    [{ client: { timeout: "x" } }, "TypeError", /^timeout is a number of milliseconds, got "x"$/],
  ];
  for (const [options, name, message] of wrong) {
    assert.throws(() => new BrokerHttp(broker, options as never), { name, message });
  }
  for (const options of [5, "x", [], new Map(), null]) {
    assert.throws(() => new BrokerHttp(broker, options as never), {
      name: "TypeError",
      message: /^The options of the HTTP side are an object, got /,
    });
  }
  for (const none of [undefined, null, {}, "tcp://127.0.0.1:5555"]) {
    assert.throws(() => new BrokerHttp(none as never), {
      name: "TypeError",
      message: /^broker must be a Broker, got /,
    });
  }
});
