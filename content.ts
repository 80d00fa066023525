/**
 * What is in a message beside its envelope, as a broker holds it: frames in libzmq's memory, each
 * with one owner.
 *
 * @module
 */

import type { FrameReader } from "./codec.ts";
import type { Message } from "./zmq/message.ts";
import { MSG_SIZE } from "./zmq/symbols.ts";

/** Beyond so many frames of a body, each counts for the memory that it takes beside its bytes. */
const MANY = 16;
const NONE: readonly never[] = [];

/** What is in a message beside its envelope. */
export interface Content {
  /** Multiplexed: headers, if there are any. */
  headers: Message | undefined;
  /** The body. */
  frames: readonly Message[];
}

/** Lets the codec read frames that stay in libzmq's memory. */
export const MESSAGES: FrameReader<Message> = { read: (frame, into) => frame.read(into) };

/** Lets go of it. */
export function discard({ headers, frames }: Content): void {
  release(frames);
  headers?.release();
}

/** Takes it out, so that there is nothing left to discard. */
export function take(content: Content): Content {
  const { headers, frames } = content;
  content.headers = undefined;
  content.frames = NONE;
  return { headers, frames };
}

/** How many frames it is. */
export function framesOf({ headers, frames }: Content): number {
  return headers === undefined ? frames.length : frames.length + 1;
}

/** Lets go of frames. */
export function release(frames: readonly Message[]): void {
  for (const frame of frames) frame.release();
}

/** Releases all but the last so many frames. */
export function releaseAllBut(frames: readonly Message[], last: number): void {
  for (let i = 0; i < frames.length - last; i++) frames[i]!.release();
}

/** What it counts for: its bytes, and what holds them where there are many frames. */
export function sizeOf({ headers, frames }: Content): number {
  let size = Math.max(0, frames.length - MANY) * MSG_SIZE;
  if (headers !== undefined) size += headers.size;
  for (const frame of frames) size += frame.size;
  return size;
}
