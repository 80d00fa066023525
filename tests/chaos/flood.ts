/**
 * What a good pair keeps of its rate while another peer floods the broker. Run as a program with an
 * endpoint and the name of a flood, it is that peer: it sends as fast as it can, and never reads.
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
const WINDOW = 2_000;
/** How often; the machine may be busy with something else at times. */
const ROUNDS = 5;

/** What a peer sends as fast as it can. */
export const FLOODS = {
  /** What is no MDP. */
  garbage: [new Uint8Array(20).fill(7), "echo", "garbage"],
  /** What the broker answers itself: it costs the broker's time, and not the worker's. */
  questions: ["MDPC02", "\x01", "mmi.service", "echo"],
} as const;

/** A flood, by what is sent. The peer never reads. */
export type Flood = keyof typeof FLOODS;

/** What a pair keeps of its rate beside a flood, as a share of the rate undisturbed. */
export interface Kept {
  /** When the pair's broker gets it. */
  here: number;
  /** When another broker gets it, which has nothing to do with the pair but the processors. */
  elsewhere: number;
}

/** A pair's rates. */
export interface Rates {
  /** In requests per second: the median. */
  undisturbed: number;
  /** For each flood what is kept in each round. */
  kept: Record<Flood, Kept[]>;
}

/** Measures a pair with the broker, and another one, in processes of their own. */
export async function measureFlood(): Promise<Rates> {
  const endpoint = availableEndpoint(), other = availableEndpoint();
  await using broker = new Child("./broker.ts", [endpoint, "{}"]);
  await using otherBroker = new Child("./broker.ts", [other, "{}"]);
  await Promise.all([broker.line(), otherBroker.line()]);
  const options = { broker: endpoint, dialect: "multiplexed" } as const;
  await using worker = new Worker({ ...options, service: "echo", concurrency: IN_FLIGHT });
  worker.serve((request) => request.frames);
  await using client = new Client(options);
  const beside = async (flood: Flood, victim: string) => {
    await using peer = new Child("./flood.ts", [victim, flood]);
    await peer.line();
    return await rate(client);
  };
  await rate(client);
  const undisturbed: number[] = [], kept: Rates["kept"] = { garbage: [], questions: [] };
  for (let round = 0; round < ROUNDS; round++) {
    const before = await rate(client);
    undisturbed.push(before);
    for (const flood of Object.keys(kept) as Flood[]) {
      const here = await beside(flood, endpoint), elsewhere = await beside(flood, other);
      kept[flood].push({ here: here / before, elsewhere: elsewhere / before });
    }
  }
  return { undisturbed: median(undisturbed), kept };
}

/** The one in the middle. */
export function median(numbers: readonly number[]): number {
  return numbers.toSorted((a, b) => a - b)[numbers.length >> 1]!;
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
  const [endpoint, flood] = Deno.args as [string, Flood];
  const socket = new Socket("DEALER", { linger: 0, receiveHighWaterMark: 1 });
  socket.connect(endpoint);
  console.log("ready");
  for (;;) {
    for (let i = 0; i < 1_000 && socket.send(FLOODS[flood]) === "sent"; i++);
    await new Promise((resolve) => setTimeout(resolve, 0));
  }
}
