/**
 * A ROUTER socket without libzmq: {@linkcode Router} speaks ZMTP itself, on the thread that has the
 * rules. libzmq passes each message to a thread of its own and back, which takes system calls to wake
 * each other and memory that both share; here a message is read from what the system gave, and
 * written to where it takes it from.
 *
 * ```text
 *   epoll ─► a connection ─► recvmsg ─► #in ─► frames ─► receive()
 *                sendmsg ◄─ #out, long frames in place ◄─ sendTo(), until flush()
 * ```
 *
 * What the system does not take at once waits with its connection, and nothing else waits for it.
 *
 * @module
 */

import { StateError } from "../errors.ts";
import { binaryString } from "../zmq/binary_string.ts";
import { bytesOf, errorCode, lastError } from "../zmq/library.ts";
import { type Manner, reactor, type Watched } from "../zmq/reactor.ts";
import type { SendResult, Traffic } from "../zmq/socket.ts";
import { POLLIN } from "../zmq/symbols.ts";
import { Connection } from "./connection.ts";
import { Block, Frame } from "./frame.ts";
import {
  addressOf,
  EPOLL_CLOEXEC,
  EPOLL_CTL_ADD,
  EPOLL_CTL_DEL,
  EPOLL_CTL_MOD,
  EPOLL_DATA_AT,
  EPOLL_EVENT,
  EPOLLIN,
  EPOLLOUT,
  linux,
  MSG_DONTWAIT,
  MSG_NOSIGNAL,
  SHUT_RDWR,
  SHUT_WR,
  Vectors,
} from "./linux.ts";
import { Listener } from "./listener.ts";
import * as wire from "./wire.ts";

/** How many bytes are received at a time: who sends without end has no more before others. */
const READ = 8_192;
/** From how many bytes on a frame that is not whole is received to where it stays. */
const LONG = 4_096;
/** Room for what was left of the last time, and for as much again. */
const IN = 4 * READ;
/** Room for what is sent at a time. */
const OUT = 65_536;
/** From how many bytes on a frame is sent from where it is. */
const IN_PLACE = 8_192;
/** How many messages of one connection come before those of others, if there are such. */
const TURN = 192;
/** How many bytes a frame may have, whatever the options say. */
const LONGEST_FRAME = 2 ** 31 - 1;
/** What a PING counts the time to live of its connection in, in ms. */
const TENTH = 100;
/** How many pieces of memory sendmsg(2) is told of at most. */
const PIECES = 64;
/** How many connections are told of at a time. */
const EVENTS = 256;
/** How many frames of a message are looked at together. */
const FRAMES = 256;
/** What a frame counts for, beside its bytes, in a message that is not whole. */
const FRAME_COST = 64;
/** How many bytes a command may have. */
const LONGEST_COMMAND = 4_096;
/** How long a peer may take to greet, in ms, as with libzmq. */
const HANDSHAKE_TIMEOUT = 30_000;
/** How long nothing is accepted after that has failed, in ms. */
const PAUSE = 100;
/** How often in a row a call may fail with an error that is not its own. */
const MISSES = 10;

/** With what a connection ends. */
const ENDS: ReadonlySet<string> = new Set([
  "EPIPE",
  "ECONNABORTED",
  "ECONNREFUSED",
  "ECONNRESET",
  "EHOSTUNREACH",
  "ENETDOWN",
  "ENETUNREACH",
  "ENOTCONN",
  "ETIMEDOUT",
]);

/** How a {@linkcode Router} is to be. */
export interface RouterOptions {
  /** How many bytes a frame may have; who sends more is cut off. */
  maxMessageSize: number;
  /** How many messages may wait for a peer that does not take them. */
  sendHighWaterMark: number;
  /** How long these outlive `close()`, in ms. */
  linger: number;
}

/** A ROUTER that listens on Linux at `tcp:` and `ipc:`, see {@linkcode Listener.canListen}. */
export class Router implements Watched {
  /** For the reactor: of epoll. */
  readonly descriptor: number;
  /** For the reactor. */
  readonly interest = POLLIN;
  /** For the reactor. */
  readonly manner: Manner = "complete";
  /** For the reactor. */
  state: Watched["state"] = "not watched";
  /** What has passed through it; identities do not count. */
  readonly traffic: Traffic = { messagesIn: 0, bytesIn: 0, messagesOut: 0, bytesOut: 0 };
  /** Who the last message of `receive()` came from: its identity as a binary string. */
  sender = "";
  readonly #options: RouterOptions;
  readonly #linux = linux();
  readonly #listeners = new Map<number, Listener>();
  /** By descriptor. */
  readonly #connections: (Connection | undefined)[] = [];
  /** Those that are open, by the names of their peers. */
  readonly #open = new Map<string, Connection>();
  /** Names of those that are gone, until who receives has done what is to be done for that. */
  readonly #taken = new Set<string>();
  /** Those that have not greeted, in the order in which they came. */
  readonly #greeting = new Set<Connection>();
  /** Names whose connection is gone, which nobody was told of yet. */
  readonly #gone: string[] = [];
  #nextName = crypto.getRandomValues(new Uint32Array(1))[0]!;
  #handler: (() => void) | undefined;
  #timeout = 0;

