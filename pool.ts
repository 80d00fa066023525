/**
 * How a client's requests get to a broker in RFC 18's way, one at a time on each connection: a
 * connection is taken from the pool or made, and put back after the FINAL.
 *
 * ```text
 *          open()            FINAL
 *   idle ─────────► in use ─────────► idle
 *    │                │
 *    │ a message that │ abandon(), an invalid message
 *    │ nobody asked   │
 *    ▼ for; suspect() ▼
 *   closed ◄──────── closed
 * ```
 *
 * A connection whose reply did not end in order is never used again: what still comes on it must
 * not reach another request.
 *
 * @module
 */

import { DealerLine, type Line, type Outgoing, type Receiver } from "./line.ts";
import type { ResolvedClientOptions } from "./options.ts";
import type { ReplyPart } from "./reply.ts";

/** How a request gets to a broker, and the parts of its reply back. */
export interface Transport {
  /**
   * Sends a request.
   *
   * @param endpoint The broker.
   * @param request What to send.
   * @param receiver Gets the reply.
   * @throws {ZmqError} If libzmq refuses the endpoint, or another socket.
   */
  open(endpoint: string, request: Outgoing, receiver: Receiver): Exchange;
  /**
   * Nothing came from a broker in time. If it is gone in silence, so are the connections to it,
   * and what is sent on one is lost: those without a request are not to be used again.
   */
  suspect(endpoint: string): void;
  /** Ends all connections. Resolves when they are gone. */
  close(): Promise<void>;
}

/** A request that was sent. */
export interface Exchange {
  /** Hands on what has come already, without waiting for the event loop. */
  poll(): void;
  /** Gives the request up, unless its reply has ended: nothing of it is handed on any more. */
  abandon(): void;
}

/** How many idle connections to a broker are kept for good. */
const KEPT = 8;
/** How long more of them may be idle, in ms. */
const REST = 30_000;

interface Idle {
  readonly line: Line;
  readonly since: number;
}

/** The connections of a client. */
export class Pool implements Transport {
  readonly #options: ResolvedClientOptions;
  /** By endpoint, the one that was used last at the end: it is used next, the others rest. */
  readonly #idle = new Map<string, Idle[]>();
  readonly #inUse = new Set<Line>();
  /** The ends of connections that are not over yet. */
  readonly #closing = new Set<Promise<void>>();
  #timer: ReturnType<typeof setTimeout> | undefined;

  /** Makes an empty pool. */
  constructor(options: ResolvedClientOptions) {
    this.#options = options;
  }

  open(endpoint: string, request: Outgoing, receiver: Receiver): Exchange {
    const line = this.#idle.get(endpoint)?.pop()?.line ??
      new DealerLine(endpoint, this.#options, (line) => this.#discardIdle(line));
    this.#inUse.add(line);
    return new PooledExchange(this, line, request, receiver);
  }

  /** Takes back a connection whose reply has ended in order. */
  putBack(line: Line): void {
    if (!this.#inUse.delete(line)) return;
    let idle = this.#idle.get(line.endpoint);
    if (idle === undefined) this.#idle.set(line.endpoint, idle = []);
    idle.push({ line, since: performance.now() });
    if (idle.length > KEPT) this.#armTimer();
  }

  /** Ends a connection whose reply is still due, or was no reply. */
  discard(line: Line): void {
    this.#inUse.delete(line);
    const closed = line.close(0);
    this.#closing.add(closed);
    closed.finally(() => this.#closing.delete(closed));
  }

  suspect(endpoint: string): void {
    for (const { line } of this.#idle.get(endpoint)?.splice(0) ?? []) this.discard(line);
  }

  async close(): Promise<void> {
    clearTimeout(this.#timer);
    for (const line of this.#inUse) this.discard(line);
    for (const endpoint of this.#idle.keys()) this.suspect(endpoint);
    await Promise.all(this.#closing);
  }

  #discardIdle(line: Line): void {
    const idle = this.#idle.get(line.endpoint);
    const at = idle?.findIndex((each) => each.line === line) ?? -1;
    if (at < 0) return;
    idle!.splice(at, 1);
    this.discard(line);
  }

  #armTimer(): void {
    if (this.#timer !== undefined) return;
    this.#timer = setTimeout(() => {
      this.#timer = undefined;
      const before = performance.now() - REST;
      for (const idle of this.#idle.values()) {
        while (idle.length > KEPT && idle[0]!.since <= before) this.discard(idle.shift()!.line);
        if (idle.length > KEPT) this.#armTimer();
      }
    }, REST);
    Deno.unrefTimer(this.#timer);
  }
}

class PooledExchange implements Exchange, Receiver {
  readonly #pool: Pool;
  readonly #line: Line;
  readonly #receiver: Receiver;
  #over = false;

  constructor(pool: Pool, line: Line, request: Outgoing, receiver: Receiver) {
    this.#pool = pool;
    this.#line = line;
    this.#receiver = receiver;
    line.ask(request, this);
  }

  onPart(part: ReplyPart): void {
    if (part.type === "final") {
      this.#over = true;
      this.#pool.putBack(this.#line);
    }
    this.#receiver.onPart(part);
  }

  onError(error: Error): void {
    this.abandon();
    this.#receiver.onError(error);
  }

  poll(): void {
    if (!this.#over) this.#line.poll();
  }

  abandon(): void {
    if (this.#over) return;
    this.#over = true;
    this.#pool.discard(this.#line);
  }
}
