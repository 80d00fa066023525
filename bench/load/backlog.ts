/**
 * A process that lets requests queue at a broker, then serves them, and tells how fast.
 *
 * It is client and worker in one, so that on a machine of two cores the broker has one to itself.
 *
 * @module
 */

import { usage } from "../proc.ts";
import { BadAnswer, tell, waitForWord, type Watched, work } from "./job.ts";
import { Frame, Port } from "./port.ts";
import { type RawClientJob, RawClients } from "./raw_clients.ts";
import { type Expected, register, settle } from "./raw_worker.ts";
import { type WorkerWire, workerWire } from "./wire.ts";

/** What the process is told. */
export interface BacklogJob extends RawClientJob, Expected {
  /** How many requests are queued and served before anything is measured. */
  warmUp: number;
  /** How many requests are to wait. */
  queued: number;
  /** How often that is done; each time is measured by itself. */
  times: number;
  /** How many workers serve them, and how many requests each takes at once. */
  workers: number;
  credit: number;
  /** The broker. */
  watched: Watched;
  /** Whether to wait for the word to go on while requests are queued, and after they are served. */
  stops: boolean;
}

/** What the process tells at last. */
export interface BacklogMeasured {
  /** Requests that were served a second, each time. */
  rates: number[];
  /** CPU of the broker for each request that was served, in s. */
  cpu: number;
}

class Backlog {
  readonly #job: BacklogJob;
  readonly #wire: WorkerWire;
  readonly #clients: RawClients;
  readonly #ports: readonly Port[];
  readonly #body: Frame;

  constructor(job: BacklogJob) {
    this.#job = job;
    this.#wire = workerWire(job.dialect);
    this.#clients = new RawClients(job, Math.ceil(Math.max(job.queued, job.warmUp) / job.clients));
    this.#ports = Array.from({ length: job.workers }, () => new Port(job.url));
    this.#body = new Frame(job.bytes);
  }

  queue(count: number): void {
    const now = performance.now();
    for (let i = 0; i < count; i++) this.#clients.send(i % this.#clients.count, now);
    this.#clients.barrier();
  }

  /**
   * Serves them.
   *
   * @returns How many in a second. All that the workers take at once, but at most half, is left out:
   * when the first answer comes the broker has given them that much already, in no time that counts.
   */
  drain(count: number): number {
    const { workers, credit, dialect } = this.#job;
    const ahead = Math.min(workers * (dialect === "multiplexed" ? credit : 1), count >> 1);
    let start = 0, answered = 0;
    for (const port of this.#ports) this.#wire.ready(port, this.#service, this.#job.credit);
    while (this.#clients.inFlight > 0) {
      for (const port of this.#ports) this.#serve(port);
      this.#clients.receive(0, (_client, now) => {
        if (++answered === ahead) start = now;
      });
    }
    const end = performance.now();
    this.#leave();
    return 1_000 * (count - ahead) / (end - start);
  }

  /** Connects the workers, so that no connection is made in a time that is measured. */
  connect(): void {
    register(this.#ports, this.#wire, this.#job);
    this.#leave();
  }

  /** What is queued next must find no worker. */
  #leave(): void {
    for (const port of this.#ports) this.#wire.disconnect(port);
    settle(this.#ports, this.#wire, this.#job);
  }

  get #service(): Frame {
    return new Frame(this.#job.services[0]!);
  }

  #serve(port: Port): void {
    for (let heard; (heard = this.#wire.receive(port, this.#body)) !== "nothing";) {
      if (heard === "heartbeat" || heard === "answer") continue;
      if (heard !== "request") throw new BadAnswer("A worker got what is no request: DISCONNECT?");
      this.#wire.reply(port, "final", this.#body);
    }
  }
}

function run(job: BacklogJob): void {
  const { warmUp, queued, times, watched, stops } = job;
  const backlog = new Backlog(job);
  backlog.connect();
  backlog.queue(warmUp);
  backlog.drain(warmUp);
  const stop = (at: string) => {
    if (!stops) return;
    tell({ at });
    waitForWord();
  };
  stop("empty");
  const rates: number[] = [];
  let cpu = 0;
  for (let i = 0; i < times; i++) {
    backlog.queue(queued);
    stop("queued");
    const before = usage(watched.broker!).cpu;
    rates.push(backlog.drain(queued));
    cpu += usage(watched.broker!).cpu - before;
    stop("drained");
  }
  tell({ rates, cpu: cpu / (times * queued) } satisfies BacklogMeasured);
}

if (import.meta.main) await work(run);