  /** What epoll_wait(2) has told, how much that is, and how much of it is done. */
  readonly #events = new Uint8Array(EVENTS * EPOLL_EVENT);
  readonly #eventsAt = Deno.UnsafePointer.create(addressOf(this.#events))!;
  #fired = 0;
  #done = 0;
  readonly #event = new DataView(new ArrayBuffer(EPOLL_EVENT));

  /** What was received: of `#reading`, from `#inAt` to `#inEnd`. */
  readonly #in = new Uint8Array(IN);
  readonly #inView = new DataView(this.#in.buffer);
  readonly #inAddress = addressOf(this.#in);
  readonly #received = new Vectors(2);
  #reading: Connection | undefined;
  #inAt = 0;
  #inEnd = 0;
  /** How many messages of it were told, and whether there was a look at others since. */
  #told = 0;
  #hasLooked = false;
  /** Connections that have had their turn, and have more. */
  readonly #again: Connection[] = [];
  /** Where in it the frames of a message are. */
  readonly #begins = new Int32Array(FRAMES);
  readonly #sizes = new Int32Array(FRAMES);

  /** What is to be sent: to `#writing`, so many bytes of so many messages. */
  readonly #out = new Uint8Array(OUT);
  readonly #outAddress = addressOf(this.#out);
  /** All of `#out`, for what is sent without long frames. */
  readonly #sent = new Vectors(1);
  readonly #sentInParts = new Vectors(PIECES);
  #writing: Connection | undefined;
  #outAt = 0;
  #outMessages = 0;
  /** Long frames among it: whose memory, how much of that, before which place. */
  readonly #longs: { block: Block; size: number; at: number }[] = [];

  #onAcceptFailed: ((endpoint: string, code: string) => void) | undefined;
  readonly #timers = new Set<ReturnType<typeof setTimeout>>();
  #greetingTimer: ReturnType<typeof setTimeout> | undefined;
  #closed: Promise<void> | undefined;
  /** Called when nothing waits any more, while it closes. */
  #isOver: (() => void) | undefined;

  /** @throws {ZmqError} `EMFILE` if the process may have no more descriptors. */
  constructor(options: RouterOptions) {
    this.#options = { ...options };
    this.descriptor = this.#linux.epoll_create1(EPOLL_CLOEXEC);
    if (this.descriptor < 0) throw lastError("epoll_create1", "a ROUTER");
    this.#received.add(this.#inAddress, READ);
    this.#sent.add(this.#outAddress, 0);
  }

  /** Whether `close()` was called. */
  get isClosed(): boolean {
    return this.#closed !== undefined;
  }

  /** How long what waits for peers that do not take it outlives `close()`, in ms. */
  set linger(milliseconds: number) {
    this.#options.linger = milliseconds;
  }

  /**
   * Listens at an endpoint.
   *
   * @returns The endpoint, with the port that was chosen for `*`.
   * @throws {ZmqError} As `zmq_bind` would.
   */
  bind(endpoint: string): string {
    this.#mustBeOpen();
    const listener = Listener.listen(endpoint);
    this.#listeners.set(listener.descriptor, listener);
    this.#control(EPOLL_CTL_ADD, listener.descriptor, EPOLLIN);
    return listener.endpoint;
  }

  /**
   * Has the handler called whenever there may be something to receive, until it is closed. Keeps the
   * process alive.
   *
   * @param handler Receives until there is no more.
   * @param onAcceptFailed Told where a connection could not be taken, and why, e.g. `"EMFILE"`.
   */
  watch(handler: () => void, onAcceptFailed: (endpoint: string, code: string) => void): void {
    this.#mustBeOpen();
    this.#handler = handler;
    this.#onAcceptFailed = onAcceptFailed;
    reactor.add(this);
  }

  /** For the reactor. */
  events(): number {
    const isThere = this.#reading !== undefined || this.#gone.length > 0 ||
      this.#done < this.#fired || this.#again.length > 0;
    return isThere || this.#wait(0) ? POLLIN : 0;
  }

  /** For the reactor. */
  ready(): void {
    this.#handler?.();
  }

