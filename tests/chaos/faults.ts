/**
 * What the chaos does to its processes, as chance wills.
 *
 * @module
 */

import { Socket } from "../../zmq/socket.ts";
import { anyMessage } from "../hostile.ts";
import { bytes } from "../raw.ts";
import type { Random } from "../random.ts";
import type { Fleet } from "./fleet.ts";

/** What can be done, and how often in comparison. */
const WEIGHTS = {
  "worker killed": 8,
  "worker stopped in order": 2,
  "worker frozen": 4,
  "broker killed": 1,
  "broker frozen": 1,
  "clients vanished": 2,
  "clients frozen": 1,
  "garbage sent": 5,
  "connections abandoned": 2,
} as const;

/** What can be done. */
export type Fault = keyof typeof WEIGHTS;

const ALL = Object.entries(WEIGHTS).flatMap(([fault, weight]) =>
  Array<Fault>(weight).fill(fault as Fault)
);

const pause = (ms: number) => new Promise<void>((resolve) => setTimeout(resolve, ms));

/** Breaks things, and mends them again. */
export class Faults {
  /** How often each was done. */
  readonly done = new Map<Fault, number>();
  /** Whether the broker may be killed: not towards the end, so that leaks have time to show. */
  mayKillBroker = true;
  readonly #fleet: Fleet;
  readonly #random: Random;
  readonly #underWay = new Set<Promise<unknown>>();
  /** What vanishing clients saw broken. */
  readonly broken: string[] = [];

  constructor(fleet: Fleet, random: Random) {
    this.#fleet = fleet;
    this.#random = random;
  }

  /** Does something, unless what it is to be done to is away. It is mended later. */
  strike(): void {
    const fault = this.#random.pick(ALL);
    const work = this.#begin(fault);
    if (work === undefined) return;
    this.done.set(fault, (this.done.get(fault) ?? 0) + 1);
    this.#underWay.add(work);
    work.finally(() => this.#underWay.delete(work));
  }

  /** Resolves when all is mended. */
  async settled(): Promise<void> {
    await Promise.all(this.#underWay);
  }

  #begin(fault: Fault): Promise<unknown> | undefined {
    const random = this.#random, fleet = this.#fleet;
    const worker = random.below(fleet.workers.length);
    const { broker } = fleet;
    switch (fault) {
      case "worker killed":
      case "worker stopped in order": {
        if (fleet.workers[worker]!.isAway) return undefined;
        const signal = fault === "worker killed" ? "SIGKILL" : "SIGTERM";
        return fleet.replaceWorker(worker, signal, random.below(800));
      }
      case "worker frozen":
        return this.#freeze(fleet.workers[worker]!, random.between(200, 2_500));
      case "broker killed":
        if (broker.isAway || !this.mayKillBroker) return undefined;
        return fleet.replaceBroker(random.below(800));
      case "broker frozen":
        return this.#freeze(broker, random.between(100, 1_200));
      case "clients vanished": {
        const index = random.below(fleet.vanishing.length);
        if (fleet.vanishing[index]?.isAway !== false) return undefined;
        return fleet.replaceVanishing(index).then((said) => this.#note(said));
      }
      case "clients frozen":
        return this.#freeze(random.pick(fleet.steady), random.between(200, 2_000));
      case "garbage sent":
        return this.#sendGarbage(random.fork());
      case "connections abandoned":
        return this.#abandonConnections(random.fork());
    }
  }

  #freeze(child: Fleet["broker"], milliseconds: number): Promise<void> | undefined {
    if (child.isAway) return undefined;
    child.freeze();
    return pause(milliseconds).then(() => child.thaw());
  }

  /** A peer that says what chance makes, at times as what it was told. */
  async #sendGarbage(random: Random): Promise<void> {
    const socket = new Socket("DEALER", {
      linger: 0,
      ...random.chance(0.5) ? { routingId: bytes(`vandal ${random.below(10)}`) } : {},
    });
    socket.connect(this.#fleet.endpoint);
    socket.watch(() => {
      while (!socket.isClosed && socket.receiveBytes() !== undefined);
    });
    for (let round = 0; round < 20; round++) {
      for (let i = 0; i < 25; i++) socket.send(anyMessage(random, "broker").map(bytes));
      await pause(10);
    }
    await socket.close();
  }

  /** Connections that say nothing, or what is not ZMTP, and go. */
  async #abandonConnections(random: Random): Promise<void> {
    const { port } = new URL(this.#fleet.endpoint.replace("tcp:", "http:"));
    const all = await Promise.allSettled(
      Array.from({ length: 40 }, () => Deno.connect({ port: Number(port) })),
    );
    const open = all.flatMap((each) => each.status === "fulfilled" ? [each.value] : []);
    await Promise.allSettled(
      open.filter(() => random.chance(0.5)).map((each) => each.write(random.bytes(100))),
    );
    await pause(random.below(500));
    for (const each of open) each.close();
  }

  #note(said: readonly string[]): void {
    for (const line of said) {
      if (line.startsWith('{"broken"')) this.broken.push(JSON.parse(line).broken);
    }
  }
}
