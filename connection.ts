/**
 * One DEALER socket connected to one broker: what a client and a worker have in common on the
 * wire. It decodes what comes and hands it on; what it means is theirs.
 *
 * @module
 */

import { CONTROL_LENGTH } from "./codec_multiplexed.ts";
import { ProtocolError } from "./errors.ts";
import { type MonitorEvent, Socket } from "./zmq/socket.ts";
import { POLLIN, POLLOUT } from "./zmq/symbols.ts";

/** How many messages are taken from a socket in one turn before others have theirs. */
const BATCH = 128;

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
  /** Whether what comes by it can wait for some ms: other sockets have a shorter way then. */
  isAside?: boolean;
}

/** A message that waits for room. */
interface Unsent {
  readonly frames: readonly Uint8Array[];
  /** Called when it was sent. */
  readonly onSent: (() => void) | undefined;
  /** Settles the promise of that. */
  readonly resolve: () => void;
}

/** A connection to a broker. Reconnecting is left to its owner, who makes a new one. */
export class Connection<C> {
  /** Where the broker is. */
  readonly endpoint: string;
  readonly #socket: Socket;
  readonly #options: ConnectionOptions<C>;
  readonly #control = new Uint8Array(CONTROL_LENGTH);
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

  /**
   * Sends a message. If the socket's queue is full (the broker does not take what comes) it is
   * sent as soon as there is room, in its turn.
   *
   * @param onSent Called when it was sent, if that is not at once: before anything is handed on that
   * the broker says to it, which the promise may not be. Must not throw.
   * @returns Nothing if it was sent at once, else a promise that resolves when it was, or when
   * the connection was closed before.
   * @throws {StateError} After `close()`.
   */
  send(frames: readonly Uint8Array[], onSent?: () => void): Promise<void> | undefined {
    if (this.#unsent.length === 0 && this.#socket.send(frames) === "sent") return undefined;
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#unsent.push({ frames, onSent, resolve });
    this.#watch(POLLIN | POLLOUT);
    return promise;
  }

  /**
   * Takes back a message that waits to be sent.
   *
   * @param frames The very array that `send()` was given.
   * @returns Whether it did: if not, the message has been sent.
   */
  withdraw(frames: readonly Uint8Array[]): boolean {
    const at = this.#unsent.findIndex((each) => each.frames === frames);
    if (at < 0) return false;
    for (const { resolve } of this.#unsent.splice(at, 1)) resolve();
    // Room is nothing to be told of any more.
    if (this.#unsent.length === 0) this.#watch();
    return true;
  }

  /** Hands on what has come already, without waiting for the event loop to find it. */
  poll(): void {
    if (!this.#socket.isClosed) this.#ready();
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
    for (let i = 0; i < BATCH && !this.#socket.isClosed; i++) {
      const frames = this.#socket.receiveBytes(this.#control);
      if (frames === undefined) return;
      let command: C;
      try {
        command = this.#options.decode(frames);
      } catch (error) {
        if (!(error instanceof ProtocolError)) throw error;
        this.#options.onInvalid(error);
        continue;
      }
      this.#options.onCommand(command);
    }
  };

  #flush(): void {
    if (this.#unsent.length === 0) return;
    while (this.#unsent.length > 0) {
      if (this.#socket.send(this.#unsent[0]!.frames) !== "sent") return;
      const { onSent, resolve } = this.#unsent.shift()!;
      onSent?.();
      resolve();
    }
    // Whoever was told may have closed it.
    if (!this.#socket.isClosed) this.#watch();
  }
}
