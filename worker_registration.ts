/**
 * One connection of a worker to a broker: which dialect is spoken on it, READY, heartbeats, and
 * how its end is noticed. What is done with the requests that come on it is the session's.
 *
 * @module
 */

import {
  type Command,
  type CommandAtClient,
  type CommandAtWorker,
  decodeAtClient,
  decodeAtWorker,
  type Dialect,
  encode,
  type Id,
  MAJORTOMO,
  MULTIPLEXED,
  RFC,
} from "./codec.ts";
import { withBody, writeAnswer } from "./codec_multiplexed.ts";
import { Connection, type Unsent } from "./connection.ts";
import { Liveness } from "./liveness.ts";
import type { ResolvedWorkerOptions } from "./options.ts";
import { isYes, MAYBE_MAJORTOMO, PATIENCE, question } from "./question.ts";
import type { Frame } from "./zmq/socket.ts";

/** How long a DISCONNECT lingers that is meant for a broker that was never heard of, in ms. */
const UNHEARD_LINGER = 500;

/** What a {@linkcode Registration} needs of the worker it belongs to. None may throw. */
export interface RegistrationOwner {
  /** The worker's options. */
  readonly options: ResolvedWorkerOptions;
  /** The service's name as text. */
  readonly service: string;
  /** Something went wrong that is logged, but not too often. The kind is what is counted. */
  complain(kind: string, template: string, properties: Record<string, unknown>): void;
  /** Something happened that is logged. */
  inform(template: string, properties: Record<string, unknown>): void;
}

/** What a {@linkcode Registration} tells; nothing after `close()` or `leave()`. None may throw. */
export interface RegistrationEvents {
  /** How many requests may be held, 1 to 65,535: asked when READY is sent, if it says so. */
  credit(): number;
  /** Whether a request is in hand. */
  isBusy(): boolean;
  /** READY was sent. */
  onReady(dialect: Dialect): void;
  /** The broker has the READY, as far as can be known. */
  onRegistered(): void;
  /** The broker has said something else than what it speaks. */
  onCommand(command: CommandAtWorker): void;
  /** The broker is lost: nothing is to be said to it any more. */
  onLost(reason: string): void;
}

/**
 * One connection, registered or about to be.
 *
 * ```text
 *           open()           answered, or not in time
 *   idle ───────────► asking ───────────► registered
 *     └───────────────────────────────────────▲
 *         open(), if it is not to ask
 * ```
 */
export class Registration {
  readonly #owner: RegistrationOwner;
  readonly #events: RegistrationEvents;
  readonly #connection: Connection<CommandAtWorker | CommandAtClient>;
  readonly #liveness: Liveness;
  #dialect: Dialect | undefined;
  /** Whether the broker was asked, and has not answered. */
  #asked = false;
  /** Until when the answer is waited for: no longer than a second once the connection stands. */
  #askedUntil = Infinity;
  /** Whether the broker is there; once registered, whether it has spoken since. */
  #heard = false;
  /** Whether the broker has said nothing before it was registered with, and nothing invalid. */
  #isMute = true;
  /** Whether the connection stands. */
  #stood = false;
  /** Whether `onRegistered()` was called. */
  #isRegistered = false;
  /** Whether the broker has sent a heartbeat while a request was in hand. */
  #speaksToBusy = false;
  /** Whether a command waits for room in the socket. */
  #blocked = false;
  /** For the end of the patience, the next heartbeat, or the loss of the broker. */
  #timer: ReturnType<typeof setTimeout> | undefined;

