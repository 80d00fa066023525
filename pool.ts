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

import { DealerLine, type Line, type Outgoing, quote, type Receiver } from "./line.ts";
import type { DialectName } from "./codec.ts";
import { Connection } from "./connection.ts";
import { ServiceError, StateError } from "./errors.ts";
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
   * @param deadlineAt Until when it is of use, as `performance.now()` tells it.
   * @throws {StateError} If the request has an option that the dialect cannot keep.
   * @throws {ZmqError} If libzmq refuses the endpoint, or another socket.
   */
  open(endpoint: string, request: Outgoing, receiver: Receiver, deadlineAt: number): Exchange;
  /**
   * Nothing came from a broker in time. If it is gone in silence, so are the connections to it,
   * and what is sent on one is lost: those without a request are not to be used again.
   *
   * @param onSilent Called if it may be: at once, or where a broker can be asked when that does not
   * answer either.
   */
  suspect(endpoint: string, onSilent: () => void): void;
  /** Whether a broker was asked what it speaks, and nothing has ever come from it. */
  isMute(endpoint: string): boolean;
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
/** How many connections by which a reply may still come are watched: each takes two more descriptors. */
const WATCHED = 64;

interface Idle {
  readonly line: DealerLine;
  readonly since: number;
}

/** The connections of a client. */
export class Pool implements Transport {
  readonly #options: ResolvedClientOptions;
  /** By endpoint, the one that was used last at the end: it is used next, the others rest. */
  readonly #idle = new Map<string, Idle[]>();
  readonly #inUse = new Map<DealerLine, PooledExchange>();
  /** By endpoint, a connection that only tells when the broker is gone. */
  readonly #watches = new Map<string, Connection<unknown>>();
  readonly #watched: boolean;
  /** The ends of connections that are not over yet. */
  readonly #closing = new Set<Promise<void>>();
  #timer: ReturnType<typeof setTimeout> | undefined;

  /**
   * Makes an empty pool.
   *
   * @param watched Whether it finds out by itself when a broker is gone.
   */
  constructor(options: ResolvedClientOptions, { watched = true }: { watched?: boolean } = {}) {
    this.#options = options;
    this.#watched = watched;
  }

