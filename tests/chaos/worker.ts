/**
 * A worker of the chaos, a process of its own. Its arguments are the endpoint, the service, the
 * dialect and a seed. It prints "ready" at once; SIGTERM, or the end of stdin, stops it in order.
 *
 * @module
 */

import type { DialectOption } from "../../options.ts";
import { Worker } from "../../worker.ts";
import { Random } from "../random.ts";
import { replyTo } from "./exchange.ts";
import { linesOf } from "./lines.ts";

/** How many requests a worker takes at once. */
export const CONCURRENCY = 4;

if (import.meta.main) {
  const [broker, service, dialect, seed] = Deno.args as [string, string, DialectOption, string];
  const random = new Random(Number(seed));
  const worker = new Worker({
    broker,
    service,
    dialect,
    concurrency: CONCURRENCY,
    heartbeatInterval: 200,
    heartbeatTimeout: 1_500,
    backoff: 20,
    maxBackoff: 300,
    drain: 2_000,
  });
  worker.stopOnSignal();
  console.log("ready");
  worker.serve(async function* (request) {
    const work = random.chance(0.3) ? random.below(30) : 0;
    const parts = replyTo(service, request.frames);
    for (;;) {
      if (work > 0) await new Promise((resolve) => setTimeout(resolve, work));
      const { done, value } = parts.next();
      if (done) return value;
      yield value;
    }
  }).then(() => Deno.exit(0));
  for await (const _ of linesOf(Deno.stdin.readable));
  worker.stop();
}
