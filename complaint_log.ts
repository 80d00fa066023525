/**
 * Complaints as they are logged: what was left out of them is told though nothing more of its kind
 * comes.
 *
 * @module
 */

import { Complaints, PERIOD, type Properties, type Sink } from "./complaints.ts";

/** Logs complaints, as many as can be read. */
export class ComplaintLog {
  readonly #complaints = new Complaints();
  /** There while something has been left out, and only then. */
  #timer: ReturnType<typeof setTimeout> | undefined;
  #isClosed = false;

  /** See {@linkcode Complaints.log}; `now` is what `performance.now()` says. */
  log(
    kind: string,
    now: number,
    log: Sink,
    template: string | (() => string),
    properties: Properties | (() => Properties),
    peer?: string,
  ): void {
    const isLogged = this.#complaints.log(kind, now, log, template, properties, peer);
    if (!isLogged && this.#timer === undefined && !this.#isClosed) this.#arm();
  }

  /** Tells what is left to be told. */
  close(): void {
    this.#isClosed = true;
    clearTimeout(this.#timer);
    this.#timer = undefined;
    this.#complaints.rest(Infinity);
  }

  #arm(): void {
    this.#timer = setTimeout(this.#tell, PERIOD);
    // Whoever ends meanwhile has told it by `close()`, or does not care.
    Deno.unrefTimer(this.#timer as unknown as number);
  }

  readonly #tell = (): void => {
    this.#timer = undefined;
    if (this.#complaints.rest(performance.now())) this.#arm();
  };
}
