/**
 * A process with one of our workers, as a program would use it. It serves until it is killed.
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
  /** How long each handler waits, in ms; it answers with how many are at work then. 0: an echo. */
  pause: number;
  /** After how many seconds the process ends, come what may. */
  limit: number;
}

async function run({ url, dialect, concurrency, limit, ...job }: WorkerJob): Promise<void> {
  await using worker = new Worker({ broker: url, service: "echo", dialect, concurrency });
  const signal = AbortSignal.timeout(1_000 * limit);
  tell({ ready: true });
  if (job.pause === 0) return await worker.serve(({ frames }) => frames, { signal });
  let atWork = 0;
  await worker.serve(async () => {
    atWork++;
    const reply = new Uint8Array(4);
    new DataView(reply.buffer).setUint32(0, atWork);
    await pause(job.pause);
    atWork--;
    return reply;
  }, { signal });
}

if (import.meta.main) await work(run);
