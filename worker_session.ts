/**
 * A logical worker: one registration after the other with a broker, each on a socket of its own.
 * What RFC 18 asks of a worker is here: READY, heartbeats, one request at a time, DISCONNECT, and
 * a new connection when the broker is lost. What is done with a request is the `Worker`'s.
 *
 * @module
 */

import {
  type AnswerCommand,
  type CommandAtWorker,
  decodeAtWorker,
  encode,
  type WorkCommand,
} from "./codec.ts";
import { Connection } from "./connection.ts";
import { DisconnectedError } from "./errors.ts";
import { Liveness } from "./liveness.ts";
import { backoffPause, type ResolvedWorkerOptions } from "./options.ts";
import { loseRequest, WorkerRequest } from "./worker_request.ts";

/** How many requests a registration may hold. RFC 18: one. */
const CREDIT = 1;
/** How many requests beyond it are kept for later, if the broker sends so many against the rules. */
const MOST_EXCESS = 100;
/** How long a DISCONNECT lingers that is meant for a broker that was never heard of, in ms. */
const UNHEARD_LINGER = 500;

/** What a session needs of the worker it belongs to. None may throw. */
export interface SessionOwner {
  /** The worker's options. */
  readonly options: ResolvedWorkerOptions;
  /** The service's name as text. */
  readonly service: string;
  /** A request has come. */
  onRequest(request: WorkerRequest): void;
  /** A request is over, or the session is. */
  onSettled(): void;
  /** Something went wrong that is logged, but not too often. The kind is what is counted. */
  complain(kind: string, template: string, properties: Record<string, unknown>): void;
  /** Something happened that is logged. */
  inform(template: string, properties: Record<string, unknown>): void;
}

/** One connection, registered. */
interface Registration {
  readonly connection: Connection<CommandAtWorker>;
  readonly liveness: Liveness;
  /** Whether the broker has spoken. */
  heard: boolean;
  /** Whether a command waits for room in the socket. */
  blocked: boolean;
}

/**
 * One logical worker.
 *
 * ```text
 *            open()                 stop(), holding a request
 *   idle ─────────────► registered ─────────────────────────► draining
 *                        │   ▲   │                               │ answered,
 *  silence, DISCONNECT,  │   │   │ stop(), holding none          │ lost, end()
 *  abandon()             ▼   │   ▼                               ▼
 *                       pausing ─────────────────────────────► over
 *                                     stop(), end()
 * ```
 */
export class Session {
  readonly #owner: SessionOwner;
  /** Given to the owner, and not answered. */
  readonly #held = new Set<WorkerRequest>();
  /** Came while as many were held as may be. */
  #excess: WorkCommand[] = [];
  #registration: Registration | undefined;
  #state: "idle" | "registered" | "pausing" | "draining" | "over" = "idle";
  /** When the last connection was made. */
  #connectedAt = -Infinity;
  /** How many connections were made since a broker was last heard. */
  #attempts = 0;
  /** Which of the brokers. */
  #broker = 0;
  /** The only one: for the next heartbeat or loss, or for the end of the pause. */
  #timer: ReturnType<typeof setTimeout> | undefined;
  /** Connections that are still being closed. */
  readonly #closing = new Set<Promise<void>>();

  /** Makes a session that does nothing yet. */
  constructor(owner: SessionOwner) {
    this.#owner = owner;
  }

  /** Whether it has a connection. */
  get isConnected(): boolean {
    return this.#registration !== undefined;
  }

  /** Whether it has ended. */
  get isOver(): boolean {
    return this.#state === "over";
  }

