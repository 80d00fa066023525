/**
 * Peers that warm a broker up: {@linkcode WarmUpPeer} sends and receives many messages with one call,
 * as they are on the wire, so that what runs meanwhile is the broker's code and hardly any of theirs.
 *
 * @module
 */

import { command, GREETING, GREETING_LENGTH, LONG, MORE } from "../zmtp/wire.ts";
import {
  addressOf,
  AF_UNIX,
  linux,
  MSG_DONTWAIT,
  MSG_NOSIGNAL,
  SOCK_CLOEXEC,
  SOCK_NONBLOCK,
  SOCK_STREAM,
  Vectors,
} from "../zmtp/linux.ts";
import { pathAddress } from "../zmtp/listener.ts";
import { lastError } from "../zmq/library.ts";

/** How much is received at a time. */
const READ = 65_536;
const SOCKET_TYPE = [11, ..."Socket-Type"].map(byteOf),
  DEALER = [0, 0, 0, 6, ..."DEALER"].map(byteOf);

/** A DEALER at the other end of an abstract endpoint of `ipc:`. */
export class WarmUpPeer {
  readonly #linux = linux();
  readonly #descriptor: number;
  readonly #bytes = new Uint8Array(2 * READ);
  readonly #received = new Vectors(1);
  readonly #sent = new Vectors(1);
  /** How many bytes of the next message are there. */
  #rest = 0;
  /** How many of the handshake are still to come. */
  #handshake = GREETING_LENGTH + 2;
  /** What is still to be sent. */
  #unsent = new Uint8Array(0);

  /** Connects to a path. @throws {ZmqError} If it cannot, as when there are no more descriptors. */
  constructor(path: string) {
    const { socket, connect } = this.#linux;
    this.#descriptor = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (this.#descriptor < 0) throw lastError("socket", "the warm-up");
    const address = pathAddress(path);
    if (connect(this.#descriptor, address, address.length) !== 0) {
      const error = lastError("connect", "the warm-up");
      this[Symbol.dispose]();
      throw error;
    }
    this.send(GREETING);
    this.send(command("READY", [...SOCKET_TYPE, ...DEALER]));
  }

  /** Sends bytes, as soon as there is room for them. */
  send(bytes: Uint8Array<ArrayBuffer>): void {
    this.#unsent = this.#unsent.length === 0 ? bytes : joined([this.#unsent, bytes]);
    this.#push();
  }

  #push(): void {
    while (this.#unsent.length > 0) {
      this.#sent.clear();
      this.#sent.add(addressOf(this.#unsent), this.#unsent.length);
      const flags = MSG_DONTWAIT | MSG_NOSIGNAL;
      const sent = this.#linux.sendmsg(this.#descriptor, this.#sent.pointer, flags);
      if (sent <= 0) return;
      this.#unsent = this.#unsent.subarray(sent);
    }
  }

  /**
   * Receives what is there.
   *
   * @param each Called with the places of the frames of each message, which it may change.
   * @returns All whole messages, as they were received.
   */
  receive(
    each: (bytes: Uint8Array, frames: readonly number[]) => void,
  ): Uint8Array<ArrayBuffer> | undefined {
    this.#push();
    const bytes = this.#bytes;
    this.#received.clear();
    this.#received.add(addressOf(bytes) + BigInt(this.#rest), READ);
    const length = this.#linux.recvmsg(this.#descriptor, this.#received.pointer, MSG_DONTWAIT);
    if (length <= 0) return undefined;
    const end = this.#rest + length;
    let at = 0;
    if (this.#handshake > 0) {
      // Its greeting, and a READY that is as long as its second byte says.
      if (end < GREETING_LENGTH + 2) {
        this.#rest = end;
        return undefined;
      }
      at = GREETING_LENGTH + 2 + bytes[GREETING_LENGTH + 1]!;
      if (end < at) {
        this.#rest = end;
        return undefined;
      }
      this.#handshake = 0;
    }
    const from = at, frames: number[] = [];
    let whole = at;
    while (at + 9 < end || (at < end && (bytes[at]! & LONG) === 0 && at + 2 <= end)) {
      const flags = bytes[at]!, isLong = (flags & LONG) !== 0, begin = at + (isLong ? 9 : 2);
      const size = isLong ? bytes[at + 7]! << 8 | bytes[at + 8]! : bytes[at + 1]!;
      if (begin + size > end) break;
      frames.push(begin);
      at = begin + size;
      if ((flags & MORE) !== 0) continue;
      each(bytes, frames);
      frames.length = 0;
      whole = at;
    }
    const messages = bytes.slice(from, whole);
    bytes.copyWithin(0, whole, end);
    this.#rest = end - whole;
    return messages;
  }

  /** Leaves. */
  [Symbol.dispose](): void {
    this.#linux.close(this.#descriptor);
  }
}

/** A message as it is on the wire. */
export function onTheWire(frames: readonly Uint8Array[]): Uint8Array<ArrayBuffer> {
  return joined(frames.flatMap((frame, i) => {
    const more = i + 1 < frames.length ? MORE : 0, { length } = frame;
    const head = length < 256
      ? [more, length]
      : [more | LONG, 0, 0, 0, 0, 0, 0, length >> 8, length & 0xff];
    return [new Uint8Array(head), frame];
  }));
}

/** Bytes after each other. */
export function joined(parts: readonly Uint8Array[]): Uint8Array<ArrayBuffer> {
  const whole = new Uint8Array(parts.reduce((size, { length }) => size + length, 0));
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}

function byteOf(value: string | number): number {
  return typeof value === "number" ? value : value.charCodeAt(0);
}
