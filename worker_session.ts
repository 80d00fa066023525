/**
 * A logical worker: one registration after the other with a broker, each on a socket of its own.
 * What the protocol asks of a worker is here: which dialect, READY, heartbeats, no more requests
 * than may be held, DISCONNECT, and a new connection when the broker is lost. What is done with a
 * request is the `Worker`'s.
 *
 * @module
 */

import {
  type AnswerCommand,
  type Command,
  type CommandAtClient,
  type CommandAtWorker,
  decodeAtClient,
  decodeAtWorker,
  type Dialect,
  encode,
  type Id,
  MULTIPLEXED,
  RFC,
  type WorkCommand,
} from "./codec.ts";
import { Connection } from "./connection.ts";
import { Deadlines, type Due } from "./deadlines.ts";
import { DisconnectedError, ServiceError } from "./errors.ts";
import { Liveness } from "./liveness.ts";
import { backoffPause, type ResolvedWorkerOptions } from "./options.ts";
import {
  cancelRequest,
  deadlineError,
  loseRequest,
  tokenOf,
  WorkerRequest,
} from "./worker_request.ts";

/** What a broker is asked whether it speaks the multiplexed dialect. */
const QUESTION = new TextEncoder().encode("mmi.multiplexed");
/** How long it may take to answer, in ms. */
const PATIENCE = 1_000;
const YES = "200";
const EMPTY = new Uint8Array(0);
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
  /** The client of a request wants no answer any more, or its deadline has passed. */
  onCancelled(request: WorkerRequest): void;
  /** A session that asks has found what its broker speaks. */
  onDialect(session: Session, dialect: Dialect): void;
  /** Whether a session that does not ask may register now. */
  mayRegister(session: Session): boolean;
  /** Something went wrong that is logged, but not too often. The kind is what is counted. */
  complain(kind: string, template: string, properties: Record<string, unknown>): void;
  /** Something happened that is logged. */
  inform(template: string, properties: Record<string, unknown>): void;
}

/** One connection, registered or about to be. */
interface Registration {
  readonly connection: Connection<CommandAtWorker | CommandAtClient>;
  readonly liveness: Liveness;
  /** What is spoken; `undefined` until that is found out. */
  dialect: Dialect | undefined;
  /** Whether the broker was asked, and has not answered. */
  asked: boolean;
  /** Until when the answer is waited for: no longer than a second once the connection stands. */
  askedUntil: number;
  /** For requests. */
  readonly send: ConstructorParameters<typeof WorkerRequest>[0]["send"];
  readonly fail: ConstructorParameters<typeof WorkerRequest>[0]["fail"];
  /** Whether the broker has spoken. */
  heard: boolean;
  /** Whether a command waits for room in the socket. */
  blocked: boolean;
}

/** A request in hand. */
class Held implements Due {
  readonly request: WorkerRequest;
  /** For the calendar of deadlines. */
  day: Due["day"] = undefined;

  constructor(request: WorkerRequest) {
    this.request = request;
  }
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
  /** Whether it asks its broker what it speaks, or speaks what it speaks. */
  readonly #multiplexed: "ask" | "insist" | "never";
  /** Given to the owner, and not answered; by token, which is 0 in RFC 18. */
  readonly #held = new Map<Id, Held>();
  /** When what is held is of no use any more. */
  readonly #deadlines = new Deadlines<Held>();
  /** Control frames are written to it: libzmq copies them. */
  readonly #control = new Uint8Array(20);
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
  /** When its pause is over. */
  #pausedUntil = -Infinity;
  /** The only one: for the next heartbeat, loss or deadline, or for the end of the pause. */
  #timer: ReturnType<typeof setTimeout> | undefined;
  /** When it is due, while registered. */
  #timerAt = Infinity;
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

