/**
 * What a session of a worker has in hand: the requests that it was given and has not ended, until
 * when each is of use, and those that came beyond what it may hold.
 *
 * @module
 */

import { Alarm, type Alarmed } from "./alarm.ts";
import type { Id, WorkCommand } from "./codec.ts";
import { type Identified, Ids } from "./ids.ts";
import { tokenOf, type WorkerRequest } from "./worker_request.ts";

/** How many requests beyond it are kept for later, if the broker sends so many against the rules. */
export const MOST_EXCESS = 100;

/** A request in hand. */
class Held implements Alarmed, Identified<Held> {
  // For the alarm.
  day: Alarmed["day"] = undefined;
  dueBefore: Alarmed["dueBefore"] = undefined;
  dueAfter: Alarmed["dueAfter"] = undefined;
  /** For the table that it is in. */
  sibling: Held | undefined;
  /** The request's token, which is 0 in RFC 18. */
  readonly id: Id;
  readonly request: WorkerRequest;
  /** The how many-th it is. */
  readonly number: number;
  readonly #onDeadline: (request: WorkerRequest) => void;

  constructor(
    request: WorkerRequest,
    number: number,
    onDeadline: (request: WorkerRequest) => void,
  ) {
    this.id = tokenOf(request);
    this.request = request;
    this.number = number;
    this.#onDeadline = onDeadline;
  }

  /** For the alarm. */
  onDue(): void {
    this.#onDeadline(this.request);
  }
}

/** The requests of one connection. */
export class Holdings {
  readonly #held = new Ids<Held>(Math.random() * 2 ** 32 | 0);
  /** How many there were. */
  #count = 0;
  readonly #alarm = new Alarm();
  readonly #onDeadline: (request: WorkerRequest) => void;
  /** Came while as many were held as may be. */
  #excess: WorkCommand[] = [];

  /**
   * Holds nothing yet.
   *
   * @param onDeadline Told of each request that is still held when its deadline has passed.
   */
  constructor(onDeadline: (request: WorkerRequest) => void) {
    this.#onDeadline = onDeadline;
  }

  /** How many are held. */
  get size(): number {
    return this.#held.size;
  }

  /** The one with this token, if it is held. */
  find(token: Id): WorkerRequest | undefined {
    return this.#held.get(token)?.request;
  }

  /** Whether this very request is held. Another broker may use the same tokens. */
  has(request: WorkerRequest): boolean {
    return this.find(tokenOf(request)) === request;
  }

  /**
   * Holds a request, whose token none of those that are held has.
   *
   * @param deadline Until when it is of use, in ms of `performance.now()`, if it is not for ever.
   */
  add(request: WorkerRequest, deadline: number | undefined): void {
    const held = new Held(request, ++this.#count, this.#onDeadline);
    this.#held.add(held);
    if (deadline !== undefined) this.#alarm.set(held, deadline);
  }

  /** Holds a request no longer. */
  delete(request: WorkerRequest): void {
    const held = this.#held.get(tokenOf(request))!;
    this.#alarm.clear(held);
    this.#held.delete(held);
  }

  /** Keeps a request for later. @returns Whether there was room for it. */
  postpone(command: WorkCommand): boolean {
    if (this.#excess.length >= MOST_EXCESS) return false;
    this.#excess.push(command);
    return true;
  }

  /** The next of those that were kept for later. */
  next(): WorkCommand | undefined {
    return this.#excess.shift();
  }

  /** Gives up one that was kept for later. @returns Whether it was. */
  forget(token: Id): boolean {
    const at = this.#excess.findIndex((command) => command.token === token);
    if (at >= 0) this.#excess.splice(at, 1);
    return at >= 0;
  }

  /** Gives up all that were kept for later. */
  forgetAll(): void {
    this.#excess = [];
  }

  /** Holds nothing any more. @returns What was held, in the order in which it came. */
  clear(): WorkerRequest[] {
    const all = this.#held.values().sort((a, b) => a.number - b.number);
    this.#held.clear();
    for (const held of all) this.#alarm.clear(held);
    this.#alarm.close();
    this.#excess = [];
    return all.map(({ request }) => request);
  }
}
