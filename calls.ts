/**
 * Calls of a client: turns, timeouts, retries, failover and their ends. How a request gets to a
 * broker is a {@linkcode Transport}'s.
 *
 * @module
 */

import { getLogger } from "@logtape/logtape";
import { Alarm } from "./alarm.ts";
import { STOPPING, STOPPING_WORDS } from "./broker_codes.ts";
import { type CallTrace, ClientTraces } from "./client_traces.ts";
import { DisconnectedError, type ServiceError, StateError, TimeoutError } from "./errors.ts";
import { type Brokers, timeoutError } from "./failover.ts";
import { Gate, type Waiter } from "./gate.ts";
import { type Outgoing, quote, type Receiver } from "./line.ts";
import { type Linked, List } from "./list.ts";
import {
  backoffPause,
  type Body,
  bodyFrames,
  headerFrame,
  type RequestOptions,
  type ResolvedClientOptions,
  resolveRequestOptions,
  serviceName,
  sizeOf,
  takeRequestOptions,
} from "./options.ts";
import type { Exchange, Transport } from "./pool.ts";
import { Reply, type ReplyPart } from "./reply.ts";

const logger = getLogger(["majortomo", "client"]);

/** No items, of anything: see {@linkcode appended}. */
const NONE: never[] = [];

/**
 * A list with one more item. Most get no more than one: an array that is made of it is no longer than
 * that, where one that was made empty gets room for 17, 150 bytes, with the first.
 */
function appended<T>(list: T[], item: T): T[] {
  if (list.length === 0) return [item];
  list.push(item);
  return list;
}

/** An error that came from the event loop: its stack is to name who waits for it. */
function caught(error: Error): Error {
  // One that a test has frozen keeps its own.
  if (Object.isExtensible(error)) Error.captureStackTrace(error, caught);
  return error;
}

/** Whether it is the broker that refuses, whoever asks for what. */
function isStopping({ code, message }: ServiceError): boolean {
  return code === STOPPING && message === STOPPING_WORDS;
}

/** What a request has whose caller says nothing. */
const NO_OPTIONS: RequestOptions = Object.freeze({});

type Limits = ReturnType<typeof resolveRequestOptions>;

/** The calls of one client. */
export class Calls {
  /** What the client was made with. */
  readonly options: ResolvedClientOptions;
  /** How requests get to a broker. */
  readonly transport: Transport;
  /** Which broker to use. */
  readonly brokers: Brokers;
  /** The timer of all calls. */
  readonly alarm: Alarm = new Alarm();
  /** Makes spans of them, if anybody takes those. */
  readonly traces: ClientTraces | undefined = ClientTraces.start();
  /** Those that wait for their turn. */
  readonly #queue = new List<Call>();
  /** Those that have it. */
  readonly #inFlight = new List<Call>();
  /** How many that are. */
  #size = 0;
  #closed = false;

  /** Has no calls yet. */
  constructor(options: ResolvedClientOptions, transport: Transport, brokers: Brokers) {
    this.options = options;
    this.transport = transport;
    this.brokers = brokers;
  }

  /**
   * Makes a call, which begins when its reply is asked for.
   *
   * @param given The options, which are copied: the request may be sent later.
   * @throws {TypeError} For an argument of the wrong type, {@linkcode RangeError} for an option
   * that is out of range, or too long a name or body.
   */
  make(
    service: string | Uint8Array,
    body: Body | undefined,
    given: RequestOptions = NO_OPTIONS,
  ): Call {
    const options = given === NO_OPTIONS ? given : takeRequestOptions(given);
    const headers = headerFrame(options.headers);
    const request: Outgoing = {
      service: serviceName(service),
      body: bodyFrames(body, this.options.maxMessageSize, headers),
      headers,
      options,
    };
    return new Call(this, request, resolveRequestOptions(options, this.options));
  }

