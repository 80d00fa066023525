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
  type BrokerEvent,
  BrokerEvents,
  checkTypes,
  type EventsOptions,
  type EventStream,
  type ListenOptions,
} from "./broker_events.ts";
import { BrokerLog } from "./broker_log.ts";
import { brokerAnswers, type Informant } from "./broker_mmi.ts";
import { BrokerShell } from "./broker_shell.ts";
import { type BrokerSocket, openBrokerSocket } from "./broker_socket.ts";
import {
  type BrokerStats,
  brokerStats,
  firstOf,
  type ServiceStats,
  serviceStats,
  type WorkerStats,
  workerStats,
} from "./broker_stats.ts";
import { BrokerTraces } from "./broker_traces.ts";
import { type Dialect, inspectRefused, InvalidMessage, tryDecodeAtBroker } from "./codec.ts";
import {
  type Content,
  contentOf,
  framesOf,
  MESSAGES,
  release,
  releaseAllBut,
  sizeOf,
} from "./content.ts";
import { type ProtocolErrorKind, StateError } from "./errors.ts";
import { Standstill } from "./liveness.ts";
import { binaryName } from "./names.ts";
import {
  type BrokerOptions,
  checkOptions,
  checkSignal,
  type LiveBrokerOptions,
  LONGEST_NAME,
  resolveBrokerOptions,
  resolveBuffer,
  resolveChangedOptions,
  type ResolvedBrokerOptions,
  resolveDrain,
  serviceName,
} from "./options.ts";
import { Outbox } from "./outbox.ts";
import { Routing } from "./routing.ts";
import { now as time } from "./zmq/clock.ts";
import { WAITED } from "./zmq/reactor.ts";
import type { Traffic } from "./zmq/socket.ts";
import type { Frame } from "./zmtp/frame.ts";

export type { DialectName } from "./codec.ts";
export * from "./errors.ts";
export type {
  BrokerEvent,
  EventsOptions,
  EventStream,
  EventTime,
  ListenOptions,
  RequestEvent,
  WorkerEvent,
} from "./broker_events.ts";
export type { BrokerStats, ServiceStats, WorkerStats } from "./broker_stats.ts";
export type { Histogram } from "./routing_times.ts";
export type { PingAnswer, ServicesAnswer, WorkersAnswer } from "./broker_mmi.ts";
export type { BrokerOptions, LiveBrokerOptions } from "./options.ts";
export type { Drop, Refusal, RoutingCounters, WorkerEnd } from "./routing.ts";

/** How many messages are taken in one turn, before timers and other tasks have theirs. */
const BATCH = 256;
/**
 * How many of them are received before the first is handled. The code that receives and that of the rules
 * together do not fit into a core's nearest cache: in turns of 32, they take 5 % less of its time.
 */
const GATHERED = 32;
/** How old the time may be that messages are taken to have come at, in ms. */
const STALE = 1;
/**
 * How many messages are sent at a time at least, if there are more: workers need not wait. With 16 to
 * 64 the threads wake each other more often, and up to 30 % fewer requests pass.
 */
