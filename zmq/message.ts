/**
 * Frames that stay in libzmq's memory: {@linkcode Message} owns one `zmq_msg_t`, so that a body
 * crosses a broker without being copied into JavaScript.
 *
 * @module
 */

import { StateError } from "../errors.ts";
import { libzmq } from "./library.ts";
import { MSG_SIZE } from "./symbols.ts";

/** How many `zmq_msg_t` are allocated at once, in one typed array (one costs 285 ns). */
const CHUNK = 256;
/** How many are kept for reuse; what is released beyond that goes to the garbage collector. */
const SPARE = 8192;

const spare: Message[] = [];

/** Where bytes of short frames are read to; see {@linkcode Message.toBinaryString}. */
const scratch = new Uint8Array(256);

/**
 * One frame, as a `zmq_msg_t`. It is always an initialized message, if an empty one; who takes
 * it from {@linkcode Message.take} or a socket's `receive` owns it and must
 * {@linkcode Message.release} it or send it. Sending leaves it empty, still to be released.
 */
export class Message {
  /** The `zmq_msg_t`. */
  readonly pointer: Deno.PointerObject;
  /** Keeps the memory behind the pointer alive for as long as this object is. */
  readonly chunk: Uint8Array;
  #released = false;

  /** Use {@linkcode Message.take}. */
  private constructor(pointer: Deno.PointerObject, chunk: Uint8Array) {
    this.pointer = pointer;
    this.chunk = chunk;
  }

  /** An empty message of one's own. */
  static take(): Message {
    const message = spare.pop();
    if (message !== undefined) {
      message.#released = false;
      return message;
    }
    const { symbols } = libzmq();
    const chunk = new Uint8Array(CHUNK * MSG_SIZE);
    const base = Deno.UnsafePointer.value(Deno.UnsafePointer.of(chunk));
    for (let i = CHUNK - 1; i > 0; i--) {
      const other = new Message(at(base, i), chunk);
      symbols.zmq_msg_init(other.pointer);
      other.#released = true;
      spare.push(other);
    }
    const first = new Message(at(base, 0), chunk);
    symbols.zmq_msg_init(first.pointer);
    return first;
  }

  /** How many bytes it holds. */
  get size(): number {
    return Number(libzmq().symbols.zmq_msg_size(this.pointer));
  }

  /** Whether more frames of the same message follow. */
  get more(): boolean {
    return libzmq().symbols.zmq_msg_more(this.pointer) === 1;
  }

  /**
   * Another message with the same content, which libzmq does not copy if it is long: what a
   * broker sends when it must be able to send it again.
   */
  copy(): Message {
    const copy = Message.take();
    libzmq().symbols.zmq_msg_copy(copy.pointer, this.pointer);
    return copy;
  }

  /** The content, copied into JavaScript. */
  bytes(): Uint8Array<ArrayBuffer> {
    const size = this.size;
    const bytes = new Uint8Array(size);
    if (size > 0) {
      const { symbols } = libzmq();
      symbols.memcpy(bytes, symbols.zmq_msg_data(this.pointer), size_t(size));
    }
    return bytes;
  }

  /**
   * Copies the beginning of the content.
   *
   * @param into Where to; filled as far as both go.
   * @returns The whole size in bytes.
   */
  read(into: Uint8Array): number {
    const size = this.size, length = Math.min(size, into.length);
    if (length > 0) {
      const { symbols } = libzmq();
      const data = symbols.zmq_msg_data(this.pointer);
      symbols.memcpy(into as Uint8Array<ArrayBuffer>, data, size_t(length));
    }
    return size;
  }

  /**
   * The content as a string with one character a byte (U+0000 to U+00FF): what to key a `Map`
   * with. It is not text; a typed array to hold six bytes would cost ten times as much.
   */
  toBinaryString(): string {
    const size = this.size;
    if (size === 0) return "";
    if (size > scratch.length) return binaryString(this.bytes(), size);
    const { symbols } = libzmq();
    symbols.memcpy(scratch, symbols.zmq_msg_data(this.pointer), size_t(size));
    return binaryString(scratch, size);
  }

  /** Gives the message back. It must not be used afterwards. */
  release(): void {
    if (this.#released) throw new StateError("A message was released twice");
    this.#released = true;
    // Closing frees the content; a message in the pool is an initialized one.
    libzmq().symbols.zmq_msg_close(this.pointer);
    if (spare.length < SPARE) {
      libzmq().symbols.zmq_msg_init(this.pointer);
      spare.push(this);
    }
  }
}

const SMALL: readonly bigint[] = Array.from({ length: 257 }, (_, i) => BigInt(i));

/** A size as the FFI wants it: a BigInt made anew costs more than the call. */
export function size_t(size: number): bigint {
  return size < SMALL.length ? SMALL[size]! : BigInt(size);
}

function at(base: bigint, index: number): Deno.PointerObject {
  return Deno.UnsafePointer.create(base + BigInt(index * MSG_SIZE))!;
}

function binaryString(bytes: Uint8Array, size: number): string {
  // The length of the ids that ROUTER makes.
  if (size === 5) {
    return String.fromCharCode(bytes[0]!, bytes[1]!, bytes[2]!, bytes[3]!, bytes[4]!);
  }
  let text = "";
  for (let i = 0; i < size; i++) text += String.fromCharCode(bytes[i]!);
  return text;
}
