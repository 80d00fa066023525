/**
 * What becomes of a request in the hands of a handler: its result is sent, its failure is dealt
 * with. Knows requests only, and no connection.
 *
 * @module
 */

import type { Logger } from "@logtape/logtape";
import { DisconnectedError, ServiceError } from "./errors.ts";
import type { Body } from "./options.ts";
import { wordsOf } from "./thrown.ts";
import { itemsOf } from "./worker_items.ts";
import {
  cancellation,
  finish,
  hasFailed,
  isLost,
  isOver,
  onFailure,
  takesErrors,
  type WorkerRequest,
} from "./worker_request.ts";

/**
 * What a handler can return.
 *
 * - a body: it is sent as the FINAL
 * - nothing: the handler has sent the FINAL itself by `request.final()`; if not, a FINAL of one
 *   empty frame is sent
 * - a generator, async or not: each body that it yields is sent as a PARTIAL, the one that it
 *   returns as the FINAL; if it returns none, that is one empty frame
 * - another iterable, async or not: each item is sent as a PARTIAL, then a FINAL of one empty frame
 * - a `ReadableStream`: likewise, and it is cancelled when nobody wants the answer any more
 */
export type HandlerResult =
  | Body
  | void
  // deno-lint-ignore no-explicit-any -- how others type what an iterable returns at its end varies
  | AsyncIterable<Body, any, any>
  // deno-lint-ignore no-explicit-any -- the same
  | Iterable<Body, any, any>;

/** Answers a request. An (async) generator function is one too. */
export type RequestHandler = (
  request: WorkerRequest,
) => HandlerResult | PromiseLike<HandlerResult>;

/**
 * Told that a handler failed: it threw, or returned what is no {@linkcode HandlerResult}. The body
 * that it returns, if it does, is sent as the FINAL.
 */
export type RequestErrorHandler = (
  error: unknown,
  request: WorkerRequest,
) => Body | void | PromiseLike<Body | void>;

/**
 * Has a request answered by a handler, whatever happens. Never rejects, never throws.
 *
 * @param request The request.
 * @param handler Who answers it.
 * @param onError Who is asked when that fails.
 * @param logger Where failures go that nobody dealt with.
 * @returns Nothing if the handler has come to its end, else a promise of that.
 */
export function handle(
  request: WorkerRequest,
  handler: RequestHandler,
  onError: RequestErrorHandler | undefined,
  logger: Logger,
): Promise<void> | undefined {
  if (!takesErrors(request)) onFailure(request, failing(request, onError, logger));
  try {
    const result = handler(request);
    // Most handlers end here: no promise is made for them.
    const pending = isThenable(result)
      ? answerLater(request, result)
      : answer(request, result as HandlerResult);
    return pending?.catch(failing(request, onError, logger));
  } catch (error) {
    return failed(request, error, onError, logger);
  }
}

/** What is said of an error that has no text. */
const UNKNOWN = "The handler failed";
/** How much is said of an error that is too large to be told. */
const MOST_WORDS = 1_000;

/** Made apart: a closure in `handle` would be made for each request, and 100 bytes for what it sees. */
function failing(
  request: WorkerRequest,
  onError: RequestErrorHandler | undefined,
  logger: Logger,
): (error: unknown) => Promise<void> {
  return (error) => failed(request, error, onError, logger);
}

async function answerLater(
  request: WorkerRequest,
  result: PromiseLike<HandlerResult>,
): Promise<void> {
  const pending = answer(request, await result);
  if (pending !== undefined) await pending;
}

async function failed(
  request: WorkerRequest,
  error: unknown,
  onError: RequestErrorHandler | undefined,
  logger: Logger,
): Promise<void> {
  try {
    await dealWith(request, error, onError, logger);
  } catch {
    // What was thrown cannot even be looked at, as a Proxy that was revoked.
    log(logger, "The handler failed: {error}", UNKNOWN, request);
    if (takesErrors(request)) await tell(request, new ServiceError(500, UNKNOWN));
    else request.abandon();
  }
}

