/**
 * How a client's requests get to brokers in the multiplexed dialect, on one connection to each;
 * and, where the dialect is found out, by the pool of RFC 18 if a broker knows no better.
 *
 * @module
 */

import type { Outgoing, Receiver } from "./line.ts";
import { Link, type LinkOwner } from "./link.ts";
import type { ResolvedClientOptions } from "./options.ts";
import { type Exchange, Pool, type Transport } from "./pool.ts";

/**
 * The transport for a client's options.
 *
 * @param options Those of the client.
 */
export function transportFor(options: ResolvedClientOptions): Transport {
  return options.multiplexed === "never" ? new Pool(options) : new Multiplexer(options);
}

/** One connection to each broker. */
export class Multiplexer implements Transport, LinkOwner {
  readonly #options: ResolvedClientOptions;
  readonly #links = new Map<string, Link>();
  /** For brokers that speak RFC 18; the links tell it when they are lost. */
  readonly #pool: Pool;
  /** The ends of connections that are not over yet. */
  readonly #closing = new Set<Promise<void>>();

  /** Has no connections yet. */
  constructor(options: ResolvedClientOptions) {
    this.#options = options;
    this.#pool = new Pool(options, { watched: false });
  }

  open(endpoint: string, request: Outgoing, receiver: Receiver, deadlineAt: number): Exchange {
    let link = this.#links.get(endpoint);
    if (link === undefined) {
      link = new Link(endpoint, this.#options, this);
      this.#links.set(endpoint, link);
    }
    return link.open(request, receiver, deadlineAt);
  }

  suspect(endpoint: string, onSilent: () => void): void {
    const isAsked = this.#links.get(endpoint)?.probe(onSilent);
    if (!isAsked) this.#pool.suspect(endpoint, onSilent);
  }

  isMute(endpoint: string): boolean {
    return this.#links.get(endpoint)?.isMute === true && !this.#pool.hasAnswered(endpoint);
  }

  async close(): Promise<void> {
    for (const link of this.#links.values()) link.close();
    await Promise.all([...this.#closing, this.#pool.close()]);
  }

  /** For {@linkcode Link}. */
  openPlainly(
    endpoint: string,
    request: Outgoing,
    receiver: Receiver,
    deadlineAt: number,
  ): Exchange {
    return this.#pool.open(endpoint, request, receiver, deadlineAt);
  }

  /** For {@linkcode Link}. */
  onPlainLoss(endpoint: string, why: string): void {
    this.#pool.lose(endpoint, why);
  }

  /** For {@linkcode Link}. */
  onClosing(closed: Promise<void>): void {
    this.#closing.add(closed);
    closed.finally(() => this.#closing.delete(closed));
  }
}