  /** For the reactor. */
  readyWithin(milliseconds: number): boolean {
    const { messagesIn } = this.traffic;
    this.#timeout = milliseconds;
    try {
      this.#handler?.();
    } finally {
      this.#timeout = 0;
    }
    return this.traffic.messagesIn !== messagesIn;
  }

  /** Where a peer connects from: an address of IP, or by `ipc:` ids as `localhost:0:0:4711`. */
  addressOf(name: string): string | undefined {
    return this.#open.get(name)?.address;
  }

  /** Lets another connection have the name of one that is gone: all is done that is to be done for that. */
  free(name: string): void {
    this.#taken.delete(name);
  }

  // ---- receiving ----

  /**
   * Receives one message, if there is one.
   *
   * @returns Its frames, to be released; who sent it is in {@linkcode Router.sender}. One empty frame
   * alone says that the peer's connection is gone. `undefined` if there is none now.
   * @throws {StateError} After `close()`.
   */
  receive(): Frame[] | undefined {
    this.#mustBeOpen();
    let timeout = this.#timeout, hasWaited = false;
    this.#timeout = 0;
    for (;;) {
      const reading = this.#reading;
      if (reading !== undefined) {
        const isEnough = this.#told === TURN, frames = isEnough ? undefined : this.#next(reading);
        if (frames !== undefined) {
          this.#told++;
          this.sender = reading.name;
          return this.#tell(frames);
        }
        this.#keepRest();
        if (isEnough && reading.rest !== undefined) {
          reading.hasMore = true;
          this.#again.push(reading);
        }
      } else if (this.#gone.length > 0) {
        this.sender = this.#gone.shift()!;
        return this.#tell([Frame.take()]);
      } else if (this.#done < this.#fired) this.#serve(this.#done++);
      else if (this.#again.length > 0) {
        if (this.#hasLooked) this.#readAgain(this.#again.shift()!);
        else this.#wait(0);
        this.#hasLooked = !this.#hasLooked;
      } else if (hasWaited) {
        reactor.drained(this);
        return undefined;
      } else {
        this.#wait(timeout);
        timeout = 0;
        hasWaited = true;
      }
    }
  }

  #tell(frames: Frame[]): Frame[] {
    this.traffic.messagesIn++;
    reactor.touched(this);
    return frames;
  }

  /** @returns Whether there is something. */
  #wait(milliseconds: number): boolean {
    const fired = this.#linux.epoll_wait(this.descriptor, this.#eventsAt, EVENTS, milliseconds);
    this.#done = 0;
    // -1 is a signal that came in between.
    this.#fired = fired > 0 ? fired : 0;
    return fired > 0;
  }

