/**
 * What a broker does when nobody asks anything.
 *
 * @module
 */

import type { Memory } from "./load/broker.ts";
import { idleWorkers, pause } from "./loading.ts";
import { usage, wakes } from "./proc.ts";
import type { Figures } from "./shape.ts";
import type { Stage } from "./stage.ts";

/** Workers that are registered, if no fewer are asked for. */
const WORKERS = 1_000;

/**
 * Watches a broker that is idle, without workers and with.
 *
 * @param stage Where.
 * @returns Its wake-ups and CPU, and what a worker takes.
 */
export async function measureIdle(stage: Stage): Promise<Figures> {
  const { settings: { idle, seconds, warmUp } } = stage;
  const broker = await stage.broker({ probed: true });
  const memory = async () => await broker.ask<Memory>?.("memory");
  const watch = async () => {
    await pause(warmUp);
    const before = wakes(broker.pid), start = performance.now();
    await pause(seconds);
    const after = wakes(broker.pid), elapsed = (performance.now() - start) / 1_000;
    return {
      wakes: (after.count - before.count) / elapsed,
      cpu: 100 * (after.cpu - before.cpu) / elapsed,
    };
  };
  const alone = await watch();
  const empty = await memory(), rss = usage(broker.pid).rss;
  const workers = Math.min(idle, WORKERS);
  await idleWorkers(stage, broker, workers);
  const registered = await memory(), grown = usage(broker.pid).rss;
  const crowded = await watch();
  return {
    "wake-ups alone": alone.wakes,
    "CPU alone": alone.cpu,
    "wake-ups": crowded.wakes,
    "CPU": crowded.cpu,
    "RSS a worker": (grown - rss) / workers,
    ...empty === undefined || registered === undefined ? {} : {
      "heap a worker": (registered.heap + registered.external - empty.heap - empty.external) /
        workers,
    },
  };
}
