/**
 * What becomes of a request in the hands of a handler: its result is sent, its failure is dealt
 * with. Knows requests only, and no connection.
 *
 * @module
 */

import type { Logger } from "@logtape/logtape";
import { DisconnectedError } from "./errors.ts";
import type { Body } from "./options.ts";
import type { WorkerRequest } from "./worker_request.ts";

/**
 * What a handler can return.
 *
 * - a body: it is sent as the FINAL
 * - nothing: the handler has sent the FINAL itself by `request.final()`; if not, a FINAL of one
 *   empty frame is sent
 * - a generator, async or not: each body that it yields is sent as a PARTIAL, the one that it
 *   returns as the FINAL; if it returns none, that is one empty frame
 * - another iterable, async or not, e.g. a `ReadableStream`: each item is sent as a PARTIAL, then a
 *   FINAL of one empty frame
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
 * Has a request answered by a handler, whatever happens. Never rejects.
 *
 * @param request The request.
 * @param handler Who answers it.
 * @param onError Who is asked when that fails.
 * @param logger Where failures go that nobody dealt with.
 */
export async function handle(
  request: WorkerRequest,
  handler: RequestHandler,
  onError: RequestErrorHandler | undefined,
  logger: Logger,
): Promise<void> {
  try {
    await answer(request, await handler(request));
  } catch (error) {
    if (isBecauseLost(error, request)) return;
    try {
      if (await isDealtWith(error, request, onError)) return;
      log(logger, "The handler failed: {error}", error, request);
    } catch (second) {
      log(logger, "The handler failed: {error}", error, request);
      if (!isBecauseLost(second, request)) log(logger, "onError failed: {error}", second, request);
    }
    request.abandon();
  }
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

async function answer(request: WorkerRequest, result: HandlerResult): Promise<void> {
  if (result === undefined) {
    if (!request.isAnswered) await request.final();
  } else if (
    typeof result === "string" || result instanceof Uint8Array || Array.isArray(result)
  ) {
    await request.final(result as Body);
  } else if (isIterable(result)) {
    await answerFrom(request, result);
  } else {
    const shown = Deno.inspect(result, { depth: 0 });
    throw new TypeError(
      `A handler returns a body, an iterable of bodies, or nothing, got ${shown}`,
    );
  }
}

type Items = Exclude<HandlerResult, Body | void>;

async function answerFrom(request: WorkerRequest, items: Items): Promise<void> {
  // Not for await: the value that a generator returns is wanted too.
  const iterator = sequence(items);
  for (;;) {
    const { done, value } = await iterator.next();
    if (done) return await answer(request, value as Body | void);
    try {
      await request.partial(value);
    } catch (error) {
      // What it does at its end, and how that fails, is no answer to what went wrong first.
      await iterator.return(undefined).catch(() => {});
      throw error;
    }
  }
}

async function* sequence(items: Items): AsyncGenerator<Body, unknown, undefined> {
  return yield* items;
}

function isIterable(value: unknown): value is Items {
  return typeof value === "object" && value !== null &&
    (Symbol.asyncIterator in value || Symbol.iterator in value);
}

/** Whether a handler failed for no other reason than that its request was lost. */
function isBecauseLost(error: unknown, request: WorkerRequest): boolean {
  if (!request.signal.aborted) return false;
  return error === request.signal.reason || error instanceof DisconnectedError ||
    error instanceof Error &&
      (error.name === "AbortError" || error.cause === request.signal.reason);
}

function log(logger: Logger, template: string, error: unknown, request: WorkerRequest): void {
  logger.error(template, { error, service: request.service });
}
