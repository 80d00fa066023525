/**
 * A load made of calls and promises, the same whatever is asked: our client, or another's.
 *
 * @module
 */

import { BadAnswer, type Measured, type Window } from "./job.ts";
import { Stopwatch } from "./window.ts";

/** What the process is told, beside where to ask. */
export interface AskingJob extends Window {
  /** How many requests are in flight. */
  inFlight: number;
  /** The size of a body, at least 8 bytes. */
  bytes: number;
}

/** Asks once; the reply must be what was sent. */
export type Ask = (body: Uint8Array) => Promise<Uint8Array>;

/**
 * Keeps so many requests in flight, each with a number of its own that must come back.
 *
 * @param job How many, and for how long.
 * @param ask Asks once.
 * @returns What was measured.
 */
export async function keepAsking(
  { inFlight, bytes, ...window }: AskingJob,
  ask: Ask,
): Promise<Measured> {
  const watch = new Stopwatch(window);
  let sequence = 0;
  const one = async () => {
    while (!watch.isOver) {
      const number = ++sequence;
      // A body of its own for each: it may be read until the call has ended.
      const body = new Uint8Array(bytes);
      // A view of it would cost more than all else here.
      for (let i = 0; i < 4; i++) body[i] = number >>> (24 - 8 * i);
      const since = performance.now();
      const reply = await ask(body);
      watch.answered(performance.now(), since);
      if (numberOf(reply) !== number || reply.length !== bytes) {
        throw new BadAnswer("A client got another's answer");
      }
    }
  };
  await Promise.all(Array.from({ length: inFlight }, one));
  return watch.measured();
}

function numberOf(bytes: Uint8Array): number {
  if (bytes.length < 4) return 0;
  return (bytes[0]! << 24 | bytes[1]! << 16 | bytes[2]! << 8 | bytes[3]!) >>> 0;
}
