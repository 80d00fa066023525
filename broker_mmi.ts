/**
 * What a broker answers itself beside RFC 8's `mmi.service`: what it knows of its services and its
 * workers, and how it is, as JSON. `docs/protocol.md` describes it for peers in any language.
 *
 * @module
 */

import type { BrokerStats, ServiceStats, WorkerStats } from "./broker_stats.ts";
import manifest from "./deno.json" with { type: "json" };

/** How many services are told at a time: with their histograms that is half a megabyte. */
const MOST_SERVICES = 1_000;
/** How many workers are. */
const MOST_WORKERS = 10_000;

/** The answer to `mmi.services`. */
export interface ServicesAnswer {
  /** At most 1,000 of them. */
  services: ServiceStats[];
  /** How many there are. */
  total: number;
}

/** The answer to `mmi.workers`. */
export interface WorkersAnswer {
  /** At most 10,000 of them. */
  workers: WorkerStats[];
  /** How many there are. */
  total: number;
}

/** The answer to `mmi.ping`. */
export interface PingAnswer {
  /** The version of the broker's package. */
  version: string;
  /** How long ago it was bound, in ms. */
  uptime: number;
  /** Where it listens. */
  endpoints: readonly string[];
  /** Whether it is about to stop, and takes no new requests. */
  draining: boolean;
}

/** What the answers are made of. A name is a binary string, as a broker has it. */
export interface Informant {
  /** The services, or the one of that name; at most so many, and how many there are. */
  services(name: string | undefined, most: number): ServicesAnswer;
  /** The workers, or those of the service of that name; in the same way. */
  workers(service: string | undefined, most: number): WorkersAnswer;
  /** In all. */
  stats(): BrokerStats;
  /** How it is. */
  ping(): Omit<PingAnswer, "version">;
}

/** The answers, by the name of the service that is asked for them. */
export function brokerAnswers(
  informant: Informant,
): Iterable<readonly [string, (argument: string) => string]> {
  const named = (argument: string) => argument === "" ? undefined : argument;
  const answers: Record<string, (argument: string) => unknown> = {
    "mmi.services": (argument) => informant.services(named(argument), MOST_SERVICES),
    "mmi.workers": (argument) => informant.workers(named(argument), MOST_WORKERS),
    "mmi.stats": () => informant.stats(),
    "mmi.ping": () => ({ version: manifest.version, ...informant.ping() }),
  };
  return Object.entries(answers).map(([name, answer]) =>
    [name, (argument: string) => JSON.stringify(answer(argument))] as const
  );
}
