/**
 * Keeps a log readable while peers misbehave: of each kind of complaint a few about each peer are let
 * through in a while, and not many more about all peers together; the next one that is says how many
 * were not. Pure: time is given.
 *
 * @module
 */

/** How many of a kind about one peer are let through in a period. */
const BURST = 5;
/** How many of a kind are about all peers together. */
const BURST_OF_ALL = 50;
/** The period, in ms. */
const PERIOD = 1_000;
/** How many kinds, and peers for each, are told apart; beyond that all share one count. */
const COUNTS = 1_024;

/** What stands in a message, by name. */
export type Properties = Record<string, unknown>;

/** What was let through and left out since a moment. */
interface Count {
  /** What the complaints are about; empty if it is shared. */
  readonly kind: string;
  since: number;
  passed: number;
  omitted: number;
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
    const all = this.#count(kind, kind, now);
    const own = peer === undefined ? all : this.#count(`${kind}\n${peer}`, kind, now);
    if (own.passed >= BURST) {
      own.omitted++;
      return undefined;
    }
    if (all.passed >= BURST_OF_ALL) {
      all.omitted++;
      return undefined;
    }
    own.passed++;
    if (own !== all) all.passed++;
    const omitted = own === all ? own.omitted : own.omitted + all.omitted;
    own.omitted = all.omitted = 0;
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
   */
  log(
    kind: string,
    now: number,
    log: (template: string, properties: Properties) => void,
    template: string | (() => string),
    properties: Properties | (() => Properties),
    peer?: string,
  ): void {
    const omitted = this.admit(kind, now, peer);
    if (omitted === undefined) return;
    const shown = typeof properties === "function" ? properties() : properties;
    const line = typeof template === "function" ? template() : template;
    if (omitted === 0) return log(line, shown);
    log(`${line} ({omitted} more like it were left out)`, { ...shown, omitted });
  }

  #count(key: string, kind: string, now: number): Count {
    let count = this.#counts.get(key);
    if (count === undefined) {
      if (this.#counts.size >= COUNTS) this.#sweep(now);
      const full = this.#counts.size >= COUNTS;
      count = full ? this.#counts.get("") : undefined;
      if (count === undefined) {
        count = { kind: full ? "" : kind, since: now, passed: 0, omitted: 0 };
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
      if (all !== undefined) all.omitted += count.omitted;
    }
  }
}
