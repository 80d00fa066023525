/**
 * The connection of a client to one broker in the multiplexed dialect: it carries any number of
 * requests, each with an id.
 *
 * ```text
 *              connect()          it stands          200
 *   unconnected ─────► connecting ─────────► asking ─────► up
 *        ▲                 │ it stands,        │ anything else,
 *        │                 │ not to be asked   │ or silence for a second
 *        │                 └─────────► up      ▼
 *        │  lost, DISCONNECT                 RFC 18
 *        └───────────── from all of them ──────┘
 * ```
 *
 * Lost is a connection that is gone, or on which nothing came for the heartbeat timeout since a
 * request was sent. Then those in flight are void. Those that were not sent wait for the next
 * connection, which is made at once; but after a pause if that is lost too before it answered
 * anything, and after a DISCONNECT: a broker that stops may still listen.
 *
 * @module
 */

import { getLogger } from "@logtape/logtape";
import { STOPPING, TOO_LATE, WORKER_LOST } from "./broker_codes.ts";
import {
  type Command,
  type CommandAtClient,
  decodeAtClient,
  encode,
  MULTIPLEXED,
  RFC,
} from "./codec.ts";
import { requestFrames, writeRequest } from "./codec_multiplexed.ts";
import { ComplaintLog } from "./complaint_log.ts";
import { Connection, type Unsent } from "./connection.ts";
import { type ProtocolError, ServiceError, TimeoutError } from "./errors.ts";
import { type Identified, Ids } from "./ids.ts";
import { type Outgoing, quote, type Receiver } from "./line.ts";
import { backoffPause, type ResolvedClientOptions } from "./options.ts";
import type { Exchange } from "./pool.ts";
import { isYes, PATIENCE, question } from "./question.ts";
import { ReplyPart } from "./reply.ts";
import type { Frame } from "./zmq/socket.ts";

const logger = getLogger(["majortomo", "client"]);

/** How long a DISCONNECT may take to leave, in ms. */
const COURTESY = 100;
/** The longest time to live that the wire can carry, in ms. */
const MAX_TIME_TO_LIVE = 2 ** 32 - 1;

/** What a {@linkcode Link} needs of its owner. */
export interface LinkOwner {
  /** Sends a request in RFC 18's way. */
  openPlainly(
    endpoint: string,
    request: Outgoing,
    receiver: Receiver,
    deadlineAt: number,
  ): Exchange;
  /** The connection was lost while RFC 18 was spoken. */
  onPlainLoss(endpoint: string, why: string): void;
  /** A connection was closed; the promise is of its end. */
  onClosing(closed: Promise<void>): void;
}

/** The connection to one broker, made anew after each loss. */
export class Link {
  /** Where the broker is. */
  readonly endpoint: string;
  readonly #options: ResolvedClientOptions;
  readonly #owner: LinkOwner;
  readonly #complaints = new ComplaintLog();
  #state: "unconnected" | "connecting" | "asking" | "up" | "plain" | "closed" = "unconnected";
  #connection: Connection<CommandAtClient> | undefined;
  /** Those that were not sent yet, in order. */
  readonly #waiting = new Set<LinkExchange>();
  /** Those that were, by their ids. */
  readonly #inFlight = new Ids<LinkExchange>(Math.random() * 2 ** 32 | 0);
  #lastId = 0;
  /** How often it was lost since a broker has answered a request. */
  #losses = 0;
  /** The wait for the connection to stand, or for an answer, or the pause before the next one. */
  #timer: ReturnType<typeof setTimeout> | undefined;
  /** The next heartbeat, if one is to be sent. */
  #heartbeatTimer: ReturnType<typeof setTimeout> | undefined;
  /** The wait for an answer to the question whether the broker is there. */
  #probe: ReturnType<typeof setTimeout> | undefined;
  #heardAt = 0;
  /** Whether something came since `#heardAt` was set. */
  #heard = false;
  /** Whether a heartbeat was sent on this connection that nothing has come after. */
  #owed = false;
  /** How many messages have come. */
  #received = 0;

  /** Is not connected; it is with the first request. */
  constructor(endpoint: string, options: ResolvedClientOptions, owner: LinkOwner) {
    this.endpoint = endpoint;
    this.#options = options;
    this.#owner = owner;
  }

