/**
 * ZeroMQ's contexts and sockets over libzmq's C functions. Each pointer has one owner here;
 * after `close()` every use throws a {@linkcode StateError}. Nothing blocks: what cannot be done
 * now is said by the result.
 *
 * @module
 */

import { StateError } from "../errors.ts";
import { bytesOf, cString, errorCode, isTold, lastError, libzmq } from "./library.ts";
import { Message, size_t } from "./message.ts";
import { Pinned } from "./pinned.ts";
import { type Manner, reactor, type Watched } from "./reactor.ts";
import * as zmq from "./symbols.ts";
import type { Symbols } from "./symbols.ts";

/** The socket types that can be made here, with the numbers of zmq.h. */
const TYPES = {
  PAIR: zmq.PAIR,
  REQ: zmq.REQ,
  REP: zmq.REP,
  DEALER: zmq.DEALER,
  ROUTER: zmq.ROUTER,
} as const;

/** A ZeroMQ socket type. */
export type SocketType = keyof typeof TYPES;

/** The socket options that can be set here: number in zmq.h, and type in C. */
const OPTIONS = {
  /** ZMQ_ROUTING_ID: 1 to 255 bytes, to be set before connecting. */
  routingId: { id: 5, type: "bytes" },
  /** ZMQ_LINGER: ms that unsent messages outlive `close()`; -1 for ever. */
  linger: { id: 17, type: "int" },
  /** ZMQ_RECONNECT_IVL: ms before the first attempt to reconnect. */
  reconnectInterval: { id: 18, type: "int" },
  /** ZMQ_BACKLOG: how many connections may wait to be accepted. */
  backlog: { id: 19, type: "int" },
  /** ZMQ_RECONNECT_IVL_MAX: ms up to which that interval doubles. */
  reconnectIntervalMax: { id: 21, type: "int" },
  /** ZMQ_MAXMSGSIZE: bytes of a frame; who sends more is cut off; -1 is no limit. */
  maxMessageSize: { id: 22, type: "int64" },
  /** ZMQ_SNDHWM: messages queued for a peer; 0 is no limit. */
  sendHighWaterMark: { id: 23, type: "int" },
  /** ZMQ_RCVHWM: messages queued from a peer; 0 is no limit. */
  receiveHighWaterMark: { id: 24, type: "int" },
  /** ZMQ_RCVTIMEO: ms that a receive may block, where it may. */
  receiveTimeout: { id: 27, type: "int" },
  /** ZMQ_ROUTER_MANDATORY: 1 tells of a peer that is gone or full, instead of silent loss. */
  routerMandatory: { id: 33, type: "int" },
  /** ZMQ_TCP_KEEPALIVE: 1 lets the kernel probe silent connections. */
  tcpKeepalive: { id: 34, type: "int" },
  /** ZMQ_IMMEDIATE: 1 queues messages for finished connections only. */
  immediate: { id: 39, type: "int" },
  /** ZMQ_IPV6: 1 takes IPv6 addresses too. */
  ipv6: { id: 42, type: "int" },
  /** ZMQ_ROUTER_NOTIFY, draft: a message of its id and an empty frame for each peer that goes. */
  routerNotify: { id: 97, type: "int" },
  /** ZMQ_IN_BATCH_SIZE, draft: bytes that are received at a time at most. */
  inBatchSize: { id: 101, type: "int" },
  /** ZMQ_OUT_BATCH_SIZE, draft: bytes that are sent at a time at most, of short messages. */
  outBatchSize: { id: 102, type: "int" },
} as const;

/** A socket option that can be set here. */
export type SocketOption = keyof typeof OPTIONS;

/** Its value: bytes for `routingId`, a whole number for the others. */
export type SocketOptions = {
  [name in SocketOption]?: (typeof OPTIONS)[name]["type"] extends "bytes" ? Uint8Array : number;
};

