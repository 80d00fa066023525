import assert from "node:assert/strict";
import manifest from "../deno.json" with { type: "json" };
import type { PingAnswer, ServicesAnswer, WorkersAnswer } from "../broker.ts";
import { showAge, showBytes, showCount, showRate, showTime } from "../cli/units.ts";
import { Client } from "../client.ts";
import { mdp, MdpStage, startMdp } from "./mdp.ts";
import { RawSocket } from "./raw.ts";

/** The cells of a table's lines, which are two blanks apart. */
function cells(lines: string[]): string[][] {
  return lines.map((line) => line.trim().split(/ {2,}/));
}

Deno.test("`mdp services` prints a table of what the broker knows, or JSON", async () => {
  await using stage = await MdpStage.start();
  assert.deepEqual((await stage.run(["services"])).stdout, ["No services"]);
  await stage.serve("upper", "--command", "tr a-z A-Z");
  await stage.serve("echo", "--echo", "--concurrency", "8");
  await stage.run(["call", "echo", "x", "--count", "3"]);
  await using client = new Client(stage.endpoint);
  const waiting = client.request("nobody", "12345").catch(() => {});
  // On the same connection: when it is answered the one before is in its queue.
  await client.request("mmi.ping");
  const { code, stdout } = await stage.run(["services"]);
  assert.equal(code, 0);
  const [titles, ...rows] = cells(stdout);
  assert.deepEqual(titles!.slice(0, 10), [
    "SERVICE",
    "WORKERS",
    "WITH ROOM",
    "IN FLIGHT",
    "QUEUED",
    "BYTES",
    "ANSWERED",
    "ERRORS",
    "LOST",
    "REFUSED",
  ]);
  assert.deepEqual(rows.map((row) => row.slice(0, 10)), [
    ["echo", "1", "1", "0", "0", "0 B", "3", "0", "0", "0"],
    ["nobody", "0", "0", "0", "1", "5 B", "0", "0", "0", "0"],
    ["upper", "1", "1", "0", "0", "0 B", "0", "0", "0", "0"],
  ]);
  assert.match(rows[0]!.at(-1)!, /^[\d.]+ (µs|ms|s)$/);
  assert.equal(rows[1]!.at(-1), "-");

  const one = await stage.run(["services", "echo", "--json"]);
  const answer: ServicesAnswer = JSON.parse(one.stdout.join(""));
  assert.deepEqual([answer.total, answer.services.map(({ credit }) => credit)], [1, [8]]);
  assert.deepEqual(await stage.run(["services", "nix"]), {
    code: 1,
    stdout: [],
    stderr: ['mdp: There is no service "nix"'],
  });
  const json = await stage.run(["services", "nix", "--json"]);
  assert.deepEqual([json.code, json.stderr.length], [1, 1]);
  assert.deepEqual(JSON.parse(json.stdout.join("")), { services: [], total: 0 });
  await client.close();
  await waiting;
});

Deno.test("`mdp workers` prints a table of what the broker knows, or JSON", async () => {
  await using stage = await MdpStage.start();
  assert.deepEqual((await stage.run(["workers"])).stdout, ["No workers"]);
  await stage.serve("echo", "--echo", "--concurrency", "8");
  await stage.serve("upper", "--command", "tr a-z A-Z", "--dialect", "rfc");
  const { code, stdout } = await stage.run(["workers"]);
  assert.equal(code, 0);
  const [titles, ...rows] = cells(stdout);
  assert.deepEqual(titles, [
    "WORKER",
    "SERVICE",
    "ADDRESS",
    "DIALECT",
    "IN FLIGHT",
    "CREDIT",
    "REGISTERED",
    "HEARD",
  ]);
  assert.deepEqual(rows.map((row) => row.slice(1, 6)), [
    ["echo", "127.0.0.1", "multiplexed", "0", "8"],
    ["upper", "127.0.0.1", "rfc", "0", "1"],
  ]);
  assert.match(rows[0]![0]!, /^[0-9a-f]{10}$/);
  const one = await stage.run(["workers", "upper", "--json"]);
  const answer: WorkersAnswer = JSON.parse(one.stdout.join(""));
  assert.deepEqual(answer.workers.map(({ service }) => service), ["upper"]);
  assert.deepEqual(await stage.run(["workers", "nix"]), {
    code: 1,
    stdout: [],
    stderr: ['mdp: There is no service "nix"'],
  });
  await using client = new Client(stage.endpoint);
  const waiting = client.request("nobody", "x").catch(() => {});
  await client.request("mmi.ping");
  const json = await stage.run(["workers", "nobody", "--json"]);
  assert.deepEqual([json.code, json.stderr], [
    1,
    ['mdp: No worker serves "nobody", and requests wait for it'],
  ]);
  assert.deepEqual(JSON.parse(json.stdout.join("")), { workers: [], total: 0 });
  await client.close();
  await waiting;
});

