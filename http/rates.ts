/**
 * What happens in a second, from two looks at what was counted.
 *
 * @module
 */

import type { BrokerStats, Histogram, ServiceStats } from "../broker.ts";
import { happenedSince, stateOf } from "./service_state.ts";
import { lostWorkers, sum } from "./service_totals.ts";

/**
 * How long the time is, in ms, that a service's latency and state are of: in a second there may be
 * nothing that ends, the less so the slower a service is.
 */
const WINDOW = 10_000;

/** Durations of requests that ended, in ms; `null` if none did. */
export interface Latency {
  /** The time that 99 % of dispatched requests had waited for a worker at most. */
  wait99: number | null;
  /** The time that half of the workers' replies took at most. */
  p50: number | null;
  /** The time that 99 % of them took at most. */
  p99: number | null;
}

/** A broker in one second. */
export interface Sample extends Latency {
  /** When it ended, in ms since 1970. */
  time: number;
  /** Requests answered, a second. */
  answered: number;
  /** Requests that ended otherwise, and those answered by ERROR, a second. */
  failed: number;
  /** Requests that a worker holds, now. */
  inFlight: number;
  /** Requests that wait for a worker, now. */
  queued: number;
  /** Workers registered now. */
  workers: number;
  /** Workers that left in it and did not say so. */
  lost: number;
}

/** A service in one second; its latency is of the last ten. */
export interface ServiceSample extends Latency {
  /** Its name. */
  name: string;
  /** Requests answered, a second. */
  answered: number;
  /** Requests that ended otherwise, and those answered by ERROR, a second. */
  failed: number;
  /** What is the matter with it, or has been in the last ten seconds; `ok` if nothing. */
  state: string;
  /** How bad that is: 0 is fine, and more is worse. */
  rank: number;
  /** Its workers now. */
  workers: number;
  /** Those of them that have room for a request. */
  waiting: number;
  /** How many of its workers have left and did not say so, since it is known. */
  lost: number;
  /** How many requests they take at once, all together. */
  credit: number;
  /** Requests that they hold. */
  inFlight: number;
  /** Requests that wait for one. */
  queued: number;
  /** How many bytes of body these have. */
  queuedBytes: number;
}

type Counted = Pick<ServiceStats, "answered" | "errors" | "expired" | "dropped" | "refused">;

const NOTHING: Counted = { answered: 0, errors: 0, expired: 0, dropped: 0, refused: 0 };

/** Looks at a broker time and again. */
export class Rates {
  #at: number;
  #total: Counted = NOTHING;
  #lost = 0;
  /** The services as they were at each look of the window, and at the last one before it. */
  readonly #looks: { at: number; services: Map<string, ServiceStats> }[] = [];

  /**
   * @param now The time that the first look counts from, in ms of a clock that is not set.
   * @param stats The broker's figures at that time; without them it has counted nothing.
   * @param services Those of its services.
   */
  constructor(now: number, stats?: BrokerStats, services: readonly ServiceStats[] = []) {
    this.#at = now;
    if (stats !== undefined) {
      this.#total = totalOf(stats);
      this.#lost = lostWorkers(stats);
    }
    this.#remember(now, services);
  }

