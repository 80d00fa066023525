/**
 * The frames of a body, as HTTP has them: one is the content itself, several are the parts of a
 * `multipart/form-data`, in which browsers and curl can send and read them.
 *
 * @module
 */

import { getMultipartBoundary, parseMultipart } from "@remix-run/multipart-parser";
import { respond } from "./responses.ts";

/** Why the content of a request is not taken. */
export class ContentError extends Error {
  /** The name of the class. */
  override name = "ContentError";
  /** The status that says so. */
  readonly status: number;

  /**
   * @param status The status that says so.
   * @param message Why, in words.
   */
  constructor(status: number, message: string) {
    super(message);
    this.status = status;
  }
}

const BYTES = "application/octet-stream";
/** The content is bounded as a whole. */
const UNBOUNDED = { maxParts: Infinity, maxFileSize: Infinity, maxTotalSize: Infinity };

/**
 * Reads the frames of a request.
 *
 * @param request The request.
 * @param most How many bytes its content may have.
 * @param signal Ends it.
 * @returns The frames, at least one.
 * @throws {ContentError} If there is too much, or it is not what it says; the signal's reason.
 */
export async function framesOf(
  request: Request,
  most: number,
  signal: AbortSignal,
): Promise<Uint8Array[]> {
  const content = await read(request, most, signal);
  const type = request.headers.get("content-type") ?? "";
  if (!/^\s*multipart\//i.test(type)) return [content];
  if (!/^\s*multipart\/form-data\b/i.test(type)) {
    throw new ContentError(
      415,
      `Expected one frame of any other type, or multipart/form-data, but got ${quote(type)}`,
    );
  }
  const frames = partsOf(content, type);
  if (frames.length > 0) return frames;
  throw new ContentError(400, "Expected at least one part, each a frame, but got none");
}

/** Not by formData(), which takes parts for text, and what was cut off for whole. */
function partsOf(content: Uint8Array<ArrayBuffer>, type: string): Uint8Array[] {
  const boundary = getMultipartBoundary(type);
  if (boundary === null) throw new ContentError(400, `${quote(type)} names no boundary`);
  try {
    return Array.from(parseMultipart(content, { boundary, ...UNBOUNDED }), ({ bytes }) => bytes);
  } catch (error) {
    const why = error instanceof Error ? `: ${error.message}` : "";
    throw new ContentError(
      400,
      `The content is no multipart/form-data with the boundary it names${why}`,
    );
  }
}

async function read(
  request: Request,
  most: number,
  signal: AbortSignal,
): Promise<Uint8Array<ArrayBuffer>> {
  const tooLarge = () =>
    new ContentError(413, `The content has more than ${most} bytes, which is all that is taken`);
  if (Number(request.headers.get("content-length") ?? 0) > most) throw tooLarge();
  const chunks: Uint8Array<ArrayBuffer>[] = [];
  let size = 0;
  const reader = request.body?.getReader();
  const cancel = () => void reader?.cancel(signal.reason).catch(() => {});
  signal.throwIfAborted();
  signal.addEventListener("abort", cancel);
  try {
    for (let chunk; (chunk = (await reader?.read().catch(brokenOff))?.value) !== undefined;) {
      size += chunk.length;
      if (size > most) throw tooLarge();
      chunks.push(chunk);
    }
  } finally {
    signal.removeEventListener("abort", cancel);
    // Of what is too large no more is taken.
    cancel();
  }
  signal.throwIfAborted();
  return chunks.length === 1 ? chunks[0]! : await new Blob(chunks).bytes();
}

function brokenOff(): never {
  throw new ContentError(499, "The content broke off: the caller has left");
}

/**
 * A FINAL as an answer.
 *
 * @param frames Its frames.
 * @param type What the worker says that a frame is, if it does.
 * @param headers Further headers.
 * @returns 200 with the frame, or with several as parts of `multipart/form-data` that are all
 * named `frame`; 204 if there is none.
 */
export function respondFrames(
  frames: readonly Uint8Array[],
  type: string | undefined,
  headers: Record<string, string>,
): Response {
  if (frames.length === 0) {
    const empty = respond(null, "", { status: 204, headers });
    empty.headers.delete("content-type");
    return empty;
  }
  type = contentType(type);
  if (frames.length === 1) return respond(bytes(frames[0]!), type, { headers });
  const form = new FormData();
  for (const frame of frames) form.append("frame", new Blob([bytes(frame)], { type }), "frame");
  const multipart = new Response(form);
  return respond(multipart.body, multipart.headers.get("content-type")!, { headers });
}

/**
 * The type of a frame that is part of an answer.
 *
 * @param type What the worker says, if it does.
 * @returns It, or that of any bytes if the worker does not say or it is no type.
 */
export function contentType(type: string | undefined): string {
  return type !== undefined && /^[\w.+-]+\/[\w.+-]+([\t ]*;[\t\x20-\x7e]*)?$/.test(type)
    ? type
    : BYTES;
}

/**
 * A frame in JSON.
 *
 * @param frame The frame.
 * @returns Its text if it is UTF-8, else `{ "base64": "…" }`.
 */
export function frameInJson(frame: Uint8Array): string | { base64: string } {
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(frame);
  } catch {
    return { base64: frame.toBase64() };
  }
}

/** A frame comes from libzmq by way of a copy: no shared memory is behind it. */
function bytes(frame: Uint8Array): Uint8Array<ArrayBuffer> {
  return frame as Uint8Array<ArrayBuffer>;
}

function quote(text: string): string {
  return JSON.stringify(text);
}
