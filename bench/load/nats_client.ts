/**
 * A process with a client of NATS, as a program would use it.
 *
 * @module
 */

import { connect } from "@nats-io/transport-node";
import { type AskingJob, keepAsking } from "./asking.ts";
import { tell, work } from "./job.ts";

/** What the process is told. */
export interface NatsClientJob extends AskingJob {
  /** Where the server listens. */
  port: number;
}

async function run({ port, ...job }: NatsClientJob): Promise<void> {
  // What its README advises where requests matter: without, each call has a stack trace made.
  const connection = await connect({ port, noAsyncTraces: true });
  const ask = async (body: Uint8Array) =>
    (await connection.request("echo", body, { timeout: 10_000 })).data;
  tell(await keepAsking(job, ask));
  await connection.close();
}

if (import.meta.main) await work(run);
