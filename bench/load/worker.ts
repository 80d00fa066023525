/**
 * A process with one of our workers, as a program would use it. It answers with what it gets, and
 * serves until it is killed. To each line on stdin it says how busy its handlers were since the
 * line before.
 *
 * @module
 */

import { setTimeout as pause } from "node:timers/promises";
import { Worker } from "../../worker.ts";
import { type Job, tell, work } from "./job.ts";

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
  await using worker = new Worker({ broker: url, service: "echo", dialect, concurrency });
  const signal = AbortSignal.timeout(1_000 * limit);
  tell({ ready: true });
  if (job.pause === 0) return await worker.serve(({ frames }) => frames, { signal });

  /** All their time, in ms, up to `at`. */
  let busy = 0, atWork = 0, at = performance.now();
  const change = (by: number) => {
    const now = performance.now();
    busy += atWork * (now - at);
    at = now;
    atWork += by;
  };
  const answer = async () => {
    let asked = at;
    for await (const _ of Deno.stdin.readable) {
      change(0);
      tell({ atWork: busy / (at - asked) } satisfies Busy);
      [asked, busy] = [at, 0];
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
