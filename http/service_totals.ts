/**
 * What is counted by service, for a reader that keeps a series of figures for each name that it
 * ever saw: names are bounded in number and length, and no count is lost when one is forgotten.
 *
 * @module
 */

import type { BrokerStats, Histogram, ServiceStats } from "../broker.ts";

/** How many services are told apart. */
const MOST = 1_000;
/** How many characters a name may have to be told apart. */
const LONGEST = 200;
/** Whose figures are all that belong to no service that is told apart. */
export const OTHER = "other";

const COUNTERS = [
  "accepted",
  "answered",
  "errors",
  "expired",
  "dropped",
  "refused",
  "recovered",
  "partials",
  "workersLost",
] as const;
const GAUGES = ["workers", "waiting", "credit", "inFlight", "queued", "queuedBytes"] as const;

type Counts = Record<typeof COUNTERS[number], number>;

/**
 * Divides what the broker has counted among the services that are told apart and the rest: their
 * sum is what it has counted in all, and none of them ever shrinks but by starting anew.
 */
export class ServiceTotals {
  /** The services told apart, as they were last seen. */
  #seen = new Map<string, ServiceStats>();
  /** What those have counted that are told apart no longer, as far as it was seen. */
  readonly #gone: Counts = noCounts();

  /**
   * Takes the figures of now.
   *
   * @param stats The broker's.
   * @param services Those of the services that it has now.
   * @returns Those told apart, which go on being it while they are there, and `other`.
   */
  divide(stats: BrokerStats, services: readonly ServiceStats[]): ServiceStats[] {
    const before = this.#seen;
    this.#seen = new Map();
    const rest: ServiceStats[] = [];
    const newcomers: ServiceStats[] = [];
    for (const service of services) {
      const { name } = service;
      // Names that only show the same, of bytes that are not, would be one series.
      if (name === OTHER || name.length > LONGEST || this.#seen.has(name)) rest.push(service);
      else if (before.has(name)) this.#seen.set(name, service);
      else newcomers.push(service);
    }
    for (const service of newcomers) {
      if (this.#seen.size < MOST && !this.#seen.has(service.name)) {
        this.#seen.set(service.name, service);
      } else rest.push(service);
    }
    for (const [name, last] of before) {
      const now = this.#seen.get(name);
      // Counts that begin anew are another service's of that name: the broker forgot the first.
      if (now === undefined || now.accepted < last.accepted || now.refused < last.refused) {
        for (const counter of COUNTERS) this.#gone[counter] += last[counter];
      }
    }
    return [...this.#seen.values(), this.#other(stats, rest)];
  }

  #other(stats: BrokerStats, rest: readonly ServiceStats[]): ServiceStats {
    const counts = totals(stats);
    for (const service of [this.#gone, ...this.#seen.values()]) {
      for (const counter of COUNTERS) counts[counter] -= service[counter];
    }
    const gauges = Object.fromEntries(
      GAUGES.map((gauge) => [gauge, rest.reduce((sum, service) => sum + service[gauge], 0)]),
    ) as Record<typeof GAUGES[number], number>;
    const [any] = this.#seen.values();
    return {
      name: OTHER,
      ...counts,
      ...gauges,
      wait: sum(rest.map(({ wait }) => wait), any?.wait.bounds),
      serviceTime: sum(rest.map(({ serviceTime }) => serviceTime), any?.serviceTime.bounds),
    };
  }
}

/**
 * Histograms with the same bounds as one.
 *
 * @param histograms The histograms.
 * @param bounds Their bounds, in case that there are none.
 * @returns The histogram of all that they have seen.
 */
export function sum(
  histograms: readonly Histogram[],
  bounds: readonly number[] = histograms[0]?.bounds ?? [],
): Histogram {
  const total: Histogram = {
    bounds,
    counts: new Array<number>(bounds.length + 1).fill(0),
    sum: 0,
    count: 0,
  };
  for (const { counts, sum, count } of histograms) {
    for (let i = 0; i < counts.length; i++) total.counts[i]! += counts[i]!;
    total.sum += sum;
    total.count += count;
  }
  return total;
}

/**
 * Workers that left and did not say so.
 *
 * @param stats What the broker has counted.
 * @returns How many there were, of all services.
 */
export function lostWorkers({ workers: { left } }: Pick<BrokerStats, "workers">): number {
  return left.gone + left.silent + left.violation + left.full;
}

function totals({ dropped, refused, ...stats }: BrokerStats): Counts {
  const all = (counts: Record<string, number>) =>
    Object.values(counts).reduce((sum, count) => sum + count, 0);
  return {
    accepted: stats.accepted,
    answered: stats.answered,
    errors: stats.errors,
    expired: stats.expired,
    dropped: all(dropped),
    refused: all(refused),
    recovered: stats.recovered,
    partials: stats.partials,
    workersLost: lostWorkers(stats),
  };
}

function noCounts(): Counts {
  return Object.fromEntries(COUNTERS.map((counter) => [counter, 0])) as Counts;
}
