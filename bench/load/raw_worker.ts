/**
 * A process of workers that answer with what they get, or that are only registered and idle.
 *
 * @module
 */

import type { DialectName } from "../../codec.ts";
import { BadAnswer, type Job, tell, work } from "./job.ts";
import { Frame, Port, Wait } from "./port.ts";
import { clientWire, type Heard, type WorkerWire, workerWire } from "./wire.ts";

/** What the workers are told. */
export interface RawWorkerJob extends Job {
  /** How many there are, each with a socket. */
  workers: number;
  /** How many requests each takes at once, where the dialect has that. */
  credit: number;
  /** What they serve, in turn. */
  services: readonly string[];
  /** How many PARTIALs they send for each request before the FINAL. */
  parts: number;
  /** Whether nobody asks them. */
  idle: boolean;
  /** After how many seconds the process ends, come what may. */
  limit: number;
}

/** Each worker says so often that it is alive, in ms; not all at once. */
const HEARTBEAT = 2_500;
const SLICES = 50;
/** How long a broker may take to say that it has taken a registration; some never do. In ms. */
const PATIENCE = 1_000;

/**
 * Registers workers, and waits until the broker has taken them, which it says by itself in the
 * multiplexed dialect only.
 */
export function register(
  ports: readonly Port[],
  wire: WorkerWire,
  { dialect, credit, services }: Pick<RawWorkerJob, "dialect" | "credit" | "services">,
): void {
  const names = services.map((name) => new Frame(name));
  ports.forEach((port, i) => wire.ready(port, names[i % names.length]!, credit));
  if (dialect === "multiplexed") hear(ports, wire, "heartbeat");
  else settle(ports, wire, dialect);
}

/**
 * Waits until the broker has taken all that was sent: it is asked something on each socket, as a
 * client asks (RFC 8), and the answer comes after what was sent before.
 */
export function settle(ports: readonly Port[], wire: WorkerWire, dialect: DialectName): void {
  const asking = clientWire(dialect === "multiplexed" ? "rfc" : dialect);
  for (const port of ports) asking.request(port, MMI, 0, ANY);
  hear(ports, wire, "answer");
}

const MMI = new Frame("mmi.service"), ANY = new Frame("-");

/** Waits for one such message on each socket. */
function hear(ports: readonly Port[], wire: WorkerWire, awaited: Heard): void {
  const scratch = new Frame(1_024);
  const silent = new Set(ports.keys());
  const wait = new Wait(ports);
  const until = performance.now() + PATIENCE + ports.length / 4;
  const drain = (i: number) => {
    for (let heard; (heard = wire.receive(ports[i]!, scratch)) !== "nothing";) {
      if (heard === awaited) silent.delete(i);
    }
  };
  ports.forEach((_, i) => drain(i));
  while (silent.size > 0 && performance.now() < until) wait.for(50, drain);
}

function serve(job: RawWorkerJob): void {
  const wire = workerWire(job.dialect);
  const body = new Frame(Math.max(job.bytes, 256));
  const ports = Array.from({ length: job.workers }, () => new Port(job.url));
  register(ports, wire, job);
  tell({ ready: true });
  const ends = performance.now() + 1_000 * job.limit;

  const answer = (i: number) => {
    const port = ports[i]!;
    for (let heard; (heard = wire.receive(port, body)) !== "nothing";) {
      if (heard === "heartbeat" || heard === "answer") continue;
      if (heard !== "request") throw new BadAnswer("A worker got what is no request: DISCONNECT?");
      for (let part = 0; part < job.parts; part++) wire.reply(port, "partial", body);
      wire.reply(port, "final", body);
    }
  };
  // Idle ones are looked at only when they have something to say: to wait for thousands of
  // descriptors would cost more than all that comes.
  const wait = new Wait(job.idle ? [] : ports);
  let slice = 0, due = performance.now() + HEARTBEAT / SLICES;
  for (let now = 0; now < ends;) {
    wait.for(Math.min(due, ends) - performance.now(), answer);
    now = performance.now();
    if (now < due) continue;
    for (let i = slice; i < ports.length; i += SLICES) {
      wire.heartbeat(ports[i]!);
      answer(i);
    }
    slice = (slice + 1) % SLICES;
    due += HEARTBEAT / SLICES;
  }
}

if (import.meta.main) await work(serve);
