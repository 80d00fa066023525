/**
 * A worker process that takes a request and never answers it: for tests that kill it. Its
 * arguments are the endpoint and the service; it prints "ready", then the body of the request.
 *
 * @module
 */

import { RawSocket } from "./raw.ts";

const [endpoint, service] = Deno.args as [string, string];
const worker = RawSocket.dealer(endpoint);
worker.send("MDPW02", [1], service);
console.log("ready");
// Who started it knows how long that may take.
const request = await worker.receiveButHeartbeats(3_600_000);
console.log(new TextDecoder().decode(request.at(-1)));
// The socket keeps the process alive.
