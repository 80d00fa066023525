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
import {
  type Command,
  decodeAtBroker,
  encode,
  type FrameReader,
  inspectRefused,
  MULTIPLEXED,
} from "./codec.ts";
import { Complaints } from "./complaints.ts";
import { ProtocolError, type ProtocolErrorKind, StateError } from "./errors.ts";
import {
  type BrokerOptions,
  resolveBrokerOptions,
  type ResolvedBrokerOptions,
  resolveDrain,
} from "./options.ts";
import { Outbox } from "./outbox.ts";
import {
  type Message as MessageKind,
  type Request,
  Routing,
  type RoutingCounters,
  type RoutingEvent,
  type Shell,
} from "./routing.ts";
import { libzmq } from "./zmq/library.ts";
import type { Message } from "./zmq/message.ts";
import { Context, type Frame, Socket } from "./zmq/socket.ts";
import { MSG_SIZE, NOTIFY_DISCONNECT } from "./zmq/symbols.ts";

export type { BrokerOptions } from "./options.ts";
export type { ProtocolErrorKind } from "./errors.ts";
export type { Drop, Refusal, RoutingCounters, WorkerEnd } from "./routing.ts";

/** How many messages are taken in one turn, before timers and other tasks have theirs. */
const BATCH = 256;
/** How many identities are kept as strings; as many connections may have been there. */
const IDENTITIES = 65_536;
/** How many characters of a peer's name go into a log line. */
const SHOWN = 64;
/** How many bytes a service's name may have: it is read, kept, and the key of maps. */
const LONGEST_NAME = 65_535;
/** How many bytes an address has at most, by ZMTP. */
const LONGEST_ADDRESS = 255;
/** Beyond so many frames of a body, each counts for the memory that it takes beside its bytes. */
const MANY = 16;
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
  readonly #logger: Logger = getLogger(["majortomo", "broker"]);
  readonly #complaints = new Complaints();
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
  #outbox: Outbox<{ what: MessageKind; request: Request<Content> | undefined }> | undefined;
  /** Identities that ROUTER made, by the number in them. */
  readonly #identities = new Map<number, string>();
  #socket: Socket | undefined;
  #endpoints: readonly string[] = [];
  #boundAt = 0;
  #running = false;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #timerAt = Infinity;
  #closing: Promise<void> | undefined;
  /** Called when the drain may be over: something ended, or `close` will not wait any longer. */
  #drained: (() => void) | undefined;
  #drainEnd = Infinity;
  #drainTimer: ReturnType<typeof setTimeout> | undefined;

  /**
   * Makes a broker; nothing is bound yet.
   *
   * @param options See {@linkcode BrokerOptions}.
   * @throws {TypeError} If an option has the wrong type, {@linkcode RangeError} if it is out of
   * range.
   */
  constructor(options: BrokerOptions = {}) {
    this.#options = resolveBrokerOptions(options);
    this.#routing = new Routing(this.#shell(), this.#options, Math.random() * 2 ** 32 | 0);
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
    this.#outbox = new Outbox(socket);
    this.#routing.seesGone = libzmq().draft;
    this.#boundAt = performance.now();
    socket.watch(() => this.#receive(socket));
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
        this.#complain(`invalid ${error.kind}`, "Dropped a message from {peer}: {reason}", {
          peer: hex(peer),
          reason: error.message,
        });
      }
      if (this.#outbox!.length >= BATCH) this.#flush(now);
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
    const outbox = this.#outbox!;
    while (outbox.length > 0) {
      const failed = outbox.flush();
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

  #shell(): Shell<Content> {
    return {
      dispatch: (worker, request, timeToLive) => {
        const { headers, frames } = request.body;
        this.#put(worker.identity, "request", request, {
          side: "worker",
          command: "request",
          dialect: worker.dialect,
          client: request.client,
          token: request.token,
          timeToLive,
          // An RFC 18 worker has no room for headers.
          headers: worker.dialect === MULTIPLEXED ? headers?.copy() : undefined,
          // Copies, since the request may have to be sent to another worker.
          body: frames.map((frame) => frame.copy()),
        });
      },
      control: (worker, dialect, command) =>
        this.#put(worker, "control", undefined, { side: "worker", command, dialect }),
      cancel: (worker, { token }) =>
        this.#put(worker.identity, "control", undefined, {
          side: "worker",
          command: "cancel",
          dialect: worker.dialect,
          token,
        }),
      reply: (request, command, content) => {
        const { client, dialect, id, service } = request;
        const { headers, frames } = take(content);
        // An RFC 18 client has no room for headers.
        const heads = dialect === MULTIPLEXED ? headers : undefined;
        if (heads !== headers) headers!.release();
        this.#put(client, command, request, {
          side: "client",
          command,
          dialect,
          id,
          service: service.name,
          headers: heads,
          body: frames,
        });
      },
      fail: (request, code, content) => {
        const { client, dialect, id } = request;
        const { frames: [message, details] } = take(content);
        this.#put(client, "error", request, {
          side: "client",
          command: "error",
          dialect,
          id,
          code,
          message: message!,
          details,
        });
      },
      error: (client, id, code, message) =>
        this.#put(client, "notice", undefined, {
          side: "client",
          command: "error",
          dialect: MULTIPLEXED,
          id,
          code,
          message: UTF8.encode(message),
        }),
      controlClient: (client, command) =>
        this.#put(client, command === "disconnect" ? "notice" : "control", undefined, {
          side: "client",
          command,
          dialect: MULTIPLEXED,
        }),
      answer: (client, dialect, id, service, text) =>
        this.#put(client, dialect === MULTIPLEXED ? "notice" : "control", undefined, {
          side: "client",
          command: "final",
          dialect,
          id,
          service,
          body: [text],
        }),
      read: ({ frames }) => frames[0]?.toBinaryString() ?? "",
      size: sizeOf,
      discard,
      report: (event) => this.#report(event),
    };
  }

  #put(
    peer: string,
    what: MessageKind,
    request: Request<Content> | undefined,
    command: Command<Frame>,
  ): void {
    const outbox = this.#outbox!;
    outbox.put(peer, encode<Frame>(command, outbox.control()), { what, request });
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

  // ---- the log ----

  #report(event: RoutingEvent): void {
    switch (event.type) {
      case "worker joined":
        this.#log(
          "info",
          `joined ${event.worker}`,
          "Worker {worker} joined service {service}",
          { worker: hex(event.worker), service: text(event.service) },
        );
        break;
      case "worker left": {
        const properties = {
          worker: hex(event.worker),
          service: text(event.service),
          reason: event.reason,
          held: event.held,
        };
        const template = "Worker {worker} left service {service}: {reason} (requests held: {held})";
        const orderly = event.reason === "disconnect" || event.reason === "stopped";
        if (orderly && event.held === 0) {
          this.#log("info", `left ${event.worker}`, template, properties);
        } else this.#complain(`worker ${event.reason}`, template, properties);
        break;
      }
      case "worker refused":
        this.#complain(
          "reserved",
          "Refused worker {worker}: the service name {service} is reserved",
          { worker: hex(event.worker), service: text(event.service) },
        );
        break;
      case "answer from unknown worker":
        this.#complain(
          "unknown",
          "Dropped an answer from {worker}, which is no registered worker",
          { worker: hex(event.worker) },
        );
        break;
      default: {
        // E.g. "Request of client 0001 for service "echo" recovered: worker lost".
        const { type, client, service, ...rest } = event;
        const why = "reason" in rest ? rest.reason : "worker lost";
        const became = type.slice("request ".length);
        this.#complain(
          `${type} ${why}`,
          `Request of client {client} for service {service} ${became}: {why}`,
          { client: hex(client), service: text(service), why, ...rest },
        );
      }
    }
  }

  #complain(kind: string, template: string, properties: Record<string, unknown>): void {
    this.#log("warn", kind, template, properties);
  }

  /** Logs it, unless too many of its kind were logged just now. */
  #log(
    level: "info" | "warn",
    kind: string,
    template: string,
    properties: Record<string, unknown>,
  ): void {
    this.#complaints.log(
      kind,
      performance.now(),
      (template, properties) => this.#logger[level](template, properties),
      template,
      properties,
    );
  }
}

