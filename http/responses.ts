/**
 * What the answers over HTTP have in common.
 *
 * @module
 */

/** Headers that every answer has: nothing is to be cached, guessed at or put into a frame. */
const COMMON: Readonly<Record<string, string>> = {
  "cache-control": "no-store",
  "x-content-type-options": "nosniff",
  "x-frame-options": "SAMEORIGIN",
  "referrer-policy": "no-referrer",
};

/**
 * An answer with those headers.
 *
 * @param body The body.
 * @param type Its content type.
 * @param init The status, and further headers.
 * @returns The answer.
 */
export function respond(
  body: BodyInit | null,
  type: string,
  { status = 200, headers = {} }: { status?: number; headers?: Record<string, string> } = {},
): Response {
  return new Response(body, { status, headers: { ...COMMON, "content-type": type, ...headers } });
}

/**
 * An answer in JSON.
 *
 * @param value What it says.
 * @param init The status, and further headers.
 * @returns The answer.
 */
export function respondJson(
  value: unknown,
  init?: { status?: number; headers?: Record<string, string> },
): Response {
  return respond(`${JSON.stringify(value)}\n`, "application/json; charset=utf-8", init);
}

/**
 * An answer that says why there is no other.
 *
 * @param status The status, 400 to 599.
 * @param message Why, in words.
 * @param headers Further headers.
 * @param details More about it, if there is more.
 * @returns The answer: `{ "error": { "code": 404, "message": "…" } }`.
 */
export function respondError(
  status: number,
  message: string,
  headers: Record<string, string> = {},
  details?: unknown,
): Response {
  return respondJson({ error: { code: status, message, details } }, { status, headers });
}

/**
 * An event of a server-sent stream, whose data is JSON.
 *
 * @param type The event's type.
 * @param data What it says.
 * @returns Its text.
 */
export function serverSentEvent(type: string, data: unknown): string {
  return `event: ${type}\ndata: ${JSON.stringify(data)}\n\n`;
}
