/**
 * `mdp services`, `workers`, `stats` and `ping`: what a broker knows, as tables or JSON.
 *
 * @module
 */

import { setTimeout as pause } from "node:timers/promises";
import { object } from "@optique/core/constructs";
import { message } from "@optique/core/message";
import { optional, withDefault } from "@optique/core/modifiers";
import { argument, command, constant, option } from "@optique/core/primitives";
import type { PingAnswer, ServiceStats, WorkerStats } from "../broker.ts";
import { DEFAULT_ENDPOINT } from "../options.ts";
import { EXIT } from "./exit_codes.ts";
import { quantile } from "./histogram.ts";
import { ask, UnknownQuestionError } from "./mdp_ask.ts";
import { brokers, type Common, connect, examples, JSON_FLAG, NAME, usage } from "./mdp_options.ts";
import { bold, print, printJson, tell } from "./output.ts";
import { printableText } from "./printable.ts";
import { type Column, table } from "./table.ts";
import { NONE, showAge, showBytes, showCount, showTime } from "./units.ts";
import { count, duration, service } from "./values.ts";

const TIMEOUT = 5_000;

/** A command that prints what it is told: JSON, or for people. */
interface ShowOptions extends Common {
  json: boolean;
}

const about = optional(argument(service("SERVICE"), {
  description: message`Only this one. Default: all.`,
}));
const optionalService = usage({
  type: "optional",
  terms: [{ type: "argument", metavar: "SERVICE" }],
});

// ---- services ----

/** The command. */
export const SERVICES = command(
  "services",
  object({ action: constant("services"), service: about, json: JSON_FLAG }),
  {
    brief: message`List the services.`,
    description: message`What the broker knows of its services: their workers and those with room \
for a request; requests with workers and in the queue; and what it has counted. WAIT is the time \
of a request in the queue, TIME that with its worker; half of all requests take no longer than the \
p50, 99 of 100 no longer than the p99. A service that is named and not there is a failure: a line \
of stderr says so, and the exit code is 1, in JSON too, which is printed all the same.`,
    footer: examples("mdp services", "mdp services upper --json"),
    usageLine: optionalService,
  },
);

const SERVICE_COLUMNS: Column<ServiceStats>[] = [
  { title: "SERVICE", align: "left", cell: ({ name }) => printableText(name) },
  { title: "WORKERS", cell: ({ workers }) => showCount(workers) },
  { title: "WITH ROOM", cell: ({ waiting }) => showCount(waiting) },
  { title: "IN FLIGHT", cell: ({ inFlight }) => showCount(inFlight) },
  { title: "QUEUED", cell: ({ queued }) => showCount(queued) },
  { title: "BYTES", cell: ({ queuedBytes }) => showBytes(queuedBytes) },
  { title: "ANSWERED", cell: ({ answered }) => showCount(answered) },
  { title: "ERRORS", cell: ({ errors }) => showCount(errors) },
  { title: "LOST", cell: ({ expired, dropped }) => showCount(expired + dropped) },
  { title: "REFUSED", cell: ({ refused }) => showCount(refused) },
  { title: "WAIT p50", cell: ({ wait }) => showTime(quantile(wait, 0.5)) },
  { title: "p99", cell: ({ wait }) => showTime(quantile(wait, 0.99)) },
  { title: "TIME p50", cell: ({ serviceTime }) => showTime(quantile(serviceTime, 0.5)) },
  { title: "p99", cell: ({ serviceTime }) => showTime(quantile(serviceTime, 0.99)) },
];

/**
 * Prints the services.
 *
 * @param options What the command line says.
 * @returns The exit code.
 * @throws {MdpError} If the broker does not answer.
 */
export async function runServices(options: ShowOptions & { service?: string }): Promise<number> {
  await using client = connect(options, TIMEOUT);
  const { service, json } = options;
  const answer = await ask(client, "mmi.services", service);
  const { services, total } = answer;
  if (json) printJson(answer);
  if (service !== undefined && services.length === 0) return missing(service);
  if (!json) show(SERVICE_COLUMNS, services.toSorted(byName), total, "No services");
  return EXIT.ok;
}

// ---- workers ----

/** The command. */
export const WORKERS = command(
  "workers",
  object({ action: constant("workers"), service: about, json: JSON_FLAG }),
  {
    brief: message`List the workers.`,
    description:
      message`What the broker knows of its workers: where they connect from, the dialect \
that they speak, the requests that they hold and could hold, and how long ago they registered and \
were last heard of. If a service is named and has none, a line of stderr says so, and the exit code \
is 1, in JSON too, which is printed all the same.`,
    footer: examples("mdp workers", "mdp workers upper --json"),
    usageLine: optionalService,
  },
);

const WORKER_COLUMNS: Column<WorkerStats>[] = [
  { title: "WORKER", align: "left", cell: ({ identity }) => printableText(identity) },
  { title: "SERVICE", align: "left", cell: ({ service }) => printableText(service) },
  { title: "ADDRESS", align: "left", cell: ({ address }) => printableText(address ?? NONE) },
  { title: "DIALECT", align: "left", cell: ({ dialect }) => printableText(dialect) },
  { title: "IN FLIGHT", cell: ({ inFlight }) => showCount(inFlight) },
  { title: "CREDIT", cell: ({ credit }) => showCount(credit) },
  { title: "REGISTERED", cell: ({ registered }) => `${showAge(registered)} ago` },
  { title: "HEARD", cell: ({ heard }) => `${showTime(heard)} ago` },
];

/**
 * Prints the workers.
 *
 * @param options What the command line says.
 * @returns The exit code.
 * @throws {MdpError} If the broker does not answer.
 */
