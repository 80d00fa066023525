/**
 * Keeps a log readable while a peer misbehaves: of each kind of complaint a few are let through
 * in a while, and the next one that is says how many were not. Pure: time is given.
 *
 * @module
 */

/** How many of a kind are let through in a period. */
const BURST = 5;
/** The period, in ms. */
const PERIOD = 1_000;
/** How many kinds are told apart; beyond that all share one. */
const KINDS = 1_024;

/** Decides which complaints are logged. */
export class Complaints {
  readonly #kinds = new Map<string, { since: number; passed: number; omitted: number }>();
  #sweptAt = -Infinity;

  /**
   * Whether to log a complaint of this kind now.
   *
   * @param kind What it is about; may hold who it is about.
   * @param now The time in ms.
   * @returns How many of the kind were left out since the last that was let through, or
   * `undefined` if this one is left out too.
   */
  admit(kind: string, now: number): number | undefined {
    let state = this.#kinds.get(kind);
    if (state === undefined) {
      if (this.#kinds.size >= KINDS) this.#sweep(now);
      const key = this.#kinds.size >= KINDS ? "" : kind;
      state = this.#kinds.get(key) ?? { since: now, passed: 0, omitted: 0 };
      this.#kinds.set(key, state);
    }
    if (now - state.since >= PERIOD) {
      state.since = now;
      state.passed = 0;
    }
    if (state.passed >= BURST) {
      state.omitted++;
      return undefined;
    }
    state.passed++;
    const { omitted } = state;
    state.omitted = 0;
    return omitted;
  }

  /** Makes room for new kinds; not for each of a flood of them, since it looks at all. */
  /**
   * Logs a complaint, unless too many of its kind were just now.
   *
   * @param kind What it is about; may hold who it is about.
   * @param now The time in ms.
   * @param log Where it goes, e.g. a logger's `warn`.
   * @param template The message, with `{…}` where a property stands.
   * @param properties What stands there.
   */
  log(
    kind: string,
    now: number,
    log: (template: string, properties: Record<string, unknown>) => void,
    template: string,
    properties: Record<string, unknown>,
  ): void {
    const omitted = this.admit(kind, now);
    if (omitted === undefined) return;
    if (omitted === 0) return log(template, properties);
    log(`${template} ({omitted} more like it were left out)`, { ...properties, omitted });
  }

  #sweep(now: number): void {
    if (now - this.#sweptAt < PERIOD) return;
    this.#sweptAt = now;
    for (const [kind, state] of this.#kinds) {
      if (now - state.since >= PERIOD) this.#kinds.delete(kind);
    }
  }
}
