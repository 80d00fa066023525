import assert from "node:assert/strict";
import { type Contest, hold, type Outcome } from "../bench/contest.ts";
import { pairwise, show, summarize } from "../bench/figures.ts";
import { parseOptions } from "../bench/options.ts";
import { find } from "../bench/peers.ts";
import { writePlots } from "../bench/plot.ts";
import { family, usage } from "../bench/proc.ts";
import { BenchError } from "../bench/process.ts";
import { heading, rows } from "../bench/report.ts";
import { Stopwatch } from "../bench/load/window.ts";
import type { Span } from "../bench/load/job.ts";
import { asFigures, underLoad } from "../bench/loading.ts";
import { SHAPES } from "../bench/shapes.ts";
import { Stage } from "../bench/stage.ts";
import { UsageError } from "../cli/command_line.ts";
import { Latencies } from "../cli/latencies.ts";
import { type Ended, Program } from "./cli.ts";
import { bytes, RawSocket, WX } from "./raw.ts";
import { C, until } from "./stage.ts";

const NEVER = new AbortController().signal;

// ---- figures ----

Deno.test("`summarize` gives median and extremes, and leaves out rounds that gave nothing", () => {
  const { median, low, high, values } = summarize([4, NaN, 1, 3])!;
  assert.deepEqual([median, low, high, values], [3, 1, 4, [4, null, 1, 3]]);
  assert.equal(summarize([4, 1])!.median, 2.5);
  assert.equal(summarize([NaN]), undefined);
});

Deno.test("`pairwise` compares within each round when the machine slows down in between", () => {
  assert.equal(pairwise([100, 10, 50], [50, 5, 25])!.median, 2);
  assert.deepEqual(pairwise([100, 10], [50, NaN])!.values, [2, null]);
  assert.equal(pairwise([100], [0]), undefined);
  // Of those that there are the median would tell of the other rounds alone.
  assert.equal(pairwise([10, 10, 10], [0, 10, 0]), undefined);
});

Deno.test("`show` writes as many digits as help", () => {
  const shown = [0, 0.1234, 1.234, 12.34, 123.4, 1_234_567, -3.21].map(show);
  assert.deepEqual(shown, ["0", "0.123", "1.23", "12.3", "123", "1,234,567", "-3.21"]);
});

// ---- contests ----

Deno.test("`hold` measures the sides in turn when there are two", async () => {
  const order: string[] = [];
  const side = (name: string, values: number[]) => ({
    name,
    measure() {
      order.push(name);
      const value = values.shift();
      if (value === undefined) return Promise.reject(new BenchError("It is gone"));
      return Promise.resolve({ requests: value });
    },
  });
  const contest: Contest = {
    shape: "throughput",
    dialect: "rfc",
    figures: [
      { name: "requests", unit: "/s", better: "more" },
      { name: "p50", unit: "ms", better: "less" },
    ],
    sides: [side("broker", [20, 30, 40]), side("against", [10, 10])],
  };
  const outcome = await hold(contest, 3, NEVER, () => {});
  assert.equal(order.join(" "), "broker against against broker broker against");
  assert.deepEqual(outcome.failures, [{ round: 3, side: "against", message: "It is gone" }]);
  const [requests, ...others] = outcome.figures;
  assert.equal(others.length, 0, "what no side gave is no figure");
  assert.equal(requests!.sides.broker!.median, 30);
  assert.equal(requests!.ratio!.median, 2.5);
  assert.deepEqual(requests!.ratio!.values, [2, 3, null]);
  assert.deepEqual(requests!.sides.against!.values, [10, 10, null]);

  const [line, failure] = rows(outcome, contest.sides);
  assert.match(line!, /^throughput +rfc +requests +\/s +30\.0 +10\.0 +2\.50 +2\.00 +3\.00$/);
  assert.match(failure!, /^throughput +rfc +FAILED: against: It is gone$/);
  assert.equal(line!.length, heading(contest.sides).length);
});