  /**
   * Connects, in the background.
   *
   * @param endpoint Where the broker is.
   * @throws {ZmqError} If libzmq refuses the endpoint, or another socket.
   */
  constructor(owner: RegistrationOwner, endpoint: string, events: RegistrationEvents) {
    this.#owner = owner;
    this.#events = events;
    const { linger, maxMessageSize, heartbeatInterval, heartbeatTimeout } = owner.options;
    this.#liveness = new Liveness(heartbeatInterval, heartbeatTimeout, performance.now());
    this.#connection = new Connection<CommandAtWorker | CommandAtClient>({
      endpoint,
      linger,
      maxMessageSize,
      decode: (frames) => this.#decode(frames),
      onCommand: (command) => {
        if (command.side === "client") this.#receiveAnswer(command);
        else this.#receive(command);
      },
      onInvalid: (error) => {
        this.#isMute = false;
        owner.complain(`invalid ${error.kind}`, "Dropped a message of {broker}: {reason}", {
          broker: endpoint,
          reason: error.message,
        });
      },
      onMonitor: (event) => {
        if (event === "connected") this.#stands();
        else this.#gone();
      },
    });
  }

  /** Where the broker is. */
  get endpoint(): string {
    return this.#connection.endpoint;
  }

  /** What is spoken; `undefined` until that is found out, and READY was sent. */
  get dialect(): Dialect | undefined {
    return this.#dialect;
  }

  /**
   * Registers, after it has found out what to speak if it is to ask.
   *
   * @param multiplexed Whether to ask for the multiplexed dialect, to insist on it, or to speak the
   * one of the options.
   */
  open(multiplexed: "ask" | "insist" | "never"): void {
    if (multiplexed === "ask") this.#ask();
    else this.#register(multiplexed === "insist" ? MULTIPLEXED : this.#owner.options.dialect);
  }

  /** Sends a command. @returns Nothing if it was sent at once, else what waits to be. */
  send(command: Command): Unsent | undefined {
    return this.#send(encode(command, this.#connection.control.bytes));
  }

  /** The same for a part of an answer, in the multiplexed dialect. */
  sendAnswer(
    command: "partial" | "final",
    token: Id,
    headers: Uint8Array | undefined,
    body: readonly Uint8Array[],
  ): Unsent | undefined {
    const { control } = this.#connection;
    writeAnswer(control.bytes, command, token, headers !== undefined);
    return this.#send(withBody<Frame>(control, headers, body));
  }

  #send(frames: Frame[]): Unsent | undefined {
    this.#liveness.sent(this.#connection.now);
    const unsent = this.#connection.send(frames);
    if (unsent === undefined) return undefined;
    this.#blocked = true;
    unsent.promise.then(() => {
      this.#blocked = false;
    });
    return unsent;
  }

  /**
   * The last request in hand is answered. A broker that says nothing to who is busy begins to speak
   * now, and has its time until then.
   */
  rested(): void {
    if (this.#mayBeSilent()) this.#liveness.heard(this.#connection.now);
  }

  /** Hands on what has come already, without waiting for the event loop to find it. */
  poll(): void {
    this.#connection.poll();
  }

  /** Says DISCONNECT, if it has registered, and closes the connection when that has left. */
  leave(): Promise<void> {
    const { linger } = this.#owner.options;
    const dialect = this.#dialect;
    if (dialect !== undefined) this.send({ side: "worker", command: "disconnect", dialect });
    return this.close(this.#heard ? linger : Math.min(linger, UNHEARD_LINGER));
  }

  /** Closes the connection. What was sent may take so long to leave, in ms. */
  close(linger: number): Promise<void> {
    clearTimeout(this.#timer);
    return this.#connection.close(linger);
  }

  // ---- what to speak ----

  #ask(): void {
    const { heartbeatTimeout } = this.#owner.options;
    this.#asked = true;
    // Before the connection stands nobody has heard the question. Where libzmq does not tell of
    // connections, the second begins now.
    this.#askedUntil = performance.now() + (this.#isInproc ? PATIENCE : heartbeatTimeout);
    this.#connection.send(question());
    this.#arm(this.#askedUntil);
    this.#owner.inform("Asking {broker} whether it speaks the multiplexed dialect", {
      broker: this.endpoint,
    });
  }

  get #isInproc(): boolean {
    return this.endpoint.startsWith("inproc:");
  }

  /** A message of the broker: the answer to the question, or a command. */
  #decode(frames: Uint8Array[]): CommandAtWorker | CommandAtClient {
    // MDPC02, and not MDPW02 or MDPWX1.
    if (this.#asked && frames[0]?.[3] === 0x43) return decodeAtClient(frames, RFC);
    return decodeAtWorker(frames, this.#dialect ?? RFC);
  }

  #receiveAnswer(command: CommandAtClient): void {
    this.#asked = false;
    this.#isMute = false;
    // RFC 18 is spoken by now: too late.
    if (this.#dialect !== undefined) return;
    this.#register(isYes(command) ? MULTIPLEXED : RFC);
  }

  #stands(): void {
    this.#stood = true;
    if (this.#dialect !== undefined) return this.#tellIfRegistered();
    this.#askedUntil = performance.now() + PATIENCE;
    this.#heard = true;
    this.#arm(this.#askedUntil);
  }

  #unanswered(): void {
    this.#connection.poll();
    if (this.#connection.isClosed || this.#dialect !== undefined) return;
    if (performance.now() < this.#askedUntil) return this.#arm(this.#askedUntil);
    // A connection that does not stand is a broker that is not there.
    if (this.#heard || this.#isInproc) return this.#register(RFC);
    this.#silent("was not there");
  }

  #register(dialect: Dialect): void {
    const { options: { service }, service: name } = this.#owner;
    this.#dialect = dialect;
    this.#heard = false;
    this.#liveness.heard(performance.now());
    const credit = dialect === MULTIPLEXED ? this.#events.credit() : undefined;
    this.send({ side: "worker", command: "ready", dialect, service, credit });
    this.#arm(this.#liveness.deadline);
    this.#owner.inform("Registering for service {service} with {broker}", {
      service: name,
      broker: this.endpoint,
      dialect: dialect.name,
    });
    this.#events.onReady(dialect);
    // Whoever was told may have closed it.
    if (!this.#connection.isClosed) this.#tellIfRegistered();
  }

  /** A multiplexed broker answers READY; of others no more can be known than that it has left. */
  #tellIfRegistered(): void {
    const isAnswered = this.#dialect === MULTIPLEXED ? this.#heard : this.#stood || this.#isInproc;
    if (this.#isRegistered || !isAnswered) return;
    this.#isRegistered = true;
    this.#events.onRegistered();
  }

  // ---- what comes, and what does not ----

  #receive(command: CommandAtWorker): void {
    if (command.command === "disconnect") {
      const broker = this.endpoint;
      this.#owner.complain("disconnect", "{broker} sent DISCONNECT for service {service}", {
        broker,
        service: this.#owner.service,
      });
      // Nothing may be sent after it, so nothing has to leave either.
      return this.#events.onLost(`The broker at ${broker} said DISCONNECT`);
    }
    this.#heard = true;
    this.#liveness.heard(this.#connection.now);
    if (command.command === "heartbeat" && this.#events.isBusy()) this.#speaksToBusy = true;
    this.#tellIfRegistered();
    if (!this.#connection.isClosed) this.#events.onCommand(command);
  }

  /** libzmq has lost the connection. */
  #gone(): void {
    // What came before the end is still there to be read: it may be a DISCONNECT.
    this.#connection.poll();
    if (this.#connection.isClosed) return;
    const broker = this.endpoint;
    this.#owner.complain("gone", "The connection to {broker} is gone", {
      broker,
      service: this.#owner.service,
    });
    this.#events.onLost(`The connection to ${broker} is gone`);
  }

  #silent(how: "was silent" | "was not there"): void {
    const { heartbeatTimeout } = this.#owner.options;
    const broker = this.endpoint;
    const isMute = this.#dialect === RFC && this.#stood && this.#isMute && !this.#heard;
    const hint = isMute ? MAYBE_MAJORTOMO : "";
    this.#owner.complain("silence", `{broker} ${how} for {timeout} ms${hint}`, {
      broker,
      timeout: heartbeatTimeout,
      service: this.#owner.service,
    });
    this.#events.onLost(`The broker at ${broker} ${how} for ${heartbeatTimeout} ms`);
  }

  /**
   * Whether its silence means nothing while a request is in hand: the broker of the Python project
   * sends heartbeats to those only that wait. That its connection ends is seen all the same.
   */
  #mayBeSilent(): boolean {
    return this.#dialect === MAJORTOMO && !this.#speaksToBusy;
  }

  #arm(at: number): void {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(this.#beat, Math.ceil(Math.max(0, at - performance.now())));
  }

  readonly #beat = (): void => {
    const dialect = this.#dialect, liveness = this.#liveness;
    if (dialect === undefined) return this.#unanswered();
    let verdict = liveness.check(performance.now());
    if (verdict === "lost") {
      // This program may have been busy for so long that it is the one who has not listened.
      this.#connection.poll();
      if (this.#connection.isClosed) return;
      verdict = liveness.check(performance.now());
    }
    if (verdict === "lost" && this.#mayBeSilent() && this.#events.isBusy()) {
      liveness.heard(performance.now());
      verdict = liveness.check(performance.now());
    }
    if (verdict === "lost") return this.#silent("was silent");
    if (verdict === "heartbeat") {
      // What waits for room says as much as another heartbeat would, when it leaves.
      if (this.#blocked) liveness.sent(performance.now());
      else this.send({ side: "worker", command: "heartbeat", dialect });
    }
    this.#arm(liveness.deadline);
  };
}
