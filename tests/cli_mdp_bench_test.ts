import assert from "node:assert/strict";
import { Latencies } from "../cli/latencies.ts";
import { run } from "./cli.ts";
import { HINT, MdpStage } from "./mdp.ts";

/** The columns of its CSV, and members of its JSON. */
const FIGURES = [
  "clients",
  "window",
  "workers",
  "size",
  "requests",
  "errors",
  "seconds",
  "requests_per_second",
  "bytes_per_second",
  "min_ms",
  "mean_ms",
  "p50_ms",
  "p90_ms",
  "p99_ms",
  "p999_ms",
  "max_ms",
];

Deno.test("`mdp bench` prints rate, latencies and their histogram", async () => {
  await using stage = await MdpStage.start();
  const { code, stdout, stderr } = await stage.run([
    "bench",
    "--requests",
    "500",
    "--size",
    "1KiB",
  ]);
  assert.deepEqual([code, stderr], [0, []]);
  assert.equal(stdout[0], "Load      clients 1, window 64, workers 1, size 1.0 KiB");
  assert.match(stdout[1]!, /^Requests {2}500 answered in [\d.]+ (ms|s), 0 failed$/);
  assert.match(stdout[2]!, /^Rate {6}[\d,.]+ requests\/s, [\d.]+ [KM]?i?B\/s in each direction$/);
  const bars = stdout.slice(6).map((line) => /^≤ +[\d.]+ \S+ +([\d,]+)( {2}█+)?$/.exec(line)!);
  const counts = bars.map(([, count]) => Number(count!.replaceAll(",", "")));
  assert.equal(counts.reduce((sum, count) => sum + count), 500);
});

Deno.test("`mdp bench` prints its figures as JSON or CSV, for several clients and workers in any dialect", async () => {
  await using stage = await MdpStage.start();
  const load = ["--clients", "2", "--window", "3", "--workers", "2", "--requests", "300"];
  for (const dialect of ["auto", "rfc"]) {
    const { code, stdout } = await stage.run(["bench", ...load, "--dialect", dialect, "--json"]);
    assert.equal(code, 0);
    const figures = JSON.parse(stdout.join(""));
    assert.deepEqual(Object.keys(figures), FIGURES);
    const { clients, window, workers, requests, errors } = figures;
    assert.deepEqual([clients, window, workers, requests, errors], [2, 3, 2, 300, 0]);
    assert.ok(figures.min_ms <= figures.p50_ms && figures.p50_ms <= figures.max_ms);
  }
  const { stdout } = await stage.run(["bench", ...load, "--csv"]);
  assert.equal(stdout.length, 2);
  assert.deepEqual(stdout[0]!.split(","), FIGURES);
  const values = stdout[1]!.split(",").map(Number);
  assert.deepEqual(values.slice(0, 6), [2, 3, 2, 128, 300, 0]);
  assert.ok(values.every(Number.isFinite));
});

Deno.test("`mdp bench` ends after its time, and asks a service of others when told to", async () => {
  await using stage = await MdpStage.start();
  await stage.serve("echo", "--echo", "--concurrency", "8");
  const args = ["bench", "-s", "echo", "-W", "0", "--duration", "300ms", "--json"];
  const { code, stdout } = await stage.run(args);
  const { seconds, requests } = JSON.parse(stdout.join(""));
  assert.equal(code, 0);
  assert.ok(seconds >= 0.3 && requests > 0, stdout.join());
});

Deno.test("`mdp bench` prints what it has measured when it gets SIGINT, and exits with 130", async () => {
  await using stage = await MdpStage.start();
  const bench = stage.begin(["bench", "--duration", "60", "--json"]);
  // It is under way when the broker has answered for its service.
  for (let known = false; !known;) {
    const { stdout } = await stage.run(["services", "--json"]);
    known = JSON.parse(stdout.join("")).services.some(({ answered }: { answered: number }) =>
      answered > 100
    );
  }
  bench.kill("SIGINT");
  const { code, stdout } = await bench.ended();
  assert.equal(code, 130);
  assert.ok(JSON.parse(stdout.join("")).requests > 0);
});

Deno.test("`mdp bench` exits with 1 when nobody answers, and when requests fail", async () => {
  await using stage = await MdpStage.start();
  const silent = await stage.run(["bench", "-s", "nobody", "-W", "0", "-t", "200ms"]);
  assert.deepEqual([silent.code, silent.stdout, silent.stderr.length], [1, [], 1]);
  assert.match(silent.stderr[0]!, /^mdp: Service "nobody".* 200 ms/);

  // The first is answered, so that the load begins.
  const folder = await Deno.makeTempDir();
  try {
    await stage.serve("once", "--command", `mkdir ${folder}/first`);
    const { code, stdout, stderr } = await stage.run(
      ["bench", "-s", "once", "-W", "0", "-n", "4", "-w", "2", "--json"],
    );
    const { requests, errors } = JSON.parse(stdout.join(""));
    assert.deepEqual([code, requests, errors], [1, 0, 4]);
    assert.match(stderr.at(-1)!, /^First failure: Command failed: exit status 1: /);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});

Deno.test("`mdp bench` says which permission is missing", async () => {
  const { code, stderr } = await run("cli/mdp.ts", ["bench"]);
  assert.deepEqual([code, stderr], [2, [
    `mdp: --workers 1 needs the permission --allow-read, to start a thread: run deno with \
--allow-read, or use --workers 0${HINT}`,
  ]]);
});

Deno.test("`Latencies` knows its percentiles, and draws at most 16 bars", () => {
  const latencies = new Latencies();
  assert.deepEqual([latencies.summary().max, latencies.draw()], [0, []]);
  for (let i = 1; i <= 1_000; i++) latencies.record(i / 10);
  const { min, mean, p50, p99, max } = latencies.summary();
  assert.deepEqual([min, max], [0.1, 100]);
  const near = (value: number, wanted: number) => Math.abs(value - wanted) < wanted * 0.002;
  assert.ok(near(mean, 50.05) && near(p50, 50) && near(p99, 99), `${mean} ${p50} ${p99}`);
  latencies.record(3_000_000);
  assert.ok(latencies.draw().length <= 16);
  assert.match(latencies.draw().at(-1)!, /^≤ +50m 0s +1 {2}█$/);
});
