/**
 * Our broker as `cli/broker.ts` runs it, with a view into its process: to each line on stdin it
 * answers with a line on stdout. Its arguments are the broker's.
 *
 * - `memory`: what it holds, after a garbage collection.
 * - `lateness`: how late a timer of 1 ms has gone off since the line before.
 *
 * @module
 */

import { main } from "../../cli/broker.ts";
import { Latencies, type Summary } from "../../cli/latencies.ts";
import { tell } from "./job.ts";

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

let lateness = new Latencies();

/** A timer that is asked for anew each time it goes off, as a program would have it. */
function watchTimer(): void {
  const due = performance.now() + 1;
  setTimeout(() => {
    lateness.record(Math.max(0, performance.now() - due));
    watchTimer();
  }, 1);
}

async function answer(): Promise<void> {
  let isWatched = false;
  for await (const line of Deno.stdin.readable.pipeThrough(new TextDecoderStream())) {
    if (line.trim() === "memory") {
      gc?.();
      const { rss, heapUsed, external } = Deno.memoryUsage();
      tell({ rss, heap: heapUsed, external } satisfies Memory);
    } else if (line.trim() === "lateness") {
      tell(lateness.summary() satisfies Lateness);
      lateness = new Latencies();
      if (!isWatched) watchTimer();
      isWatched = true;
    }
  }
}

answer();
Deno.exit(await main(Deno.args));
