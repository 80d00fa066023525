/**
 * What is due when: a calendar of items, each at most once in it. To put one in and to take it
 * out is O(1); what is due is found without a look at what is not. Pure: time is a number that
 * the caller gives.
 *
 * Items that are due in the same millisecond share a day; the days are in a binary heap. There
 * are far fewer days than items, so the heap is small and seldom touched.
 *
 * @module
 */

/** What can be put in a calendar. */
export interface Due {
  /** The day it is in; the calendar's own. `undefined` while it is in none. */
  day: Day<Due> | undefined;
}

interface Day<T> {
  readonly at: number;
  readonly items: Set<T>;
}

/** Items and when they are due, in whole milliseconds, never too early. */
export class Deadlines<T extends Due> {
  readonly #days = new Map<number, Day<T>>();
  /** The same, earliest first: a binary heap. Emptied days stay in it until they come up. */
  readonly #heap: Day<T>[] = [];

  /** Puts an item in, or elsewhere if it is in already. */
  schedule(item: T, at: number): void {
    const tick = Math.ceil(at);
    if (item.day !== undefined) {
      if (item.day.at === tick) return;
      this.cancel(item);
    }
    let day = this.#days.get(tick);
    if (day === undefined) {
      day = { at: tick, items: new Set() };
      this.#days.set(tick, day);
      this.#push(day);
    }
    day.items.add(item);
    item.day = day as Day<unknown> as Day<Due>;
  }

  /** Takes an item out, if it is in. */
  cancel(item: T): void {
    item.day?.items.delete(item);
    item.day = undefined;
  }

  /** When the next item is due; `Infinity` if there is none. */
  next(): number {
    while (this.#heap.length > 0 && this.#heap[0]!.items.size === 0) this.#pop();
    return this.#heap[0]?.at ?? Infinity;
  }

  /** Takes out the next item that is due now; `undefined` if none is. */
  take(now: number): T | undefined {
    if (this.next() > now) return undefined;
    for (const item of this.#heap[0]!.items) {
      this.cancel(item);
      return item;
    }
  }

  #push(day: Day<T>): void {
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
