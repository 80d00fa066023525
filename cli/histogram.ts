/**
 * What a broker's histograms tell.
 *
 * @module
 */

import type { Histogram } from "../broker.ts";

/**
 * A quantile, as near as the bounds of the buckets allow: within one all times are held for
 * equally likely.
 *
 * @param histogram A histogram of times.
 * @param q From 0 to 1.
 * @returns The time in ms; `NaN` if there is nothing in it. Beyond the last bound, that bound.
 */
export function quantile({ bounds, counts, count }: Histogram, q: number): number {
  if (count === 0) return NaN;
  const rank = q * count;
  let below = 0;
  for (const [at, here] of counts.entries()) {
    const upper = bounds[at], lower = at === 0 ? 0 : bounds[at - 1]!;
    if (upper === undefined) return 1_000 * lower;
    if (here > 0 && below + here >= rank) {
      return 1_000 * (lower + (upper - lower) * (rank - below) / here);
    }
    below += here;
  }
  return NaN;
}

/**
 * What came to a histogram between two looks at it.
 *
 * @param now The later look.
 * @param before The earlier; if it is none, or of another one, all is new.
 * @returns The difference.
 */
export function since(now: Histogram, before: Histogram | undefined): Histogram {
  if (before === undefined || before.count > now.count) return now;
  if (before.counts.length !== now.counts.length) return now;
  return {
    bounds: now.bounds,
    counts: now.counts.map((count, at) => count - before.counts[at]!),
    sum: now.sum - before.sum,
    count: now.count - before.count,
  };
}
