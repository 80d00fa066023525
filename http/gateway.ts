/**
 * Services called over HTTP: `POST /services/NAME`.
 *
 * @module
 */

import {
  type Client,
  DisconnectedError,
  MdpError,
  type RequestOptions,
  ServiceError,
  StateError,
  TimeoutError,
} from "../client.ts";
import { DURATION_FORMS, parseDuration } from "../durations.ts";
import { activeTracer, callerIn, doWithin } from "../traces.ts";
import { ContentError, contentType, framesOf, respondFrames } from "./frames.ts";
import { Origins } from "./origins.ts";
import { bytesOf, eventOf, streamParts } from "./parts.ts";
import { respond, respondError, serverSentEvent } from "./responses.ts";

/** Options of the gateway. */
export interface GatewayOptions {
  /**
   * How long a call may take that has no header `X-Timeout`, in ms.
   * @default {30000}
   */
  timeout?: number;
  /**
   * How many bytes the content of a request may have; never more than the broker takes.
   * @default {134217728}
   */
  maxContentSize?: number;
  /**
   * How many bytes of a reply in parts may wait for a caller that reads slowly, as workers cannot be
   * told to wait: if it is more the request is cancelled, and the content breaks off.
   * @default {67108864}
   */
  maxBacklog?: number;
  /**
   * The web pages that may call services besides those that the gateway's own address serves:
   * origins such as `"https://example.org"`, or `"*"` for all. Programs are not held to it.
   * @default {[]}
   */
  origins?: readonly string[];
}

/** Headers of HTTP that are told to the worker, where its dialect has them. */
const FORWARDED = ["content-type", "traceparent", "tracestate"] as const;
/** What a timer can wait for at most, in ms. */
const LONGEST_TIMER = 2 ** 31 - 1;
/** A reply may be a document, but it runs no script in the gateway's origin. */
const HARMLESS = { "content-security-policy": "sandbox; default-src 'none'" };
const EVENTS = "text/event-stream";
const UTF8 = new TextEncoder();

/** What a gateway calls services by. */
export interface GatewayAccess {
  /** Gives the client. */
  client: () => Client;
  /** How many bytes a message to the broker may have. */
  maxMessageSize: number;
  /** Whether the client's dialect has headers for the worker. */
  hasHeaders: boolean;
}

/** Calls services for whoever asks over HTTP. */
export class Gateway {
  /** How many calls have been answered, by the status of the answer. */
  readonly answered: Map<number, number> = new Map();
  readonly #client: () => Client;
  readonly #hasHeaders: boolean;
  readonly #timeout: number;
  readonly #maxContentSize: number;
  readonly #maxBacklog: number;
  readonly #origins: Origins;
  /** Those under way. No signal for all of them: what depends on one is garbage for long. */
  readonly #calls = new Set<AbortController>();
  /** Why there are no more. */
  #over: StateError | undefined;
  /** Whether the client makes spans: that is decided when it is made, with the first call. */
  #traces: boolean | undefined;

