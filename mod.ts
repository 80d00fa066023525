/**
 * Majordomo (MDP 0.2, ZeroMQ RFC 18) for Deno: named services, worker queues and recovery from
 * failures over ZeroMQ. A {@linkcode Broker} gives the requests of {@linkcode Client}s to the
 * {@linkcode Worker}s that have registered for a service.
 *
 * Everything runs with one permission, `--allow-ffi`.
 *
 * @example A service and a call to it
 * ```ts no-eval
 * import { Broker, Client, Worker } from "@majortomo/mdp";
 *
 * await using broker = new Broker({ bind: "tcp://127.0.0.1:5555" });
 * broker.run();
 *
 * await using worker = new Worker({ broker: "tcp://127.0.0.1:5555", service: "echo" });
 * worker.serve((request) => request.frames);
 *
 * await using client = new Client({ broker: "tcp://127.0.0.1:5555" });
 * const reply = await client.request("echo", "hello", { timeout: 10_000 });
 * console.log(reply.text());
 * ```
 *
 * @module
 */

export * from "./broker.ts";
export * from "./client.ts";
export * from "./worker.ts";
export * from "./errors.ts";
export { setSyncWait } from "./zmq/reactor.ts";
