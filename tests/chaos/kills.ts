/**
 * How long a request waits for its next worker when the one that holds it is killed.
 *
 * @module
 */

import assert from "node:assert/strict";
import { Broker } from "../../broker.ts";
import { Client } from "../../client.ts";
import { Worker } from "../../worker.ts";
import { Child } from "./child.ts";

/** How many victims are started ahead of their end. */
const AHEAD = 8;

/**
 * Kills busy workers one after the other, each a process of its own.
 *
 * @param kills How many.
 * @returns From each SIGKILL to the request's arrival at the other worker, in ms, sorted.
 */
export async function measureKills(kills: number): Promise<number[]> {
  // Those that wait for their end say nothing, however long it takes until their turn comes.
  const heartbeatTimeout = 3_600_000;
  await using broker = new Broker({ bind: "tcp://127.0.0.1:*", heartbeatTimeout });
  const [endpoint] = broker.bind() as [string];
  await using client = new Client({ broker: endpoint, dialect: "multiplexed", timeout: 10_000 });
  const times: number[] = [];
  let killedAt = 0;
  const serviceOf = (i: number) => `victim ${i}`;
  const start = (i: number) => new Child("../stuck_worker.ts", [endpoint, serviceOf(i)]);
  const victims = Array.from({ length: Math.min(AHEAD, kills) }, (_, i) => start(i));
  for (let i = 0; i < kills; i++) {
    const victim = victims.shift()!;
    assert.equal(await victim.line(), "ready");
    const call = client.request(serviceOf(i), `${i}`);
    // It prints the body: it holds the request.
    assert.equal(await victim.line(), `${i}`);
    await using other = new Worker({
      broker: endpoint,
      service: serviceOf(i),
      dialect: "multiplexed",
    });
    other.serve((request) => {
      times.push(performance.now() - killedAt);
      return request.frames;
    });
    const { joined } = broker.stats().workers;
    while (broker.stats().workers.joined === joined) {
      await new Promise((resolve) => setTimeout(resolve, 1));
    }
    killedAt = performance.now();
    await Promise.all([victim.kill(), call]);
    if (i + AHEAD < kills) victims.push(start(i + AHEAD));
  }
  return times.sort((a, b) => a - b);
}
