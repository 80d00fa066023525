/**
 * A shell for routing that writes down what it is told to do, one line each, and keeps account
 * of the bodies that routing was given. Bodies are lists of strings.
 *
 * @module
 */

import assert from "node:assert/strict";
import { type Dialect, type Id, MAJORTOMO, MULTIPLEXED, RFC } from "../codec.ts";
import {
  type Request,
  type RequestTerms,
  Routing,
  type RoutingEvent,
  type RoutingOptions,
  type Sent,
  type Shell,
  type Worker,
} from "../routing.ts";

/** A body: its first frame identifies the request. */
export type Body = string[];

/** Rules with round numbers. */
export const OPTIONS: RoutingOptions = {
  heartbeatInterval: 100,
  heartbeatTimeout: 400,
  busyWorkerTimeout: 9_000,
  requestExpiry: 1_000,
  maxAttempts: 3,
  maxQueue: 100,
  maxQueueBytes: 10_000,
  maxTotalQueue: 150,
  maxTotalQueueBytes: 15_000,
};

/** Plays the shell, and speaks for peers with as few words as the tests want. */
export class Harness implements Shell<Body> {
  readonly routing: Routing<Body>;
  /** What was sent: `PEER < COMMAND …`. */
  sent: string[] = [];
  /** What was reported. */
  events: RoutingEvent[] = [];
  /** Bodies that routing holds. */
  readonly held = new Set<Body>();
  /** Peers that cannot be sent to. */
  readonly unsendable = new Map<string, Sent>();
  /** The tokens in the order in which they were given out: the first is called #1 here. */
  readonly #tokens: number[] = [];
  readonly #names = new Map<number, string>();
  /** Called at each dispatch that gets through. */
  onDispatch: (worker: Worker<Body>, request: Request<Body>) => void = () => {};
  now = 1_000_000;

  constructor(options: Partial<RoutingOptions> = {}) {
    this.routing = new Routing(this, { ...OPTIONS, ...options });
  }

  // ---- the shell ----

  dispatch(worker: Worker<Body>, request: Request<Body>, timeToLive: number): Sent {
    assert.ok(this.held.has(request.body), "a body is dispatched that was let go");
    const multiplexed = worker.dialect === MULTIPLEXED;
    if (multiplexed) this.#names.set(request.token, `#${this.#tokens.push(request.token)}`);
    const key = multiplexed ? this.#names.get(request.token) : request.client;
    const ttl = multiplexed && timeToLive > 0 ? ` (${timeToLive} ms)` : "";
    const what = `REQUEST ${key} ${request.body.join(" ")}${ttl}`;
    return this.#send(worker.identity, what, () => this.onDispatch(worker, request));
  }

  cancel(worker: Worker<Body>, request: Request<Body>): Sent {
    assert.ok([...worker.held].includes(request), "CANCEL for what is not held");
    return this.#send(worker.identity, `CANCEL ${this.#names.get(request.token)}`);
  }

  fail(request: Request<Body>, code: number, body: Body): Sent {
    return this.#send(request.client, `ERROR ${request.id} ${code} ${body.join(" ")}`);
  }

  error(client: string, id: Id, code: number, message: string): Sent {
    return this.#send(client, `ERROR ${id} ${code} ${message}`);
  }

  controlClient(client: string, command: "heartbeat" | "disconnect"): Sent {
    return this.#send(client, command.toUpperCase());
  }

  control(worker: string, dialect: Dialect, command: "heartbeat" | "disconnect"): Sent {
    const suffix = dialect === MAJORTOMO ? " (majortomo)" : "";
    return this.#send(worker, command.toUpperCase() + suffix);
  }

  reply(request: Request<Body>, command: "partial" | "final", body: Body): Sent {
    const id = request.id === 0 ? "" : `${request.id} `;
    return this.#send(request.client, `${command.toUpperCase()} ${id}${body.join(" ")}`);
  }

