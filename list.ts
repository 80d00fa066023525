/**
 * A doubly linked list whose links are fields of its items: every operation is O(1) and
 * allocates nothing. An item is in one list at a time.
 *
 * @module
 */

/** What can be in a list. */
export interface Linked<T> {
  /** The item before it; the list's own. */
  previous: T | undefined;
  /** The item after it; the list's own. */
  next: T | undefined;
}

/** A queue from which items can also be taken out of the middle. */
export class List<T extends Linked<T>> {
  #first: T | undefined;
  #last: T | undefined;

  /** The item at the head. */
  get first(): T | undefined {
    return this.#first;
  }

  /** The item at the tail. */
  get last(): T | undefined {
    return this.#last;
  }

  /** All items, from the head on; the list must not change meanwhile. */
  *[Symbol.iterator](): IterableIterator<T> {
    for (let item = this.#first; item !== undefined; item = item.next) yield item;
  }

  /** Puts an item at the tail. */
  push(item: T): void {
    item.previous = this.#last;
    if (this.#last === undefined) this.#first = item;
    else this.#last.next = item;
    this.#last = item;
  }

  /** Puts an item at the head. */
  unshift(item: T): void {
    item.next = this.#first;
    if (this.#first === undefined) this.#last = item;
    else this.#first.previous = item;
    this.#first = item;
  }

  /** Puts an item before another one, or without one at the tail. */
  insert(item: T, next: T | undefined): void {
    if (next === undefined) return this.push(item);
    if (next.previous === undefined) return this.unshift(item);
    item.previous = next.previous;
    item.next = next;
    next.previous.next = item;
    next.previous = item;
  }

  /** Takes an item out, which must be in this list. */
  remove(item: T): void {
    if (item.previous === undefined) this.#first = item.next;
    else item.previous.next = item.next;
    if (item.next === undefined) this.#last = item.previous;
    else item.next.previous = item.previous;
    item.previous = item.next = undefined;
  }

  /** Takes the item at the head out. */
  shift(): T | undefined {
    const item = this.#first;
    if (item !== undefined) this.remove(item);
    return item;
  }
}
