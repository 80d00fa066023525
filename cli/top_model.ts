/**
 * What `mdp top` shows: figures of a broker's services, made of two looks at them.
 *
 * @module
 */

import type { PingAnswer, ServiceStats } from "../broker.ts";
import { happenedSince, stateOf } from "../http/service_state.ts";
import { quantile, since } from "./histogram.ts";

/** One look at a broker. */
export interface Look {
  /** When, in ms of `performance.now()`. */
  at: number;
  broker: PingAnswer;
  services: readonly ServiceStats[];
  /** Workers that have left so far without having said so. */
  workersLost: number;
  /** How many services there are, of which the broker may have told only some. */
  total: number;
}

/** A service, as it has been since the look before; its state and times are of the last while. */
export interface Row {
  name: string;
  /** What is the matter with it; `ok` if nothing. */
  state: string;
  /** How bad that is: 0 is fine, and more is worse. */
  rank: number;
  workers: number;
  /** Workers that left and did not say so, since the service is known. */
  lost: number;
  /** Those of them that hold requests and have no room for more. */
  full: number;
  inFlight: number;
  queued: number;
  queuedBytes: number;
  /** Answers, errors among them, and those alone, a second. */
  rate: number;
  errorRate: number;
  /** Requests a second that were accepted or refused and will get no answer. */
  lossRate: number;
  /** Times in ms; `NaN` where there were none. */
  timeP50: number;
  timeP99: number;
  waitP99: number;
}

/** The columns that rows can be sorted by. */
export type SortKey = Exclude<keyof Row, "queuedBytes" | "state">;

/**
 * Makes rows of two looks.
 *
 * @param now The later one.
 * @param before The earlier; without it there are no rates.
 * @param first One yet earlier, from which on states and times are told: in a moment there may be
 * nothing that ends, the less so the slower a service is. Without it they are those of all requests.
 * @returns A row for each service.
 */
export function rowsOf(now: Look, before: Look | undefined, first: Look | undefined): Row[] {
  const byName = (look: Look | undefined) =>
    new Map(look?.services.map((service) => [service.name, service]));
  const past = byName(before), window = byName(first);
  const seconds = before === undefined ? 0 : (now.at - before.at) / 1_000;
  return now.services.map((service) => {
    const { name, workers, waiting, inFlight, queued, queuedBytes } = service;
    const then = past.get(name);
    const rate = (of: (service: ServiceStats) => number) => {
      if (seconds <= 0) return 0;
      const grown = of(service) - (then === undefined ? 0 : of(then));
      // A service that was forgotten and came back counts from the beginning.
      return (grown < 0 ? of(service) : grown) / seconds;
    };
    const start = window.get(name);
    const time = since(service.serviceTime, start?.serviceTime);
    const wait = since(service.wait, start?.wait);
    // What happened before anybody looked is not what is the matter now.
    const { words: state, rank } = stateOf(
      happenedSince(service, first === undefined ? service : start),
    );
    return {
      name,
      state,
      rank,
      workers,
      lost: service.workersLost,
      full: workers - waiting,
      inFlight,
      queued,
      queuedBytes,
      rate: rate(({ answered }) => answered),
      errorRate: rate(({ errors }) => errors),
      lossRate: rate(({ expired, dropped, refused }) => expired + dropped + refused),
      timeP50: quantile(time, 0.5),
      timeP99: quantile(time, 0.99),
      waitP99: quantile(wait, 0.99),
    };
  });
}

/**
 * Sorts rows.
 *
 * @param rows The rows.
 * @param key By what.
 * @param descending Whether the largest comes first; those without a figure always come last.
 * @returns Them, rows that are equal by their names.
 */
export function sortRows(rows: readonly Row[], key: SortKey, descending: boolean): Row[] {
  return rows.toSorted((a, b) => {
    const byName = a.name < b.name ? -1 : a.name > b.name ? 1 : 0;
    if (key === "name") return descending ? -byName : byName;
    // What is equally well is in the order of its requests.
    if (key === "rank") {
      return (descending ? b.rank - a.rank : a.rank - b.rank) || b.rate - a.rate || byName;
    }
    const [left, right] = [a[key], b[key]];
    if (Number.isNaN(left) || Number.isNaN(right)) {
      return Number(Number.isNaN(left)) - Number(Number.isNaN(right)) || byName;
    }
    return (descending ? right - left : left - right) || byName;
  });
}