async function dealWith(
  request: WorkerRequest,
  error: unknown,
  onError: RequestErrorHandler | undefined,
  logger: Logger,
): Promise<void> {
  const expected = isBecauseAborted(error, request);
  if (isLost(request) && expected) return;
  const reason = cancellation(request);
  if (reason !== undefined && expected) {
    // Nobody gets it, but the request must end.
    return await tell(request, new ServiceError(504, reason.message));
  }
  const told = takesErrors(request) ? serviceError(error) : undefined;
  // Where the dialect has no errors, fail() asks onError, which may call it in its turn: then it gives
  // the request back.
  if (told === undefined) onFailure(request, () => Promise.resolve(request.abandon()));
  try {
    if (await isDealtWith(error, request, onError)) return;
    // Who throws a ServiceError has answered.
    if (told === undefined || told !== error) {
      log(logger, "The handler failed: {error}", error, request);
    }
  } catch (second) {
    log(logger, "The handler failed: {error}", error, request);
    if (!isBecauseAborted(second, request)) {
      log(logger, "onError failed: {error}", second, request);
    }
  }
  if (told === undefined) request.abandon();
  else await tell(request, told);
}

/** Sends an error where there is still someone to send it to. */
async function tell(request: WorkerRequest, error: ServiceError): Promise<void> {
  try {
    if (!isOver(request)) await request.fail(error.code, error.message, error.details);
  } catch {
    // If not for the loss of the connection, it is of a class that has its own idea of a code, or is too
    // large. The request must end all the same.
    const words = wordsOf(error, UNKNOWN).slice(0, MOST_WORDS);
    if (!isOver(request)) await request.fail(500, words).catch(() => {});
  }
}

function serviceError(error: unknown): ServiceError {
  if (error instanceof ServiceError) return error;
  return new ServiceError(500, wordsOf(error, UNKNOWN));
}

async function isDealtWith(
  error: unknown,
  request: WorkerRequest,
  onError: RequestErrorHandler | undefined,
): Promise<boolean> {
  if (onError === undefined) return false;
  const body = await onError(error, request);
  if (request.isAnswered) return true;
  if (body === undefined) return false;
  await request.final(body);
  return true;
}

function answer(request: WorkerRequest, result: HandlerResult): Promise<void> | undefined {
  if (result === undefined) {
    // What fail() left undone is dealt with by who was told.
    return request.isAnswered || hasFailed(request) ? undefined : finish(request, undefined);
  }
  if (typeof result === "string" || result instanceof Uint8Array || Array.isArray(result)) {
    return finish(request, result as Body);
  }
  if (isIterable(result)) return answerFrom(request, result);
  const shown = Deno.inspect(result, { depth: 0 });
  throw new TypeError(`A handler returns a body, an iterable of bodies, or nothing, got ${shown}`);
}

type Items = Exclude<HandlerResult, Body | void>;

async function answerFrom(request: WorkerRequest, items: Items): Promise<void> {
  // Not for await: the value that a generator returns is wanted too.
  const iterator = itemsOf(items, request);
  for (;;) {
    const { done, value } = await iterator.next();
    if (done) {
      const pending = answer(request, value as Body | void);
      return pending === undefined ? undefined : await pending;
    }
    try {
      const reason = cancellation(request);
      if (reason !== undefined) throw reason;
      await request.partial(value);
    } catch (error) {
      // What it does at its end, and how that fails, is no answer to what went wrong first.
      await iterator.return(undefined).catch(() => {});
      throw error;
    }
  }
}

function isIterable(value: unknown): value is Items {
  return typeof value === "object" && value !== null &&
    (Symbol.asyncIterator in value || Symbol.iterator in value);
}

function isThenable(value: unknown): value is PromiseLike<HandlerResult> {
  return typeof value === "object" && value !== null &&
    typeof (value as { then?: unknown }).then === "function";
}

/** Whether a handler failed for no other reason than that its request was lost or cancelled. */
function isBecauseAborted(error: unknown, request: WorkerRequest): boolean {
  if (!isLost(request) && cancellation(request) === undefined) return false;
  return error === request.signal.reason || error instanceof DisconnectedError ||
    error instanceof Error &&
      (error.name === "AbortError" || error.cause === request.signal.reason);
}

function log(logger: Logger, template: string, error: unknown, request: WorkerRequest): void {
  logger.error(template, { error, service: request.service });
}
