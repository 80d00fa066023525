/**
 * What `mdp` asks a broker about itself: its `mmi.*` services, whose answers are JSON.
 *
 * @module
 */

import type { Client } from "../client.ts";
import { MdpError } from "../errors.ts";

/** Times, counted by how long they are. */
export interface Histogram {
  /** The buckets' upper bounds in seconds, ascending; one more bucket has none. */
  bounds: readonly number[];
  /** How many are in each bucket. */
  counts: readonly number[];
  /** All together, in seconds. */
  sum: number;
  /** How many there are. */
  count: number;
}

/** What a broker knows of a service: `mmi.services`. */
export interface ServiceStats {
  /** Its name, as text. */
  name: string;
  /** Workers that are registered for it. */
  workers: number;
  /** Those of them that have room for a request. */
  waiting: number;
  /** How many requests all of them take at once. */
  credit: number;
  /** Requests that they hold. */
  inFlight: number;
  /** Requests that wait for a worker, and the bytes of their bodies. */
  queued: number;
  queuedBytes: number;
  /** What was counted: requests, by what became of them. */
  accepted: number;
  answered: number;
  errors: number;
  expired: number;
  dropped: number;
  refused: number;
  recovered: number;
  partials: number;
  /** From a request's coming to its dispatch. */
  wait: Histogram;
  /** From there to its end. */
  serviceTime: Histogram;
}

/** What a broker knows of a worker: `mmi.workers`. */
export interface WorkerStats {
  /** Its identity, in hex. */
  identity: string;
  service: string;
  dialect: string;
  /** How many requests it takes at once. */
  credit: number;
  /** Requests that it holds. */
  inFlight: number;
  /** How long ago it registered and was last heard of, in ms. */
  registered: number;
  heard: number;
}

/** `mmi.ping`. */
export interface Pong {
  version: string;
  /** In ms. */
  uptime: number;
  endpoints: readonly string[];
  draining: boolean;
}

/** The broker is there, and does not know what it is asked. */
export class UnknownQuestionError extends MdpError {
  /** The name of the class. */
  override name = "UnknownQuestionError";
}

/**
 * Asks a broker.
 *
 * @typeParam T What the answer is known to be.
 * @param client Connected to it.
 * @param question The service, e.g. `mmi.services`.
 * @param about What it is asked about. Default: all.
 * @returns The answer.
 * @throws {UnknownQuestionError} If the broker does not know the service, as those of others and
 * older ones do not.
 * @throws {MdpError} If it does not answer.
 */
export async function ask<T>(client: Client, question: string, about = ""): Promise<T> {
  const text = (await client.request(question, about)).text();
  if (/^\d{3}$/.test(text)) {
    throw new UnknownQuestionError(
      `The broker does not know "${question}" (it answers ${text}): it is not this project's, or \
an older one`,
    );
  }
  try {
    return JSON.parse(text) as T;
  } catch {
    throw new MdpError(`The broker's answer to "${question}" is no JSON`);
  }
}
