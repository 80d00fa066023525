/**
 * The bodies of an answer in parts, in whatever they come.
 *
 * @module
 */

import type { Body } from "./options.ts";

type Items = Iterable<Body> | AsyncIterable<Body>;

/**
 * Takes the items one by one. A generator has its word at the end: it gets to know that it is to
 * end with its next item. A stream does not wait for that, as nobody may ever give it one.
 *
 * @param items The items.
 * @param request Ends a stream by its signal, which is not made for others.
 * @returns The items, and at the end what a generator returns.
 */
export function itemsOf(
  items: Items,
  request: { readonly signal: AbortSignal },
): AsyncGenerator<Body, unknown, undefined> {
  return items instanceof ReadableStream ? chunksOf(items, request.signal) : sequenceOf(items);
}

async function* sequenceOf(items: Items): AsyncGenerator<Body, unknown, undefined> {
  return yield* items;
}

async function* chunksOf(
  stream: ReadableStream<Body>,
  signal: AbortSignal,
): AsyncGenerator<Body, undefined, undefined> {
  const reader = stream.getReader();
  // Whoever fills it is told, and a read that waits finds the end. What it does at its end, how that
  // fails and whether it ever comes to one is no matter of the answer.
  const cancel = () => void reader.cancel(signal.reason).catch(() => {});
  if (signal.aborted) cancel();
  else signal.addEventListener("abort", cancel);
  try {
    for (let chunk; !(chunk = await reader.read()).done;) yield chunk.value;
  } finally {
    signal.removeEventListener("abort", cancel);
    cancel();
    reader.releaseLock();
  }
}