  /**
   * What has happened since the last look.
   *
   * @param now The time in ms, by the same clock.
   * @param stats The broker's figures.
   * @param services Those of its services.
   * @returns The rates of the broker and of each service.
   */
  look(
    now: number,
    stats: BrokerStats,
    services: readonly ServiceStats[],
  ): { sample: Sample; services: ServiceSample[] } {
    const seconds = Math.max(now - this.#at, 1) / 1_000;
    const looks = this.#looks;
    while (looks.length > 1 && looks[1]!.at <= now - WINDOW) looks.shift();
    const before = looks.at(-1)!.services, first = looks[0]!.services;
    const waits: Histogram[] = [], times: Histogram[] = [];
    const samples = services.map((service) => {
      const { name, workers, waiting, credit, inFlight, queued, queuedBytes } = service;
      const last = earlier(service, before), past = earlier(service, first);
      waits.push(since(service.wait, last?.wait));
      times.push(since(service.serviceTime, last?.serviceTime));
      const { words: state, rank } = stateOf(happenedSince(service, past));
      return {
        name,
        state,
        rank,
        workers,
        lost: service.workersLost,
        waiting,
        credit,
        inFlight,
        queued,
        queuedBytes,
        ...outcomes(service, last ?? NOTHING, seconds),
        ...latency(
          since(service.wait, past?.wait),
          since(service.serviceTime, past?.serviceTime),
        ),
      };
    });
    const total = totalOf(stats);
    const sample = {
      time: Date.now(),
      inFlight: stats.inFlight,
      queued: stats.queued,
      workers: stats.workers.registered,
      lost: lostWorkers(stats) - this.#lost,
      ...outcomes(total, this.#total, seconds),
      ...latency(sum(waits), sum(times)),
    };
    this.#at = now;
    this.#total = total;
    this.#lost = lostWorkers(stats);
    this.#remember(now, services);
    return { sample, services: samples };
  }

  #remember(at: number, services: readonly ServiceStats[]): void {
    const byName = new Map(services.map((service) => [service.name, service]));
    this.#looks.push({ at, services: byName });
  }
}

/**
 * The value that a share of what a histogram has seen does not exceed, as near as its bounds tell.
 *
 * @param histogram The histogram.
 * @param share The share, from 0 to 1.
 * @returns The value; `null` if the histogram has seen nothing.
 */
export function quantile(
  { bounds, counts, count }: Histogram,
  share: number,
): number | null {
  if (count === 0) return null;
  const rank = share * count;
  let below = 0;
  for (const [i, bound] of bounds.entries()) {
    const inside = counts[i]!;
    if (inside > 0 && below + inside >= rank) {
      const from = i === 0 ? 0 : bounds[i - 1]!;
      return from + (bound - from) * Math.max(rank - below, 0) / inside;
    }
    below += inside;
  }
  return bounds.at(-1) ?? null;
}

/** A service as it was, unless it was forgotten since and has come again. */
function earlier(
  { name, accepted }: ServiceStats,
  services: ReadonlyMap<string, ServiceStats>,
): ServiceStats | undefined {
  const then = services.get(name);
  return then !== undefined && then.accepted <= accepted ? then : undefined;
}

function totalOf({ dropped, refused, ...stats }: BrokerStats): Counted {
  return { ...stats, dropped: all(dropped), refused: all(refused) };
}

function outcomes(now: Counted, before: Counted, seconds: number) {
  const grown = (counter: keyof Counted) => now[counter] - before[counter];
  const failed = grown("errors") + grown("expired") + grown("dropped") + grown("refused");
  return {
    answered: rate(grown("answered") - grown("errors"), seconds),
    failed: rate(failed, seconds),
  };
}

/** A worker's answer that did not reach its client is counted as one first: that can be undone. */
function rate(count: number, seconds: number): number {
  return Math.max(0, Math.round(count / seconds * 10) / 10);
}

function latency(wait: Histogram, time: Histogram): Latency {
  return {
    wait99: inMilliseconds(quantile(wait, 0.99)),
    p50: inMilliseconds(quantile(time, 0.5)),
    p99: inMilliseconds(quantile(time, 0.99)),
  };
}

/** With three digits, which is more than the bounds are worth. */
function inMilliseconds(seconds: number | null): number | null {
  return seconds === null ? null : Number((seconds * 1_000).toPrecision(3));
}

function since(now: Histogram, before: Histogram | undefined): Histogram {
  if (before === undefined) return now;
  return {
    bounds: now.bounds,
    counts: now.counts.map((count, i) => count - before.counts[i]!),
    sum: now.sum - before.sum,
    count: now.count - before.count,
  };
}

function all(counts: Record<string, number>): number {
  return Object.values(counts).reduce((sum, count) => sum + count, 0);
}
