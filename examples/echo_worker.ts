/**
 * The worker of an echo service: answers each request with what it holds.
 *
 * ```sh
 * deno run --allow-ffi examples/echo_worker.ts [ENDPOINT]
 * ```
 *
 * @module
 */

import { Worker } from "@majortomo/mdp";

const [endpoint = "tcp://127.0.0.1:5555"] = Deno.args;

await using worker = new Worker({ broker: endpoint, service: "echo" });
worker.stopOnSignal();
console.error(`Serving "echo" at ${endpoint}, stop with Ctrl-C`);
await worker.serve((request) => request.frames);
