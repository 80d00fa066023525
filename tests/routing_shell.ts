/**
 * A shell for routing that writes down what it is told to do, one line each, and keeps account
 * of the bodies that routing was given. Bodies are lists of strings.
 *
 * @module
 */

import assert from "node:assert/strict";
import { type Dialect, type Id, MAJORTOMO, MULTIPLEXED, RFC } from "../codec.ts";
import {
  type Message,
  type Request,
  type RequestTerms,
  Routing,
  type RoutingEvent,
  type RoutingOptions,
  type Shell,
  type Unsent,
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
  maxClientQueue: Infinity,
  maxClientQueueBytes: Infinity,
};

/** Plays the shell, and speaks for peers with as few words as the tests want. */
export class Harness implements Shell<Body> {
  readonly routing: Routing<Body>;
  /** What was sent: `PEER < COMMAND …`. */
  sent: string[] = [];
  /** What was reported. */
  events: RoutingEvent<Body>[] = [];
  /** Bodies that routing holds. */
  readonly held = new Set<Body>();
  /** Peers that cannot be sent to. */
  readonly unsendable = new Map<string, "full" | "unreachable">();
  /** What could not be sent, and routing has not been told of yet. */
  #unsent: Unsent<Body>[] = [];
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

  dispatch(worker: Worker<Body>, request: Request<Body>, timeToLive: number): void {
    assert.ok(this.held.has(request.body), "a body is dispatched that was let go");
    const multiplexed = worker.dialect === MULTIPLEXED;
    if (multiplexed) this.#names.set(request.token, `#${this.#tokens.push(request.token)}`);
    const key = multiplexed ? this.#names.get(request.token) : request.client;
    const ttl = multiplexed && timeToLive > 0 ? ` (${timeToLive} ms)` : "";
    const what = `REQUEST ${key} ${request.body.join(" ")}${ttl}`;
    this.#send(worker.identity, what, "request", request);
  }

  cancel(worker: Worker<Body>, request: Request<Body>): void {
    assert.ok([...worker.held].includes(request), "CANCEL for what is not held");
    this.#send(worker.identity, `CANCEL ${this.#names.get(request.token)}`);
  }

  fail(request: Request<Body>, code: number, body: Body): void {
    this.discard(body);
    this.#send(request.client, `ERROR ${request.id} ${code} ${body.join(" ")}`, "error", request);
  }

  error(client: string, id: Id, code: number, message: string): void {
    this.#send(client, `ERROR ${id} ${code} ${message}`, "notice");
  }

  controlClient(client: string, command: "heartbeat" | "disconnect"): void {
    const what = command === "disconnect" ? "notice" : "control";
    this.#send(client, command.toUpperCase(), what);
  }

  control(worker: string, dialect: Dialect, command: "heartbeat" | "disconnect"): void {
    const suffix = dialect === MAJORTOMO ? " (majortomo)" : "";
    this.#send(worker, command.toUpperCase() + suffix);
  }

  reply(request: Request<Body>, command: "partial" | "final", body: Body): void {
    this.discard(body);
    const id = request.id === 0 ? "" : `${request.id} `;
    const text = `${command.toUpperCase()} ${id}${body.join(" ")}`;
    this.#send(request.client, text, command, request);
  }

  answer(client: string, dialect: Dialect, _id: Id, service: string, text: string): void {
    const what = dialect === MULTIPLEXED ? "notice" : "control";
    this.#send(client, `FINAL ${service} ${text}`, what);
  }

  read(body: Body): string {
    return body[0] ?? "";
  }

  size(body: Body): number {
    return body.join("").length;
  }

  detach(body: Body): void {
    assert.ok(this.held.has(body), "a body waits that was let go");
  }

  discard(body: Body): void {
    assert.ok(this.held.delete(body), "a body is let go twice");
  }

  report(event: RoutingEvent<Body>): void {
    this.events.push(event);
  }

