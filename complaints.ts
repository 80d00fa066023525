/**
 * Keeps a log readable while peers misbehave: of each kind of complaint a few about each peer are let
 * through in a while, and not many more about all peers together; how many were not is told with the
 * next one that is, or when `rest()` is asked. Pure: time is given.
 *
 * @module
 */

/** How many of a kind about one peer are let through in a period. */
const BURST = 5;
/** How many of a kind are about all peers together. */
const BURST_OF_ALL = 50;
/** The period, in ms. */
export const PERIOD = 1_000;
/** How many kinds, and peers for each, are told apart; beyond that all share one count. */
const COUNTS = 1_024;

/** What stands in a message, by name. */
export type Properties = Record<string, unknown>;

/** Where a complaint goes, e.g. a logger's `warn`. */
export type Sink = (template: string, properties: Properties) => void;

/** A complaint that was not let through, and goes where it was to go. */
interface LeftOut {
  readonly log: Sink;
  readonly template: string;
  readonly properties: Properties;
}

/** What was let through and left out since a moment. */
interface Count {
  /** What the complaints are about; empty if it is shared. */
  readonly kind: string;
  since: number;
  passed: number;
  omitted: number;
  /** The first of those that were left out, as far as it is known. */
  first: LeftOut | undefined;
}

/** Decides which complaints are logged. */
export class Complaints {
  readonly #counts = new Map<string, Count>();
  #sweptAt = -Infinity;

  /**
   * Whether to log a complaint of this kind now.
   *
   * @param kind What it is about.
   * @param now The time in ms.
   * @param peer Who it is about, if there are several that it can be.
   * @returns How many of the kind were left out since the last that was let through, or
   * `undefined` if this one is left out too.
   */
  admit(kind: string, now: number, peer?: string): number | undefined {
    const told = this.#judge(kind, now, peer);
    return typeof told === "number" ? told : undefined;
  }

  /** The same; if the complaint is left out, where that is counted. */
  #judge(kind: string, now: number, peer?: string): number | Count {
    const all = this.#count(kind, kind, now);
    const own = peer === undefined ? all : this.#count(`${kind}\n${peer}`, kind, now);
    if (own.passed >= BURST) {
      own.omitted++;
      return own;
    }
    if (all.passed >= BURST_OF_ALL) {
      all.omitted++;
      return all;
    }
    own.passed++;
    if (own !== all) all.passed++;
    const omitted = own === all ? own.omitted : own.omitted + all.omitted;
    own.omitted = all.omitted = 0;
    own.first = all.first = undefined;
    return omitted;
  }

  /**
   * Logs a complaint, unless too many of its kind were just now.
   *
   * @param kind What it is about.
   * @param now The time in ms.
   * @param log Where it goes, e.g. a logger's `warn`.
   * @param template The message, with `{…}` where a property stands.
   * @param properties What stands there. A function, here or there, is asked only if it is logged.
   * @param peer Who it is about, if there are several that it can be.
   * @returns Whether it was; if not, `rest()` has something to tell later.
   */
  log(
    kind: string,
    now: number,
    log: Sink,
    template: string | (() => string),
    properties: Properties | (() => Properties),
    peer?: string,
  ): boolean {
    const told = this.#judge(kind, now, peer);
    const isLogged = typeof told === "number";
    if (!isLogged && told.first !== undefined) return false;
    // At once, though it may be for later: what it is about may be gone by then.
    const line = {
      log,
      template: typeof template === "function" ? template() : template,
      properties: typeof properties === "function" ? properties() : properties,
    };
    if (isLogged) write(line, told);
    else told.first = line;
    return isLogged;
  }

  /**
   * Logs what was left out and nothing has come after that would have told it: of each kind one,
   * with the number of the others.
   *
   * @param now The time in ms; those whose period is not over have theirs later. `Infinity` is the
   * end.
   * @returns Whether there are such.
   */
  rest(now: number): boolean {
    const told = new Map<string, { count: Count; omitted: number }>();
    let isMore = false;
    for (const count of this.#counts.values()) {
      if (count.omitted === 0) continue;
      if (now - count.since < PERIOD) {
        isMore = true;
        continue;
      }
      const of = told.get(count.kind);
      if (of === undefined) told.set(count.kind, { count, omitted: count.omitted });
      else {
        of.omitted += count.omitted;
        if (of.count.first === undefined) of.count = count;
      }
      count.omitted = 0;
    }
    for (const { count, omitted } of told.values()) {
      const { first } = count;
      // It is one of those that pass.
      count.since = now;
      count.passed = 1;
      if (first !== undefined) write(first, omitted - 1);
    }
    for (const count of this.#counts.values()) if (count.omitted === 0) count.first = undefined;
    return isMore;
  }

  #count(key: string, kind: string, now: number): Count {
    let count = this.#counts.get(key);
    if (count === undefined) {
      if (this.#counts.size >= COUNTS) this.#sweep(now);
      const full = this.#counts.size >= COUNTS;
      count = full ? this.#counts.get("") : undefined;
      if (count === undefined) {
        count = { kind: full ? "" : kind, since: now, passed: 0, omitted: 0, first: undefined };
        this.#counts.set(full ? "" : key, count);
      }
    }
    if (now - count.since >= PERIOD) {
      count.since = now;
      count.passed = 0;
    }
    return count;
  }

  /** Makes room for new counts; not for each of a flood of them, since it looks at all. */
  #sweep(now: number): void {
    if (now - this.#sweptAt < PERIOD) return;
    this.#sweptAt = now;
    for (const [key, count] of this.#counts) {
      if (now - count.since < PERIOD) continue;
      // A kind keeps its count as long as it has something to tell.
      if (key === count.kind && count.omitted > 0) continue;
      this.#counts.delete(key);
      const all = this.#counts.get(count.kind);
      if (all === undefined) continue;
      all.omitted += count.omitted;
      all.first ??= count.first;
    }
  }
}

function write({ log, template, properties }: LeftOut, omitted: number): void {
  if (omitted === 0) return log(template, properties);
  log(`${template} ({omitted} more like it were left out)`, { ...properties, omitted });
}
