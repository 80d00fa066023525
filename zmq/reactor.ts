/**
 * Waits for all sockets of the process at once. ZeroMQ's descriptors are edge-triggered and
 * libzmq's sockets belong to one thread, so waiting goes in two steps:
 *
 * ```text
 *          traffic on a socket, or one was sent to
 *        ┌──────────────────────────────────────────┐
 *        ▼                                          │
 *   ┌─────────┐ nothing came  ┌───────────┐  a descriptor fired,
 *   │  turns  │ ────────────► │ async wait│  or a socket was sent to
 *   └─────────┘               └───────────┘ ────────┘
 * ```
 *
 * - A *turn* asks libzmq which sockets are ready and calls their handlers. If there was traffic
 *   since the turn before, it may block for up to {@linkcode Reactor.syncWait}: what follows
 *   traffic soon, as a reply does, is then met without a thread hop (which takes 40 to 100 µs).
 *   Between two turns the event loop runs whatever else there is. That takes longer than to pass
 *   on a message, so a broker has some turns in a row, for as long as one may block: a round trip
 *   through it takes 10 % less time then. Where one socket alone matters nobody is asked: its
 *   handler blocks in its first receive. To ask and then to receive takes 14 system calls for a
 *   message that comes alone, to receive it 7.
 * - Otherwise one call of poll(2) on another thread waits on all descriptors, and nothing runs.
 *   No socket is touched there, so the process may go on using them; what it does to a socket
 *   (a send may swallow the descriptor's edge) starts a turn, which asks libzmq afresh.
 *
 * @module
 */

import { MdpError } from "../errors.ts";
import { bytesOf, cString, errorCode, lastError, libzmq } from "./library.ts";
import { DONTWAIT, FD, PAIR, POLLIN } from "./symbols.ts";

/** What the reactor needs of a socket. */
export interface Watched {
  /** The `void *` of libzmq. */
  readonly pointer: Deno.PointerObject;
  /** `ZMQ_FD`. */
  readonly descriptor: number;
  /** `ZMQ_POLLIN`, `ZMQ_POLLOUT`, both or none: what is waited for. */
  readonly interest: number;
  /** How it is served. */
  readonly manner: Manner;
  /** Called with those of them that hold now; again in the next turn if they still do. */
  ready(events: number): void;
  /**
   * The same for what is to be received: what is there now, or comes within so many ms.
   *
   * @returns Whether there was something.
   */
  readyWithin(milliseconds: number): boolean;
}

/**
 * How a socket is served. `plain`: after `ready` the event loop must have its turn before there is
 * more to be told, as where it settles promises. `complete`: `ready` does all that there is to do
 * before it returns. `later`: the same, and it is no worse off if that is some ms later.
 */
export type Manner = "plain" | "complete" | "later";

/** sizeof (zmq_pollitem_t): void *socket; int fd; short events; short revents. */
const ITEM = 16;
const FD_AT = 8, EVENTS_AT = 12, REVENTS_AT = 14;
const FOREVER = -1n;
/** What zmq_poll cannot get over. All else is EINTR, or an error that is not its own. */
const BROKEN: ReadonlySet<string> = new Set(["EFAULT", "ENOTSOCK", "ETERM"]);
/** How many turns may leave out those of whom it can be asked later. */
const MOST_TURNS_OF_SOME = 16;
/** Pause before waiting anew after poll(2) failed, so that a lasting fault cannot spin. */
const FAULT_PAUSE = 10;

class Reactor {
  #syncWait = 1;
  /** The same for the FFI. */
  #timeout = 1n;
  readonly #watched = new Set<Watched>();
  /** `#watched` in the order of `#items`: what can be left for later comes last. */
  #order: Watched[] = [];
  /** How many of `#order`, the first, cannot be left for later. */
  #pressing = 0;
  /** The only one of these, if there is one, and it is to be received from. */
  #only: Watched | undefined;
  /** How many turns in a row were not for all. */
  #turnsOfSome = 0;
  /** What zmq_poll is given in a turn: the sockets. */
  #items = new DataView(new ArrayBuffer(0));
  #itemBytes = new Uint8Array(0);
  /** Whether `#order` and `#items` are out of date. */
  #changed = true;
  /** Whether there was traffic since the last turn began. */
  #traffic = false;
  /** Whether a turn is due or under way. */
  #turning = false;
  /** What the asynchronous wait polls, while it is under way; kept alive by this field. */
  #waiting: Uint8Array<ArrayBuffer> | undefined;
  /** The descriptors in `#waiting` are no longer those of `#watched`. */
  #waitingStale = false;
  /** To run once no other thread polls the descriptors. */
  readonly #afterWait: (() => void)[] = [];
  #wake: Wake | undefined;

