/**
 * The MDP 0.2 worker: {@linkcode Worker} registers with a broker for a service and answers its
 * requests, by a handler or as an async iterable. It heartbeats, finds its way back when the
 * broker is lost, and takes as many requests at once as it is told to.
 *
 * @example A service
 * ```ts no-eval
 * import { Worker } from "@majortomo/mdp/worker";
 *
 * await using worker = new Worker({ broker: "tcp://127.0.0.1:5555", service: "upper" });
 * worker.stopOnSignal();
 * await worker.serve((request) => request.text().toUpperCase());
 * ```
 *
 * @module
 */

import { getLogger, type Logger } from "@logtape/logtape";
import { type Dialect, MULTIPLEXED, RFC } from "./codec.ts";
import { ComplaintLog } from "./complaint_log.ts";
import { DisconnectedError, StateError } from "./errors.ts";
import {
  type Body,
  checkOptions,
  checkSignal,
  type ConnectOptions,
  isReconnect,
  resolveDrain,
  type ResolvedWorkerOptions,
  resolveWorkerOptions,
  type WorkerOptions,
} from "./options.ts";
import { handle, type RequestErrorHandler, type RequestHandler } from "./worker_handler.ts";
import { isOver, WorkerRequest } from "./worker_request.ts";
import { Session, type SessionOwner } from "./worker_session.ts";
import { WorkerTraces } from "./worker_traces.ts";

export type { DialectName, Id } from "./codec.ts";
export * from "./errors.ts";
export { Payload } from "./reply.ts";
export type { Body, BodyFrame, ConnectOptions, DialectOption, WorkerOptions } from "./options.ts";
export type { HandlerResult, RequestErrorHandler, RequestHandler } from "./worker_handler.ts";
export { type PartOptions, WorkerRequest, type WorkerRequestInit } from "./worker_request.ts";

/** What a timer can wait for at most, in ms. */
const LONGEST_TIMER = 2 ** 31 - 1;

/** Signals by which a program is stopped; Windows has no SIGTERM. */
const STOP_SIGNALS: readonly Deno.Signal[] = Deno.build.os === "windows"
  ? ["SIGINT", "SIGBREAK"]
  : ["SIGINT", "SIGTERM"];

/** How {@linkcode Worker.serve} can be ended, and what is done when the handler fails. */
export interface ServeOptions {
  /** Stops the worker: orderly, as `close()` does. */
  signal?: AbortSignal;
  /**
   * Told that the handler failed, before anything else is done about it. It may return a body,
   * or a promise of one, to be sent as the FINAL, or send the FINAL itself.
   *
   * If it does neither, or fails too, or there is none, the failure is logged, and the client gets
   * it as a {@linkcode ServiceError}: the one that the handler threw, which is not logged then, or
   * one with the code 500 and the message of whatever it threw.
   *
   * RFC 18 has no errors. There the request is abandoned: the worker acts as if it had died with
   * it, says DISCONNECT and registers anew, and the broker gives the request to another worker, a
   * few times at most.
   */
  onError?: RequestErrorHandler;
}

/** How {@linkcode Worker.waitForRequest} can be ended. */
export interface WaitOptions {
  /** Ends the waiting, which fails with the signal's reason, and nothing else. */
  signal?: AbortSignal;
}

/** How a worker is stopped. */
export interface StopOptions {
  /**
   * How long requests in hand may go on, in ms.
   * @default {the worker's option}
   */
  drain?: number;
}

