/**
 * A socket without any protocol, for tests that look at the bytes on the wire: it plays a
 * broker, a client or a worker by hand.
 *
 * @module
 */

import assert from "node:assert/strict";
import { Socket, type SocketOptions, type SocketType } from "../zmq/socket.ts";

/** A frame as tests write it: text is UTF-8, numbers are single bytes. */
export type RawFrame = string | Uint8Array | readonly number[];

/** The bytes of a frame. */
export function bytes(frame: RawFrame): Uint8Array {
  return typeof frame === "string" ? new TextEncoder().encode(frame) : new Uint8Array(frame);
}

/**
 * A control frame of the multiplexed dialect, spelled out here once more so that a fault of the
 * codec cannot hide itself.
 */
function control(
  header: string,
  command: number,
  id: number | bigint | RawFrame,
  value: number,
  flags: number,
): Uint8Array {
  const frame = new Uint8Array(20), fields = new DataView(frame.buffer);
  frame.set(bytes(header));
  frame[6] = command;
  frame[7] = flags;
  if (typeof id === "number" || typeof id === "bigint") fields.setBigUint64(8, BigInt(id));
  else frame.set(bytes(id), 8);
  fields.setUint32(16, value);
  return frame;
}

/** A control frame of the client side. */
export function CX(
  command: number,
  id: number | bigint | RawFrame = 0,
  value = 0,
  flags = 0,
): Uint8Array {
  return control("MDPCX1", command, id, value, flags);
}

/** A control frame of the worker side; an id may be the 8 bytes of a token. */
export function WX(
  command: number,
  id: number | bigint | RawFrame = 0,
  value = 0,
  flags = 0,
): Uint8Array {
  return control("MDPWX1", command, id, value, flags);
}

/** Whether there is IPv6: some containers have none. */
export const IPV6 = (() => {
  try {
    Deno.listen({ hostname: "::1", port: 0 }).close();
    return true;
  } catch {
    return false;
  }
})();

/** Frames in a form that reads well in a failed assertion: printable ASCII as it is, else hex. */
export function show(frames: readonly RawFrame[]): string[] {
  return frames.map((frame) => {
    const raw = bytes(frame);
    if (raw.length > 0 && raw.every((byte) => byte >= 0x20 && byte < 0x7f)) {
      return new TextDecoder().decode(raw);
    }
    return `<${[...raw].map((byte) => byte.toString(16).padStart(2, "0")).join(" ")}>`;
  });
}

/** Asserts that a message has exactly these frames. */
export function assertFrames(actual: readonly Uint8Array[], expected: readonly RawFrame[]): void {
  assert.deepEqual(show(actual), show(expected));
}

/** How long a test waits for what must come, in ms: only a failing one waits so long. */
const PATIENCE = 10_000;

/** A socket without any protocol. */
export class RawSocket {
  /** Where it is bound or connected. */
  readonly endpoint: string;
  /** The socket. */
  readonly socket: Socket;
  readonly #inbox: Uint8Array[][] = [];
  readonly #waiting: ((message: Uint8Array[]) => void)[] = [];

  private constructor(type: SocketType, options: SocketOptions, endpoint: string, bind: boolean) {
    this.socket = new Socket(type, { linger: 0, ...options });
    if (bind) this.endpoint = this.socket.bind(endpoint);
    else this.socket.connect(this.endpoint = endpoint);
    this.socket.watch(() => {
      for (let message; (message = this.socket.receiveBytes()) !== undefined;) {
        const waiting = this.#waiting.shift();
        if (waiting !== undefined) waiting(message);
        else this.#inbox.push(message);
        // A REQ socket refuses to be asked for more until it has sent again.
        if (this.socket.isClosed || type === "REQ") return;
      }
    });
  }

  /** A ROUTER that plays the broker. Default: a free port on loopback. */
  static router(endpoint = "tcp://127.0.0.1:*", options: SocketOptions = {}): RawSocket {
    return new RawSocket("ROUTER", options, endpoint, true);
  }

  /** A DEALER that plays a client or a worker. */
  static dealer(endpoint: string, options: SocketOptions = {}): RawSocket {
    return new RawSocket("DEALER", options, endpoint, false);
  }

  /** A REQ socket that plays a client. */
  static req(endpoint: string): RawSocket {
    return new RawSocket("REQ", {}, endpoint, false);
  }

  /** Sends one message, which must be possible. */
  send(...frames: RawFrame[]): void {
    assert.equal(this.socket.send(frames.map(bytes)), "sent");
  }

  /** The next message. */
  receive(patience = PATIENCE): Promise<Uint8Array[]> {
    const message = this.#inbox.shift();
    if (message !== undefined) return Promise.resolve(message);
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => {
        this.#waiting.splice(this.#waiting.indexOf(receiver), 1);
        reject(new assert.AssertionError({ message: `No message came within ${patience} ms` }));
      }, patience);
      const receiver = (message: Uint8Array[]) => {
        clearTimeout(timer);
        resolve(message);
      };
      this.#waiting.push(receiver);
    });
  }

  /** The next message, which must have these frames. */
  async expect(...frames: RawFrame[]): Promise<void> {
    assertFrames(await this.receive(), frames);
  }

  /** The next message that is not a worker's or broker's HEARTBEAT, with or without delimiter. */
  async receiveButHeartbeats(patience = PATIENCE): Promise<Uint8Array[]> {
    for (;;) {
      const message = await this.receive(patience);
      const last = message.at(-1)!, header = message.at(-2);
      const isHeartbeat = header !== undefined && last.length === 1 && last[0] === 5 &&
        new TextDecoder().decode(header) === "MDPW02";
      if (!isHeartbeat) return message;
    }
  }

  /** Messages that have come and were not asked for. */
  get unread(): Uint8Array[][] {
    return this.#inbox;
  }

  /** Closes the socket. */
  close(): Promise<void> {
    return this.socket.close();
  }

  /** Closes the socket, for `await using`. */
  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }
}
