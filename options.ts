/**
 * The options of `Broker`, `Client` and `Worker`: what they mean, their defaults, and their
 * validation, which is done whole before anything happens. Durations are in milliseconds.
 *
 * @module
 */

import { type Dialect, type DialectName, DIALECTS } from "./codec.ts";

/**
 * What a client or worker speaks.
 *
 * - `"auto"`: asks the broker each time it connects, and speaks the multiplexed dialect if the
 *   broker does, else RFC 18. One that does not answer is given a second, in which requests wait.
 * - `"multiplexed"`: that dialect, whatever the broker says; one that does not know it is silent.
 * - `"rfc"`: RFC 18, which any broker of MDP 0.2 knows.
 * - `"majortomo"`: what the Python project's broker speaks, which takes no other.
 */
export type DialectOption = "auto" | DialectName;

/** Where a broker listens and its peers look for it, unless told otherwise. */
export const DEFAULT_ENDPOINT = "tcp://127.0.0.1:5555";

/** Options of a broker. All may be left out. */
export interface BrokerOptions {
  /**
   * The endpoint or endpoints to listen at: `tcp://ADDRESS:PORT`, with `*` for any address of IPv4,
   * `[*]` for any of both, and `*` for a free port; `ipc://PATH`; or, for clients and workers in the
   * same process, `inproc://NAME`.
   * @default {"tcp://127.0.0.1:5555"}
   */
  bind?: string | readonly string[];
  /**
   * A worker that was sent nothing for this long, in ms, is sent a HEARTBEAT; up to a hundredth of
   * that earlier, so that those of many workers leave together.
   * @default {2500}
   */
  heartbeatInterval?: number;
  /**
   * A worker that sent nothing for this long, in ms, is held for dead. At least the interval.
   * @default {10000}
   */
  heartbeatTimeout?: number;
  /**
   * The same, in ms, for a worker with a request that has never sent a heartbeat while it had one.
   * @default {900000}
   */
  busyWorkerTimeout?: number;
  /**
   * How long a request waits for a service that has no worker, in ms; 0 or `Infinity` is for ever.
   * @default {60000}
   */
  requestExpiry?: number;
  /**
   * How often a request is given to a worker at most, when one worker after the other is lost.
   * @default {3}
   */
  maxAttempts?: number;
  /**
   * How many requests may wait for one service.
   * @default {100000}
   */
  maxQueue?: number;
  /**
   * How many bytes of body they may have together; beyond 16 frames of
   * one body, each counts 64 more.
   * @default {268435456}
   */
  maxQueueBytes?: number;
  /**
   * How many requests may wait for all services together.
   * @default {1000000}
   */
  maxTotalQueue?: number;
  /**
   * How many bytes of body they may have together, counted in the same way.
   * @default {1073741824}
   */
  maxTotalQueueBytes?: number;
  /**
   * How many requests of one client may wait, for all services together. A client is a connection:
   * one of RFC 18 that uses a connection for each request has as many of these bounds.
   * @default {Infinity}
   */
  maxClientQueue?: number;
  /**
   * How many bytes of body they may have together, counted in the same way.
   * @default {Infinity}
   */
  maxClientQueueBytes?: number;
  /**
   * How many bytes the body of one message may have, counted in the same way: what has more is
   * dropped. A peer that sends one frame above it, or above 2 GiB, is cut off.
   * @default {134217728}
   */
  maxMessageSize?: number;
  /**
   * How many messages may be on their way to one peer that does not take them. What comes for
   * it beyond that is dropped.
   * @default {100000}
   */
  sendHighWaterMark?: number;
  /**
   * How long work in flight may go on after a stop, in ms.
   * @default {0}
   */
  drain?: number;
  /**
   * How long messages to peers that do not take them outlive the broker's end, in ms.
   * @default {500}
   */
  linger?: number;
  /**
   * What speaks ZMTP: `"auto"` is the broker itself on Linux, where it listens at addresses of `tcp:`
   * and paths of `ipc:` alone, and libzmq elsewhere; `"libzmq"` is libzmq anywhere.
   * @default {"auto"}
   */
  transport?: "auto" | "libzmq";
}

/** The options of a broker that can change while it runs. */
export type LiveBrokerOptions = Omit<
  BrokerOptions,
  "bind" | "maxMessageSize" | "sendHighWaterMark" | "transport"
