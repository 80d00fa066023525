/**
 * Chance that can be had again: the same seed, the same numbers.
 *
 * @module
 */

/** A generator of pseudo-random numbers (mulberry32). */
export class Random {
  /** What it was begun with. */
  readonly seed: number;
  #state: number;

  /** Begins with a seed, of which 32 bits count. */
  constructor(seed: number) {
    this.seed = seed >>> 0;
    this.#state = this.seed;
  }

  /** From 0 to 1, without 1. */
  next(): number {
    this.#state = (this.#state + 0x6d2b79f5) >>> 0;
    let t = this.#state;
    t = Math.imul(t ^ (t >>> 15), t | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  }

  /** A whole number from 0 to below this one. */
  below(end: number): number {
    return Math.floor(this.next() * end);
  }

  /** A whole number of a range, both ends included. */
  between(least: number, most: number): number {
    return least + this.below(most - least + 1);
  }

  /** True in so many cases of 1. */
  chance(probability: number): boolean {
    return this.next() < probability;
  }

  /** One of a list. */
  pick<T>(list: readonly T[]): T {
    return list[this.below(list.length)]!;
  }

  /** Up to so many bytes. */
  bytes(most: number): Uint8Array<ArrayBuffer> {
    return Uint8Array.from({ length: this.below(most + 1) }, () => this.below(256));
  }

  /** Another generator, which does not disturb this one. */
  fork(): Random {
    return new Random(this.below(2 ** 32));
  }
}

/** A seed for a run whose result need not be had again, until it is: print it. */
export function anySeed(): number {
  return crypto.getRandomValues(new Uint32Array(1))[0]!;
}
