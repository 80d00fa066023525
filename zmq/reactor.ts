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
 * - A *turn* asks libzmq which sockets are ready and calls their handlers. To ask about one takes
 *   two system calls or three, so only those are asked about that may be: whose descriptor fires,
 *   for which all of them take one call of poll(2); and those that were *touched*, as each use of
 *   a socket may swallow its descriptor's edge. If there was traffic since the turn before, it may
 *   block for up to {@linkcode Reactor.syncWait}: what follows traffic soon, as a reply does, is
 *   then met without a thread hop (which takes 40 to 100 µs).
 *   Between two turns the event loop runs whatever else there is. That takes longer than to pass
 *   on a message, so a broker has some turns in a row, for as long as one may block: a round trip
 *   through it takes 10 % less time then. Where one socket alone matters nobody is asked: its
 *   handler blocks in its first receive. To ask and then to receive takes twice as many system
 *   calls for a message that comes alone.
 * - Otherwise one call of poll(2) on another thread waits on all descriptors, and nothing runs.
 *   No socket is touched there, so the process may go on using them; what it does to a socket
 *   starts a turn, which asks libzmq afresh.
 *
 * @module
 */

import { MdpError } from "../errors.ts";
import { bytesOf, cString, lastError, libzmq } from "./library.ts";
import { size_t } from "./message.ts";
import { DONTWAIT, FD, IO_THREADS, PAIR, POLLIN } from "./symbols.ts";

/** What the reactor needs of a socket. */
export interface Watched {
  /** `ZMQ_FD`. */
  readonly descriptor: number;
  /** `ZMQ_POLLIN`, `ZMQ_POLLOUT`, both or none: what is waited for. */
  readonly interest: number;
  /** How it is served. */
  readonly manner: Manner;
  /**
   * The reactor's own: whether it waits for the socket, and if so, whether the socket was used since
   * it was asked about. Not watched at first.
   */
  state: "not watched" | "asked" | "touched";
  /** `ZMQ_EVENTS`: what of `ZMQ_POLLIN` and `ZMQ_POLLOUT` holds. */
  events(): number;
  /** Called with those of its interest that hold now; again in the next turn if they still do. */
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

/** struct pollfd: int fd; short events; short revents. */
const ITEM = 8;
const EVENTS_AT = 4, REVENTS_AT = 6;
/** POLLIN of poll(2), everywhere. */
const READABLE = 1;
const FOREVER = -1;
/** How many turns in a row may be for the only socket that matters. */
const MOST_TURNS_OF_ONE = 16;
/** How often in a row poll(2) may fail: with EINTR, or with an error that is not its own. */
const MOST_FAULTS = 100;
/** How long a receive takes, in ms, if it had to wait: without, it is some µs. */
export const WAITED = 0.01;
/**
 * How long turns may follow each other, in ms, until Deno is made to look what else there is to read:
 * while something is due at once it does that each 61st time only. With a busy worker in the process
 * an answer over HTTP takes a quarter of the time (by a script). In a round trip it does not show: 0.9
 * to 1.1 of the time. And how long it may be if there is just a broker's socket.
 */
const LOOKS = 10, BROKER_LOOKS = 50;
/** What poll(2) is given if it is to look at nothing. */
const NO_ITEMS = new Uint8Array(ITEM);
/** Pause before waiting anew after poll(2) failed, so that a lasting fault cannot spin. */
const FAULT_PAUSE = 10;

class Reactor {
  #syncWait = 1;
  readonly #watched = new Set<Watched>();
  /** `#watched` in the order of `#items`. */
  #order: Watched[] = [];
  /** The only one that cannot be left for later, if there is just one, and it is to be received from. */
  #only: Watched | undefined;
  /** How many turns in a row were for that one. */
  #turnsOfOne = 0;
  /** What poll(2) is given in a turn: the descriptors. */
  #items = new DataView(new ArrayBuffer(0));
  #itemBytes = new Uint8Array(0);
  /** Whether these are out of date. */
  #changed = true;
  /** Those that are `touched`, and some that were. */
  #touched: Watched[] = [];
  /** Whether there was traffic since the last turn began. */
  #traffic = false;
  /** Whether a turn is due or under way. */
  #turning = false;
  /** How often in a row poll(2) has failed. */
  #faults = 0;
  /** What the asynchronous wait polls, while it is under way; kept alive by this field. */
  #waiting: Uint8Array<ArrayBuffer> | undefined;
  /** The descriptors in `#waiting` are no longer those of `#watched`. */
  #waitingStale = false;
  /** To run once no other thread polls the descriptors. */
  readonly #afterWait: (() => void)[] = [];
  #wake: Wake | undefined;
  /** When Deno has looked last for what else there is to read. */
  #lookedAt = 0;

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
  }

