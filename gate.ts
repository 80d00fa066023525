/**
 * Waiting for one thing at a time, with a limit.
 *
 * @module
 */

import type { Alarm, Alarmed } from "./alarm.ts";
import { now } from "./zmq/clock.ts";

/** Who waits at a {@linkcode Gate}. */
export interface Waiter {
  /**
   * Called when the wait is over. Must not throw.
   *
   * @param inTime Whether it was woken: `false` if the time was up first.
   */
  onWoken(inTime: boolean): void;
  /** Called instead if there is no more to wait for. Must not throw. */
  onFailed(reason: unknown): void;
}

/**
 * Where one caller waits until it is woken, its time is up, or there is no more to wait for.
 * What it waits for is the caller's to look up: a wake-up while nobody waits is not remembered.
 */
export class Gate implements Alarmed {
  // For the alarm.
  day: Alarmed["day"] = undefined;
  dueBefore: Alarmed["dueBefore"] = undefined;
  dueAfter: Alarmed["dueAfter"] = undefined;
  readonly #alarm: Alarm;
  #waiter: Waiter | undefined;

  /**
   * Nobody waits yet.
   *
   * @param alarm What ends a wait whose time is up.
   */
  constructor(alarm: Alarm) {
    this.#alarm = alarm;
  }

  /**
   * Begins a wait. Nobody else may be waiting.
   *
   * @param milliseconds For how long at most; `Infinity` for ever.
   * @param waiter Told of its end.
   */
  admit(milliseconds: number, waiter: Waiter): void {
    this.#waiter = waiter;
    if (milliseconds !== Infinity) this.#alarm.set(this, now() + milliseconds);
  }

  /**
   * The same with a promise.
   *
   * @returns Whether it was woken: `false` if the time was up first.
   * @throws What `fail()` is given.
   */
  wait(milliseconds: number): Promise<boolean> {
    const { promise, resolve, reject } = Promise.withResolvers<boolean>();
    this.admit(milliseconds, { onWoken: resolve, onFailed: reject });
    return promise;
  }

  /** Wakes who waits, if anybody does. */
  wake(): void {
    this.#leave()?.onWoken(true);
  }

  /** Has the wait fail, if there is one. */
  fail(reason: unknown): void {
    this.#leave()?.onFailed(reason);
  }

  /** For the alarm. */
  onDue(): void {
    this.#leave()?.onWoken(false);
  }

  #leave(): Waiter | undefined {
    const waiter = this.#waiter;
    if (waiter === undefined) return undefined;
    this.#waiter = undefined;
    this.#alarm.clear(this);
    return waiter;
  }
}
