/**
 * Names for things that are held for a while, as a broker's for the requests that its workers
 * hold. To give one out, to find what it names and to take it back is O(1) and allocates nothing,
 * where a `Map` that is written to all the time leaves tables behind for the garbage collector:
 * those, and what hung on them, were a third of a broker's time with 256 requests in flight.
 *
 * @module
 */

/** One more than how many things can have a token at a time; a power of two. */
const SLOTS = 2 ** 26;
/** How many slots are left alone: so the first tokens are 1, 2, 3, which reads well in a trace. */
const RESTING = 256;
/** How often a slot can be used before its tokens are the same again. */
const TURNS = 2 ** 26;

/** Gives out whole numbers from 1 to 2^52, none of them again soon. */
export class Tokens<T> {
  /** By slot; the first is never used, since no token is 0. */
  readonly #items: (T | undefined)[] = [undefined];
  /** How often each slot was used again. */
  readonly #turns: number[] = [0];
  /** Slots without an item. */
  readonly #free: number[] = [];

  /**
   * Gives out a token.
   *
   * @throws {RangeError} If more than 67 million are out.
   */
  add(item: T): number {
    let slot: number;
    if (this.#free.length <= RESTING) {
      slot = this.#items.length;
      if (slot === SLOTS) throw new RangeError(`At most ${SLOTS} tokens can be out`);
      this.#items.push(item);
      this.#turns.push(0);
    } else {
      slot = this.#free.pop()!;
      this.#items[slot] = item;
      this.#turns[slot] = (this.#turns[slot]! + 1) % TURNS;
    }
    return this.#turns[slot]! * SLOTS + slot;
  }

  /** What the token names; `undefined` for any number that is not out. */
  get(token: number): T | undefined {
    const slot = slotOf(token);
    return this.#turns[slot] === (token - slot) / SLOTS ? this.#items[slot] : undefined;
  }

  /** Takes a token back, which must be out. */
  delete(token: number): void {
    const slot = slotOf(token);
    this.#items[slot] = undefined;
    this.#free.push(slot);
  }
}

/** The lowest bits; the remainder of a division takes ten times as long beyond 2^31. */
function slotOf(token: number): number {
  return token & SLOTS - 1;
}