  #send(peer: string, text: string, what: Message = "control", request?: Request<Body>): void {
    const why = this.unsendable.get(peer);
    if (why !== undefined) this.#unsent.push({ peer, what, request, why });
    else {
      this.sent.push(`${peer} < ${text}`);
      if (what === "request") this.onDispatch(request!.worker!, request!);
    }
  }

  /** Tells routing what could not be sent, as the real shell does at the end of each turn. */
  settle(): void {
    while (this.#unsent.length > 0) this.routing.unsent(this.#unsent.splice(0), this.now);
  }

  // ---- the peers ----

  request(client: string, service: string, ...body: Body): void {
    this.held.add(body);
    this.routing.request(client, service, { dialect: RFC }, body, this.now);
    this.settle();
  }

  /** A multiplexed client's. */
  ask(client: string, service: string, id: Id, terms: Partial<RequestTerms> = {}): void {
    const body = [`${client}/${id}`];
    this.held.add(body);
    const all = { ...terms, id, dialect: MULTIPLEXED };
    this.routing.request(client, service, all, body, this.now);
    this.settle();
  }

  /** A multiplexed worker's READY. */
  offer(worker: string, service: string, credit: number): void {
    this.routing.ready(worker, MULTIPLEXED, service, credit, this.now);
    this.settle();
  }

  /** A multiplexed worker's PARTIAL, FINAL or ERROR for the n-th request that was dispatched. */
  done(worker: string, number: number, what: "partial" | "final" | "error" = "final"): void {
    const body = [`${what} of #${number}`], token = this.#tokens[number - 1] ?? number;
    this.held.add(body);
    if (what === "error") this.routing.error(worker, MULTIPLEXED, token, 500, body, this.now);
    else this.routing.reply(worker, MULTIPLEXED, what, token, body, this.now);
    this.settle();
  }

  ready(worker: string, service: string, dialect: Dialect = RFC): void {
    this.routing.ready(worker, dialect, service, 1, this.now);
    this.settle();
  }

  partial(worker: string, client: string, ...body: Body): void {
    this.held.add(body);
    this.routing.reply(worker, RFC, "partial", client, body, this.now);
    this.settle();
  }

  final(worker: string, client: string, ...body: Body): void {
    this.held.add(body);
    this.routing.reply(worker, RFC, "final", client, body, this.now);
    this.settle();
  }

  heartbeat(worker: string, dialect: Dialect = RFC): void {
    this.routing.heartbeat(worker, dialect, this.now);
    this.settle();
  }

  disconnect(worker: string): void {
    this.routing.disconnect(worker, this.now);
    this.settle();
  }

  gone(peer: string): void {
    this.routing.gone(peer, this.now);
    this.settle();
  }

  /** Lets time pass, deadline by deadline as the real shell does. */
  pass(milliseconds: number): void {
    const until = this.now + milliseconds;
    for (let next; (next = this.routing.nextDeadline()) <= until;) {
      assert.ok(next > this.now || next === Math.ceil(this.now), "a deadline lies in the past");
      this.now = Math.max(this.now, next);
      this.routing.elapse(this.now);
      this.settle();
    }
    this.now = until;
  }

  // ---- what came of it ----

  /** What was sent since the last call. */
  take(): string[] {
    this.settle();
    return this.sent.splice(0);
  }

  /** The same without heartbeats. */
  takeButHeartbeats(): string[] {
    return this.take().filter((line) => !line.includes("< HEARTBEAT"));
  }

  /** What is counted as it changes is what a walk over all workers and requests finds. */
  #assertCounted(): void {
    const { services, workers, idle, queued, inFlight } = this.routing;
    const all = [...workers.values()];
    assert.equal(idle, all.filter(({ holding }) => holding === 0).length, "idle workers");
    let waiting = 0, flying = 0;
    for (const service of services.values()) {
      const own = all.filter((worker) => worker.service === service);
      const held = own.flatMap(({ held }) => [...held]).filter(({ over }) => !over);
      const here = [...service.turns].flatMap(({ requests }) => [...requests]);
      const { name, accepted, answered, expired, dropped } = service;
      assert.deepEqual(
        {
          workers: service.workers,
          serving: service.serving,
          queued: service.queued,
          queuedBytes: service.queuedBytes,
          resting: service.resting,
          credit: service.credit,
          inFlight: service.inFlight,
          accepted,
        },
        {
          workers: own.length,
          serving: own.filter(({ credit }) => credit > 0).length,
          queued: here.length,
          queuedBytes: here.reduce((sum, { body }) => sum + this.size(body), 0),
          resting: own.filter(({ holding, credit }) => holding < credit).length,
          credit: own.reduce((sum, { credit }) => sum + credit, 0),
          inFlight: held.length,
          accepted: answered + expired + dropped + service.queued + service.inFlight,
        },
        `service ${name}`,
      );
      waiting += service.queued;
      flying += service.inFlight;
    }
    assert.deepEqual([waiting, flying], [queued, inFlight], "the services' together");
  }

  /** Promise 1 of the broker, at any moment; and a body is held exactly as long as its request. */
  assertNothingLost(): void {
    this.settle();
    const { counters, queued, inFlight } = this.routing;
    const dropped = Object.values(counters.dropped).reduce((sum, count) => sum + count);
    assert.equal(
      counters.accepted,
      counters.answered + counters.expired + dropped + queued + inFlight,
      `accepted is not the sum: ${JSON.stringify({ ...counters, queued, inFlight })}`,
    );
    this.#assertCounted();
    assert.equal(this.held.size, queued + inFlight, "bodies held are not those of live requests");
    if (queued === 0) assert.equal(this.routing.queuedBytes, 0);
  }
}