>;

/** The options that a broker can only be made with: see {@linkcode Broker.reconfigure}. */
const FIXED = ["bind", "maxMessageSize", "sendHighWaterMark", "transport"] as const;

/** Options of a client. */
export interface ClientOptions {
  /**
   * The endpoint of the broker, or those of several in the order of preference: after a failure
   * the next one is used. A host in brackets is one of IPv6, also if it is a name.
   * @default {"tcp://127.0.0.1:5555"}
   */
  broker?: string | readonly string[];
  /**
   * What to speak; see {@linkcode DialectOption}. The strict dialogue speaks RFC 18, or
   * majortomo's dialect if that is named.
   * @default {"auto"}
   */
  dialect?: DialectOption;
  /**
   * How long to wait for each part of a reply, in ms; 0 takes only what is there already,
   * `Infinity` waits for ever.
   * @default {30000}
   */
  timeout?: number;
  /**
   * How long a whole call may take, in ms, with all its parts and retries.
   * @default {Infinity}
   */
  deadline?: number;
  /**
   * How often a request is sent again after a timeout, to the next broker if there are several: in
   * RFC 18 on a new connection, multiplexed on the same until that is held for lost. Services must
   * be idempotent (RFC 18). After the loss of a connection it is sent again at once, and at least
   * one time even if this is 0. Multiplexed dialect: also after `ServiceError` 502 (its worker was
   * lost) and 503 (the broker stops).
   * @default {as many as there are brokers, less one: each is tried once}
   */
  retries?: number;
  /**
   * The pause before the first retry, in ms; it doubles with each, and a random half of it is
   * left out.
   * @default {100}
   */
  backoff?: number;
  /**
   * The pause it grows to at most, in ms.
   * @default {5000}
   */
  maxBackoff?: number;
  /**
   * How many requests may be in flight at once; more wait for their turn. A handler that asks another
   * service by the client that its own callers use can wait for a turn that they have: give it one of
   * its own.
   * @default {256}
   */
  maxInFlight?: number;
  /**
   * Multiplexed dialect: while requests are in flight, and until the broker has said something
   * since the last was sent, a HEARTBEAT is sent once in this time, in ms.
   * @default {2500}
   */
  heartbeatInterval?: number;
  /**
   * Multiplexed dialect: a broker that sent nothing for this long while requests are in flight,
   * in ms, is held for lost. At least the interval.
   * @default {10000}
   */
  heartbeatTimeout?: number;
  /**
   * How long a request that `send()` has sent outlives `close()` until it has left, in ms.
   * @default {2000}
   */
  linger?: number;
  /**
   * How many bytes a frame of a reply may have, and the body of a request: a broker cuts off who
   * sends it a frame beyond its own `maxMessageSize`, which is the same if nobody says otherwise.
   * @default {134217728}
   */
  maxMessageSize?: number;
}

/** Options of one call, before those of the client. */
export interface RequestOptions {
  /** As in {@linkcode ClientOptions}. */
  timeout?: number;
  /** As in {@linkcode ClientOptions}. */
  deadline?: number;
  /** As in {@linkcode ClientOptions}. */
  retries?: number;
  /**
   * Ends the call; it fails with the signal's reason. In the multiplexed dialect the worker is
   * told; in the others what it does goes on.
   */
  signal?: AbortSignal;
  /**
   * Fails at once, with `ServiceError` 404, if no worker serves the service now. RFC 18 has no
   * such request: there the broker is asked by `mmi.service` first, which takes a round trip, and
   * a worker that leaves just then is not noticed. A broker that cannot tell is a `StateError`, and
   * so is this option in majortomo's dialect; the request is not sent.
   * @default {false}
   */
  noWait?: boolean;
  /**
   * Never given to a second worker, and never sent again: if its worker is lost the call fails
   * with `ServiceError` 502, if the connection is, with `DisconnectedError`. Only in the
   * multiplexed dialect; elsewhere a `StateError`, and nothing is sent.
   * @default {false}
   */
  once?: boolean;
  /**
   * Text about the request for the worker, by name. Only in the multiplexed dialect; elsewhere a
   * `StateError`, and nothing is sent. A worker of RFC 18 behind a multiplexed broker does not
   * get them.
   */
  headers?: Readonly<Record<string, string>>;
}

