/**
 * One DEALER socket connected to one broker: what a client and a worker have in common on the
 * wire. It decodes what comes and hands it on; what it means is theirs.
 *
 * @module
 */

import { CONTROL_LENGTH } from "./codec_multiplexed.ts";
import { ProtocolError } from "./errors.ts";
import { now } from "./zmq/clock.ts";
import { Pinned } from "./zmq/pinned.ts";
import { WAITED } from "./zmq/reactor.ts";
import { type Frame, type MonitorEvent, Socket } from "./zmq/socket.ts";
import { POLLIN, POLLOUT } from "./zmq/symbols.ts";

/**
 * How many messages are taken from a socket in one turn before others have theirs: as many as a broker
 * takes. With fewer, a client in the broker's own process, as the gateway's, falls behind a worker that
 * sends parts as fast as it can, until the broker gives it up.
 */
const BATCH = 256;
/** Up to how long the pause before a connection is made anew grows where it begins with less, in ms. */
const RECONNECT_MAX = 100;

/** What a {@linkcode Connection} is made with. */
export interface ConnectionOptions<C> {
  /** Where the broker is. */
  endpoint: string;
  /** How long what was sent outlives `close()`, in ms. */
  linger: number;
  /** How many bytes a frame may have. */
  maxMessageSize: number;
  /**
   * Turns a message into a command, or throws a `ProtocolError`. A control frame is not to be kept:
   * the next one is in the same memory.
   */
  decode(frames: Uint8Array[]): C;
  /** Called with each command, in order. Must not throw. */
  onCommand(command: C): void;
  /** Called for each message that is not one. Must not throw. */
  onInvalid(error: ProtocolError): void;
  /** Called when the connection stands and when it is gone, if given. Must not throw. */
  onMonitor?(event: MonitorEvent): void;
  /** How soon a connection that is gone is made anew, in ms. Default: libzmq's. */
  reconnectInterval?: number;
  /** Whether what comes by it can wait for some ms: other sockets have a shorter way then. */
  isAside?: boolean;
}

/** A message that waits for room. */
export interface Unsent {
  readonly frames: readonly Frame[];
  /** Resolves when it was sent, taken back, or the connection was closed before. */
  readonly promise: Promise<void>;
  /** Settles that. */
  readonly resolve: () => void;
  /**
   * To be set by who wants to know of it at once: called when it was sent, before anything is handed
   * on that the broker says to it, which the promise may not be. Must not throw.
   */
  onSent?: () => void;
}

/** A connection to a broker. Reconnecting is left to its owner, who makes a new one. */
export class Connection<C> {
  /** Where the broker is. */
  readonly endpoint: string;
  readonly #socket: Socket;
  readonly #options: ConnectionOptions<C>;
  /** Where control frames are read to: to make an array for each takes 15 % of the client's CPU. */
  readonly #control = new Uint8Array(CONTROL_LENGTH);
  #outgoing: Pinned | undefined;
  /** How many messages the last read took. */
  #taken = 0;
  /** When what is read now began to be, while it is. */
  #readAt: number | undefined;
  /** Messages that the socket would not take, and who waits for it to. */
  readonly #unsent: Unsent[] = [];

