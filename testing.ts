/**
 * For tests of what is built on this package: {@linkcode MockClient}, a client without a broker
 * that gives the replies it is told, and {@linkcode startBroker}, a real broker in the process.
 *
 * @example A test of code that asks a service
 * ```ts
 * import { MockClient } from "@majortomo/mdp/testing";
 *
 * await using client = new MockClient();
 * client.reply("sum", (request) => {
 *   const numbers = request.json<number[]>();
 *   return String(numbers.reduce((sum, each) => sum + each, 0));
 * });
 * const reply = await client.request("sum", "[1, 2, 3]");
 * console.log(reply.json(), client.requests.length);
 * ```
 *
 * @module
 */

import { Broker, type BrokerOptions } from "./broker.ts";
import { Calls } from "./calls.ts";
import type { ClientLike } from "./client.ts";
import { Dialogue, type ReceiveOptions } from "./dialogue.ts";
import { ServiceError } from "./errors.ts";
import { Brokers, timeoutError } from "./failover.ts";
import type { Line, Outgoing, Receiver } from "./line.ts";
import { failureOf } from "./link.ts";
import {
  type Body,
  type BodyFrame,
  bodyFrames,
  BROKER_OPTIONS,
  checkOptions,
  type ClientOptions,
  type ConnectOptions,
  headerFrame,
  headersOf,
  isReconnect,
  type RequestOptions,
  resolveClientOptions,
  type ResolvedClientOptions,
  serviceName,
  withoutUndefined,
} from "./options.ts";
import { type Exchange, refuse, type Transport } from "./pool.ts";
import { Payload, type Reply, ReplyPart } from "./reply.ts";

export * from "./broker.ts";
export type { ClientLike } from "./client.ts";
export type { DialectName } from "./codec.ts";
export type { ReceiveOptions } from "./dialogue.ts";
export type {
  Body,
  BodyFrame,
  ClientOptions,
  ConnectOptions,
  DialectOption,
  RequestOptions,
} from "./options.ts";
export { Payload, Reply, ReplyPart } from "./reply.ts";

/** A request that a {@linkcode MockClient} got. */
export class MockRequest extends Payload {
  /** The name of the service. */
  readonly service: string;
  /** The options that the call was given; empty for one of `send()`. */
  readonly options: RequestOptions;
  /** The headers among them, as a worker would get them. */
  readonly headers: Readonly<Record<string, string>>;

  /**
   * Makes a record of a request.
   *
   * @param service The name of the service.
   * @param frames The body.
   * @param options The options of the call.
   */
  constructor(service: string, frames: readonly Uint8Array[], options: RequestOptions) {
    super(frames);
    this.service = service;
    this.options = options;
    this.headers = headersOf(headerFrame(options.headers));
  }
}

/** A part of a reply with headers. */
export interface MockPart {
  /**
   * Its body.
   * @default {one empty frame}
   */
  body?: Body;
  /** What the worker says about it, by name. */
  headers: Readonly<Record<string, string>>;
}

/** A reply with PARTIALs before its end. */
export interface MockParts {
  /** The bodies of the PARTIALs, with headers or without. */
  partials: readonly (Body | MockPart)[];
  /**
   * The body of the FINAL, with headers or without; or an error, with which the reply ends instead.
   * @default {one empty frame}
   */
  final?: Body | MockPart | Error;
}

/**
 * What a {@linkcode MockClient} answers: the body of a FINAL, one with headers, a reply in parts,
 * or the error that the call fails with. Of a `ServiceError` the caller gets code, message and
 * details, also in the strict dialogue and in the dialects that have no errors, where a `Client` would
 * see a `TimeoutError`; after 502 and 503 it asks again first, as far as its `retries` go.
 */
export type MockAnswer = Body | MockPart | MockParts | Error;

/**
 * An answer, or a function that makes one for each request. What it throws is what the call
 * fails with.
 */
export type MockReply = MockAnswer | ((request: MockRequest) => MockAnswer | Promise<MockAnswer>);

/**
 * A client without a broker, for tests of code that uses a `Client`: it gives the replies that it
 * is told and records the requests. It has the methods of `Client` (both are `ClientLike`s), and
 * deals with arguments, options, signals, the strict dialogue and `close()` as that does.
 *
 * majortomo calls it `MockMDPClient`.
 *
 * @example
 * ```ts
 * import { MockClient } from "@majortomo/mdp/testing";
 * import { ServiceError, TimeoutError } from "@majortomo/mdp/client";
 *
 * await using client = new MockClient();
 * client.setReply("for any service");
 * client.reply("report", { partials: ["10 %", "60 %"], final: "done" });
 * // The first request fails, those after it do not.
 * client.reply("flaky", new ServiceError(503, "Busy"), "fine");
 * client.reply("cached", { body: "42", headers: { age: "7" } });
 *
 * for await (const part of client.stream("report")) console.log(part.type, part.text());
 * console.log(client.requests[0]?.service);
 *
 * client.raiseTimeout = true;
 * const error = await client.request("report").catch((error) => error);
 * console.log(error instanceof TimeoutError);
 * ```
 */
