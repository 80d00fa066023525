/**
 * Frames as a broker holds them: {@linkcode Frame} owns the bytes of one, which come from memory that
 * is used again and again. A typed array for each would cost 300 ns, and the garbage collector's time.
 *
 * @module
 */

import { StateError } from "../errors.ts";
import { binaryString, shortString } from "../zmq/binary_string.ts";

/** Up to how many bytes a frame has memory of its own for. */
const SHORT = 48;
/** For how many that is made at once, in one typed array. */
const CHUNK = 256;
/** How many frames are kept for reuse; what is released beyond that goes to the garbage collector. */
const SPARE = 8_192;
/** Blocks are of a power of two; the smallest and the largest that are kept for reuse. */
const SMALLEST = 7, LARGEST = 20;
/** How many bytes of them are kept for reuse. */
const MOST = 8 * 1024 * 1024;
/** From how many bytes on a block that is not kept is given back at once. */
const LARGE = 65_536;

/** Memory of a long frame, which its copies share: nobody writes to it once it is filled. */
export class Block {
  /** How many frames have it, and what sends it. */
  #holders = 1;
  #address: bigint | undefined;

  /** Takes memory. */
  private constructor(readonly bytes: Uint8Array<ArrayBuffer>) {}

  /** A block of at least so many bytes, whatever is in them. */
  static take(size: number): Block {
    if (size > 2 ** LARGEST) return Block.exact(size);
    const order = Math.max(SMALLEST, orderOf(size));
    const block = blocks[order - SMALLEST]!.pop();
    if (block === undefined) return new Block(new Uint8Array(2 ** order));
    kept -= block.bytes.length;
    block.#holders = 1;
    return block;
  }

  /** A block of just so many bytes. */
  static exact(size: number): Block {
    return new Block(new Uint8Array(size));
  }

  /** Where its bytes are. */
  get address(): bigint {
    return this.#address ??= Deno.UnsafePointer.value(Deno.UnsafePointer.of(this.bytes));
  }

  /** Has one more holder. */
  hold(): this {
    this.#holders++;
    return this;
  }

  /** Has one holder less: the last one gives the memory back. */
  release(): void {
    if (--this.#holders > 0) return;
    const { length } = this.bytes, order = orderOf(length);
    const isOne = length === 2 ** order && order >= SMALLEST && order <= LARGEST;
    if (!isOne || kept + length > MOST) {
      // Not when V8 comes to it: that may be long, with nothing else to do.
      if (length >= LARGE) this.bytes.buffer.transfer(0);
      return;
    }
    kept += length;
    blocks[order - SMALLEST]!.push(this);
  }
}

const blocks: Block[][] = Array.from({ length: LARGEST - SMALLEST + 1 }, () => []);
/** How many bytes they have. */
let kept = 0;

/** The power of two that so many bytes fit into. */
function orderOf(size: number): number {
  return size <= 1 ? 0 : 32 - Math.clz32(size - 1);
}

const spare: Frame[] = [];

/**
 * One frame. Who takes it from {@linkcode Frame.take} or a socket owns it and must
 * {@linkcode Frame.release} it.
 */
export class Frame {
  readonly #chunk: Uint8Array<ArrayBuffer>;
  readonly #at: number;
  #size = 0;
  /** Where its bytes are if they are too many for its own memory. */
  #block: Block | undefined = undefined;
  #released = true;

  /** Use {@linkcode Frame.take}. */
  private constructor(chunk: Uint8Array<ArrayBuffer>, at: number) {
    this.#chunk = chunk;
    this.#at = at;
  }

  /** An empty frame of one's own. */
  static take(): Frame {
    if (spare.length === 0) Frame.#makeMore();
    const frame = spare.pop()!;
    frame.#released = false;
    return frame;
  }

  /** One that holds bytes of someone else's, which are copied. */
  static of(bytes: Uint8Array, at = 0, size = bytes.length): Frame {
    const frame = Frame.take();
    frame.#size = size;
    if (size > SHORT) {
      frame.#block = Block.take(size);
      frame.#block.bytes.set(bytes.subarray(at, at + size));
    } else {
      const chunk = frame.#chunk, to = frame.#at;
      for (let i = 0; i < size; i++) chunk[to + i] = bytes[at + i]!;
    }
    return frame;
  }

  /** One whose bytes are the first of a block, which is its own from now on. */
  static in(block: Block, size: number): Frame {
    const frame = Frame.take();
    frame.#size = size;
    frame.#block = block;
    return frame;
  }

  static #makeMore(): void {
    const chunk = new Uint8Array(CHUNK * SHORT);
    for (let i = CHUNK - 1; i >= 0; i--) spare.push(new Frame(chunk, i * SHORT));
  }

  /** How many bytes it holds. */
  get size(): number {
    return this.#size;
  }

  /** Where they are, if that can be sent without a copy. */
  get block(): Block | undefined {
    return this.#block;
  }

  /** Another frame with the same content, which is not copied if it is long. */
  copy(): Frame {
    const copy = Frame.take(), size = this.#size;
    copy.#size = size;
    if (this.#block === undefined) {
      const from = this.#chunk, into = copy.#chunk, source = this.#at, target = copy.#at;
      for (let i = 0; i < size; i++) into[target + i] = from[source + i]!;
    } else copy.#block = this.#block.hold();
    return copy;
  }

  /** Has it take no more memory than its content, since it is going to be there for a while. */
  detach(): void {
    const block = this.#block, size = this.#size;
    if (block === undefined || block.bytes.length === size) return;
    const own = Block.exact(size);
    own.bytes.set(block.bytes.subarray(0, size));
    this.#block = own;
    block.release();
  }

  /** The content, copied. */
  bytes(): Uint8Array<ArrayBuffer> {
    const bytes = new Uint8Array(this.#size);
    this.read(bytes);
    return bytes;
  }

  /**
   * Copies the content.
   *
   * @param into Where to, and
   * @param at from which place on; there must be room for all of it.
   */
  write(into: Uint8Array, at: number): void {
    const size = this.#size;
    if (this.#block === undefined) {
      const chunk = this.#chunk, from = this.#at;
      for (let i = 0; i < size; i++) into[at + i] = chunk[from + i]!;
    } else into.set(this.#block.bytes.subarray(0, size), at);
  }

  /**
   * Copies the beginning of the content.
   *
   * @param into Where to; filled as far as both go.
   * @returns The whole size in bytes.
   */
  read(into: Uint8Array): number {
    const size = this.#size, length = size < into.length ? size : into.length;
    if (this.#block === undefined) {
      const chunk = this.#chunk, from = this.#at;
      for (let i = 0; i < length; i++) into[i] = chunk[from + i]!;
    } else into.set(this.#block.bytes.subarray(0, length));
    return size;
  }

  /**
   * The content as a string with one character a byte (U+0000 to U+00FF): what to key a `Map`
   * with. It is not text; a typed array to hold six bytes would cost ten times as much.
   */
  toBinaryString(): string {
    return this.#block === undefined
      ? shortString(this.#chunk, this.#at, this.#size)
      : binaryString(this.#block.bytes, 0, this.#size);
  }

  /** Gives the frame back. It must not be used afterwards. */
  release(): void {
    if (this.#released === true) throw new StateError("A frame was released twice");
    this.#released = true;
    this.#size = 0;
    if (this.#block !== undefined) {
      this.#block.release();
      this.#block = undefined;
    }
    if (spare.length < SPARE) spare.push(this);
  }
}