/** Options of a worker. */
export interface WorkerOptions {
  /**
   * The endpoint of the broker, or those of several: after a failure the next one is used. A host
   * in brackets is one of IPv6, also if it is a name.
   * @default {"tcp://127.0.0.1:5555"}
   */
  broker?: string | readonly string[];
  /** The name of the service that it serves: text (sent as UTF-8) or bytes, 1 to 65,535. */
  service: string | Uint8Array;
  /**
   * What to speak; see {@linkcode DialectOption}.
   * @default {"auto"}
   */
  dialect?: DialectOption;
  /**
   * A broker that was sent nothing for this long, in ms, is sent a HEARTBEAT.
   * @default {2500}
   */
  heartbeatInterval?: number;
  /**
   * A broker that sent nothing for this long, in ms, is held for lost. At least the interval.
   * @default {10000}
   */
  heartbeatTimeout?: number;
  /**
   * How many requests it takes at once. In the multiplexed dialect all share one connection; in
   * the others it is that many logical workers, each with a socket.
   * @default {1}
   */
  concurrency?: number;
  /**
   * The pause before it connects anew after the broker was lost, in ms; it doubles each time,
   * and a random half of it is left out.
   * @default {100}
   */
  backoff?: number;
  /**
   * The pause it grows to at most, in ms.
   * @default {5000}
   */
  maxBackoff?: number;
  /**
   * How long requests in hand may go on after a stop, in ms.
   * @default {5000}
   */
  drain?: number;
  /**
   * How long replies outlive `close()` until they have left, in ms.
   * @default {2500}
   */
  linger?: number;
  /**
   * How many bytes a frame of a request may have, and the body of a part of an answer: a broker cuts
   * off who sends it a frame beyond its own `maxMessageSize`, which is the same if nobody says
   * otherwise.
   * @default {134217728}
   */
  maxMessageSize?: number;
  /**
   * Called when a broker has taken it, and again each time after it was lost: it is given work from
   * now on. In the multiplexed dialect the broker has said so. In the others brokers say nothing:
   * there it is told when the connection stands.
   *
   * @param broker The endpoint of the broker.
   */
  onRegistered?: (broker: string) => void;
}

/** How `connect()` treats connections that are there. */
export interface ConnectOptions {
  /**
   * Whether to give them up, with what is due on them, and connect anew.
   * @default {false}
   */
  reconnect?: boolean;
}

/** Options of a broker, checked and whole. */
export interface ResolvedBrokerOptions extends Required<Omit<BrokerOptions, "bind">> {
  /** The endpoints to listen at, at least one. */
  bind: readonly string[];
}

/** What `Client` and `Worker` have in common once it is checked. */
export interface ResolvedPeerOptions {
  /** The endpoints of the brokers, at least one. */
  brokers: readonly string[];
  /** What to speak where one request at a time is on a connection: RFC 18 or majortomo's. */
  dialect: Dialect;
  /** Whether to speak the multiplexed dialect: if the broker says that it does, always, or never. */
  multiplexed: "ask" | "insist" | "never";
}

/** Options of a client, checked and whole. */
export interface ResolvedClientOptions
  extends ResolvedPeerOptions, Required<Omit<ClientOptions, "broker" | "dialect">> {}

/** Options of a worker, checked and whole. */
export interface ResolvedWorkerOptions
  extends
    ResolvedPeerOptions,
    Required<Omit<WorkerOptions, "broker" | "dialect" | "service" | "onRegistered">> {
  /** The name of the service, in bytes. */
  service: Uint8Array;
}

/** The names of all options of a kind: what leaves one out, or has another, does not compile. */
export type Names<T> = Readonly<Record<keyof T, true>>;

/** See {@linkcode BrokerOptions}. */
export const BROKER_OPTIONS: Names<BrokerOptions> = {
  bind: true,
  heartbeatInterval: true,
  heartbeatTimeout: true,
  busyWorkerTimeout: true,
  requestExpiry: true,
  maxAttempts: true,
  maxQueue: true,
  maxQueueBytes: true,
  maxTotalQueue: true,
  maxTotalQueueBytes: true,
  maxClientQueue: true,
  maxClientQueueBytes: true,
  maxMessageSize: true,
  sendHighWaterMark: true,
  drain: true,
  linger: true,
  transport: true,
};

