/**
 * The strict dialogue of majortomo's client: one request at a time on a connection of its own,
 * sent and received by separate calls.
 *
 * @module
 */

import { Alarm } from "./alarm.ts";
import { DisconnectedError, type ServiceError, StateError } from "./errors.ts";
import { type Brokers, timeoutError } from "./failover.ts";
import { Gate } from "./gate.ts";
import { type Line, type LineEvents, type Outgoing, quote, type Receiver } from "./line.ts";
import {
  type BodyFrame,
  bodyFrames,
  checkOptions,
  checkSignal,
  type ResolvedClientOptions,
  resolveRequestOptions,
  serviceName,
} from "./options.ts";
import type { ReplyPart } from "./reply.ts";

/** How long `recvPart()` and its kin wait for a part. */
export interface ReceiveOptions {
  /**
   * How long to wait for each part, in ms; 0 takes only what is there already, `Infinity` waits
   * for ever.
   * @default {the client's timeout}
   */
  timeout?: number;
  /** Ends the wait, which fails with the signal's reason. The reply is still due. */
  signal?: AbortSignal;
}

/**
 * One request at a time.
 *
 * ```text
 *                 connect(), send()              send()
 *   disconnected ───────────────────► connected ───────► reply due
 *        ▲                              │    ▲              │   │
 *        │           close()            │    └──── FINAL ───┘   │
 *        └──────────────────────────────┴───────────────────────┘
 *            close(), the connection is lost, or an invalid reply was taken
 * ```
 *
 * A timeout changes nothing: the reply is still due. `connect()` with `reconnect` gives it up.
 */
export class Dialogue implements Receiver {
  readonly #options: ResolvedClientOptions;
  /** Which broker to connect to. */
  readonly brokers: Brokers;
  readonly #dial: (endpoint: string, events: LineEvents) => Line;
  readonly #alarm = new Alarm();
  readonly #gate = new Gate(this.#alarm);
  #line: Line | undefined;
  /** The request whose FINAL was not taken yet. */
  #due: Outgoing | undefined;
  #inbox: ReplyPart[] = [];
  #received = false;
  #broken: Error | undefined;
  #isLost = false;
  /** The call that waits for a part, if one does. */
  #waiter: symbol | undefined;
  /** The end of the connections that there have been. */
  #ended: Promise<unknown> = Promise.resolve();
  #closed = false;

  /**
   * Is not connected.
   *
   * @param dial Makes a connection, which tells when it is lost.
   */
  constructor(
    options: ResolvedClientOptions,
    brokers: Brokers,
    dial: (endpoint: string, events: LineEvents) => Line,
  ) {
    this.#options = options;
    this.brokers = brokers;
    this.#dial = dial;
  }

  /** Whether there is a connection. */
  get isConnected(): boolean {
    return this.#line !== undefined && !this.#isLost;
  }

  /** The request whose reply is due, if one is. */
  get due(): Outgoing | undefined {
    return this.#due;
  }

