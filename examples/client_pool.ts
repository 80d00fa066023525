/**
 * Many requests at once, by one client, with several brokers to turn to: what is not answered in
 * time is asked again, at the next broker. Needs `echo_worker.ts` at one of the brokers.
 *
 * ```sh
 * deno run --allow-ffi examples/client_pool.ts [ENDPOINT...]
 * ```
 *
 * @module
 */

import { Client, TimeoutError } from "@majortomo/mdp";

const REQUESTS = 1_000;
const brokers = Deno.args.length > 0 ? Deno.args : ["tcp://127.0.0.1:5555"];

await using client = new Client({
  broker: brokers,
  timeout: 2_000,
  retries: 3,
  // For all of it, also the wait for a turn.
  deadline: 10_000,
  // The others wait for their turn. Where RFC 18 is spoken each in flight has a connection of its own.
  maxInFlight: 32,
});

const start = performance.now();
const results = await Promise.allSettled(
  Array.from({ length: REQUESTS }, (_, i) => client.request("echo", `request ${i}`)),
);
const seconds = (performance.now() - start) / 1_000;

const failures = results.filter((result) => result.status === "rejected");
console.log(
  `${results.length - failures.length} of ${REQUESTS} requests were answered ` +
    `in ${seconds.toFixed(2)} s`,
);
for (const { reason } of failures) {
  if (!(reason instanceof TimeoutError)) throw reason;
}
if (failures.length > 0) {
  console.error(failures[0]!.reason.message);
  Deno.exitCode = 1;
}
