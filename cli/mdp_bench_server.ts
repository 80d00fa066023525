/**
 * The workers of `mdp bench`, on a thread of their own so that they do not share the event loop of
 * the clients, whose times are measured.
 *
 * @module
 */

import { MdpError } from "../errors.ts";
import type { DialectOption } from "../options.ts";
import { Worker } from "../worker.ts";

/** What is to be served. */
export interface ServerJob {
  broker: readonly string[] | undefined;
  dialect: DialectOption | undefined;
  service: string;
  /** How many workers. */
  workers: number;
  /** How many requests each takes at once. */
  concurrency: number;
}

/** What the thread says: that it has begun, that it has ended, or why it cannot go on. */
export type ServerReport =
  | { state: "serving" }
  | { state: "ended" }
  | { state: "failed"; message: string };

/** The side of the thread that talks to who started it. */
interface ThreadScope {
  onmessage: ((event: MessageEvent<ServerJob | "stop">) => void) | null;
  postMessage(report: ServerReport): void;
}

/** Whether this is the thread, and not a module that somebody imports for its types. */
const scope = "postMessage" in globalThis && "WorkerGlobalScope" in globalThis
  ? globalThis as unknown as ThreadScope
  : undefined;

if (scope !== undefined) {
  let workers: Worker[] = [];
  scope.onmessage = async ({ data: job }) => {
    try {
      if (job === "stop") {
        await Promise.all(workers.map((worker) => worker.close()));
        scope.postMessage({ state: "ended" });
        return;
      }
      const { workers: count, ...options } = job;
      workers = Array.from({ length: count }, () => new Worker(options));
      const serving = workers.map((worker) => worker.serve(({ frames }) => frames));
      scope.postMessage({ state: "serving" });
      await Promise.all(serving);
    } catch (error) {
      const isKnown = error instanceof MdpError;
      scope.postMessage({
        state: "failed",
        message: isKnown ? error.message : Deno.inspect(error),
      });
    }
  };
}
