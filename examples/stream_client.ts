/**
 * A client that takes a reply in parts, as they come. Needs `stream_worker.ts`.
 *
 * ```sh
 * deno run --allow-ffi examples/stream_client.ts [ENDPOINT [LIMIT]]
 * ```
 *
 * @module
 */

import { Client } from "@majortomo/mdp";

const [endpoint = "tcp://127.0.0.1:5555", limit = "30"] = Deno.args;

await using client = new Client(endpoint);
// The timeout is for each part, the deadline for all of them.
const parts = client.stream("primes", limit, { timeout: 5_000, deadline: 60_000 });
for await (const part of parts) {
  console.log(part.type === "partial" ? `  ${part.text()}` : part.text());
}
