/**
 * A process with one of our clients, as a program would use it.
 *
 * @module
 */

import { Client } from "../../client.ts";
import { type AskingJob, keepAsking } from "./asking.ts";
import { type Job, tell, work } from "./job.ts";

/** What the process is told. */
export interface ClientJob extends Job, AskingJob {
  /** Whether the replies tell how many requests the worker has at work: see `worker.ts`. */
  counted: boolean;
}

async function run({ url, dialect, counted, ...job }: ClientJob): Promise<void> {
  await using client = new Client({ broker: url, dialect, maxInFlight: job.inFlight });
  let atWork = 0, replies = 0;
  const count = (reply: Uint8Array<ArrayBufferLike>) => {
    replies++;
    atWork += new DataView(reply.buffer, reply.byteOffset).getUint32(0);
  };
  const measured = await keepAsking(
    job,
    async (body) => (await client.request("echo", body)).frames[0]!,
    counted ? count : undefined,
  );
  tell({ ...measured, atWork: atWork / replies });
}

if (import.meta.main) await work(run);
