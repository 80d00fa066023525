/**
 * Waiting for one thing at a time, with a limit.
 *
 * @module
 */

import type { Alarm, Alarmed } from "./alarm.ts";

/**
 * Where one caller waits until it is woken, its time is up, or there is no more to wait for.
 * What it waits for is the caller's to look up: a wake-up while nobody waits is not remembered.
 */
export class Gate implements Alarmed {
  /** For the alarm. */
  day: Alarmed["day"] = undefined;
  readonly #alarm: Alarm;
  #waiting: PromiseWithResolvers<boolean> | undefined;

  /**
   * Nobody waits yet.
   *
   * @param alarm What ends a wait whose time is up.
   */
  constructor(alarm: Alarm) {
    this.#alarm = alarm;
  }

  /**
   * Waits. Nobody else may be waiting.
   *
   * @param milliseconds For how long at most; `Infinity` for ever.
   * @returns Whether it was woken: `false` if the time was up first.
   * @throws What `fail()` is given.
   */
  wait(milliseconds: number): Promise<boolean> {
    const waiting = this.#waiting = Promise.withResolvers<boolean>();
    if (milliseconds !== Infinity) this.#alarm.set(this, performance.now() + milliseconds);
    return waiting.promise;
  }

  /** Wakes who waits, if anybody does. */
  wake(): void {
    this.#leave()?.resolve(true);
  }

  /** Has the wait fail, if there is one. */
  fail(reason: unknown): void {
    this.#leave()?.reject(reason);
  }

  /** For the alarm. */
  onDue(): void {
    this.#leave()?.resolve(false);
  }

  #leave(): PromiseWithResolvers<boolean> | undefined {
    const waiting = this.#waiting;
    if (waiting === undefined) return undefined;
    this.#waiting = undefined;
    this.#alarm.clear(this);
    return waiting;
  }
}
