/**
 * A logical worker: one registration after the other with a broker, each on a socket of its own.
 * What is to be done with requests by the protocol is here: no more than may be held, answers by
 * the right connection, and a new one when the broker is lost. What is done with a request is the
 * `Worker`'s.
 *
 * @module
 */

import {
  type Command,
  type CommandAtWorker,
  type Dialect,
  type Id,
  MULTIPLEXED,
  type WorkCommand,
} from "./codec.ts";
import type { Unsent } from "./connection.ts";
import { DisconnectedError, ServiceError } from "./errors.ts";
import { backoffPause } from "./options.ts";
import { Holdings, MOST_EXCESS } from "./worker_holdings.ts";
import { Registration, type RegistrationOwner } from "./worker_registration.ts";
import {
  cancelRequest,
  deadlineError,
  loseRequest,
  tokenOf,
  WorkerRequest,
  type WorkerRequestInit,
} from "./worker_request.ts";

/**
 * How long a multiplexed session that stops listens at least for requests that have crossed its
 * CREDIT 0, in ms. The broker does not say when it has seen that; what it dispatched before must
 * not be lost by a DISCONNECT, least of all if it is ONCE.
 */
const CROSSING = 100;

/** What a session needs of the worker it belongs to. None may throw. */
export interface SessionOwner extends RegistrationOwner {
  /** A request has come. */
  onRequest(request: WorkerRequest): void;
  /** A request is over, or the session is. */
  onSettled(): void;
  /** The client of a request wants no answer any more, or its deadline has passed. */
  onCancelled(request: WorkerRequest): void;
  /** How many requests a session may hold, all others considered: at least one. */
  room(session: Session): number;
  /** A session that asks has found what its broker speaks. */
  onDialect(session: Session, dialect: Dialect): void;
  /** The broker of a session has taken it, or one that had is lost. */
  onRegistered(session: Session): void;
  /** Whether a session that does not ask may register now. */
  mayRegister(session: Session): boolean;
}

/**
 * One logical worker.
 *
 * ```text
 *            open()                 stop(), holding a request,
 *   idle ─────────────► registered ─────────────────────────► draining
 *                        │   ▲   │  or one may be on its way     │ answered,
 *  silence, DISCONNECT,  │   │   │ stop() otherwise              │ lost, end()
 *  abandon()             ▼   │   ▼                               ▼
 *                       pausing ─────────────────────────────► over
 *                                     stop(), end()
 * ```
 */