  open(endpoint: string, request: Outgoing, receiver: Receiver, _deadlineAt: number): Exchange {
    refuse(request, this.#options.dialect.name);
    if (this.#watched) this.#watch(endpoint);
    const line = this.#takeIdle(endpoint) ??
      new DealerLine(endpoint, this.#options, { onStray: (line) => this.#discardIdle(line) });
    const exchange = new PooledExchange(this, line, request, receiver);
    this.#inUse.set(line, exchange);
    exchange.ask();
    return exchange;
  }

  /** Takes back a connection whose reply has ended in order. */
  putBack(line: DealerLine): void {
    if (!this.#inUse.delete(line)) return;
    let idle = this.#idle.get(line.endpoint);
    if (idle === undefined) this.#idle.set(line.endpoint, idle = []);
    idle.push({ line, since: performance.now() });
    if (idle.length > KEPT) this.#armTimer();
  }

  /** Ends a connection whose reply is still due, or was no reply. */
  discard(line: DealerLine): void {
    this.#inUse.delete(line);
    const closed = line.close(0);
    this.#closing.add(closed);
    closed.finally(() => this.#closing.delete(closed));
  }

  /**
   * A broker is gone, as one connection has told. Idle ones to it are of no use; by the others comes
   * what the broker has sent before, which may take its time, and then the end of their own.
   */
  lose(endpoint: string, why: string): void {
    this.#discardAll(endpoint);
    let watched = 0;
    for (const [line, exchange] of [...this.#inUse]) {
      if (line.endpoint === endpoint) exchange.onLoss(why, watched++ < WATCHED);
    }
  }

  suspect(endpoint: string, onSilent: () => void): void {
    this.#discardAll(endpoint);
    onSilent();
  }

  isMute(): boolean {
    return false;
  }

  /** Whether a reply of this broker has ended in order. */
  hasAnswered(endpoint: string): boolean {
    return this.#idle.has(endpoint);
  }

  #discardAll(endpoint: string): void {
    for (const { line } of this.#idle.get(endpoint)?.splice(0) ?? []) this.discard(line);
  }

  async close(): Promise<void> {
    clearTimeout(this.#timer);
    for (const line of this.#inUse.keys()) this.discard(line);
    for (const watch of this.#watches.values()) {
      const closed = watch.close(0);
      this.#closing.add(closed);
      closed.finally(() => this.#closing.delete(closed));
    }
    this.#watches.clear();
    for (const endpoint of this.#idle.keys()) this.#discardAll(endpoint);
    await Promise.all(this.#closing);
  }

  /**
   * One connection to a broker is watched for all: each would need another socket for it. It is
   * not among those that carry requests, so that what one of them causes is not held for the
   * broker's end.
   */
  #watch(endpoint: string): void {
    if (this.#watches.has(endpoint)) return;
    this.#watches.set(
      endpoint,
      new Connection<unknown>({
        endpoint,
        linger: 0,
        maxMessageSize: this.#options.maxMessageSize,
        decode: (frames) => frames,
        onCommand: () => {},
        onInvalid: () => {},
        onMonitor: (event) => {
          if (event === "disconnected") this.lose(endpoint, "was lost");
        },
        isAside: true,
      }),
    );
  }

  /** The one that was used last, if nothing has come by it that nobody has asked for. */
  #takeIdle(endpoint: string): DealerLine | undefined {
    const idle = this.#idle.get(endpoint) ?? [];
    for (let last; (last = idle.at(-1)) !== undefined;) {
      // What is found now is not taken for the answer to what is asked next.
      last.line.poll();
      if (idle.at(-1) === last) return idle.pop()!.line;
    }
    return undefined;
  }

  #discardIdle(line: Line): void {
    const idle = this.#idle.get(line.endpoint);
    const at = idle?.findIndex((each) => each.line === line) ?? -1;
    if (at >= 0) this.discard(idle!.splice(at, 1)[0]!.line);
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
  readonly #line: DealerLine;
  readonly #request: Outgoing;
  readonly #receiver: Receiver;
  #over = false;
  /** How many parts have come. */
  #parts = 0;
  /** Whether the broker is gone. */
  #isLeaving = false;

  constructor(pool: Pool, line: DealerLine, request: Outgoing, receiver: Receiver) {
    this.#pool = pool;
    this.#line = line;
    this.#request = request;
    this.#receiver = receiver;
  }

  ask(): void {
    const { service, options } = this.#request;
    if (!options.noWait || isBrokersOwn(service)) return this.#line.ask(this.#request, this);
    const question: Outgoing = { service: ROLL_CALL, body: [service], options: {} };
    this.#line.ask(question, {
      onPart: (part) => this.#hearRollCall(part),
      onError: (error) => this.onError(error),
      onVoid: (why) => this.onVoid(why),
    });
  }

  /** Whether anybody serves the service. What the answer was `200` to is sent now. */
  #hearRollCall(part: ReplyPart): void {
    this.#parts++;
    if (part.type === "partial" || this.#over) return;
    const answer = part.text();
    if (answer === "200") return this.#line.ask(this.#request, this);
    this.#over = true;
    this.#pool.putBack(this.#line);
    this.#receiver.onError(
      answer === "404" ? new ServiceError(404, "No worker serves this") : new StateError(
        `The request for service ${quote(this.#request.service)} has the option noWait, which ` +
          `the broker at ${quote(this.#line.endpoint)} cannot keep: it does not tell by ` +
          `mmi.service whether anybody serves that, and answered ${quote(answer)}`,
      ),
    );
  }

  /**
   * The broker is gone.
   *
   * @param isPatient Whether to wait for the end of this connection, too.
   */
  onLoss(why: string, isPatient: boolean): void {
    if (this.#isLeaving) return;
    this.#isLeaving = true;
    try {
      if (isPatient) return this.#line.watchEnd(() => this.#end(why));
    } catch {
      // Without another descriptor there is no telling.
    }
    this.#end(why);
  }

  #end(why: string): void {
    for (let parts = -1; parts !== this.#parts && !this.#over;) {
      parts = this.#parts;
      this.#line.poll();
    }
    if (this.#over) return;
    this.abandon();
    this.#receiver.onVoid(why);
  }

  onVoid(why: string, refusal?: ServiceError): void {
    this.abandon();
    this.#receiver.onVoid(why, refusal);
  }

  onPart(part: ReplyPart): void {
    this.#parts++;
    if (part.type === "final") {
      this.#over = true;
      if (this.#isLeaving) this.#pool.discard(this.#line);
      else this.#pool.putBack(this.#line);
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

/** The service by which a broker tells whether anybody serves another (RFC 8). */
const ROLL_CALL = new TextEncoder().encode("mmi.service");

/** Whether the broker itself serves it, whoever else does or does not. */
function isBrokersOwn(service: Uint8Array): boolean {
  return new TextDecoder().decode(service.subarray(0, 4)) === "mmi.";
}

/** Options that only the multiplexed dialect can keep. */
const MULTIPLEXED_ONLY = ["once", "headers"] as const;

/** @throws {StateError} If a request has an option that a dialect without ids cannot keep. */
export function refuse({ service, options }: Outgoing, dialect: DialectName): void {
  // majortomo's own broker has no mmi.service, and would leave the question unanswered.
  const refused = dialect === "majortomo"
    ? ["noWait", ...MULTIPLEXED_ONLY] as const
    : MULTIPLEXED_ONLY;
  for (const option of refused) {
    if (options[option] === undefined || options[option] === false) continue;
    throw new StateError(
      `The request for service ${quote(service)} has the option ${option}, which the dialect ` +
        `"${dialect}" that is spoken with the broker cannot keep`,
    );
  }
}
