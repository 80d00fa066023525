/**
 * What a broker listens with: a {@linkcode Router} of our own where it can be, and libzmq's ROUTER
 * elsewhere, both as a {@linkcode BrokerSocket}.
 *
 * @module
 */

import { AcceptWatch } from "./broker_accepts.ts";
import type { ResolvedBrokerOptions } from "./options.ts";
import { libzmq } from "./zmq/library.ts";
import { Context, type SendResult, Socket, type Traffic } from "./zmq/socket.ts";
import { NOTIFY_DISCONNECT, POLLIN } from "./zmq/symbols.ts";
import { Frame } from "./zmtp/frame.ts";
import { Listener } from "./zmtp/listener.ts";
import { Router } from "./zmtp/router.ts";

/** How many addresses are kept; as many connections may have been there. */
const ADDRESSES = 65_536;

/** A ROUTER, as a broker uses it. Identities are binary strings. */
export interface BrokerSocket {
  /** Whether it tells when a peer's connection is gone: by an empty frame alone. */
  readonly tellsGone: boolean;
  /** Who the last message of `receive()` came from. */
  readonly sender: string;
  /** What has passed through it; identities do not count. */
  readonly traffic: Traffic;
  /** Whether `close()` was called. */
  readonly isClosed: boolean;
  /** How long what peers do not take outlives `close()`, in ms. */
  set linger(milliseconds: number);
  /** Listens. @returns The endpoint, with the port that was chosen for `*`. */
  bind(endpoint: string): string;
  /** Has the handler called, which begins with a receive, and failures to accept told. */
  watch(handler: () => void, onAcceptFailed: (endpoint: string, code: string) => void): void;
  /** The frames of a message, to be released; `undefined` if there is none now. */
  receive(): Frame[] | undefined;
  /** Where a peer connects from, if that is known. */
  addressOf(name: string): string | undefined;
  /** Has a message sent no later than with the next `flush()`. Frames stay their owner's. */
  sendTo(
    name: string,
    envelope: readonly Uint8Array[],
    frames: readonly (Frame | Uint8Array)[],
  ): SendResult;
  /** To be called when all is done that is to be done since a peer is gone: its name is free then. */
  free(name: string): void;
  /** Sends what there is. */
  flush(): void;
  /** Takes no new connections where it would go on to after `close()`. */
  unbind(): void;
  /** Closes it. @returns A promise of when all is sent or given up, and its endpoints are free. */
  close(): Promise<void>;
}

/**
 * Makes the socket of a broker: our own ROUTER, unless an endpoint is one that libzmq alone can
 * listen at, or the options say so.
 *
 * @throws {ZmqError} `EMFILE` if the process may have no more sockets.
 */
export function openBrokerSocket(options: ResolvedBrokerOptions): BrokerSocket {
  const isOwn = options.transport === "auto" && options.bind.every(Listener.canListen);
  return isOwn ? new OwnSocket(options) : new LibzmqSocket(options);
}

class OwnSocket extends Router implements BrokerSocket {
  readonly tellsGone = true;

  unbind(): void {
    // That is part of its end.
  }
}

/** A ROUTER of libzmq, whose frames are copied. */
class LibzmqSocket implements BrokerSocket {
  readonly tellsGone: boolean = libzmq().draft;
  sender = "";
  readonly #socket: Socket;
  readonly #endpoints: string[] = [];
  /** Where the peers connect from. */
  readonly #addresses = new Map<string, string | undefined>();
  #accepts: AcceptWatch | undefined;

  constructor({ bind, linger, maxMessageSize, sendHighWaterMark }: ResolvedBrokerOptions) {
    // The end of a context of its own is known, a socket's alone is not: only then have messages
    // left and endpoints been freed. Who is reached by inproc must share the process's.
    const shares = bind.some((endpoint) => endpoint.startsWith("inproc:"));
    this.#socket = new Socket("ROUTER", {
      linger,
      maxMessageSize: Number.isFinite(maxMessageSize) ? maxMessageSize : -1,
      sendHighWaterMark,
      routerMandatory: 1,
      ...(this.tellsGone ? { routerNotify: NOTIFY_DISCONNECT } : {}),
    }, shares ? Context.shared() : new Context());
  }

  get traffic(): Traffic {
    return this.#socket.traffic;
  }

  get isClosed(): boolean {
    return this.#socket.isClosed;
  }

  set linger(milliseconds: number) {
    this.#socket.set("linger", milliseconds);
  }

  bind(endpoint: string): string {
    this.#socket.set("ipv6", endpoint.includes("[") ? 1 : 0);
    const bound = this.#socket.bind(endpoint);
    this.#endpoints.push(bound);
    return bound;
  }

  watch(handler: () => void, onAcceptFailed: (endpoint: string, code: string) => void): void {
    this.#socket.watch(handler, POLLIN, "complete");
    this.#accepts = new AcceptWatch(this.#socket, onAcceptFailed);
  }

  receive(): Frame[] | undefined {
    const messages = this.#socket.receiveFrom();
    if (messages === undefined) return undefined;
    const name = this.sender = this.#socket.sender.toBinaryString();
    if (!this.#addresses.has(name)) {
      // Without its draft API libzmq does not say who is gone.
      if (this.#addresses.size >= ADDRESSES) this.#addresses.clear();
      this.#addresses.set(name, messages.at(-1)?.peerAddress);
    }
    const frames: Frame[] = [];
    for (const message of messages) {
      frames.push(Frame.of(message.bytes()));
      message.release();
    }
    if (frames.length === 1 && frames[0]!.size === 0) this.#addresses.delete(name);
    return frames;
  }

  addressOf(name: string): string | undefined {
    return this.#addresses.get(name);
  }

  sendTo(
    name: string,
    envelope: readonly Uint8Array[],
    frames: readonly (Frame | Uint8Array)[],
  ): SendResult {
    const rest = frames.map((frame) => frame instanceof Frame ? frame.bytes() : frame);
    return this.#socket.send([name, ...envelope, ...rest]);
  }

  free(): void {
    // libzmq does not ask.
  }

  flush(): void {
    // Each was sent.
  }

  unbind(): void {
    // The context of these is shared, and does not end: they would be there until the socket is gone.
    for (const endpoint of this.#endpoints) {
      if (endpoint.startsWith("inproc:")) this.#socket.unbind(endpoint);
    }
  }

  close(): Promise<void> {
    this.#accepts?.stop();
    return this.#socket.close();
  }
}
