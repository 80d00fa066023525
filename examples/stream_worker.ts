/**
 * A worker that answers in parts: the prime numbers up to the one that is asked for, each as soon
 * as it is found, and at the end how many there are.
 *
 * ```sh
 * deno run --allow-ffi examples/stream_worker.ts [ENDPOINT]
 * ```
 *
 * @module
 */

import { Worker, type WorkerRequest } from "@majortomo/mdp";

/** What it yields is sent as PARTIALs, what it returns as the FINAL. */
function* primes(request: WorkerRequest): Generator<string, string> {
  const limit = request.json<number>();
  const found: number[] = [];
  for (let candidate = 2; candidate <= limit; candidate++) {
    if (found.some((prime) => candidate % prime === 0)) continue;
    found.push(candidate);
    yield `${candidate}`;
  }
  return `${found.length} prime numbers up to ${limit}`;
}

const [endpoint = "tcp://127.0.0.1:5555"] = Deno.args;

await using worker = new Worker({ broker: endpoint, service: "primes", concurrency: 4 });
worker.stopOnSignal();
console.error(`Serving "primes" at ${endpoint}, stop with Ctrl-C`);
await worker.serve(primes, {
  // Without this a request that is no number would be given to one worker after the other.
  onError: (error) => `Failed: ${error instanceof Error ? error.message : error}`,
});
