/**
 * What is due when: a calendar of items, each at most once in it. To put one in and to take it
 * out is O(1) and allocates nothing; what is due is found without a look at what is not. Pure:
 * time is a number that the caller gives.
 *
 * Items that are due in the same millisecond share a day; the days are in a binary heap. There
 * are far fewer days than items, so the heap is small and seldom touched. Days that all items
 * have left stay in it, until they come up or are the greater part of it. With a `Map` instead of
 * links of the items' own, whose old tables are left to the garbage collector, a request took half as
 * long again with 256 in flight.
 *
 * @module
 */

/** What can be put in a calendar: all fields are the calendar's own. */
export interface Due {
  /** The day it is in; `undefined` while it is in none. */
  day: Day | undefined;
  /** The item before it in that day. */
  dueBefore: Due | undefined;
  /** The item after it. */
  dueAfter: Due | undefined;
}

/** The items that are due at a time, in the order in which they were put in. */
interface Day {
  readonly at: number;
  first: Due | undefined;
  last: Due | undefined;
}

/** How many days the heap has at least before it is worth clearing. */
const CLEARING = 64;

/** Items and when they are due, in whole milliseconds, never too early. */
export class Deadlines<T extends Due> {
  readonly #days = new Map<number, Day>();
  /** The same, earliest first: a binary heap. */
  #heap: Day[] = [];
  /** How many of them have no items. */
  #emptied = 0;

  /** Puts an item in, or elsewhere if it is in already. */
  schedule(item: T, at: number): void {
    const tick = Math.ceil(at);
    if (item.day !== undefined) {
      if (item.day.at === tick) return;
      this.cancel(item);
    }
    let day = this.#days.get(tick);
    if (day === undefined) {
      day = { at: tick, first: undefined, last: undefined };
      this.#days.set(tick, day);
      this.#push(day);
    } else if (day.first === undefined) this.#emptied--;
    item.day = day;
    item.dueBefore = day.last;
    if (day.last === undefined) day.first = item;
    else day.last.dueAfter = item;
    day.last = item;
  }

  /** Takes an item out, if it is in. */
  cancel(item: T): void {
    const { day } = item;
    if (day === undefined) return;
    if (item.dueBefore === undefined) day.first = item.dueAfter;
    else item.dueBefore.dueAfter = item.dueAfter;
    if (item.dueAfter === undefined) day.last = item.dueBefore;
    else item.dueAfter.dueBefore = item.dueBefore;
    item.day = item.dueBefore = item.dueAfter = undefined;
    if (day.first !== undefined) return;
    this.#emptied++;
    if (this.#heap.length >= CLEARING && 2 * this.#emptied > this.#heap.length) this.#clear();
  }

  /** When the next item is due; `Infinity` if there is none. */
  next(): number {
    while (this.#heap.length > 0 && this.#heap[0]!.first === undefined) {
      this.#pop();
      this.#emptied--;
    }
    return this.#heap[0]?.at ?? Infinity;
  }

  /** Takes out the next item that is due now; `undefined` if none is. */
  take(now: number): T | undefined {
    const at = this.next();
    if (at > now || at === Infinity) return undefined;
    const item = this.#heap[0]!.first as T;
    this.cancel(item);
    return item;
  }

  /** Throws emptied days away; as many as were put in since the last time, so O(1) for each. */
  #clear(): void {
    for (const { at, first } of this.#heap) if (first === undefined) this.#days.delete(at);
    // A sorted array is a heap.
    this.#heap = [...this.#days.values()].sort((a, b) => a.at - b.at);
    this.#emptied = 0;
  }

  #push(day: Day): void {
    const heap = this.#heap;
    let at = heap.length;
    for (; at > 0; at = (at - 1) >> 1) {
      const parent = heap[(at - 1) >> 1]!;
      if (parent.at <= day.at) break;
      heap[at] = parent;
    }
    heap[at] = day;
  }

  #pop(): void {
    const heap = this.#heap;
    this.#days.delete(heap[0]!.at);
    const last = heap.pop()!;
    if (heap.length === 0) return;
    let at = 0;
    for (;;) {
      let child = 2 * at + 1;
      if (child >= heap.length) break;
      if (child + 1 < heap.length && heap[child + 1]!.at < heap[child]!.at) child++;
      if (heap[child]!.at >= last.at) break;
      heap[at] = heap[child]!;
      at = child;
    }
    heap[at] = last;
  }
}