  /** Does what one event asks for. */
  #serve(index: number): void {
    const events = this.#events, at = index * EPOLL_EVENT, data = at + EPOLL_DATA_AT;
    const descriptor = events[data]! | events[data + 1]! << 8 | events[data + 2]! << 16;
    const connection = this.#connections[descriptor];
    if (connection === undefined) {
      const listener = this.#listeners.get(descriptor);
      if (listener !== undefined) this.#accept(listener);
      return;
    }
    const what = events[at]!;
    if ((what & EPOLLOUT) !== 0) this.#sendWaiting(connection);
    // What has come of it is told before more is received, or that it has ended.
    if ((what & ~EPOLLOUT) !== 0 && !connection.hasMore) this.#read(connection);
  }

  /** Receives what is there of one connection, into `#in`. */
  #read(connection: Connection): void {
    const { rest, long, descriptor } = connection, received = this.#received;
    let start = 0, room = 0;
    if (rest !== undefined) {
      // What is left of the last time comes before it.
      start = rest.length;
      this.#in.set(rest);
      connection.rest = undefined;
    }
    this.#told = 0;
    if (start === 0 && long === undefined) received.resize(READ);
    else {
      received.clear();
      if (long !== undefined) {
        room = connection.longSize - connection.longAt;
        received.add(long.address + BigInt(connection.longAt), room);
      }
      received.add(this.#inAddress + BigInt(start), Math.min(READ, IN - start));
    }
    const length = this.#linux.recvmsg(descriptor, received.pointer, MSG_DONTWAIT);
    if (start > 0 || long !== undefined) {
      received.clear();
      received.add(this.#inAddress, READ);
    }
    if (length > 0) {
      connection.misses = 0;
      connection.live();
      const inPlace = Math.min(length, room);
      connection.longAt += inPlace;
      this.#reading = connection;
      this.#inAt = 0;
      this.#inEnd = start + length - inPlace;
      return;
    }
    const code = length < 0 ? errorCode() : "";
    if (length < 0 && !ENDS.has(code)) {
      if (start > 0) connection.rest = this.#in.slice(0, start);
      const isNone = code === "EAGAIN" || code === "EINTR";
      if (isNone || ++connection.misses < MISSES) return;
    }
    this.#end(connection);
  }

  /** Goes on with what is left of a connection that had its turn. */
  #readAgain(connection: Connection): void {
    const { rest } = connection;
    connection.hasMore = false;
    if (rest === undefined) return;
    connection.rest = undefined;
    this.#in.set(rest);
    this.#reading = connection;
    this.#inAt = this.#told = 0;
    this.#inEnd = rest.length;
  }

  /** What is not a whole message stays with its connection. */
  #keepRest(): void {
    const connection = this.#reading!;
    this.#reading = undefined;
    if (connection.state === "closed" || this.#inAt === this.#inEnd) return;
    connection.rest = this.#in.slice(this.#inAt, this.#inEnd);
  }

  /** @returns The frames of the next message in `#in`, if all of it is there. */
  #next(connection: Connection): Frame[] | undefined {
    if (connection.state !== "open" && !this.#shakeHands(connection)) return undefined;
    if (connection.long !== undefined) {
      if (connection.longAt < connection.longSize) return undefined;
      const whole = this.#endLong(connection);
      if (whole !== undefined) return whole;
    }
    const bytes = this.#in, end = this.#inEnd, begins = this.#begins, sizes = this.#sizes;
    const { maxMessageSize } = this.#options;
    let at = this.#inAt, count = 0;
    while (at < end) {
      const flags = bytes[at]!;
      let begin = at + 2, size = 0;
      if (flags > 7) return this.#refuse(connection);
      if ((flags & wire.LONG) === 0) {
        if (begin > end) break;
        size = bytes[at + 1]!;
      } else {
        begin = at + 9;
        if (begin > end) break;
        size = this.#inView.getUint32(at + 1) * 2 ** 32 + this.#inView.getUint32(at + 5);
      }
      const next = begin + size, isCommand = (flags & wire.COMMAND) !== 0;
      const isMore = (flags & wire.MORE) !== 0;
      if (size > (isCommand ? LONGEST_COMMAND : maxMessageSize) || size > LONGEST_FRAME) {
        return this.#refuse(connection);
      }
      if (next > end) {
        if (size < LONG || isCommand) break;
        this.#gather(connection, count);
        if (this.#beginLong(connection, begin, size, isMore)) return undefined;
        return this.#refuse(connection);
      }
      if (isCommand) {
        if (isMore) return this.#refuse(connection);
        // libzmq sends its PINGs between the frames of a message, too.
        if (!this.#gather(connection, count)) return this.#refuse(connection);
        count = 0;
        this.#inAt = next;
        if (!this.#obey(connection, begin, next)) return undefined;
        at = next;
        continue;
      }
      begins[count] = begin;
      sizes[count++] = size;
      at = next;
      if (!isMore) {
        this.#inAt = at;
        return this.#take(connection, count);
      }
      if (count === FRAMES) {
        this.#inAt = at;
        if (!this.#gather(connection, count)) return this.#refuse(connection);
        count = 0;
      }
    }
    // It would be looked at again and again.
    if (end - this.#inAt > READ) {
      this.#inAt = at;
      if (!this.#gather(connection, count)) return this.#refuse(connection);
    }
    return undefined;
  }

  /** The frames of a message, of which so many are in `#in`. */
  #take(connection: Connection, count: number): Frame[] {
    const bytes = this.#in, begins = this.#begins, sizes = this.#sizes;
    const { traffic } = this;
    if (connection.frames.length === 0) {
      // Written out for what a broker gets most.
      if (count === 2) {
        traffic.bytesIn += sizes[0]! + sizes[1]!;
        return [Frame.of(bytes, begins[0], sizes[0]), Frame.of(bytes, begins[1], sizes[1])];
      }
      if (count === 3) {
        traffic.bytesIn += sizes[0]! + sizes[1]! + sizes[2]!;
        return [
          Frame.of(bytes, begins[0], sizes[0]),
          Frame.of(bytes, begins[1], sizes[1]),
          Frame.of(bytes, begins[2], sizes[2]),
        ];
      }
    }
    this.#gather(connection, count, true);
    return this.#takeGathered(connection);
  }

  #takeGathered(connection: Connection): Frame[] {
    const { frames } = connection;
    for (const frame of frames) this.traffic.bytesIn += frame.size;
    connection.frames = [];
    connection.framesSize = 0;
    return frames;
  }

  /**
   * Puts so many frames in `#in` with those that the connection has of the message.
   *
   * @returns Whether it is not too large for one that is not whole.
   */
  #gather(connection: Connection, count: number, isWhole = false): boolean {
    for (let i = 0; i < count; i++) {
      connection.frames.push(Frame.of(this.#in, this.#begins[i], this.#sizes[i]));
      connection.framesSize += this.#sizes[i]! + FRAME_COST;
    }
    // What has just too much is for the broker to refuse.
    return isWhole || connection.framesSize <= 2 * this.#options.maxMessageSize + OUT;
  }

  /** A frame whose end has not come. @returns Whether there is memory for it. */
  #beginLong(connection: Connection, begin: number, size: number, more: boolean): boolean {
    if (connection.framesSize + size > 2 * this.#options.maxMessageSize + OUT) return false;
    let block: Block;
    try {
      block = Block.take(size);
    } catch {
      return false;
    }
    block.bytes.set(this.#in.subarray(begin, this.#inEnd));
    connection.long = block;
    connection.longSize = size;
    connection.longAt = this.#inEnd - begin;
    connection.longMore = more;
    this.#inAt = this.#inEnd;
    return true;
  }

  /** @returns The message, if it was its last frame. */
  #endLong(connection: Connection): Frame[] | undefined {
    connection.frames.push(Frame.in(connection.long!, connection.longSize));
    connection.framesSize += connection.longSize + FRAME_COST;
    connection.long = undefined;
    return connection.longMore ? undefined : this.#takeGathered(connection);
  }

  // ---- connections ----

  #accept(listener: Listener): void {
    // One: if there are more that is told again. Beside three peers that do nothing but connect another
    // one is served five times as often so as where 16 are accepted at a time.
    const accepted = listener.accept();
    if (typeof accepted === "string") {
      if (["EMFILE", "ENFILE", "ENOBUFS", "ENOMEM"].includes(accepted)) {
        this.#pause(listener, accepted);
      }
      return;
    }
    const { descriptor, address } = accepted;
    const connection = new Connection(descriptor, address, performance.now());
    this.#connections[descriptor] = connection;
    this.#greeting.add(connection);
    this.#armGreeting();
    this.#control(EPOLL_CTL_ADD, descriptor, EPOLLIN);
    this.#say(connection, wire.GREETING);
  }

  /** Accepts nothing for a while: it would fail again and again. */
  #pause(listener: Listener, code: string): void {
    this.#control(EPOLL_CTL_DEL, listener.descriptor, 0);
    this.#onAcceptFailed?.(listener.endpoint, code);
    const timer = setTimeout(() => {
      this.#timers.delete(timer);
      this.#control(EPOLL_CTL_ADD, listener.descriptor, EPOLLIN);
    }, PAUSE);
    this.#timers.add(timer);
  }

  /** Closes those that do not greet. */
  #armGreeting(): void {
    if (this.#greetingTimer !== undefined) return;
    const [first] = this.#greeting;
    if (first === undefined) return;
    const left = Math.max(0, first.since + HANDSHAKE_TIMEOUT - performance.now());
    this.#greetingTimer = setTimeout(() => {
      this.#greetingTimer = undefined;
      const before = performance.now() - HANDSHAKE_TIMEOUT;
      for (const connection of this.#greeting) {
        if (connection.since > before) break;
        this.#end(connection);
      }
      this.#armGreeting();
    }, left);
  }

  /** What comes before messages. @returns Whether that is done. */
  #shakeHands(connection: Connection): boolean {
    const bytes = this.#in;
    if (connection.state === "greeting") {
      const fault = wire.faultOfGreeting(bytes, this.#inAt, this.#inEnd);
      if (fault !== undefined) this.#end(connection);
      if (fault !== undefined || this.#inEnd - this.#inAt < wire.GREETING_LENGTH) return false;
      this.#inAt += wire.GREETING_LENGTH;
      connection.state = "ready";
    }
    if (connection.state !== "ready" || this.#inEnd - this.#inAt < 2) return false;
    const flags = bytes[this.#inAt]!, isLong = (flags & wire.LONG) !== 0;
    const begin = this.#inAt + (isLong ? 9 : 2);
    if (begin > this.#inEnd) return false;
    const size = isLong ? this.#inView.getUint32(begin - 4) : bytes[begin - 1]!, end = begin + size;
    const isHuge = isLong && this.#inView.getUint32(begin - 8) > 0;
    if ((flags & ~wire.LONG) !== wire.COMMAND || isHuge || size > LONGEST_COMMAND) {
      this.#end(connection);
      return false;
    }
    if (end > this.#inEnd) return false;
    this.#inAt = end;
    return this.#obey(connection, begin, end);
  }

  /** A command. @returns Whether the connection is open. */
  #obey(connection: Connection, begin: number, end: number): boolean {
    const bytes = this.#in;
    const name = wire.nameOf(bytes, begin, end), isOpen = connection.state === "open";
    if (name === "READY" && !isOpen) {
      const ready = wire.identityIn(bytes, begin, end);
      if ("identity" in ready) return this.#name(connection, ready.identity);
      this.#end(connection);
    } else if (name === undefined || name === "ERROR" || !isOpen) this.#end(connection);
    // Who does not read what it is sent does not get more for asking.
    else if (name === "PING") {
      const tenths = wire.timeToLive(bytes, begin, end);
      if (tenths > 0) connection.liveFor(tenths * TENTH, () => this.#end(connection));
      if (connection.waiting.length === 0) this.#say(connection, wire.pong(bytes, begin, end));
    }
    return isOpen && this.#connections[connection.descriptor] === connection;
  }

  /** Gives a connection the name of its peer. @returns Whether it may have it. */
  #name(connection: Connection, identity: Uint8Array): boolean {
    this.#greeting.delete(connection);
    const name = identity.length > 0
      ? binaryString(identity, 0, identity.length)
      : this.#makeName();
    if (this.#open.has(name) || this.#taken.has(name)) {
      // Its READY is not answered, so it has sent nothing that would be lost, and tries again.
      this.#end(connection);
      return false;
    }
    connection.name = name;
    connection.state = "open";
    this.#open.set(name, connection);
    this.#say(connection, wire.READY);
    return true;
  }

  #makeName(): string {
    for (;;) {
      const number = this.#nextName++ >>> 0;
      const name = String.fromCharCode(
        0,
        number >>> 24,
        number >>> 16 & 0xff,
        number >>> 8 & 0xff,
        number & 0xff,
      );
      if (!this.#open.has(name) && !this.#taken.has(name)) return name;
    }
  }

  /** A peer that does not keep to ZMTP, or sends too much, is cut off. */
  #refuse(connection: Connection): undefined {
    this.#end(connection);
  }

  #end(connection: Connection): void {
    const { descriptor, name, state } = connection;
    if (state === "closed") return;
    connection.state = "closed";
    // What is still to be sent to it would go to who has the descriptor next.
    connection.isBroken = true;
    this.#connections[descriptor] = undefined;
    this.#greeting.delete(connection);
    if (state === "open") {
      this.#open.delete(name);
      // While it closes nobody receives any more.
      if (this.#closed === undefined) {
        this.#gone.push(name);
        this.#taken.add(name);
        reactor.touched(this);
      }
    }
    connection.release();
    this.#linux.close(descriptor);
  }

  #control(operation: number, descriptor: number, events: number): void {
    this.#event.setUint32(0, events, true);
    this.#event.setInt32(EPOLL_DATA_AT, descriptor, true);
    this.#linux.epoll_ctl(this.descriptor, operation, descriptor, bytesOf(this.#event));
  }

  // ---- sending ----

  /**
   * Has a message sent with the next `flush()`, or before.
   *
   * @param name The identity of the peer, as a binary string.
   * @param envelope The first frames, and
   * @param frames the others, which stay their owner's.
   */
  sendTo(
    name: string,
    envelope: readonly Uint8Array[],
    frames: readonly (Frame | Uint8Array)[],
  ): SendResult {
    this.#mustBeOpen();
    const connection = this.#open.get(name);
    if (connection === undefined) return "unreachable";
    if (connection.waitingMessages >= this.#options.sendHighWaterMark) return "full";
    if (this.#writing !== connection) {
      this.flush();
      this.#writing = connection;
    }
    const first = envelope.length, others = frames.length;
    let bytes = 0;
    for (let i = 0; i < first; i++) {
      const frame = envelope[i]!;
      bytes += frame.length;
      this.#writeBytes(frame, i + 1 < first || others > 0);
    }
    for (let i = 0; i < others; i++) {
      const frame = frames[i]!, more = i + 1 < others;
      if (frame instanceof Frame) {
        bytes += frame.size;
        this.#writeFrame(frame, more);
      } else {
        bytes += frame.length;
        this.#writeBytes(frame, more);
      }
    }
    this.#outMessages++;
    const { traffic } = this;
    traffic.messagesOut++;
    traffic.bytesOut += bytes;
    return "sent";
  }

  /** Sends what there is. */
  flush(): void {
    if (this.#writing === undefined) return;
    this.#send(this.#writing);
    this.#writing = undefined;
  }

  /** Sends what is no message. */
  #say(connection: Connection, bytes: Uint8Array<ArrayBuffer>): void {
    if (this.#writing !== connection) {
      this.flush();
      this.#writing = connection;
    }
    this.#makeRoom(bytes.length);
    this.#out.set(bytes, this.#outAt);
    this.#outAt += bytes.length;
    this.flush();
  }

  #makeRoom(size: number): void {
    if (this.#outAt + size > OUT || this.#longs.length >= PIECES / 2 - 1) {
      this.#send(this.#writing!);
    }
  }

  #writeBytes(bytes: Uint8Array, more: boolean): void {
    const size = bytes.length;
    if (size >= IN_PLACE) {
      const frame = Frame.of(bytes);
      this.#writeFrame(frame, more);
      return frame.release();
    }
    const to = this.#writeHead(size, more, size), out = this.#out;
    for (let i = 0; i < size; i++) out[to + i] = bytes[i]!;
  }

  #writeFrame(frame: Frame, more: boolean): void {
    const size = frame.size;
    if (size < IN_PLACE) return frame.write(this.#out, this.#writeHead(size, more, size));
    this.#writeHead(size, more, 0);
    this.#longs.push({ block: frame.block!.hold(), size, at: this.#outAt });
  }

  /** Writes what comes before a frame. @returns Where the frame is to be, so many bytes of it. */
  #writeHead(size: number, more: boolean, room: number): number {
    this.#makeRoom(room + 9);
    const out = this.#out;
    let to = this.#outAt;
    if (size < 256) {
      out[to++] = more ? wire.MORE : 0;
      out[to++] = size;
    } else {
      out[to++] = wire.LONG | (more ? wire.MORE : 0);
      // Nothing is as large as 4 GiB.
      out[to++] = 0;
      out[to++] = 0;
      out[to++] = 0;
      out[to++] = 0;
      out[to++] = size >>> 24;
      out[to++] = size >>> 16;
      out[to++] = size >>> 8;
      out[to++] = size;
    }
    this.#outAt = to + room;
    return to;
  }

  #send(connection: Connection): void {
    const length = this.#outAt, longs = this.#longs;
    if (length === 0) return;
    if (longs.length > 0) return this.#sendLongs(connection);
    let sent = 0;
    if (connection.waiting.length === 0 && !connection.isBroken) {
      this.#sent.resize(length);
      sent = this.#sendmsg(connection, this.#sent);
    }
    if (sent < length) this.#hold(connection, this.#out.slice(sent, length), undefined, true);
    this.#outAt = this.#outMessages = 0;
  }

  #sendLongs(connection: Connection): void {
    const length = this.#outAt, longs = this.#longs, vectors = this.#sentInParts;
    let sent = 0;
    if (connection.waiting.length === 0 && !connection.isBroken) {
      vectors.clear();
      let from = 0;
      for (const { block, size, at } of longs) {
        vectors.add(this.#outAddress + BigInt(from), at - from);
        vectors.add(block.address, size);
        from = at;
      }
      if (from < length) vectors.add(this.#outAddress + BigInt(from), length - from);
      sent = this.#sendmsg(connection, vectors);
    }
    // What is left of each part.
    let from = 0;
    const keep = (bytes: Uint8Array<ArrayBuffer>, block: Block | undefined, isLast: boolean) => {
      const done = Math.min(sent, bytes.length);
      sent -= done;
      if (done === bytes.length) return block?.release();
      const rest = bytes.subarray(done);
      this.#hold(connection, block === undefined ? rest.slice() : rest, block, isLast);
    };
    for (const [i, { block, size, at }] of longs.entries()) {
      keep(this.#out.subarray(from, at), undefined, false);
      keep(block.bytes.subarray(0, size), block, i === longs.length - 1 && at === length);
      from = at;
    }
    if (from < length) keep(this.#out.subarray(from, length), undefined, true);
    longs.length = 0;
    this.#outAt = this.#outMessages = 0;
  }

  /** @returns How many bytes the system has taken. */
  #sendmsg(connection: Connection, vectors: Vectors): number {
    const flags = MSG_DONTWAIT | MSG_NOSIGNAL;
    const sent = this.#linux.sendmsg(connection.descriptor, vectors.pointer, flags);
    if (sent >= 0) {
      connection.misses = 0;
      return sent;
    }
    const code = errorCode(), isFull = code === "EAGAIN" || code === "EINTR" || code === "ENOBUFS";
    // That it has ended is found where it is read: what it has sent comes first.
    if (ENDS.has(code)) connection.isBroken = true;
    else if (!isFull && ++connection.misses >= MISSES) {
      connection.isBroken = true;
      this.#linux.shutdown(connection.descriptor, SHUT_RDWR);
    }
    return 0;
  }

  /** Keeps what the system has not taken. */
  #hold(
    connection: Connection,
    bytes: Uint8Array<ArrayBuffer>,
    block: Block | undefined,
    isLast: boolean,
  ): void {
    if (connection.isBroken || connection.state === "closed") return block?.release();
    if (connection.waiting.length === 0) this.#awaitRoom(connection, true);
    const messages = isLast ? this.#outMessages : 0;
    connection.waiting.push({ bytes, block, messages });
    connection.waitingMessages += messages;
  }

  #awaitRoom(connection: Connection, isAwaited: boolean): void {
    const read = this.#isOver !== undefined ? 0 : EPOLLIN;
    this.#control(EPOLL_CTL_MOD, connection.descriptor, isAwaited ? read | EPOLLOUT : read);
  }

  #sendWaiting(connection: Connection): void {
    const { waiting } = connection, vectors = this.#sentInParts;
    while (waiting.length > 0 && !connection.isBroken) {
      vectors.clear();
      let length = 0;
      for (let i = 0; i < waiting.length && i < PIECES && length < 4 * OUT; i++) {
        const { bytes } = waiting[i]!, at = i === 0 ? connection.waitingAt : 0;
        vectors.add(addressOf(bytes) + BigInt(at), bytes.length - at);
        length += bytes.length - at;
      }
      let sent = this.#sendmsg(connection, vectors);
      if (sent === 0) break;
      let done = 0;
      for (; sent > 0; done++) {
        const { bytes, block, messages } = waiting[done]!;
        const left = bytes.length - connection.waitingAt;
        if (sent < left) {
          connection.waitingAt += sent;
          break;
        }
        sent -= left;
        connection.waitingAt = 0;
        connection.waitingMessages -= messages;
        block?.release();
      }
      waiting.splice(0, done);
    }
    if (connection.isBroken) { for (const { block } of waiting.splice(0)) block?.release(); }
    if (waiting.length > 0) return;
    connection.waitingMessages = connection.waitingAt = 0;
    this.#awaitRoom(connection, false);
  }

  // ---- the end ----

  /**
   * Closes it: no use of it is possible any more. What the system has not taken yet lingers.
   *
   * @returns A promise of the end: all has been sent or given up, and its endpoints are free.
   */
  close(): Promise<void> {
    return this.#closed ??= this.#close();
  }

  async #close(): Promise<void> {
    this.flush();
    this.#reading = undefined;
    this.#gone.length = this.#again.length = this.#fired = 0;
    for (const timer of this.#timers) clearTimeout(timer);
    clearTimeout(this.#greetingTimer);
    for (const listener of this.#listeners.values()) listener.close();
    this.#listeners.clear();
    const { promise, resolve } = Promise.withResolvers<void>();
    if (this.#handler !== undefined && this.#hasWaiting() && this.#options.linger !== 0) {
      this.#isOver = resolve;
      for (const connection of this.#connections) {
        if (connection !== undefined) this.#awaitRoom(connection, connection.waiting.length > 0);
      }
      this.#handler = () => this.#finish();
      const timer = setTimeout(resolve, this.#options.linger);
      reactor.touched(this);
      await promise;
      clearTimeout(timer);
    }
    const removed = Promise.withResolvers<void>();
    if (this.#handler === undefined) removed.resolve();
    else reactor.remove(this, removed.resolve);
    this.#handler = undefined;
    await removed.promise;
    for (const connection of this.#connections) {
      if (connection === undefined) continue;
      // What it has sent and nobody has read would have the system discard what is on its way to it.
      this.#linux.shutdown(connection.descriptor, SHUT_WR);
      this.#received.resize(READ);
      while (
        this.#linux.recvmsg(connection.descriptor, this.#received.pointer, MSG_DONTWAIT) === READ
      );
      this.#end(connection);
    }
    this.#linux.close(this.descriptor);
  }

  /** Sends to those who take something, until there is no more. */
  #finish(): void {
    this.#wait(0);
    while (this.#done < this.#fired) {
      const at = this.#done++ * EPOLL_EVENT + EPOLL_DATA_AT;
      const connection = this.#connections[new DataView(this.#events.buffer).getInt32(at, true)];
      if (connection === undefined) continue;
      if (connection.waiting.length > 0) this.#sendWaiting(connection);
      // It has ended, and would be told of again and again.
      else this.#end(connection);
    }
    if (!this.#hasWaiting()) this.#isOver!();
  }

  #hasWaiting(): boolean {
    return this.#connections.some((connection) => (connection?.waiting.length ?? 0) > 0);
  }

  #mustBeOpen(): void {
    if (this.#closed !== undefined) throw new StateError("The ROUTER socket is closed");
  }
}
