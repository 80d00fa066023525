/**
 * One timer for any number of waits.
 *
 * @module
 */

import { Deadlines, type Due } from "./deadlines.ts";

/** What a timer can wait for at most, in ms; beyond it setTimeout would fire at once. */
const LONGEST_TIMER = 2 ** 31 - 1;

/** What an {@linkcode Alarm} can be set for. */
export interface Alarmed extends Due {
  /** Called when its time has come. Must not throw. */
  onDue(): void;
}

/**
 * Calls each item when it is due. To set it for an item and to take that back, as every request
 * does, mostly costs no timer: the timer that is there fires no later than the next item is due.
 * It keeps the process alive while it is set for anything.
 */
export class Alarm {
  readonly #deadlines = new Deadlines<Alarmed>();
  #count = 0;
  #timer: ReturnType<typeof setTimeout> | undefined;
  /** When the timer fires. */
  #firesAt = Infinity;

  /** Sets it, or sets it anew. `Infinity` is never. */
  set(item: Alarmed, at: number): void {
    if (at === Infinity) return this.clear(item);
    if (item.day === undefined && ++this.#count === 1 && this.#timer !== undefined) {
      Deno.refTimer(this.#timer as unknown as number);
    }
    this.#deadlines.schedule(item, at);
    if (at < this.#firesAt) this.#arm(at);
  }

  /** Takes it back. */
  clear(item: Alarmed): void {
    if (item.day === undefined) return;
    this.#deadlines.cancel(item);
    if (--this.#count === 0 && this.#timer !== undefined) {
      Deno.unrefTimer(this.#timer as unknown as number);
    }
  }

  /** Stops the timer; nothing more is called until it is set again. */
  close(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    this.#firesAt = Infinity;
  }

  #arm(at: number): void {
    clearTimeout(this.#timer);
    this.#firesAt = at;
    const milliseconds = Math.min(Math.max(0, Math.ceil(at - performance.now())), LONGEST_TIMER);
    this.#timer = setTimeout(this.#fire, milliseconds);
  }

  readonly #fire = (): void => {
    this.#timer = undefined;
    this.#firesAt = Infinity;
    const now = performance.now();
    for (let item; (item = this.#deadlines.take(now)) !== undefined;) {
      this.#count--;
      item.onDue();
    }
    const next = this.#deadlines.next();
    if (next < this.#firesAt) this.#arm(next);
  };
}
