/**
 * Frames that are in libzmq's memory: {@linkcode Message} owns one `zmq_msg_t`, whose bytes are read
 * from there.
 *
 * @module
 */

import { StateError } from "../errors.ts";
import { binaryString, shortString } from "./binary_string.ts";
import { cString, libzmq } from "./library.ts";
import { MSG_SIZE } from "./symbols.ts";

/** How many `zmq_msg_t` are allocated at once, in one typed array (one costs 285 ns). */
const CHUNK = 256;
/** How many are kept for reuse; what is released beyond that goes to the garbage collector. */
const SPARE = 8192;

const spare: Message[] = [];

/** Where bytes of longer frames are read to; see {@linkcode Message.toBinaryString}. */
const scratch = new Uint8Array(256);
/** What libzmq knows of where a message comes from, by its name. */
const PEER_ADDRESS = cString("Peer-Address");

/**
 * Where libzmq 4.3 has what of a short message: its bytes are in the `zmq_msg_t` itself. Read
 * from there a frame costs some 3 ns, by the calls of the C interface (size, data, memcpy) 40, and
 * a request that passes a broker has seven.
 */
const DATA_AT = 8, SIZE_AT = 41, TYPE_AT = 42, FLAGS_AT = 43;
const SHORT = 101, LONGEST_SHORT = 33, MORE = 1;

/**
 * Whether this libzmq has it so; found out with the first message. It is compared with `true`, as
 * other flags on the way of every message are: what is true in JavaScript takes V8 up to seven
 * comparisons.
 */
let readable: boolean | undefined;

/**
 * One frame, as a `zmq_msg_t`. It is always an initialized message, if an empty one; who takes
 * it from {@linkcode Message.take} or a socket's `receive` owns it and must
 * {@linkcode Message.release} it or send it. Sending leaves it empty, still to be released.
 */
export class Message {
  /** The `zmq_msg_t`. */
  readonly pointer: Deno.PointerObject;
  /** The memory behind the pointer, kept alive by this field, and where in it the message is. */
  readonly #chunk: Uint8Array<ArrayBuffer>;
  readonly #at: number;
  #released = true;

  /** Use {@linkcode Message.take}. */
  private constructor(chunk: Uint8Array<ArrayBuffer>, at: number, address: bigint) {
    this.#chunk = chunk;
    this.#at = at;
    // From an address: a pointer made of an array keeps that array, some 150 bytes a message.
    this.pointer = Deno.UnsafePointer.create(address)!;
    libzmq().symbols.zmq_msg_init(this.pointer);
  }

  /** An empty message of one's own. */
  static take(): Message {
    if (spare.length === 0) Message.#makeMore();
    const message = spare.pop()!;
    message.#released = false;
    return message;
  }