  /**
   * How long a turn may block the event loop, in whole milliseconds, just after traffic.
   *
   * @default {1}
   */
  get syncWait(): number {
    return this.#syncWait;
  }

  set syncWait(milliseconds: number) {
    if (!Number.isInteger(milliseconds) || milliseconds < 0 || milliseconds > 100) {
      throw new RangeError(
        `The synchronous wait is a whole number of milliseconds from 0 to 100, got ${milliseconds}`,
      );
    }
    this.#syncWait = milliseconds;
    this.#timeout = BigInt(milliseconds);
  }

  /** Starts to wait for the socket. Keeps the process alive until it is removed. */
  add(socket: Watched): void {
    this.#watched.add(socket);
    this.#change();
  }

  /**
   * Stops waiting for the socket, and calls `then` as soon as no thread polls its descriptor
   * any more: at once, or after the wait that is under way has been woken.
   */
  remove(socket: Watched, then: () => void): void {
    this.#watched.delete(socket);
    this.#change();
    if (this.#waiting === undefined) return then();
    this.#afterWait.push(then);
    this.#interrupt();
  }

  /** To be called when a socket's `interest` has changed. */
  interestChanged(): void {
    this.#change();
  }

  /** To be called after each use of a socket: it may have swallowed the descriptor's edge. */
  touched(): void {
    this.#traffic = true;
    this.#schedule();
  }

  #change(): void {
    this.#changed = true;
    this.#waitingStale = true;
    this.#schedule();
  }