  /** Connects, if it is not or if it is to do so anew; then no reply is due. */
  connect(reconnect: boolean): void {
    this.#open();
    if (this.#line !== undefined) {
      if (!reconnect && !this.#isLost) return;
      this.#end(0);
    }
    this.#line = this.#dial(this.brokers.current, { onLost: () => this.#lost() });
  }

  /** Sends a request; connects before if needed. */
  send(service: string | Uint8Array, frames: readonly BodyFrame[]): void {
    const request = {
      service: serviceName(service),
      body: bodyFrames(frames, this.#options.maxMessageSize),
      options: {},
    };
    this.#open();
    if (this.#due !== undefined) {
      throw new StateError(
        `Cannot send a request for service ${quote(request.service)}: ` +
          `the reply of service ${quote(this.#due.service)} is still due`,
      );
    }
    this.connect(false);
    this.#due = request;
    this.#received = false;
    this.#line!.ask(request, this);
  }

  /** The next part of the reply, or `undefined` if none is due. */
  async recvPart(timeoutOrOptions?: number | ReceiveOptions): Promise<ReplyPart | undefined> {
    const { timeout, signal } = this.receiveOptions(timeoutOrOptions);
    this.#open();
    signal?.throwIfAborted();
    const request = this.#due;
    if (request === undefined) return undefined;
    if (this.#waiter !== undefined) {
      throw new StateError(
        `Another call waits for the reply of service ${quote(request.service)} already`,
      );
    }
    const waiter = this.#waiter = Symbol();
    try {
      // What has come since the last turn of the event loop is there already.
      if (this.#isBare()) this.#line!.poll();
      if (this.#isBare() && timeout > 0) await this.#wait(timeout, signal);
      return this.#take(request, timeout);
    } finally {
      if (this.#waiter === waiter) this.#waiter = undefined;
    }
  }

  /** The frames of each part of the reply that is still due. */
  recvAll(timeoutOrOptions?: number | ReceiveOptions): AsyncGenerator<Uint8Array[], void> {
    return this.#parts(this.receiveOptions(timeoutOrOptions));
  }

  async *#parts(options: ReceiveOptions): AsyncGenerator<Uint8Array[], void> {
    for (let part; (part = await this.recvPart(options)) !== undefined;) {
      yield [...part.frames];
    }
  }

  /**
   * Ends it for good.
   *
   * @param linger What `send()` has sent may take so long to leave, in ms.
   */
  async close(linger: number): Promise<void> {
    this.#closed = true;
    this.#end(linger);
    this.#alarm.close();
    await this.#ended;
  }

  /** For the line. */
  onPart(part: ReplyPart): void {
    this.#received = true;
    this.brokers.answered(this.#line!.endpoint);
    this.#inbox.push(part);
    this.#gate.wake();
  }

  /** For the line. */
  onError(error: Error): void {
    this.#broken = error;
    this.#gate.wake();
  }

  /** What was received of a reply can still be taken, and why the rest does not come. */
  #lost(): void {
    this.brokers.silent(this.#line!.endpoint);
    this.#isLost = true;
    if (this.#due === undefined) this.#end(0);
  }

  /** For the line. */
  onVoid(why: string, refusal?: ServiceError): void {
    this.onError(
      refusal ?? new DisconnectedError(
        `The connection to the broker at ${quote(this.#line!.endpoint)} ${why} before the ` +
          `request for service ${quote(this.#due!.service)} was answered`,
      ),
    );
  }

  /**
   * Checks the options of a wait and fills in the default.
   *
   * @throws {TypeError} For a wrong type, {@linkcode RangeError} for a time out of range.
   */
  receiveOptions(
    timeoutOrOptions: number | ReceiveOptions = {},
  ): { timeout: number; signal?: AbortSignal } {
    const given = typeof timeoutOrOptions === "object" && timeoutOrOptions !== null
      ? timeoutOrOptions
      : { timeout: timeoutOrOptions };
    checkOptions("The options of a wait", given, { timeout: true, signal: true });
    checkSignal(given.signal);
    const { timeout } = resolveRequestOptions({ timeout: given.timeout }, this.#options);
    return { timeout, signal: given.signal };
  }

  #take(request: Outgoing, timeout: number): ReplyPart {
    if (this.#due !== request) throw this.#givenUp(request);
    const part = this.#inbox.shift();
    if (part !== undefined) {
      if (part.type === "final") {
        this.#due = undefined;
        if (this.#isLost) this.#end(0);
      }
      return part;
    }
    if (this.#broken !== undefined) {
      const error = this.#broken;
      this.#end(0);
      throw error;
    }
    const { endpoint } = this.#line!;
    if (!this.#received && timeout > 0) this.brokers.silent(endpoint);
    throw timeoutError(request.service, {
      endpoints: [endpoint],
      limit: `timeout of ${timeout} ms`,
      attempts: 1,
      begun: this.#received,
    });
  }

  #givenUp({ service }: Outgoing): StateError {
    const what = this.#closed ? "The client was closed" : "The client was connected anew";
    return new StateError(`${what} before the request for service ${quote(service)} was answered`);
  }

  async #wait(timeout: number, signal: AbortSignal | undefined): Promise<void> {
    const onAbort = () => this.#giveUp(signal!.reason);
    signal?.addEventListener("abort", onAbort);
    try {
      const inTime = await this.#gate.wait(timeout);
      // If the event loop was busy all the time, it may be there and not have been seen.
      if (!inTime) this.#line?.poll();
    } finally {
      signal?.removeEventListener("abort", onAbort);
    }
  }

  /** Ends the wait for a part: another may begin at once. */
  #giveUp(reason: unknown): void {
    this.#waiter = undefined;
    this.#gate.fail(reason);
  }

  #isBare(): boolean {
    return this.#inbox.length === 0 && this.#broken === undefined;
  }

  /** Ends the connection, and with it the wait for a reply if there is one. */
  #end(linger: number): void {
    if (this.#line === undefined) return;
    if (this.#due !== undefined) this.#giveUp(this.#givenUp(this.#due));
    this.#ended = Promise.all([this.#ended, this.#line.close(linger)]);
    this.#line = undefined;
    this.#due = undefined;
    this.#inbox = [];
    this.#broken = undefined;
    this.#isLost = false;
  }

  #open(): void {
    if (this.#closed) throw new StateError("The client is closed");
  }
}
