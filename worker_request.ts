/**
 * A request in the hands of a worker: what the client sent, and the way to answer it.
 *
 * @module
 */

import { DisconnectedError, StateError } from "./errors.ts";
import { type Body, bodyFrames } from "./options.ts";
import { Payload } from "./reply.ts";

/** What a {@linkcode WorkerRequest} is made of: its content, and what becomes of the answer. */
export interface WorkerRequestInit {
  /** The name of the service that is asked. */
  service: string;
  /** The address of the client, as the broker gave it. */
  client: Uint8Array;
  /** The frames of the body: one or more from a client of RFC 18, from majortomo's maybe none. */
  frames: readonly Uint8Array[];
  /**
   * Takes a part of the answer.
   *
   * @param request The request it answers.
   * @param command Whether it is the last.
   * @param body Its frames, at least one.
   * @returns Nothing if it is on its way, else a promise that resolves when it is.
   */
  send(
    request: WorkerRequest,
    command: "partial" | "final",
    body: Uint8Array[],
  ): Promise<void> | undefined;
  /**
   * Told that it will not be answered.
   *
   * @param request The request.
   */
  abandon(request: WorkerRequest): void;
}

/**
 * Ends a request whose connection is gone: its signal is aborted, an answer is refused. For the
 * worker, which alone knows; so it is no method.
 */
export let loseRequest: (request: WorkerRequest, reason: DisconnectedError) => void;

/** Whether a request is answered or lost. Asking its signal would make one. */
export let isOver: (request: WorkerRequest) => boolean;

/**
 * A request that a worker has to answer: any number of PARTIALs, then one FINAL.
 *
 * ```text
 *             final()
 *   open ──────────────► answered
 *     │   connection lost, abandon()
 *     └──────────────────────────────► lost
 * ```
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
  /** The address of the client, as the broker gave it: opaque, and the same for one client. */
  readonly client: Uint8Array;
  readonly #init: WorkerRequestInit;
  #answered = false;
  #lost: DisconnectedError | undefined;
  /** Made when it is asked for: most handlers do not. */
  #controller: AbortController | undefined;

  static {
    loseRequest = (request, reason) => request.#lose(reason);
    isOver = (request) => request.#answered || request.#lost !== undefined;
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
    this.client = init.client;
  }

  /** Whether its FINAL has been given. */
  get isAnswered(): boolean {
    return this.#answered;
  }

  /**
   * Aborted when an answer has become of no use: the broker is lost or said DISCONNECT, the
   * worker stops and has no more time, or the request was abandoned. The reason is a
   * {@linkcode DisconnectedError}. It is not aborted after the FINAL.
   */
  get signal(): AbortSignal {
    if (this.#controller === undefined) {
      this.#controller = new AbortController();
      if (this.#lost !== undefined) this.#controller.abort(this.#lost);
    }
    return this.#controller.signal;
  }

  /**
   * Sends a part of the answer; more are to follow. RFC 18: PARTIAL.
   *
   * @param body Its body. Bytes must not be written to until the promise resolves.
   * @returns A promise that resolves when the socket has taken it. Who waits for it before
   * going on never runs ahead of a slow broker.
   * @throws {StateError} After the FINAL.
   * @throws {DisconnectedError} If the connection that the request came on is no more.
   * @throws {TypeError} If the body is none.
   */
  partial(body: Body): Promise<void> {
    return this.#send("partial", body);
  }

  /**
   * Sends the last part of the answer. RFC 18: FINAL.
   *
   * @param body Its body. Bytes must not be written to until the promise resolves.
   * @default body {one empty frame}
   * @returns A promise that resolves when the socket has taken it.
   * @throws {StateError} After the FINAL.
   * @throws {DisconnectedError} If the connection that the request came on is no more.
   * @throws {TypeError} If the body is none.
   */
  final(body?: Body): Promise<void> {
    return this.#send("final", body);
  }

  /**
   * Answers with a PARTIAL for each item, and then always with a FINAL.
   *
   * @param items The bodies of the PARTIALs.
   * @param final The body of the FINAL.
   * @default final {one empty frame}
   * @returns A promise that resolves when the socket has taken all.
   * @throws {StateError} After the FINAL.
   * @throws {DisconnectedError} If the connection that the request came on is no more; the
   * iteration is ended.
   * @throws {TypeError} If the items are not iterable, or one is no body.
   */
  async replyFrom(items: Iterable<Body> | AsyncIterable<Body>, final?: Body): Promise<void> {
    if (typeof items === "string" || items instanceof Uint8Array) {
      throw new TypeError("replyFrom takes an iterable of bodies, got a body");
    }
    const last = bodyFrames(final);
    for await (const item of items) await this.partial(item);
    await this.final(last);
  }

  /**
   * Gives the request back unanswered, as if the worker had died with it: the worker says
   * DISCONNECT and registers anew, and the broker gives the request to the next worker, unless a
   * PARTIAL has been sent or it was tried too often. Does nothing once the request is over.
   */
  abandon(): void {
    if (this.#answered || this.#lost !== undefined) return;
    this.#init.abandon(this);
    this.#lose(new DisconnectedError(`The request for service "${this.service}" was abandoned`));
  }

  // Up to the first await all happens in the call: parts leave in the order of the calls,
  // awaited or not.
  async #send(command: "partial" | "final", body: Body | undefined): Promise<void> {
    if (this.#answered) {
      throw new StateError(
        `The request for service "${this.service}" has been answered: its FINAL was sent`,
      );
    }
    if (this.#lost !== undefined) throw this.#lost;
    const frames = bodyFrames(body);
    if (command === "final") this.#answered = true;
    await this.#init.send(this, command, frames);
    // A connection that is lost while a part waits for room takes the part with it.
    if (this.#lost !== undefined) throw this.#lost;
  }

  #lose(reason: DisconnectedError): void {
    if (this.#lost !== undefined) return;
    this.#lost = reason;
    this.#controller?.abort(reason);
  }
}
