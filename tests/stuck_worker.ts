/**
 * A worker process that takes a request and never answers it: for tests that kill it. Its
 * arguments are the endpoint, the service and the dialect (RFC 18 if there is none); it prints
 * "ready", then the body of the request.
 *
 * @module
 */

import { control } from "./hostile.ts";
import { type RawFrame, RawSocket } from "./raw.ts";

const [endpoint, service, dialect = "rfc"] = Deno.args as [string, string, string?];
const READY: Record<string, RawFrame[]> = {
  rfc: ["MDPW02", [1]],
  majortomo: ["", "MDPW02", [1]],
  multiplexed: [control("MDPWX1", { command: 1, id: "0".repeat(16), value: 1 })],
};
const worker = RawSocket.dealer(endpoint);
worker.send(...READY[dialect]!, service);
console.log("ready");
// Who started it knows how long that may take. A HEARTBEAT has no body.
let request: Uint8Array[];
do request = await worker.receiveButHeartbeats(3_600_000); while (request.length === 1);
console.log(new TextDecoder().decode(request.at(-1)));
// The socket keeps the process alive.