export class MockClient implements ClientLike {
  /** All requests that were sent, the first one first. To forget them, set its length to 0. */
  readonly requests: MockRequest[] = [];
  /**
   * Whether every wait for a part fails with a `TimeoutError`: at once, the time that was given
   * for it does not really pass.
   * @default {false}
   */
  raiseTimeout = false;

  readonly #options: ResolvedClientOptions;
  readonly #calls: Calls;
  readonly #dialogue: MockDialogue;
  /** By service; the first is next, the last one stays. */
  readonly #replies = new Map<string, MockReply[]>();
  #default: MockReply | undefined;
  #closed: Promise<void> | undefined;

  /**
   * Makes a client without replies.
   *
   * @param options As for a `Client`. The brokers are only named in errors.
   * @throws {TypeError} If an option has the wrong type, {@linkcode RangeError} if it is out of
   * range.
   */
  constructor(options: ClientOptions | string | readonly string[] = {}) {
    const resolved = this.#options = resolveClientOptions(options);
    const brokers = new Brokers(resolved.brokers);
    const answer = (request: Outgoing) => this.#answer(request);
    const transport: Transport = {
      open: (...asked) => this.#open(...asked),
      suspect: (_endpoint, onSilent) => onSilent(),
      isMute: () => false,
      close: () => Promise.resolve(),
    };
    this.#calls = new Calls(resolved, transport, brokers);
    this.#dialogue = new MockDialogue(
      resolved,
      brokers,
      (endpoint) => new MockLine(endpoint, answer),
    );
    this.#dialogue.isLate = () => this.raiseTimeout;
  }

  /**
   * Sets the reply to requests for services that have no reply of their own. majortomo calls it
   * `set_reply`.
   *
   * @param frames The body of the FINAL. Default: one empty frame.
   * @throws {TypeError} If a frame is neither text nor bytes.
   */
  setReply(...frames: BodyFrame[]): void {
    this.#default = bodyFrames(frames);
  }

  /**
   * Sets the reply to requests for a service, in place of the one before.
   *
   * @param service The name of the service: text (UTF-8) or bytes, 1 to 65,535.
   * @param reply What to answer.
   * @param later What to answer to the requests after the first, one each; the last one answers
   * all that follow.
   * @throws {TypeError} If an argument has the wrong type.
   */
  reply(service: string | Uint8Array, reply: MockReply, ...later: MockReply[]): void {
    const replies = [reply, ...later];
    for (const each of replies) if (typeof each !== "function") partsOf(each);
    this.#replies.set(nameOf(serviceName(service)), replies);
  }

  /**
   * As `Client.request()`.
   *
   * @param service The name of the service.
   * @param body The body. Default: one empty frame.
   * @param options The options of the call.
   * @returns The reply that was set.
   * @throws {Error} If none was set for the service; or the error that was set.
   * @throws {TimeoutError} If `raiseTimeout` is true; or if a function that makes the reply takes
   * longer than the timeout or deadline, or the error that was set is a `ServiceError` 504 and there
   * is a deadline.
   * @throws {StateError} If the client is closed, or the dialect that it was made with cannot keep an
   * option.
   */
  async request(
    service: string | Uint8Array,
    body?: Body,
    options: RequestOptions = {},
  ): Promise<Reply> {
    return await this.#calls.make(service, body, options).collect();
  }

  /**
   * As `Client.stream()`.
   *
   * @param service The name of the service.
   * @param body The body. Default: one empty frame.
   * @param options The options of the call.
   * @returns The parts of the reply that was set. Taking one throws what `request()` rejects with.
   */
  stream(
    service: string | Uint8Array,
    body?: Body,
    options: RequestOptions = {},
  ): AsyncGenerator<ReplyPart, void, undefined> {
    return this.#calls.make(service, body, options).stream();
  }

  /** As `Client.isConnected`: whether `connect()` or `send()` was called. */
  get isConnected(): boolean {
    return this.#dialogue.isConnected;
  }

  /**
   * As `Client.connect()`.
   *
   * @param options Whether to give up a reply that is due.
   * @throws {StateError} If the client is closed.
   * @throws {TypeError} If the options are none.
   */
  connect(options: ConnectOptions | boolean = false): void {
    this.#dialogue.connect(isReconnect(options));
  }

  /**
   * As `Client.send()`.
   *
   * @param service The name of the service.
   * @param frames The body. Default: one empty frame.
   * @throws {StateError} If a reply is still due, or the client is closed.
   */
  send(service: string | Uint8Array, ...frames: BodyFrame[]): void {
    this.#dialogue.send(service, frames);
  }

  /**
   * As `Client.recvPart()`.
   *
   * @param timeout How long to wait, in ms, or {@linkcode ReceiveOptions}.
   * @returns The frames of the part, or `undefined` if none is due.
   * @throws {TimeoutError} If `raiseTimeout` is true. The reply is still due.
   */
  async recvPart(timeout?: number | ReceiveOptions): Promise<Uint8Array[] | undefined> {
    const part = await this.#dialogue.recvPart(timeout);
    return part && [...part.frames];
  }

  /**
   * As `Client.recvAll()`.
   *
   * @param timeout How long to wait for each part, in ms, or {@linkcode ReceiveOptions}.
   * @returns The frames of each part. Taking one throws what `recvPart()` rejects with.
   */
  recvAll(timeout?: number | ReceiveOptions): AsyncGenerator<Uint8Array[], void, undefined> {
    return this.#dialogue.recvAll(timeout);
  }

  /**
   * As `Client.recvAllAsList()`.
   *
   * @param timeout How long to wait for each part, in ms, or {@linkcode ReceiveOptions}.
   * @returns The frames of all parts, in one list.
   * @throws What `recvPart()` rejects with.
   */
  async recvAllAsList(timeout?: number | ReceiveOptions): Promise<Uint8Array[]> {
    const frames: Uint8Array[] = [];
    for await (const part of this.recvAll(timeout)) frames.push(...part);
    return frames;
  }

  /**
   * As `Client.close()`: calls that wait fail, and so do later ones.
   *
   * @returns A promise of the end, the same for each call.
   */
  close(): Promise<void> {
    if (this.#closed === undefined) {
      this.#calls.close();
      this.#closed = this.#dialogue.close(0);
    }
    return this.#closed;
  }

  /** `close()`, for `await using`. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  #open(
    endpoint: string,
    request: Outgoing,
    receiver: Receiver,
    deadlineAt: number,
  ): Exchange {
    const { multiplexed, dialect } = this.#options;
    if (multiplexed === "never") refuse(request, dialect.name);
    const line = new MockLine(endpoint, (request) => {
      if (!this.raiseTimeout) return this.#answer(request);
      // Nobody gets it, however it may fail.
      Promise.try(() => this.#answer(request)).catch(() => {});
      return lateReply(endpoint, request, request.options.timeout ?? this.#options.timeout);
    }, deadlineAt);
    line.ask(request, receiver);
    return { poll: () => {}, abandon: () => void line.close() };
  }

  #answer({ service, body, options }: Outgoing): MockAnswer | Promise<MockAnswer> {
    const name = nameOf(service);
    // A copy: the caller may use its bytes for something else after the call.
    const frames = body.map((frame) => frame.slice());
    const request = new MockRequest(name, frames, withoutUndefined(options));
    this.requests.push(request);
    const replies = this.#replies.get(name);
    const reply = replies === undefined
      ? this.#default
      : replies.length > 1
      ? replies.shift()
      : replies[0];
    if (typeof reply === "function") return reply(request);
    // No MdpError, which the code under test may expect and deal with.
    return reply ?? new Error(
      `MockClient has no reply for service ${JSON.stringify(name)}: set one with reply() or ` +
        `setReply()`,
    );
  }
}

/** The error that a client throws after a timeout, made at once. */
function lateReply(endpoint: string, { service }: Outgoing, timeout: number): Error {
  const limit = `timeout of ${timeout} ms`;
  return timeoutError(service, { endpoints: [endpoint], limit, attempts: 1, begun: false });
}

