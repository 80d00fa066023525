/**
 * A request in the hands of a worker: what the client sent, and the way to answer it.
 *
 * @module
 */

import type { Id } from "./codec.ts";
import { DisconnectedError, ServiceError, StateError, TimeoutError } from "./errors.ts";
import { type Body, bodyFrames, checkOptions, headerFrame, headersOf } from "./options.ts";
import { Payload } from "./reply.ts";
import { itemsOf } from "./worker_items.ts";

/** What can be sent along with a part of an answer. */
export interface PartOptions {
  /** Headers of this part, where the dialect has them; in RFC 18 they are left out. */
  headers?: Readonly<Record<string, string>>;
}

/** What a {@linkcode WorkerRequest} is made of: its content, and what becomes of the answer. */
export interface WorkerRequestInit {
  /** The name of the service that is asked. */
  service: string;
  /**
   * The address of the client, as the broker gave it.
   * @default {made of the token}
   */
  client?: Uint8Array;
  /** What the broker knows the request by in the multiplexed dialect, which gives no address. */
  token?: Id;
  /** The frames of the body: one or more from a client of RFC 18, from others maybe none. */
  frames: readonly Uint8Array[];
  /** The headers as they came: a JSON object of strings in UTF-8. */
  headers?: Uint8Array;
  /** Until when an answer is of use, in ms of `performance.now()`. */
  deadline?: number;
  /**
   * How many bytes the body of a part of the answer may have.
   * @default {Infinity}
   */
  maxMessageSize?: number;
  /**
   * Takes a part of the answer.
   *
   * @param request The request it answers.
   * @param command Whether it is the last.
   * @param body Its frames, at least one.
   * @param headers Its headers, if it has any.
   * @returns Nothing if it is on its way, else a promise that resolves when it is.
   */
  send(
    request: WorkerRequest,
    command: "partial" | "final",
    body: Uint8Array[],
    headers?: Uint8Array,
  ): Promise<void> | undefined;
  /**
   * Takes an error instead of the last part. Absent where the dialect has no errors.
   *
   * @param request The request it answers.
   * @param error Its code, message and details.
   * @returns Nothing if it is on its way, else a promise that resolves when it is.
   */
  fail?(request: WorkerRequest, error: ServiceError): Promise<void> | undefined;
  /**
   * Told that it will not be answered.
   *
   * @param request The request.
   */
  abandon(request: WorkerRequest): void;
}

/** Who deals with a failure where the dialect has no errors. */
export type FailureHook = (error: ServiceError) => Promise<void>;

/**
 * Ends a request whose connection is gone: its signal is aborted, an answer is refused. For the
 * worker, which alone knows; so it is no method.
 */
export let loseRequest: (request: WorkerRequest, reason: DisconnectedError) => void;

/**
 * Tells a request that nobody wants its answer any more. It must be ended still, so that its
 * credit comes back.
 */
export let cancelRequest: (request: WorkerRequest, reason: Error) => void;

/** Whether a request is answered or lost. Asking its signal would make one. */
export let isOver: (request: WorkerRequest) => boolean;

/** Whether its connection is lost. */
export let isLost: (request: WorkerRequest) => boolean;

/** What it was cancelled for, if it was. */
export let cancellation: (request: WorkerRequest) => Error | undefined;

/** What the broker knows it by; 0 in RFC 18. */
export let tokenOf: (request: WorkerRequest) => Id;

/** Whether an error can be told to the client. */
export let takesErrors: (request: WorkerRequest) => boolean;

/** Whether `fail()` has been called. */
export let hasFailed: (request: WorkerRequest) => boolean;

/** Says what `fail()` does where the dialect has no errors. */
export let onFailure: (request: WorkerRequest, hook: FailureHook) => void;

/**
 * Has a function called when it is answered or lost, with the error that it was ended with, if it
 * was.
 */
export let onOver: (
  request: WorkerRequest,
  hook: (error: ServiceError | DisconnectedError | undefined) => void,
) => void;

/** `final()` without a promise where none is needed; throws at once. */
export let finish: (request: WorkerRequest, body: Body | undefined) => Promise<void> | undefined;

/**
 * A request that a worker has to answer: any number of PARTIALs, then one FINAL, or where the
 * dialect has it an ERROR.
 *
 * ```text
 *          final(), fail()
 *   open ──────────────────► answered
 *     │   connection lost, abandon()
 *     └──────────────────────────────► lost
 * ```
 *
 * A request that was cancelled, or whose deadline has passed, is still open: its signal is
 * aborted, its PARTIALs are left out, and its end, which nobody gets, makes room for another.
 *
 * A `Worker` makes them. To test a handler without a broker, make one by hand.
 *
 * @example A handler tested by itself
 * ```ts
 * import { WorkerRequest } from "@majortomo/mdp/worker";
 * import assert from "node:assert/strict";
 *
 * const handler = (request: WorkerRequest) => request.text().toUpperCase();
 *
 * const request = new WorkerRequest({
 *   service: "upper",
 *   client: new Uint8Array([1]),
 *   frames: [new TextEncoder().encode("hello")],
 *   send: () => undefined,
 *   abandon: () => {},
 * });
 * assert.equal(handler(request), "HELLO");
 * ```
 */