  /** What it speaks, if it has registered. */
  get dialect(): Dialect | undefined {
    return this.#registration?.dialect;
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
    const { brokers, linger, maxMessageSize, ...options } = this.#owner.options;
    const endpoint = brokers[this.#broker]!;
    const now = performance.now();
    this.#connectedAt = now;
    this.#attempts++;
    const registration: Registration = {
      connection: new Connection<CommandAtWorker | CommandAtClient>({
        endpoint,
        linger,
        maxMessageSize,
        decode: (frames) => decode(registration, frames),
        onCommand: (command) => {
          if (command.side === "client") this.#receiveAnswer(registration, command);
          else this.#receive(registration, command);
        },
        onInvalid: (error) =>
          this.#owner.complain(`invalid ${error.kind}`, "Dropped a message of {broker}: {reason}", {
            broker: endpoint,
            reason: error.message,
          }),
        onMonitor: (event) => {
          if (event === "connected") this.#stands(registration);
          else this.#gone(registration);
        },
      }),
      liveness: new Liveness(options.heartbeatInterval, options.heartbeatTimeout, now),
      dialect: undefined,
      asked: false,
      askedUntil: Infinity,
      send: (request, command, body, headers) =>
        this.#answer(registration, request, command, body, headers),
      fail: (request, error) => this.#answerError(registration, tokenOf(request), error),
      heard: false,
      blocked: false,
    };
    this.#registration = registration;
    this.#state = "registered";
    if (this.#multiplexed === "ask") return this.#ask(registration, now);
    this.#register(registration, this.#multiplexed === "insist" ? MULTIPLEXED : options.dialect);
  }

  // ---- what to speak ----