const CLIENT_OPTIONS: Names<ClientOptions> = {
  broker: true,
  dialect: true,
  timeout: true,
  deadline: true,
  retries: true,
  backoff: true,
  maxBackoff: true,
  maxInFlight: true,
  heartbeatInterval: true,
  heartbeatTimeout: true,
  linger: true,
  maxMessageSize: true,
};

const REQUEST_OPTIONS: Names<RequestOptions> = {
  timeout: true,
  deadline: true,
  retries: true,
  signal: true,
  noWait: true,
  once: true,
  headers: true,
};

const WORKER_OPTIONS: Names<WorkerOptions> = {
  broker: true,
  service: true,
  dialect: true,
  heartbeatInterval: true,
  heartbeatTimeout: true,
  concurrency: true,
  backoff: true,
  maxBackoff: true,
  drain: true,
  linger: true,
  maxMessageSize: true,
  onRegistered: true,
};

const MIB = 2 ** 20;

/**
 * Checks a broker's options and fills in the defaults.
 *
 * @throws {TypeError} For a value of the wrong type, {@linkcode RangeError} for one out of range.
 */
export function resolveBrokerOptions(options: BrokerOptions = {}): ResolvedBrokerOptions {
  checkOptions("A broker's options", options, BROKER_OPTIONS);
  return {
    bind: endpoints("bind", options.bind),
    ...heartbeats(options),
    busyWorkerTimeout: duration("busyWorkerTimeout", options.busyWorkerTimeout, 900_000, 1),
    requestExpiry: duration("requestExpiry", options.requestExpiry, 60_000) || Infinity,
    maxAttempts: count("maxAttempts", options.maxAttempts, 3),
    maxQueue: count("maxQueue", options.maxQueue, 100_000, 0),
    maxQueueBytes: count("maxQueueBytes", options.maxQueueBytes, 256 * MIB, 0),
    maxTotalQueue: count("maxTotalQueue", options.maxTotalQueue, 1_000_000, 0),
    maxTotalQueueBytes: count("maxTotalQueueBytes", options.maxTotalQueueBytes, 1024 * MIB, 0),
    maxClientQueue: count("maxClientQueue", options.maxClientQueue, Infinity, 0),
    maxClientQueueBytes: count("maxClientQueueBytes", options.maxClientQueueBytes, Infinity, 0),
    maxMessageSize: count("maxMessageSize", options.maxMessageSize, 128 * MIB),
    sendHighWaterMark: count("sendHighWaterMark", options.sendHighWaterMark, 100_000, 1, INT_MAX),
    drain: duration("drain", options.drain, 0),
    linger: duration("linger", options.linger, 500, 0, INT_MAX),
    transport: transport(options.transport),
  };
}

/** @throws {TypeError} For what is none. */
function transport(value: "auto" | "libzmq" = "auto"): "auto" | "libzmq" {
  if (value === "auto" || value === "libzmq") return value;
  throw new TypeError(`transport is "auto" or "libzmq", got ${Deno.inspect(value, { depth: 0 })}`);
}

/**
 * A broker's options with some of them changed.
 *
 * @throws {TypeError} For one that cannot change or has the wrong type, {@linkcode RangeError} for
 * one that is out of range, also together with those that stay.
 */
export function resolveChangedOptions(
  before: ResolvedBrokerOptions,
  changes: LiveBrokerOptions,
): ResolvedBrokerOptions {
  checkOptions("A broker's options", changes, BROKER_OPTIONS);
  for (const name of FIXED) {
    if ((changes as BrokerOptions)[name] === undefined) continue;
    throw new TypeError(
      `${name} cannot change while a broker runs, got ${show((changes as BrokerOptions)[name])}`,
    );
  }
  return resolveBrokerOptions({ ...before, ...withoutUndefined(changes) });
}

/** Options without those that are left out. */
export function withoutUndefined<T extends object>(options: T): Partial<T> {
  const given = Object.entries(options).filter(([, value]) => value !== undefined);
  return Object.fromEntries(given) as Partial<T>;
}

