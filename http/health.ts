/**
 * Whether a broker lives and is ready, as those ask who start, stop and route around it.
 *
 * @module
 */

import type { Broker } from "../broker.ts";
import { type Client, ServiceError } from "../client.ts";
import { respondJson } from "./responses.ts";

/** How long the broker has to answer a request of its own, in ms. */
const PATIENCE = 1_000;

/** What `/healthz` says. */
type Pulse =
  | { status: "not bound" }
  | { status: "stuck"; reason: string }
  | { status: "ok"; roundTrip: number };

/** Tells the health of one broker. */
export class Health {
  readonly #broker: Broker;
  readonly #client: () => Client;
  #probing: Promise<Pulse> | undefined;

  /**
   * @param broker The broker.
   * @param client Gives the client to ask it with.
   */
  constructor(broker: Broker, client: () => Client) {
    this.#broker = broker;
    this.#client = client;
  }

  /**
   * Whether the loop turns: the broker is sent a request over ZeroMQ, as anybody may do, and
   * answers it. Those who ask meanwhile share the answer.
   *
   * @returns 200 if it does, or if it is not bound yet; else 503. If not even JavaScript's event
   * loop turns there is no answer at all.
   */
  async live(): Promise<Response> {
    const pulse = await (this.#probing ??= this.#probe().finally(() => this.#probing = undefined));
    // Each has a response of its own: what it has in it can be sent once.
    return respondJson(pulse, { status: pulse.status === "stuck" ? 503 : 200 });
  }

  /**
   * Whether clients and workers may be sent here.
   *
   * @returns 200 if it is bound and not draining; else 503.
   */
  ready(): Response {
    const { isBound, isDraining } = this.#broker;
    if (isBound && !isDraining) return respondJson({ status: "ready" });
    return respondJson({ status: isDraining ? "draining" : "not bound" }, { status: 503 });
  }

  async #probe(): Promise<Pulse> {
    if (!this.#broker.isBound) return { status: "not bound" };
    const begin = performance.now();
    try {
      await this.#client().request("mmi.service", "mmi.service", {
        timeout: PATIENCE,
        deadline: PATIENCE,
      });
    } catch (error) {
      // An answer too, of one that takes no more requests.
      if (!(error instanceof ServiceError)) {
        return { status: "stuck", reason: (error as Error).message };
      }
    }
    return { status: "ok", roundTrip: Math.round(performance.now() - begin) };
  }
}
