/**
 * What a good pair keeps of its rate while another peer floods the broker. Run as a program with an
 * endpoint, it is that peer: it sends garbage as fast as it can.
 *
 * @module
 */

import { Client } from "../../client.ts";
import { Worker } from "../../worker.ts";
import { Socket } from "../../zmq/socket.ts";
import { Child } from "./child.ts";
import { availableEndpoint } from "./endpoint.ts";

/** How many requests are in flight at a time. */
const IN_FLIGHT = 64;
/** How long each rate is measured, in ms. */
const WINDOW = 3_000;

/** Rates in requests per second. */
export interface Rates {
  undisturbed: number;
  /** While a peer sends garbage as fast as it can. */
  garbage: number;
  /** While a peer asks and never reads its replies. */
  deaf: number;
}

/** Measures a pair with the broker in a process of its own. */
export async function measureFlood(): Promise<Rates> {
  const endpoint = availableEndpoint();
  await using broker = new Child("./broker.ts", [endpoint, "{}"]);
  await broker.line();
  const options = { broker: endpoint, dialect: "multiplexed" } as const;
  await using worker = new Worker({ ...options, service: "echo", concurrency: IN_FLIGHT });
  worker.serve((request) => request.frames);
  await using client = new Client(options);
  await rate(client);
  const undisturbed = await rate(client);
  const under = async (how: string) => {
    await using peer = new Child("./flood.ts", [endpoint, how]);
    await peer.line();
    return await rate(client);
  };
  return { undisturbed, garbage: await under("garbage"), deaf: await under("deaf") };
}

async function rate(client: Client): Promise<number> {
  const start = performance.now();
  let answered = 0;
  await Promise.all(Array.from({ length: IN_FLIGHT }, async () => {
    while (performance.now() < start + WINDOW) {
      await client.request("echo", "x".repeat(32));
      answered++;
    }
  }));
  return answered / (performance.now() - start) * 1_000;
}

if (import.meta.main) {
  const [endpoint, how] = Deno.args as [string, string];
  const socket = new Socket("DEALER", { linger: 0, receiveHighWaterMark: 1 });
  socket.connect(endpoint);
  const message = how === "garbage"
    ? [new Uint8Array(20).fill(7), "echo", "garbage"]
    // The broker answers it itself: what it costs is the broker's time, and not the worker's.
    : ["MDPC02", "\x01", "mmi.service", "echo"];
  console.log("ready");
  for (;;) {
    for (let i = 0; i < 1_000 && socket.send(message) === "sent"; i++);
    await new Promise((resolve) => setTimeout(resolve, 0));
  }
}
