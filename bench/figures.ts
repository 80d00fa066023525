/**
 * The figures that are measured, and what is made of several rounds of them.
 *
 * @module
 */

/** A figure that a shape gives. */
export interface Figure {
  /** How it is called in tables and in JSON. */
  name: string;
  /** What it counts in. */
  unit: string;
  /** Which is better. */
  better: "more" | "less";
}

/** A figure over all rounds. */
export interface Summary {
  /** The median. */
  median: number;
  /** The least. */
  low: number;
  /** The greatest. */
  high: number;
  /** Each round's, in order; `null` where it was not given. */
  values: (number | null)[];
}

/**
 * The median.
 *
 * @param values At least one number.
 */
export function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2;
}

/**
 * Sums rounds up.
 *
 * @param rounds A figure of each round; `NaN` where it was not given.
 * @returns The summary; `undefined` if it was never given.
 */
export function summarize(rounds: readonly number[]): Summary | undefined {
  const given = rounds.filter(Number.isFinite);
  if (given.length === 0) return undefined;
  const values = rounds.map((value) => Number.isFinite(value) ? value : null);
  return { median: median(given), low: Math.min(...given), high: Math.max(...given), values };
}

/**
 * How one side does relative to the other, round by round.
 *
 * @param rounds Of one side.
 * @param others Of the other side, in the same rounds.
 * @returns The ratios' summary; `undefined` if there is no round that both ended well, or one of those
 * has no ratio: without it those that are left would tell of something else.
 */
export function pairwise(rounds: readonly number[], others: readonly number[]) {
  const ratios = rounds.map((value, i) => value / (others[i] ?? NaN));
  const isLacking = ratios.some((ratio, i) =>
    !Number.isFinite(ratio) && Number.isFinite(rounds[i]) && Number.isFinite(others[i])
  );
  return isLacking ? undefined : summarize(ratios);
}

/** A number as tables have it: three digits at least, and no more after the point than help. */
export function show(value: number): string {
  const size = Math.abs(value);
  const digits = size === 0 || size >= 100 ? 0 : size >= 10 ? 1 : size >= 1 ? 2 : 3;
  return value.toLocaleString("en-US", {
    minimumFractionDigits: digits,
    maximumFractionDigits: digits,
  });
}
