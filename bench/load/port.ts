/**
 * Sockets of a load: as little between the generator and libzmq as there can be, so that what is
 * measured is the broker. A frame costs one call here, against five and an object for each in a
 * `Socket` that knows nothing of what comes.
 *
 * @module
 */

import { libzmq } from "../../zmq/library.ts";
import { Socket } from "../../zmq/socket.ts";

const DONTWAIT = 1, SNDMORE = 2, RCVMORE = 13, EAGAIN = 11, EINTR = 4, POLLIN = 1;

/** The functions of libzmq and of the C library behind it that only a load needs. */
const { symbols } = Deno.dlopen(libzmq().path, {
  zmq_recv: { parameters: ["pointer", "buffer", "usize", "i32"], result: "i32" },
  zmq_send: { parameters: ["pointer", "buffer", "usize", "i32"], result: "i32" },
  zmq_getsockopt: { parameters: ["pointer", "i32", "buffer", "buffer"], result: "i32" },
  zmq_errno: { parameters: [], result: "i32" },
  /** poll(2) with a timeout in nanoseconds: what is sent at a fixed rate is due between two ms. */
  ppoll: { parameters: ["buffer", "u64", "buffer", "pointer"], result: "i32" },
});

/** A frame to send, or room for one to receive; its sizes as the FFI wants them are made once. */
export class Frame {
  /** Its content, which may be written to between two sends. */
  readonly bytes: Uint8Array<ArrayBuffer>;
  /** How much there is room for. */
  readonly capacity: bigint;
  /** How much of it is sent. */
  length: bigint;
  #size: number;

  /** @param content Its bytes, or how many there are. */
  constructor(content: string | number | readonly number[]) {
    const bytes = typeof content === "string"
      ? new TextEncoder().encode(content)
      : typeof content === "number"
      ? new Uint8Array(content)
      : Uint8Array.from(content);
    this.#size = bytes.length;
    this.length = BigInt(bytes.length);
    // The FFI wants an address, which an empty array may not have.
    this.bytes = bytes.length > 0 ? bytes : new Uint8Array(1);
    this.capacity = BigInt(this.bytes.length);
  }

  /** How many bytes of it are sent, or what came would have had. */
  get size(): number {
    return this.#size;
  }

  set size(size: number) {
    if (size === this.#size) return;
    this.#size = size;
    this.length = BigInt(Math.min(size, this.bytes.length));
  }
}

/** A DEALER, as a client or worker has it. */
export class Port {
  readonly #socket: Socket;
  readonly #pointer: Deno.PointerObject;
  /** For {@linkcode wait}. */
  readonly descriptor: number;

  /** Connects to a broker; no limit is set to what may be queued on either side. */
  constructor(endpoint: string) {
    const socket = new Socket("DEALER", {
      linger: 0,
      sendHighWaterMark: 0,
      receiveHighWaterMark: 0,
    });
    socket.connect(endpoint);
    this.#socket = socket;
    this.#pointer = socket.pointer;
    this.descriptor = socket.descriptor;
  }

  /** Sends a frame of a message; the last one is sent with {@linkcode Port.send}. */
  sendMore(frame: Frame): void {
    this.#send(frame, DONTWAIT | SNDMORE);
  }

  /** Sends the last frame of a message. */
  send(frame: Frame): void {
    this.#send(frame, DONTWAIT);
  }

  #send({ bytes, length }: Frame, flags: number): void {
    while (symbols.zmq_send(this.#pointer, bytes, length, flags) < 0) {
      const errno = symbols.zmq_errno();
      if (errno !== EINTR) throw new Error(`zmq_send failed: errno ${errno}`);
    }
  }

  /**
   * Receives a frame.
   *
   * @param into What is overwritten, and given its size; no more than fits is written.
   * @returns Its size; -1 if there is none now.
   */
  receive(into: Frame): number {
    for (;;) {
      const size = symbols.zmq_recv(
        this.#pointer,
        into.bytes,
        into.capacity,
        DONTWAIT,
      );
      if (size >= 0) return into.size = size;
      const errno = symbols.zmq_errno();
      if (errno === EAGAIN) return -1;
      if (errno !== EINTR) throw new Error(`zmq_recv failed: errno ${errno}`);
    }
  }

  /** Takes the rest of a message that is not what was expected. */
  skip(): void {
    while (this.#hasMore()) this.receive(nothing);
  }

  #hasMore(): boolean {
    symbols.zmq_getsockopt(this.#pointer, RCVMORE, moreBytes, lengthBytes);
    return more[0] !== 0;
  }

  /** Closes it; nothing that is not sent yet is waited for. */
  close(): Promise<void> {
    return this.#socket.close();
  }
}

const nothing = new Frame(1);
const more = new Int32Array(1), moreBytes = new Uint8Array(more.buffer);
const lengthBytes = new Uint8Array(new BigUint64Array([4n]).buffer);

/**
 * Waits for messages on ports, each of which must have been emptied since its last send: only then
 * does its descriptor tell of all that comes.
 */
export class Wait {
  readonly #ports: readonly Port[];
  /** struct pollfd: int fd; short events; short revents. */
  readonly #items: DataView<ArrayBuffer>;
  readonly #bytes: Uint8Array<ArrayBuffer>;
  readonly #count: bigint;
  /** struct timespec: seconds and nanoseconds. */
  readonly #time = new BigInt64Array(2);
  readonly #timeBytes = new Uint8Array(this.#time.buffer);

  /** @param ports All that are waited for. */
  constructor(ports: readonly Port[]) {
    this.#ports = ports;
    this.#items = new DataView(new ArrayBuffer(Math.max(1, ports.length) * 8));
    this.#bytes = new Uint8Array(this.#items.buffer);
    this.#count = BigInt(ports.length);
    ports.forEach(({ descriptor }, i) => {
      this.#items.setInt32(8 * i, descriptor, true);
      this.#items.setInt16(8 * i + 4, POLLIN, true);
    });
  }

  /**
   * Blocks the whole process until there is something or time is up.
   *
   * @param milliseconds How long at most; fractions count.
   * @param ready Called with the index of each port that may have something.
   */
  for(milliseconds: number, ready: (index: number) => void): void {
    const left = Math.max(0, milliseconds);
    this.#time[0] = BigInt(Math.floor(left / 1_000));
    this.#time[1] = BigInt(Math.floor((left % 1_000) * 1e6));
    let count = symbols.ppoll(this.#bytes, this.#count, this.#timeBytes, null);
    for (let i = 0; count > 0 && i < this.#ports.length; i++) {
      if (this.#items.getInt16(8 * i + 6, true) === 0) continue;
      count--;
      ready(i);
    }
  }
}
