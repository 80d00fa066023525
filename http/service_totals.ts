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

/** What is shown of each as a series that only grows. */
const COUNTERS = [
  "accepted",
  "succeeded",
  "errors",
  "expired",
  "dropped",
  "refused",
  "recovered",
  "partials",
  "workersLost",
] as const;
const GAUGES = ["workers", "waiting", "credit", "inFlight", "queued", "queuedBytes"] as const;

/** `succeeded` are those answered without an error. */
type Counts = Record<typeof COUNTERS[number], number>;

/**
 * Divides what the broker has counted among the services that are told apart and the rest. By what
 * the series grow from one look to the next they add up to what it has counted in all: a service's
 * begin with 0 when it comes, and again when it comes back, and those of `other` never shrink.
 */
export class ServiceTotals {
  /** The services told apart, as they were last seen. */
  #seen = new Map<string, Counts>();
  /** What series have shown that have ended, or begun anew. */
  readonly #gone: Counts = noCounts();
  /** What `other` has shown last. */
  #shown: Counts = noCounts();

  /**
   * Takes the figures of now.
   *
   * @param stats The broker's.
   * @param services Those of the services that it has now.
   * @returns Those told apart, which go on being it while they are there, and `other`.
   */
  divide(stats: BrokerStats, services: readonly ServiceStats[]): ServiceStats[] {
    const before = this.#seen;
    const seen = new Map<string, ServiceStats>();
    const rest: ServiceStats[] = [];
    const newcomers: ServiceStats[] = [];
    for (const service of services) {
      const { name } = service;
      // Names that only show the same, of bytes that are not, would be one series.
      if (name === OTHER || name.length > LONGEST || seen.has(name)) rest.push(service);
      else if (before.has(name)) seen.set(name, service);
      else newcomers.push(service);
    }
    for (const service of newcomers) {
      if (seen.size < MOST && !seen.has(service.name)) seen.set(service.name, service);
      else rest.push(service);
    }
    this.#seen = new Map(Array.from(seen, ([name, service]) => [name, countsOf(service)]));
    for (const [name, last] of before) {
      const now = this.#seen.get(name);
      for (const counter of COUNTERS) {
        // The service may be another of that name, as the broker forgot the first, and have counted
        // more of this by now: then nobody sees that its series has begun anew.
        if (now === undefined || now[counter] < last[counter]) this.#gone[counter] += last[counter];
      }
    }
    const apart = [...seen.values()];
    return [...apart, this.#other(stats, rest, apart[0])];
  }

  #other(
    stats: BrokerStats,
    rest: readonly ServiceStats[],
    any: ServiceStats | undefined,
  ): ServiceStats {
    const counts = totals(stats);
    for (const counter of COUNTERS) {
      counts[counter] -= this.#gone[counter];
      for (const service of this.#seen.values()) counts[counter] -= service[counter];
      // One of the rest that is told apart from now on leaves here what it has counted before.
      const missing = Math.max(0, this.#shown[counter] - counts[counter]);
      counts[counter] += missing;
      this.#gone[counter] -= missing;
    }
    this.#shown = counts;
    const gauges = Object.fromEntries(
      GAUGES.map((gauge) => [gauge, rest.reduce((sum, service) => sum + service[gauge], 0)]),
    ) as Record<typeof GAUGES[number], number>;
    const { succeeded, ...others } = counts;
    return {
      name: OTHER,
      ...others,
      answered: succeeded + counts.errors,
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

function countsOf(service: ServiceStats): Counts {
  return { ...service, succeeded: service.answered - service.errors };
}

function totals({ dropped, refused, ...stats }: BrokerStats): Counts {
  const all = (counts: Record<string, number>) =>
    Object.values(counts).reduce((sum, count) => sum + count, 0);
  return {
    accepted: stats.accepted,
    succeeded: stats.answered - stats.errors,
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