  /**
   * Starts to wait for the socket. Keeps the process alive until it is removed.
   *
   * @throws {ZmqError} If libzmq has no more descriptors for what ends a wait.
   */
  add(socket: Watched): void {
    // Later nobody could catch that there are none.
    this.#wake ??= new Wake();
    this.#watched.add(socket);
    socket.state = "asked";
    this.#touch(socket);
    this.#change();
  }

  /**
   * Stops waiting for the socket, and calls `then` as soon as no thread polls its descriptor
   * any more: at once, or after the wait that is under way has been woken.
   */
  remove(socket: Watched, then: () => void): void {
    this.#watched.delete(socket);
    socket.state = "not watched";
    this.#change();
    if (this.#waiting === undefined) {
      then();
      return this.#rest();
    }
    this.#afterWait.push(then);
    this.#interrupt();
  }

  /** Lets go of threads and descriptors if nothing is watched any more: this may be a Web Worker. */
  #rest(): void {
    if (this.#watched.size > 0 || this.#waiting !== undefined) return;
    this.#wake?.close();
    this.#wake = undefined;
  }

  /** To be called when a socket's `interest` or `manner` has changed. */
  interestChanged(socket: Watched): void {
    this.#touch(socket);
    this.#change();
  }

  /** To be called after each use of a socket, watched or not. */
  touched(socket: Watched): void {
    this.#touch(socket);
    this.#traffic = true;
    this.#schedule();
  }

  /** To be called instead if it said that there is nothing to receive: then that was asked. */
  drained(socket: Watched): void {
    if (socket.interest !== POLLIN) return this.touched(socket);
    if (socket.state === "touched") socket.state = "asked";
    this.#traffic = true;
    this.#schedule();
  }

