/**
 * What is the matter with a service, in a few words, so that whoever looks need not conclude it
 * from a row of figures.
 *
 * @module
 */

import type { ServiceStats } from "../broker.ts";

/** How a service is. */
export interface ServiceState {
  /** In words: `ok`, or all that is wrong, the worst first, e.g. `no workers, expiring`. */
  words: string;
  /** How bad that is: 0 is fine, and more is worse. */
  rank: number;
}

/** What tells how a service is: what it has now, and what happened to it lately. */
export type StateFigures = Pick<
  ServiceStats,
  | "workers"
  | "waiting"
  | "queued"
  | "refused"
  | "expired"
  | "dropped"
  | "workersLost"
  | "errors"
>;

/** From the worst. */
const TROUBLES: readonly [words: string, has: (figures: StateFigures) => boolean][] = [
  ["no workers", ({ workers, queued }) => workers === 0 && queued > 0],
  ["refusing", ({ refused }) => refused > 0],
  ["expiring", ({ expired }) => expired > 0],
  ["dropping", ({ dropped }) => dropped > 0],
  ["losing workers", ({ workersLost }) => workersLost > 0],
  ["failing", ({ errors }) => errors > 0],
  ["all busy", ({ workers, waiting, queued }) => workers > 0 && waiting === 0 && queued > 0],
];

/** What only may be slow is of this rank at most, and what is worse of a higher one. */
export const SLOW = 1;

/**
 * Says how a service is.
 *
 * @param figures What it has now, and what happened to it lately.
 * @returns See {@linkcode ServiceState}.
 */
export function stateOf(figures: StateFigures): ServiceState {
  const troubles = TROUBLES.filter(([, has]) => has(figures));
  if (troubles.length === 0) return { words: "ok", rank: 0 };
  return {
    words: troubles.map(([words]) => words).join(", "),
    // Whatever the others are, the worst counts most.
    rank: troubles.reduce((sum, it) => sum + 2 ** (TROUBLES.length - 1 - TROUBLES.indexOf(it)), 0),
  };
}

/**
 * What happened to a service between two looks at it.
 *
 * @param now The later.
 * @param before The earlier, if it was known then.
 * @returns The service as it is now, with what was counted in between.
 */
export function happenedSince(now: ServiceStats, before: ServiceStats | undefined): StateFigures {
  if (before === undefined || before.accepted > now.accepted) return now;
  return {
    ...now,
    refused: now.refused - before.refused,
    expired: now.expired - before.expired,
    dropped: now.dropped - before.dropped,
    workersLost: now.workersLost - before.workersLost,
    errors: now.errors - before.errors,
  };
}
