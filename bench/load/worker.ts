/**
 * A process with one of our workers, as a program would use it. It answers with what it gets, and
 * serves until it is killed. To a line on stdin with a time it says, when that is over, how busy its
 * handlers were in it.
 *
 * @module
 */

import { setTimeout as pause } from "node:timers/promises";
import { Worker } from "../../worker.ts";
import { here, type Job, tell, work } from "./job.ts";

/** What the process is told. */
export interface WorkerJob extends Job {
  /** How many requests it takes at once. */
  concurrency: number;
  /** How long each handler waits, in ms. */
  pause: number;
  /** After how many seconds the process ends, come what may. */
  limit: number;
}

/** What it says about its handlers. */
export interface Busy {
  /** How many were at work, on average. */
  atWork: number;
}

async function run({ url, dialect, concurrency, limit, ...job }: WorkerJob): Promise<void> {
  let isReady = false;
  const onRegistered = () => {
    if (!isReady) tell({ ready: true });
    isReady = true;
  };
  const options = { service: "echo", dialect, concurrency, onRegistered };
  await using worker = new Worker({ broker: url, ...options });
  const signal = AbortSignal.timeout(1_000 * limit);
  if (job.pause === 0) return await worker.serve(({ frames }) => frames, { signal });

  /** All their time in the one that counts, in ms, up to `at`. */
  let busy = 0, atWork = 0, at = 0, from = Infinity, until = Infinity;
  const change = (by: number) => {
    const now = performance.now();
    busy += atWork * Math.max(0, Math.min(now, until) - Math.max(at, from));
    at = now;
    atWork += by;
  };
  const answer = async () => {
    for await (const text of Deno.stdin.readable.pipeThrough(new TextDecoderStream())) {
      ({ from, until } = here(JSON.parse(text)));
      await pause(until - performance.now());
      change(0);
      tell({ atWork: busy / (until - from) } satisfies Busy);
    }
  };
  answer();
  await worker.serve(async ({ frames }) => {
    change(+1);
    await pause(job.pause);
    change(-1);
    return frames;
  }, { signal });
}

if (import.meta.main) await work(run);