/** A dialogue in which every wait for a part can be made to fail. */
class MockDialogue extends Dialogue {
  /** Whether it is so now. */
  isLate: () => boolean = () => false;

  override async recvPart(given?: number | ReceiveOptions): Promise<ReplyPart | undefined> {
    const { timeout } = this.receiveOptions(given);
    if (this.due !== undefined && this.isLate()) {
      throw lateReply(this.brokers.current, this.due, timeout);
    }
    return await super.recvPart(given);
  }
}

/** A connection to nothing, on which answers are made. */
class MockLine implements Line {
  readonly endpoint: string;
  readonly #answer: (request: Outgoing) => MockAnswer | Promise<MockAnswer>;
  readonly #deadlineAt: number;
  #closed = false;

  constructor(
    endpoint: string,
    answer: (request: Outgoing) => MockAnswer | Promise<MockAnswer>,
    deadlineAt = Infinity,
  ) {
    this.endpoint = endpoint;
    this.#answer = answer;
    this.#deadlineAt = deadlineAt;
  }

  ask(request: Outgoing, receiver: Receiver): void {
    const deliver = (answer: MockAnswer) => this.#deliver(answer, request, receiver);
    const fail = (error: unknown) => deliver(asError(error));
    try {
      const answer = this.#answer(request);
      if (!(answer instanceof Promise)) return deliver(answer);
      answer.then(deliver).catch(fail);
    } catch (error) {
      fail(error);
    }
  }