export async function runWorkers(options: ShowOptions & { service?: string }): Promise<number> {
  await using client = connect(options, TIMEOUT);
  const { service, json } = options;
  const answer = await ask(client, "mmi.workers", service);
  const { workers, total } = answer;
  if (json) printJson(answer);
  if (service !== undefined && workers.length === 0) {
    const { total: services } = await ask(client, "mmi.services", service);
    return missing(service, services > 0);
  }
  const sorted = workers.toSorted((a, b) =>
    compare(a.service, b.service) || b.registered - a.registered
  );
  if (!json) show(WORKER_COLUMNS, sorted, total, "No workers");
  return EXIT.ok;
}

// ---- stats ----

/** The command. */
export const STATS = command(
  "stats",
  object({ action: constant("stats"), json: JSON_FLAG }),
  {
    brief: message`Show what the broker has counted.`,
    description: message`All that the broker has counted since it began, and what it holds now. \
docs/protocol.md says what each figure is.`,
    footer: examples("mdp stats", "mdp stats --json | jq .queued"),
    usageLine: usage(),
  },
);

/**
 * Prints the broker's counters.
 *
 * @param options What the command line says.
 * @returns The exit code.
 * @throws {MdpError} If the broker does not answer.
 */
export async function runStats(options: ShowOptions): Promise<number> {
  await using client = connect(options, TIMEOUT);
  const stats = await ask(client, "mmi.stats");
  if (options.json) {
    printJson(stats);
    return EXIT.ok;
  }
  const rows = [...flatten(stats)];
  const lines = table<[string, string]>([
    { title: "", align: "left", cell: ([name]) => name },
    { title: "", cell: ([, value]) => value },
  ], rows);
  print(...lines.slice(1));
  return EXIT.ok;
}

/** The figures below a name: `workers.left.silent` and its value. */
function* flatten(value: unknown, path: string[] = []): Generator<[string, string]> {
  if (typeof value === "object" && value !== null) {
    for (const [name, inner] of Object.entries(value)) yield* flatten(inner, [...path, name]);
    return;
  }
  const name = path.at(-1) ?? "";
  const shown = typeof value !== "number"
    ? printableText(String(value))
    : name === "uptime"
    ? showAge(value)
    : /bytes/i.test(path.join("."))
    ? showBytes(value)
    : showCount(value);
  yield [printableText(path.join(".")), shown];
}

// ---- ping ----

/** The command. */
export const PING = command(
  "ping",
  object({
    action: constant("ping"),
    count: withDefault(
      option("-n", "--count", count(1), {
        description: message`Ask so many times. Default: 1.`,
      }),
      1,
    ),
    interval: withDefault(
      option("-i", "--interval", duration(0), {
        description: message`Wait so long in between. Default: 1.`,
      }),
      1_000,
    ),
    json: JSON_FLAG,
  }),
  {
    brief: message`See whether the broker answers, and how fast.`,
    description: message`Exits with 1 if the broker does not answer in time. The time is that of a \
round trip on a connection that stands.`,
    footer: examples("mdp ping", "mdp ping --broker-url tcp://10.0.0.1:5555 --count 10"),
    usageLine: usage(),
  },
);

/**
 * Asks the broker whether it is there.
 *
 * @param options What the command line says.
 * @returns The exit code.
 * @throws {MdpError} If the broker does not answer.
 */
export async function runPing(
  options: ShowOptions & { count: number; interval: number },
): Promise<number> {
  await using client = connect(options, TIMEOUT);
  const [broker = DEFAULT_ENDPOINT, ...others] = brokers(options) ?? [];
  const question = async (): Promise<PingAnswer | undefined> => {
    try {
      return await ask(client, "mmi.ping");
    } catch (error) {
      // Another project's broker, and yet one that answers.
      if (error instanceof UnknownQuestionError) return undefined;
      throw error;
    }
  };
  // So that the connection stands.
  await question();
  for (let left = options.count; left > 0; left--) {
    const start = performance.now();
    const pong = await question();
    const ms = performance.now() - start;
    if (options.json) print(JSON.stringify({ ms: Number(ms.toFixed(3)), ...pong }));
    else print(describe(others.length === 0 ? broker : undefined, ms, pong));
    if (left > 1) await pause(options.interval);
  }
  return EXIT.ok;
}

function describe(broker: string | undefined, ms: number, pong: PingAnswer | undefined): string {
  const who = broker ?? pong?.endpoints.join(", ") ?? "The broker";
  const answers = `${printableText(who)} answers in ${showTime(ms)}`;
  if (pong === undefined) return `${answers}; it does not know mmi.ping`;
  const { version, uptime, draining } = pong;
  const state = draining ? ", draining" : "";
  return `${answers}: majortomo-broker ${printableText(version)}, up ${showAge(uptime)}${state}`;
}

function show<T>(
  columns: readonly Column<T>[],
  rows: readonly T[],
  total: number,
  none: string,
): void {
  if (rows.length === 0) return print(none);
  const [titles, ...lines] = table(columns, rows);
  print(bold(titles!), ...lines);
  if (total > rows.length) print(`${showCount(total - rows.length)} more are left out`);
}

/** The service that was asked about is not there, or has no workers. */
function missing(service: string, isWaitedFor = false): number {
  const what = isWaitedFor ? "No worker serves" : "There is no service";
  const why = isWaitedFor ? ", and requests wait for it" : "";
  tell(`${NAME}: ${what} "${service}"${why}`);
  return EXIT.failure;
}

function byName(a: { name: string }, b: { name: string }): number {
  return compare(a.name, b.name);
}

function compare(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}
