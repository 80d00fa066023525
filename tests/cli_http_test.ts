import assert from "node:assert/strict";
import { run, start, startBroker } from "./cli.ts";
import { eventually } from "./http_stage.ts";

const BROKER = "cli/broker.ts";
const HINT = " (try majortomo-broker --help)";

/** A broker that serves HTTP, and where. */
async function startHttp(args: string[], permission = "--allow-net") {
  const { broker, endpoint } = await startBroker(args, [permission]);
  const [, url] = await broker.stderr(/^Listening on (http:.*)$/);
  return { broker, endpoint, url: url! };
}

Deno.test("`broker` serves HTTP on loopback when --http is a port, and ends in order", async () => {
  for (const address of ["0", ":0", "*", "127.0.0.1:0", "localhost:*"]) {
    const { broker, url } = await startHttp(["--http", address]);
    await using _ = broker;
    assert.match(url, /^http:\/\/(127\.0\.0\.1|localhost):[1-9]\d*\/$/);
    const response = await fetch(`${url}readyz`);
    assert.deepEqual(await response.json(), { status: "ready" });
    broker.kill("SIGTERM");
    const { code, stderr } = await broker.ended();
    assert.deepEqual([code, stderr.length], [0, 2]);
  }
});

Deno.test("`broker` needs --allow-net for that address alone, and says so", async () => {
  const { broker, url } = await startHttp(["--http", "0"], "--allow-net=127.0.0.1:0");
  await using _ = broker;
  await (await fetch(url)).body?.cancel();
  assert.deepEqual(await run(BROKER, ["-b", "tcp://127.0.0.1:*", "--http", "9090"]), {
    code: 1,
    stdout: [],
    stderr: [
      'majortomo-broker: Listening on "http://127.0.0.1:9090" needs the permission --allow-net: ' +
      "run deno with --allow-net=127.0.0.1:9090",
    ],
  });
});

Deno.test("`broker` exits with 1 and says why in a line when the port of --http is taken", async () => {
  const { broker, url } = await startHttp(["--http", "0"]);
  await using _ = broker;
  const { host } = new URL(url);
  const ended = await run(BROKER, ["-b", "tcp://127.0.0.1:*", "--http", host], ["--allow-net"]);
  assert.deepEqual([ended.code, ended.stderr.length], [1, 1]);
  assert.match(ended.stderr[0]!, /^majortomo-broker: Cannot listen on "http:.*": Address already/);
});

Deno.test("`broker` has a gateway with --gateway alone, for the origins that it is told", async () => {
  const origin = "https://example.org";
  for (const args of [[], ["--gateway"], ["--gateway", "--gateway-origin", origin]]) {
    const { broker, url } = await startHttp(["--http", "0", ...args]);
    await using _ = broker;
    const ask = async (headers: Record<string, string> = {}) => {
      const init = { method: "POST", body: "none", headers };
      const response = await fetch(`${url}services/mmi.service`, init);
      return [response.status, await response.text()];
    };
    const [status, text] = await ask();
    if (args.length === 0) assert.equal(status, 404);
    else assert.deepEqual([status, text], [200, "404"]);
    if (args.length > 0) assert.equal((await ask({ origin }))[0], args.length > 1 ? 200 : 403);
    broker.kill("SIGTERM");
    // Nothing but where it listens is said, whatever was asked.
    assert.deepEqual((await broker.ended()).stderr.slice(2), []);
  }
});

Deno.test("`broker` takes http and gateway from its configuration file", async () => {
  const path = await Deno.makeTempFile({ suffix: ".yaml" });
  try {
    await Deno.writeTextFile(path, "http: 127.0.0.1:0\ngateway: true\ngateway-origin: '*'\n");
    const broker = start(BROKER, ["-b", "tcp://127.0.0.1:*", "-c", path], [
      "--allow-read",
      "--allow-net",
    ]);
    await using _ = broker;
    const [, url] = await broker.stderr(/^Listening on (http:.*)$/);
    const response = await fetch(`${url}services/mmi.ping`, {
      method: "POST",
      headers: { origin: "https://example.com" },
    });
    assert.equal(response.headers.get("access-control-allow-origin"), "*");
    assert.equal((await response.json()).draining, false);
  } finally {
    await Deno.remove(path);
  }
});

Deno.test("`broker` says 503 at /readyz while it drains, and ends whoever looks on", async () => {
  const { broker, endpoint, url } = await startHttp(["--http", "0", "--gateway", "--drain", "1h"]);
  await using _ = broker;
  const worker = start("cli/echo.ts", ["worker", "-b", endpoint]);
  await using __ = worker;
  await worker.stderr(/^Serving/);
  const looking = await fetch(`${url}events`);
  const all = looking.text();
  assert.equal((await fetch(`${url}readyz`)).status, 200);
  broker.kill("SIGTERM");
  assert.equal((await broker.ended()).code, 0);
  assert.match(await all, /^event: hello/);
});

Deno.test("`broker` ends in order when it is stopped with calls over HTTP under way", async () => {
  const { broker, endpoint, url } = await startHttp(["--http", "0", "--gateway"]);
  await using _ = broker;
  const worker = start("cli/echo.ts", ["worker", "-b", endpoint, "-d", "1h"]);
  await using __ = worker;
  const stats = async () => (await (await fetch(`${url}status.json`)).json()).stats;
  // It says that it serves before the broker knows.
  await eventually(async () => (await stats()).workers.registered > 0, "the worker is known");
  const answer = fetch(`${url}services/mdp-echo`, { method: "POST", body: "x" });
  await eventually(async () => (await stats()).inFlight > 0, "the call is under way");
  broker.kill("SIGTERM");
  const { status } = await answer;
  assert.equal(status, 503);
  const { code, stderr } = await broker.ended();
  assert.deepEqual([code, stderr.filter((line) => /rror|ncaught/.test(line))], [0, []]);
});

/** Arguments that are wrong, and what is said of them. */
const WRONG: readonly [args: string[], line: string][] = [
  ...["http://127.0.0.1:9090", "127.0.0.1", "65536", "9090/", "a b:1", ""].map((
    address,
  ): [string[], string] => [
    [`--http=${address}`],
    `\`--http\`: Expected HOST:PORT such as 127.0.0.1:9090, or a port of loopback such as 9090, \
but got "${address}"`,
  ]),
  [["--gateway"], "--gateway needs --http: use for example --http 9090"],
  [
    ["--http", "0", "--gateway-origin", "*"],
    "--gateway-origin needs --gateway",
  ],
  [
    ["--http", "0", "--gateway", "--gateway-origin", "example.org"],
    '`--gateway-origin`: Expected an origin such as https://example.org, or * for any, but got \
"example.org"',
  ],
];

Deno.test("`broker` exits with 2 and says in a line what would be right of --http", async (t) => {
  for (const [args, line] of WRONG) {
    await t.step(args.join(" "), async () => {
      assert.deepEqual(await run(BROKER, args), {
        code: 2,
        stdout: [],
        stderr: [`majortomo-broker: ${line}${HINT}`],
      });
    });
  }
});