  /** Ends all calls, and refuses new ones. */
  close(): void {
    this.#closed = true;
    // Those that wait first, so that no turn is left for them.
    for (let call; (call = this.#queue.first ?? this.#inFlight.first) !== undefined;) {
      call.fail(new StateError(`The client was closed before ${call.name} was answered`));
    }
    this.alarm.close();
  }

  /** For {@linkcode Call}: may it begin? @throws {StateError} After `close()`. */
  checkOpen(): void {
    if (this.#closed) throw new StateError("The client is closed");
  }

  /** For {@linkcode Call}: asks for a turn. @returns Whether it has it; else it will be given. */
  enter(call: Call): boolean {
    const isFree = this.#size < this.options.maxInFlight;
    call.turn = isFree ? "taken" : "waiting";
    if (isFree) this.#size++;
    (isFree ? this.#inFlight : this.#queue).push(call);
    return isFree;
  }

  /** For {@linkcode Call}: it needs no turn any more. */
  end(call: Call): void {
    const { turn } = call;
    call.turn = "none";
    if (turn === "waiting") this.#queue.remove(call);
    if (turn !== "taken") return;
    this.#inFlight.remove(call);
    const next = this.#queue.shift();
    if (next === undefined) this.#size--;
    else {
      this.#inFlight.push(next);
      next.takeTurn();
    }
  }
}

/**
 * One call, used either by {@linkcode Call.collect} or by {@linkcode Call.stream}.
 *
 * ```text
 *              turn              send             FINAL
 *   waiting ─────────► its turn ──────► in flight ──────► over
 *                         ▲                │ timeout, retries left
 *                         └──── pausing ◄──┘ or the connection was lost
 *   from all of them: abort, close(), deadline; from in flight: timeout, invalid reply ─► over
 * ```
 */
export class Call implements Linked<Call>, Receiver, Waiter {
  /** For the list that it is in. */
  previous: Call | undefined;
  /** For the list that it is in. */
  next: Call | undefined;
  /** Whether it has its turn. */
  turn: "none" | "waiting" | "taken" = "none";

  readonly #calls: Calls;
  #request: Outgoing;
  #trace: CallTrace | undefined;
  readonly #limits: Limits;
  readonly #gate: Gate;
  #deadlineAt = Infinity;
  /** The signal that it heeds, if it has one. */
  #signal: AbortSignal | undefined;
  /** What that calls. */
  #onAbort: (() => void) | undefined;
  #over = false;
  /** Settles the promise of `collect()` while that waits for the first part. */
  #resolve: ((reply: Reply | Promise<Reply>) => void) | undefined;
  /** Why it is over, before what came is looked at. */
  #failure: { readonly reason: unknown } | undefined;

  #exchange: Exchange | undefined;
  /** The brokers that it was sent to, each attempt's. */
  #tried: string[] = NONE;
  /** What has come of this attempt and was not taken yet. */
  #inbox: ReplyPart[] = NONE;
  /** How many parts have come of this attempt. */
  #received = 0;
  /** Why nothing more comes of this attempt. */
  #broken: Error | undefined;
  /** Why nothing more comes of it, if that is not the request's fault. */
  #void: { readonly why: string; readonly refusal: ServiceError | undefined } | undefined;
  /** How it was refused, this time or before. */
  #refusal: ServiceError | undefined;
  /** Whether its parts are taken one by one. */
  #streams = false;

  /** For {@linkcode Calls}. */
  constructor(
    calls: Calls,
    request: Outgoing,
    limits: Limits,
  ) {
    this.#calls = calls;
    this.#gate = new Gate(calls.alarm);
    this.#request = request;
    this.#limits = limits;
  }

  /** What it is, for error messages. */
  get name(): string {
    return `the request for service ${quote(this.#request.service)}`;
  }

  /** The whole reply. What has come of an attempt that failed is not part of it. */
  collect(): Promise<Reply> {
    try {
      const turn = this.#begin();
      if (turn !== undefined) return this.#collect(turn);
      const wait = this.#prepare();
      if (wait === 0) return this.#collect(true);
      // Most replies are a FINAL and come with the first attempt: then this promise is all there is. It
      // and the table of what is in flight, without a set beside it, are 20 % of the client's CPU.
      const { promise, resolve } = Promise.withResolvers<Reply>();
      this.#resolve = resolve;
      this.#gate.admit(wait, this);
      return promise;
    } catch (error) {
      this.#trace?.fail(error);
      this.#end();
      return Promise.reject(error);
    }
  }

  /** For the gate, where `collect()` waits for the first part. */
  onWoken(inTime: boolean): void {
    const resolve = this.#resolve!, part = this.#inbox[0];
    if (part?.type !== "final") return resolve(this.#goOn(inTime));
    this.#calls.brokers.answered(this.#tried[0]!);
    this.#end();
    resolve(new Reply([part]));
  }

  /** The same. */
  onFailed(reason: unknown): void {
    this.#resolve!(Promise.reject(reason));
  }

  async #goOn(inTime: boolean): Promise<Reply> {
    // V8 needs two turns to find out that the caller awaits this, and names it then in the stack of
    // what this throws.
    await undefined;
    await undefined;
    return await this.#collect(inTime);
  }

  /**
   * The whole reply, in whatever way it comes.
   *
   * @param wait The wait for its turn; or whether the first part, for which it has waited, was there
   * in time.
   */
  async #collect(wait: Promise<void> | boolean): Promise<Reply> {
    try {
      let inTime = typeof wait === "boolean" ? wait : await wait.then(() => this.#await());
      for (let parts: ReplyPart[] = NONE;; inTime = await this.#await()) {
        const part = this.#take(inTime);
        if (part === undefined) {
          await this.#retry();
          parts = NONE;
          continue;
        }
        parts = appended(parts, part);
        if (part.type === "final") return new Reply(parts);
      }
    } catch (error) {
      this.#trace?.fail(error);
      throw error;
    } finally {
      this.#end();
    }
  }

  /** The parts as they come. It is not sent again once one has been handed out. */
  async *stream(): AsyncGenerator<ReplyPart, void, undefined> {
    this.#streams = true;
    try {
      const turn = this.#begin();
      if (turn !== undefined) await turn;
      for (let yielded = false;;) {
        const part = this.#take(await this.#await());
        if (part === undefined) {
          if (yielded) throw this.#attemptError();
          await this.#retry();
          continue;
        }
        yielded = true;
        // What the caller does with the last part is no matter of the call any more.
        if (part.type === "final") this.#end();
        yield part;
        if (part.type === "final") return;
      }
    } catch (error) {
      this.#trace?.fail(error);
      throw error;
    } finally {
      this.#end();
    }
  }

  /** Ends it, wherever it is. */
  fail(reason: unknown): void {
    if (this.#over) return;
    this.#failure = { reason };
    this.#trace?.fail(reason);
    this.#end();
    this.#gate.fail(reason);
  }

  /** For {@linkcode Calls}: it has its turn now. */
  takeTurn(): void {
    this.turn = "taken";
    this.#gate.wake();
  }

  /** For the transport. */
  onPart(part: ReplyPart): void {
    this.#received++;
    this.#inbox = appended(this.#inbox, part);
    // It may be long before the last part is taken, and may need other calls.
    if (this.#streams && part.type === "final") this.#calls.end(this);
    this.#gate.wake();
  }

  /** For the transport. */
  onError(error: Error): void {
    this.#broken = error;
    this.#gate.wake();
  }

  /** For the transport. */
  onVoid(why: string, refusal?: ServiceError): void {
    this.#void = { why, refusal };
    this.#refusal = refusal ?? this.#refusal;
    this.#gate.wake();
  }

  /** A promise of its turn, or nothing if it has it: then it is sent before the call returns. */
  #begin(): Promise<void> | undefined {
    const { signal } = this.#request.options;
    const { timeout, deadline } = this.#limits;
    this.#calls.checkOpen();
    if (this.#calls.traces !== undefined) this.#beginTrace(this.#calls.traces);
    if (signal !== undefined) this.#heed(signal);
    if (deadline !== Infinity) this.#deadlineAt = performance.now() + deadline;
    // Nothing can be there already. To send it all the same would leave it to chance whether it
    // gets as far as the broker.
    if (timeout === 0 || deadline === 0) throw this.#timeoutError();
    if (this.#calls.enter(this)) return undefined;
    return this.#wait(deadline).then((inTime) => {
      if (!inTime) throw this.#timeoutError("deadline");
    });
  }

  #heed(signal: AbortSignal): void {
    signal.throwIfAborted();
    this.#signal = signal;
    this.#onAbort = () => this.fail(signal.reason);
    signal.addEventListener("abort", this.#onAbort);
  }

  /**
   * The request goes with the context of its span, unless the caller has given it another, or it
   * would be more than the broker takes.
   */
  #beginTrace(traces: ClientTraces): void {
    const { service, body, options } = this.#request;
    this.#trace = traces.begin(new TextDecoder().decode(service));
    const headers = headerFrame({ ...this.#trace.headers, ...options.headers });
    if (sizeOf(body, headers) > this.#calls.options.maxMessageSize) return;
    this.#request = { ...this.#request, headers };
  }

  /** Waits for the next part, unless it is there. The request is sent if it is not. */
  #await(): Promise<boolean> | true {
    const wait = this.#prepare();
    return wait === 0 || this.#gate.wait(wait);
  }

  /** Sends it, if it is not sent. @returns How long to wait for the next part, in ms; 0 if it is there. */
  #prepare(): number {
    this.#throwIfFailed();
    // All of it came in time, however slowly it is used.
    if (this.#inbox.at(-1)?.type === "final") return 0;
    const left = this.#left();
    if (left <= 0) throw this.#timeoutError("deadline");
    this.#exchange ??= this.#send();
    return this.#isBare() ? Math.min(this.#limits.timeout, left) : 0;
  }

  /**
   * The next part, after the wait for it.
   *
   * @param inTime Whether the wait was not in vain.
   * @returns `undefined` if none came within the timeout, or none can come any more; then the
   * attempt is over.
   */
  #take(inTime: boolean): ReplyPart | undefined {
    this.#throwIfFailed();
    // If the event loop was busy all the time, it may be there and not have been seen.
    if (!inTime) this.#exchange!.poll();
    const { brokers, transport } = this.#calls;
    const endpoint = this.#tried.at(-1)!;
    const part = this.#inbox.shift();
    if (part !== undefined) {
      brokers.answered(endpoint);
      return part;
    }
    if (this.#broken !== undefined) throw caught(this.#broken);
    if (this.#void !== undefined) {
      const { refusal } = this.#void;
      // Otherwise it has spoken: another is used when it has answered better.
      if (refusal === undefined || isStopping(refusal)) brokers.silent(endpoint);
      return undefined;
    }
    if (this.#received === 0) transport.suspect(endpoint, () => brokers.silent(endpoint));
    if (this.#left() <= 0) throw this.#timeoutError("deadline");
    return undefined;
  }

  /** How long the deadline is off, in ms. */
  #left(): number {
    return this.#deadlineAt === Infinity ? Infinity : this.#deadlineAt - performance.now();
  }

  /** Whether nothing has come that was not taken yet. */
  #isBare(): boolean {
    return this.#inbox.length === 0 && this.#broken === undefined && this.#void === undefined;
  }

  #send(): Exchange {
    const { brokers, transport } = this.#calls;
    const before = this.#tried.at(-1);
    const endpoint = before === undefined ? brokers.current : brokers.after(before);
    this.#tried = appended(this.#tried, endpoint);
    this.#trace?.sent(endpoint, this.#tried.length);
    return transport.open(endpoint, this.#request, this, this.#deadlineAt);
  }

  /** Gives the attempt up and waits until the next is due. Throws if there is none. */
  async #retry(): Promise<void> {
    const { backoff, maxBackoff } = this.#calls.options;
    const attempts = this.#tried.length;
    const { retries } = this.#limits;
    const lost = this.#void !== undefined && this.#void.refusal === undefined;
    // A lost connection says nothing against the request, so one more attempt costs the caller
    // no time: that is made even without retries. But what kills brokers is not to do so for ever.
    const most = this.#request.options.once ? 0 : lost ? Math.max(1, retries) : retries;
    // The transport makes the pause between connections.
    const pause = lost ? 0 : backoffPause(attempts - 1, backoff, maxBackoff, Math.random());
    const tooLate = performance.now() + pause >= this.#deadlineAt;
    if (attempts > most || tooLate) throw this.#attemptError();
    this.#abandon();
    logger.debug("Sending {name} again, since no reply came from {endpoint}", {
      name: this.name,
      endpoint: this.#tried.at(-1),
      attempts,
    });
    if (pause > 0) await this.#wait(pause);
  }

  /** What the call fails with if the attempt that has failed was the last. */
  #attemptError(): Error {
    if (this.#void === undefined) {
      // An answer of one broker says more than the silence of the next.
      const isSilent = this.#received === 0;
      return isSilent && this.#refusal !== undefined ? caught(this.#refusal) : this.#timeoutError();
    }
    const { why, refusal } = this.#void;
    if (refusal !== undefined) return caught(refusal);
    const attempts = this.#tried.length;
    return new DisconnectedError(
      `The connection to the broker at ${quote(this.#tried.at(-1)!)} ${why} before ${this.name} ` +
        `was answered (${attempts} ${attempts === 1 ? "attempt" : "attempts"})`,
    );
  }

  /** @returns Whether it was woken in time. */
  async #wait(milliseconds: number): Promise<boolean> {
    const inTime = await this.#gate.wait(milliseconds);
    this.#throwIfFailed();
    return inTime;
  }

  #throwIfFailed(): void {
    if (this.#failure !== undefined) throw this.#failure.reason;
  }

  #timeoutError(which: "timeout" | "deadline" = "timeout"): TimeoutError {
    const { timeout, deadline } = this.#limits;
    if (this.turn === "waiting") {
      return new TimeoutError(
        `No turn for ${this.name} within the deadline of ${deadline} ms: ` +
          `${this.#calls.options.maxInFlight} others are in flight`,
      );
    }
    const limit = deadline === 0 ? "deadline" : which;
    const endpoints = this.#tried.length > 0 ? this.#tried : [this.#calls.brokers.current];
    return timeoutError(this.#request.service, {
      endpoints,
      limit: `${limit} of ${limit === "timeout" ? timeout : deadline} ms`,
      attempts: this.#tried.length,
      begun: this.#received > 0,
      isMute: endpoints.every((endpoint) => this.#calls.transport.isMute(endpoint)),
    });
  }

  #abandon(): void {
    this.#exchange?.abandon();
    this.#exchange = undefined;
    this.#inbox = NONE;
    this.#received = 0;
    this.#broken = undefined;
    this.#void = undefined;
  }

  #end(): void {
    if (this.#over) return;
    this.#over = true;
    // First: whatever else may fail, its turn is another's.
    this.#calls.end(this);
    this.#signal?.removeEventListener("abort", this.#onAbort!);
    this.#abandon();
    this.#trace?.end();
  }
}