  /**
   * @param access See {@linkcode GatewayAccess}.
   * @param options See {@linkcode GatewayOptions}.
   * @throws {TypeError} If an option has the wrong type, {@linkcode RangeError} if it is out of
   * range.
   */
  constructor(access: GatewayAccess, options: GatewayOptions = {}) {
    const { timeout = 30_000, origins = [] } = options;
    const { maxContentSize = 128 * 2 ** 20, maxBacklog = 64 * 2 ** 20 } = options;
    this.#client = access.client;
    this.#hasHeaders = access.hasHeaders;
    this.#timeout = within("timeout", timeout, 1, LONGEST_TIMER);
    // What has more would cut the connection, and all other calls with it.
    this.#maxContentSize = Math.min(
      within("maxContentSize", maxContentSize, 0, Number.MAX_SAFE_INTEGER),
      access.maxMessageSize,
    );
    this.#maxBacklog = within("maxBacklog", maxBacklog, 0, Number.MAX_SAFE_INTEGER);
    this.#origins = new Origins(origins);
  }

  /** How many calls are under way. */
  get inFlight(): number {
    return this.#calls.size;
  }

  /**
   * Ends the calls that are under way, and each that comes: nobody can answer them any more.
   *
   * @param why What their callers are told, with the status 503.
   */
  end(why: string): void {
    this.#over ??= new StateError(why);
    for (const call of this.#calls) call.abort(this.#over);
  }

  /**
   * Answers a request for `/services/NAME`.
   *
   * @param request The request.
   * @param name The name as it stands in the path.
   * @returns The reply, or an error with its reason in JSON.
   */
  async handle(request: Request, name: string): Promise<Response> {
    const response = await this.#answer(request, name);
    const { status } = response;
    // A browser's question before the call is none.
    if (request.method !== "OPTIONS") {
      this.answered.set(status, (this.answered.get(status) ?? 0) + 1);
    }
    return response;
  }

  async #answer(request: Request, name: string): Promise<Response> {
    const allowed = this.#origins.allow(request);
    if (allowed === undefined) {
      const origin = request.headers.get("origin");
      // A page of no origin, as a file is one of, can be named by nobody.
      const named = origin === "null" ? "*" : origin;
      return respondError(
        403,
        `Pages of ${origin} may not call services here: start the broker with ` +
          `--gateway-origin ${named} if they are to`,
      );
    }
    const { method } = request;
    const headers = this.#origins.headers(allowed, method === "OPTIONS");
    if (method === "OPTIONS") return respondFrames([], undefined, { allow: "POST", ...headers });
    if (method !== "POST") {
      const message = `Services are called by POST, and not by ${method}`;
      return respondError(405, message, { allow: "POST", ...headers });
    }
    return await this.#call(request, name, headers);
  }

  /** Sends a request. Gives the parts of its reply, of which it has asked for the first. */
  #ask(
    request: Request,
    service: Uint8Array,
    frames: readonly Uint8Array[],
    options: RequestOptions,
  ) {
    const client = this.#client();
    this.#traces ??= activeTracer() !== undefined;
    const headers = forwarded(request);
    const caller = this.#traces ? callerIn(headers) : undefined;
    // The client's own span is what the worker's is within.
    if (caller !== undefined) delete headers.traceparent;
    try {
      const parts = client.stream(service, frames, {
        ...options,
        headers: this.#hasHeaders && Object.keys(headers).length > 0 ? headers : undefined,
      });
      return { parts, first: doWithin(caller, () => parts.next()) };
    } catch (error) {
      // With headers, and what many frames count for, it may be more than the broker takes.
      if (error instanceof RangeError) throw new ContentError(413, error.message);
      throw error;
    }
  }

  /** The frames of a request, if they come in time. */
  async #read(
    request: Request,
    timeout: number,
    call: AbortController,
  ): Promise<Uint8Array[]> {
    const timer = setTimeout(() => {
      call.abort(new ContentError(408, `The content did not come within ${timeout} ms`));
    }, timeout);
    try {
      return await framesOf(request, this.#maxContentSize, call.signal);
    } finally {
      clearTimeout(timer);
    }
  }

  async #call(
    request: Request,
    name: string,
    headers: Record<string, string>,
  ): Promise<Response> {
    const call = new AbortController();
    const leave = () => call.abort(request.signal.reason);
    const end = () => {
      this.#calls.delete(call);
      request.signal.removeEventListener("abort", leave);
    };
    this.#calls.add(call);
    request.signal.addEventListener("abort", leave);
    let streams = false;
    try {
      request.signal.throwIfAborted();
      if (this.#over !== undefined) throw this.#over;
      const service = serviceOf(name);
      const timeout = timeoutOf(request) ?? this.#timeout, until = performance.now() + timeout;
      const frames = await this.#read(request, timeout, call);
      const left = Math.max(1, Math.ceil(until - performance.now()));
      const asked = this.#ask(request, service, frames, {
        timeout: left,
        deadline: left,
        noWait: true,
        signal: call.signal,
      });
      // The status stands before the rest: what comes first decides on it.
      const { parts } = asked, { value: first } = await asked.first;
      const type = first!.headers["content-type"];
      const asEvents = wantsEvents(request);
      if (first!.type === "final" && !asEvents) {
        return respondFrames(first!.frames, type, { ...HARMLESS, ...headers });
      }
      streams = true;
      const body = streamParts(first!, parts, {
        encode: asEvents ? eventOf : bytesOf,
        failed: asEvents
          ? (error) => UTF8.encode(serverSentEvent("error", reasonOf(request, error)))
          : undefined,
        maxBacklog: this.#maxBacklog,
        ended: end,
      });
      return respond(body, asEvents ? EVENTS : contentType(type), {
        headers: { ...HARMLESS, ...headers },
      });
    } catch (error) {
      const { code, message, details } = reasonOf(request, error);
      return respondError(code, message, headers, details);
    } finally {
      if (!streams) end();
    }
  }
}

