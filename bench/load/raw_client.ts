/**
 * A process of clients that load a broker, either with so many requests in flight (`closed`: each
 * answer is followed by the next request), or at a fixed rate whatever the broker does (`open`:
 * what it is late with is counted, from when it was to be sent).
 *
 * @module
 */

import { tell, type Window, work } from "./job.ts";
import { type RawClientJob, RawClients } from "./raw_clients.ts";
import { Stopwatch } from "./window.ts";

/** What the process is told. */
export interface LoadJob extends RawClientJob, Window {
  /** Requests that each client keeps in flight; without it there is a rate. */
  window?: number;
  /** Requests a second of all clients together. */
  rate?: number;
}

/**
 * How many requests may be due at a fixed rate: the broker has failed if one has no answer when four
 * times as many have been sent after it.
 */
const BEHIND = 2 ** 18;
/**
 * How many may be in the warm-up, where what is due beyond that is left out: code that V8 has not
 * compiled yet, the load's, too, is behind at once, and would be so for long into the time that counts.
 */
const BEHIND_COLD = 256;

function load({ window, rate, ...job }: LoadJob): void {
  const clients = new RawClients(job, window ?? Math.ceil(BEHIND / job.clients));
  const watch = new Stopwatch(job);
  tell(watch.span);
  tell(rate === undefined ? closed(clients, window!, watch) : open(clients, rate, watch));
}

function closed(clients: RawClients, window: number, watch: Stopwatch) {
  const start = performance.now();
  for (let i = 0; i < window; i++) {
    for (let client = 0; client < clients.count; client++) clients.send(client, start);
  }
  const onAnswer = (client: number, now: number, since: number) => {
    watch.answered(now, since);
    if (!watch.isOver) clients.send(client, now);
  };
  while (!watch.isOver) {
    clients.receive(100, onAnswer);
    watch.tick(performance.now());
  }
  clients.finish(() => {});
  return watch.measured();
}

function open(clients: RawClients, rate: number, watch: Stopwatch) {
  const start = performance.now(), interval = 1_000 / rate;
  const onAnswer = (_: number, now: number, since: number) => watch.answeredDue(now, since);
  let sent = 0;
  for (let now = start; now < watch.until; now = performance.now()) {
    watch.tick(now);
    for (; start + sent * interval <= now; sent++) {
      if (now < watch.from && clients.inFlight >= BEHIND_COLD) continue;
      clients.send(sent % clients.count, start + sent * interval);
    }
    clients.receive(start + sent * interval - performance.now(), onAnswer);
  }
  watch.tick(performance.now());
  clients.finish(onAnswer);
  return watch.measured();
}

if (import.meta.main) await work(load);