/** The same for a client's options, which may be the endpoint or endpoints alone. */
export function resolveClientOptions(
  given: ClientOptions | string | readonly string[] = {},
): ResolvedClientOptions {
  if (typeof given !== "string" && !Array.isArray(given) && !isPlain(given)) {
    throw new TypeError(`A client is made with options or endpoints, got ${show(given)}`);
  }
  const options: ClientOptions = typeof given === "string" || Array.isArray(given)
    ? { broker: given as string | readonly string[] }
    : given as ClientOptions;
  checkOptions("A client's options", options, CLIENT_OPTIONS);
  const brokers = endpoints("broker", options.broker);
  return {
    brokers,
    ...dialects(options.dialect),
    ...resolveRequestOptions(options, {
      timeout: 30_000,
      deadline: Infinity,
      retries: brokers.length - 1,
    }),
    ...backoffs(options),
    maxInFlight: count("maxInFlight", options.maxInFlight, 256),
    ...heartbeats(options),
    linger: duration("linger", options.linger, 2_000, 0, INT_MAX),
    maxMessageSize: count("maxMessageSize", options.maxMessageSize, 128 * MIB),
  };
}

/**
 * A copy of the options of one call, checked but for its times.
 *
 * @throws {TypeError} For a value of the wrong type.
 */
export function takeRequestOptions(options: RequestOptions): RequestOptions {
  checkOptions("The options of a request", options, REQUEST_OPTIONS);
  // Not by a spread: they may be inherited, as the signal of an AbortController is.
  const { timeout, deadline, retries, signal, noWait, once, headers } = options;
  checkSignal(signal);
  checkFlag("noWait", noWait);
  checkFlag("once", once);
  return {
    timeout,
    deadline,
    retries,
    signal,
    noWait,
    once,
    headers: headers !== undefined && isPlain(headers) ? { ...headers } : headers,
  };
}

/** The same for the options of one call, given those that it has if it says nothing. */
export function resolveRequestOptions(
  options: RequestOptions,
  defaults: { timeout: number; deadline: number; retries: number },
): { readonly timeout: number; readonly deadline: number; readonly retries: number } {
  const { timeout, deadline, retries } = options;
  // As with most requests: then they need none of their own.
  if (timeout === undefined && deadline === undefined && retries === undefined) return defaults;
  return {
    timeout: duration("timeout", timeout, defaults.timeout),
    deadline: duration("deadline", deadline, defaults.deadline),
    retries: count("retries", retries, defaults.retries, 0),
  };
}

/** The same for a worker's options. */
export function resolveWorkerOptions(options: WorkerOptions): ResolvedWorkerOptions {
  checkOptions("A worker's options", options, WORKER_OPTIONS);
  return {
    brokers: endpoints("broker", options.broker),
    service: servedName(options.service),
    ...dialects(options.dialect),
    ...heartbeats(options),
    concurrency: count("concurrency", options.concurrency, 1, 1, 65_535),
    ...backoffs(options),
    drain: duration("drain", options.drain, 5_000),
    linger: duration("linger", options.linger, 2_500, 0, INT_MAX),
    maxMessageSize: count("maxMessageSize", options.maxMessageSize, 128 * MIB),
  };
}

/** What names of services begin with that a broker answers itself: "mmi.". RFC 8. */
const RESERVED = [0x6d, 0x6d, 0x69, 0x2e] as const;

/** The name of a service that a worker can serve: bytes of its own, since it is sent again and again. */
function servedName(service: string | Uint8Array): Uint8Array {
  const name = new Uint8Array(serviceName(service));
  if (!RESERVED.every((byte, i) => name[i] === byte)) return name;
  throw new RangeError(
    `service is one that a worker can serve, but those that begin with "mmi." are the broker's own, ` +
      `got ${show(service)}`,
  );
}

/**
 * Checks how long work in flight may go on after a stop, in ms.
 *
 * @throws {TypeError} If it is no number, {@linkcode RangeError} if it is negative.
 */
export function resolveDrain(drain: number | undefined, ifNone: number): number {
  return duration("drain", drain, ifNone);
}

/**
 * Checks how many events are kept for who does not take them.
 *
 * @throws {TypeError} If it is no number, {@linkcode RangeError} if it is not a whole one from 1.
 */
export function resolveBuffer(buffer: number | undefined): number {
  return count("buffer", buffer, 1_000);
}

/**
 * Checks a signal, if there is one.
 *
 * @throws {TypeError} If it is none.
 */
export function checkSignal(signal: AbortSignal | undefined): void {
  if (signal === undefined || signal instanceof AbortSignal) return;
  throw new TypeError(`signal is an AbortSignal, got ${show(signal)}`);
}

