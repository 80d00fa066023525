/**
 * How fast a broker serves what has queued, and what memory a queued request takes.
 *
 * @module
 */

import { median } from "./figures.ts";
import type { BacklogJob, BacklogMeasured } from "./load/backlog.ts";
import type { Memory } from "./load/broker.ts";
import { CLIENTS, CREDIT, expected, SMALL, WORKERS } from "./loading.ts";
import { usage } from "./proc.ts";
import type { Figures } from "./shape.ts";
import type { Stage } from "./stage.ts";

/** Requests in the small backlog, and how often it is made at most. */
export const FEW = 1_000;
const TIMES = 50;
/** How long the broker may take to give memory back, in s, and how much of it it may keep. */
const PATIENCE = 30, KEPT = 0.1;
/** Before anything is queued it has done so when it has not given back so much for so long, in s. */
const NOTHING = 4 * 2 ** 20, QUIET = 10;
/** What a collection has freed is given back within so many s. */
const FREED = 1;
/** Before anything is measured, so many are queued and served. */
const WARM_UP = 20_000;

/**
 * Lets requests queue, and serves them.
 *
 * @param stage Where.
 * @returns Figures of the small backlog and the large.
 */
export async function measureBacklog(stage: Stage): Promise<Figures> {
  const { settings: { backlog: large } } = stage;
  const own = ["--request-expiry", "0"];
  for (const limit of ["--max-queue", "--max-total-queue"]) {
    own.push(limit, String(Math.max(large, WARM_UP)));
  }
  const bytes = String(2 ** 34);
  for (const limit of ["--max-queue-bytes", "--max-total-queue-bytes"]) own.push(limit, bytes);
  const broker = await stage.broker({ probed: true, args: own });
  const multiplexed = stage.dialect === "multiplexed";
  const job: BacklogJob = {
    url: broker.url,
    ...expected(broker),
    dialect: stage.dialect,
    bytes: SMALL,
    clients: CLIENTS,
    services: ["echo"],
    parts: 0,
    workers: multiplexed ? 1 : WORKERS,
    credit: CREDIT,
    watched: { broker: broker.pid },
    warmUp: WARM_UP,
    queued: FEW,
    times: Math.min(TIMES, Math.ceil(large / FEW)),
    stops: false,
  };
  const before = await stage.load("backlog.ts", job).next<BacklogMeasured>();

  const child = stage.load("backlog.ts", { ...job, queued: large, times: 1, stops: true });
  /** What the broker holds when the load has come so far. */
  const look = async (): Promise<Memory> => {
    await child.next();
    const memory = await broker.ask<Memory>?.("memory");
    await stage.pause(FREED);
    const { rss } = usage(broker.pid);
    return memory === undefined ? { rss, heap: NaN, external: NaN } : { ...memory, rss };
  };
  /** V8 returns memory only once it has been idle for a while. */
  const settle = async (memory: Memory, enough: number, quiet: number) => {
    const end = performance.now() + 1_000 * PATIENCE;
    let until = performance.now() + 1_000 * quiet;
    while (memory.rss > enough && performance.now() < Math.min(until, end)) {
      await stage.pause(0.5);
      const { rss } = usage(broker.pid);
      if (rss <= memory.rss - NOTHING) until = performance.now() + 1_000 * quiet;
      memory.rss = Math.min(rss, memory.rss);
    }
  };
  const empty = await look();
  await settle(empty, 0, QUIET);
  await child.say("");
  const full = await look();
  await child.say("");
  const drained = await look();
  const kept = Math.max(NOTHING, KEPT * (full.rss - empty.rss));
  await settle(drained, empty.rss + kept, PATIENCE);
  await child.say("");
  const after = await child.next<BacklogMeasured>();
  const rateOfSmall = median(before.rates);
  return {
    "drain of small": rateOfSmall,
    "drain of large": after.rates[0]!,
    "large to small": after.rates[0]! / rateOfSmall,
    "broker CPU": 1e6 * after.cpu,
    "RSS queued": (full.rss - empty.rss) / large,
    "RSS kept": (drained.rss - empty.rss) / large,
    "heap queued": (full.heap + full.external - empty.heap - empty.external) / large,
    "heap kept": (drained.heap + drained.external - empty.heap - empty.external) / large,
  };
}
