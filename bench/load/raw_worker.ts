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
export interface RawWorkerJob extends Job, Expected {
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

/** What is expected of a broker that is told or asked something on many sockets. */
export interface Expected {
  /** Whether it is ours, which answers; others may not. */
  isOurs: boolean;
  /** How long it may answer nobody else, in ms, once it has answered one. */
  patience: number;
}

/** Each worker says so often that it is alive, in ms; not all at once. */
const HEARTBEAT = 2_500;
const SLICES = 50;
/** How long another's broker is given before it counts as one that never answers. In ms. */
const PATIENCE = 1_000;

/** Heartbeats of workers. */
class Heartbeats {
  readonly #ports: readonly Port[];
  readonly #wire: WorkerWire;
  #slice = 0;
  #due = performance.now() + HEARTBEAT / SLICES;

  constructor(ports: readonly Port[], wire: WorkerWire) {
    this.#ports = ports;
    this.#wire = wire;
  }

  /** When the next ones are due. */
  get due(): number {
    return this.#due;
  }

  /**
   * Sends those that are due.
   *
   * @param look Called with the index of each port that was sent on: see {@linkcode Wait}.
   */
  send(now: number, look: (index: number) => void): void {
    if (now < this.#due) return;
    for (let i = this.#slice; i < this.#ports.length; i += SLICES) {
      this.#wire.heartbeat(this.#ports[i]!);
      look(i);
    }
    this.#slice = (this.#slice + 1) % SLICES;
    this.#due += HEARTBEAT / SLICES;
  }
}

/**
 * Registers workers, and waits until the broker has taken them, which it says by itself in the
 * multiplexed dialect only.
 *
 * @throws {BadAnswer} If it has not taken all.
 */
export function register(
  ports: readonly Port[],
  wire: WorkerWire,
  job: Pick<RawWorkerJob, "dialect" | "credit" | "services"> & Expected,
): void {
  const names = job.services.map((name) => new Frame(name));
  ports.forEach((port, i) => wire.ready(port, names[i % names.length]!, job.credit));
  // Those that are registered first must be alive for long enough.
  const heartbeats = new Heartbeats(ports, wire);
  if (job.dialect !== "multiplexed") ask(ports, job.dialect);
  hear(ports, wire, job.dialect === "multiplexed" ? "heartbeat" : "answer", job, heartbeats);
}

/**
 * Waits until the broker has taken all that was sent: it is asked something on each socket, as a
 * client asks (RFC 8), and the answer comes after what was sent before.
 *
 * @throws {BadAnswer} If it has answered some of them, or is ours and has answered none.
 */
export function settle(
  ports: readonly Port[],
  wire: WorkerWire,
  job: Pick<RawWorkerJob, "dialect"> & Expected,
): void {
  ask(ports, job.dialect);
  hear(ports, wire, "answer", job);
}

const MMI = new Frame("mmi.service"), ANY = new Frame("-");

function ask(ports: readonly Port[], dialect: DialectName): void {
  const asking = clientWire(dialect === "multiplexed" ? "rfc" : dialect);
  for (const port of ports) asking.request(port, MMI, 0, ANY);
}

/** Waits for one such message on each socket. */
function hear(
  ports: readonly Port[],
  wire: WorkerWire,
  awaited: Heard,
  { isOurs, patience }: Expected,
  heartbeats?: Heartbeats,
): void {
  const scratch = new Frame(1_024);
  const silent = new Set(ports.keys());
  const wait = new Wait(ports);
  let until = performance.now() + (isOurs ? patience : PATIENCE + ports.length / 4);
  const drain = (i: number) => {
    for (let heard; (heard = wire.receive(ports[i]!, scratch)) !== "nothing";) {
      if (heard === awaited && silent.delete(i)) until = performance.now() + patience;
    }
  };
  ports.forEach((_, i) => drain(i));
  for (let now = 0; silent.size > 0 && now < until; now = performance.now()) {
    wait.for(HEARTBEAT / SLICES, drain);
    heartbeats?.send(now, drain);
  }
  if (silent.size === 0 || silent.size === ports.length && !isOurs) return;
  const answered = ports.length - silent.size;
  throw new BadAnswer(`The broker has answered ${answered} of ${ports.length} workers`);
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
  const heartbeats = new Heartbeats(ports, wire);
  for (let now = 0; now < ends; now = performance.now()) {
    wait.for(Math.min(heartbeats.due, ends) - performance.now(), answer);
    heartbeats.send(performance.now(), answer);
  }
}

if (import.meta.main) await work(serve);
