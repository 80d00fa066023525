/**
 * A run of the chaos: what is done in what order, and what must hold at the end.
 *
 * @module
 */

import { Random } from "../random.ts";
import { assertAddsUp } from "../stage.ts";
import type { BrokerState } from "./broker.ts";
import type { Tally } from "./clients.ts";
import { Faults } from "./faults.ts";
import { DIALECTS, Fleet, type Size } from "./fleet.ts";
import { CONCURRENCY } from "./worker.ts";

/** What a run is made with. */
export interface RunOptions extends Size {
  /** How long faults go on. */
  seconds: number;
  /** What chance begins with. */
  seed: number;
  /** Told what goes on, a line at a time. */
  log(line: string): void;
}

/** How much more memory the broker may hold at the end: a share of what it had, and some MiB. */
const MORE = 1.5, SLACK = 48;
/** How many descriptors more. */
const DESCRIPTORS = 4;
/** From when on the broker is left alive, as a share of the time. */
const SPARED = 0.6;
/** How long the broker may take to be idle at the end, in ms. */
const PATIENCE = 20_000;

const MIB = 2 ** 20;
const pause = (ms: number) => new Promise<void>((resolve) => setTimeout(resolve, ms));

/**
 * Starts all, breaks what chance wills, and holds the promises against what came of it.
 *
 * @param options See {@linkcode RunOptions}.
 * @returns The promises that were broken, in words.
 */
export async function runChaos(options: RunOptions): Promise<string[]> {
  const { seconds, seed, log } = options;
  const random = new Random(seed);
  const broken: string[] = [];
  await using fleet = await Fleet.start(options, random.fork());
  const atFirst = await untilIdle(fleet, options.workers);
  await fleet.startClients();
  await pause(Math.min(5, seconds / 5) * 1_000);
  await fleet.pause();
  const before = await fleet.state();
  await fleet.resume();
  log(`before: ${show(before)}`);

  const faults = new Faults(fleet, random.fork());
  const start = performance.now(), end = start + seconds * 1_000;
  let told = start;
  for (let now; (now = performance.now()) < end;) {
    faults.mayKillBroker = now < start + SPARED * seconds * 1_000;
    faults.strike();
    await pause(random.between(50, 450));
    if (now - told > 60_000 && !fleet.broker.isAway) {
      told = now;
      await faults.settled();
      log(`after ${((now - start) / 1_000).toFixed()} s: ${show(await fleet.state())}`);
    }
  }
  await faults.settled();
  broken.push(...faults.broken);

  const { tallies, broken: seen } = await fleet.finish();
  broken.push(...seen);
  if (tallies.length < options.steady) {
    broken.push(
      `${options.steady - tallies.length} processes of clients did not come to their end`,
    );
  }
  await Promise.all(fleet.vanishing.map((clients) => clients.kill()));
  const last = await untilIdle(fleet, options.workers);
  log(`after:  ${show(last)}`);
  broken.push(...judge(options.workers, before, atFirst, last));

  log(`faults: ${[...faults.done].map(([what, times]) => `${what} ${times}`).join(", ")}`);
  log(`requests: ${total(tallies)}`);
  return broken;
}

/**
 * The state of the broker when it has nothing left to do, all workers are there, and for three
 * looks in a row no descriptor came or went: the reactor opens its own with its first wait, and
 * connections of who is gone are closed by libzmq's thread when it comes to it.
 */
async function untilIdle(fleet: Fleet, workers: number): Promise<BrokerState> {
  let descriptors = 0, looks = 0;
  for (const end = performance.now() + PATIENCE;;) {
    const state = await fleet.state();
    const { queued, inFlight } = state.stats;
    looks = state.descriptors === descriptors ? looks + 1 : 1;
    descriptors = state.descriptors;
    const idle = queued + inFlight === 0 && areAllThere(workers, state) && looks >= 3;
    if (idle || performance.now() > end) return state;
    await pause(100);
  }
}

/**
 * Whether so many worker processes are registered, each as it should be and none twice: a
 * multiplexed one once, others once for each request that they take. One that is to find out what
 * its broker speaks is rightly either: when the answer takes a second, it speaks RFC 18 until it
 * connects anew.
 */
export function areAllThere(workers: number, { registered }: Pick<BrokerState, "registered">) {
  const processes = { rfc: 0, majortomo: 0, multiplexed: 0, auto: 0 };
  for (let i = 0; i < workers; i++) processes[DIALECTS[i % DIALECTS.length]!]++;
  const unanswered = processes.multiplexed + processes.auto - registered.multiplexed;
  return unanswered >= 0 && unanswered <= processes.auto &&
    registered.rfc === CONCURRENCY * (processes.rfc + unanswered) &&
    registered.majortomo === CONCURRENCY * processes.majortomo;
}

function judge(
  workers: number,
  before: BrokerState,
  atFirst: BrokerState,
  last: BrokerState,
): string[] {
  const broken: string[] = [], { stats } = last;
  for (const state of [before, atFirst, last]) {
    try {
      assertAddsUp(state.stats);
    } catch (error) {
      broken.push((error as Error).message);
    }
  }
  if (stats.queued + stats.inFlight > 0) {
    broken.push(`The broker still has ${stats.queued} queued and ${stats.inFlight} in flight`);
  }
  for (const [when, state] of [["first", atFirst], ["last", last]] as const) {
    if (areAllThere(workers, state)) continue;
    const found = JSON.stringify(state.registered);
    broken.push(`At ${when} ${found} are registered, which ${workers} processes do not make`);
  }
  const most = before.rss * MORE + SLACK * MIB;
  if (last.rss > most) {
    broken.push(`The broker's memory is ${mib(last.rss)} where at most ${mib(most)} are due`);
  }
  // Who finds out its dialect has a connection for each registration, too: now one, now four.
  const due = atFirst.descriptors + registrations(last) - registrations(atFirst);
  if (last.descriptors > due + DESCRIPTORS) {
    broken.push(`The broker has ${last.descriptors} descriptors instead of ${due}`);
  }
  return broken;
}

function registrations({ registered }: BrokerState): number {
  return Object.values(registered).reduce((sum, count) => sum + count, 0);
}

function show({ stats, rss, descriptors }: BrokerState): string {
  const { accepted, answered, recovered, invalid, workers } = stats;
  const garbage = Object.values(invalid).reduce((sum, count) => sum + count, 0);
  return `broker up ${(stats.uptime / 1_000).toFixed(1)} s, ${mib(rss)}, ` +
    `${descriptors} descriptors, ${workers.registered} workers, ${accepted} accepted, ` +
    `${answered} answered, ${recovered} recovered, ${garbage} invalid`;
}

function mib(bytes: number): string {
  return `${(bytes / MIB).toFixed(1)} MiB`;
}

/** How many were answered, and within which time how many of them. */
function total(tallies: readonly Tally[]): string {
  const answered = tallies.reduce((sum, tally) => sum + tally.answered, 0);
  const counts: number[] = [];
  for (const { latencies } of tallies) {
    for (const [bucket, count] of latencies.entries()) {
      counts[bucket] = (counts[bucket] ?? 0) + count;
    }
  }
  const all = counts.reduce((sum, count) => sum + (count ?? 0), 0);
  const within = (share: number) => {
    let sum = 0;
    const at = counts.findIndex((count) => (sum += count ?? 0) >= share * all);
    return `${2 ** Math.max(0, at)} ms`;
  };
  return `${answered} answered, half within ${within(0.5)}, 99 % within ${within(0.99)}, ` +
    `all within ${within(1)}`;
}
