/**
 * Our broker as `cli/broker.ts` runs it, with a view into its process: to each line on stdin it
 * answers with a line on stdout. Its arguments are the broker's.
 *
 * - `memory`: what it holds, after a garbage collection.
 * - `lateness {"from":…,"until":…}`: how late timers of 1 ms have gone off that were due in that time;
 *   the answer comes when it is over.
 *
 * @module
 */

import { main } from "../../cli/broker.ts";
import { Latencies, type Summary } from "../../cli/latencies.ts";
import { here, type Span, tell } from "./job.ts";

/** The answer to `memory`, in bytes. */
export interface Memory {
  /** Resident, of all the process. */
  rss: number;
  /** In use by JavaScript. */
  heap: number;
  /** Beside that, what JavaScript's objects keep alive. */
  external: number;
}

/** The answer to `lateness`, in ms. */
export type Lateness = Summary;

/** `--expose-gc` makes it. */
declare const gc: (() => void) | undefined;

/** Timers that are asked for anew each time one goes off, as a program would have them. */
function lateness(span: Span): Promise<Lateness> {
  const { from, until } = here(span), late = new Latencies();
  return new Promise((resolve) => {
    const next = () => {
      const due = performance.now() + 1;
      if (due >= until) return resolve(late.summary());
      setTimeout(() => {
        if (due >= from) late.record(Math.max(0, performance.now() - due));
        next();
      }, 1);
    };
    next();
  });
}

async function answer(): Promise<void> {
  for await (const text of Deno.stdin.readable.pipeThrough(new TextDecoderStream())) {
    const [question, span] = text.trim().split(" ", 2);
    if (question === "memory") {
      gc?.();
      const { rss, heapUsed, external } = Deno.memoryUsage();
      tell({ rss, heap: heapUsed, external } satisfies Memory);
    } else if (question === "lateness") {
      tell(await lateness(JSON.parse(span!)));
    }
  }
}

answer();
Deno.exit(await main(Deno.args));