  #ask(registration: Registration, now: number): void {
    const { connection } = registration;
    const { heartbeatTimeout } = this.#owner.options;
    registration.asked = true;
    // Before the connection stands nobody has heard the question. Where libzmq does not tell of
    // connections, the second begins now.
    registration.askedUntil = now +
      (connection.endpoint.startsWith("inproc:") ? PATIENCE : heartbeatTimeout);
    connection.send(
      encode({
        side: "client",
        command: "request",
        dialect: RFC,
        service: QUESTION,
        body: [EMPTY],
      }),
    );
    this.#arm(registration.askedUntil);
    this.#owner.inform("Asking {broker} whether it speaks the multiplexed dialect", {
      broker: connection.endpoint,
    });
  }

  #receiveAnswer(registration: Registration, command: CommandAtClient): void {
    registration.asked = false;
    // RFC 18 is spoken by now: too late.
    if (registration.dialect !== undefined) return;
    const yes = command.command === "final" && command.body.length === 1 &&
      new TextDecoder().decode(command.body[0]) === YES;
    this.#register(registration, yes ? MULTIPLEXED : RFC);
  }

  #stands(registration: Registration): void {
    if (registration !== this.#registration || registration.dialect !== undefined) return;
    registration.askedUntil = performance.now() + PATIENCE;
    registration.heard = true;
    this.#arm(registration.askedUntil);
  }

  #register(registration: Registration, dialect: Dialect): void {
    const { service, concurrency } = this.#owner.options;
    const { connection, liveness } = registration;
    const now = performance.now();
    registration.dialect = dialect;
    registration.heard = false;
    liveness.heard(now);
    const credit = dialect === MULTIPLEXED ? concurrency : undefined;
    this.#send(registration, { side: "worker", command: "ready", dialect, service, credit });
    this.#arm(liveness.deadline);
    this.#owner.inform("Registering for service {service} with {broker}", {
      service: this.#owner.service,
      broker: connection.endpoint,
      dialect: dialect.name,
    });
    if (this.#multiplexed === "ask") this.#owner.onDialect(this, dialect);
  }

  /** Registers with the broker that another session has found. */
  follow(session: Session): void {
    this.#broker = session.#broker;
    this.#retry();
  }

  /** Registers at once if it was kept from it. */
  resume(): void {
    if (this.#state !== "pausing" || performance.now() < this.#pausedUntil) return;
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

  /** Ends it as soon as it holds no request; takes none any more. */
  stop(): void {
    if (this.#state === "over") return;
    this.#excess = [];
    const registration = this.#registration, dialect = registration?.dialect;
    if (dialect === MULTIPLEXED && this.#state === "registered") {
      this.#send(registration!, { side: "worker", command: "credit", dialect, credit: 0 });
    }
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
      // Nothing may be sent after it, so nothing has to leave either.
      return this.#lost(`The broker at ${broker} said DISCONNECT`);
    }
    registration.heard = true;
    registration.liveness.heard(performance.now());
    this.#attempts = 0;
    if (command.command === "cancel") return this.#cancel(registration, command.token);
    if (command.command !== "request") return;
    const multiplexed = registration.dialect === MULTIPLEXED;
    // In RFC 18 the broker gives what is not taken now to another, once it has our DISCONNECT. In
    // the multiplexed dialect it has crossed our CREDIT, and is one more to be finished.
    if (this.#state !== "registered" && !(multiplexed && this.#state === "draining")) return;
    const credit = multiplexed ? this.#owner.options.concurrency : 1;
    if (this.#held.size < credit && !this.#held.has(command.token ?? 0)) {
      return this.#take(command);
    }
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
    const { send, fail, dialect } = this.#registration!;
    const multiplexed = dialect === MULTIPLEXED, { timeToLive } = command;
    const deadline = timeToLive ? performance.now() + timeToLive : undefined;
    const request = new WorkerRequest({
      service: this.#owner.service,
      client: command.client,
      token: command.token,
      frames: command.body,
      headers: command.headers,
      deadline,
      send,
      fail: multiplexed ? fail : undefined,
      abandon: this.#abandon,
    });
    const held = new Held(request);
    this.#held.set(command.token ?? 0, held);
    if (deadline !== undefined) {
      this.#deadlines.schedule(held, deadline);
      if (deadline < this.#timerAt) this.#arm(deadline);
    }
    this.#owner.onRequest(request);
  }

  #cancel(registration: Registration, token: Id): void {
    const reason = new DOMException("The client no longer wants the answer", "AbortError");
    const held = this.#held.get(token);
    if (held !== undefined) return this.#cancelHeld(held, reason);
    const at = this.#excess.findIndex((command) => command.token === token);
    // The answer may have crossed it.
    if (at < 0) return;
    this.#excess.splice(at, 1);
    this.#sendError(registration, token, new ServiceError(504, reason.message));
  }

  #cancelHeld(held: Held, reason: Error): void {
    this.#deadlines.cancel(held);
    cancelRequest(held.request, reason);
    this.#owner.onCancelled(held.request);
  }

  #answer(
    registration: Registration,
    request: WorkerRequest,
    command: AnswerCommand["command"],
    body: Uint8Array[],
    headers: Uint8Array | undefined,
  ): Promise<void> | undefined {
    // Only while its requests are being told of the loss, of which this one is then told too.
    if (registration !== this.#registration) return undefined;
    const dialect = registration.dialect!;
    const pending = this.#send(
      registration,
      dialect === MULTIPLEXED
        ? { side: "worker", command, dialect, token: tokenOf(request), headers, body }
        : { side: "worker", command, dialect, client: request.client, body },
    );
    if (command === "partial") return pending;
    return this.#ended(registration, tokenOf(request), pending);
  }

  #answerError(
    registration: Registration,
    token: Id,
    error: ServiceError,
  ): Promise<void> | undefined {
    if (registration !== this.#registration) return undefined;
    return this.#ended(registration, token, this.#sendError(registration, token, error));
  }

  /** Counts a request as answered when its end has been sent. */
  #ended(
    registration: Registration,
    token: Id,
    pending: Promise<void> | undefined,
  ): Promise<void> | undefined {
    if (pending === undefined) {
      this.#answered(token);
      return undefined;
    }
    return pending.then(() => {
      // Another broker may use the same tokens.
      if (registration === this.#registration) this.#answered(token);
    });
  }

  #sendError(
    registration: Registration,
    token: Id,
    { code, message, details }: ServiceError,
  ): Promise<void> | undefined {
    return this.#send(registration, {
      side: "worker",
      command: "error",
      dialect: MULTIPLEXED,
      token,
      code,
      message: new TextEncoder().encode(message),
      details,
    });
  }

  #answered(token: Id): void {
    const held = this.#held.get(token);
    if (held === undefined) return;
    this.#held.delete(token);
    this.#deadlines.cancel(held);
    const next = this.#excess.shift();
    if (next !== undefined) this.#take(next);
    else if (this.#state === "draining" && this.#held.size === 0) return this.end();
    this.#owner.onSettled();
  }

  readonly #abandon = (request: WorkerRequest): void => {
    const token = tokenOf(request), held = this.#held.get(token);
    if (held?.request !== request) return;
    if (this.#registration!.dialect === MULTIPLEXED) {
      if (this.#state !== "draining") {
        this.#answerError(
          this.#registration!,
          token,
          new ServiceError(503, "The worker gave the request back"),
        );
        return;
      }
      // The broker gives it to another when it gets the DISCONNECT that comes soon.
      this.#held.delete(token);
      this.#deadlines.cancel(held);
      if (this.#held.size === 0) this.end();
      return;
    }
    if (this.#state === "draining") return this.end();
    this.#leave("The request was abandoned");
    this.#pause();
    this.#owner.onSettled();
  };

  #send(registration: Registration, command: Command): Promise<void> | undefined {
    registration.liveness.sent(performance.now());
    const frames = encode(command, this.#control);
    const pending = registration.connection.send(frames);
    if (pending === undefined) return undefined;
    // It is sent later, when the control frame has been written over.
    if (frames[0] === this.#control) frames[0] = this.#control.slice();
    registration.blocked = true;
    return pending.then(() => {
      registration.blocked = false;
    });
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

  /** libzmq has lost the connection. */
  #gone(registration: Registration): void {
    // What came before the end is still there to be read: it may be a DISCONNECT.
    registration.connection.poll();
    if (registration !== this.#registration) return;
    const broker = registration.connection.endpoint;
    this.#owner.complain("gone", "The connection to {broker} is gone", {
      broker,
      service: this.#owner.service,
    });
    this.#lost(`The connection to ${broker} is gone`);
  }

  /** Leaves the broker with a DISCONNECT. */
  #leave(reason: string): void {
    const registration = this.#registration;
    if (registration === undefined) return;
    const { dialect } = registration;
    if (dialect !== undefined) {
      this.#send(registration, { side: "worker", command: "disconnect", dialect });
    }
    const { linger } = this.#owner.options;
    this.#disconnect(reason, registration.heard ? linger : Math.min(linger, UNHEARD_LINGER));
  }

  #disconnect(reason: string, linger: number): void {
    const { connection } = this.#registration!;
    this.#registration = undefined;
    clearTimeout(this.#timer);
    const closing = connection.close(linger).then(() => void this.#closing.delete(closing));
    this.#closing.add(closing);
    const lost = [...this.#held.values()];
    this.#held.clear();
    for (const held of lost) this.#deadlines.cancel(held);
    this.#excess = [];
    if (lost.length === 0) return;
    const error = new DisconnectedError(
      `${reason}; the request for service "${this.#owner.service}" is lost`,
    );
    for (const { request } of lost) loseRequest(request, error);
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

  // ---- heartbeats and deadlines ----

  #arm(at: number): void {
    clearTimeout(this.#timer);
    this.#timerAt = at;
    this.#timer = setTimeout(this.#beat, Math.ceil(Math.max(0, at - performance.now())));
  }

  readonly #beat = (): void => {
    const registration = this.#registration!;
    const { liveness, connection } = registration;
    if (registration.dialect === undefined) return this.#unanswered(registration);
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
      else {
        const { dialect } = registration;
        this.#send(registration, { side: "worker", command: "heartbeat", dialect });
      }
    }
    for (let held; (held = this.#deadlines.take(performance.now())) !== undefined;) {
      this.#cancelHeld(held, deadlineError(this.#owner.service));
      // Whoever was told may have ended the session.
      if (registration !== this.#registration) return;
    }
    this.#arm(Math.min(liveness.deadline, this.#deadlines.next()));
  };

  #unanswered(registration: Registration): void {
    const { connection } = registration;
    connection.poll();
    if (registration !== this.#registration || registration.dialect !== undefined) return;
    if (performance.now() < registration.askedUntil) return this.#arm(registration.askedUntil);
    // A connection that does not stand is a broker that is not there.
    if (registration.heard || connection.endpoint.startsWith("inproc:")) {
      return this.#register(registration, RFC);
    }
    const { heartbeatTimeout } = this.#owner.options;
    const broker = connection.endpoint;
    this.#owner.complain("silence", "{broker} was not there for {timeout} ms", {
      broker,
      timeout: heartbeatTimeout,
      service: this.#owner.service,
    });
    this.#lost(`The broker at ${broker} was not there for ${heartbeatTimeout} ms`);
  }
}

/** A message of the broker: the answer to the question whether it is multiplexed, or a command. */
function decode(
  { asked, dialect }: Registration,
  frames: Uint8Array[],
): CommandAtWorker | CommandAtClient {
  // MDPC02, and not MDPW02 or MDPWX1.
  if (asked && frames[0]?.[3] === 0x43) return decodeAtClient(frames, RFC);
  return decodeAtWorker(frames, dialect ?? RFC);
}