  #schedule(): void {
    if (this.#turning || this.#watched.size === 0) return;
    this.#turning = true;
    setImmediate(this.#turns);
  }

  readonly #turns = (): void => {
    const until = this.#syncWait > 0 ? performance.now() + this.#syncWait : 0;
    while (this.#turn() && performance.now() < until);
    // No edge may be swallowed: all are asked before a wait.
    const isUnasked = this.#turnsOfSome > 0;
    if (this.#watched.size > 0 && (this.#traffic || this.#changed || isUnasked)) {
      setImmediate(this.#turns);
      return;
    }
    this.#turning = false;
    this.#wait();
  };

  /** @returns Whether the next may follow at once. */
  #turn(): boolean {
    if (this.#changed) this.#arrange();
    const traffic = this.#traffic, only = traffic ? this.#only : undefined;
    this.#traffic = false;
    const isForAll = !traffic || ++this.#turnsOfSome > MOST_TURNS_OF_SOME;
    if (isForAll) this.#turnsOfSome = 0;
    else if (only !== undefined) return this.#receive(only);
    const timeout = traffic && only === undefined ? this.#timeout : 0n;
    const count = isForAll ? this.#order.length : this.#pressing;
    let ready = libzmq().symbols.zmq_poll(this.#itemBytes, count, timeout);
    if (ready < 0) {
      if (BROKEN.has(errorCode())) throw lastError("zmq_poll", "the sockets of this process");
      // A signal came in between, perhaps when the descriptor's edge was already taken.
      this.#traffic = true;
      return false;
    }
    if (ready === 0) return only !== undefined && this.#receive(only);
    this.#traffic = true;
    let complete = true;
    const order = this.#order;
    for (let i = 0; ready > 0 && i < count; i++) {
      const events = this.#items.getInt16(i * ITEM + REVENTS_AT, true);
      if (events === 0) continue;
      ready--;
      const socket = order[i]!;
      // A handler before this one may have removed it.
      if (!this.#watched.has(socket)) continue;
      complete &&= socket.manner !== "plain";
      try {
        socket.ready(events);
      } catch (error) {
        // As any uncaught error; whoever survives it keeps the other sockets.
        reportError(error);
      }
    }
    return complete && this.#watched.size > 0;
  }

  /** A turn that asks nobody. */
  #receive(only: Watched): boolean {
    let received = true;
    try {
      received = only.readyWithin(this.#syncWait);
    } catch (error) {
      reportError(error);
    }
    // That nothing came is no traffic, though it was asked for.
    this.#traffic = received;
    return received && only.manner === "complete" && this.#watched.size > 0;
  }

  #arrange(): void {
    this.#changed = false;
    const pressing = [...this.#watched].filter(({ manner }) => manner !== "later");
    this.#order = [...new Set([...pressing, ...this.#watched])];
    this.#pressing = pressing.length;
    const [only] = pressing;
    this.#only = pressing.length === 1 && only!.interest === POLLIN ? only : undefined;
    // Who has come may have something already.
    this.#turnsOfSome = MOST_TURNS_OF_SOME;
    const items = new ArrayBuffer(Math.max(1, this.#order.length) * ITEM);
    this.#items = new DataView(items);
    this.#itemBytes = new Uint8Array(items);
    this.#order.forEach((socket, i) => {
      this.#items.setBigUint64(i * ITEM, Deno.UnsafePointer.value(socket.pointer), true);
      this.#items.setInt16(i * ITEM + EVENTS_AT, socket.interest, true);
    });
  }

  #wait(): void {
    if (this.#waiting !== undefined) {
      if (this.#waitingStale) this.#interrupt();
      return;
    }
    if (this.#watched.size === 0) return;
    const wake = this.#wake ??= new Wake();
    wake.clear();
    const descriptors = [wake.descriptor, ...this.#order.map((socket) => socket.descriptor)];
    const items = new DataView(new ArrayBuffer(descriptors.length * ITEM));
    descriptors.forEach((descriptor, i) => {
      items.setInt32(i * ITEM + FD_AT, descriptor, true);
      items.setInt16(i * ITEM + EVENTS_AT, POLLIN, true);
    });
    this.#waitingStale = false;
    this.#waiting = bytesOf(items);
    libzmq().symbols.zmq_poll_async(this.#waiting, descriptors.length, FOREVER).then((ready) => {
      this.#waiting = undefined;
      this.#turnsOfSome = MOST_TURNS_OF_SOME;
      for (const action of this.#afterWait.splice(0)) action();
      if (ready >= 0) this.touched();
      else setTimeout(() => this.touched(), FAULT_PAUSE);
    });
  }

  #interrupt(): void {
    this.#wake?.ring();
  }
}

/** Two sockets of one process with which a wait on descriptors is ended from this thread. */
class Wake {
  readonly descriptor: number;
  readonly #bell: Deno.PointerObject;
  readonly #ear: Deno.PointerObject;
  #rung = false;
  static readonly #nothing = new Uint8Array(1);

  constructor() {
    // Owned by the process and never closed: there is one, and it is needed until the end.
    const { symbols } = libzmq();
    const context = symbols.zmq_ctx_new();
    const bell = symbols.zmq_socket(context, PAIR), ear = symbols.zmq_socket(context, PAIR);
    const endpoint = cString("inproc://wake");
    if (
      bell === null || ear === null || symbols.zmq_bind(ear, endpoint) !== 0 ||
      symbols.zmq_connect(bell, endpoint) !== 0
    ) throw lastError("zmq_socket", "the reactor's own sockets");
    const value = new Int32Array(1), length = new BigUint64Array([4n]);
    if (symbols.zmq_getsockopt(ear, FD, bytesOf(value), bytesOf(length)) !== 0) {
      throw new MdpError("Cannot read the descriptor of the reactor's own socket");
    }
    this.descriptor = value[0]!;
    this.#bell = bell;
    this.#ear = ear;
    this.#empty();
  }

  /** Makes the descriptor readable. */
  ring(): void {
    if (this.#rung) return;
    this.#rung = true;
    libzmq().symbols.zmq_send(this.#bell, Wake.#nothing, 0n, DONTWAIT);
  }

  /** Makes it unreadable again. */
  clear(): void {
    if (!this.#rung) return;
    this.#rung = false;
    this.#empty();
  }

  #empty(): void {
    const { symbols } = libzmq();
    const message = new Uint8Array(64);
    const pointer = Deno.UnsafePointer.of(message)!;
    symbols.zmq_msg_init(pointer);
    while (symbols.zmq_msg_recv(pointer, this.#ear, DONTWAIT) >= 0);
    symbols.zmq_msg_close(pointer);
  }
}

/** The process's only one: libzmq's descriptors are waited for in one place. */
export const reactor: Reactor = new Reactor();

/**
 * Sets how long the event loop may be blocked at a time, just after messages came or went, to
 * meet what follows without a detour through another thread (40 to 100 µs). A broker may block it
 * for so long again while messages come one after the other. It holds for all
 * sockets of the process; with 0 the event loop is never blocked.
 *
 * @param milliseconds A whole number from 0 to 100. It is 1 unless set.
 * @throws {RangeError} For any other number.
 */
export function setSyncWait(milliseconds: number): void {
  reactor.syncWait = milliseconds;
}
