/**
 * Waiting for one thing at a time, with a limit.
 *
 * @module
 */

/** What a timer can wait for at most, in ms; beyond it setTimeout would fire at once. */
const LONGEST_TIMER = 2 ** 31 - 1;

/**
 * Where one caller waits until it is woken, its time is up, or there is no more to wait for.
 * What it waits for is the caller's to look up: a wake-up while nobody waits is not remembered.
 */
export class Gate {
  #waiting: PromiseWithResolvers<boolean> | undefined;
  #timer: ReturnType<typeof setTimeout> | undefined;

  /**
   * Waits. Nobody else may be waiting.
   *
   * @param milliseconds For how long at most; `Infinity` for ever.
   * @returns Whether it was woken: `false` if the time was up first.
   * @throws What `fail()` is given.
   */
  wait(milliseconds: number): Promise<boolean> {
    const waiting = this.#waiting = Promise.withResolvers<boolean>();
    if (milliseconds !== Infinity) this.#arm(milliseconds);
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

  #arm(milliseconds: number): void {
    const now = Math.min(milliseconds, LONGEST_TIMER);
    this.#timer = setTimeout(() => {
      if (milliseconds > now) this.#arm(milliseconds - now);
      else this.#leave()?.resolve(false);
    }, now);
  }

  #leave(): PromiseWithResolvers<boolean> | undefined {
    const waiting = this.#waiting;
    this.#waiting = undefined;
    clearTimeout(this.#timer);
    return waiting;
  }
}