const FLUSH = 128;
/** How many bytes an address has at most, by ZMTP. */
const LONGEST_ADDRESS = 255;
/** After how many invalid messages of a turn what is to be sent is sent. */
const PATIENCE = 16;
/** What a timer can wait for at most, in ms. */
const LONGEST_TIMER = 2 ** 31 - 1;
/** What has passed through a socket that is not there. */
const NO_TRAFFIC: Traffic = { messagesIn: 0, bytesIn: 0, messagesOut: 0, bytesOut: 0 };

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
 * An MDP 0.2 broker, to be run on its own or inside another program. While it is bound it keeps the
 * process alive.
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
  #options: ResolvedBrokerOptions;
  readonly #logger: Logger;
  readonly #log: BrokerLog;
  readonly #events: BrokerEvents;
  readonly #informant: Informant;
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
  readonly #outbox = new Outbox<Content>();
  #socket: BrokerSocket | undefined;
  #endpoints: readonly string[] = [];
  #boundAt = 0;
  /** How many messages the last turn took. */
  #taken = 0;
  /** Messages that are received and not yet handled, and who sent them. */
  readonly #messages: Frame[][] = [];
  readonly #peers: string[] = [];
  /** How many invalid messages this turn has had. */
  #garbage = 0;
  #running = false;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #timerAt = Infinity;
  readonly #standstill = new Standstill();
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
    const traces = BrokerTraces.start();
    this.#events = new BrokerEvents(
      logger,
      (isObserved) => this.#routing.isObserved = isObserved || traces !== undefined,
    );
    this.#informant = {
      services: (name, most) => this.#knownServices(name, most),
      workers: (service, most) => this.#knownWorkers(service, most),
      stats: () => this.stats(),
      ping: () => ({
        uptime: this.#uptime(),
        endpoints: this.#endpoints,
        draining: this.isDraining,
      }),
    };
    const shell = new BrokerShell(this.#outbox, this.#log, this.#events, traces);
    const seed = Math.random() * 2 ** 32 | 0;
    this.#routing = new Routing(shell, this.#options, seed, brokerAnswers(this.#informant));
    this.#routing.isObserved = traces !== undefined;
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
    const socket = openBrokerSocket(this.#options);
    const endpoints: string[] = [];
    try {
      for (const endpoint of this.#options.bind) endpoints.push(socket.bind(endpoint));
      socket.watch(
        () => this.#receive(socket),
        (...failure) => this.#log.notAccepted(...failure),
      );
    } catch (error) {
      socket.unbind();
      socket.close();
      throw error;
    }
    this.#endpoints = endpoints;
    this.#socket = socket;
    this.#routing.seesGone = socket.tellsGone;
    this.#boundAt = performance.now();
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
   * @throws {TypeError} If an option is of the wrong type.
   * @throws {ZmqError} If an endpoint cannot be bound.
   * @throws {StateError} If it runs already, or is closed.
   */
  async run(options: RunOptions = {}): Promise<void> {
    checkOptions("The options of run()", options, { signal: true });
    const { signal } = options;
    checkSignal(signal);
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
   * by then, or lingered enough, and its endpoints are free; if one is of `inproc:`, the others a
   * moment later.
   * @throws {TypeError} If `drain` is no number, {@linkcode RangeError} if it is negative.
   */
  close(options: CloseOptions = {}): Promise<void> {
    let drain: number;
    try {
      checkOptions("The options of close()", options, { drain: true });
      drain = resolveDrain(
        options.drain,
        this.#closing === undefined ? this.#options.drain : Infinity,
      );
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

  /**
   * Changes options while it runs: timeouts and limits. Those that are not named stay as they are.
   * What came before is held to the new ones too: a worker that has been silent for longer than a
   * new timeout is held for dead at once, and a request that has waited too long expires. What is
   * in a queue stays there, though a new limit may be lower.
   *
   * @param options What is to change. `bind`, `maxMessageSize` and `sendHighWaterMark` cannot.
   * @throws {TypeError} If an option cannot change or has the wrong type, {@linkcode RangeError} if
   * it is out of range, also together with those that stay. Then none changes.
   * @throws {StateError} If the broker is closed.
   *
   * @example
   * ```ts
   * import { Broker } from "@majortomo/mdp/broker";
   *
   * const broker = new Broker({ requestExpiry: 60_000 });
   * broker.reconfigure({ requestExpiry: 10_000, maxQueue: 1_000 });
   * ```
   */
  reconfigure(options: LiveBrokerOptions): void {
    const changed = resolveChangedOptions(this.#options, options);
    if (this.#closing !== undefined) throw new StateError("The broker is closed");
    this.#options = changed;
    if (this.#socket !== undefined) this.#socket.linger = changed.linger;
    this.#routing.reconfigure(changed, performance.now());
    if (this.#socket !== undefined) this.#arm();
  }

  /** Whether it listens. */
  get isBound(): boolean {
    return this.#socket !== undefined && !this.#socket.isClosed;
  }

  /** Whether it is stopping: it takes no new requests, and ends what it has. */
  get isDraining(): boolean {
    return this.#closing !== undefined && this.isBound;
  }

  /** How many bytes the body of a message may have; see {@linkcode BrokerOptions}. */
  get maxMessageSize(): number {
    return this.#options.maxMessageSize;
  }

  /** What it has counted since it was made, and what it holds now. A copy. */
  stats(): BrokerStats {
    const traffic = this.#socket?.traffic ?? NO_TRAFFIC;
    return brokerStats(this.#routing, this.#invalid, traffic, this.#uptime());
  }

  /**
   * What it knows of its services: those that have workers or requests now.
   *
   * @returns Copies, in the order in which the services came to be.
   */
  services(): ServiceStats[] {
    return this.#informant.services(undefined, Infinity).services;
  }

  /**
   * What it knows of its workers.
   *
   * @param service The name of a service, whose workers alone are meant. Default: those of all.
   * @returns Copies, in the order in which they registered; none if there is no such service.
   * @throws {TypeError} If the name is neither text nor bytes, or empty, {@linkcode RangeError} if it
   * is too long.
   */
  workers(service?: string | Uint8Array): WorkerStats[] {
    const name = service === undefined ? undefined : binaryName(serviceName(service));
    return this.#informant.workers(name, Infinity).workers;
  }

  /**
   * Calls a function for all that happens to workers and requests from now on. It is called at
   * once, while the broker works: it should be quick. What it throws is logged.
   *
   * @param listener Called with each event.
   * @param options See {@linkcode ListenOptions}.
   * @returns Ends it when it is disposed of.
   * @throws {TypeError} If the listener is no function, an option has the wrong type, or there is no
   * such type of event.
   *
   * @example
   * ```ts no-eval
   * import { Broker } from "@majortomo/mdp";
   *
   * await using broker = new Broker();
   * using listening = broker.on((event) => {
   *   if (event.type === "worker left") console.log(event.worker, event.reason);
   * }, { types: ["worker left"] });
   * await broker.run();
   * ```
   */
  on(listener: (event: BrokerEvent) => void, options: ListenOptions = {}): Disposable {
    if (typeof listener !== "function") {
      throw new TypeError(`A listener is a function, got ${Deno.inspect(listener, { depth: 0 })}`);
    }
    checkOptions("The options of on()", options, { types: true });
    checkTypes(options);
    return this.#events.on(listener, options);
  }

  /**
   * The same to be iterated over. It begins with the call; it ends when the loop is left, the
   * signal aborts, or the broker has stopped. Who is too slow misses the oldest events, and finds
   * how many in `dropped`.
   *
   * @param options See {@linkcode EventsOptions}.
   * @returns The events, to be iterated over once.
   * @throws {TypeError} If an option has the wrong type, {@linkcode RangeError} if it is out of
   * range.
   *
   * @example
   * ```ts no-eval
   * import { Broker } from "@majortomo/mdp";
   *
   * await using broker = new Broker();
   * broker.run();
   * for await (const event of broker.events({ signal: AbortSignal.timeout(60_000) })) {
   *   console.log(new Date(event.time), event.type);
   * }
   * ```
   */
  events(options: EventsOptions = {}): EventStream {
    checkOptions("The options of events()", options, { signal: true, buffer: true, types: true });
    checkSignal(options.signal);
    checkTypes(options);
    return this.#events.stream({ ...options, buffer: resolveBuffer(options.buffer) });
  }

  #uptime(): number {
    return this.#socket === undefined ? 0 : performance.now() - this.#boundAt;
  }

  #knownServices(name: string | undefined, most: number) {
    const { services } = this.#routing;
    if (name === undefined) {
      return { services: firstOf(services.values(), most, serviceStats), total: services.size };
    }
    const service = services.get(name);
    return service === undefined
      ? { services: [], total: 0 }
      : { services: [serviceStats(service)], total: 1 };
  }

  #knownWorkers(service: string | undefined, most: number) {
    const { workers, services } = this.#routing;
    const now = performance.now();
    if (service === undefined) {
      const all = firstOf(workers.values(), most, (worker) => workerStats(worker, now));
      return { workers: all, total: workers.size };
    }
    const own = function* () {
      for (const worker of workers.values()) if (worker.service.name === service) yield worker;
    };
    const some = firstOf(own(), most, (worker) => workerStats(worker, now));
    return { workers: some, total: services.get(service)?.workers ?? 0 };
  }

  async #close(drain: number): Promise<void> {
    const socket = this.#socket;
    if (socket === undefined) return this.#events.end();
    const { inFlight, queued } = this.#routing;
    this.#logger.info("Stopping with {inFlight} requests in flight and {queued} queued", {
      inFlight,
      queued,
      drain,
    });
    this.#routing.stop();
    this.#limitDrain(drain);
    // Whoever listens may have called, in the midst of a turn: that is to be over first, and what it
    // has brought is then in flight.
    await Promise.resolve();
    await this.#drain();
    // Who is told to go may come back at once, and is to wait for the next broker.
    socket.unbind();
    const now = performance.now();
    this.#routing.end(now);
    this.#flush(now);
    clearTimeout(this.#timer);
    this.#timerAt = -Infinity;
    await socket.close();
    this.#log.close();
    this.#logger.info("Stopped");
    this.#events.end();
  }

  /** Waits until nothing is in flight any more, or the drain is over. */
  async #drain(): Promise<void> {
    const { inFlight, queued } = this.#routing;
    if (inFlight + queued === 0 || this.#drainEnd <= performance.now()) return;
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#drained = resolve;
    this.#armDrain(resolve);
    await promise;
    clearTimeout(this.#drainTimer);
    this.#drained = undefined;
  }

  /** Has the drain end in so many ms, if it is not to end before. */
  #limitDrain(milliseconds: number): void {
    const end = performance.now() + milliseconds;
    if (end >= this.#drainEnd) return;
    this.#drainEnd = end;
    if (this.#drained !== undefined) this.#armDrain(this.#drained);
  }

  #armDrain(end: () => void): void {
    clearTimeout(this.#drainTimer);
    const left = Math.max(0, this.#drainEnd - performance.now());
    if (left <= LONGEST_TIMER) this.#drainTimer = setTimeout(end, left);
  }

  // ---- the socket ----

  #receive(socket: BrokerSocket): void {
    this.#garbage = 0;
    const before = time();
    let frames = socket.receive();
    let now = time();
    // Where messages come one by one, to ask for another costs as much as to receive it.
    const most = now - before > WAITED && this.#taken === 1 ? 1 : BATCH;
    this.#taken = 0;
    try {
      while (frames !== undefined) {
        let gathered = 0;
        try {
          while (frames !== undefined) {
            this.#peers[gathered] = socket.sender;
            this.#messages[gathered++] = frames;
            const isEnough = ++this.#taken === most || gathered === GATHERED;
            frames = isEnough ? undefined : socket.receive();
          }
        } finally {
          // To receive those took as long as this if they have thousands of frames.
          const gatheredAt = time();
          if (gatheredAt - now > STALE) now = gatheredAt;
          for (let i = 0; i < gathered; i++) this.#take(this.#peers[i]!, this.#messages[i]!, now);
        }
        if (this.#outbox.length >= FLUSH) this.#flush(now);
        if (gathered === GATHERED && this.#taken < most) frames = socket.receive();
      }
    } finally {
      // Also of what came before a receive that failed: nothing else may come for long.
      this.#flush(now);
      this.#arm();
    }
  }

  /** One message, whatever is wrong with it or with us: others are there behind it. */
  #take(peer: string, frames: Frame[], now: number): void {
    try {
      this.#handle(peer, frames, now);
    } catch (error) {
      if (error instanceof InvalidMessage) this.#refuse(peer, frames, error, now);
      else reportError(error);
    }
  }

  /** Sends what is to be sent, until there is no more. */
  #flush(now: number): void {
    const outbox = this.#outbox;
    while (outbox.length > 0) {
      const unsent = outbox.flush(this.#socket!);
      if (unsent.length > 0) this.#routing.unsent(unsent, now);
    }
  }

  /** One message. Its frames are released, or routing has them, unless this throws. */
  #handle(peer: string, frames: Frame[], now: number): void {
    if (frames.length === 1 && frames[0]!.size === 0) {
      // From the ROUTER itself: the peer's connection is gone. A peer that sends just this says no
      // more than that it goes.
      release(frames);
      // What was to be sent to it has not been sent, and it is good to know that first.
      this.#flush(now);
      this.#outbox.forget(peer);
      this.#routing.gone(peer, now);
      return this.#socket!.free(peer);
    }
    const command = tryDecodeAtBroker(frames, MESSAGES);
    if (command instanceof InvalidMessage) return this.#refuse(peer, frames, command, now);
    const routing = this.#routing;
    const { dialect } = command;
    if (command.side === "client") {
      switch (command.command) {
        case "request": {
          const content = contentOf(command.headers, command.body as Frame[]);
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
          const content = contentOf(command.headers, command.body as Frame[]);
          this.#checkSize(content);
          releaseAllBut(frames, framesOf(content));
          return routing.reply(peer, dialect, command.command, key, content, now);
        }
        case "error": {
          const { token, code, message, details } = command;
          const content = contentOf(
            undefined,
            details === undefined ? [message] : [message, details],
          );
          releaseAllBut(frames, framesOf(content));
          return routing.error(peer, dialect, token, code, content, now);
        }
        case "ready":
          this.#ready(peer, dialect, nameOf(command.service), command.credit ?? 1, now);
          break;
        case "credit":
          routing.credit(peer, dialect, command.credit, now);
          break;
        case "heartbeat":
          routing.heartbeat(peer, dialect, now);
          break;
        case "disconnect":
          routing.disconnect(peer, now, this.#outbox.withdraw(peer));
      }
    }
    release(frames);
  }

  // Apart from `#handle`, or V8 takes the question for the address into that, has compiled it without
  // having seen an answer, and throws all of it away when the first worker comes that has one.
  #ready(
    peer: string,
    dialect: Dialect,
    service: string,
    credit: number,
    now: number,
  ): void {
    this.#routing.ready(peer, dialect, service, credit, now, this.#socket!.addressOf(peer));
  }

  /** Drops a message that is not one. */
  #refuse(peer: string, frames: Frame[], { kind, message }: InvalidMessage, now: number): void {
    const refused = inspectRefused(frames, MESSAGES);
    this.#invalid[kind]++;
    this.#log.invalid(kind, peer, () => this.#socket!.addressOf(peer), message, now);
    release(frames);
    this.#routing.invalid(peer, refused, message, now);
    // What others are sent does not wait for the end of a turn that is full of garbage.
    if (++this.#garbage % PATIENCE === 0) this.#flush(now);
  }

  #checkSize(content: Content): void {
    if (framesOf(content) <= 1) return;
    const size = sizeOf(content), { maxMessageSize } = this.#options;
    if (size <= maxMessageSize) return;
    throw new InvalidMessage(
      "size",
      `The body counts for ${size} bytes, and at most ${maxMessageSize} are taken`,
    );
  }

  // ---- time ----

  /** Has the timer go off no later than the next deadline; it may go off for nothing. */
  #arm(): void {
    const at = this.#routing.nextDeadline();
    if (at < this.#timerAt) {
      clearTimeout(this.#timer);
      const now = performance.now();
      this.#timerAt = Math.max(at, now);
      this.#timer = setTimeout(this.#elapse, Math.min(this.#timerAt - now, LONGEST_TIMER));
    }
    const { inFlight, queued } = this.#routing;
    if (this.#drained !== undefined && inFlight + queued === 0) this.#drained();
  }

  readonly #elapse = (): void => {
    const dueAt = this.#timerAt, now = performance.now();
    this.#timerAt = Infinity;
    const until = this.#standstill.check(dueAt, now);
    if (until !== undefined) this.#routing.spare(until);
    this.#routing.elapse(now);
    this.#flush(now);
    this.#arm();
  };
}

/** The name of a service, as a binary string. */
function nameOf(service: Frame): string {
  const { size } = service;
  if (size <= LONGEST_NAME) return service.toBinaryString();
  throw new InvalidMessage(
    "service",
    `The service name has ${size} bytes, and at most ${LONGEST_NAME} are taken`,
  );
}

/** The address of a client; a longer one is nobody's: no worker holds a request of it. */
function addressOf(client: Frame): string {
  return client.size > LONGEST_ADDRESS ? "" : client.toBinaryString();
}
