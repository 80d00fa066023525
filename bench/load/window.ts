/**
 * The time over which a load is measured: warm-up, then what counts.
 *
 * @module
 */

import { Latencies } from "../../cli/latencies.ts";
import { type Usage, usage } from "../proc.ts";
import type { Measured, Span, Watched, Window } from "./job.ts";

/** Counts what happens in the time that counts. */
export class Stopwatch {
  readonly #latencies = new Latencies();
  /** What was answered in the time that counts. */
  #requests = 0;
  readonly #watched: Watched;
  readonly #length: number;
  #from: number;
  #before: Record<string, Usage> | undefined;
  #measured: Omit<Measured, "latency"> | undefined;

  /** Starts now. This process is watched too, as the client. */
  constructor({ warmUp, seconds, watched }: Window) {
    this.#watched = { ...watched, client: Deno.pid };
    // The first look takes some ms, as its code is compiled then.
    this.#look();
    this.#length = 1_000 * seconds;
    this.#from = performance.now() + 1_000 * warmUp;
  }

  /**
   * When what counts begins, as `performance.now()` tells it. The first tick that is due moves it to
   * when that has looked at who is watched: requests, time and CPU count from the same moment.
   */
  get from(): number {
    return this.#from;
  }

  /** When it ends. */
  get until(): number {
    return this.#from + this.#length;
  }

  /** What counts, for other processes. */
  get span(): Span {
    const shift = Date.now() - performance.now();
    return { from: this.from + shift, until: this.until + shift };
  }

  /** Whether it is over. */
  get isOver(): boolean {
    return this.#measured !== undefined;
  }

  /** What was measured, once it is over, and all answers have come that are waited for. */
  measured(): Measured {
    return { ...this.#measured!, latency: this.#latencies.summary() };
  }

  /**
   * To be called with each answer where the next request waits for it: what is answered in the time
   * that counts does.
   *
   * @param now The time.
   * @param since When it was asked for.
   */
  answered(now: number, since: number): void {
    this.tick(now);
    if (this.#before === undefined || now < this.#from || this.isOver) return;
    this.#requests++;
    this.#latencies.record(now - since);
  }

  /**
   * To be called with each answer at a fixed rate: what is due in the time that counts does, however
   * late the answer comes. It is none of its requests/s if that is over by then.
   *
   * @param now The time.
   * @param since When it was to be asked for.
   */
  answeredDue(now: number, since: number): void {
    this.tick(now);
    if (since < this.#from || since >= this.until) return;
    if (!this.isOver) this.#requests++;
    this.#latencies.record(now - since);
  }

  /** To be called now and then while there are no answers. */
  tick(now: number): void {
    if (this.#before === undefined) {
      if (now < this.#from) return;
      this.#before = this.#look();
      this.#from = performance.now();
    } else if (now >= this.until && !this.isOver) {
      const after = this.#look();
      const used = Object.entries(after).map(([part, { cpu, rss }]) => {
        const before = this.#before![part]!;
        return [part, { cpu: cpu - before.cpu, rss }];
      });
      this.#measured = {
        requests: this.#requests,
        seconds: (now - this.#from) / 1_000,
        usage: Object.fromEntries(used),
      };
    }
  }

  #look(): Record<string, Usage> {
    const looks = Object.entries(this.#watched).map(([part, pid]) => [part, usage(pid)]);
    return Object.fromEntries(looks);
  }
}