  poll(): void {}

  close(): Promise<void> {
    this.#closed = true;
    return Promise.resolve();
  }

  #deliver(answer: MockAnswer, request: Outgoing, receiver: Receiver): void {
    const { partials, final } = partsOf(answer);
    if (this.#closed) return;
    for (const part of partials) receiver.onPart(part);
    if (final instanceof ReplyPart) receiver.onPart(final);
    // They say nothing against the request: as far as its retries go it is made again.
    else if (final instanceof ServiceError && [502, 503].includes(final.code)) {
      receiver.onVoid("was refused", final);
    } else if (final instanceof ServiceError) {
      receiver.onError(failureOf(final, request, this.#deadlineAt));
    } else receiver.onError(final);
  }
}

function partsOf(answer: MockAnswer): { partials: ReplyPart[]; final: ReplyPart | Error } {
  const isParts = typeof answer === "object" && answer !== null && "partials" in answer;
  const { partials, final } = isParts ? answer : { partials: [], final: answer };
  if (!Array.isArray(partials)) {
    const shown = Deno.inspect(partials, { depth: 0 });
    throw new TypeError(`partials are a list of bodies, got ${shown}`);
  }
  return {
    partials: partials.map((part) => partOf("partial", part)),
    final: final instanceof Error ? final : partOf("final", final),
  };
}

function partOf(type: "partial" | "final", part: Body | MockPart | undefined): ReplyPart {
  const hasHeaders = typeof part === "object" && part !== null && "headers" in part;
  const { body, headers } = hasHeaders ? part : { body: part, headers: undefined };
  return new ReplyPart(type, bodyFrames(body), headerFrame(headers));
}

function asError(error: unknown): Error {
  return error instanceof Error ? error : new Error(String(error), { cause: error });
}

function nameOf(service: Uint8Array): string {
  return new TextDecoder().decode(service);
}

/** A broker that {@linkcode startBroker} has started. */
export interface TestBroker extends AsyncDisposable {
  /** Where it listens; the first endpoint, if it has several. */
  readonly endpoint: string;
  /** The broker: `broker.stats()` tells what it has seen. */
  readonly broker: Broker;
  /** Stops it. Resolves when it is gone. */
  close(): Promise<void>;
}

/**
 * Starts a real broker in this process, on a free port of the loopback interface unless told
 * otherwise: workers and clients can be tested against it in a fraction of a second.
 *
 * @param options See {@linkcode BrokerOptions}.
 * @returns The broker, serving.
 * @throws {TypeError} If an option has the wrong type, {@linkcode RangeError} if it is out of
 * range.
 * @throws {ZmqError} If an endpoint cannot be bound.
 *
 * @example
 * ```ts no-eval
 * import { startBroker } from "@majortomo/mdp/testing";
 * import { Client, Worker } from "@majortomo/mdp";
 *
 * await using broker = startBroker();
 * await using worker = new Worker({ broker: broker.endpoint, service: "upper" });
 * worker.serve((request) => request.text().toUpperCase());
 *
 * await using client = new Client(broker.endpoint);
 * console.log((await client.request("upper", "hello")).text());
 * ```
 */
export function startBroker(options: BrokerOptions = {}): TestBroker {
  checkOptions("A broker's options", options, BROKER_OPTIONS);
  const broker = new Broker({ ...options, bind: options.bind ?? "tcp://127.0.0.1:*" });
  const endpoint = broker.bind()[0]!;
  const ended = broker.run();
  const close = async () => {
    await broker.close();
    await ended;
  };
  return { endpoint, broker, close, [Symbol.asyncDispose]: close };
}
