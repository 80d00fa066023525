/**
 * What a service answers: the parts of a reply, and ways to read their frames.
 *
 * @module
 */

import { headersOf } from "./options.ts";

/** Frames of a body, and ways to read them. */
export class Payload {
  /** The frames, as they came. */
  readonly frames: readonly Uint8Array[];

  /**
   * Wraps frames.
   *
   * @param frames The frames; kept, not copied.
   */
  constructor(frames: readonly Uint8Array[]) {
    this.frames = frames;
  }

  /**
   * All frames joined.
   *
   * @returns The bytes; of a single frame, the frame itself and not a copy.
   */
  bytes(): Uint8Array {
    const { frames } = this;
    if (frames.length === 1) return frames[0]!;
    const joined = new Uint8Array(frames.reduce((sum, frame) => sum + frame.length, 0));
    let at = 0;
    for (const frame of frames) {
      joined.set(frame, at);
      at += frame.length;
    }
    return joined;
  }

  /**
   * All frames joined, as UTF-8.
   *
   * @returns The text; bytes that are not UTF-8 become U+FFFD.
   */
  text(): string {
    return new TextDecoder().decode(this.bytes());
  }

  /**
   * All frames joined, as JSON in UTF-8.
   *
   * @typeParam T What the caller knows it to be; it is not checked.
   * @returns The value.
   * @throws {SyntaxError} If it is not JSON.
   */
  json<T = unknown>(): T {
    return JSON.parse(this.text());
  }
}

/** One part of a reply: a PARTIAL, or the FINAL that ends it (RFC 18). */
export class ReplyPart extends Payload {
  /** Which it is. */
  readonly type: "partial" | "final";
  readonly #headers: Uint8Array | undefined;

  /**
   * Makes a part.
   *
   * @param type Which it is.
   * @param frames Its body; kept, not copied.
   * @param headers Its headers as they came, if it has any; kept, not copied.
   */
  constructor(type: "partial" | "final", frames: readonly Uint8Array[], headers?: Uint8Array) {
    super(frames);
    this.type = type;
    this.#headers = headers;
  }

  /** What the worker said about it, by name; only the multiplexed dialect has it. */
  get headers(): Readonly<Record<string, string>> {
    return headersOf(this.#headers);
  }
}

/**
 * A whole reply. Its {@linkcode Payload.frames | frames} are those of all parts in the order in
 * which they came, so that nothing of a reply with PARTIALs is lost.
 */
export class Reply extends Payload {
  /** The parts: any number of PARTIALs, then the FINAL. */
  readonly parts: readonly ReplyPart[];

  /**
   * Makes a reply.
   *
   * @param parts Any number of PARTIALs, then the FINAL.
   */
  constructor(parts: readonly ReplyPart[]) {
    super(parts.length === 1 ? parts[0]!.frames : parts.flatMap((part) => part.frames));
    this.parts = parts;
  }

  /** The part that ended it. */
  get final(): ReplyPart {
    return this.parts.at(-1)!;
  }

  /** What the worker said about it with the FINAL, by name; only the multiplexed dialect has it. */
  get headers(): Readonly<Record<string, string>> {
    return this.final.headers;
  }
}
