/**
 * How long things took, as a histogram: to count one is a few instructions and allocates nothing,
 * whatever the number of those counted before.
 *
 * @module
 */

/** The first bound is one by this, in ms; each further one is twice the one before. */
const PER_MILLISECOND = 8;
/** How many bounds there are. */
const BOUNDS = 20;

/** A histogram of durations, as Prometheus and OpenTelemetry know it. */
export interface Histogram {
  /**
   * The upper bounds of the buckets in seconds, ascending: 0.000125, 0.00025, … up to 65.536, each
   * twice the one before. What is equal to a bound is below it.
   */
  bounds: readonly number[];
  /** How many fell into each bucket, and not into one before; one more than bounds, for the rest. */
  counts: number[];
  /** All of them together, in seconds. */
  sum: number;
  /** How many there are. */
  count: number;
}

/** The bounds of all histograms. */
export const TIME_BOUNDS: readonly number[] = Object.freeze(
  Array.from({ length: BOUNDS }, (_, i) => 2 ** i / PER_MILLISECOND / 1_000),
);

/** Durations that are counted. */
export class Times {
  /** By bucket. */
  readonly #counts = new Float64Array(BOUNDS + 1);
  /** In ms. */
  #sum = 0;

  /**
   * Counts one.
   *
   * @param milliseconds How long it was.
   */
  add(milliseconds: number): void {
    this.#sum += milliseconds;
    // One more than the position of the highest bit: 0 for 0, 1 for 1, 2 for 2 and 3, ….
    const units = milliseconds * PER_MILLISECOND;
    const bucket = units <= 1 ? 0 : 32 - Math.clz32(Math.min(Math.ceil(units), 2 ** 30) - 1);
    this.#counts[bucket < BOUNDS ? bucket : BOUNDS]!++;
  }

  /** What was counted so far. A copy. */
  histogram(): Histogram {
    const counts = [...this.#counts];
    const count = counts.reduce((sum, count) => sum + count);
    return { bounds: TIME_BOUNDS, counts, sum: this.#sum / 1_000, count };
  }
}

/** The histogram of nothing. */
export function noTimes(): Histogram {
  return { bounds: TIME_BOUNDS, counts: new Array(BOUNDS + 1).fill(0), sum: 0, count: 0 };
}
