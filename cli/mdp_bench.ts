/**
 * `mdp bench`: puts load on a broker, and measures.
 *
 * @module
 */

import { object, or } from "@optique/core/constructs";
import { message, optionName } from "@optique/core/message";
import { map, optional, withDefault } from "@optique/core/modifiers";
import { command, constant, flag, option } from "@optique/core/primitives";
import { UsageError } from "./command_line.ts";
import { EXIT } from "./exit_codes.ts";
import { Load, mayStartThreads, type Result } from "./load.ts";
import { brokers, type Common, examples, usage } from "./mdp_options.ts";
import { bold, print, printJson, tell } from "./output.ts";
import { Progress } from "./progress.ts";
import { stopSignal } from "./signals.ts";
import { showBytes, showCount, showRate, showTime } from "./units.ts";
import { byteSize, count, duration, refuseReserved, service } from "./values.ts";

const TIMEOUT = 5_000;
/** How long it takes unless told otherwise, in ms. */
const DURATION = 5_000;
/** What a request may hold: what brokers take unless told otherwise. */
const LARGEST = 128 * 2 ** 20;

/** The load, and how its figures are printed. */
interface BenchOptions extends Common {
  service?: string;
  clients: number;
  window: number;
  workers: number;
  size: number;
  requests?: number;
  duration?: number;
  form: "text" | "json" | "csv";
}

/** The command. */
export const BENCH = command(
  "bench",
  object({
    action: constant("bench"),
    service: optional(option("-s", "--service", service("SERVICE"), {
      description: message`The service that is asked. Default: one of its own.`,
    })),
    clients: withDefault(
      option("-c", "--clients", count(1, 10_000), {
        description: message`How many clients, each with a connection. Default: 1.`,
      }),
      1,
    ),
    window: withDefault(
      option("-w", "--window", count(1, 65_535), {
        description: message`How many requests each keeps in flight. Default: 64.`,
      }),
      64,
    ),
    workers: withDefault(
      option("-W", "--workers", count(0, 10_000), {
        description: message`How many workers of its own answer, with what they get; 0 leaves it \
to those that ${optionName("--service")} has. Default: 1.`,
      }),
      1,
    ),
    size: withDefault(
      option("--size", byteSize(0, LARGEST), {
        description: message`How much each request holds, in one frame. Default: 128.`,
      }),
      128,
    ),
    requests: optional(option("-n", "--requests", count(1), {
      description: message`End after so many requests.`,
    })),
    duration: optional(option("-d", "--duration", duration(1), {
      description: message`End after so long. Default: 5, if the requests are not counted.`,
    })),
    form: withDefault(
      or(
        map(
          flag("--json", { description: message`Print the figures as JSON, times in ms.` }),
          () => "json" as const,
        ),
        map(
          flag("--csv", { description: message`Print them as CSV, with a line of names.` }),
          () => "csv" as const,
        ),
      ),
      "text" as const,
    ),
  }),
  {
    brief: message`Put load on the broker, and measure.`,
    description: message`Clients keep requests in flight, workers answer them. Latency is the time \
from a request to its answer as its client sees it: with a large window it is mostly that of \
waiting in line. Before it measures, each client has one request answered. Ctrl-C ends it, with the \
figures so far. Clients and workers take as much of the machine as the broker: for a broker's limit \
run them elsewhere.`,
    footer: examples(
      "mdp bench",
      "mdp bench --clients 8 --window 32 --workers 4 --requests 1000000",
      "mdp bench --service upper --workers 0 --window 1 --duration 30s",
      "mdp bench --size 64KiB --csv >> figures.csv",
    ),
    usageLine: usage(),
  },
);

/**
 * Puts the load on, and prints the figures.
 *
 * @param options What the command line says.
 * @returns The exit code: a failure if any request failed.
 * @throws {MdpError} If the service does not answer at all.
 * @throws {UsageError} If the options do not fit together.
 */
export async function runBench(options: BenchOptions): Promise<number> {
  const { workers, requests = Infinity, clients, window, size, form } = options;
  if (workers === 0 && options.service === undefined) {
    throw new UsageError("--workers 0 needs a --service that has workers elsewhere");
  }
  if (workers > 0 && options.service !== undefined) refuseReserved(options.service);
  if (workers > 0 && !mayStartThreads()) {
    throw new UsageError(
      `--workers ${workers} needs the permission --allow-read, to start a thread: run deno with \
--allow-read, or use --workers 0`,
    );
  }
  const duration = options.duration ?? (requests === Infinity ? DURATION : Infinity);
  const service = options.service ?? `mdp-bench-${crypto.randomUUID().slice(0, 8)}`;
  using stop = stopSignal();
  const { dialect, timeout = TIMEOUT } = options;
  const job = { service, clients, window, workers, size, requests, duration, dialect, timeout };
  await using load = new Load({ ...job, broker: brokers(options) });
  await load.prepare(stop.signal);
  let result: Result;
  {
    using _bar = new Progress(() => ({
      done: load.progress,
      text: `${showCount(load.count)} requests`,
    }));
    result = await load.run(stop.signal);
  }
  if (form === "json") printJson(figures(options, result));
  else if (form === "csv") printCsv(figures(options, result));
  else printText(options, result);
  const { firstError } = result;
  if (firstError !== undefined) tell(`First failure: ${firstError}`);
  if (stop.exitCode !== undefined) return stop.exitCode;
  return result.errors === 0 ? EXIT.ok : EXIT.failure;
}

/** The figures under the names that JSON and CSV have for them; times in ms. */
function figures({ clients, window, workers, size }: BenchOptions, result: Result) {
  const { requests, errors, seconds } = result;
  const { min, mean, p50, p90, p99, p999, max } = result.latencies.summary();
  const perSecond = seconds === 0 ? 0 : requests / seconds;
  return {
    clients,
    window,
    workers,
    size,
    requests,
    errors,
    seconds: round(seconds),
    requests_per_second: round(perSecond),
    bytes_per_second: round(perSecond * size),
    min_ms: round(min),
    mean_ms: round(mean),
    p50_ms: round(p50),
    p90_ms: round(p90),
    p99_ms: round(p99),
    p999_ms: round(p999),
    max_ms: round(max),
  };
}

function printCsv(values: ReturnType<typeof figures>): void {
  print(Object.keys(values).join(","), Object.values(values).join(","));
}

function printText({ clients, window, workers, size }: BenchOptions, result: Result): void {
  const { requests, errors, seconds, latencies } = result;
  const perSecond = seconds === 0 ? 0 : requests / seconds;
  const { min, mean, p50, p90, p99, p999, max } = latencies.summary();
  const served = workers === 0 ? "the service's own" : showCount(workers);
  print(
    `Load      clients ${showCount(clients)}, window ${showCount(window)}, workers ${served}, ` +
      `size ${showBytes(size)}`,
    `Requests  ${showCount(requests)} answered in ${showTime(seconds * 1_000)}, ` +
      `${showCount(errors)} failed`,
    `Rate      ${bold(showRate(perSecond))} requests/s, ` +
      `${showBytes(perSecond * size)}/s in each direction`,
    `Latency   min ${showTime(min)}, mean ${showTime(mean)}, max ${showTime(max)}`,
    `          p50 ${showTime(p50)}, p90 ${showTime(p90)}, p99 ${showTime(p99)}, ` +
      `p99.9 ${showTime(p999)}`,
  );
  const bars = latencies.draw();
  if (bars.length > 0) print("", ...bars);
}

function round(value: number): number {
  return Number(value.toPrecision(6));
}
