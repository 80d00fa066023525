/**
 * The arithmetic of heartbeats at one end of a connection: when to send one, and when to hold
 * the peer for lost. Pure: the time is an argument, in milliseconds of any monotonic clock.
 *
 * @module
 */

/** What is to be done now: send a HEARTBEAT, or take the peer for lost. */
export type LivenessVerdict = "heartbeat" | "lost";

/**
 * What one end knows of the other: when it was last spoken to, and when it was last heard.
 *
 * Messages only note the time. Whoever owns the timer asks `check()` at `deadline`, which may
 * have moved away meanwhile; so no message costs a timer.
 */
export class Liveness {
  readonly #interval: number;
  readonly #timeout: number;
  #sentAt: number;
  #heardAt: number;

  /**
   * Takes both ends for alive.
   *
   * @param interval How long this end may be silent, in ms.
   * @param timeout How long the other may be, in ms.
   * @param now The time.
   */
  constructor(interval: number, timeout: number, now: number) {
    this.#interval = interval;
    this.#timeout = timeout;
    this.#sentAt = this.#heardAt = now;
  }

  /** Notes that a message was sent: it does for a HEARTBEAT. */
  sent(now: number): void {
    this.#sentAt = now;
  }

  /** Notes that the other end has spoken. */
  heard(now: number): void {
    this.#heardAt = now;
  }

  /** When `check()` has something to say at the earliest. */
  get deadline(): number {
    return Math.min(this.#sentAt + this.#interval, this.#heardAt + this.#timeout);
  }

  /**
   * What is to be done now, if anything. A HEARTBEAT is to be sent and then noted by `sent()`.
   * Before the peer is taken for lost, what it sent must have been read: a program that was busy
   * for long may find its timers due first.
   *
   * @param now The time.
   * @returns `undefined` if nothing is.
   */
  check(now: number): LivenessVerdict | undefined {
    if (now >= this.#heardAt + this.#timeout) return "lost";
    return now >= this.#sentAt + this.#interval ? "heartbeat" : undefined;
  }
}

/** How late a timer is at least when the whole process stood still, in ms. */
const LATE = 250;
/** How long libzmq's thread then has to read what peers have sent meanwhile, in ms. */
const CATCHING_UP = 500;
/** How long after that this is taken for a program that is always busy, in ms. */
const REST = 10_000;

/**
 * Tells silence of the other end from a standstill of this one, by SIGSTOP or with a machine that was
 * suspended. The timers of a process that goes on are due at once, and nothing has been read yet.
 */
export class Standstill {
  #until = -Infinity;

  /**
   * To be asked when a timer has gone off.
   *
   * @param dueAt When it was to go off, if that was set before.
   * @param now The time.
   * @returns Until when nobody is to be taken for lost, if this end stood still; else `undefined`.
   */
  check(dueAt: number, now: number): number | undefined {
    if (now - dueAt <= LATE || now < this.#until + REST) return undefined;
    return this.#until = now + CATCHING_UP;
  }
}
