/**
 * How a broker is loaded: by sockets without protocol engines, or by our own client and worker.
 *
 * @module
 */

import type { BrokerStats } from "../broker_stats.ts";
import { Client } from "../client.ts";
import { MdpError } from "../errors.ts";
import type { ClientJob } from "./load/client.ts";
import type { Measured, Span } from "./load/job.ts";
import type { LoadJob } from "./load/raw_client.ts";
import type { Expected, RawWorkerJob } from "./load/raw_worker.ts";
import type { WorkerJob } from "./load/worker.ts";
import { show } from "./figures.ts";
import { BenchError, type Child } from "./process.ts";
import type { Figures } from "./shape.ts";
import type { BrokerNeeds, RunningBroker, Stage } from "./stage.ts";

/** A body, and as many bytes as it takes to see that an answer is the right one. */
export const SMALL = 32;
/** Sockets of clients, and the requests that each has in flight. */
export const CLIENTS = 8, WINDOW = 32;
/** Workers where each takes one request at a time, and how many one takes where it can. */
export const WORKERS = 64, CREDIT = 256;
/** Beside the time that is measured, more than a measurement takes, in s. */
const LIMIT = 600;
/** How long a broker may not answer any more workers before the rest are none, in ms. */
const SILENCE = 20_000;
const MIB = 2 ** 20;
/** A process can have some thousands of sockets, of two descriptors each. */
const SOCKETS = 4_000;

/** A load without protocol engines, of which only what differs is said. */
export interface Load {
  clients?: number;
  window?: number;
  workers?: number;
  bytes?: number;
  services?: number;
  parts?: number;
  idle?: number;
  rate?: number;
  needs?: BrokerNeeds;
  /** Our own worker, instead of a socket that answers. */
  ours?: OurWorker;
  /** Asks one of them about the time that counts, before that begins; it answers when it is over. */
  probe?(broker: RunningBroker, worker: Child, span: Span): Promise<Figures>;
}

/**
 * Loads a broker.
 *
 * @param stage Where.
 * @param load What is not as usual.
 * @returns What was measured.
 */
export async function underLoad(
  stage: Stage,
  load: Load,
): Promise<Measured & { probed: Figures }> {
  const { clients = CLIENTS, window = WINDOW, bytes = SMALL, services = 1, parts = 0 } = load;
  const multiplexed = stage.dialect === "multiplexed";
  const workers = load.workers ?? (multiplexed ? 1 : WORKERS);
  const broker = await stage.broker(load.needs);
  if (load.idle) await idleWorkers(stage, broker, load.idle);
  const names = services === 1 ? ["echo"] : range(services).map((i) => `echo-${i}`);
  const common = { url: broker.url, dialect: stage.dialect, bytes, services: names, parts };
  const worker = load.ours === undefined
    ? stage.load(
      "raw_worker.ts",
      {
        ...common,
        ...expected(broker),
        workers,
        credit: CREDIT,
        idle: false,
        limit: limit(stage),
      } satisfies RawWorkerJob,
    )
    : ourWorker(stage, broker, load.ours);
  await stage.hear(worker);
  const client = stage.load(
    "raw_client.ts",
    {
      ...common,
      clients,
      ...load.rate === undefined ? { window } : { rate: load.rate },
      ...times(stage),
      watched: { broker: broker.pid, worker: worker.pid },
    } satisfies LoadJob,
  );
  const span = await stage.hear<Span>(client);
  const [measured, probed] = await Promise.all([
    stage.hear<Measured>(client),
    load.probe?.(broker, worker, span) ?? {},
  ]);
  return { ...measured, probed };
}

/** What sockets without protocol engines are told of a broker. */
export function expected({ isOurs }: RunningBroker): Expected {
  return { isOurs, patience: SILENCE };
}

/**
 * Has so many workers register for services of which nobody asks anything.
 *
 * @throws {BenchError} If it is our broker, and does not have them all.
 */
export async function idleWorkers(
  stage: Stage,
  broker: RunningBroker,
  count: number,
): Promise<void> {
  const before = await registered(broker);
  const children: Child[] = [];
  for (let left = count; left > 0; left -= SOCKETS) {
    children.push(stage.load(
      "raw_worker.ts",
      {
        url: broker.url,
        ...expected(broker),
        dialect: stage.dialect,
        bytes: SMALL,
        workers: Math.min(left, SOCKETS),
        credit: CREDIT,
        services: range(1_000).map((i) => `idle-${i}`),
        parts: 0,
        idle: true,
        limit: limit(stage),
      } satisfies RawWorkerJob,
    ));
  }
  for (const child of children) await stage.hear(child);
  const now = await registered(broker) - before;
  if (now < count) {
    throw new BenchError(`The broker has registered ${now} of ${count} idle workers`);
  }
}

/** How many workers our broker has; of another's that is not known. */
async function registered({ url, isOurs }: RunningBroker): Promise<number> {
  if (!isOurs) return NaN;
  await using client = new Client({ broker: url, timeout: SILENCE });
  try {
    const { workers } = (await client.request("mmi.stats", [])).json() as BrokerStats;
    return workers.registered;
  } catch (error) {
    if (!(error instanceof MdpError)) throw error;
    throw new BenchError(error.message);
  }
}

/** For how long, as jobs have it. */
export function times(
  { settings: { warmUp, seconds } }: Stage,
): { warmUp: number; seconds: number } {
  return { warmUp, seconds };
}

/** After how many seconds a process of the load ends by itself, should it be left behind. */
export function limit({ settings: { warmUp, seconds } }: Stage): number {
  return warmUp + seconds + LIMIT;
}

function range(count: number): number[] {
  return Array.from({ length: count }, (_, i) => i);
}

/** What tables have of it. */
export function asFigures({ requests, seconds, latency, usage }: Measured): Figures {
  if (requests === 0) throw new BenchError(`No request was answered within ${show(seconds)} s`);
  const figures: Figures = {
    requests: requests / seconds,
    p50: latency.p50,
    p99: latency.p99,
    "p99.9": latency.p999,
  };
  for (const [part, { cpu }] of Object.entries(usage)) {
    figures[`${part} CPU`] = 1e6 * cpu / requests;
  }
  if (usage.broker !== undefined) figures["broker RSS"] = usage.broker.rss / MIB;
  return figures;
}

/** What is said of our worker. */
export type OurWorker = Pick<WorkerJob, "concurrency"> & { pause?: number };

function ourWorker(stage: Stage, { url }: RunningBroker, worker: OurWorker): Child {
  return stage.load(
    "worker.ts",
    {
      pause: 0,
      ...worker,
      url,
      dialect: stage.dialect,
      bytes: SMALL,
      limit: limit(stage),
    } satisfies WorkerJob,
  );
}

/**
 * Loads a broker by our client and worker, each in a process, as programs use them.
 *
 * @param stage Where.
 * @param inFlight How many requests the client has in flight.
 * @param ours What is said of the worker.
 * @returns What was measured.
 */
export async function withOurs(
  stage: Stage,
  inFlight: number,
  ours: OurWorker,
): Promise<Measured> {
  const broker = await stage.broker();
  const worker = ourWorker(stage, broker, ours);
  await stage.hear(worker);
  const client = stage.load(
    "client.ts",
    {
      url: broker.url,
      dialect: stage.dialect,
      bytes: SMALL,
      inFlight,
      ...times(stage),
      watched: { broker: broker.pid, worker: worker.pid },
    } satisfies ClientJob,
  );
  return await stage.hear<Measured>(client);
}