/**
 * A worker for one service.
 *
 * ```text
 *         serve(), iteration, connect(), waitForRequest()        close()
 *   idle ─────────────────────────────────────────────► running ─────────► closed
 *     └───────────────────────────────── close() ─────────────────────────►
 * ```
 *
 * It can be used in one of three ways at a time:
 *
 * 1. by {@linkcode Worker.serve}, which has a handler answer each request,
 * 2. as an async iterable of {@linkcode WorkerRequest}s,
 * 3. by {@linkcode Worker.waitForRequest} and the `sendReply` methods, as in majortomo.
 *
 * Heartbeats are sent while a request is being answered, as long as the event loop runs: what
 * computes for seconds on end belongs into a `Worker` of the platform. When the connection is gone,
 * the broker says DISCONNECT or is silent for `heartbeatTimeout`, the signals of the requests in
 * hand are aborted, and the worker registers anew on a new connection, for as long as it takes.
 *
 * With a broker that speaks the multiplexed dialect one connection carries all `concurrency`
 * requests, and with them deadlines, cancelling, headers and errors; with another there is a
 * connection for each, and requests have none of these.
 *
 * While it runs it keeps the process alive.
 *
 * @example A handler; parts of a reply by a generator
 * ```ts no-eval
 * import { Worker } from "@majortomo/mdp/worker";
 *
 * await using worker = new Worker({ service: "count", concurrency: 8 });
 * await worker.serve(async function* (request) {
 *   for (let i = 1; i < request.json<number>(); i++) yield `${i}`;
 *   return "done";
 * }, { onError: (error) => `failed: ${error}` });
 * ```
 *
 * @example Iteration
 * ```ts no-eval
 * import { DisconnectedError, Worker } from "@majortomo/mdp/worker";
 *
 * const worker = new Worker({ broker: "tcp://127.0.0.1:5555", service: "echo" });
 * worker.stopOnSignal();
 * for await (const request of worker) {
 *   try {
 *     await request.partial("working…");
 *     await request.final(request.frames);
 *   } catch (error) {
 *     // The broker is lost, and the request with it; the loop goes on on a new connection.
 *     if (!(error instanceof DisconnectedError)) throw error;
 *   }
 * }
 * ```
 */
export class Worker implements AsyncIterable<WorkerRequest>, AsyncDisposable {
  readonly #options: ResolvedWorkerOptions;
  readonly #service: string;
  readonly #logger: Logger = getLogger(["majortomo", "worker"]);
  readonly #complaints = new ComplaintLog();
  /** The logical workers: none while idle. */
  #sessions: Session[] = [];
  /** Those that there is no use for in the present dialect, and that still hold requests. */
  #retired: Session[] = [];
  /** What the worker is used by, other than `waitForRequest()`. */
  #user: "serve()" | "an iteration" | undefined;
  /** What takes requests, while served. */
  #serve: ((request: WorkerRequest) => void) | undefined;
  /** Handlers that have not come to their end. */
  #handling = 0;
  /** Requests that nobody has taken yet; some may be lost already. */
  readonly #arrived = new Requests();
  /** Requests that were taken by a loop or `waitForRequest()`; some may be over already. */
  readonly #taken = new Requests();
  /** Who waits for one, in order; told `undefined` at the end. */
  readonly #waiting = new Set<(request: WorkerRequest | undefined) => void>();
  #isClosed = false;
  /** When the drain is over at the latest. */
  #drainUntil = Infinity;
  #drainTimer: ReturnType<typeof setTimeout> | undefined;
  readonly #drained = Promise.withResolvers<void>();
  readonly #ended = Promise.withResolvers<void>();
  /** Sessions of the past that are still being closed. */
  readonly #closing = new Set<Promise<void>>();
  readonly #onRegistered: ((broker: string) => void) | undefined;
  /** Where it was registered when that was told last. */
  #registeredAt: string | undefined;
  readonly #traces = WorkerTraces.start();
  readonly #signals = new Map<Deno.Signal, () => void>();

  /**
   * Makes a worker; nothing is connected yet.
   *
   * @param options See {@linkcode WorkerOptions}. The service is required.
   * @throws {TypeError} If an option has the wrong type, {@linkcode RangeError} if it is out of
   * range.
   */
  constructor(options: WorkerOptions) {
    this.#options = resolveWorkerOptions(options);
    this.#service = new TextDecoder().decode(this.#options.service);
    const { onRegistered } = options;
    if (onRegistered !== undefined) wantFunction("onRegistered", onRegistered);
    this.#onRegistered = onRegistered;
  }

