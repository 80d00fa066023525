/**
 * Items by the ids that a peer chose for them: a hash table whose links are fields of its items,
 * so that to put in, to find and to take out is O(1) and allocates nothing. A `Map` would leave
 * its old tables to the garbage collector all the time; see `tokens.ts`.
 *
 * @module
 */

import type { Id } from "./commands.ts";

/** What can be in the table. */
export interface Identified<T> {
  /** Its id. */
  readonly id: Id;
  /** The next item of the same bucket; the table's own. */
  sibling: T | undefined;
}

/** How many buckets there are at first; a power of two, as ever. */
const FEWEST = 8;

/** Items by id, each in one table at a time. */
export class Ids<T extends Identified<T>> {
  #buckets: (T | undefined)[] = new Array(FEWEST).fill(undefined);
  #bits = Math.log2(FEWEST);
  #size = 0;
  readonly #low: number;
  readonly #high: number;

  /**
   * @param seed A number that no peer can guess, so that none can have its ids meet in one bucket.
   */
  constructor(seed: number) {
    // They must have nothing to do with each other: if one were a multiple of the other, there were ids
    // whose halves make up for each other whatever the seed.
    this.#low = scattered(seed) | 1;
    this.#high = scattered(~seed) | 1;
  }

  /** How many there are. */
  get size(): number {
    return this.#size;
  }

  /** How many it has room for before it grows. */
  get capacity(): number {
    return this.#buckets.length;
  }

  /** The item with this id. */
  get(id: Id): T | undefined {
    let item = this.#buckets[this.#bucket(id)];
    while (item !== undefined && item.id !== id) item = item.sibling;
    return item;
  }

  /** Puts an item in, whose id none of those in it has. */
  add(item: T): void {
    if (this.#size === this.#buckets.length) this.#grow();
    this.#link(item);
    this.#size++;
  }

  /** Takes an item out, which must be in this table. */
  delete(item: T): void {
    const bucket = this.#bucket(item.id);
    let found = this.#buckets[bucket]!;
    if (found === item) this.#buckets[bucket] = item.sibling;
    else {
      while (found.sibling !== item) found = found.sibling!;
      found.sibling = item.sibling;
    }
    item.sibling = undefined;
    this.#size--;
  }

  /** Takes all out. */
  clear(): void {
    for (const item of this.values()) item.sibling = undefined;
    this.#buckets = new Array(FEWEST).fill(undefined);
    this.#bits = Math.log2(FEWEST);
    this.#size = 0;
  }

  /** All items, in no order. */
  values(): T[] {
    const values: T[] = [];
    for (let item of this.#buckets) {
      for (; item !== undefined; item = item.sibling) values.push(item);
    }
    return values;
  }

  #link(item: T): void {
    const bucket = this.#bucket(item.id);
    item.sibling = this.#buckets[bucket];
    this.#buckets[bucket] = item;
  }

  #grow(): void {
    const buckets = this.#buckets;
    this.#bits++;
    this.#buckets = new Array(2 ** this.#bits).fill(undefined);
    for (let item of buckets) {
      while (item !== undefined) {
        const next: T | undefined = item.sibling;
        this.#link(item);
        item = next;
      }
    }
  }

  /** The highest bits of a product with a secret factor: as good as by chance. */
  #bucket(id: Id): number {
    const hash = typeof id === "number"
      ? Math.imul(id | 0, this.#low) + Math.imul(id / 2 ** 32 | 0, this.#high)
      : Math.imul(Number(id & 0xffffffffn) | 0, this.#low) +
        Math.imul(Number(id >> 32n) | 0, this.#high);
    return hash >>> 0 >>> (32 - this.#bits);
  }
}

/** A number that looks like any other, and in which each bit depends on all of a number's (MurmurHash3). */
function scattered(number: number): number {
  let bits = number;
  bits = Math.imul(bits ^ bits >>> 16, 0x85ebca6b);
  bits = Math.imul(bits ^ bits >>> 13, 0xc2b2ae35);
  return bits ^ bits >>> 16;
}