/** Whether it is an object, and none of a kind that JavaScript or the web platform has. */
function isPlain(value: unknown): boolean {
  return Object.prototype.toString.call(value) === "[object Object]";
}

/**
 * Headers as they are sent: a JSON object in UTF-8.
 *
 * @throws {TypeError} If they are not an object with strings for values.
 */
export function headerFrame(
  headers: Readonly<Record<string, string>> | undefined,
): Uint8Array | undefined {
  if (headers === undefined) return undefined;
  // Not a Headers or a Map, whose entries it would not have.
  if (!isPlain(headers)) {
    throw new TypeError(`headers are an object, got ${show(headers)}`);
  }
  for (const [name, value] of Object.entries(headers)) {
    if (typeof value === "string") continue;
    throw new TypeError(`The header ${JSON.stringify(name)} is a string, got ${show(value)}`);
  }
  return new TextEncoder().encode(JSON.stringify(headers));
}

/**
 * Headers as they came.
 *
 * @param frame A JSON object in UTF-8, if it keeps to the convention.
 * @returns Those of its values that are strings; none if it is something else.
 */
export function headersOf(frame: Uint8Array | undefined): Readonly<Record<string, string>> {
  if (frame === undefined) return NO_HEADERS;
  let value: unknown;
  try {
    value = JSON.parse(new TextDecoder().decode(frame));
  } catch {
    return NO_HEADERS;
  }
  if (typeof value !== "object" || value === null || Array.isArray(value)) return NO_HEADERS;
  const strings = Object.entries(value).filter(([, value]) => typeof value === "string");
  return Object.freeze(Object.fromEntries(strings));
}

const NO_HEADERS: Readonly<Record<string, string>> = Object.freeze({});

/** How many bytes a service's name may have: the broker reads and keeps it. */
export const LONGEST_NAME = 65_535;

/**
 * The name of a service in bytes.
 *
 * @param name Text, taken as UTF-8, or bytes.
 * @throws {TypeError} If it is neither, or empty.
 * @throws {RangeError} If it is longer than a broker takes.
 */
export function serviceName(name: string | Uint8Array): Uint8Array {
  if (typeof name === "string" && name === lastName?.text) return lastName.bytes;
  if (typeof name !== "string" && !(name instanceof Uint8Array)) {
    throw new TypeError(`A service name is a string or a Uint8Array, got ${show(name)}`);
  }
  const bytes = typeof name === "string" ? new TextEncoder().encode(name) : name;
  if (bytes.length === 0) throw new TypeError("A service name has at least one byte, got none");
  if (bytes.length > LONGEST_NAME) {
    throw new RangeError(
      `A service name has at most ${LONGEST_NAME} bytes, got ${bytes.length}: ${
        show(name).slice(0, 32)
      }…`,
    );
  }
  if (typeof name === "string") lastName = { text: name, bytes };
  return bytes;
}

/** The one that was encoded last: a client mostly asks for the same service again. */
let lastName: { text: string; bytes: Uint8Array } | undefined;

/**
 * One frame of a body: text, sent as UTF-8, or bytes. A lone surrogate, in a name too, is sent as U+FFFD,
 * as by `TextEncoder`.
 */
export type BodyFrame = string | Uint8Array;

/** A body: one frame, or several in a list. An empty list is sent as one empty frame. */
export type Body = BodyFrame | readonly BodyFrame[];

/**
 * Beyond so many frames of a body, each counts for the memory that a broker takes for it beside its
 * bytes.
 */
export const FREE_FRAMES = 16;
/** How many bytes that is: a `zmq_msg_t`. */
export const FRAME_COST = 64;

/**
 * The frames of a body, at least one, as RFC 18 wants it.
 *
 * @param body Text, bytes, or a list of both; `undefined` is one empty frame.
 * @param most How many bytes they may count for together, as a broker counts: see
 * {@linkcode FREE_FRAMES}.
 * @param headers What goes with them, and counts too.
 * @throws {TypeError} If it is anything else, or bytes that were transferred to somebody else.
 * @throws {RangeError} If they have more.
 */
export function bodyFrames(
  body: Body | undefined,
  most: number = Infinity,
  headers?: Uint8Array,
): Uint8Array[] {
  const all = framesIn(body), size = sizeOf(all, headers);
  if (size <= most) return all;
  // Who sends a broker more than it takes may lose the connection, with all that is in flight on it.
  throw new RangeError(
    `The body counts for ${size} bytes, and at most ${most} are sent (maxMessageSize)`,
  );
}

