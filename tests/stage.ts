/**
 * A broker in this process with raw sockets around it, for tests that look at the bytes. What
 * MDP 0.2 says is spelled out here once more, so that a fault of `codec.ts` cannot hide itself.
 *
 * @module
 */

import assert from "node:assert/strict";
import { Broker, type BrokerOptions, type BrokerStats } from "../broker.ts";
import type { SocketOptions } from "../zmq/socket.ts";
import { bytes, type RawFrame, RawSocket } from "./raw.ts";

/** The worker side of RFC 18, and of majortomo. */
export const W = "MDPW02";
export const READY = [1], REQUEST = [2], PARTIAL = [3], FINAL = [4], HEARTBEAT = [5];
export const DISCONNECT = [6];
/** The client side of RFC 18. */
export const C = "MDPC02";
export const C_REQUEST = [1], C_PARTIAL = [2], C_FINAL = [3];

/**
 * Polls until the condition holds.
 *
 * @param what Said when it never does.
 * @param seen What to show then.
 */
export async function until(
  condition: () => boolean,
  what: string,
  seen: () => unknown = () => "",
  patience = 10_000,
): Promise<void> {
  for (const end = performance.now() + patience; !condition();) {
    if (performance.now() > end) {
      assert.fail(`${what}: not within ${patience} ms. ${Deno.inspect(seen(), { depth: 4 })}`);
    }
    await new Promise((resolve) => setTimeout(resolve, 3));
  }
}

/**
 * Asks the broker for something that it answers itself, and wants that answer next. Since
 * messages between two peers stay in order, the broker has then handled all that this one sent,
 * and has sent it nothing that was not looked at.
 */
export async function fence(peer: RawSocket): Promise<void> {
  peer.send(C, C_REQUEST, "mmi.fence", "");
  await peer.expect(C, C_FINAL, "mmi.fence", "501");
}

/** What `BrokerStats` promises at every moment. */
export function assertAddsUp(stats: BrokerStats): void {
  const { accepted, answered, expired, dropped, queued, inFlight, workers } = stats;
  const lost = sum(dropped);
  assert.equal(
    accepted,
    answered + expired + lost + queued + inFlight,
    `requests do not add up: ${Deno.inspect(stats, { depth: 4 })}`,
  );
  assert.equal(
    workers.joined,
    workers.registered + sum(workers.left),
    `workers do not add up: ${Deno.inspect(stats, { depth: 4 })}`,
  );
}

function sum(counts: object): number {
  return Object.values(counts).reduce((total: number, count: number) => total + count, 0);
}

/** A broker and the sockets around it, all closed at the end. */
export class Stage {
  /** The broker. */
  readonly broker: Broker;
  /** Where it listens: the first endpoint. */
  readonly endpoint: string;
  readonly #peers: RawSocket[] = [];

  /** Heartbeats are an hour apart unless the test is about them. */
  constructor(options: BrokerOptions = {}) {
    this.broker = new Broker({
      bind: "tcp://127.0.0.1:*",
      heartbeatInterval: 3_600_000,
      busyWorkerTimeout: 24 * 3_600_000,
      ...options,
    });
    this.endpoint = this.broker.bind()[0]!;
  }

  /** A DEALER whose address is the name, so that whole messages can be written down. */
  peer(name: string, endpoint = this.endpoint): RawSocket {
    return this.#add(RawSocket.dealer(endpoint, { routingId: bytes(name) }));
  }

  /** A DEALER with an address that libzmq makes, as real peers have. */
  stranger(options: SocketOptions = {}): RawSocket {
    return this.#add(RawSocket.dealer(this.endpoint, options));
  }

  /** A REQ socket. */
  req(): RawSocket {
    return this.#add(RawSocket.req(this.endpoint));
  }

  /** A worker of RFC 18 that the broker has registered. */
  async worker(name: string, service: RawFrame, endpoint = this.endpoint): Promise<RawSocket> {
    const worker = this.peer(name, endpoint);
    worker.send(W, READY, service);
    await fence(worker);
    return worker;
  }

  /** A worker of majortomo that the broker has registered. */
  async oldWorker(name: string, service: RawFrame): Promise<RawSocket> {
    const worker = this.peer(name);
    worker.send("", W, READY, service);
    await fence(worker);
    return worker;
  }

  /** A client that asks, and waits until the broker has its request. */
  async ask(client: RawSocket, service: RawFrame, ...body: RawFrame[]): Promise<void> {
    client.send(C, C_REQUEST, service, ...body);
    await fence(client);
  }

  /** Waits until what the broker counts is so. */
  until(what: string, condition: (stats: BrokerStats) => boolean): Promise<void> {
    return until(() => condition(this.broker.stats()), what, () => this.broker.stats());
  }

  /** Shows that the broker serves: a new worker answers a new client. */
  async assertServes(): Promise<void> {
    const name = crypto.randomUUID();
    const worker = await this.worker(`worker ${name}`, name);
    const client = this.peer(`client ${name}`);
    client.send(C, C_REQUEST, name, "question");
    await worker.expect(W, REQUEST, `client ${name}`, "", "question");
    worker.send(W, FINAL, `client ${name}`, "", "answer");
    await client.expect(C, C_FINAL, name, "answer");
    worker.send(W, DISCONNECT);
    await fence(worker);
    await Promise.all([worker.close(), client.close()]);
  }

  #add(peer: RawSocket): RawSocket {
    this.#peers.push(peer);
    return peer;
  }

  /** Closes all; what the broker counted must add up at the end. */
  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all(this.#peers.map((peer) => peer.close()));
    await this.broker.close({ drain: 0 });
    assertAddsUp(this.broker.stats());
  }
}