export class WorkerRequest extends Payload {
  /** The name of the service that was asked: the one that the worker serves. */
  readonly service: string;
  readonly #init: WorkerRequestInit;
  #answered = false;
  #failed = false;
  #lost: DisconnectedError | undefined;
  #cancelled: Error | undefined;
  #onFailure: FailureHook | undefined;
  #onOver: ((error: ServiceError | DisconnectedError | undefined) => void) | undefined;
  /** Made when it is asked for: most handlers do not. */
  #controller: AbortController | undefined;
  #client: Uint8Array | undefined;
  #headers: Readonly<Record<string, string>> | undefined;
  #deadline: Date | undefined;

  static {
    loseRequest = (request, reason) => request.#lose(reason);
    cancelRequest = (request, reason) => {
      if (request.#answered || request.#lost !== undefined) return;
      if (request.#cancelled !== undefined) return;
      request.#cancelled = reason;
      request.#controller?.abort(reason);
    };
    isOver = (request) => request.#answered || request.#lost !== undefined;
    isLost = (request) => request.#lost !== undefined;
    cancellation = (request) => request.#cancelled;
    tokenOf = (request) => request.#init.token ?? 0;
    takesErrors = (request) => request.#init.fail !== undefined;
    hasFailed = (request) => request.#failed;
    onFailure = (request, hook) => request.#onFailure = hook;
    onOver = (request, hook) => request.#onOver = hook;
    finish = (request, body) => request.#send("final", body, undefined);
  }

  /**
   * Makes a request. For tests of handlers; otherwise a worker does it.
   *
   * @param init Its content, and where its answer goes.
   */
  constructor(init: WorkerRequestInit) {
    super(init.frames);
    this.#init = init;
    this.service = init.service;
  }

  /**
   * The address of the client, as the broker gave it: opaque, and the same for one client. The
   * multiplexed dialect gives none; there it is the request's own.
   */
  get client(): Uint8Array {
    return this.#client ??= this.#init.client ?? bytesOf(this.#init.token ?? 0);
  }

  /** The headers that the client sent: none where the dialect has none, or if they are no JSON. */
  get headers(): Readonly<Record<string, string>> {
    return this.#headers ??= headersOf(this.#init.headers);
  }

  /** Until when the client waits for the answer, if it said so and the dialect tells. */
  get deadline(): Date | undefined {
    const { deadline } = this.#init;
    if (deadline === undefined) return undefined;
    return this.#deadline ??= new Date(Date.now() + deadline - performance.now());
  }

  /** Whether its FINAL, or its error, has been given. */
  get isAnswered(): boolean {
    return this.#answered;
  }

  /**
   * Aborted when an answer has become of no use. The reason is
   *
   * - a {@linkcode DisconnectedError} if the broker is lost or said DISCONNECT, the worker stops
   *   and has no more time, or the request was abandoned,
   * - an `AbortError` if the client no longer wants it,
   * - a {@linkcode TimeoutError} if its deadline has passed.
   *
   * It is not aborted after the FINAL.
   */
  get signal(): AbortSignal {
    if (this.#controller === undefined) {
      this.#controller = new AbortController();
      const reason = this.#cancelled ?? this.#lost;
      if (reason !== undefined) this.#controller.abort(reason);
    }
    return this.#controller.signal;
  }

  /**
   * Sends a part of the answer; more are to follow. RFC 18: PARTIAL. Does nothing when the
   * request was cancelled.
   *
   * @param body Its body. Bytes must not be written to until the promise resolves.
   * @param options See {@linkcode PartOptions}.
   * @returns A promise that resolves when the socket has taken it. Who waits for it before
   * going on never runs ahead of a slow broker.
   * @throws {StateError} After the FINAL.
   * @throws {DisconnectedError} If the connection that the request came on is no more.
   * @throws {TypeError} If the body or the options are none, or the headers are no strings,
   * {@linkcode RangeError} if it has more than `maxMessageSize` bytes. It can be answered still.
   */
  // deno-lint-ignore require-await -- what is wrong with the arguments is told by the promise
  async partial(body: Body, options?: PartOptions): Promise<void> {
    return this.#send("partial", body, options);
  }

  /**
   * Sends the last part of the answer. RFC 18: FINAL.
   *
   * @param body Its body. Bytes must not be written to until the promise resolves.
   * @default body {one empty frame}
   * @param options See {@linkcode PartOptions}.
   * @returns A promise that resolves when the socket has taken it.
   * @throws {StateError} After the FINAL.
   * @throws {DisconnectedError} If the connection that the request came on is no more.
   * @throws {TypeError} If the body or the options are none, or the headers are no strings,
   * {@linkcode RangeError} if it has more than `maxMessageSize` bytes. It can be answered still.
   */
  // deno-lint-ignore require-await -- the same
  async final(body?: Body, options?: PartOptions): Promise<void> {
    return this.#send("final", body, options);
  }

  /**
   * Ends the answer with an error, which the client gets as a {@linkcode ServiceError}. RFC 18 has
   * no errors: there it is as if the handler threw this one, and without a handler the request is
   * abandoned.
   *
   * @param code 400 to 599, as in HTTP.
   * @param message What went wrong, in words.
   * @param details More about it, opaque to all in between.
   * @returns A promise that resolves when the socket has taken it.
   * @throws {RangeError} If the code is not a whole number from 400 to 599, or message and details
   * have more than `maxMessageSize` bytes.
   * @throws {TypeError} If the details are no bytes.
   * @throws {StateError} After the FINAL.
   * @throws {DisconnectedError} If the connection that the request came on is no more.
   */
  async fail(code: number, message: string, details?: Uint8Array): Promise<void> {
    const error = new ServiceError(code, message, details);
    const words = error.message, { maxMessageSize } = this.#init;
    bodyFrames(details === undefined ? words : [words, details], maxMessageSize);
    this.#refuseIfOver();
    this.#failed = true;
    if (this.#init.fail !== undefined) {
      this.#answered = true;
      this.#onOver?.(error);
      await this.#init.fail(this, error);
      if (this.#lost !== undefined) throw this.#lost;
    } else if (this.#onFailure !== undefined) await this.#onFailure(error);
    else this.abandon();
  }

  /**
   * Answers with a PARTIAL for each item, and then always with a FINAL. If the request is cancelled
   * the iteration is ended; a stream is cancelled at once.
   *
   * @param items The bodies of the PARTIALs.
   * @param final The body of the FINAL.
   * @default final {one empty frame}
   * @returns A promise that resolves when the socket has taken all.
   * @throws {StateError} After the FINAL.
   * @throws {DisconnectedError} If the connection that the request came on is no more; the
   * iteration is ended.
   * @throws {TypeError} If the items are not iterable, or one is no body, {@linkcode RangeError} if
   * one has more than `maxMessageSize` bytes.
   */
  async replyFrom(items: Iterable<Body> | AsyncIterable<Body>, final?: Body): Promise<void> {
    if (typeof items === "string" || items instanceof Uint8Array) {
      throw new TypeError("replyFrom takes an iterable of bodies, got a body");
    }
    const last = bodyFrames(final, this.#init.maxMessageSize);
    for await (const item of itemsOf(items, this)) {
      // There may be no end to what nobody gets, and no turn of the event loop in between.
      if (this.#cancelled !== undefined) break;
      await this.partial(item);
    }
    await this.final(last);
  }

  /**
   * Gives the request back unanswered. In RFC 18 it is as if the worker had died with it: the
   * worker says DISCONNECT and registers anew, and the broker gives the request to the next worker,
   * unless a PARTIAL has been sent or it was tried too often. In the multiplexed dialect, where
   * that would lose all that the worker has in hand, the client is told: error 503. Does nothing
   * once the request is over.
   */
  abandon(): void {
    if (this.#answered || this.#lost !== undefined) return;
    this.#init.abandon(this);
    this.#lose(new DisconnectedError(`The request for service "${this.service}" was abandoned`));
  }

  #refuseIfOver(): void {
    if (this.#answered) {
      throw new StateError(
        `The request for service "${this.service}" has been answered: its FINAL was sent`,
      );
    }
    if (this.#lost !== undefined) throw this.#lost;
  }

  // All happens in the call: parts leave in the order of the calls, awaited or not.
  #send(
    command: "partial" | "final",
    body: Body | undefined,
    options: PartOptions | undefined,
  ): Promise<void> | undefined {
    this.#refuseIfOver();
    if (options !== undefined) checkOptions("The options of a part", options, { headers: true });
    const headers = headerFrame(options?.headers);
    const frames = bodyFrames(body, this.#init.maxMessageSize, headers);
    if (command === "final") {
      this.#answered = true;
      this.#onOver?.(undefined);
    } else if (this.#cancelled !== undefined) return undefined;
    const pending = this.#init.send(this, command, frames, headers);
    // A connection that is lost while a part waits for room takes the part with it.
    if (pending === undefined) {
      if (this.#lost !== undefined) throw this.#lost;
      return undefined;
    }
    return pending.then(() => {
      if (this.#lost !== undefined) throw this.#lost;
    });
  }

  #lose(reason: DisconnectedError): void {
    if (this.#lost !== undefined) return;
    this.#lost = reason;
    if (!this.#answered) this.#onOver?.(reason);
    this.#controller?.abort(reason);
  }
}

/** What a request is cancelled for when its deadline has passed. */
export function deadlineError(service: string): TimeoutError {
  return new TimeoutError(`The deadline of the request for service "${service}" has passed`);
}

function bytesOf(id: Id): Uint8Array {
  const bytes = new Uint8Array(8);
  new DataView(bytes.buffer).setBigUint64(0, BigInt(id));
  return bytes;
}