/** How many bytes the frames of a body count for, with headers. */
export function sizeOf(body: readonly Uint8Array[], headers: Uint8Array | undefined): number {
  let size = Math.max(0, body.length - FREE_FRAMES) * FRAME_COST + (headers?.length ?? 0);
  for (const { length } of body) size += length;
  return size;
}

function framesIn(body: Body | undefined): Uint8Array[] {
  if (body instanceof Uint8Array) return [bodyFrame(body)];
  const frames = body === undefined ? [] : Array.isArray(body) ? body : [body];
  if (frames.length === 0) return [new Uint8Array(0)];
  if (frames.length === 1) return [bodyFrame(frames[0])];
  const all: Uint8Array[] = [];
  // Not map: that leaves holes out, and a message would end in the middle.
  for (const frame of frames) all.push(bodyFrame(frame));
  return all;
}

function bodyFrame(frame: unknown): Uint8Array {
  const bytes = typeof frame === "string" ? new TextEncoder().encode(frame) : frame;
  if (!(bytes instanceof Uint8Array)) {
    throw new TypeError(`A body is a string, a Uint8Array or a list of those, got ${show(frame)}`);
  }
  // What was posted to a Deno Worker, say, has no bytes any more: they would be missed silently.
  if (bytes.length > 0 || (bytes.buffer as ArrayBuffer).detached !== true) return bytes;
  throw new TypeError("A frame's bytes were transferred, so that they cannot be sent");
}

/**
 * Whether what is given can be options. A signal alone, a URL or a list of endpoints is an object,
 * too, and has none of them; and what is misspelt would be missed silently.
 *
 * @param whose Whose they are, for the message.
 * @param options What is given.
 * @param names The options that there are.
 * @throws {TypeError} If not.
 */
export function checkOptions<T extends object>(whose: string, options: T, names: Names<T>): void {
  // One has a signal, as options have.
  if (!isPlain(options) && !(options instanceof AbortController)) {
    throw new TypeError(`${whose} are an object, got ${show(options)}`);
  }
  for (const name in options) {
    // What is inherited may be another's, as the abort() of an AbortController is.
    if (name in names || options[name] === undefined || !Object.hasOwn(options, name)) continue;
    const known = Object.keys(names).join(", ");
    throw new TypeError(`${whose} have no ${JSON.stringify(name)}, only ${known}`);
  }
}

/**
 * Whether what is given can be an option that is `true` or `false`, if it is given at all.
 *
 * @throws {TypeError} If not.
 */
export function checkFlag(name: string, value: boolean | undefined): void {
  if (value === undefined || typeof value === "boolean") return;
  throw new TypeError(`${name} is true or false, got ${show(value)}`);
}

/**
 * Whether `connect()` is to connect anew.
 *
 * @param options What it is given.
 * @throws {TypeError} If they are none.
 */
export function isReconnect(options: ConnectOptions | boolean): boolean {
  if (typeof options === "boolean") return options;
  checkOptions("The options of connect()", options, { reconnect: true });
  checkFlag("reconnect", options.reconnect);
  return options.reconnect ?? false;
}

/** What a timer or libzmq's `int` can hold: 24.8 days in ms. */
const INT_MAX = 2 ** 31 - 1;

/**
 * The pause before an attempt, in ms: it doubles with each, up to `most`, and a random half of
 * it is left out, so that peers that lost the same broker do not come back in step.
 *
 * @param attempt 0 for the first.
 * @param random From 0 to 1, exclusive.
 */
export function backoffPause(attempt: number, first: number, most: number, random: number): number {
  return Math.min(most, first * 2 ** Math.min(attempt, 30)) * (1 - random / 2);
}

function heartbeats(
  options: { heartbeatInterval?: number; heartbeatTimeout?: number },
): { heartbeatInterval: number; heartbeatTimeout: number } {
  const heartbeatInterval = duration(
    "heartbeatInterval",
    options.heartbeatInterval,
    2_500,
    1,
    INT_MAX,
  );
  const heartbeatTimeout = duration(
    "heartbeatTimeout",
    options.heartbeatTimeout,
    Math.min(INT_MAX, Math.max(10_000, 4 * heartbeatInterval)),
    1,
    INT_MAX,
  );
  atLeast("heartbeatTimeout", heartbeatTimeout, "heartbeatInterval", heartbeatInterval);
  return { heartbeatInterval, heartbeatTimeout };
}