/** What is in a message beside its envelope. */
interface Content {
  headers: Message | undefined;
  frames: readonly Message[];
}

const UTF8 = new TextEncoder();
const NONE: readonly never[] = [];

/** Lets the codec read frames that stay in libzmq's memory. */
const MESSAGES: FrameReader<Message> = { read: (frame, into) => frame.read(into) };

function discard({ headers, frames }: Content): void {
  release(frames);
  headers?.release();
}

/** Takes it out, so that there is nothing left to discard. */
function take(content: Content): Content {
  const { headers, frames } = content;
  content.headers = undefined;
  content.frames = NONE;
  return { headers, frames };
}

/** How many frames it is. */
function framesOf({ headers, frames }: Content): number {
  return headers === undefined ? frames.length : frames.length + 1;
}

function release(frames: readonly Message[]): void {
  for (const frame of frames) frame.release();
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

/** Releases all but the last so many frames. */
function releaseAllBut(frames: readonly Message[], last: number): void {
  for (let i = 0; i < frames.length - last; i++) frames[i]!.release();
}

/** What it counts for: its bytes, and what holds them where there are many frames. */
function sizeOf({ headers, frames }: Content): number {
  let size = Math.max(0, frames.length - MANY) * MSG_SIZE;
  if (headers !== undefined) size += headers.size;
  for (const frame of frames) size += frame.size;
  return size;
}

/** An identity as the log shows it. */
function hex(identity: string): string {
  let shown = "";
  for (let i = 0; i < identity.length && i < SHOWN / 2; i++) {
    shown += identity.charCodeAt(i).toString(16).padStart(2, "0");
  }
  return identity.length > SHOWN / 2 ? `${shown}…` : shown;
}

/** A service's name as the log shows it: quoted, with what could fool a terminal escaped. */
function text(name: string): string {
  const bytes = Uint8Array.from(name.slice(0, SHOWN), (char) => char.charCodeAt(0));
  const shown = JSON.stringify(new TextDecoder().decode(bytes))
    // Beside the control characters that JSON escapes, those that move or turn text around.
    .replace(/[\u007f-\u009f\u2028\u2029\u200e\u200f\u202a-\u202e]/g, "\ufffd");
  return name.length > SHOWN ? `${shown}…` : shown;
}
