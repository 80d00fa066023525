/**
 * The broker of the chaos, a process of its own. Its arguments are the endpoint and its options
 * (JSON). It prints "ready", for each line of stdin what it has counted and what it holds, as JSON,
 * and stops in order on SIGTERM.
 *
 * @module
 */

import { Broker, type BrokerStats, type DialectName } from "../../broker.ts";
import { linesOf } from "./lines.ts";

/** What the broker says of itself. */
export interface BrokerState {
  stats: BrokerStats;
  /** How many workers are registered, by what they speak. */
  registered: Record<DialectName, number>;
  /** Memory in use by the process, in bytes. */
  rss: number;
  /** Open file descriptors. */
  descriptors: number;
}

/** Collects garbage, where the runtime was started so that it can be told to. */
export function collect(): void {
  (globalThis as { gc?: () => void }).gc?.();
}

/** How many file descriptors a process has open, that of the look itself left out. */
export function descriptorsOf(pid: number | "self"): number {
  return [...Deno.readDirSync(`/proc/${pid}/fd`)].length - (pid === "self" ? 1 : 0);
}

if (import.meta.main) {
  const [endpoint, options] = Deno.args as [string, string];
  const broker = new Broker({ bind: endpoint, ...JSON.parse(options) });
  const stop = () => broker.close().then(() => Deno.exit(0));
  Deno.addSignalListener("SIGTERM", stop);
  // Whoever was there before may not have left entirely.
  for (let attempt = 0;; attempt++) {
    try {
      broker.bind();
      break;
    } catch (error) {
      if (attempt === 100) throw error;
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  }
  broker.run();
  console.log("ready");
  for await (const _ of linesOf(Deno.stdin.readable)) {
    collect();
    const registered = { rfc: 0, majortomo: 0, multiplexed: 0 };
    for (const { dialect } of broker.workers()) registered[dialect]++;
    const state: BrokerState = {
      stats: broker.stats(),
      registered,
      rss: Deno.memoryUsage().rss,
      descriptors: descriptorsOf("self"),
    };
    console.log(JSON.stringify(state));
  }
  stop();
}
