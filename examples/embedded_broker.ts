/**
 * A broker inside a program, here with a service and a client of its own. Other processes can use
 * the broker too, until the program is stopped.
 *
 * ```sh
 * deno run --allow-ffi examples/embedded_broker.ts [ENDPOINT]
 * ```
 *
 * @module
 */

import { Broker, Client, Worker } from "@majortomo/mdp";

// A port of * is a free one; bind() tells which.
const [bind = "tcp://127.0.0.1:*"] = Deno.args;

const stop = new AbortController();
for (const signal of ["SIGINT", "SIGTERM"] as const) {
  Deno.addSignalListener(signal, () => stop.abort());
}

await using broker = new Broker({ bind, drain: 1_000 });
const [endpoint] = broker.bind();
const ended = broker.run(stop);

await using worker = new Worker({ broker: endpoint, service: "upper" });
worker.serve((request) => request.text().toUpperCase());

await using client = new Client({ broker: endpoint });
console.log((await client.request("upper", "hello from inside")).text());
const { answered, workers } = broker.stats();
console.log(`${answered} request answered, ${workers.registered} worker registered`);

console.error(`Listening on ${endpoint}, stop with Ctrl-C`);
await ended;
console.error("Stopped");
