/**
 * A client of the echo service: sends a text and prints the reply.
 *
 * ```sh
 * deno run --allow-ffi examples/echo_client.ts [ENDPOINT [TEXT]]
 * ```
 *
 * @module
 */

import { Client, MdpError } from "@majortomo/mdp";

const [endpoint = "tcp://127.0.0.1:5555", text = "hello"] = Deno.args;

await using client = new Client({ broker: endpoint, timeout: 2_000 });
try {
  const reply = await client.request("echo", text);
  console.log(reply.text());
} catch (error) {
  if (!(error instanceof MdpError)) throw error;
  console.error(error.message);
  Deno.exitCode = 1;
}
