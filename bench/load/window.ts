/**
 * The time over which a load is measured: warm-up, then what counts.
 *
 * @module
 */

import { Latencies } from "../../cli/latencies.ts";
import { type Usage, usage } from "../proc.ts";
import type { Measured, Watched, Window } from "./job.ts";

/** Counts what happens in the time that counts. */
export class Stopwatch {
  readonly #latencies = new Latencies();
  readonly #watched: Watched;
  readonly #from: number;
  readonly #until: number;
  #before: Record<string, Usage> | undefined;
  #startedAt = 0;
  #measured: Measured | undefined;

  /** Starts now. This process is watched too, as the client. */
  constructor({ warmUp, seconds, watched }: Window) {
    this.#watched = { ...watched, client: Deno.pid };
    this.#from = performance.now() + 1_000 * warmUp;
    this.#until = this.#from + 1_000 * seconds;
  }

  /** When what counts begins, as `performance.now()` tells it. */
  get from(): number {
    return this.#from;
  }

  /** When it ends. */
  get until(): number {
    return this.#until;
  }

  /** What was measured, once it is over. */
  get measured(): Measured | undefined {
    return this.#measured;
  }

  /**
   * To be called with each answer.
   *
   * @param now The time.
   * @param since When it was to be asked for.
   */
  answered(now: number, since: number): void {
    this.tick(now);
    if (this.#before === undefined || this.#measured !== undefined) return;
    this.#latencies.record(now - since);
  }

  /** To be called now and then while there are no answers. */
  tick(now: number): void {
    if (this.#before === undefined) {
      if (now < this.#from) return;
      this.#before = this.#look();
      this.#startedAt = now;
    } else if (now >= this.#until && this.#measured === undefined) {
      const after = this.#look();
      const used = Object.entries(after).map(([part, { cpu, rss }]) => {
        const before = this.#before![part]!;
        return [part, { cpu: cpu - before.cpu, rss }];
      });
      this.#measured = {
        requests: this.#latencies.count,
        seconds: (now - this.#startedAt) / 1_000,
        latency: this.#latencies.summary(),
        usage: Object.fromEntries(used),
      };
    }
  }

  #look(): Record<string, Usage> {
    const looks = Object.entries(this.#watched).map(([part, pid]) => [part, usage(pid)]);
    return Object.fromEntries(looks);
  }
}
