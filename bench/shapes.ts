/**
 * The shapes of load, and what is measured under each.
 *
 * @module
 */

import { measureBacklog } from "./backlog.ts";
import { measureIdle } from "./idle.ts";
import type { Lateness } from "./load/broker.ts";
import type { Busy } from "./load/worker.ts";
import {
  asFigures,
  CLIENTS,
  CREDIT,
  type Load,
  underLoad,
  WINDOW,
  withOurs,
  WORKERS,
} from "./loading.ts";
import {
  BOTH,
  BROKER_CPU,
  BROKER_RSS,
  CLIENT_CPU,
  type Figures,
  P50,
  P99,
  P999,
  RATE,
  type Shape,
  WORKER_CPU,
} from "./shape.ts";
import type { Stage } from "./stage.ts";

const LARGE = 65_536;

/** A shape under which the usual is measured. */
function loaded(
  name: string,
  summary: string,
  load: (stage: Stage, point: number) => Load,
  more: Partial<Shape> = {},
): Shape {
  return {
    name,
    summary,
    dialects: BOTH,
    figures: [RATE, P50, P99, P999, BROKER_CPU, BROKER_RSS],
    measure: async (stage, point) => asFigures(await underLoad(stage, load(stage, point))),
    ...more,
  };
}

/** All shapes, in the order in which they are measured. */
export const SHAPES: readonly Shape[] = [
  loaded(
    "throughput",
    `${CLIENTS} sockets with ${WINDOW} requests in flight each`,
    () => ({}),
    { figures: [RATE, P50, P99, P999, BROKER_CPU, WORKER_CPU, BROKER_RSS] },
  ),
  loaded(
    "round-trip",
    "one request at a time",
    () => ({ clients: 1, window: 1, workers: 1 }),
  ),
  loaded(
    "latency",
    "a fixed rate of requests (--rate), from when each was to be sent",
    ({ settings: { rate } }) => ({ rate }),
  ),
  loaded(
    "large",
    "bodies of 64 KiB, 4 sockets with 4 requests in flight each",
    ({ dialect }) => ({
      bytes: LARGE,
      clients: 4,
      window: 4,
      workers: dialect === "multiplexed" ? 1 : 16,
    }),
  ),
  loaded(
    "stream",
    "100 PARTIALs before each FINAL",
    () => ({ parts: 100, window: 4 }),
  ),
  loaded(
    "services",
    "100 services of two workers each",
    () => ({ services: 100, workers: 200 }),
  ),
  loaded(
    "idle-workers",
    "throughput beside idle workers (--idle)",
    ({ settings: { idle } }) => ({ idle }),
  ),
  {
    name: "backlog",
    summary: "how fast what has queued is served (--backlog, and 1,000), and its memory",
    dialects: BOTH,
    figures: [
      { name: "drain of small", unit: "/s", better: "more" },
      { name: "drain of large", unit: "/s", better: "more" },
      { name: "large to small", unit: "", better: "more" },
      BROKER_CPU,
      { name: "RSS queued", unit: "B/request", better: "less" },
      { name: "RSS kept", unit: "B/request", better: "less" },
      { name: "heap queued", unit: "B/request", better: "less" },
      { name: "heap kept", unit: "B/request", better: "less" },
    ],
    measure: measureBacklog,
  },
  {
    name: "client",
    summary: "Client with 1,024 in flight (RFC 18: 256), Worker taking 256 (64)",
    dialects: BOTH,
    figures: [RATE, P50, P99, P999, BROKER_CPU, CLIENT_CPU, WORKER_CPU, BROKER_RSS],
    async measure(stage) {
      const multiplexed = stage.dialect === "multiplexed";
      return asFigures(
        await withOurs(
          stage,
          multiplexed ? 1_024 : 256,
          { concurrency: multiplexed ? CREDIT : WORKERS },
        ),
      );
    },
  },
  {
    name: "client-round-trip",
    summary: "Client and Worker, one request at a time",
    dialects: BOTH,
    figures: [RATE, P50, P99, P999, BROKER_CPU, CLIENT_CPU, WORKER_CPU],
    measure: async (stage) => asFigures(await withOurs(stage, 1, { concurrency: 1 })),
  },
  {
    name: "handlers",
    summary: "2,000 handlers at once in one Worker, each waiting 10 ms",
    dialects: ["multiplexed"],
    figures: [
      RATE,
      { name: "at work", unit: "handlers", better: "more" },
      { name: "worker CPU", unit: "cores", better: "less" },
      P50,
      P99,
    ],
    async measure(stage) {
      const measured = await underLoad(stage, {
        window: 512,
        ours: { concurrency: 2_000, pause: 10 },
        probe: async (_, worker, span) => ({
          "at work": (await worker.ask<Busy>(JSON.stringify(span))).atWork,
        }),
      });
      const cores = measured.usage.worker!.cpu / measured.seconds;
      return { ...asFigures(measured), ...measured.probed, "worker CPU": cores };
    },
  },
  {
    name: "idle",
    summary: "a broker that nobody asks anything, alone and with up to 1,000 workers",
    dialects: BOTH,
    figures: [
      { name: "wake-ups alone", unit: "/s", better: "less" },
      { name: "CPU alone", unit: "%", better: "less" },
      { name: "wake-ups", unit: "/s", better: "less" },
      { name: "CPU", unit: "%", better: "less" },
      { name: "heap a worker", unit: "B", better: "less" },
      { name: "RSS a worker", unit: "B", better: "less" },
    ],
    measure: measureIdle,
  },
  {
    name: "start",
    summary: "from the start of the broker until it takes connections",
    dialects: [],
    figures: [{ name: "start", unit: "ms", better: "less" }],
    measure: async (stage) => ({ start: (await stage.broker()).startedIn }),
  },
  {
    name: "timer",
    summary: "how late a timer of 1 ms is in the broker under throughput's load",
    dialects: BOTH,
    figures: [P50, P99, P999, { name: "max", unit: "ms", better: "less" }, RATE],
    async measure(stage) {
      const { probed, requests, seconds } = await underLoad(stage, {
        needs: { probed: true },
        async probe({ ask }, _, span): Promise<Figures> {
          const late = await ask<Lateness>?.(`lateness ${JSON.stringify(span)}`);
          if (late === undefined) return {};
          return { p50: late.p50, p99: late.p99, "p99.9": late.p999, max: late.max };
        },
      });
      return { ...probed, requests: requests / seconds };
    },
  },
  loaded(
    "growth",
    "throughput beside ever more idle workers",
    (_, point) => ({ idle: point }),
    {
      onRequest: true,
      isPlotted: true,
      figures: [RATE, P50, P99, BROKER_CPU, BROKER_RSS],
      points: () => [100, 300, 1_000, 3_000, 10_000],
    },
  ),
  loaded(
    "load",
    "latency under ever more load",
    (_, point) => ({ rate: point }),
    {
      onRequest: true,
      isPlotted: true,
      figures: [RATE, P50, P99, P999, BROKER_CPU],
      points: (dialect) =>
        dialect === "multiplexed"
          ? [1_000, 3_000, 10_000, 30_000, 60_000, 90_000, 120_000]
          : [1_000, 3_000, 10_000, 20_000, 30_000, 40_000],
    },
  ),
];
