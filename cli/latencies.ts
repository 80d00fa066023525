/**
 * Latencies, counted in a histogram of high dynamic range: whatever their number it takes the
 * same memory, and each percentile is right to three digits.
 *
 * @module
 */

import { build, type Histogram } from "hdr-histogram-js";
import { showCount, showTime } from "./units.ts";

/** The unit of what is recorded: 0.1 µs. */
const PER_MS = 10_000;
/** The longest that is told apart, in ms: what is longer counts as that. */
const LONGEST = 3_600_000;
/** How wide the longest bar is. */
const BAR = 40;
/** How many bars there are at most. */
const BARS = 16;

/** What is told of latencies, in ms; zeros if there are none. */
export interface Summary {
  min: number;
  mean: number;
  p50: number;
  p90: number;
  p99: number;
  p999: number;
  max: number;
}

/** A histogram of latencies. */
export class Latencies {
  readonly #histogram: Histogram = build({
    lowestDiscernibleValue: 1,
    highestTrackableValue: LONGEST * PER_MS,
    numberOfSignificantValueDigits: 3,
  });
  /** The same in the buckets of the picture: the upper bound of number n is 2 ** (n / 4) µs. */
  readonly #buckets: number[] = [];
  #min = Infinity;
  #max = 0;

  /**
   * Counts one.
   *
   * @param milliseconds How long it took.
   */
  record(milliseconds: number): void {
    const value = Math.min(Math.max(Math.round(milliseconds * PER_MS), 1), LONGEST * PER_MS);
    this.#histogram.recordValue(value);
    const bucket = Math.max(0, Math.ceil(4 * Math.log2(milliseconds * 1_000)));
    this.#buckets[bucket] = (this.#buckets[bucket] ?? 0) + 1;
    this.#min = Math.min(this.#min, milliseconds);
    this.#max = Math.max(this.#max, milliseconds);
  }

  /** How many were counted. */
  get count(): number {
    return this.#histogram.totalCount;
  }

  /** What is told of them. */
  summary(): Summary {
    if (this.count === 0) return { min: 0, mean: 0, p50: 0, p90: 0, p99: 0, p999: 0, max: 0 };
    const at = (percentile: number) =>
      Math.min(this.#max, this.#histogram.getValueAtPercentile(percentile) / PER_MS);
    return {
      min: this.#min,
      mean: this.#histogram.mean / PER_MS,
      p50: at(50),
      p90: at(90),
      p99: at(99),
      p999: at(99.9),
      max: this.#max,
    };
  }

  /**
   * Draws how they are spread: a bar for each range, which is a fixed multiple of the one before.
   *
   * @returns Lines: up to how long, how many, and how many that is.
   */
  draw(): string[] {
    const first = this.#buckets.findIndex((count) => count > 0);
    if (first < 0) return [];
    const step = Math.ceil((this.#buckets.length - first) / BARS);
    const bars: { until: number; count: number }[] = [];
    for (let from = first; from < this.#buckets.length; from += step) {
      let count = 0;
      for (let at = from; at < from + step; at++) count += this.#buckets[at] ?? 0;
      const until = Math.min(this.#max, 2 ** ((from + step - 1) / 4) / 1_000);
      bars.push({ until, count });
    }
    const most = Math.max(...bars.map(({ count }) => count));
    const labels = bars.map(({ until }) => showTime(until));
    const counts = bars.map(({ count }) => showCount(count));
    const [wide, widest] = [labels, counts].map((texts) =>
      Math.max(...texts.map(({ length }) => length))
    );
    return bars.map(({ count }, at) => {
      const bar = count === 0 ? "" : "█".repeat(Math.max(1, Math.round(BAR * count / most)));
      return `≤ ${labels[at]!.padStart(wide!)}  ${counts[at]!.padStart(widest!)}  ${bar}`.trimEnd();
    });
  }
}
