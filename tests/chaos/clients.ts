/**
 * Clients of the chaos, several in a process of their own. Its arguments are the endpoint, a name,
 * how many clients, and a seed. It prints "ready", a line of JSON for each promise that it sees
 * broken, and at the end what it has counted. On stdin it is told "pause", to which it says
 * "paused" when nothing is in flight, "resume" and "stop".
 *
 * @module
 */

import { Client } from "../../client.ts";
import type { DialectOption } from "../../options.ts";
import { Random } from "../random.ts";
import { Exchange } from "./exchange.ts";
import { linesOf } from "./lines.ts";
import { Witness } from "./witness.ts";

/** What clients have counted. */
export interface Tally {
  /** Requests answered, and rightly. */
  answered: number;
  /** Messages that witnesses got beyond those that were due. */
  doubled: number;
  /** How long each request took, in ms: so many up to 1, 2, 4, 8, … */
  latencies: number[];
}

const DIALECTS: readonly DialectOption[] = ["rfc", "majortomo", "multiplexed", "auto"];

/** What all clients of a process share. */
class Crowd {
  readonly tally: Tally = { answered: 0, doubled: 0, latencies: [] };
  readonly #broker: string;
  stopping = false;
  #inFlight = 0;
  #idle: (() => void) | undefined;
  #gate: PromiseWithResolvers<void> | undefined;

  constructor(broker: string) {
    this.#broker = broker;
  }

  /** Asks again and again. */
  async play(name: string, index: number, random: Random): Promise<void> {
    const dialect = DIALECTS[index % DIALECTS.length]!;
    await using asker = index % 5 === 4
      ? new Witness(this.#broker, dialect === "multiplexed" || dialect === "auto")
      : new Retrying(this.#broker, dialect);
    for (let n = 1; !this.stopping; n++) {
      await this.#gate?.promise;
      if (this.stopping) break;
      await this.#ask(asker, new Exchange(`${name}/${index}/${n}`, random));
      const pause = random.below(random.chance(0.1) ? 300 : 30);
      await new Promise((resolve) => setTimeout(resolve, pause));
    }
    if (asker instanceof Witness) {
      for (const fault of asker.faults) say({ broken: fault });
      this.tally.doubled += asker.doubled;
    }
  }

  async #ask(asker: Retrying | Witness, exchange: Exchange): Promise<void> {
    this.#inFlight++;
    const start = performance.now();
    try {
      const fault = exchange.fault(await asker.ask(exchange));
      if (fault !== undefined) say({ broken: fault });
      else this.tally.answered++;
    } catch (error) {
      say({ broken: `${exchange.name} failed: ${error}` });
    }
    const bucket = Math.max(0, Math.ceil(Math.log2(performance.now() - start)));
    while (this.tally.latencies.length <= bucket) this.tally.latencies.push(0);
    this.tally.latencies[bucket]!++;
    if (--this.#inFlight === 0) this.#idle?.();
  }

  /** Resolves when nothing is in flight; nothing more is sent then. */
  async pause(): Promise<void> {
    this.#gate ??= Promise.withResolvers();
    if (this.#inFlight > 0) await new Promise<void>((resolve) => this.#idle = resolve);
  }

  resume(): void {
    this.#gate?.resolve();
    this.#gate = undefined;
  }
}

/** The client of the package, which asks again until it is answered. */
class Retrying implements AsyncDisposable {
  readonly #client: Client;

  constructor(broker: string, dialect: DialectOption) {
    this.#client = new Client({
      broker,
      dialect,
      timeout: 3_000,
      retries: 1_000,
      backoff: 20,
      maxBackoff: 300,
      heartbeatInterval: 200,
      heartbeatTimeout: 1_500,
    });
  }

  async ask({ service, body }: Exchange): Promise<(readonly Uint8Array[])[]> {
    const { parts } = await this.#client.request(service, body);
    return parts.map(({ frames }) => frames);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#client.close();
  }
}

function say(line: unknown): void {
  console.log(JSON.stringify(line));
}

if (import.meta.main) {
  const [broker, name, count, seed] = Deno.args as [string, string, string, string];
  const random = new Random(Number(seed));
  const crowd = new Crowd(broker);
  const all = Array.from(
    { length: Number(count) },
    (_, index) => crowd.play(name, index, random.fork()),
  );
  console.log("ready");
  for await (const line of linesOf(Deno.stdin.readable)) {
    if (line === "pause") crowd.pause().then(() => console.log("paused"));
    else crowd.resume();
    if (line === "stop") break;
  }
  crowd.stopping = true;
  crowd.resume();
  await Promise.all(all);
  say(crowd.tally);
  Deno.exit(0);
}