/**
 * A frame to send: bytes, a {@linkcode Message} (whose content moves out of it), or a binary
 * string of one character a byte, which is what identities are kept as.
 */
export type Frame = Uint8Array | Pinned | Message | string;

/**
 * What became of a message: `sent` means queued for the peer. `full`: its high-water mark is
 * reached, or nobody is connected (`EAGAIN`); `unreachable`: a ROUTER has no such peer
 * (`EHOSTUNREACH`). In the last two nothing was sent, and all messages still have their content.
 */
export type SendResult = "sent" | "full" | "unreachable";

type NotSent = Exclude<SendResult, "sent">;

/** What a monitor can tell, with the numbers of zmq.h. */
const EVENTS = {
  /** A connection is being made. */
  connecting: zmq.EVENT_CONNECT_DELAYED,
  /** It is to be made anew after a while. */
  waiting: zmq.EVENT_CONNECT_RETRIED,
  /** A connection stands. */
  connected: zmq.EVENT_HANDSHAKE_SUCCEEDED,
  /** A connection is gone. */
  disconnected: zmq.EVENT_DISCONNECTED,
  /** A new connection cannot be taken; told again and again, as fast as can be, while it lasts. */
  acceptFailed: zmq.EVENT_ACCEPT_FAILED,
} as const;

/** What a monitor tells of. */
export type MonitorEvent = keyof typeof EVENTS;

/** More about it. */
export interface MonitorDetails {
  /** Of the socket's own end. */
  endpoint: string;
  /** `acceptFailed`: why, e.g. `"EMFILE"`. */
  code: string;
}

/** How often a call is made again whose error is not its own; then that is thrown all the same. */
const MISSES = 10;

/** What a message has that is not there, for the number of its bytes. */
const NOTHING = -1;

/** How many monitors there have been: each has an endpoint of its own. */
let monitors = 0;

/** The number of sockets that a context may hold: libzmq's own limit, not its default of 1023. */
const SOCKET_LIMIT = 65_535;

/**
 * A ZeroMQ context: the I/O thread, and the sockets that share it. It is there while it has
 * sockets; with the last one it ends, once their messages are sent or have lingered enough.
 */
export class Context {
  static #shared: Context | undefined;
  readonly #pointer: Deno.PointerObject;
  #sockets = 0;
  #over = false;

  constructor() {
    const { symbols } = libzmq();
    const pointer = symbols.zmq_ctx_new();
    if (pointer === null) throw lastError("zmq_ctx_new", "a context");
    symbols.zmq_ctx_set(pointer, zmq.MAX_SOCKETS, SOCKET_LIMIT);
    this.#pointer = pointer;
  }