  /**
   * Connects and registers.
   *
   * @throws {ZmqError} If libzmq refuses the endpoint, or another socket.
   */
  open(): void {
    const { brokers, linger, maxMessageSize, dialect, service, ...options } = this.#owner.options;
    const endpoint = brokers[this.#broker]!;
    const now = performance.now();
    this.#connectedAt = now;
    this.#attempts++;
    const registration: Registration = {
      connection: new Connection<CommandAtWorker>({
        endpoint,
        linger,
        maxMessageSize,
        decode: (frames) => decodeAtWorker(frames, dialect),
        onCommand: (command) => this.#receive(registration, command),
        onInvalid: (error) =>
          this.#owner.complain(`invalid ${error.kind}`, "Dropped a message of {broker}: {reason}", {
            broker: endpoint,
            reason: error.message,
          }),
      }),
      liveness: new Liveness(options.heartbeatInterval, options.heartbeatTimeout, now),
      heard: false,
      blocked: false,
    };
    this.#registration = registration;
    this.#state = "registered";
    this.#send(registration, encode({ side: "worker", command: "ready", dialect, service }));
    this.#arm(registration.liveness.deadline - now);
    this.#owner.inform("Registering for service {service} with {broker}", {
      service: this.#owner.service,
      broker: endpoint,
    });
  }

  /** Leaves the broker, if it is connected to one, and registers anew with the same one, now. */
  reopen(): void {
    this.#leave("The worker was told to connect anew");
    // Whoever was told of a loss may have ended the session, or have done the same.
    if (this.#state === "over" || this.#registration !== undefined) return;
    clearTimeout(this.#timer);
    this.#retry();
  }

  /** Ends it as soon as it holds no request; takes none any more. */
  stop(): void {
    if (this.#state === "over") return;
    this.#excess = [];
    if (this.#held.size === 0) this.end();
    else this.#state = "draining";
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

  #receive(registration: Registration, command: CommandAtWorker): void {
    if (command.command === "disconnect") {
      const broker = registration.connection.endpoint;
      this.#owner.complain("disconnect", "{broker} sent DISCONNECT for service {service}", {
        broker,
        service: this.#owner.service,
      });
      // RFC 18: nothing may be sent after it, so nothing has to leave either.
      return this.#lost(`The broker at ${broker} said DISCONNECT`);
    }
    registration.heard = true;
    registration.liveness.heard(performance.now());
    this.#attempts = 0;
    if (command.command !== "request") return;
    // The broker gives what is not taken now to another, once it has our DISCONNECT.
    if (this.#state !== "registered") return;
    if (this.#held.size < CREDIT) return this.#take(command);
    const broker = registration.connection.endpoint;
    if (this.#excess.length < MOST_EXCESS) {
      // Some broker counts otherwise than we do. To answer in turn serves its clients best.
      this.#excess.push(command);
      this.#owner.complain("excess", "{broker} sent a request before the last was answered", {
        broker,
      });
    } else {
      this.#owner.complain(
        "overflow",
        "Dropped a request: {broker} has sent {count} before the last was answered",
        { broker, count: MOST_EXCESS },
      );
    }
  }

  #take(command: WorkCommand): void {
    const registration = this.#registration!;
    const request = new WorkerRequest({
      service: this.#owner.service,
      client: command.client,
      frames: command.body,
      send: (request, command, body) => this.#answer(registration, request, command, body),
      abandon: (request) => this.#abandon(request),
    });
    this.#held.add(request);
    this.#owner.onRequest(request);
  }

  #answer(
    registration: Registration,
    request: WorkerRequest,
    command: AnswerCommand["command"],
    body: Uint8Array[],
  ): Promise<void> | undefined {
    // Only while its requests are being told of the loss, of which this one is then told too.
    if (registration !== this.#registration) return undefined;
    const { dialect } = this.#owner.options;
    const frames = encode({ side: "worker", command, dialect, client: request.client, body });
    const pending = this.#send(registration, frames);
    if (command === "partial") return pending;
    if (pending !== undefined) return pending.then(() => this.#answered(request));
    this.#answered(request);
  }

  #answered(request: WorkerRequest): void {
    if (!this.#held.delete(request)) return;
    const next = this.#excess.shift();
    if (next !== undefined) this.#take(next);
    else if (this.#state === "draining" && this.#held.size === 0) return this.end();
    this.#owner.onSettled();
  }

  #abandon(request: WorkerRequest): void {
    if (!this.#held.has(request)) return;
    if (this.#state === "draining") return this.end();
    this.#leave("The request was abandoned");
    this.#pause();
    this.#owner.onSettled();
  }

  #send(registration: Registration, frames: readonly Uint8Array[]): Promise<void> | undefined {
    registration.liveness.sent(performance.now());
    const pending = registration.connection.send(frames);
    if (pending === undefined) return undefined;
    registration.blocked = true;
    return pending.then(() => {
      registration.blocked = false;
    });
  }

  #control(registration: Registration, command: "heartbeat" | "disconnect"): void {
    const { dialect } = this.#owner.options;
    this.#send(registration, encode({ side: "worker", command, dialect }));
  }

  // ---- connections ----

  /** The broker is lost: nothing is said to it any more. */
  #lost(reason: string): void {
    this.#broker = (this.#broker + 1) % this.#owner.options.brokers.length;
    const draining = this.#state === "draining";
    this.#disconnect(reason, 0);
    if (draining) this.end();
    else this.#pause();
    this.#owner.onSettled();
  }

  /** Leaves the broker with a DISCONNECT. */
  #leave(reason: string): void {
    const registration = this.#registration;
    if (registration === undefined) return;
    this.#control(registration, "disconnect");
    const { linger } = this.#owner.options;
    this.#disconnect(reason, registration.heard ? linger : Math.min(linger, UNHEARD_LINGER));
  }

  #disconnect(reason: string, linger: number): void {
    const { connection } = this.#registration!;
    this.#registration = undefined;
    clearTimeout(this.#timer);
    const closing = connection.close(linger).then(() => void this.#closing.delete(closing));
    this.#closing.add(closing);
    const lost = [...this.#held];
    this.#held.clear();
    this.#excess = [];
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
    clearTimeout(this.#timer);
    this.#timer = setTimeout(
      () => this.#retry(),
      Math.max(0, this.#connectedAt + pause - performance.now()),
    );
  }

  #retry(): void {
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

  // ---- heartbeats ----

  #arm(delay: number): void {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#beat(), Math.ceil(Math.max(0, delay)));
  }

  #beat(): void {
    const registration = this.#registration!;
    const { liveness, connection } = registration;
    let verdict = liveness.check(performance.now());
    if (verdict === "lost") {
      // This program may have been busy for so long that it is the one who has not listened.
      connection.poll();
      if (registration !== this.#registration) return;
      verdict = liveness.check(performance.now());
    }
    if (verdict === "lost") {
      const { heartbeatTimeout } = this.#owner.options;
      const broker = connection.endpoint;
      this.#owner.complain("silence", "{broker} was silent for {timeout} ms", {
        broker,
        timeout: heartbeatTimeout,
        service: this.#owner.service,
      });
      return this.#lost(`The broker at ${broker} was silent for ${heartbeatTimeout} ms`);
    }
    if (verdict === "heartbeat") {
      // What waits for room says as much as another heartbeat would, when it leaves.
      if (registration.blocked) liveness.sent(performance.now());
      else this.#control(registration, "heartbeat");
    }
    this.#arm(liveness.deadline - performance.now());
  }
}
