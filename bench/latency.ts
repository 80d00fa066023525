/**
 * Latencies, in a histogram of high dynamic range: whatever their number, it takes the same memory,
 * and each percentile is right to three digits.
 *
 * @module
 */

import { build } from "hdr-histogram-js";

/** The unit of what is recorded: 0.1 µs. */
const PER_MS = 10_000;
/** The longest that is told apart, in ms. */
const LONGEST = 60_000;

/** Percentiles of latencies, in ms. */
export interface Percentiles {
  /** The median. */
  p50: number;
  /** What 99 of 100 do not exceed. */
  p99: number;
  /** What 999 of 1,000 do not exceed. */
  p999: number;
  /** The longest. */
  max: number;
}

/** A histogram of latencies. */
export class Latencies {
  readonly #histogram = build({
    lowestDiscernibleValue: 1,
    highestTrackableValue: LONGEST * PER_MS,
    numberOfSignificantValueDigits: 3,
  });

  /**
   * Counts one.
   *
   * @param milliseconds From when it was to begin (not from when it did) to its end.
   */
  record(milliseconds: number): void {
    const value = Math.round(milliseconds * PER_MS);
    this.#histogram.recordValue(Math.min(Math.max(value, 1), LONGEST * PER_MS));
  }

  /** How many were counted. */
  get count(): number {
    return this.#histogram.totalCount;
  }

  /** Forgets them. */
  reset(): void {
    this.#histogram.reset();
  }

  /** What is reported of them; zeros if there are none. */
  percentiles(): Percentiles {
    const at = (percentile: number) =>
      this.count === 0 ? 0 : this.#histogram.getValueAtPercentile(percentile) / PER_MS;
    return { p50: at(50), p99: at(99), p999: at(99.9), max: at(100) };
  }
}