  /** Whether it has a connection to a broker, on which it has registered. */
  get isConnected(): boolean {
    return this.#sessions.some((session) => session.isConnected);
  }

  // ---- a handler ----

  /**
   * Has a handler answer each request, `concurrency` at a time at most, until the worker is
   * stopped by the signal, `close()` or `stopOnSignal()`.
   *
   * @param handler Gets a request and returns its answer: see {@linkcode HandlerResult}.
   * @param options See {@linkcode ServeOptions}.
   * @returns A promise of the orderly end.
   * @throws {TypeError} If the handler is no function, or an option is of the wrong type.
   * @throws {StateError} If the worker is in use already, or closed.
   * @throws {ZmqError} If libzmq refuses the endpoint, or has no more sockets.
   * @throws {MdpError} If libzmq cannot be opened.
   */
  async serve(handler: RequestHandler, options: ServeOptions = {}): Promise<void> {
    checkOptions("The options of serve()", options, { signal: true, onError: true });
    const { signal, onError } = options;
    wantFunction("handler", handler);
    if (onError !== undefined) wantFunction("onError", onError);
    checkSignal(signal);
    this.#claim("serve()");
    if (signal?.aborted) return await this.close();
    this.#open();
    const traces = this.#traces;
    const settled = () => {
      this.#handling--;
      this.#checkDrained();
    };
    this.#serve = (request) => {
      const pending = traces === undefined
        ? handle(request, handler, onError, this.#logger)
        : traces.within(request, () => handle(request, handler, onError, this.#logger));
      if (pending === undefined) return;
      this.#handling++;
      pending.then(settled);
    };
    for (let request; (request = this.#nextArrived()) !== undefined;) this.#serve(request);
    const stop = () => void this.close();
    signal?.addEventListener("abort", stop, { once: true });
    await this.#ended.promise;
    signal?.removeEventListener("abort", stop);
  }

  // ---- iteration ----

  /**
   * Iterates over the requests; each is to be answered by its own methods. The iteration ends
   * when the worker is closed, not when the broker is lost. `break`, or an error, ends the worker
   * at once: an unanswered request is given to another by the broker. To answer a request whose
   * broker is lost is such an error, a {@linkcode DisconnectedError}, unless the loop catches it.
   *
   * With `concurrency`, the next request comes before the last is answered if the loop does not
   * wait for it: `for await (const request of worker) void answer(request)`.
   *
   * @returns The iterator.
   * @throws {StateError} If the worker is in use already, or closed.
   * @throws {ZmqError} If libzmq refuses the endpoint, or has no more sockets.
   * @throws {MdpError} If libzmq cannot be opened.
   */
  [Symbol.asyncIterator](): AsyncIterableIterator<WorkerRequest, undefined, void> {
    this.#claim("an iteration");
    this.#open();
    return {
      [Symbol.asyncIterator]() {
        return this;
      },
      next: async () => {
        const value = await this.#take();
        return value === undefined ? { done: true, value } : { done: false, value };
      },
      return: async () => {
        await this.close({ drain: 0 });
        return { done: true, value: undefined };
      },
    };
  }

  // ---- majortomo's verbs ----

  /**
   * Connects and registers, in the background; the other ways to use the worker do it too. What
   * comes waits until it is taken.
   *
   * @param options Whether connections that there are already are ended, with all requests in hand,
   * and made anew: as {@linkcode ConnectOptions}, or only `true`. Otherwise they are left as they are.
   * @throws {TypeError} If the options are none.
   * @throws {StateError} If the worker is closed.
   * @throws {ZmqError} If libzmq refuses the endpoint, or has no more sockets.
   * @throws {MdpError} If libzmq cannot be opened.
   */
  connect(options: ConnectOptions | boolean = false): void {
    const reconnect = isReconnect(options);
    this.#refuseIfClosed();
    if (this.#sessions.length === 0) return this.#open();
    if (!reconnect) return;
    for (const session of [...this.#retired]) session.end();
    for (const session of [...this.#sessions]) session.reopen();
  }

  /**
   * Waits for a request, and connects first if that has not been done. Unlike majortomo's, it
   * goes on waiting when the broker is lost, on a new connection.
   *
   * @param options See {@linkcode WaitOptions}.
   * @returns The request. It is to be answered by its own methods or by those of the worker.
   * @throws {TypeError} If an option has the wrong type.
   * @throws {StateError} If the worker is served, iterated over or closed.
   * @throws {DisconnectedError} If the worker is closed meanwhile.
   * @throws {ZmqError} If libzmq refuses the endpoint, or has no more sockets.
   */
  async waitForRequest(options: WaitOptions = {}): Promise<WorkerRequest> {
    checkOptions("The options of waitForRequest()", options, { signal: true });
    const { signal } = options;
    checkSignal(signal);
    this.#refuseIfUsed();
    signal?.throwIfAborted();
    this.#open();
    const request = await this.#take(signal);
    if (request !== undefined) return request;
    throw new DisconnectedError(
      `The worker for service "${this.#service}" was closed while it waited for a request`,
    );
  }

  /**
   * Sends the last part of an answer. RFC 18: FINAL.
   *
   * @param client The request, or its client's address; of several requests of one client, the
   * first to come is meant.
   * @param frames The body.
   * @returns A promise that resolves when the socket has taken it.
   * @throws {StateError} If the request has been answered, or none of this client is in hand.
   * @throws {DisconnectedError} If the connection that the request came on is no more.
   * @throws {TypeError} If the body is none, {@linkcode RangeError} if it is larger than
   * `maxMessageSize`.
   */
  async sendReplyFinal(client: WorkerRequest | Uint8Array, frames: Body): Promise<void> {
    await this.#request(client).final(frames);
  }

  /**
   * Sends a part of an answer; more are to follow. RFC 18: PARTIAL.
   *
   * @param client The request, or its client's address, as for `sendReplyFinal()`.
   * @param frames The body.
   * @returns A promise that resolves when the socket has taken it.
   * @throws {StateError} If the request has been answered, or none of this client is in hand.
   * @throws {DisconnectedError} If the connection that the request came on is no more.
   * @throws {TypeError} If the body is none, {@linkcode RangeError} if it is larger than
   * `maxMessageSize`.
   */
  async sendReplyPartial(client: WorkerRequest | Uint8Array, frames: Body): Promise<void> {
    await this.#request(client).partial(frames);
  }

  /**
   * Answers with a PARTIAL for each item, and then, unlike majortomo's, always with a FINAL.
   *
   * @param client The request, or its client's address, as for `sendReplyFinal()`.
   * @param items The bodies of the PARTIALs.
   * @param final The body of the FINAL.
   * @default final {one empty frame}
   * @returns A promise that resolves when the socket has taken all.
   * @throws {StateError} If the request has been answered, or none of this client is in hand.
   * @throws {DisconnectedError} If the connection that the request came on is no more.
   * @throws {TypeError} If the items are not iterable, or one is no body.
   */
  async sendReplyFromIterable(
    client: WorkerRequest | Uint8Array,
    items: Iterable<Body> | AsyncIterable<Body>,
    final?: Body,
  ): Promise<void> {
    await this.#request(client).replyFrom(items, final);
  }

  // ---- the end ----

  /**
   * Stops in order: asks for no new requests, lets those in hand, and those that are on their way
   * already (in the multiplexed dialect 0.1 s are given to them), be answered for the drain time,
   * then aborts their signals, says DISCONNECT and closes the connections when what they had to
   * send has left, for the `linger` option at most. A request that was not taken is given to
   * another worker by the broker: in the multiplexed dialect once those in hand are ended.
   *
   * A handler, or the body of a loop, must not wait for it: it waits for them.
   *
   * @param options See {@linkcode StopOptions}. A later call may shorten the drain.
   * @returns A promise of the end.
   * @throws {TypeError} If `drain` is no number, {@linkcode RangeError} if it is negative.
   */
  async close(options: StopOptions = {}): Promise<void> {
    checkOptions("The options of close()", options, { drain: true });
    const drain = resolveDrain(options.drain, this.#options.drain);
    if (!this.#isClosed) this.#close().then(this.#ended.resolve, this.#ended.reject);
    this.#limitDrain(drain);
    await this.#ended.promise;
  }

  /**
   * The same as `close()`.
   *
   * @param options See {@linkcode StopOptions}.
   * @returns A promise of the end.
   * @throws {TypeError} If `drain` is no number, {@linkcode RangeError} if it is negative.
   */
  async stop(options: StopOptions = {}): Promise<void> {
    await this.close(options);
  }

  /** `close()`, for `await using`. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  /**
   * Stops in order when the process gets one of the signals; a second one ends the drain. The
   * signals are the system's again when the worker is closed.
   *
   * @param signals Which ones.
   * @default signals {["SIGINT", "SIGTERM"], on Windows ["SIGINT", "SIGBREAK"]}
   * @throws {TypeError} If the system has no such signal.
   * @throws {StateError} If the worker is closed.
   */
  stopOnSignal(signals: readonly Deno.Signal[] = STOP_SIGNALS): void {
    this.#refuseIfClosed();
    for (const signal of signals) {
      if (this.#signals.has(signal)) continue;
      const listener = () => {
        this.#logger.info("Caught {signal}", { signal });
        this.close(this.#isClosed ? { drain: 0 } : {});
      };
      Deno.addSignalListener(signal, listener);
      this.#signals.set(signal, listener);
    }
  }

  async #close(): Promise<void> {
    this.#isClosed = true;
    if (this.#sessions.length > 0) {
      this.#logger.info("Stopping the worker for service {service}", { service: this.#service });
    }
    for (const session of this.#sessions) session.stop();
    // Nobody will take them; given up, they do not keep the drain going.
    for (let request; (request = this.#nextArrived()) !== undefined;) request.abandon();
    for (const tell of this.#waiting) tell(undefined);
    this.#waiting.clear();
    this.#checkDrained();
    await this.#drained.promise;
    this.#drainUntil = -Infinity;
    clearTimeout(this.#drainTimer);
    for (const session of [...this.#sessions, ...this.#retired]) {
      session.end();
      this.#await(session.closed());
    }
    await Promise.all(this.#closing);
    this.#complaints.close();
    for (const [signal, listener] of this.#signals) Deno.removeSignalListener(signal, listener);
    this.#signals.clear();
  }

  #limitDrain(drain: number): void {
    const until = performance.now() + drain;
    if (until >= this.#drainUntil) return;
    this.#drainUntil = until;
    clearTimeout(this.#drainTimer);
    if (drain <= LONGEST_TIMER) this.#drainTimer = setTimeout(this.#drained.resolve, drain);
  }

  #checkDrained(): void {
    if (!this.#isClosed || this.#handling > 0) return;
    const sessions = [...this.#sessions, ...this.#retired];
    if (sessions.every((session) => session.isOver)) this.#drained.resolve();
  }

  // ---- its state ----

  #refuseIfClosed(): void {
    if (this.#isClosed) {
      throw new StateError(`The worker for service "${this.#service}" is closed`);
    }
  }

  #refuseIfUsed(): void {
    this.#refuseIfClosed();
    if (this.#user !== undefined) {
      throw new StateError(
        `The worker for service "${this.#service}" is in use already, by ${this.#user}`,
      );
    }
  }

  #claim(user: "serve()" | "an iteration"): void {
    this.#refuseIfUsed();
    if (this.#waiting.size > 0) {
      throw new StateError(
        `The worker for service "${this.#service}" is in use already, by waitForRequest()`,
      );
    }
    this.#user = user;
  }

  /** Makes the logical workers, all or none. */
  #open(): void {
    if (this.#sessions.length > 0) return;
    const { concurrency, multiplexed } = this.#options;
    const owner: SessionOwner = {
      options: this.#options,
      service: this.#service,
      onRequest: (request) => this.#deliver(request),
      onSettled: () => {
        if (this.#retired.length > 0) this.#release(owner);
        this.#checkDrained();
      },
      onCancelled: (request) => this.#giveBack(request),
      onDialect: (_session, dialect) => this.#adjust(owner, dialect),
      onRegistered: () => this.#tellRegistered(),
      room: (session) => this.#room(session),
      mayRegister: (session) => multiplexed === "never" || this.#mayRegister(session),
      complain: this.#complain,
      inform: (template, properties) => this.#logger.info(template, properties),
    };
    const sessions = Array.from(
      { length: multiplexed === "never" ? concurrency : 1 },
      () => new Session(owner, multiplexed),
    );
    try {
      for (const session of sessions) session.open();
    } catch (error) {
      for (const session of sessions) session.end();
      this.#user = undefined;
      throw error;
    }
    this.#sessions = sessions;
    // By inproc: it stood before they were known here.
    this.#tellRegistered();
  }

  /**
   * Has as many sessions as the dialect wants that the first has found: with the multiplexed one
   * it does all, with RFC 18 there is another for each further request.
   */
  #adjust(owner: SessionOwner, dialect: Dialect): void {
    if (this.#isClosed) return;
    const [first, ...others] = this.#sessions;
    if (dialect === MULTIPLEXED) {
      this.#sessions = [first!];
      this.#retired.push(...others);
      for (const session of others) session.stop();
    } else for (const session of others) session.resume(first!);
    this.#fill(owner);
  }

  /** Whatever retired sessions have held since is for the others to take. */
  #release(owner: SessionOwner): void {
    this.#retired = this.#retired.filter((session) => {
      if (session.isOver) this.#await(session.closed());
      return !session.isOver;
    });
    if (!this.#isClosed) this.#fill(owner);
  }

  /** Takes as many requests at once as may be, and no more, those of retired sessions included. */
  #fill(owner: SessionOwner): void {
    const first = this.#sessions[0]!;
    if (first.dialect === MULTIPLEXED) return first.limit(this.#room(first));
    if (first.dialect !== RFC) return;
    while (this.#sessions.length + this.#retired.length < this.#options.concurrency) {
      const session = new Session(owner, "never");
      this.#sessions.push(session);
      session.follow(first);
    }
  }

  /** Tells once of several sessions, and anew when all were lost meanwhile. */
  #tellRegistered(): void {
    const sessions = [...this.#sessions, ...this.#retired];
    const broker = sessions.find(({ registeredAt }) => registeredAt)?.registeredAt;
    if (broker === this.#registeredAt) return;
    this.#registeredAt = broker;
    if (broker === undefined) return;
    const fail = (error: unknown) => {
      this.#logger.error("onRegistered has failed: {error}", { error });
    };
    try {
      // It may well be an async function.
      Promise.resolve(this.#onRegistered?.(broker)).catch(fail);
    } catch (error) {
      fail(error);
    }
  }

  /** At least one: the others hold one each, and are fewer than may be held in all. */
  #room(session: Session): number {
    let room = this.#options.concurrency;
    for (const other of this.#sessions) if (other !== session) room -= other.holds;
    for (const other of this.#retired) room -= other.holds;
    return room;
  }

  /** Only the first session finds out what to speak; the others follow it with RFC 18. */
  #mayRegister(session: Session): boolean {
    const [first] = this.#sessions;
    return first === undefined || session === first || first.dialect === RFC;
  }

  #await(closed: Promise<void>): void {
    this.#closing.add(closed);
    closed.then(() => this.#closing.delete(closed));
  }

  // ---- requests ----

  #deliver(request: WorkerRequest): void {
    this.#traces?.begin(request);
    if (this.#serve !== undefined) return this.#serve(request);
    const [first] = this.#waiting;
    if (first !== undefined) {
      this.#waiting.delete(first);
      return first(request);
    }
    // It has crossed our stop.
    if (this.#isClosed) return request.abandon();
    this.#arrived.add(request);
  }

  /** Ends a request that nobody has taken, and nobody wants an answer to. */
  #giveBack(request: WorkerRequest): void {
    if (!this.#arrived.delete(request)) return;
    request.fail(504, "Nobody wants the answer any more").catch(() => {});
  }

  /** The first request that was not taken and is not lost. */
  #nextArrived(): WorkerRequest | undefined {
    return this.#arrived.shift();
  }

  /** The next request; `undefined` when the worker is closed. */
  async #take(signal?: AbortSignal): Promise<WorkerRequest | undefined> {
    const request = this.#nextArrived() ??
      (this.#isClosed ? undefined : await this.#arrival(signal));
    if (request !== undefined) this.#taken.add(request);
    return request;
  }

  #arrival(signal?: AbortSignal): Promise<WorkerRequest | undefined> {
    const { promise, resolve, reject } = Promise.withResolvers<WorkerRequest | undefined>();
    const tell = (request: WorkerRequest | undefined) => {
      signal?.removeEventListener("abort", abort);
      resolve(request);
    };
    const abort = () => {
      this.#waiting.delete(tell);
      reject(signal!.reason);
    };
    signal?.addEventListener("abort", abort, { once: true });
    this.#waiting.add(tell);
    return promise;
  }

  /** What a reply of majortomo's kind is for. */
  #request(client: WorkerRequest | Uint8Array): WorkerRequest {
    if (client instanceof WorkerRequest) return client;
    if (!(client instanceof Uint8Array)) {
      throw new TypeError(
        `client is a WorkerRequest or the address of one, got ${
          Deno.inspect(client, { depth: 0 })
        }`,
      );
    }
    const request = this.#taken.find(client);
    if (request !== undefined) return request;
    throw new StateError(
      `No request of client ${client.toHex()} for service "${this.#service}" waits for a reply: ` +
        "it has been answered, or its connection is lost",
    );
  }

  // ---- the log ----

  readonly #complain = (
    kind: string,
    template: string,
    properties: Record<string, unknown>,
  ): void => {
    this.#complaints.log(
      kind,
      performance.now(),
      (template, properties) => this.#logger.warn(template, properties),
      template,
      properties,
    );
  };
}

/** Requests in the order in which they came. Those that are over do not pile up in it. */
class Requests {
  readonly #all = new Set<WorkerRequest>();
  /** How many there are when those that are over are thrown out: not each time, since it looks at all. */
  #most = 1;

  add(request: WorkerRequest): void {
    if (this.#all.size >= this.#most) {
      for (const other of this.#all) if (isOver(other)) this.#all.delete(other);
      this.#most = Math.max(1, 2 * this.#all.size);
    }
    this.#all.add(request);
  }

  delete(request: WorkerRequest): boolean {
    return this.#all.delete(request);
  }

  /** Takes out the first that is not over. */
  shift(): WorkerRequest | undefined {
    for (const request of this.#all) {
      this.#all.delete(request);
      if (!isOver(request)) return request;
    }
  }

  /** The first that is not over and is of this client. */
  find(client: Uint8Array): WorkerRequest | undefined {
    for (const request of this.#all) {
      if (isOver(request) || request.client.length !== client.length) continue;
      if (request.client.every((byte, i) => byte === client[i])) return request;
    }
  }
}

function wantFunction(name: string, value: unknown): void {
  if (typeof value === "function") return;
  throw new TypeError(`${name} is a function, got ${Deno.inspect(value, { depth: 0 })}`);
}