  /**
   * Sends a request as soon as it can be.
   *
   * @param deadlineAt Until when the answer is of use, as `performance.now()` tells it.
   * @throws {ZmqError} If libzmq refuses the endpoint, or another socket.
   */
  open(request: Outgoing, receiver: Receiver, deadlineAt: number): Exchange {
    if (this.#state === "plain") {
      return this.#owner.openPlainly(this.endpoint, request, receiver, deadlineAt);
    }
    if (this.#state === "unconnected" && this.#timer === undefined) this.#connect();
    const exchange = new LinkExchange(this, request, receiver, deadlineAt);
    if (this.#state === "up") this.#send(exchange);
    else this.#waiting.add(exchange);
    return exchange;
  }

  /**
   * Asks the broker whether it is there. A call that has run out of time does not say that: it may
   * have been impatient, or its worker slow.
   *
   * @param onSilent Called if it does not answer within a second.
   * @returns Whether it can be asked.
   */
  probe(onSilent: () => void): boolean {
    if (this.#state !== "up") return false;
    // Without another broker there is nothing to be done about it before the heartbeat timeout.
    if (this.#probe !== undefined || this.#options.brokers.length === 1) return true;
    const before = this.#received;
    this.#tell({ side: "client", command: "heartbeat", dialect: MULTIPLEXED });
    this.#probe = setTimeout(() => {
      this.#probe = undefined;
      this.#drain();
      if (this.#state === "up" && this.#received === before) onSilent();
    }, Math.min(PATIENCE, this.#options.heartbeatTimeout));
    return true;
  }

  /** Whether the broker has let the question pass, and has never said anything. */
  get isMute(): boolean {
    return this.#state === "plain" && this.#received === 0;
  }

  /** Hands on what has come already. */
  poll(): void {
    this.#connection?.poll();
  }

  /** Gives a request up. */
  abandon(exchange: LinkExchange): void {
    if (exchange.id === 0) {
      this.#waiting.delete(exchange);
      return;
    }
    if (this.#inFlight.get(exchange.id) !== exchange) return;
    this.#inFlight.delete(exchange);
    // A broker that takes nothing must not have what nobody wants pile up here.
    if (exchange.unsent !== undefined && this.#connection?.withdraw(exchange.unsent)) return;
    this.#tell({ side: "client", command: "cancel", dialect: MULTIPLEXED, id: exchange.id });
  }

  /** Ends it for good. Requests in flight are given up; nobody is told. */
  close(): void {
    if (this.#state === "up") {
      this.#tell({ side: "client", command: "disconnect", dialect: MULTIPLEXED });
    }
    // That is a courtesy, and not worth a wait if the broker has just gone.
    this.#disconnect(this.#state === "up" ? Math.min(this.#options.linger, COURTESY) : 0);
    this.#state = "closed";
    this.#waiting.clear();
    this.#inFlight.clear();
    this.#complaints.close();
  }

  #connect(): void {
    const connection = new Connection<CommandAtClient>({
      endpoint: this.endpoint,
      linger: 0,
      maxMessageSize: this.#options.maxMessageSize,
      decode: (frames) => decodeAtClient(frames, this.#state === "up" ? MULTIPLEXED : RFC),
      onCommand: (command) => this.#handle(command),
      onInvalid: (error) => this.#refuse(error),
      onMonitor: (event) => {
        if (event === "connected") return this.#connected();
        this.#drain();
        // What was read may have ended it.
        if (this.#connection === connection) this.#lose("was lost");
      },
    });
    this.#connection = connection;
    this.#state = "connecting";
    this.#timer = setTimeout(() => this.#giveUp(), this.#options.heartbeatTimeout);
    logger.debug("Connecting to the broker at {endpoint}", { endpoint: this.endpoint });
    // libzmq does not tell of these connections.
    if (this.endpoint.startsWith("inproc:")) this.#connected();
  }

  /** It does not come to stand: whoever listens may say what is not ZMTP, and no more. */
  #giveUp(): void {
    this.#disconnect(0);
    this.#reconnect();
  }

  #connected(): void {
    if (this.#state !== "connecting") return;
    this.#stopTimer();
    if (this.#options.multiplexed === "insist") return this.#rise();
    this.#state = "asking";
    this.#connection!.send(question());
    this.#timer = setTimeout(() => {
      this.#timer = undefined;
      this.#drain();
      if (this.#state === "asking") this.#fall();
    }, PATIENCE);
  }

  /** The multiplexed dialect is spoken from now on. */
  #rise(): void {
    this.#stopTimer();
    this.#state = "up";
    this.#lastId = 0;
    this.#owed = false;
    for (const exchange of this.#waiting) this.#send(exchange);
    this.#waiting.clear();
  }

  /** RFC 18 is spoken until the connection is lost. This one stays, to tell when that is. */
  #fall(): void {
    this.#stopTimer();
    this.#state = "plain";
    logger.debug("The broker at {endpoint} speaks RFC 18 only", { endpoint: this.endpoint });
    for (const exchange of [...this.#waiting]) {
      if (this.#waiting.delete(exchange)) exchange.goPlainly(this.#owner);
    }
  }

  #send(exchange: LinkExchange): void {
    const { request, deadlineAt } = exchange;
    const id = exchange.id = ++this.#lastId;
    let timeToLive = 0;
    if (deadlineAt !== Infinity) {
      // Less what such a difference is wrong by: it would be a whole millisecond too much.
      const left = Math.ceil(deadlineAt - performance.now() - 0.001);
      timeToLive = Math.min(Math.max(1, left), MAX_TIME_TO_LIVE);
    }
    this.#inFlight.add(exchange);
    if (this.#inFlight.size === 1) this.#watch();
    const { service, headers, body, options } = request, connection = this.#connection!;
    const { control } = connection;
    writeRequest(control.bytes, id, timeToLive, options, headers !== undefined);
    exchange.unsent = connection.send(requestFrames<Frame>(control, service, headers, body));
  }

  #tell(command: Command): void {
    const connection = this.#connection;
    connection?.send(encode(command, connection.control.bytes));
  }

  #handle(command: CommandAtClient): void {
    this.#heard = true;
    this.#received++;
    if (this.#state !== "up") {
      if (this.#state !== "asking" || command.command !== "final") return;
      return isYes(command) ? this.#rise() : this.#fall();
    }
    switch (command.command) {
      case "heartbeat":
        return;
      case "disconnect":
        return this.#lose("was ended by the broker", true);
    }
    const exchange = this.#inFlight.get(command.id!);
    // Its answer crossed the CANCEL.
    if (exchange === undefined) return;
    if (command.command !== "partial") {
      this.#inFlight.delete(exchange);
      exchange.isOver = true;
    }
    if (command.command !== "error") {
      this.#losses = 0;
      exchange.receiver.onPart(new ReplyPart(command.command, command.body, command.headers));
      return;
    }
    const message = new TextDecoder().decode(command.message);
    const error = new ServiceError(command.code, message, command.details);
    // Neither says anything against the request.
    if (command.code === STOPPING || command.code === WORKER_LOST) {
      exchange.receiver.onVoid("was refused", error);
    } else {
      this.#losses = 0;
      exchange.receiver.onError(failureOf(error, exchange.request, exchange.deadlineAt));
    }
  }

  #refuse(error: ProtocolError): void {
    this.#heard = true;
    this.#received++;
    // To the question; it does not count what is wrong with it.
    if (this.#state === "asking") return this.#fall();
    if (this.#state !== "up") return;
    this.#complaints.log(
      error.kind,
      performance.now(),
      (template, properties) => logger.warn(template, properties),
      "Dropped an invalid message from {endpoint}: {message}",
      { endpoint: this.endpoint, message: error.message },
    );
  }

  /** Reads all that has come, so that no answer is void that is there already. */
  #drain(): void {
    for (let before = -1; before !== this.#received;) {
      before = this.#received;
      this.#connection?.poll();
    }
  }

  /** @param told Whether the broker is still there: it is not to be asked again at once. */
  #lose(why: string, told = false): void {
    const { endpoint } = this;
    const before = this.#state;
    // In the order in which they were sent.
    const lost = this.#inFlight.values().sort((a, b) => a.id - b.id);
    this.#inFlight.clear();
    this.#disconnect(0);
    logger.warn("The connection to the broker at {endpoint} {why}", {
      endpoint,
      why,
      requests: lost.length,
    });
    // Whoever is told may want another connection at once: it must be clear by then when.
    this.#pause(told);
    if (before === "plain") this.#owner.onPlainLoss(endpoint, why);
    for (const exchange of lost) {
      exchange.isOver = true;
      exchange.receiver.onVoid(why);
    }
  }

  /** Has the next connection made when that is due, if one is wanted then. */
  #pause(told: boolean): void {
    const { backoff, maxBackoff } = this.#options;
    if (this.#losses++ > 0 || told) {
      const attempt = Math.max(0, this.#losses - 2);
      const pause = backoffPause(attempt, backoff, maxBackoff, Math.random());
      this.#timer = setTimeout(() => {
        this.#timer = undefined;
        this.#reconnect();
      }, pause);
    } else this.#reconnect();
  }

  #reconnect(): void {
    if (this.#waiting.size === 0) return;
    try {
      this.#connect();
    } catch (error) {
      for (const exchange of this.#waiting) {
        exchange.isOver = true;
        exchange.receiver.onError(error as Error);
      }
      this.#waiting.clear();
    }
  }

  #disconnect(linger: number): void {
    this.#stopTimer();
    clearTimeout(this.#heartbeatTimer);
    this.#heartbeatTimer = undefined;
    clearTimeout(this.#probe);
    this.#probe = undefined;
    this.#state = "unconnected";
    if (this.#connection !== undefined) this.#owner.onClosing(this.#connection.close(linger));
    this.#connection = undefined;
  }

  #stopTimer(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
  }

  /** Something is in flight: heartbeats are due, and the broker's silence counts until it is over. */
  #watch(): void {
    if (this.#heard) this.#owed = false;
    this.#heard = false;
    // A caller with a short timeout comes and goes, and the silence that it meets is one silence.
    if (!this.#owed) this.#heardAt = performance.now();
    this.#heartbeatTimer ??= this.#beatAfter(this.#options.heartbeatInterval);
  }

  #beatAfter(milliseconds: number): ReturnType<typeof setTimeout> {
    return setTimeout(() => this.#beat(), milliseconds);
  }

  #beat(): void {
    this.#heartbeatTimer = undefined;
    // Callers with short timeouts may all have gone, and come again later: what they were met with is
    // found out, or each new one would be met with the same.
    const isIdle = () => this.#inFlight.size === 0 && this.#heard;
    if (isIdle()) return;
    // If the event loop was busy, a word may be there and not have been seen.
    if (!this.#heard) this.#drain();
    if (this.#state !== "up" || isIdle()) return;
    const now = performance.now();
    const { heartbeatInterval, heartbeatTimeout } = this.#options;
    if (this.#heard) this.#heardAt = now;
    this.#heard = false;
    this.#owed = true;
    const left = this.#heardAt + heartbeatTimeout - now;
    if (left <= 0) return this.#lose(`was silent for ${heartbeatTimeout} ms`);
    this.#tell({ side: "client", command: "heartbeat", dialect: MULTIPLEXED });
    this.#heartbeatTimer = this.#beatAfter(Math.min(heartbeatInterval, Math.ceil(left)));
  }
}

/** A request on a link. */
class LinkExchange implements Exchange, Identified<LinkExchange> {
  /** What the broker knows it by; 0 while it was not sent. */
  id = 0;
  /** For the table that it is in. */
  sibling: LinkExchange | undefined;
  /** What waits for room, if it had to. */
  unsent: Unsent | undefined;
  /** Whether nothing more comes. */
  isOver = false;
  readonly request: Outgoing;
  readonly receiver: Receiver;
  readonly deadlineAt: number;
  readonly #link: Link;
  /** What it is instead, in RFC 18's way. */
  #plain: Exchange | undefined;

  constructor(link: Link, request: Outgoing, receiver: Receiver, deadlineAt: number) {
    this.#link = link;
    this.request = request;
    this.receiver = receiver;
    this.deadlineAt = deadlineAt;
  }

  goPlainly(owner: LinkOwner): void {
    try {
      const { request, receiver, deadlineAt } = this;
      this.#plain = owner.openPlainly(this.#link.endpoint, request, receiver, deadlineAt);
    } catch (error) {
      this.isOver = true;
      this.receiver.onError(error as Error);
    }
  }

  poll(): void {
    if (this.#plain !== undefined) this.#plain.poll();
    else if (!this.isOver) this.#link.poll();
  }

  abandon(): void {
    if (this.#plain !== undefined) return this.#plain.abandon();
    if (this.isOver) return;
    this.isOver = true;
    this.#link.abandon(this);
  }
}

/**
 * What a call fails with that is answered with an ERROR.
 *
 * @param cause The ERROR.
 * @param deadlineAt Until when the answer was of use; `Infinity` if no time was set.
 */
export function failureOf(cause: ServiceError, { service }: Outgoing, deadlineAt: number): Error {
  // Who set no time did not run out of it: it is the service's word, or the broker's.
  if (cause.code !== TOO_LATE || deadlineAt === Infinity) return cause;
  return new TimeoutError(
    `The request for service ${quote(service)} was not answered in time: ${cause.message}`,
    { cause },
  );
}
