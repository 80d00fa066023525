/**
 * What a shape of load is, and the figures that most of them give.
 *
 * @module
 */

import type { DialectName } from "../codec.ts";
import type { Figure } from "./figures.ts";
import type { Stage } from "./stage.ts";

/** What one round gives, by the figures' names. */
export type Figures = Record<string, number>;

/** A shape of load. */
export interface Shape {
  /** What it is called on the command line. */
  name: string;
  /** What it is, in a few words. */
  summary: string;
  /** In which dialects it is measured unless others are asked for; none if it has none. */
  dialects: readonly DialectName[];
  /** Whether it is measured only when it is named. */
  onRequest?: boolean;
  /** Whether there is a plot of it. */
  isPlotted?: boolean;
  /** What is varied, if anything is: each is measured by itself. */
  points?(dialect: DialectName): readonly number[];
  /** What it gives. */
  figures: readonly Figure[];
  /** Measures it once, at one of its points. */
  measure(stage: Stage, point: number): Promise<Figures>;
}

/** The dialects between which a broker's work differs most. */
export const BOTH: readonly DialectName[] = ["rfc", "multiplexed"];

export const RATE: Figure = { name: "requests", unit: "/s", better: "more" };
export const P50: Figure = { name: "p50", unit: "ms", better: "less" };
export const P99: Figure = { name: "p99", unit: "ms", better: "less" };
export const P999: Figure = { name: "p99.9", unit: "ms", better: "less" };
export const BROKER_CPU: Figure = { name: "broker CPU", unit: "µs/request", better: "less" };
export const BROKER_RSS: Figure = { name: "broker RSS", unit: "MiB", better: "less" };
export const CLIENT_CPU: Figure = { name: "client CPU", unit: "µs/request", better: "less" };
export const WORKER_CPU: Figure = { name: "worker CPU", unit: "µs/request", better: "less" };