  static #makeMore(): void {
    readable ??= isReadable();
    const chunk = new Uint8Array(CHUNK * MSG_SIZE);
    const base = Deno.UnsafePointer.value(Deno.UnsafePointer.of(chunk));
    for (let i = CHUNK - 1; i >= 0; i--) {
      const at = i * MSG_SIZE;
      spare.push(new Message(chunk, at, base + BigInt(at)));
    }
  }

  /**
   * Whether its bytes are in the `zmq_msg_t` itself, and where is known. No getter: V8 makes a call
   * of its own, not optimized, for each use of a private one: 12 ns and not 7.
   */
  #isShort(): boolean {
    return readable === true && this.#chunk[this.#at + TYPE_AT] === SHORT;
  }

  /** How many bytes it holds. */
  get size(): number {
    return this.#isShort() ? this.#chunk[this.#at + SIZE_AT]! : sizeOf(this.pointer);
  }

  /** Whether more frames of the same message follow. */
  get more(): boolean {
    return readable === true
      ? (this.#chunk[this.#at + FLAGS_AT]! & MORE) !== 0
      : hasMore(this.pointer);
  }

  /** The content, copied into JavaScript. */
  bytes(): Uint8Array<ArrayBuffer> {
    const bytes = new Uint8Array(this.size);
    this.read(bytes);
    return bytes;
  }

  /**
   * Copies the beginning of the content.
   *
   * @param into Where to; filled as far as both go.
   * @returns The whole size in bytes.
   */
  read(into: Uint8Array): number {
    if (!this.#isShort()) return readLong(this.pointer, into);
    const chunk = this.#chunk, data = this.#at + DATA_AT, size = chunk[this.#at + SIZE_AT]!;
    const length = size < into.length ? size : into.length;
    for (let i = 0; i < length; i++) into[i] = chunk[data + i]!;
    return size;
  }

  /**
   * The content as a string with one character a byte (U+0000 to U+00FF): what to key a `Map`
   * with. It is not text; a typed array to hold six bytes would cost ten times as much.
   */
  toBinaryString(): string {
    const size = this.size;
    if (this.#isShort()) return shortString(this.#chunk, this.#at + DATA_AT, size);
    const bytes = size > scratch.length ? new Uint8Array(size) : scratch;
    this.read(bytes);
    return binaryString(bytes, 0, size);
  }

  /**
   * Where the peer that sent it connects from: an address of IP without the port, or by `ipc:` the
   * ids of its user, group and process as `localhost:0:0:4711`. `undefined` by `inproc:`, and for what was
   * not received.
   */
  get peerAddress(): string | undefined {
    const text = libzmq().symbols.zmq_msg_gets(this.pointer, PEER_ADDRESS);
    if (text === null) return undefined;
    try {
      return new Deno.UnsafePointerView(text).getCString();
    } catch {
      // Where libzmq does not know it, the peer may have said what it likes, which is no UTF-8.
      return undefined;
    }
  }

  /** Lets go of the content. */
  clear(): void {
    // A short one holds no memory, and what else there is libzmq closes when it is used again.
    if (this.#isShort()) this.#chunk[this.#at + SIZE_AT] = 0;
    else close(this.pointer, true);
  }

  /** Gives the message back. It must not be used afterwards. */
  release(): void {
    if (this.#released === true) throw new StateError("A message was released twice");
    this.#released = true;
    if (spare.length < SPARE) {
      spare.push(this);
      this.clear();
    } else close(this.pointer, false);
  }
}

// What is not done for short messages is done apart from what is: V8 puts small functions alone
// into those that call them, and calls for each frame take 3 % of a broker's time in JavaScript.

function sizeOf(message: Deno.PointerObject): number {
  return Number(libzmq().symbols.zmq_msg_size(message));
}

function readLong(message: Deno.PointerObject, into: Uint8Array): number {
  const size = sizeOf(message), length = Math.min(size, into.length);
  if (length === 0) return size;
  const { symbols } = libzmq();
  const data = symbols.zmq_msg_data(message);
  symbols.memcpy(into as Uint8Array<ArrayBuffer>, data, size_t(length));
  return size;
}

function hasMore(message: Deno.PointerObject): boolean {
  return libzmq().symbols.zmq_msg_more(message) === 1;
}

/** Frees the content; a message in the pool is an initialized one. */
function close(message: Deno.PointerObject, again: boolean): void {
  const { symbols } = libzmq();
  symbols.zmq_msg_close(message);
  if (again) symbols.zmq_msg_init(message);
}

const SMALL: readonly bigint[] = Array.from({ length: 257 }, (_, i) => BigInt(i));

/** A size as the FFI wants it: a BigInt made anew costs more than the call. */
export function size_t(size: number): bigint {
  return size < SMALL.length ? SMALL[size]! : BigInt(size);
}

/** Whether messages can be read in place, tried by the public calls. */
function isReadable(): boolean {
  const { symbols } = libzmq();
  const memory = new Uint8Array(MSG_SIZE);
  const pointer = Deno.UnsafePointer.of(memory)!;
  const address = Deno.UnsafePointer.value(pointer);
  let as = true;
  for (const size of [0, 1, 5, LONGEST_SHORT, LONGEST_SHORT + 1]) {
    memory.fill(0xee);
    symbols.zmq_msg_init_size(pointer, BigInt(size));
    const data = Deno.UnsafePointer.value(symbols.zmq_msg_data(pointer));
    const short = data === address + BigInt(DATA_AT);
    if (short !== (memory[TYPE_AT] === SHORT) || (short && memory[SIZE_AT] !== size)) as = false;
    for (const flags of [MORE, 0]) {
      memory[FLAGS_AT] = flags;
      if (symbols.zmq_msg_more(pointer) !== flags) as = false;
    }
    symbols.zmq_msg_close(pointer);
  }
  return as;
}