/** As {@linkcode reason}; but who has left reads no answer, whatever they say of why. */
function reasonOf({ signal }: Request, error: unknown): ReturnType<typeof reason> {
  return signal.aborted ? { code: 499, message: "The caller has left" } : reason(error);
}

/** The name of a service in bytes: what is escaped in the path need not be UTF-8. */
function serviceOf(name: string): Uint8Array {
  if (name === "") throw new ContentError(400, "Expected the name of a service in /services/NAME");
  const binary = name.replace(
    /%([\da-f]{2})/gi,
    (_, hex: string) => String.fromCharCode(parseInt(hex, 16)),
  );
  return Uint8Array.from(binary, (char) => char.charCodeAt(0));
}

/** Whether the caller names server-sent events among what it accepts: "any" is the content itself. */
function wantsEvents({ headers }: Request): boolean {
  return (headers.get("accept") ?? "").split(",").some((range) => {
    const [type, ...parameters] = range.toLowerCase().split(";").map((part) => part.trim());
    return type === EVENTS && !parameters.some((parameter) => /^q\s*=\s*0(\.0*)?$/.test(parameter));
  });
}

/** How long the caller will wait, in ms. */
function timeoutOf({ headers }: Request): number | undefined {
  const text = headers.get("x-timeout");
  if (text === null) return undefined;
  const timeout = parseDuration(text);
  if (timeout !== undefined && timeout >= 1 && timeout <= LONGEST_TIMER) return timeout;
  throw new ContentError(
    400,
    `Expected ${DURATION_FORMS}, from 1ms to ${LONGEST_TIMER}ms, in X-Timeout, but got ` +
      JSON.stringify(text),
  );
}

function forwarded({ headers }: Request): Record<string, string> {
  return Object.fromEntries(FORWARDED.flatMap((name) => {
    const value = headers.get(name);
    return value === null ? [] : [[name, value] as const];
  }));
}

/** What an error says to the caller, with the code that HTTP has for it. */
function reason(error: unknown): { code: number; message: string; details?: string } {
  const { message } = error as Error;
  if (error instanceof ContentError) return { code: error.status, message };
  if (error instanceof ServiceError) {
    const { code, details } = error;
    return { code, message, details: details && new TextDecoder().decode(details) };
  }
  if (error instanceof TimeoutError) return { code: 504, message };
  // The broker is gone, or this side is being closed.
  if (error instanceof DisconnectedError || error instanceof StateError) {
    return { code: 503, message };
  }
  if (error instanceof MdpError) return { code: 502, message };
  // What its headers say is nothing for a worker.
  if (error instanceof TypeError || error instanceof RangeError) return { code: 400, message };
  return { code: 500, message };
}

function within(name: string, value: number, least: number, most: number): number {
  if (typeof value !== "number") throw new TypeError(`${name} must be a number, got ${value}`);
  if (value >= least && value <= most) return value;
  throw new RangeError(`${name} must be from ${least} to ${most}, got ${value}`);
}
