/**
 * Bytes that are sent more than once, with the address that they have: {@linkcode Pinned}.
 *
 * @module
 */

/**
 * Bytes whose address is known. For those of a typed array the FFI asks with each call, which takes
 * twice as long as the rest of it (11 ns and 5).
 */
export class Pinned {
  /** The bytes, which may change but stay where they are. */
  readonly bytes: Uint8Array<ArrayBuffer>;
  /** Where that is. */
  readonly pointer: Deno.PointerObject;
  /** How many they are, as the FFI takes it. */
  readonly length: bigint;

  /** Takes bytes. */
  constructor(bytes: Uint8Array<ArrayBuffer>) {
    this.bytes = bytes;
    this.length = BigInt(bytes.length);
    // From an address, as with messages: one of the array's own would keep another 150 bytes.
    const address = Deno.UnsafePointer.value(
      Deno.UnsafePointer.of(bytes.length > 0 ? bytes : SOME),
    );
    this.pointer = Deno.UnsafePointer.create(address)!;
  }
}

/** No bytes may have no address, and the FFI wants one. */
const SOME = new Uint8Array(1);
