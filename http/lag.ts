/**
 * How late the event loop is: how long whatever is due has to wait for what runs.
 *
 * @module
 */

import type { Histogram } from "../broker.ts";

/** How often it is looked at, in ms. */
const INTERVAL = 250;
/** In seconds. A timer alone is late by up to some 2 ms. */
const BOUNDS: readonly number[] = [0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10];

/** Looks at the event loop's lag, from its start to its end. */
export class LagMeter {
  readonly #counts = new Array<number>(BOUNDS.length + 1).fill(0);
  #sum = 0;
  #count = 0;
  #longest = 0;
  #due = 0;
  #timer: ReturnType<typeof setTimeout> | undefined;

  /** Begins to look. It does not keep the process alive. */
  start(): void {
    this.#due = performance.now() + INTERVAL;
    this.#timer = setTimeout(this.#look, INTERVAL);
    Deno.unrefTimer(this.#timer);
  }

  /** Looks no more. */
  stop(): void {
    clearTimeout(this.#timer);
  }

  /** All that was seen, in seconds. */
  get histogram(): Histogram {
    return { bounds: BOUNDS, counts: [...this.#counts], sum: this.#sum, count: this.#count };
  }

  /**
   * The longest since this was asked last, or since the start.
   *
   * @returns It in ms.
   */
  takeLongest(): number {
    const longest = this.#longest;
    this.#longest = 0;
    return longest;
  }

  readonly #look = (): void => {
    const lag = Math.max(0, performance.now() - this.#due);
    const seconds = lag / 1_000;
    const bucket = BOUNDS.findIndex((bound) => seconds <= bound);
    this.#counts[bucket === -1 ? BOUNDS.length : bucket]!++;
    this.#sum += seconds;
    this.#count++;
    this.#longest = Math.max(this.#longest, lag);
    this.start();
  };
}
