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
  const connection = await connect({ port });
  const ask = async (body: Uint8Array) =>
    (await connection.request("echo", body, { timeout: 10_000 })).data;
  tell(await keepAsking(job, ask));
  await connection.close();
}

if (import.meta.main) await work(run);