  answer(client: string, _dialect: Dialect, _id: Id, service: string, text: string): Sent {
    return this.#send(client, `FINAL ${service} ${text}`);
  }

  read(body: Body): string {
    return body[0] ?? "";
  }

  size(body: Body): number {
    return body.join("").length;
  }

  discard(body: Body): void {
    assert.ok(this.held.delete(body), "a body is let go twice");
  }

  report(event: RoutingEvent): void {
    this.events.push(event);
  }

  #send(peer: string, what: string, then = () => {}): Sent {
    const result = this.unsendable.get(peer) ?? "sent";
    if (result === "sent") {
      this.sent.push(`${peer} < ${what}`);
      then();
    }
    return result;
  }

  // ---- the peers ----

  request(client: string, service: string, ...body: Body): void {
    this.held.add(body);
    this.routing.request(client, service, { dialect: RFC }, body, this.now);
  }

  /** A multiplexed client's. */
  ask(client: string, service: string, id: Id, terms: Partial<RequestTerms> = {}): void {
    const body = [`${client}/${id}`];
    this.held.add(body);
    const all = { ...terms, id, dialect: MULTIPLEXED };
    this.routing.request(client, service, all, body, this.now);
  }

  /** A multiplexed worker's READY. */
  offer(worker: string, service: string, credit: number): void {
    this.routing.ready(worker, MULTIPLEXED, service, credit, this.now);
  }

  /** A multiplexed worker's PARTIAL, FINAL or ERROR for the n-th request that was dispatched. */
  done(worker: string, number: number, what: "partial" | "final" | "error" = "final"): void {
    const body = [`${what} of #${number}`], token = this.#tokens[number - 1] ?? number;
    if (what === "error") this.routing.error(worker, MULTIPLEXED, token, 500, body, this.now);
    else this.routing.reply(worker, MULTIPLEXED, what, token, body, this.now);
  }

  ready(worker: string, service: string, dialect: Dialect = RFC): void {
    this.routing.ready(worker, dialect, service, 1, this.now);
  }

  partial(worker: string, client: string, ...body: Body): void {
    this.routing.reply(worker, RFC, "partial", client, body, this.now);
  }

  final(worker: string, client: string, ...body: Body): void {
    this.routing.reply(worker, RFC, "final", client, body, this.now);
  }

  heartbeat(worker: string, dialect: Dialect = RFC): void {
    this.routing.heartbeat(worker, dialect, this.now);
  }

  disconnect(worker: string): void {
    this.routing.disconnect(worker, this.now);
  }

  gone(peer: string): void {
    this.routing.gone(peer, this.now);
  }

  /** Lets time pass, deadline by deadline as the real shell does. */
  pass(milliseconds: number): void {
    const until = this.now + milliseconds;
    for (let next; (next = this.routing.nextDeadline()) <= until;) {
      assert.ok(next > this.now || next === Math.ceil(this.now), "a deadline lies in the past");
      this.now = Math.max(this.now, next);
      this.routing.elapse(this.now);
    }
    this.now = until;
  }

  // ---- what came of it ----

  /** What was sent since the last call. */
  take(): string[] {
    return this.sent.splice(0);
  }

  /** The same without heartbeats. */
  takeButHeartbeats(): string[] {
    return this.take().filter((line) => !line.includes("< HEARTBEAT"));
  }

  /** Promise 1 of the broker, at any moment; and a body is held exactly as long as its request. */
  assertNothingLost(): void {
    const { counters, queued, inFlight } = this.routing;
    const dropped = Object.values(counters.dropped).reduce((sum, count) => sum + count);
    assert.equal(
      counters.accepted,
      counters.answered + counters.expired + dropped + queued + inFlight,
      `accepted is not the sum: ${JSON.stringify({ ...counters, queued, inFlight })}`,
    );
    assert.equal(this.held.size, queued + inFlight, "bodies held are not those of live requests");
    if (queued === 0) assert.equal(this.routing.queuedBytes, 0);
  }
}