  #touch(socket: Watched): void {
    if (socket.state !== "asked") return;
    socket.state = "touched";
    this.#touched.push(socket);
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
    const start = performance.now(), until = start + this.#syncWait;
    while (this.#turn() && performance.now() < until);
    // Before a wait all those are asked that were touched.
    const isDue = this.#traffic || this.#changed || this.#touched.length > 0;
    if (this.#watched.size > 0 && isDue) return this.#goOn(start);
    this.#turning = false;
    this.#wait();
  };

  /** Has the next turn after whatever else is due in the event loop. */
  #goOn(now: number): void {
    const isBroker = this.#only?.manner === "complete";
    if (now - this.#lookedAt < (isBroker ? BROKER_LOOKS : LOOKS)) {
      setImmediate(this.#turns);
      return;
    }
    this.#lookedAt = now;
    // It comes back from another thread, and until then Deno has nothing to do but to look.
    libzmq().symbols.poll_async(NO_ITEMS, size_t(0), 0).then(this.#turns);
  }

  /** @returns Whether the next may follow at once. */
  #turn(): boolean {
    if (this.#changed) this.#arrange();
    const traffic = this.#traffic;
    this.#traffic = false;
    if (this.#only !== undefined && traffic) {
      if (this.#turnsOfOne++ < MOST_TURNS_OF_ONE) return this.#receive(this.#only);
      const served = this.#serveAll(0);
      return this.#traffic || this.#changed ? served : this.#receive(this.#only);
    }
    return this.#serveAll(traffic ? this.#syncWait : 0);
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

  /** A turn for all, which waits for so long if there is nothing. */
  #serveAll(milliseconds: number): boolean {
    this.#turnsOfOne = 0;
    let complete = true;
    const asking = this.#touched;
    // Handlers touch them again.
    this.#touched = [];
    for (const socket of asking) {
      if (socket.state === "touched") complete = this.#serve(socket) && complete;
    }
    const order = this.#order, count = order.length;
    const timeout = this.#traffic || this.#changed ? 0 : milliseconds;
    let fired = libzmq().symbols.poll(this.#itemBytes, size_t(count), timeout);
    if (fired < 0) this.#fail();
    else this.#faults = 0;
    for (let i = 0; fired > 0 && i < count; i++) {
      if (this.#items.getInt16(i * ITEM + REVENTS_AT, true) === 0) continue;
      fired--;
      this.#traffic = true;
      const socket = order[i]!;
      // A handler before this one may have removed it.
      if (socket.state !== "not watched") complete = this.#serve(socket) && complete;
    }
    return this.#traffic && complete && this.#watched.size > 0;
  }

  /** Asks about one, and calls its handler. @returns Whether that leaves nothing to others. */
  #serve(socket: Watched): boolean {
    socket.state = "asked";
    try {
      const events = socket.events() & socket.interest;
      if (events === 0) return true;
      // If the handler leaves something it is to be called again.
      this.touched(socket);
      socket.ready(events);
    } catch (error) {
      // As any uncaught error; whoever survives it keeps the other sockets.
      reportError(error);
    }
    return socket.manner !== "plain";
  }

  /** Poll(2) has failed: a signal came in between, or the error is not its own; but not for ever. */
  #fail(): void {
    if (++this.#faults >= MOST_FAULTS) throw lastError("poll", "the sockets of this process");
    this.#traffic = true;
  }

  #arrange(): void {
    this.#changed = false;
    this.#order = [...this.#watched];
    const [only, ...others] = this.#order.filter(({ manner }) => manner !== "later");
    this.#only = only?.interest === POLLIN && others.length === 0 ? only : undefined;
    // Whoever has come may have something already.
    this.#turnsOfOne = MOST_TURNS_OF_ONE;
    this.#items = itemsOf(this.#order.map((socket) => socket.descriptor));
    this.#itemBytes = bytesOf(this.#items);
  }

  #wait(): void {
    if (this.#waiting !== undefined) {
      if (this.#waitingStale) this.#interrupt();
      return;
    }
    if (this.#watched.size === 0) return;
    const wake = this.#wake!;
    wake.clear();
    const descriptors = [wake.descriptor, ...this.#order.map((socket) => socket.descriptor)];
    this.#waitingStale = false;
    this.#waiting = bytesOf(itemsOf(descriptors));
    const { symbols } = libzmq();
    symbols.poll_async(this.#waiting, size_t(descriptors.length), FOREVER).then((fired) => {
      this.#waiting = undefined;
      this.#turnsOfOne = MOST_TURNS_OF_ONE;
      for (const action of this.#afterWait.splice(0)) action();
      this.#rest();
      if (fired >= 0) this.#resume();
      else setTimeout(() => this.#resume(), FAULT_PAUSE);
    });
  }

  #resume(): void {
    this.#lookedAt = performance.now();
    this.#traffic = true;
    this.#schedule();
  }

  #interrupt(): void {
    this.#wake?.ring();
  }
}

function itemsOf(descriptors: readonly number[]): DataView<ArrayBuffer> {
  // The FFI wants an address, which an empty array may not have.
  const items = new DataView(new ArrayBuffer(Math.max(1, descriptors.length) * ITEM));
  descriptors.forEach((descriptor, i) => {
    items.setInt32(i * ITEM, descriptor, true);
    items.setInt16(i * ITEM + EVENTS_AT, READABLE, true);
  });
  return items;
}

/** Two sockets of one process with which a wait on descriptors is ended from this thread. */
class Wake {
  readonly descriptor: number;
  readonly #context: Deno.PointerValue;
  readonly #bell: Deno.PointerObject;
  readonly #ear: Deno.PointerObject;
  #rung = false;
  static readonly #nothing = new Uint8Array(1);

  constructor() {
    const { symbols } = libzmq();
    const context = this.#context = symbols.zmq_ctx_new();
    if (context === null) throw lastError("zmq_ctx_new", "the reactor's own context");
    // It has nothing to do with the network.
    symbols.zmq_ctx_set(context, IO_THREADS, 0);
    const bell = symbols.zmq_socket(context, PAIR), ear = symbols.zmq_socket(context, PAIR);
    const endpoint = cString("inproc://wake");
    if (
      bell === null || ear === null || symbols.zmq_bind(ear, endpoint) !== 0 ||
      symbols.zmq_connect(bell, endpoint) !== 0
    ) {
      const error = lastError("zmq_socket", "the reactor's own sockets");
      for (const socket of [bell, ear]) if (socket !== null) symbols.zmq_close(socket);
      void symbols.zmq_ctx_term(context);
      throw error;
    }
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

  /** Gives all back. It must not be used afterwards. */
  close(): void {
    const { symbols } = libzmq();
    symbols.zmq_close(this.#bell);
    symbols.zmq_close(this.#ear);
    void symbols.zmq_ctx_term(this.#context);
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
