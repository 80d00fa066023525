/**
 * Which of several brokers to use, and what to say when none answers.
 *
 * @module
 */

import { getLogger } from "@logtape/logtape";
import { TimeoutError } from "./errors.ts";
import { quote } from "./line.ts";
import { MAYBE_MAJORTOMO } from "./question.ts";

const logger = getLogger(["majortomo", "client"]);

/**
 * The error for a reply that did not come in time.
 *
 * @param service The service that was asked.
 * @param about The brokers it was asked at, which limit was reached, how often it was asked, and
 * whether a part of the reply had come, and whether it is a broker that never said anything.
 */
export function timeoutError(
  service: Uint8Array,
  about: {
    endpoints: readonly string[];
    limit: string;
    attempts: number;
    begun: boolean;
    isMute?: boolean;
  },
): TimeoutError {
  const { endpoints, limit, attempts, begun, isMute = false } = about;
  const where = [...new Set(endpoints)].map(quote).join(", ");
  return new TimeoutError(
    `Service ${quote(service)} at ${where} sent no ${begun ? "further part of its " : ""}reply ` +
      `within the ${limit} (${attempts} ${attempts === 1 ? "attempt" : "attempts"})` +
      (isMute ? MAYBE_MAJORTOMO : ""),
  );
}

/** The brokers of a client, in the order of preference, and which of them to use. */
export class Brokers {
  readonly #endpoints: readonly string[];
  #at = 0;

  /** Begins with the first. */
  constructor(endpoints: readonly string[]) {
    this.#endpoints = endpoints;
  }

  /** The one to use. */
  get current(): string {
    return this.#endpoints[this.#at]!;
  }

  /** The one after this one; after the last comes the first. */
  after(endpoint: string): string {
    const { length } = this.#endpoints;
    return this.#endpoints[(this.#endpoints.indexOf(endpoint) + 1) % length]!;
  }

  /** A reply came from this one: it is the one to use. */
  answered(endpoint: string): void {
    if (endpoint !== this.current) this.#use(endpoint);
  }

  /** Nothing came from this one. Another may have been chosen since. */
  silent(endpoint: string): void {
    if (endpoint === this.current && this.#endpoints.length > 1) this.#use(this.after(endpoint));
  }

  #use(endpoint: string): void {
    logger.warn("Using the broker at {endpoint} instead of {before}", {
      endpoint,
      before: this.current,
    });
    this.#at = this.#endpoints.indexOf(endpoint);
  }
}