  /**
   * Connects, in the background.
   *
   * @throws {ZmqError} If libzmq refuses the endpoint, or another socket (`EMFILE`).
   */
  constructor(options: ConnectionOptions<C>) {
    this.#options = options;
    this.endpoint = options.endpoint;
    this.#socket = new Socket("DEALER", {
      linger: options.linger,
      maxMessageSize: Number.isFinite(options.maxMessageSize) ? options.maxMessageSize : -1,
      ipv6: options.endpoint.includes("[") ? 1 : 0,
      ...options.reconnectInterval && {
        reconnectInterval: options.reconnectInterval,
        reconnectIntervalMax: RECONNECT_MAX,
      },
    });
    try {
      // Before it connects, so that no event is missed.
      if (options.onMonitor !== undefined) {
        this.#socket.monitor((event) => {
          if (!this.#socket.isClosed) options.onMonitor!(event);
        });
      }
      this.#socket.connect(options.endpoint);
      this.#watch();
    } catch (error) {
      this.#socket.close();
      throw error;
    }
  }

  /** Whether `close()` was called. */
  get isClosed(): boolean {
    return this.#socket.isClosed;
  }

  /** Where a control frame can be written that is sent next: of the connection's own memory. */
  get control(): Pinned {
    return this.#outgoing ??= new Pinned(new Uint8Array(CONTROL_LENGTH));
  }

  /**
   * The time, as `performance.now()` tells it; but within `onCommand` it is that of the first of some
   * messages that are handed on together: a worker would ask with each of them.
   */
  get now(): number {
    return this.#readAt ?? now();
  }

  /**
   * Sends a message. If the socket's queue is full (the broker does not take what comes) it is
   * sent as soon as there is room, in its turn.
   *
   * @param frames Kept if it has to wait; the first may be {@linkcode Connection.control} or its bytes.
   * @returns Nothing if it was sent at once, else what waits.
   * @throws {StateError} After `close()`.
   */
  send(frames: Frame[]): Unsent | undefined {
    if (this.#unsent.length === 0 && this.#socket.send(frames) === "sent") return undefined;
    // When it is sent, that has been written over.
    const bytes = this.#outgoing?.bytes;
    if (bytes !== undefined && (frames[0] === bytes || frames[0] === this.#outgoing)) {
      frames[0] = bytes.slice();
    }
    const unsent: Unsent = { frames, ...Promise.withResolvers<void>() };
    this.#unsent.push(unsent);
    this.#watch(POLLIN | POLLOUT);
    return unsent;
  }

  /** Takes back a message that waits to be sent. @returns Whether it did: if not, it has been sent. */
  withdraw(unsent: Unsent): boolean {
    const at = this.#unsent.indexOf(unsent);
    if (at < 0) return false;
    this.#unsent.splice(at, 1);
    unsent.resolve();
    // Room is nothing to be told of any more.
    if (this.#unsent.length === 0) this.#watch();
    return true;
  }

  /** Hands on what has come already, without waiting for the event loop to find it. */
  poll(): void {
    if (this.#socket.isClosed) return;
    this.#flush();
    this.#read(Infinity);
  }

  /**
   * Has it told when the connection that stands now is gone: where that is so already, when libzmq goes
   * about the next one. What has come by then is there to be read.
   *
   * @param onGone Called once or more. Must not throw.
   * @throws {StateError} If there is an `onMonitor`.
   * @throws {ZmqError} `EMFILE` if the process may have no more sockets.
   */
  watchEnd(onGone: () => void): void {
    this.#socket.monitor(() => {
      if (!this.#socket.isClosed) onGone();
    }, ["disconnected", "waiting", "connecting", "connected"]);
  }

  /**
   * Closes the connection; no command comes any more.
   *
   * @param linger How long what was sent may still take to leave, in ms, if not as told first.
   */
  close(linger?: number): Promise<void> {
    if (!this.#socket.isClosed && linger !== undefined) this.#socket.set("linger", linger);
    for (const { resolve } of this.#unsent.splice(0)) resolve();
    return this.#socket.close();
  }

  #watch(interest: number = POLLIN): void {
    this.#socket.watch(this.#ready, interest, this.#options.isAside ? "later" : "plain");
  }

  readonly #ready = (): void => {
    this.#flush();
    this.#read(now());
  };

  /**
   * Hands on what has come.
   *
   * @param from When a wait for it may have begun: where messages come one by one, just one is taken,
   * as to ask for another costs as much as to receive it. `Infinity`: all are that are there.
   */
  #read(from: number): void {
    let most = BATCH, taken = 0;
    try {
      while (taken < most && !this.#socket.isClosed) {
        const frames = this.#socket.receiveBytes(this.#control);
        if (frames === undefined) return;
        if (taken++ === 0) {
          this.#readAt = now();
          if (this.#readAt - from > WAITED && this.#taken === 1) most = 1;
        }
        this.#handOn(frames);
      }
    } finally {
      this.#readAt = undefined;
      this.#taken = taken;
    }
  }

  #handOn(frames: Uint8Array[]): void {
    let command: C;
    try {
      command = this.#options.decode(frames);
    } catch (error) {
      if (!(error instanceof ProtocolError)) throw error;
      this.#options.onInvalid(error);
      return;
    }
    this.#options.onCommand(command);
  }

  #flush(): void {
    if (this.#unsent.length === 0) return;
    while (this.#unsent.length > 0) {
      const unsent = this.#unsent[0]!;
      if (this.#socket.send(unsent.frames) !== "sent") return;
      this.#unsent.shift();
      unsent.onSent?.();
      unsent.resolve();
    }
    // Whoever was told may have closed it.
    if (!this.#socket.isClosed) this.#watch();
  }
}
