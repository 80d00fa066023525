/**
 * The MDP 0.2 broker: {@linkcode Broker} binds a ROUTER socket, has every message decoded
 * (`codec.ts`) and does what the rules (`routing.ts`) say. It serves peers of RFC 18, of the
 * Python project majortomo and of the multiplexed dialect at once, told apart by each message.
 *
 * @example
 * ```ts no-eval
 * import { Broker } from "@majortomo/mdp/broker";
 *
 * await using broker = new Broker({ bind: ["tcp://127.0.0.1:5555", "ipc:///tmp/mdp.sock"] });
 * await broker.run({ signal: AbortSignal.timeout(60_000) });
 * ```
 *
 * @module
 */

import { getLogger, type Logger } from "@logtape/logtape";
import { AcceptWatch } from "./broker_accepts.ts";
import { BrokerLog } from "./broker_log.ts";
import { BrokerShell, type Postbox } from "./broker_shell.ts";
import { decodeAtBroker, inspectRefused } from "./codec.ts";
import {
  type Content,
  discard,
  framesOf,
  MESSAGES,
  release,
  releaseAllBut,
  sizeOf,
} from "./content.ts";
import { ProtocolError, type ProtocolErrorKind, StateError } from "./errors.ts";
import {
  type BrokerOptions,
  resolveBrokerOptions,
  type ResolvedBrokerOptions,
  resolveDrain,
} from "./options.ts";
import { Outbox } from "./outbox.ts";
import { Routing, type RoutingCounters } from "./routing.ts";
import { libzmq } from "./zmq/library.ts";
import type { Message } from "./zmq/message.ts";
import { Context, Socket } from "./zmq/socket.ts";
import { NOTIFY_DISCONNECT } from "./zmq/symbols.ts";

export type { BrokerOptions } from "./options.ts";
export type { ProtocolErrorKind } from "./errors.ts";
export type { Drop, Refusal, RoutingCounters, WorkerEnd } from "./routing.ts";

/** How many messages are taken in one turn, before timers and other tasks have theirs. */
const BATCH = 256;
/** How many messages are sent at a time at least, if there are more: workers need not wait. */
const FLUSH = 128;
/** How many identities are kept as strings; as many connections may have been there. */
const IDENTITIES = 65_536;
/** How many bytes a service's name may have: it is read, kept, and the key of maps. */
const LONGEST_NAME = 65_535;
/** How many bytes an address has at most, by ZMTP. */
const LONGEST_ADDRESS = 255;
/** What a timer can wait for at most, in ms. */
const LONGEST_TIMER = 2 ** 31 - 1;

/**
 * What a broker has counted since it was made, and what it holds now. At every moment
 * `accepted = answered + expired + (all of dropped) + queued + inFlight`.
 */
export interface BrokerStats {
  /** How long ago it was bound, in ms; 0 before. */
  uptime: number;
  /** Commands received, by kind; `gone` are connections that ended. */
  received: RoutingCounters["received"];
  /** Messages that are not MDP 0.2, by what is wrong with them. They were dropped. */
  invalid: Record<ProtocolErrorKind, number>;
  /** Requests accepted, to be queued or dispatched. Those for `mmi.*` are not among them. */
  accepted: number;
  /** Requests whose FINAL or ERROR, from their worker, was sent to their client. */
  answered: number;
  /** Those of them that were answered by ERROR. */
  errors: number;
  /** PARTIALs sent to clients. */
  partials: number;
  /** Requests not accepted, by reason. */
  refused: RoutingCounters["refused"];
  /** Requests whose time to live passed, or that waited too long for a worker to come. */
  expired: number;
  /** Times that a request was given to a worker. */
  dispatched: number;
  /** Times that a lost worker's request was put back into its queue. */
  recovered: number;
  /** Requests accepted and given up, by reason. */
  dropped: RoutingCounters["dropped"];
  /** Requests for `mmi.*` that the broker answered itself. */
  mmi: number;
  /** Commands from peers that are no registered workers. */
  unknown: number;
  /** Requests that wait for a worker. */
  queued: number;
  /** How many bytes of body they have. */
  queuedBytes: number;
  /** Requests that a worker holds. */
  inFlight: number;
  /** Workers: registered now, of those without a request, and what was counted. */
  workers: {
    /** Registered now. */
    registered: number;
    /** Of those, the ones that wait for a request. */
    waiting: number;
    /** READYs that registered one. */
    joined: number;
    /** READYs refused, since the name of the service is reserved. */
    reserved: number;
    /** Workers that are no longer registered, by reason. */
    left: RoutingCounters["left"];
  };
  /** Services that have workers or requests now. */
  services: number;
}

/** How {@linkcode Broker.run} can be ended. */
export interface RunOptions {
  /** Stops the broker: orderly, as `close()` does. */
  signal?: AbortSignal;
}

