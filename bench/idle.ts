/**
 * What a broker does when nobody asks anything.
 *
 * @module
 */

import type { Memory } from "./load/broker.ts";
import { idleWorkers } from "./loading.ts";
import { usage, wakes, wakesBetween } from "./proc.ts";
import type { Figures } from "./shape.ts";
import type { Stage } from "./stage.ts";

/** Workers that are registered, and then as many more, if no fewer are asked for. */
const WORKERS = 1_000;
/** For how long V8 cleans up after a start, and Deno ends threads that it needs no more, in s. */
const CLEANING = 12;

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
  const watch = async (after: number) => {
    await stage.pause(after);
    const before = wakes(broker.pid), start = performance.now();
    await stage.pause(seconds);
    const { count, cpu } = wakesBetween(before, wakes(broker.pid));
    const elapsed = (performance.now() - start) / 1_000;
    return { wakes: count / elapsed, cpu: 100 * cpu / elapsed };
  };
  const alone = await watch(Math.max(warmUp, CLEANING));
  const workers = Math.min(idle, WORKERS);
  await idleWorkers(stage, broker, workers);
  const crowded = await watch(warmUp);
  // Of as many more: by then the services and the code are there, which others share.
  const some = await memory(), rss = usage(broker.pid).rss;
  await idleWorkers(stage, broker, workers);
  const more = await memory(), grown = usage(broker.pid).rss;
  return {
    "wake-ups alone": alone.wakes,
    "CPU alone": alone.cpu,
    "wake-ups": crowded.wakes,
    "CPU": crowded.cpu,
    "RSS a worker": (grown - rss) / workers,
    ...some === undefined || more === undefined ? {} : {
      "heap a worker": (more.heap + more.external - some.heap - some.external) / workers,
    },
  };
}
