/**
 * A process with a service over NATS that answers with what it gets. It serves until it is killed.
 *
 * @module
 */

import { connect } from "@nats-io/transport-node";
import { tell, work } from "./job.ts";

/** What the process is told. */
export interface NatsWorkerJob {
  /** Where the server listens. */
  port: number;
  /** After how many seconds the process ends, come what may. */
  limit: number;
}

async function run({ port, limit }: NatsWorkerJob): Promise<void> {
  const connection = await connect({ port, noAsyncTraces: true });
  // A callback costs less than the iterator, and is what NATS advises for services under load.
  connection.subscribe("echo", {
    queue: "workers",
    callback: (_, message) => {
      message.respond(message.data);
    },
  });
  await connection.flush();
  tell({ ready: true });
  await new Promise((resolve) => setTimeout(resolve, 1_000 * limit));
  await connection.close();
}

if (import.meta.main) await work(run);