function backoffs(
  options: { backoff?: number; maxBackoff?: number },
): { backoff: number; maxBackoff: number } {
  const backoff = duration("backoff", options.backoff, 100, 0, INT_MAX);
  const maxBackoff = duration(
    "maxBackoff",
    options.maxBackoff,
    Math.max(5_000, backoff),
    0,
    INT_MAX,
  );
  return { backoff, maxBackoff: atLeast("maxBackoff", maxBackoff, "backoff", backoff) };
}

function atLeast(name: string, value: number, otherName: string, other: number): number {
  if (value >= other) return value;
  throw new RangeError(`${name} must be at least ${otherName} (${other}), got ${value}`);
}

function duration(
  name: string,
  value: number | undefined,
  ifNone: number,
  least = 0,
  most = Infinity,
): number {
  if (value === undefined) return ifNone;
  if (typeof value !== "number") {
    throw new TypeError(`${name} is a number of milliseconds, got ${show(value)}`);
  }
  if (value >= least && value <= most) return value;
  const range = most === Infinity ? `at least ${least}` : `from ${least} to ${most}`;
  throw new RangeError(`${name} is ${range} milliseconds, got ${value}`);
}

function count(
  name: string,
  value: number | undefined,
  ifNone: number,
  least = 1,
  most = Infinity,
): number {
  if (value === undefined) return ifNone;
  if (typeof value !== "number") throw new TypeError(`${name} is a number, got ${show(value)}`);
  const whole = Number.isSafeInteger(value) || value === Infinity;
  if (whole && value >= least && value <= most) return value;
  const range = most === Infinity ? `of at least ${least}` : `from ${least} to ${most}`;
  throw new RangeError(`${name} is a whole number ${range}, got ${value}`);
}

function dialects(
  name: DialectOption = "auto",
): { dialect: Dialect; multiplexed: "ask" | "insist" | "never" } {
  if (name === "auto") return { dialect: DIALECTS.rfc, multiplexed: "ask" };
  if (name === "multiplexed") return { dialect: DIALECTS.rfc, multiplexed: "insist" };
  if (Object.hasOwn(DIALECTS, name)) return { dialect: DIALECTS[name], multiplexed: "never" };
  throw new TypeError(`dialect is "auto", "multiplexed", "rfc" or "majortomo", got ${show(name)}`);
}

/** What libzmq can listen at, and connect to. */
const ENDPOINT = {
  bind: /^(tcp:\/\/[^\s\0]+:(\*|\d+)|(ipc|inproc):\/\/[^\0]+)$/,
  broker: /^(tcp:\/\/(?!\*:)[^\s\0]+:0*[1-9]\d*|(ipc|inproc):\/\/[^\0]+)$/,
};

function endpoints(
  name: keyof typeof ENDPOINT,
  value: string | readonly string[] | undefined,
): readonly string[] {
  if (value === undefined) return [DEFAULT_ENDPOINT];
  const list: readonly unknown[] = Array.isArray(value) ? value : [value];
  if (list.length === 0) throw new TypeError(`${name} names at least one endpoint, got none`);
  for (const endpoint of list) {
    if (typeof endpoint !== "string" || !ENDPOINT[name].test(endpoint)) {
      throw new TypeError(
        `${name} is an endpoint such as "${DEFAULT_ENDPOINT}" or "ipc:///run/mdp", got ${
          show(endpoint)
        }`,
      );
    }
  }
  for (const endpoint of list as string[]) {
    // libzmq takes the lower 16 bits of whatever number there is.
    const port = /^tcp:.*:(\d+)$/.exec(endpoint)?.[1];
    if (port !== undefined && Number(port) > 65_535) {
      throw new RangeError(`${name} has a port of at most 65535, got "${endpoint}"`);
    }
  }
  // A broker that is named twice is one all the same, and after it comes another. To listen at two
  // free ports is another thing.
  return name === "bind" ? list.slice() as string[] : [...new Set(list as string[])];
}

function show(value: unknown): string {
  return typeof value === "string" ? JSON.stringify(value) : Deno.inspect(value, { depth: 0 });
}
