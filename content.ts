/**
 * What is in a message beside its envelope, as a broker holds it: frames, each
 * with one owner.
 *
 * @module
 */

import type { FrameReader } from "./codec.ts";
import { FRAME_COST, FREE_FRAMES } from "./options.ts";
import { Frame } from "./zmtp/frame.ts";

/**
 * What is in a message beside its envelope. Most have one frame and no headers: then it is that
 * frame, and each that is queued takes 100 bytes less.
 */
export type Content = Frame | Parts;

/** Headers and a body of any number of frames. */
interface Parts {
  readonly headers: Frame | undefined;
  readonly frames: readonly Frame[];
}

/** Lets the codec read frames of a broker. */
export const MESSAGES: FrameReader<Frame> = { read: (frame, into) => frame.read(into) };

/** Headers and body as one value, which owns them. */
export function contentOf(headers: Frame | undefined, frames: readonly Frame[]): Content {
  return headers === undefined && frames.length === 1 ? frames[0]! : { headers, frames };
}

/** The headers, if there are any. */
export function headersIn(content: Content): Frame | undefined {
  return content instanceof Frame ? undefined : content.headers;
}

/** The frames of the body. */
export function bodyIn(content: Content): readonly Frame[] {
  return content instanceof Frame ? [content] : content.frames;
}

/** Lets go of it. */
export function discard(content: Content): void {
  if (content instanceof Frame) return content.release();
  release(content.frames);
  content.headers?.release();
}

/** Has it take no more memory than its own, as it is going to wait. */
export function detach(content: Content): void {
  if (content instanceof Frame) return content.detach();
  for (const frame of content.frames) frame.detach();
  content.headers?.detach();
}

/** How many frames it is. */
export function framesOf(content: Content): number {
  if (content instanceof Frame) return 1;
  return content.headers === undefined ? content.frames.length : content.frames.length + 1;
}

/** Lets go of frames. */
export function release(frames: readonly Frame[]): void {
  for (const frame of frames) frame.release();
}

/** Releases all but the last so many frames. */
export function releaseAllBut(frames: readonly Frame[], last: number): void {
  for (let i = 0; i < frames.length - last; i++) frames[i]!.release();
}

/** What it counts for: its bytes, and what holds them where there are many frames. */
export function sizeOf(content: Content): number {
  if (content instanceof Frame) return content.size;
  const { headers, frames } = content;
  let size = Math.max(0, frames.length - FREE_FRAMES) * FRAME_COST;
  if (headers !== undefined) size += headers.size;
  for (const frame of frames) size += frame.size;
  return size;
}
