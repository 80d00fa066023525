/**
 * The processes of the chaos: a broker, workers, clients that are to be answered, and clients that
 * vanish.
 *
 * @module
 */

import { availableEndpoint } from "./endpoint.ts";
import type { BrokerState } from "./broker.ts";
import { Child } from "./child.ts";
import type { Tally } from "./clients.ts";
import { SERVICES } from "./exchange.ts";
import type { Random } from "../random.ts";

/** How many there are. */
export interface Size {
  /** Worker processes. */
  workers: number;
  /** Processes of clients that are to be answered. */
  steady: number;
  /** Processes of clients that vanish. */
  vanishing: number;
  /** Clients in each of both. */
  clients: number;
}

/** The broker's options: it notices soon what is to be noticed. */
const BROKER_OPTIONS = {
  heartbeatInterval: 200,
  heartbeatTimeout: 1_500,
  busyWorkerTimeout: 3_000,
  // Garbage asks for services that nobody has.
  requestExpiry: 5_000,
};

/** What workers speak, one after the other. */
export const DIALECTS = ["rfc", "majortomo", "multiplexed", "auto"] as const;

/** All processes. */
export class Fleet implements AsyncDisposable {
  readonly endpoint = availableEndpoint();
  readonly workers: Child[];
  readonly steady: Child[] = [];
  readonly vanishing: Child[];
  readonly #random: Random;
  readonly #size: Size;
  #broker: Child;

  private constructor(size: Size, random: Random) {
    this.#size = size;
    this.#random = random;
    this.#broker = this.#newBroker();
    this.workers = Array.from({ length: size.workers }, (_, i) => this.#newWorker(i));
    this.vanishing = [];
  }

  /** Starts the broker and the workers. */
  static async start(size: Size, random: Random): Promise<Fleet> {
    const fleet = new Fleet(size, random);
    await fleet.#broker.line();
    await Promise.all(fleet.workers.map((worker) => worker.line()));
    return fleet;
  }

  /** Starts the clients. */
  async startClients(): Promise<void> {
    const { steady, vanishing } = this.#size;
    for (let i = 0; i < steady; i++) this.steady.push(this.#newClients(`steady${i}`));
    for (let i = 0; i < vanishing; i++) this.vanishing.push(this.#newClients(`vanishing${i}`));
    await Promise.all([...this.steady, ...this.vanishing].map((child) => child.line()));
  }

  /** The broker that there is. */
  get broker(): Child {
    return this.#broker;
  }

  /** Ends the broker; the next one is there after the pause. */
  async replaceBroker(pause: number): Promise<void> {
    await this.#broker.kill();
    await new Promise((resolve) => setTimeout(resolve, pause));
    this.#broker = this.#newBroker();
    await this.#broker.line();
  }

  /** Ends a worker, in order or not; the next one of its kind is there after the pause. */
  async replaceWorker(index: number, signal: Deno.Signal, pause: number): Promise<void> {
    await this.workers[index]!.kill(signal);
    await new Promise((resolve) => setTimeout(resolve, pause));
    this.workers[index] = this.#newWorker(index);
    await this.workers[index]!.line();
  }

  /** Ends clients without a word; others are there at once. */
  async replaceVanishing(index: number): Promise<string[]> {
    const clients = this.vanishing[index]!;
    await clients.kill();
    this.vanishing[index] = this.#newClients(`vanishing${index}`);
    await this.vanishing[index]!.line();
    return clients.taken();
  }

  /** What the broker says of itself. */
  async state(): Promise<BrokerState> {
    await this.#broker.send("state");
    const line = await this.#broker.line();
    if (line === undefined) throw new Error("The broker has ended by itself");
    return JSON.parse(line);
  }

  /** Has clients finish what they have in flight. */
  async pause(): Promise<void> {
    const clients = [...this.steady, ...this.vanishing];
    await Promise.all(clients.map(async (child) => {
      await child.send("pause");
      while (await child.line() !== "paused");
    }));
  }

  /** Has clients go on. */
  async resume(): Promise<void> {
    await Promise.all([...this.steady, ...this.vanishing].map((child) => child.send("resume")));
  }

  /** Has the steady clients finish. @returns What they have counted, and what they saw broken. */
  async finish(): Promise<{ tallies: Tally[]; broken: string[] }> {
    const tallies: Tally[] = [], broken: string[] = [];
    await Promise.all(this.steady.map(async (child) => {
      await child.send("stop");
      for (let line; (line = await child.line()) !== undefined;) {
        const said = line.startsWith("{") ? JSON.parse(line) : {};
        if (said.broken !== undefined) broken.push(said.broken);
        if (said.latencies !== undefined) tallies.push(said);
      }
    }));
    return { tallies, broken };
  }

  #newBroker(): Child {
    return new Child("./broker.ts", [this.endpoint, JSON.stringify(BROKER_OPTIONS)]);
  }

  #newWorker(index: number): Child {
    const service = SERVICES[index % SERVICES.length]!;
    const dialect = DIALECTS[index % DIALECTS.length]!;
    const seed = String(this.#random.below(2 ** 32));
    return new Child("./worker.ts", [this.endpoint, service, dialect, seed]);
  }

  #newClients(name: string): Child {
    const seed = String(this.#random.below(2 ** 32));
    return new Child("./clients.ts", [this.endpoint, name, String(this.#size.clients), seed]);
  }

  /** Ends them all. */
  async [Symbol.asyncDispose](): Promise<void> {
    const all = [this.#broker, ...this.workers, ...this.steady, ...this.vanishing];
    await Promise.all(all.map((child) => child.kill()));
  }
}