  /** The one that the sockets of this process share. */
  static shared(): Context {
    if (Context.#shared === undefined || Context.#shared.#over) Context.#shared = new Context();
    return Context.#shared;
  }

  /** Makes a socket's pointer; {@linkcode Context.closeSocket} ends it. For `Socket` only. */
  openSocket(type: number): Deno.PointerObject {
    if (this.#over) throw new StateError("The context is closed");
    const socket = libzmq().symbols.zmq_socket(this.#pointer, type);
    if (socket === null) {
      const error = lastError("zmq_socket", "a new socket");
      if (this.#sockets === 0) this.#end();
      throw error;
    }
    this.#sockets++;
    return socket;
  }

  /**
   * Closes a socket's pointer. Resolves when that is done, for the last one when all that the
   * context had to send is sent or given up.
   */
  async closeSocket(socket: Deno.PointerObject): Promise<void> {
    libzmq().symbols.zmq_close(socket);
    if (--this.#sockets === 0) await this.#end();
  }

  async #end(): Promise<void> {
    this.#over = true;
    // -1 is EINTR, and to be called again; a bad pointer cannot be.
    while (await libzmq().symbols.zmq_ctx_term(this.#pointer) !== 0);
  }
}

/** What has passed through a socket: messages, and the bytes of their frames. */
export interface Traffic {
  messagesIn: number;
  bytesIn: number;
  messagesOut: number;
  bytesOut: number;
}

/** A ZeroMQ socket, used on the thread that made it. */
export class Socket {
  /** `void *` of libzmq. */
  readonly pointer: Deno.PointerObject;
  /** For the reactor: `ZMQ_FD`. */
  readonly descriptor: number;
  /** Its type. */
  readonly type: SocketType;
  /** What has passed through it. The identities that a ROUTER puts before messages do not count. */
  readonly traffic: Traffic = { messagesIn: 0, bytesIn: 0, messagesOut: 0, bytesOut: 0 };
  readonly #context: Context;
  /** Libzmq's functions. To ask for them with each call takes 5 % of a broker's time in JavaScript. */
  readonly #symbols: Symbols = libzmq().symbols;
  #interest = 0;
  #manner: Manner = "plain";
  /** What libzmq has for ZMQ_RCVTIMEO: without end, unless set. */
  #receiveTimeout = -1;
  /** What is told to the next receive: one that the reactor asks for may block. */
  #receiveFlags: number = zmq.DONTWAIT;
  #handler: ((events: number) => void) | undefined;
  #closed: Promise<void> | undefined;
  #monitor: Socket | undefined;
  #sender: Message | undefined;

  /**
   * @param type Its type.
   * @param options Set before anything else.
   * @param context Whose I/O thread it uses. Default: the process's.
   * @throws {ZmqError} `EMFILE` if the process may have no more sockets; `EINVAL` for an option's
   * value that libzmq refuses.
   */
  constructor(type: SocketType, options: SocketOptions = {}, context = Context.shared()) {
    this.type = type;
    this.#context = context;
    this.pointer = context.openSocket(TYPES[type]);
    try {
      for (const [name, value] of Object.entries(options)) {
        if (value !== undefined) this.set(name as SocketOption, value as never);
      }
      this.descriptor = this.#getInt(zmq.FD, "ZMQ_FD");
    } catch (error) {
      this.close();
      throw error;
    }
  }

  /** Whether `close()` was called. */
  get isClosed(): boolean {
    return this.#closed !== undefined;
  }

  /** For the reactor: what is waited for. */
  get interest(): number {
    return this.#interest;
  }

  /** For the reactor. */
  state: Watched["state"] = "not watched";

  /** For the reactor. */
  get manner(): Manner {
    return this.#manner;
  }

  /** For the reactor. */
  events(): number {
    const { symbols } = libzmq();
    for (let misses = 0;;) {
      const result = symbols.zmq_getsockopt(this.pointer, zmq.EVENTS, eventsBytes, intLength);
      if (result === 0) return eventsHeld[0]!;
      const code = errorCode();
      if (code === "EINTR" || (!isTold(code) && ++misses < MISSES)) continue;
      throw lastError("zmq_getsockopt", "ZMQ_EVENTS");
    }
  }

  /** For the reactor. */
  ready(events: number): void {
    this.#handler?.(events);
  }

  /** For the reactor. */
  readyWithin(milliseconds: number): boolean {
    if (this.#receiveTimeout !== milliseconds) {
      this.set("receiveTimeout", milliseconds);
      this.#receiveTimeout = milliseconds;
    }
    const { messagesIn } = this.traffic;
    this.#receiveFlags = 0;
    try {
      this.#handler?.(zmq.POLLIN);
    } finally {
      this.#receiveFlags = zmq.DONTWAIT;
    }
    return this.traffic.messagesIn !== messagesIn;
  }

  /**
   * Has the handler called whenever there is something to receive (`POLLIN`), until this is
   * called with another or the socket is closed. Keeps the process alive.
   *
   * @param handler Called with what holds now.
   * @param interest `POLLIN`, `POLLOUT`, both or none.
   * @param manner How the reactor serves it. For `POLLIN` alone the handler begins with a receive,
   * which may block where the reactor has it so, and find nothing.
   */
  watch(
    handler: (events: number) => void,
    interest: number = zmq.POLLIN,
    manner: Manner = "plain",
  ): void {
    this.#open();
    const first = this.#handler === undefined;
    this.#handler = handler;
    if (!first && interest === this.#interest && manner === this.#manner) return;
    this.#interest = interest;
    this.#manner = manner;
    if (first) reactor.add(this);
    else reactor.interestChanged(this);
  }

  /**
   * Has the handler called for each event: by default when the connection to a peer stands, with its
   * handshake done, and when it is gone. libzmq goes on to make it anew by itself.
   *
   * @throws {StateError} If it is monitored already, or after `close()`.
   * @throws {ZmqError} `EMFILE` if the process may have no more sockets.
   */
  monitor(
    handler: (event: MonitorEvent, details: MonitorDetails) => void,
    events: readonly MonitorEvent[] = ["connected", "disconnected"],
  ): void {
    this.#open();
    if (this.#monitor !== undefined) throw new StateError("The socket is monitored already");
    const address = `inproc://monitor-${++monitors}`;
    const mask = events.reduce((mask, event) => mask | EVENTS[event], 0);
    // Libzmq's I/O thread, the whole context's, would wait for someone to tell and for room to, with
    // a lock held that it takes to end the monitor: so this end is there first, without a bound.
    const monitor = new Socket("PAIR", { linger: 0, receiveHighWaterMark: 0 }, this.#context);
    monitor.connect(address);
    if (libzmq().symbols.zmq_socket_monitor(this.pointer, cString(address), mask) !== 0) {
      const error = lastError("zmq_socket_monitor", `a ${this.type} socket`);
      monitor.close();
      throw error;
    }
    this.#monitor = monitor;
    monitor.watch(
      () => {
        for (let frames; !monitor.isClosed && (frames = monitor.receiveBytes()) !== undefined;) {
          // The first frame is the event, 16 bits in the machine's order, and a value of 32.
          const view = new DataView(frames[0]!.buffer), number = view.getUint16(0, true);
          const event = events.find((event) => EVENTS[event] === number);
          if (event === undefined) continue;
          const errno = view.getInt32(2, true);
          handler(event, {
            endpoint: new TextDecoder().decode(frames[1]),
            code: zmq.ERRNO.get(errno) ?? `E${errno}`,
          });
        }
      },
      zmq.POLLIN,
      "later",
    );
  }

  /** Ends `monitor()`, if there is one: nothing more is told. @returns A promise of its end. */
  async unmonitor(): Promise<void> {
    const monitor = this.#monitor;
    if (monitor === undefined) return;
    this.#monitor = undefined;
    // Before its other end is closed: libzmq's I/O thread, the whole context's, would wait for
    // ever to tell it of the next event.
    libzmq().symbols.zmq_socket_monitor(this.pointer, null, 0);
    await monitor.close();
  }

  /** Sets an option. @throws {ZmqError} `EINVAL` if libzmq does not know it or its value. */
  set<O extends SocketOption>(name: O, value: NonNullable<SocketOptions[O]>): void {
    this.#open();
    const { id, type } = OPTIONS[name];
    let bytes: Uint8Array<ArrayBuffer>;
    if (type === "bytes") bytes = new Uint8Array(value as Uint8Array);
    else if (type === "int") bytes = bytesOf(new Int32Array([value as number]));
    else bytes = bytesOf(new BigInt64Array([BigInt(value as number)]));
    const { symbols } = libzmq();
    if (symbols.zmq_setsockopt(this.pointer, id, bytes, BigInt(bytes.length)) !== 0) {
      throw lastError("zmq_setsockopt", `option ${name}=${value}`);
    }
  }

  /**
   * Binds to an endpoint.
   *
   * @param endpoint `tcp://ADDRESS:PORT` (`*` for any), `ipc://PATH` or `inproc://NAME`.
   * @returns The endpoint as bound, with the port that was chosen for `*`.
   * @throws {ZmqError} `EADDRINUSE`, `EADDRNOTAVAIL`, `EACCES`, `EINVAL`, `EPROTONOSUPPORT`, ….
   */
  bind(endpoint: string): string {
    this.#call("zmq_bind", endpoint);
    return this.lastEndpoint;
  }

  /** Undoes a bind. @throws {ZmqError} `ENOENT` if it is not bound there. */
  unbind(endpoint: string): void {
    this.#call("zmq_unbind", endpoint);
  }

  /** Connects to an endpoint; the connection is made, and made again, in the background. */
  connect(endpoint: string): void {
    this.#call("zmq_connect", endpoint);
  }

  /** Undoes a connect. @throws {ZmqError} `ENOENT` if it is not connected there. */
  disconnect(endpoint: string): void {
    this.#call("zmq_disconnect", endpoint);
  }

  /** The endpoint last bound or connected to; empty before. */
  get lastEndpoint(): string {
    this.#open();
    const value = new Uint8Array(1024), length = new BigUint64Array([1024n]);
    const { symbols } = libzmq();
    const result = symbols.zmq_getsockopt(this.pointer, zmq.LAST_ENDPOINT, value, bytesOf(length));
    if (result !== 0) throw lastError("zmq_getsockopt", "ZMQ_LAST_ENDPOINT");
    return new TextDecoder().decode(value.subarray(0, Math.max(0, Number(length[0]) - 1)));
  }

  /**
   * Sends one message, if that is possible now. Messages among the frames are emptied by it.
   *
   * @param frames One or more; to a ROUTER's peer the first is its identity.
   * @returns What became of it.
   * @throws {StateError} After `close()`, and for no frames.
   * @throws {ZmqError} `EFSM` where the socket type forbids a send now.
   */
  send(frames: readonly Frame[]): SendResult {
    this.#open();
    if (frames.length === 0) throw new StateError("A message has at least one frame");
    const sent = this.#sendFrames(frames);
    reactor.touched(this);
    if (typeof sent !== "number") return sent;
    const { traffic } = this;
    traffic.messagesOut++;
    traffic.bytesOut += sent;
    return "sent";
  }

  /** @returns How many bytes they have, but for a peer's identity, if all were sent. */
  #sendFrames(frames: readonly Frame[]): number | NotSent {
    const last = frames.length - 1, first = this.type === "ROUTER" ? 1 : 0;
    let bytes = 0;
    for (let i = 0; i <= last; i++) {
      const flags = i < last ? zmq.DONTWAIT | zmq.SNDMORE : zmq.DONTWAIT;
      const sent = this.#sendFrame(frames[i]!, flags);
      if (typeof sent !== "number") return sent;
      if (i >= first) bytes += sent;
    }
    return bytes;
  }

  /** @returns How many bytes it has, if it was sent. */
  #sendFrame(frame: Frame, flags: number): number | NotSent {
    const symbols = this.#symbols;
    for (let misses = 0;; misses++) {
      let sent: number;
      if (frame instanceof Message) {
        sent = symbols.zmq_msg_send(frame.pointer, this.pointer, flags);
      } else if (frame instanceof Pinned) {
        sent = symbols.zmq_send_at(this.pointer, frame.pointer, frame.length, flags);
      } else sent = this.#sendBytes(frame, flags);
      if (sent >= 0) return sent;
      const why = this.#notSent(misses);
      if (why !== undefined) return why;
    }
  }

  #sendBytes(frame: Uint8Array | string, flags: number): number {
    // The FFI wants an address, which an empty array may not have.
    const bytes = typeof frame === "string"
      ? bytesOfBinary(frame)
      : frame.length === 0
      ? scratch
      : frame as Uint8Array<ArrayBuffer>;
    return this.#symbols.zmq_send(this.pointer, bytes, size_t(frame.length), flags);
  }

  /** Why a frame was not sent just now; `undefined` if that is to be tried again. */
  #notSent(misses: number): NotSent | undefined {
    const code = errorCode();
    switch (code) {
      case "EINTR":
        // A signal came in between.
        return undefined;
      case "EAGAIN":
        return "full";
      case "EHOSTUNREACH":
        return "unreachable";
    }
    if (isTold(code) || misses >= MISSES) throw lastError("zmq_send", `a ${this.type} socket`);
  }

  /**
   * Receives one message from a peer of a ROUTER, if there is one.
   *
   * @returns The frames after the identity, which is in {@linkcode Socket.sender} until the next
   * call; to be released by the caller. `undefined` if there is none now.
   * @throws {StateError} After `close()`.
   */
  receiveFrom(): Message[] | undefined {
    this.#open();
    const { sender } = this;
    return this.#tell(this.#receiveFrame(sender)) ? this.#receiveRest(sender.more) : undefined;
  }

  /** Tells the reactor of the first frame. @returns Whether there is a message. */
  #tell(size: number): boolean {
    const isThere = size !== NOTHING;
    if (isThere) reactor.touched(this);
    else reactor.drained(this);
    return isThere;
  }

  /**
   * The identity that the last message of `receiveFrom` came with: of the socket's own memory, which
   * `receiveBytes` uses, too.
   */
  get sender(): Message {
    return this.#sender ??= Message.take();
  }

  #receiveRest(more: boolean): Message[] {
    let count = 0, bytes = 0;
    try {
      while (more) {
        const frame = incoming[count++] = Message.take();
        bytes += this.#receiveNext(frame);
        more = frame.more;
      }
    } catch (error) {
      for (let i = 0; i < count; i++) incoming[i]!.release();
      throw error;
    }
    const { traffic } = this;
    traffic.messagesIn++;
    traffic.bytesIn += bytes;
    // Written out for what a broker gets most: a call for it takes 7 % of its time in JavaScript.
    if (count === 3) return [incoming[0]!, incoming[1]!, incoming[2]!];
    if (count === 2) return [incoming[0]!, incoming[1]!];
    const frames = incoming.slice(0, count);
    if (count > INCOMING) incoming.length = INCOMING;
    return frames;
  }

  /** @returns How many bytes it has; `NOTHING` if there is no message. */
  #receiveFrame(frame: Message): number {
    const flags = this.#receiveFlags;
    this.#receiveFlags = zmq.DONTWAIT;
    for (let misses = 0;; misses++) {
      const size = this.#symbols.zmq_msg_recv(frame.pointer, this.pointer, flags);
      if (size >= 0) return size;
      if (this.#hasNothing(misses)) return NOTHING;
    }
  }

  /** The rest of a message is there as soon as its first frame is. @returns How many bytes the next has. */
  #receiveNext(frame: Message): number {
    const size = this.#receiveFrame(frame);
    if (size === NOTHING) throw lastError("zmq_msg_recv", `a ${this.type} socket`);
    return size;
  }

  /** Whether nothing was received since there is nothing; if not, it is to be tried again. */
  #hasNothing(misses: number): boolean {
    const code = errorCode();
    if (code === "EAGAIN") return true;
    // A signal that came in between is no reason to give up.
    if (code !== "EINTR" && (isTold(code) || misses >= MISSES)) {
      throw lastError("zmq_msg_recv", `a ${this.type} socket`);
    }
    return false;
  }

  /**
   * Receives one message, if there is one, with its frames copied into JavaScript.
   *
   * @param first Where a first frame of its very length is copied to, instead of to new memory:
   * that costs 300 ns, whatever the length, and again some for the garbage collector. Of another
   * length, it is in memory of its own.
   * @returns The frames; `undefined` if there is none now.
   * @throws {StateError} After `close()`.
   * @throws {ZmqError} `EFSM` where the socket type forbids it now.
   */
  receiveBytes(first?: Uint8Array<ArrayBuffer>): Uint8Array<ArrayBuffer>[] | undefined {
    this.#open();
    const frame = this.sender;
    if (!this.#tell(this.#receiveFrame(frame))) return undefined;
    let more = frame.more;
    const head = taken(frame, first);
    let bytes = head.length, frames: Uint8Array<ArrayBuffer>[] | undefined;
    while (more) {
      bytes += this.#receiveNext(frame);
      more = frame.more;
      const next = taken(frame);
      // Written out for what comes most, as in `#receiveRest()`.
      if (frames === undefined) frames = [head, next];
      else frames.push(next);
    }
    const { traffic } = this;
    traffic.messagesIn++;
    traffic.bytesIn += bytes;
    return frames ?? [head];
  }

  /**
   * Closes the socket: no use of it is possible any more, and whatever waits for it is over.
   * What it still has to send lingers as its option says.
   *
   * @returns A promise of the end: libzmq has let go of it, and if it was the process's last,
   * all has been sent or given up.
   */
  close(): Promise<void> {
    if (this.#closed !== undefined) return this.#closed;
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#closed = promise;
    const monitored = this.unmonitor();
    const finish = () => {
      this.#sender?.release();
      const closed = this.#context.closeSocket(this.pointer);
      resolve(Promise.all([closed, monitored]).then(() => {}));
    };
    if (this.#handler === undefined) finish();
    else reactor.remove(this, finish);
    this.#handler = undefined;
    return promise;
  }

  /** `close()`, for `using`. */
  [Symbol.dispose](): void {
    this.close();
  }

  /** `close()`, for `await using`. */
  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  #open(): void {
    if (this.#closed !== undefined) throw new StateError(`The ${this.type} socket is closed`);
  }

  #call(call: "zmq_bind" | "zmq_unbind" | "zmq_connect" | "zmq_disconnect", endpoint: string) {
    this.#open();
    const result = libzmq().symbols[call](this.pointer, cString(endpoint));
    if (result !== 0) throw lastError(call, `"${endpoint}"`);
    reactor.touched(this);
  }

  #getInt(option: number, name: string): number {
    const value = new Int32Array(1), length = new BigUint64Array([4n]);
    const { symbols } = libzmq();
    if (symbols.zmq_getsockopt(this.pointer, option, bytesOf(value), bytesOf(length)) !== 0) {
      throw lastError("zmq_getsockopt", name);
    }
    return value[0]!;
  }
}

/**
 * Where the frames of a message are gathered: an array that grows by the frame is three times as
 * long as it need be, and much of what the garbage collector would have to do in a broker.
 */
const incoming: Message[] = [];
/** How long it stays. */
const INCOMING = 64;

/** Where ZMQ_EVENTS is read to. */
const eventsHeld = new Int32Array(1), eventsBytes = bytesOf(eventsHeld);
const intLength = bytesOf(new BigUint64Array([BigInt(eventsHeld.byteLength)]));

/** The content of a frame, which is let go: in this memory if it has the very size. */
function taken(frame: Message, into?: Uint8Array<ArrayBuffer>): Uint8Array<ArrayBuffer> {
  let bytes = into;
  if (bytes !== undefined && frame.size === bytes.length) frame.read(bytes);
  else bytes = frame.bytes();
  frame.clear();
  return bytes;
}

let scratch = new Uint8Array(256);

/** The bytes of a binary string, valid until the next call. */
function bytesOfBinary(text: string): Uint8Array<ArrayBuffer> {
  if (text.length > scratch.length) scratch = new Uint8Array(text.length);
  for (let i = 0; i < text.length; i++) scratch[i] = text.charCodeAt(i);
  return scratch;
}