export class Session {
  readonly #owner: SessionOwner;
  /** Whether it asks its broker what it speaks, or speaks what it speaks. */
  readonly #multiplexed: "ask" | "insist" | "never";
  /** Given to the owner, and not answered. */
  readonly #holdings = new Holdings((request) =>
    this.#cancelHeld(request, deadlineError(this.#owner.service))
  );
  #registration: Registration | undefined;
  #state: "idle" | "registered" | "pausing" | "draining" | "over" = "idle";
  /** When the last connection was made. */
  #connectedAt = -Infinity;
  /** How many connections were made since a broker was last heard. */
  #attempts = 0;
  /** Which of the brokers. */
  #broker = 0;
  /** When its pause is over. */
  #pausedUntil = -Infinity;
  /** Whether the broker has taken it. */
  #isRegistered = false;
  /** How many requests it may hold. */
  #limit = 1;
  /** For the end of the pause, or of the time in which requests may cross our CREDIT 0. */
  #timer: ReturnType<typeof setTimeout> | undefined;
  /** Connections that are still being closed. */
  readonly #closing = new Set<Promise<void>>();

  /**
   * Makes a session that does nothing yet.
   *
   * @param multiplexed Whether it asks its broker for the multiplexed dialect, insists on it, or
   * speaks the one of the options.
   */
  constructor(owner: SessionOwner, multiplexed: "ask" | "insist" | "never") {
    this.#owner = owner;
    this.#multiplexed = multiplexed;
  }

  /** Whether it has a connection on which it has registered. */
  get isConnected(): boolean {
    return this.#registration?.dialect !== undefined;
  }

  /** The endpoint of the broker that has taken it, if one has. */
  get registeredAt(): string | undefined {
    return this.#isRegistered ? this.#registration?.endpoint : undefined;
  }

  /** What it speaks, if it has registered. */
  get dialect(): Dialect | undefined {
    return this.#registration?.dialect;
  }

  /** How many requests it holds. */
  get holds(): number {
    return this.#holdings.size;
  }

  /** Whether it takes no more requests. */
  get isStopping(): boolean {
    return this.#state === "draining" || this.#state === "over";
  }

  /** Whether it has ended. */
  get isOver(): boolean {
    return this.#state === "over";
  }

  /**
   * Connects and registers, after it has found out what to speak if it is one that asks.
   *
   * @throws {ZmqError} If libzmq refuses the endpoint, or another socket.
   */
  open(): void {
    this.#connectedAt = performance.now();
    this.#attempts++;
    this.#registration = new Registration(
      this.#owner,
      this.#owner.options.brokers[this.#broker]!,
      {
        credit: () => this.#limit = this.#owner.room(this),
        isBusy: () => this.#holdings.size > 0,
        onReady: (dialect) => {
          if (this.#multiplexed === "ask") this.#owner.onDialect(this, dialect);
        },
        onRegistered: () => {
          this.#isRegistered = true;
          this.#owner.onRegistered(this);
        },
        onCommand: (command) => this.#receive(command),
        onLost: (reason) => this.#lost(reason),
      },
    );
    this.#state = "registered";
    this.#limit = 1;
    this.#registration.open(this.#multiplexed);
  }

  /** Registers with the broker that another session has found. */
  follow(session: Session): void {
    this.#broker = session.#broker;
    this.#retry();
  }

  /** Registers at once if it was kept from it, with the broker that another session has found. */
  resume(session: Session): void {
    if (this.#state !== "pausing" || performance.now() < this.#pausedUntil) return;
    this.#broker = session.#broker;
    clearTimeout(this.#timer);
    this.#retry();
  }

  /** Leaves the broker, if it is connected to one, and registers anew with the same one, now. */
  reopen(): void {
    this.#leave("The worker was told to connect anew");
    // Whoever was told of a loss may have ended the session, or have done the same.
    if (this.#state === "over" || this.#registration !== undefined) return;
    clearTimeout(this.#timer);
    this.#retry();
  }

  /** Holds so many requests at most from now on, in the multiplexed dialect. */
  limit(most: number): void {
    if (this.dialect !== MULTIPLEXED || this.#state !== "registered") return;
    if (most === this.#limit) return;
    this.#limit = most;
    this.#sendCredit(most);
    this.#takeNext();
  }

  /** Ends it as soon as it holds no request and none can be on its way; asks for no more. */
  stop(): void {
    if (this.isStopping) return;
    this.#holdings.forgetAll();
    if (this.dialect === MULTIPLEXED) {
      this.#sendCredit(0);
      this.#timer = setTimeout(() => {
        // If this program was busy all the time, one may be there and not have been seen.
        this.#registration!.poll();
        this.#timer = undefined;
        this.#endIfDrained();
      }, CROSSING);
    } else if (this.#holdings.size === 0) return this.end();
    this.#state = "draining";
  }

  #endIfDrained(): void {
    const isDrained = this.#holdings.size === 0 && this.#timer === undefined;
    if (this.#state === "draining" && isDrained) this.end();
  }

  /** Ends it now. What it holds is lost. */
  end(): void {
    if (this.#state === "over") return;
    this.#state = "over";
    clearTimeout(this.#timer);
    this.#leave("The worker has stopped");
    this.#owner.onSettled();
  }

  /** Resolves when the sockets of an ended session are closed. */
  async closed(): Promise<void> {
    await Promise.all(this.#closing);
  }

  // ---- commands ----

  #receive(command: CommandAtWorker): void {
    this.#attempts = 0;
    if (command.command === "cancel") return this.#cancel(command.token);
    if (command.command !== "request") return;
    const multiplexed = this.dialect === MULTIPLEXED, holdings = this.#holdings;
    // In RFC 18 the broker gives what is not taken now to another, once it has our DISCONNECT. In
    // the multiplexed dialect it has crossed our CREDIT, and is one more to be finished.
    if (this.#state !== "registered" && !(multiplexed && this.#state === "draining")) return;
    if (holdings.size < this.#limit && holdings.find(command.token ?? 0) === undefined) {
      return this.#take(command);
    }
    const broker = this.#registration!.endpoint;
    if (holdings.postpone(command)) {
      // Some broker counts otherwise than we do. To answer in turn serves its clients best.
      this.#owner.complain("excess", "{broker} sent a request before the last was answered", {
        broker,
      });
    } else {
      this.#owner.complain(
        "overflow",
        "Dropped a request: {broker} has sent {count} before the last was answered",
        { broker, count: MOST_EXCESS },
      );
      // Else the broker would have it for in hand as long as the connection stands.
      if (multiplexed) {
        const error = new ServiceError(503, "The worker has too many requests in hand");
        this.#registration!.send(errorFor(command.token!, error));
      }
    }
  }

  #take(command: WorkCommand): void {
    const { timeToLive } = command;
    const deadline = timeToLive ? performance.now() + timeToLive : undefined;
    const request = new WorkerRequest({
      service: this.#owner.service,
      client: command.client,
      token: command.token,
      frames: command.body,
      headers: command.headers,
      deadline,
      maxMessageSize: this.#owner.options.maxMessageSize,
      send: this.#answer,
      fail: this.dialect === MULTIPLEXED ? this.#fail : undefined,
      abandon: this.#abandon,
    });
    this.#holdings.add(request, deadline);
    this.#owner.onRequest(request);
  }

  #cancel(token: Id): void {
    const reason = new DOMException("The client no longer wants the answer", "AbortError");
    const request = this.#holdings.find(token);
    if (request !== undefined) return this.#cancelHeld(request, reason);
    // If it was not kept for later either, the answer may have crossed it.
    if (this.#holdings.forget(token)) {
      this.#registration!.send(errorFor(token, new ServiceError(504, reason.message)));
    }
  }

  #cancelHeld(request: WorkerRequest, reason: Error): void {
    cancelRequest(request, reason);
    this.#owner.onCancelled(request);
  }

  readonly #answer: WorkerRequestInit["send"] = (request, command, body, headers) => {
    // Only while the requests are being told of a loss, of which this one is then told too.
    if (!this.#holdings.has(request)) return undefined;
    const registration = this.#registration!, dialect = this.dialect!;
    const unsent = dialect === MULTIPLEXED
      ? registration.sendAnswer(command, tokenOf(request), headers, body)
      : registration.send({ side: "worker", command, dialect, client: request.client, body });
    return command === "partial" ? unsent?.promise : this.#end(request, unsent);
  };

  readonly #fail = (request: WorkerRequest, error: ServiceError): Promise<void> | undefined => {
    if (!this.#holdings.has(request)) return undefined;
    return this.#end(request, this.#registration!.send(errorFor(tokenOf(request), error)));
  };

  /**
   * What ends a request was sent, which counts as answered from then on: the broker may send the next
   * at once.
   *
   * @param unsent If it waits to be sent.
   */
  #end(request: WorkerRequest, unsent: Unsent | undefined): Promise<void> | undefined {
    if (unsent === undefined) {
      this.#answered(request);
      return undefined;
    }
    unsent.onSent = () => this.#answered(request);
    return unsent.promise;
  }

  #sendCredit(credit: number): void {
    this.#registration!.send({ side: "worker", command: "credit", dialect: MULTIPLEXED, credit });
  }

  #answered(request: WorkerRequest): void {
    // The connection may have been lost while the answer waited for room.
    if (!this.#holdings.has(request)) return;
    this.#holdings.delete(request);
    if (this.#holdings.size === 0) this.#registration!.rested();
    this.#takeNext();
    this.#endIfDrained();
    this.#owner.onSettled();
  }

  /** Takes those that were kept for later, as far as there is room. */
  #takeNext(): void {
    while (this.#holdings.size < this.#limit) {
      const next = this.#holdings.next();
      if (next === undefined) return;
      this.#take(next);
    }
  }

  readonly #abandon = (request: WorkerRequest): void => {
    if (!this.#holdings.has(request)) return;
    if (this.dialect === MULTIPLEXED) {
      if (this.#state !== "draining") {
        this.#fail(request, new ServiceError(503, "The worker gave the request back"));
        return;
      }
      // The broker gives it to another when it gets the DISCONNECT that comes soon.
      this.#holdings.delete(request);
      this.#endIfDrained();
      return;
    }
    if (this.#state === "draining") return this.end();
    this.#leave("The request was abandoned");
    this.#pause();
    this.#owner.onSettled();
  };

  // ---- connections ----

  /** The broker is lost: nothing is said to it any more. */
  #lost(reason: string): void {
    this.#broker = (this.#broker + 1) % this.#owner.options.brokers.length;
    const draining = this.#state === "draining";
    this.#disconnect(reason, this.#registration!.close(0));
    if (draining) this.end();
    else this.#pause();
    this.#owner.onSettled();
  }

  /** Leaves the broker with a DISCONNECT. */
  #leave(reason: string): void {
    if (this.#registration !== undefined) this.#disconnect(reason, this.#registration.leave());
  }

  #disconnect(reason: string, closed: Promise<void>): void {
    this.#registration = undefined;
    this.#isRegistered = false;
    this.#owner.onRegistered(this);
    const closing = closed.then(() => void this.#closing.delete(closing));
    this.#closing.add(closing);
    const lost = this.#holdings.clear();
    if (lost.length === 0) return;
    const error = new DisconnectedError(
      `${reason}; the request for service "${this.#owner.service}" is lost`,
    );
    for (const request of lost) loseRequest(request, error);
  }

  /** Connects anew, as soon as the last time is long enough ago. */
  #pause(): void {
    // Whoever was told of a loss may have ended the session, or have it connected again.
    if (this.#state === "over" || this.#registration !== undefined) return;
    this.#state = "pausing";
    const { backoff, maxBackoff } = this.#owner.options;
    const pause = backoffPause(Math.max(0, this.#attempts - 1), backoff, maxBackoff, Math.random());
    const now = performance.now();
    this.#pausedUntil = Math.max(now, this.#connectedAt + pause);
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#retry(), this.#pausedUntil - now);
  }

  #retry(): void {
    if (!this.#owner.mayRegister(this)) {
      // It is told to resume when it may.
      this.#state = "pausing";
      this.#pausedUntil = -Infinity;
      return;
    }
    try {
      this.open();
    } catch (error) {
      this.#owner.complain("connect", "Cannot connect to {broker}: {error}", {
        broker: this.#owner.options.brokers[this.#broker],
        error,
      });
      this.#broker = (this.#broker + 1) % this.#owner.options.brokers.length;
      this.#pause();
    }
  }
}

function errorFor(token: Id, { code, message, details }: ServiceError): Command {
  return {
    side: "worker",
    command: "error",
    dialect: MULTIPLEXED,
    token,
    code,
    message: new TextEncoder().encode(message),
    details,
  };
}