Deno.test("`hold` ends when its signal aborts", async () => {
  const controller = new AbortController();
  const contest: Contest = {
    shape: "start",
    figures: [],
    sides: [{
      name: "broker",
      measure() {
        controller.abort(new Error("enough"));
        return Promise.reject(new BenchError("The process ended"));
      },
    }],
  };
  await assert.rejects(hold(contest, 2, controller.signal, () => {}), { message: "enough" });
});

Deno.test("`writePlots` draws a line for each dialect", async () => {
  const folder = await Deno.makeTempDir();
  try {
    const outcome = (dialect: string, point: number, value: number) => ({
      shape: "growth",
      dialect,
      point,
      failures: [],
      figures: [{
        name: "requests",
        unit: "/s",
        better: "more" as const,
        sides: { broker: summarize([value])! },
      }],
    });
    const outcomes = ["rfc", "multiplexed"].flatMap((dialect) => [
      outcome(dialect, 100, 50_000),
      outcome(dialect, 1_000, 49_000),
    ]);
    assert.deepEqual(writePlots(folder, outcomes), [`${folder}/throughput.svg`]);
    const svg = await Deno.readTextFile(`${folder}/throughput.svg`);
    assert.match(svg, /^<svg [^>]*xmlns=/);
    for (const text of ["rfc", "multiplexed", "requests/s", "50,000"]) {
      assert.ok(svg.includes(text), `the plot says "${text}"`);
    }
    assert.deepEqual(writePlots(folder, []), []);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});

Deno.test("`asFigures` says in a few digits in what time nothing was answered", () => {
  const latency = new Latencies().summary();
  const measured = { requests: 0, seconds: 0.2568272820000002, latency, usage: {} };
  assert.throws(() => asFigures(measured), {
    name: "BenchError",
    message: "No request was answered within 0.257 s",
  });
});

// ---- the command line ----

Deno.test("`parseOptions` gives the defaults when nothing is given", () => {
  assert.deepEqual({ ...parseOptions([]) }, {
    only: [],
    dialects: [],
    rounds: 3,
    seconds: 3,
    warmUp: 1,
    transport: "tcp",
    rate: 5_000,
    idle: 2_000,
    backlog: 1_000_000,
    broker: undefined,
    against: undefined,
    peers: false,
    plot: undefined,
    json: false,
  });
});

Deno.test("`parseOptions` takes lists, repeated or with commas, and durations with units", () => {
  const options = parseOptions([
    ...["--only", "throughput,latency", "--only", "start", "--dialect", "rfc,multiplexed,rfc"],
    ...["--seconds", "500ms", "--warm-up", "0", "--broker", "other {url}"],
  ])!;
  assert.deepEqual(options.only, ["throughput", "latency", "start"]);
  assert.deepEqual(options.dialects, ["rfc", "multiplexed"]);
  assert.deepEqual([options.seconds, options.warmUp, options.broker], [0.5, 0, "other {url}"]);
});

for (
  const [args, expected] of [
    [["--only", "throughput,speed"], /Expected some of throughput, .* but got "speed"$/],
    [["--dialect", "esperanto"], /Expected some of rfc, .* but got "esperanto"$/],
    [["--rounds", "0"], /--rounds.*1.*0/],
    [["--backlog", "1"], /--backlog.*1,000.*"1"/],
    [["--broker", "other"], /Expected a command with \{url\}.* but got "other"$/],
    [["--peers", "--against", "other {url}"], /--peers and --against cannot be given together/],
    [["--peers", "--transport", "ipc"], /--peers measures over tcp, .*: leave --transport ipc out/],
    [["--plot", ""], /--plot.*: Expected a folder, but got none$/],
    [["--transport", "udp"], /--transport.*"udp"/],
  ] as const
) {
  Deno.test(`\`parseOptions\` refuses ${args.join(" ")}`, () => {
    assert.throws(() => parseOptions(args), (error: Error) => {
      assert.ok(error instanceof UsageError);
      assert.match(error.message, expected);
      return true;
    });
  });
}

Deno.test("`find` finds programs of PATH, and none that is not there", () => {
  assert.match(find("sh")!, /\/sh$/);
  assert.equal(find("no-such-program"), undefined);
  // There, but nobody may run it.
  assert.equal(find("../../etc/passwd"), undefined);
});

// ---- whole runs ----

/** A run so short that its figures mean nothing. */
const BRIEF = ["--rounds", "1", "--seconds", "300ms", "--warm-up", "50ms"];

function bench(...args: string[]): Promise<Ended> {
  return run("bench/main.ts", ...args);
}

async function run(...command: string[]): Promise<Ended> {
  const flags = ["run", "--quiet", "--no-prompt", "--allow-all"];
  await using program = new Program(Deno.execPath(), [...flags, ...command], { NO_COLOR: "1" });
  return await program.ended();
}

Deno.test("bench: --help names all shapes and has examples", async () => {
  const { code, stdout } = await bench("--help");
  assert.equal(code, 0);
  const help = stdout.join("\n");
  for (const { name } of SHAPES) assert.ok(help.includes(`  ${name} `), name);
  assert.match(help, /Examples:/);
  assert.match(help, /deno task bench --peers/);
});

Deno.test("bench: a run prints its table, without progress when it is no terminal", async () => {
  const shapes = ["--only", "throughput,client", "--dialect", "multiplexed"];
  const { code, stdout, stderr } = await bench(...BRIEF, ...shapes);
  assert.deepEqual([code, stderr], [0, []]);
  const [head, ...lines] = stdout;
  assert.match(head!, /^shape +dialect +figure +unit +median +low +high$/);
  for (const name of ["throughput", "client"]) {
    const line = lines.find((line) => line.startsWith(`${name} `))!;
    const [, requests] = /multiplexed +requests +\/s +([\d,]+)/.exec(line)!;
    assert.ok(Number(requests!.replaceAll(",", "")) > 0, line);
  }
  for (const line of lines) assert.equal(line.length, head!.length);
});

Deno.test("bench: --json prints an object with each round's figures", async () => {
  const { code, stdout, stderr } = await bench(
    ...BRIEF,
    ...["--json", "--only", "stream,start", "--dialect", "rfc", "--transport", "ipc"],
  );
  assert.deepEqual([code, stderr], [0, []]);
  const { machine, settings, results } = JSON.parse(stdout.join("\n"));
  assert.equal(machine.deno, Deno.version.deno);
  assert.equal(settings.rounds, 1);
  assert.deepEqual(results.map((result: { shape: string }) => result.shape), ["stream", "start"]);
  const [requests] = results[0].figures;
  assert.equal(requests.name, "requests");
  assert.equal(requests.sides.broker.values.length, 1);
  assert.ok(requests.sides.broker.median > 0);
});

Deno.test("bench: a backlog gives rates and the memory that it took", async () => {
  const { code, stdout, stderr } = await bench(
    ...BRIEF,
    ...["--json", "--only", "backlog", "--backlog", "2000", "--dialect", "multiplexed"],
  );
  assert.deepEqual([code, stderr], [0, []]);
  const [{ figures }] = JSON.parse(stdout.join("\n")).results;
  const names = figures.map(({ name }: { name: string }) => name);
  assert.deepEqual(names, [
    "drain of small",
    "drain of large",
    "large to small",
    "broker CPU",
    "RSS queued",
    "RSS kept",
    "heap queued",
    "heap kept",
  ]);
});

Deno.test("bench: handlers and timers are told of", async () => {
  const shapes = ["--only", "handlers,timer", "--dialect", "multiplexed"];
  const { code, stdout, stderr } = await bench(...BRIEF, "--json", ...shapes);
  assert.deepEqual([code, stderr], [0, []]);
  const [handlers, timer] = JSON.parse(stdout.join("\n")).results as Outcome[];
  const of = ({ figures }: Outcome, name: string) =>
    figures.find((figure) => figure.name === name)!.sides.broker!.median;
  assert.ok(of(handlers!, "at work") > 0);
  assert.ok(of(timer!, "max") > 0);
  assert.ok(of(timer!, "requests") > 0);
});

Deno.test("bench: who is asked about the time that counts knows it before, however late the answer", async () => {
  const settings = { ...parseOptions(BRIEF)!, warmUp: 2 };
  await using stage = new Stage({ dialect: "multiplexed", settings, signal: NEVER });
  const asked: [at: number, span: Span][] = [];
  const { requests, probed } = await underLoad(stage, {
    async probe(_broker, _worker, span) {
      asked.push([Date.now(), span]);
      await stage.pause(3);
      return { answered: 1 };
    },
  });
  assert.ok(requests > 0);
  assert.deepEqual(probed, { answered: 1 });
  const [[at, { from, until }]] = asked as [typeof asked[0]];
  assert.equal(asked.length, 1);
  assert.ok(at < from, `asked at ${at} about the time from ${from} on`);
  assert.equal(Math.round(until - from), 300);
});

Deno.test("bench: a broker that does not start is told in a line", async () => {
  const { code, stdout, stderr } = await bench(
    ...BRIEF,
    ...["--only", "start", "--broker", "echo no luck with {url} >&2; exit 3"],
  );
  assert.deepEqual([code, stderr], [1, []]);
  assert.match(
    stdout.at(-1)!,
    /^start +- +FAILED: The broker ended with 3: no luck with tcp:\/\/127\.0\.0\.1:\d+$/,
  );
});

Deno.test("bench: a broker that ends under load is told at once, whatever it writes", async () => {
  // It writes more than a pipe holds, to where nobody reads.
  const broker = `yes | head -c 200000; deno run -A cli/broker.ts --bind-url {url} & ` +
    "sleep 1; kill $!; wait; exit 7";
  const { code, stdout } = await bench(
    ...["--rounds", "1", "--seconds", "60", "--only", "throughput", "--dialect", "rfc"],
    ...["--broker", broker],
  );
  assert.equal(code, 1);
  assert.match(stdout.at(-1)!, /FAILED: The broker ended with 7/);
});

for (
  const [signal, expected] of [["SIGINT", 130], ["SIGTERM", 143], ["SIGHUP", 129]] as const
) {
  Deno.test(`bench: ${signal} ends it, with its folder and its processes`, async () => {
    const folder = await Deno.makeTempDir();
    try {
      const args = ["--seconds", "60", "--warm-up", "30", "--only", "throughput"];
      const flags = ["run", "--quiet", "--no-prompt", "--allow-all", "bench/main.ts"];
      await using program = new Program(
        Deno.execPath(),
        [...flags, ...args, "--transport", "ipc"],
        { NO_COLOR: "1", TMPDIR: folder },
      );
      const made = () => [...Deno.readDirSync(folder)].map(({ name }) => `${folder}/${name}`);
      const isUp = () => made().some((path) => [...Deno.readDirSync(path)].length > 0);
      // Broker, worker and client.
      const children = () => family(program.pid).slice(1);
      while (!isUp() || children().length < 3) {
        await new Promise((resolve) => setTimeout(resolve, 10));
      }
      const started = children();
      program.kill(signal);
      assert.equal((await program.ended()).code, expected);
      assert.deepEqual(made(), []);
      const isLeft = (pid: number) => usage(pid).rss > 0;
      await until(() => !started.some(isLeft), "all children end", () => started.filter(isLeft));
    } finally {
      await Deno.remove(folder, { recursive: true });
    }
  });
}

Deno.test("bench: a folder for plots is meant from where the task was started", () => {
  const before = Deno.env.get("INIT_CWD");
  Deno.env.set("INIT_CWD", "/where/it/was");
  try {
    assert.equal(parseOptions(["--plot", "plots"])?.plot, "/where/it/was/plots");
    assert.equal(parseOptions(["--plot", "/plots"])?.plot, "/plots");
  } finally {
    if (before === undefined) Deno.env.delete("INIT_CWD");
    else Deno.env.set("INIT_CWD", before);
  }
});

Deno.test("bench: wrong options are told in a line", async () => {
  const { code, stdout, stderr } = await bench("--plot", "/no/such/folder");
  assert.deepEqual([code, stdout], [2, []]);
  assert.deepEqual(stderr, [
    'bench: --plot is a folder that exists and may be written to, but got "/no/such/folder" (try bench --help)',
  ]);
});

const HEADER = new Uint8Array(20);
HEADER.set([...bytes("MDPCX1"), 4]);
new DataView(HEADER.buffer).setUint32(16, 429);

/** A job of one client with one request in flight. */
const JOB = {
  bytes: 32,
  clients: 1,
  services: ["echo"],
  parts: 0,
  window: 1,
  warmUp: 0,
  seconds: 10,
  watched: {},
};

/** A copy of a frame with one byte changed. */
function changed(frame: Uint8Array, at: number): Uint8Array<ArrayBuffer> {
  const copy = new Uint8Array(frame);
  copy[at]! ^= 1;
  return copy;
}

/** The header of a multiplexed FINAL for a REQUEST's. */
function finalOf(request: Uint8Array): Uint8Array<ArrayBuffer> {
  const header = new Uint8Array(request);
  header[6] = 3;
  header.fill(0, 16);
  return header;
}

const WRONG = "A client got what is no answer to one of its requests";

for (
  const { what, dialect, answer, error } of [
    {
      what: "an answer that is another's",
      dialect: "rfc",
      answer: () => ["MDPC02", [3], "echo", new Uint8Array(32).fill(9)],
      error: WRONG,
    },
    {
      what: "an answer of another service",
      dialect: "rfc",
      answer: (frames) => ["MDPC02", [3], "ech0", frames[3]!],
      error: WRONG,
    },
    {
      what: "an answer to a request long ago",
      dialect: "rfc",
      // The lower bits of the number are the same.
      answer: (frames) => ["MDPC02", [3], "echo", changed(frames[3]!, 6)],
      error: WRONG,
    },
    {
      what: "an answer whose body is not what was sent",
      dialect: "rfc",
      answer: (frames) => ["MDPC02", [3], "echo", changed(frames[3]!, 31)],
      error: WRONG,
    },
    {
      what: "an answer with another id",
      dialect: "multiplexed",
      answer: (frames) => [changed(finalOf(frames[0]!), 15), frames[2]!],
      error: WRONG,
    },
    {
      what: "an error, and of its code",
      dialect: "multiplexed",
      answer: () => [HEADER, "The queue is full"],
      error: "A request was answered with ERROR 429",
    },
  ] satisfies {
    what: string;
    dialect: string;
    answer(request: Uint8Array[]): (string | number[] | Uint8Array)[];
    error: string;
  }[]
) {
  Deno.test(`bench: a client tells of ${what}`, async () => {
    await using broker = RawSocket.router();
    const job = { ...JOB, url: broker.endpoint, dialect };
    const answering = broker.receive()
      .then(([identity, ...request]) => broker.send(identity!, ...answer(request)));
    const { code, stdout } = await run("bench/load/raw_client.ts", JSON.stringify(job));
    await answering;
    assert.equal(code, 1);
    assert.deepEqual(JSON.parse(stdout.at(-1)!), { error });
  });
}

/** A job of eight workers that are told to wait no longer than this for a broker that is silent. */
const WORKERS_JOB = {
  bytes: 32,
  workers: 8,
  credit: 1,
  services: ["idle"],
  parts: 0,
  idle: true,
  limit: 0.1,
  patience: 1_000,
};

for (
  const { what, isOurs, answered, said } of [
    { what: "ready", isOurs: true, answered: 8, said: { ready: true } },
    {
      what: "not ready when a broker takes half of them",
      isOurs: false,
      answered: 4,
      said: { error: "The broker has answered 4 of 8 workers" },
    },
    {
      what: "not ready when our broker takes none of them",
      isOurs: true,
      answered: 0,
      said: { error: "The broker has answered 0 of 8 workers" },
    },
    {
      what: "ready with a broker that never answers",
      isOurs: false,
      answered: 0,
      said: { ready: true },
    },
  ]
) {
  for (const dialect of ["rfc", "multiplexed"]) {
    Deno.test(`bench: workers are ${what}, ${dialect}`, async () => {
      await using broker = RawSocket.router();
      const job = { ...WORKERS_JOB, url: broker.endpoint, dialect, isOurs };
      const running = run("bench/load/raw_worker.ts", JSON.stringify(job));
      for (let asked = 0; asked < 8;) {
        const [identity, header] = await broker.receive();
        // A READY, which is answered by a heartbeat, or what a client asks.
        const isQuestion = dialect === "rfc"
          ? new TextDecoder().decode(header) === C
          : header![6] === 1;
        if (!isQuestion || asked++ >= answered) continue;
        if (dialect === "rfc") broker.send(identity!, C, [3], "mmi.service", "404");
        else broker.send(identity!, WX(5));
      }
      const { stdout } = await running;
      assert.deepEqual(stdout.map((line) => JSON.parse(line)), [said]);
    });
  }
}

// ---- the time that counts ----

/** To three digits after the point: differences of times are not exact. */
function rounded(value: number): number {
  return Math.round(value * 1_000) / 1_000;
}

/** A stopwatch that has begun to count, for one second after one of warm-up. */
function begun(): Stopwatch {
  const watch = new Stopwatch({ warmUp: 1, seconds: 1, watched: {} });
  watch.tick(watch.from);
  return watch;
}

Deno.test("bench: with requests in flight what is answered in the time that counts does", () => {
  const watch = begun(), { from, until } = watch;
  watch.answered(from + 1, from - 500);
  watch.answered(until - 1, from + 10);
  assert.ok(!watch.isOver);
  watch.answered(until + 1, from + 10);
  assert.ok(watch.isOver);
  watch.answered(until + 2, from + 10);
  const { requests, seconds, latency } = watch.measured();
  assert.deepEqual([requests, seconds, latency.max].map(rounded), [2, 1.001, 989]);
});

Deno.test("bench: at a fixed rate what is due in the time that counts does, however late", () => {
  const watch = begun(), { from, until } = watch;
  // Due in the warm-up: not even if it keeps others waiting.
  watch.answeredDue(from + 400, from - 1);
  watch.answeredDue(from + 12, from + 10);
  watch.tick(until);
  assert.ok(watch.isOver);
  watch.answeredDue(until + 5_000, until - 500);
  watch.answeredDue(until + 5_000, until);
  const { requests, seconds, latency } = watch.measured();
  assert.deepEqual([requests, seconds, latency.min, latency.max].map(rounded), [1, 1, 2, 5_500]);
});

Deno.test("bench: at a fixed rate no more is told than was offered when it looks late", async () => {
  const watch = new Stopwatch({ warmUp: 0, seconds: 1, watched: {} });
  const due = watch.from;
  while (performance.now() < due + 200) await new Promise((resolve) => setTimeout(resolve, 10));
  watch.tick(performance.now());
  const { until } = watch;
  for (let at = due; at < until; at++) watch.answeredDue(Math.max(at, watch.from), at);
  watch.tick(until);
  const { requests, seconds } = watch.measured();
  assert.equal(Math.round(requests / seconds / 10), 100);
});