/** How a broker is closed. */
export interface CloseOptions {
  /**
   * How long work in flight may go on, in ms; 0 ends it now.
   * @default {the broker's option, or what an earlier call said}
   */
  drain?: number;
}

/**
 * An MDP 0.2 broker, to be run on its own or inside another program.
 *
 * @example A broker on a port that the system chooses
 * ```ts no-eval
 * import { Broker, Client, Worker } from "@majortomo/mdp";
 *
 * await using broker = new Broker({ bind: "tcp://127.0.0.1:*" });
 * const [endpoint] = broker.bind();
 * broker.run();
 *
 * await using worker = new Worker({ broker: endpoint, service: "upper" });
 * worker.serve((request) => request.text().toUpperCase());
 *
 * await using client = new Client({ broker: endpoint });
 * console.log((await client.request("upper", "hello")).text());
 * ```
 */
export class Broker {
  readonly #options: ResolvedBrokerOptions;
  readonly #logger: Logger;
  readonly #log: BrokerLog;
  readonly #invalid: Record<ProtocolErrorKind, number> = {
    header: 0,
    delimiter: 0,
    command: 0,
    frames: 0,
    service: 0,
    size: 0,
    flags: 0,
    id: 0,
    value: 0,
  };
  readonly #routing: Routing<Content>;
  readonly #ended = Promise.withResolvers<void>();
  readonly #outbox: Postbox = new Outbox();
  /** Identities that ROUTER made, by the number in them. */
  readonly #identities = new Map<number, string>();
  #socket: Socket | undefined;
  #endpoints: readonly string[] = [];
  #boundAt = 0;
  #running = false;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #timerAt = Infinity;
  #accepts: AcceptWatch | undefined;
  #closing: Promise<void> | undefined;
  /** Called when the drain may be over: something ended, or `close` will not wait any longer. */
  #drained: (() => void) | undefined;
  #drainEnd = Infinity;
  #drainTimer: ReturnType<typeof setTimeout> | undefined;

  /**
   * Makes a broker; nothing is bound yet.
   *
   * @param options See {@linkcode BrokerOptions}.
   * @param logger Where it logs.
   * @throws {TypeError} If an option has the wrong type, {@linkcode RangeError} if it is out of
   * range.
   */
  constructor(options: BrokerOptions = {}, logger: Logger = getLogger(["majortomo", "broker"])) {
    this.#options = resolveBrokerOptions(options);
    this.#logger = logger;
    this.#log = new BrokerLog(logger);
    const shell = new BrokerShell(this.#outbox, this.#log);
    this.#routing = new Routing(shell, this.#options, Math.random() * 2 ** 32 | 0);
  }

  /**
   * The endpoints that it listens at, with the ports that were chosen for `*`; empty before
   * `bind()` or `run()`.
   */
  get endpoints(): readonly string[] {
    return this.#endpoints;
  }

  /**
   * Binds all endpoints, and starts to serve. `run()` does it too; call it to know the endpoints
   * first.
   *
   * @returns The endpoints that it listens at.
   * @throws {ZmqError} If one cannot be bound, e.g. `EADDRINUSE`; then none is.
   * @throws {StateError} If it is bound already, or closed.
   * @throws {MdpError} If libzmq cannot be opened.
   */
  bind(): readonly string[] {
    if (this.#closing !== undefined) throw new StateError("The broker is closed");
    if (this.#socket !== undefined) {
      throw new StateError(`The broker is already bound to ${this.#endpoints.join(", ")}`);
    }
    const { bind, linger, maxMessageSize, sendHighWaterMark } = this.#options;
    // The end of a context of its own is known, a socket's alone is not: only then have messages
    // left and endpoints been freed. Who is reached by inproc must share the process's.
    const shares = bind.some((endpoint) => endpoint.startsWith("inproc:"));
    const context = shares ? Context.shared() : new Context();
    const socket = new Socket("ROUTER", {
      linger,
      maxMessageSize: Number.isFinite(maxMessageSize) ? maxMessageSize : -1,
      sendHighWaterMark,
      routerMandatory: 1,
      ...(libzmq().draft ? { routerNotify: NOTIFY_DISCONNECT } : {}),
    }, context);
    try {
      this.#endpoints = bind.map((endpoint) => {
        socket.set("ipv6", endpoint.includes("[") ? 1 : 0);
        return socket.bind(endpoint);
      });
    } catch (error) {
      socket.close();
      throw error;
    }
    this.#socket = socket;
    this.#routing.seesGone = libzmq().draft;
    this.#boundAt = performance.now();
    socket.watch(() => this.#receive(socket));
    this.#accepts = new AcceptWatch(socket, (...failure) => this.#log.notAccepted(...failure));
    for (const endpoint of this.#endpoints) {
      this.#logger.info("Listening on {endpoint}", { endpoint });
    }
    return this.#endpoints;
  }

  /**
   * Serves until it is stopped by the signal or `close()`.
   *
   * @param options See {@linkcode RunOptions}.
   * @returns A promise of the orderly end.
   * @throws {ZmqError} If an endpoint cannot be bound.
   * @throws {StateError} If it runs already, or is closed.
   */
  async run({ signal }: RunOptions = {}): Promise<void> {
    if (this.#closing !== undefined) throw new StateError("The broker is closed");
    if (this.#running) throw new StateError("The broker is already running");
    if (this.#socket === undefined) this.bind();
    this.#running = true;
    const stop = () => void this.close();
    if (signal?.aborted) stop();
    else signal?.addEventListener("abort", stop, { once: true });
    await this.#ended.promise;
    signal?.removeEventListener("abort", stop);
  }

  /**
   * Stops in order: takes no new requests, lets work in flight go on for the drain time, sends
   * DISCONNECT to all workers, and closes the socket when what it had to send has left.
   *
   * @param options See {@linkcode CloseOptions}. A later call can shorten the drain.
   * @returns A promise of the end, the same for each call. What the broker had to send has left
   * by then, or lingered enough, and its endpoints are free.
   * @throws {TypeError} If `drain` is no number, {@linkcode RangeError} if it is negative.
   */
  close({ drain }: CloseOptions = {}): Promise<void> {
    try {
      drain = resolveDrain(drain, this.#closing === undefined ? this.#options.drain : Infinity);
    } catch (error) {
      return Promise.reject(error);
    }
    if (this.#closing === undefined) {
      this.#closing = this.#close(drain);
      this.#closing.then(this.#ended.resolve, this.#ended.reject);
    } else this.#limitDrain(drain);
    return this.#closing;
  }

  /** `close()`, for `await using`. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  /** What it has counted since it was made, and what it holds now. A copy. */
  stats(): BrokerStats {
    const routing = this.#routing;
    const { counters } = routing;
    let waiting = 0;
    for (const worker of routing.workers.values()) if (worker.holding === 0) waiting++;
    return {
      uptime: this.#socket === undefined ? 0 : performance.now() - this.#boundAt,
      received: { ...counters.received },
      invalid: { ...this.#invalid },
      accepted: counters.accepted,
      answered: counters.answered,
      errors: counters.errors,
      partials: counters.partials,
      refused: { ...counters.refused },
      expired: counters.expired,
      dispatched: counters.dispatched,
      recovered: counters.recovered,
      dropped: { ...counters.dropped },
      mmi: counters.mmi,
      unknown: counters.unknown,
      queued: routing.queued,
      queuedBytes: routing.queuedBytes,
      inFlight: routing.inFlight,
      workers: {
        registered: routing.workers.size,
        waiting,
        joined: counters.joined,
        reserved: counters.reserved,
        left: { ...counters.left },
      },
      services: routing.services.size,
    };
  }

  async #close(drain: number): Promise<void> {
    const socket = this.#socket;
    if (socket === undefined) return;
    const { inFlight, queued } = this.#routing;
    this.#logger.info("Stopping with {inFlight} requests in flight and {queued} queued", {
      inFlight,
      queued,
      drain,
    });
    this.#routing.stop();
    if (drain > 0 && inFlight + queued > 0) await this.#drain(drain);
    const now = performance.now();
    this.#routing.end(now);
    this.#flush(now);
    clearTimeout(this.#timer);
    this.#accepts?.stop();
    this.#timerAt = -Infinity;
    await socket.close();
    this.#logger.info("Stopped");
  }

  async #drain(milliseconds: number): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#drained = resolve;
    this.#limitDrain(milliseconds);
    await promise;
    clearTimeout(this.#drainTimer);
    this.#drained = undefined;
  }

  /** Has the drain that is under way end in so many ms, if it does not end before. */
  #limitDrain(milliseconds: number): void {
    const end = performance.now() + milliseconds;
    if (this.#drained === undefined || end >= this.#drainEnd) return;
    this.#drainEnd = end;
    clearTimeout(this.#drainTimer);
    if (milliseconds <= LONGEST_TIMER) this.#drainTimer = setTimeout(this.#drained, milliseconds);
  }

  // ---- the socket ----

  #receive(socket: Socket): void {
    const now = performance.now();
    for (let i = 0; i < BATCH && !socket.isClosed; i++) {
      const frames = socket.receive();
      if (frames === undefined) break;
      const peer = this.#peerOf(frames.shift()!);
      try {
        this.#handle(peer, frames, now);
      } catch (error) {
        if (!(error instanceof ProtocolError)) throw error;
        const refused = inspectRefused(frames, MESSAGES);
        release(frames);
        this.#invalid[error.kind]++;
        this.#routing.invalid(peer, refused, error.message, now);
        this.#log.invalid(error.kind, peer, error.message);
      }
      if (this.#outbox.length >= FLUSH) this.#flush(now);
    }
    this.#flush(now);
    this.#arm();
  }

  /** The identity that a message begins with. */
  #peerOf(identity: Message): string {
    const number = identity.routingNumber;
    let name = number === undefined ? undefined : this.#identities.get(number);
    if (name === undefined) {
      name = identity.toBinaryString();
      if (number !== undefined) {
        if (this.#identities.size === IDENTITIES) this.#identities.clear();
        this.#identities.set(number, name);
      }
    }
    identity.release();
    return name;
  }

  /** Sends what is to be sent, until there is no more. */
  #flush(now: number): void {
    const outbox = this.#outbox;
    while (outbox.length > 0) {
      const failed = outbox.flush(this.#socket!);
      if (failed.length === 0) continue;
      const unsent = failed.map(({ peer, why, about }) => ({ peer, why, ...about }));
      this.#routing.unsent(unsent, now);
    }
  }

  /** One message. Its frames are released, or routing has them, unless this throws. */
  #handle(peer: string, frames: Message[], now: number): void {
    if (frames.length === 1 && frames[0]!.size === 0) {
      // From libzmq itself: the peer's connection is gone (ZMQ_ROUTER_NOTIFY). A peer that sends
      // just this says no more than that it goes.
      release(frames);
      // What was to be sent to it has not been sent, and it is good to know that first.
      this.#flush(now);
      return this.#routing.gone(peer, now);
    }
    const command = decodeAtBroker(frames, MESSAGES);
    const routing = this.#routing;
    const { dialect } = command;
    if (command.side === "client") {
      switch (command.command) {
        case "request": {
          const { body, headers } = command;
          const content = { headers, frames: body as Message[] };
          this.#checkSize(content);
          const service = nameOf(command.service);
          releaseAllBut(frames, framesOf(content));
          return routing.request(peer, service, command, content, now);
        }
        case "cancel":
          routing.cancel(peer, command.id, now);
          break;
        case "heartbeat":
          routing.clientHeartbeat(peer, now);
          break;
        case "disconnect":
          routing.clientDisconnect(peer, now);
      }
    } else {
      switch (command.command) {
        case "partial":
        case "final": {
          const key = command.token ?? addressOf(command.client!);
          const content = { headers: command.headers, frames: command.body as Message[] };
          this.#checkSize(content);
          releaseAllBut(frames, framesOf(content));
          routing.reply(peer, dialect, command.command, key, content, now);
          return discard(content);
        }
        case "error": {
          const { token, code, message, details } = command;
          const content = {
            headers: undefined,
            frames: details === undefined ? [message] : [message, details],
          };
          releaseAllBut(frames, framesOf(content));
          routing.error(peer, dialect, token, code, content, now);
          return discard(content);
        }
        case "ready":
          routing.ready(peer, dialect, nameOf(command.service), command.credit ?? 1, now);
          break;
        case "credit":
          routing.credit(peer, dialect, command.credit, now);
          break;
        case "heartbeat":
          routing.heartbeat(peer, dialect, now);
          break;
        case "disconnect":
          routing.disconnect(peer, now);
      }
    }
    release(frames);
  }

  #checkSize(content: Content): void {
    if (content.headers === undefined && content.frames.length <= 1) return;
    const size = sizeOf(content), { maxMessageSize } = this.#options;
    if (size <= maxMessageSize) return;
    throw new ProtocolError(
      "size",
      `The body has ${size} bytes, and at most ${maxMessageSize} are taken`,
    );
  }

  // ---- time ----

  /** Has the timer go off no later than the next deadline; it may go off for nothing. */
  #arm(): void {
    const at = this.#routing.nextDeadline();
    if (at < this.#timerAt) {
      clearTimeout(this.#timer);
      this.#timerAt = at;
      const delay = Math.min(Math.max(0, at - performance.now()), LONGEST_TIMER);
      this.#timer = setTimeout(this.#elapse, delay);
    }
    const { inFlight, queued } = this.#routing;
    if (this.#drained !== undefined && inFlight + queued === 0) this.#drained();
  }

  readonly #elapse = (): void => {
    this.#timerAt = Infinity;
    const now = performance.now();
    this.#routing.elapse(now);
    this.#flush(now);
    this.#arm();
  };
}

/** The name of a service, as a binary string. */
function nameOf(service: Message): string {
  const { size } = service;
  if (size <= LONGEST_NAME) return service.toBinaryString();
  throw new ProtocolError(
    "service",
    `The service name has ${size} bytes, and at most ${LONGEST_NAME} are taken`,
  );
}

/** The address of a client; a longer one is nobody's: no worker holds a request of it. */
function addressOf(client: Message): string {
  return client.size > LONGEST_ADDRESS ? "" : client.toBinaryString();
}
