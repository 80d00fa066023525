/**
 * What the processes of a load are told, and how they answer: the job is their only argument, in
 * JSON; each answer is a line of JSON on stdout.
 *
 * @module
 */

import type { DialectName } from "../../codec.ts";
import type { Summary } from "../../cli/latencies.ts";
import type { Usage } from "../proc.ts";

/** What all of them are told. */
export interface Job {
  /** Where the broker listens. */
  url: string;
  /** What is spoken. */
  dialect: DialectName;
  /** The size of a body, at least 8 bytes. */
  bytes: number;
}

/** The processes whose CPU and memory are measured, by their part. */
export type Watched = Readonly<Record<string, number>>;

/** How long it is measured. */
export interface Window {
  /** Seconds of load before that. */
  warmUp: number;
  /** Seconds that count. */
  seconds: number;
  /** Who is watched over them. */
  watched: Watched;
}

/** A time in which something counts, from and until when by `Date.now()`: others are told of it. */
export interface Span {
  from: number;
  until: number;
}

/** When that is by `performance.now()`, which is another in each process. */
export function here({ from, until }: Span): Span {
  const shift = performance.now() - Date.now();
  return { from: from + shift, until: until + shift };
}

/** What was measured. */
export interface Measured {
  /** Requests that were answered within the window. */
  requests: number;
  /** How long it was, in s. */
  seconds: number;
  /** How long they took, in ms; at a fixed rate of all that were due in the window, however late. */
  latency: Summary;
  /** By part: CPU over the window, and memory at its end. */
  usage: Record<string, Usage>;
}

/** Messages that are no answer, or a wrong one: the figures mean nothing then. */
export class BadAnswer extends Error {
  /** The name of the class. */
  override name = "BadAnswer";
}

/** Says something to the process that started this one. */
export function tell(value: object): void {
  const bytes = new TextEncoder().encode(`${JSON.stringify(value)}\n`);
  for (let at = 0; at < bytes.length;) at += Deno.stdout.writeSync(bytes.subarray(at));
}

/** Waits for its word to go on, with the whole process. */
export function waitForWord(): void {
  const byte = new Uint8Array(1);
  while (Deno.stdin.readSync(byte) === 1 && byte[0] !== 10);
}

/** Runs a process of a load. */
export async function work<J>(main: (job: J) => void | Promise<void>): Promise<never> {
  try {
    await main(JSON.parse(Deno.args[0]!));
  } catch (error) {
    tell({ error: error instanceof Error ? error.message : String(error) });
    if (!(error instanceof BadAnswer)) console.error(error);
    Deno.exit(1);
  }
  Deno.exit(0);
}