Deno.test("`mdp stats` prints each counter of the broker on a line, or JSON", async () => {
  await using stage = await MdpStage.start();
  await stage.serve("echo", "--echo");
  await stage.run(["call", "echo", "x", "--count", "3"]);
  const { code, stdout } = await stage.run(["stats"]);
  assert.equal(code, 0);
  const figures = Object.fromEntries(cells(stdout));
  const { answered, "workers.registered": workers, queuedBytes, uptime } = figures;
  assert.deepEqual([answered, workers, queuedBytes], ["3", "1", "0 B"]);
  assert.match(uptime!, /^\d+s$/);
  const json = await stage.run(["stats", "--json"]);
  const stats = JSON.parse(json.stdout.join(""));
  assert.deepEqual([stats.answered, stats.workers.registered], [3, 1]);
});

Deno.test("`mdp ping` tells that the broker answers, and how fast", async () => {
  await using stage = await MdpStage.start();
  const { code, stdout } = await stage.run(["ping", "--count", "2", "--interval", "10ms"]);
  assert.deepEqual([code, stdout.length], [0, 2]);
  for (const line of stdout) {
    const rest = line.slice(stage.endpoint.length);
    assert.ok(line.startsWith(stage.endpoint), line);
    assert.match(rest, /^ answers in [\d.]+ (µs|ms|s): majortomo-broker \S+, up \d+s$/);
  }
  const json = await stage.run(["ping", "--json"]);
  const pong: PingAnswer & { ms: number } = JSON.parse(json.stdout.join(""));
  assert.deepEqual([pong.version, pong.endpoints, pong.draining], [
    manifest.version,
    [stage.endpoint],
    false,
  ]);
  assert.ok(pong.ms > 0 && pong.uptime > 0);
});

for (const command of ["services", "workers", "stats", "ping"]) {
  Deno.test(`\`mdp ${command}\` exits with 1 and says why in a line when the broker is silent`, async () => {
    await using broker = RawSocket.router();
    const args = [command, "-b", broker.endpoint, "--dialect", "rfc", "--timeout", "200ms"];
    const { code, stdout, stderr } = await mdp(args);
    assert.deepEqual([code, stdout, stderr.length], [1, [], 1]);
    assert.match(stderr[0]!, new RegExp(`^mdp: .*"mmi.${command}".* 200 ms`));
  });
}

Deno.test("`mdp services` and `mdp ping` say of a broker of others that it cannot tell", async () => {
  await using broker = RawSocket.router();
  const answer = async () => {
    const [id, , , service] = await broker.receive();
    broker.send(id!, "MDPC02", [3], service!, "501");
  };
  const where = ["-b", broker.endpoint, "--dialect", "rfc"];
  await using services = startMdp(["services", ...where]);
  await answer();
  assert.deepEqual(await services.ended(), {
    code: 1,
    stdout: [],
    stderr: [
      'mdp: The broker does not know "mmi.services" (it answers 501): it is not this project\'s, \
or an older one',
    ],
  });
  await using ping = startMdp(["ping", ...where]);
  await answer();
  await answer();
  const { code, stdout } = await ping.ended();
  assert.equal(code, 0);
  assert.match(stdout[0]!, /answers in .*; it does not know mmi\.ping$/);
});

Deno.test("units are those that people read", () => {
  assert.deepEqual(
    [0, 0.0004, 0.9994, 1, 12.345, 999, 1_000, 65_000, 120_000, Infinity, NaN, undefined]
      .map(showTime),
    [
      "0 ms",
      "0.40 µs",
      "999 µs",
      "1.00 ms",
      "12.3 ms",
      "999 ms",
      "1.00 s",
      "65.0 s",
      "2m 0s",
      "∞",
      "-",
      "-",
    ],
  );
  assert.deepEqual([0, 59_999, 3_600_000, 90_061_000].map(showAge), [
    "0s",
    "59s",
    "1h 0m",
    "1d 1h",
  ]);
  assert.deepEqual([0, 1_023, 1_536, 5 * 2 ** 30].map(showBytes), [
    "0 B",
    "1023 B",
    "1.5 KiB",
    "5.0 GiB",
  ]);
  assert.deepEqual([0, 0.25, 12.34, 123_456].map(showRate), ["0", "0.25", "12.3", "123,456"]);
  assert.equal(showCount(1_234_567), "1,234,567");
});
