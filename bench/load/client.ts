/**
 * A process with one of our clients, as a program would use it.
 *
 * @module
 */

import { Client } from "../../client.ts";
import { type AskingJob, keepAsking } from "./asking.ts";
import { type Job, tell, work } from "./job.ts";

/** What the process is told. */
export type ClientJob = Job & AskingJob;

async function run({ url, dialect, ...job }: ClientJob): Promise<void> {
  await using client = new Client({ broker: url, dialect, maxInFlight: job.inFlight });
  const ask = async (body: Uint8Array) => (await client.request("echo", body)).frames[0]!;
  tell(await keepAsking(job, ask));
}

if (import.meta.main) await work(run);
