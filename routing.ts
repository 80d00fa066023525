/**
 * The broker's rules: services, workers, queues, expiry, heartbeats and MMI, as a state machine
 * that neither reads a clock nor touches a socket. It is told what came and what time it is, and
 * has its {@linkcode Shell} send what is to be sent.
 *
 * A worker, as RFC 18 sees it. A multiplexed one holds up to its credit of requests, and waits
 * as long as it has room:
 *
 * ```text
 *              READY                 a request is dispatched
 *   unknown ──────────► waiting ───────────────────────────────► busy
 *      ▲                │     ▲                                 │    │
 *      │                │     └─────────────────────────────────┘    │
 *      │                │                   FINAL                    │
 *      └────────────────┴────────────────────────────────────────────┘
 *        DISCONNECT, connection gone, silence, or a command it may not send;
 *        a busy worker's request is recovered
 * ```
 *
 * A request. Once it is over, nothing more is sent for it, though a worker may go on holding it
 * until it ends it:
 *
 * ```text
 *   REQUEST ──► queued ◄────────────────► in flight ──► answered
 *      │          │      dispatched,        │   │
 *      ▼          ▼      recovered          ▼   ▼
 *   refused    expired, dropped        expired, dropped
 * ```
 *
 * Identities and names are binary strings, one character a byte. A body is a value that is only
 * handed on. All of it is O(1) for each message, and the cost of time is O(what is due).
 *
 * @module
 */

import {
  INVALID,
  NO_WORKER,
  QUEUE_FULL,
  STOPPING,
  STOPPING_WORDS,
  TOO_LATE,
  WORKER_LOST,
} from "./broker_codes.ts";
import { type Dialect, type Id, MAJORTOMO, MULTIPLEXED } from "./commands.ts";
import type { Refused } from "./codec_multiplexed.ts";
import { Deadlines } from "./deadlines.ts";
import { Ids } from "./ids.ts";
import {
  Backlog,
  Client,
  ClientQueue,
  Expiry,
  Request,
  type RequestTerms,
  Service,
  Worker,
} from "./routing_state.ts";
import { Times } from "./routing_times.ts";
import { Tokens } from "./tokens.ts";
import {
  type Drop,
  newCounters,
  type Refusal,
  type RoutingCounters,
  type RoutingOptions,
  type Shell,
  type Unsent,
  type Violation,
  type WorkerEnd,
} from "./routing_types.ts";

export { Client, Request, type RequestTerms, Service, Worker } from "./routing_state.ts";
export type {
  Drop,
  Message,
  Refusal,
  RoutingCounters,
  RoutingEvent,
  RoutingOptions,
  Shell,
  Unsent,
  WorkerEnd,
} from "./routing_types.ts";

/** What names of services that the broker answers itself begin with. RFC 8. */
const RESERVED = "mmi.";
/**
 * A worker of majortomo's cannot heartbeat while it works, but one that it sent just before it
 * got the request arrives just after: within this, in ms, it says nothing about a busy worker. Of
 * others it is taken for what it seems to be; but if it comes within less, and no other follows, not
 * beyond that request.
 */
const CROSSING = 250, CROSSING_NEAR = 25;
/** How many tables of ids are kept for clients to come, and how much room these have at most. */
const SPARE = 64, LARGEST_SPARE = 256;
/** Up to how many bytes a service's name takes no more than what there is for each anyway. */
const USUAL_NAME = 255;
/** The longest time to live that fits the frame, in ms. */
const MAX_TIME_TO_LIVE = 2 ** 32 - 1;

/** The state machine of one broker. */
export class Routing<B> {
  readonly #shell: Shell<B>;
  #options: RoutingOptions;
  readonly #services = new Map<string, Service<B>>();
  readonly #workers = new Map<string, Worker<B>>();
  readonly #clients = new Map<string, Client<B>>();
  /** Empty tables of clients that have gone: most clients come back with their next request. */
  readonly #spare: Ids<Request<B>>[] = [];
  /** Multiplexed clients that did not take what they were sent, to be told DISCONNECT. */
  readonly #broken = new Set<string>();
  /** What clients have queued: it is bounded, and goes when their connection does. */
  readonly #backlogs = new Map<string, Backlog<B>>();
  readonly #deadlines = new Deadlines<Worker<B> | Expiry<B> | Service<B> | Client<B>>();
  #stopping = false;
  /** Until when nobody is held for dead. */
  #sparedUntil = -Infinity;
  #queued = 0;
  #queuedBytes = 0;
  /** What the names of services without workers count for: whoever asks for one makes it be. */
  #nameBytes = 0;
  #inFlight = 0;
  /** Workers that hold nothing. */
  #idle = 0;
  readonly #tokens = new Tokens<Request<B>>();
  readonly #seed: number;
  readonly #mmi: ReadonlyMap<string, (argument: string) => string>;
  /** Whether `gone` is called when a connection ends; if not, silent clients are held for gone. */
  seesGone = true;
  /** Whether the shell is told of what happens to every request. */
  isObserved = false;
  /** What was counted since the start. */
  readonly counters: RoutingCounters = newCounters();

  /**
   * @param shell Does what is to be done.
   * @param options The rules that can be set.
   * @param seed A number that no peer can guess, for the tables of what peers choose.
   * @param answers What else it answers for the broker: by the name of a service that begins with
   * `mmi.`, the answer to the first frame of a request for it, as a binary string.
   */
  constructor(
    shell: Shell<B>,
    options: RoutingOptions,
    seed = 1,
    answers: Iterable<readonly [string, (argument: string) => string]> = [],
  ) {
    this.#shell = shell;
    this.#options = options;
    this.#seed = seed;
    this.#mmi = new Map([
      ["mmi.service", (name) => this.#serves(name) ? "200" : "404"],
      ["mmi.multiplexed", () => "200"],
      ...answers,
    ]);
  }

  /** Requests that wait for a worker. */
  get queued(): number {
    return this.#queued;
  }

  /** The bytes that they have. */
  get queuedBytes(): number {
    return this.#queuedBytes;
  }

  /** Requests that a worker holds and that are not over. */
  get inFlight(): number {
    return this.#inFlight;
  }

  /** Workers that hold no request. */
  get idle(): number {
    return this.#idle;
  }

  /** The services that have workers or requests. */
  get services(): ReadonlyMap<string, Service<B>> {
    return this.#services;
  }

  /** The registered workers, by identity. */
  get workers(): ReadonlyMap<string, Worker<B>> {
    return this.#workers;
  }

  /** The multiplexed clients that have requests. */
  get clients(): ReadonlyMap<string, Client<B>> {
    return this.#clients;
  }

  /** When `elapse` has something to do next; `Infinity` if it has not. */
  nextDeadline(): number {
    return this.#deadlines.next();
  }

  // ---- what clients send ----

  /** REQUEST. From here on the body is routing's. */
  request(client: string, service: string, terms: RequestTerms, body: B, now: number): void {
    this.counters.received.request++;
    if (terms.dialect === MULTIPLEXED && this.#heard(client, now)) {
      return this.#refuse(client, service, terms, body, "clientFull");
    }
    const { id = 0 } = terms, known = id === 0 ? undefined : this.#clients.get(client);
    // Before all that would be answered: the answer would be taken for that of the other.
    if (known !== undefined && known.requests.get(id) !== undefined) {
      this.#refuse(client, service, terms, body, "duplicate");
      this.#dropAll(client, "cancelled", now);
      this.#shell.controlClient(client, "disconnect");
      return;
    }
    if (service.startsWith(RESERVED)) return this.#askBroker(client, service, terms, body);
    if (this.#stopping) return this.#refuse(client, service, terms, body, "stopping");
    const found = this.#services.get(service);
    if (terms.noWait && (found === undefined || found.serving === 0)) {
      return this.#refuse(client, service, terms, body, "noWorker");
    }
    const worker = found?.waiting.first;
    if (found !== undefined && worker !== undefined) {
      // A service has no queue while a worker waits, so nobody is overtaken.
      return this.#dispatch(this.#accept(client, known, found, terms, body, now), worker, now);
    }
    const size = this.#shell.size(body);
    const { maxQueue, maxQueueBytes, maxTotalQueue, maxTotalQueueBytes } = this.#options;
    if (
      (found?.queued ?? 0) + 1 > maxQueue || (found?.queuedBytes ?? 0) + size > maxQueueBytes ||
      this.#queued + 1 > maxTotalQueue ||
      this.#queuedBytes + this.#nameBytes + size + (found === undefined ? excessOf(service) : 0) >
        maxTotalQueueBytes
    ) return this.#refuse(client, service, terms, body, "queueFull");
    const { maxClientQueue, maxClientQueueBytes } = this.#options;
    const { queued, queuedBytes } = this.#backlogs.get(client) ?? NO_BACKLOG;
    if (queued + 1 > maxClientQueue || queuedBytes + size > maxClientQueueBytes) {
      return this.#refuse(client, service, terms, body, "clientQueueFull");
    }
    const target = found ?? this.#addService(service, now);
    const request = this.#accept(client, known, target, terms, body, now);
    request.size = size;
    this.#enqueue(request, "tail");
    const expiry = request.service.serving === 0 ? now + this.#options.requestExpiry : Infinity;
    this.#schedule(request, Math.min(expiry, request.expiresAt));
  }

  /** CANCEL. */
  cancel(client: string, id: Id, now: number): void {
    this.counters.received.cancel++;
    if (this.#heard(client, now)) return;
    const request = this.#clients.get(client)?.requests.get(id);
    if (request !== undefined) this.#abandon(request, "cancelled", now);
  }

  /** HEARTBEAT of a client. */
  clientHeartbeat(client: string, now: number): void {
    this.counters.received.clientHeartbeat++;
    if (this.#heard(client, now)) return;
    const known = this.#clients.get(client);
    if (known !== undefined && !known.heartbeats) {
      known.heartbeats = true;
      if (!this.seesGone) {
        this.#deadlines.schedule(known, now + this.#options.heartbeatTimeout);
      }
    }
    this.#shell.controlClient(client, "heartbeat");
  }

  /** DISCONNECT of a client. */
  clientDisconnect(client: string, now: number): void {
    this.counters.received.clientDisconnect++;
    this.#broken.delete(client);
    this.#dropAll(client, "cancelled", now);
  }

  // ---- what workers send ----

  /**
   * READY. RFC 18: the credit is one.
   *
   * @param address Where the worker connects from, for whoever looks; it decides nothing.
   */
  ready(
    worker: string,
    dialect: Dialect,
    service: string,
    credit: number,
    now: number,
    address?: string,
  ): void {
    this.counters.received.ready++;
    const known = this.#workers.get(worker);
    if (known !== undefined) return this.#end(known, "violation", now, "READY again");
    if (service.startsWith(RESERVED)) {
      this.counters.reserved++;
      this.#shell.report({ type: "worker refused", worker, service });
      this.#shell.control(worker, dialect, "disconnect");
      return;
    }
    const found = this.#services.get(service) ?? this.#addService(service, now);
    const registered = new Worker(worker, dialect, found, credit, now, address);
    this.#workers.set(worker, registered);
    this.#idle++;
    if (found.workers++ === 0) this.#nameBytes -= excessOf(service);
    found.serving++;
    found.credit += credit;
    found.waits ??= new Times();
    found.works ??= new Times();
    this.#rest(registered);
    this.counters.joined++;
    this.#watch(registered);
    if (dialect === MULTIPLEXED) this.#shell.control(worker, dialect, "heartbeat");
    this.#shell.report({ type: "worker joined", worker: registered });
    this.#serve(found, now);
  }

  /**
   * PARTIAL or FINAL. From here on the body is routing's.
   *
   * @param key Which request: the client's address in RFC 18, else the token.
   */
  reply(
    from: string,
    dialect: Dialect,
    command: "partial" | "final",
    key: string | Id,
    body: B,
    now: number,
  ): void {
    const { received } = this.counters;
    if (command === "final") received.final++;
    else received.partial++;
    const request = this.#answered(from, dialect, key, now);
    if (request === undefined) return this.#shell.discard(body);
    const worker = request.worker!;
    if (command === "final") this.#finished(request, worker, now);
    if (request.over) this.#shell.discard(body);
    else {
      this.#shell.reply(request, command, body);
      if (command === "final") this.#answer(request, now);
      else {
        request.begun = true;
        this.counters.partials++;
        request.service.partials++;
      }
    }
    if (command === "final") this.#released(worker, now);
  }

  /** ERROR. The body is its message and details, and routing's from here on. */
  error(from: string, dialect: Dialect, key: Id, code: number, body: B, now: number): void {
    this.counters.received.error++;
    const request = this.#answered(from, dialect, key, now);
    if (request === undefined) return this.#shell.discard(body);
    const worker = request.worker!;
    this.#finished(request, worker, now);
    if (!request.over && request.dialect === MULTIPLEXED) {
      this.#shell.fail(request, code, body);
      this.counters.errors++;
      request.service.errors++;
      this.#answer(request, now, code);
    } else {
      this.#shell.discard(body);
      if (!request.over) this.#drop(request, "failed");
    }
    this.#released(worker, now);
  }

  /** HEARTBEAT of a worker. */
  heartbeat(worker: string, dialect: Dialect, now: number): void {
    this.counters.received.heartbeat++;
    const known = this.#workers.get(worker);
    if (known === undefined) return this.#unknown(worker, dialect, false);
    known.heardAt = now;
    // One that came together with what made room for the request was sent before that.
    if (known.holding === 0 || known.dispatchedAt === now) return;
    const after = now - known.dispatchedAt;
    if (known.dialect === MAJORTOMO && after < CROSSING) return;
    const isKnown = known.heartbeatsWhenBusy && !known.mayHaveCrossed;
    known.mayHaveCrossed = !isKnown && after < CROSSING_NEAR;
    known.heartbeatsWhenBusy = true;
  }

  /** CREDIT. */
  credit(worker: string, dialect: Dialect, credit: number, now: number): void {
    this.counters.received.credit++;
    const known = this.#workers.get(worker);
    if (known === undefined) return this.#unknown(worker, dialect, false);
    if (known.dialect !== dialect) {
      return this.#end(known, "violation", now, "CREDIT in another dialect");
    }
    known.heardAt = now;
    const { service } = known;
    const change = Math.sign(credit) - Math.sign(known.credit);
    service.credit += credit - known.credit;
    known.credit = credit;
    service.serving += change;
    this.#rest(known);
    if (change < 0 && service.serving === 0) this.#noLongerServed(service, now);
    else this.#serve(service, now);
  }

  /**
   * DISCONNECT of a worker.
   *
   * @param unsent Requests that were not sent to it yet, and will not be: others may be leaving with it,
   * and their number is not to be the end of a request.
   */
  disconnect(worker: string, now: number, unsent: readonly Request<B>[] = []): void {
    this.counters.received.disconnect++;
    const known = this.#workers.get(worker);
    if (known === undefined) return;
    for (const request of unsent.toReversed()) this.#undispatched(request, worker);
    this.#end(known, "disconnect", now);
  }

  // ---- what anybody may do ----

  /**
   * A message that is not one. In RFC 18 it is only dropped, but a worker whose answer it was to be has
   * the heartbeat timeout for a better one; a multiplexed worker that sends one is broken, and the
   * client of a REQUEST is told.
   */
  invalid(peer: string, refused: Refused, reason: string, now: number): void {
    const worker = this.#workers.get(peer);
    if (worker?.dialect === MULTIPLEXED) {
      // There are workers that say their credit again in each HEARTBEAT: no harm is done.
      if (refused.heartbeat === worker.credit) worker.heardAt = now;
      else this.#end(worker, "violation", now, "an invalid message");
    } else if (worker !== undefined && worker.holding > 0 && refused.isAnswer) {
      // It may be that it thinks it has answered: its heartbeats are not to keep the request for ever.
      worker.spoiltAt = Math.min(worker.spoiltAt, now);
      this.#watch(worker);
    }
    if (refused.request === undefined) return;
    // The ERROR ends whatever has this id.
    const known = this.#clients.get(peer)?.requests.get(refused.request);
    if (known !== undefined) this.#abandon(known, "cancelled", now);
    this.#tell(peer, refused.request, [INVALID, reason]);
  }

  /** A peer's connection is gone. */
  gone(peer: string, now: number): void {
    this.counters.received.gone++;
    const worker = this.#workers.get(peer);
    if (worker !== undefined) this.#end(worker, "gone", now);
    this.#broken.delete(peer);
    this.#dropAll(peer, "clientGone", now);
    // An identity that libzmq made begins with a zero byte and never comes back; one that the
    // peer chose may come back for its replies.
    if (peer.charCodeAt(0) !== 0) return;
    for (const queue of this.#backlogs.get(peer)?.queues ?? []) {
      for (let request; (request = queue.requests.first) !== undefined;) {
        this.#drop(request, "clientGone");
      }
      this.#forgetIfIdle(queue.service);
    }
  }

  /**
   * Messages that could not be sent, in the order in which they were to be. Nothing that was to
   * be sent to the same peer after one of them has been sent either.
   */
  unsent(messages: readonly Unsent<B>[], now: number): void {
    // A request that never got to its worker can go to another, whatever the rules for lost
    // workers say. The last first, since each goes to the head.
    for (const { what, request, peer } of messages.toReversed()) {
      if (what === "request") this.#undispatched(request!, peer);
    }
    for (const { what, request, peer, why } of messages) {
      const worker = this.#workers.get(peer);
      switch (what) {
        case "request":
          if (worker !== undefined) this.#end(worker, why === "full" ? "full" : "gone", now);
          break;
        case "control":
          if (worker !== undefined && why === "unreachable") this.#end(worker, "gone", now);
          break;
        case "notice":
          if (why === "full") this.#broken.add(peer);
          break;
        default:
          this.#undelivered(request!, what, why, now);
      }
    }
  }

  // ---- what happens by itself ----

  /** Time has passed: does all that is due. */
  elapse(now: number): void {
    for (let item; (item = this.#deadlines.take(now)) !== undefined;) {
      if (item instanceof Worker) this.#checkWorker(item, now);
      else if (item instanceof Expiry) this.#checkRequest(item.request, now);
      else if (item instanceof Service) this.#checkService(item, now);
      else this.#checkClient(item, now);
    }
  }

  /**
   * Holds nobody for dead before then: what peers have sent has not been read.
   *
   * @param until The time.
   */
  spare(until: number): void {
    this.#sparedUntil = until;
  }

  /** Takes no new requests from now on; what is queued and in flight goes on. */
  stop(): void {
    this.#stopping = true;
  }

  /** Ends all there is: DISCONNECT to all workers and multiplexed clients, requests dropped. */
  end(now: number): void {
    this.#stopping = true;
    const clients = [...this.#clients.keys()];
    for (const service of [...this.#services.values()]) {
      for (let queue; (queue = service.turns.first) !== undefined;) {
        this.#drop(queue.requests.first!, "stopped");
      }
    }
    for (const worker of [...this.#workers.values()]) {
      for (const request of worker.held) if (!request.over) this.#drop(request, "stopped");
      this.#end(worker, "stopped", now);
    }
    for (const service of [...this.#services.values()]) this.#forgetIfIdle(service);
    for (const client of clients) this.#shell.controlClient(client, "disconnect");
  }

  /** Other rules hold from now on: what is due by them is due by when it came, not by now. */
  reconfigure(options: RoutingOptions, now: number): void {
    this.#options = options;
    for (const worker of this.#workers.values()) this.#watch(worker);
    for (const client of this.#clients.values()) {
      if (client.day === undefined) continue;
      this.#deadlines.schedule(client, client.heardAt + options.heartbeatTimeout);
    }
    for (const service of this.#services.values()) {
      if (service.serving > 0) continue;
      this.#deadlines.cancel(service);
      for (const queue of service.turns) {
        for (const request of queue.requests) {
          const expiry = Math.max(request.arrivedAt, service.emptySince) + options.requestExpiry;
          this.#schedule(request, Math.min(Math.max(now, expiry), request.expiresAt));
        }
      }
    }
  }

  // ---- MMI, RFC 8 ----

  #askBroker(client: string, service: string, terms: RequestTerms, body: B): void {
    this.counters.mmi++;
    const text = this.#mmi.get(service)?.(this.#shell.read(body)) ?? "501";
    this.#shell.discard(body);
    this.#shell.answer(client, terms.dialect, terms.id ?? 0, service, text);
  }

  #serves(name: string): boolean {
    return this.#mmi.has(name) || (this.#services.get(name)?.serving ?? 0) > 0;
  }

  // ---- requests' lives ----

  #accept(
    client: string,
    known: Client<B> | undefined,
    service: Service<B>,
    terms: RequestTerms,
    body: B,
    now: number,
  ): Request<B> {
    const number = ++this.counters.accepted;
    service.accepted++;
    const request = new Request(client, service, terms, body, now, number);
    if (request.id !== 0) {
      const owner = known ?? this.#addClient(client, now);
      owner.requests.add(request);
      request.owner = owner;
    }
    if (this.isObserved) this.#shell.report({ type: "request accepted", request });
    return request;
  }

  #addClient(identity: string, now: number): Client<B> {
    const requests = this.#spare.pop() ?? new Ids<Request<B>>(this.#seed);
    const client = new Client(identity, requests, now);
    this.#clients.set(identity, client);
    return client;
  }

  #forgetClient({ identity, requests }: Client<B>): void {
    this.#clients.delete(identity);
    if (this.#spare.length < SPARE && requests.capacity <= LARGEST_SPARE) {
      this.#spare.push(requests);
    }
  }

  #refuse(client: string, service: string, terms: RequestTerms, body: B, reason: Refusal): void {
    this.counters.refused[reason]++;
    const known = this.#services.get(service);
    if (known !== undefined) known.refused++;
    this.#shell.discard(body);
    this.#shell.report({ type: "request refused", client, service, reason });
    if (terms.dialect !== MULTIPLEXED) return;
    const error = REFUSALS[reason];
    if (error !== undefined) this.#tell(client, terms.id!, error);
  }

  /** Its FINAL has been sent, or its ERROR with this code. */
  #answer(request: Request<B>, now: number, code?: number): void {
    this.counters.answered++;
    request.service.answered++;
    if (this.isObserved) this.#shell.report({ type: "request answered", request, code, now });
    this.#finish(request);
  }

  #drop(request: Request<B>, reason: Drop): void {
    this.#finish(request);
    this.#countDrop(request, reason);
    const { client, dialect, id } = request;
    const error = DROPS[reason];
    if (dialect === MULTIPLEXED && error !== undefined) this.#tell(client, id, error);
  }

  #countDrop(request: Request<B>, reason: Drop): void {
    this.counters.dropped[reason]++;
    request.service.dropped++;
    this.#shell.report({ type: "request dropped", request, reason });
  }

  /** A part of its reply could not be sent, nor will what comes after it. */
  #undelivered(
    request: Request<B>,
    what: "partial" | "final" | "error",
    why: "full" | "unreachable",
    now: number,
  ): void {
    const { client, service, dialect } = request;
    const reason = why === "full" ? "clientFull" : "clientGone";
    if (what === "partial") {
      this.counters.partials--;
      service.partials--;
      if (!request.over && dialect !== MULTIPLEXED) this.#drop(request, reason);
    } else {
      this.counters.answered--;
      service.answered--;
      if (what === "error") {
        this.counters.errors--;
        service.errors--;
      }
      this.#countDrop(request, reason);
    }
    if (dialect !== MULTIPLEXED) return;
    // All that it has in flight is void, and it is to be told as soon as it can be.
    if (why === "full") this.#broken.add(client);
    this.#dropAll(client, reason, now);
  }

  #expire(request: Request<B>, reason: "no worker" | "late"): void {
    this.counters.expired++;
    request.service.expired++;
    this.#finish(request);
    const { client, dialect, id } = request;
    this.#shell.report({ type: "request expired", request, reason });
    if (dialect !== MULTIPLEXED) return;
    this.#tell(client, id, [TOO_LATE, reason === "late" ? "Time to live has passed" : "No worker"]);
  }

  /** Nobody wants its answer: dropped, and cancelled where that can be said. */
  #abandon(request: Request<B>, reason: Drop, now: number): void {
    const { service } = request;
    this.#cancelWork(request, now);
    this.#drop(request, reason);
    this.#forgetIfIdle(service);
  }

  /** Drops all that a multiplexed client has in flight. */
  #dropAll(client: string, reason: Drop, now: number): void {
    for (const request of this.#clients.get(client)?.requests.values() ?? []) {
      this.#abandon(request, reason, now);
    }
  }

  #cancelWork(request: Request<B>, now: number): void {
    const { worker } = request;
    if (worker?.dialect !== MULTIPLEXED || this.#tokens.get(request.token) !== request) return;
    this.#shell.cancel(worker, request);
    worker.sentAt = now;
  }

  /** It is over: out of its queue, off its client's books. */
  #finish(request: Request<B>): void {
    request.over = true;
    if (request.expiry !== undefined) this.#deadlines.cancel(request.expiry);
    if (request.queue !== undefined) this.#dequeue(request);
    else if (request.worker !== undefined) this.#landed(request);
    const { owner } = request;
    if (owner !== undefined) {
      owner.requests.delete(request);
      if (owner.requests.size === 0) {
        this.#deadlines.cancel(owner);
        this.#forgetClient(owner);
      }
    }
    this.#shell.discard(request.body);
  }

  #schedule(request: Request<B>, at: number): void {
    if (at !== Infinity) this.#deadlines.schedule(request.expiry ??= new Expiry(request), at);
    else if (request.expiry !== undefined) this.#deadlines.cancel(request.expiry);
  }

  /** Sends a multiplexed client an ERROR of the broker's own. */
  #tell(client: string, id: Id, [code, message]: Notice): void {
    this.#shell.error(client, id, code, message);
  }

  /** A multiplexed client was heard. True if it is broken: told DISCONNECT, and not to be served. */
  #heard(client: string, now: number): boolean {
    if (!this.seesGone) {
      const known = this.#clients.get(client);
      if (known !== undefined) known.heardAt = now;
    }
    if (this.#broken.size === 0 || !this.#broken.has(client)) return false;
    this.#dropAll(client, "clientFull", now);
    this.#broken.delete(client);
    this.#shell.controlClient(client, "disconnect");
    return true;
  }

  // ---- queues and dispatch ----

  #addService(name: string, now: number): Service<B> {
    const service = new Service<B>(name, now);
    this.#services.set(name, service);
    this.#nameBytes += excessOf(name);
    return service;
  }

  #forgetIfIdle(service: Service<B>): void {
    if (service.workers > 0 || service.queued > 0) return;
    this.#deadlines.cancel(service);
    this.#services.delete(service.name);
    this.#nameBytes -= excessOf(service.name);
  }

  #enqueue(request: Request<B>, where: "head" | "tail"): void {
    const { service, client, body } = request;
    this.#shell.detach(body);
    let queue = service.queues.get(client);
    if (queue === undefined) {
      let backlog = this.#backlogs.get(client);
      if (backlog === undefined) {
        backlog = new Backlog(client);
        this.#backlogs.set(client, backlog);
      }
      queue = new ClientQueue(backlog, service);
      service.queues.set(client, queue);
      backlog.queues.add(queue);
      if (where === "head") service.turns.unshift(queue);
      else service.turns.push(queue);
    } else if (where === "head") {
      service.turns.remove(queue);
      service.turns.unshift(queue);
    }
    if (where === "head") this.#return(request, queue);
    else queue.requests.push(request);
    request.queue = queue;
    const { backlog } = queue;
    backlog.queued++;
    backlog.queuedBytes += request.size;
    service.queued++;
    service.queuedBytes += request.size;
    this.#queued++;
    this.#queuedBytes += request.size;
  }

  /** Puts a request where it was: others of its client may have been put back before it. */
  #return(request: Request<B>, queue: ClientQueue<B>): void {
    const { requests, returned } = queue, { number } = request;
    // Mostly it comes just before or after the last one: workers of many requests give them back in
    // order, and many workers were given theirs in the order in which they are lost.
    let next = returned?.queue === queue ? returned : requests.first;
    while (next !== undefined && next.number < number) next = next.next;
    for (let before = next?.previous; before !== undefined && before.number > number;) {
      next = before;
      before = next.previous;
    }
    requests.insert(request, next);
    queue.returned = request;
  }

  #dequeue(request: Request<B>): void {
    const queue = request.queue!, { backlog, service } = queue;
    request.queue = undefined;
    queue.requests.remove(request);
    backlog.queued--;
    backlog.queuedBytes -= request.size;
    service.queued--;
    service.queuedBytes -= request.size;
    this.#queued--;
    this.#queuedBytes -= request.size;
    if (queue.requests.first !== undefined) return;
    service.turns.remove(queue);
    service.queues.delete(queue.client);
    backlog.queues.delete(queue);
    if (backlog.queues.size === 0) this.#backlogs.delete(backlog.client);
  }

  /** Dispatches what is queued for a service while it has workers with room. */
  #serve(service: Service<B>, now: number): void {
    for (let queue; (queue = service.turns.first) !== undefined;) {
      const worker = service.waiting.first;
      if (worker === undefined) return;
      const request = queue.requests.first!;
      // The timer may be late.
      if (request.expiresAt <= now) {
        this.#expire(request, "late");
        continue;
      }
      this.#dequeue(request);
      this.#dispatch(request, worker, now);
      if (queue.requests.first !== undefined) {
        // The next client's turn.
        service.turns.remove(queue);
        service.turns.push(queue);
      }
    }
  }

  #dispatch(request: Request<B>, worker: Worker<B>, now: number): void {
    const { expiresAt } = request;
    if (worker.dialect === MULTIPLEXED) request.token = this.#tokens.add(request);
    request.attempts++;
    request.worker = worker;
    request.dispatchedAt = now;
    worker.held.push(request);
    if (worker.holding++ === 0) this.#idle--;
    worker.sentAt = worker.dispatchedAt = now;
    this.#rest(worker, true);
    this.#inFlight++;
    this.counters.dispatched++;
    const { service } = request;
    service.inFlight++;
    service.waits!.add(now - request.arrivedAt);
    if (this.isObserved) this.#shell.report({ type: "request dispatched", request });
    this.#schedule(request, expiresAt);
    // Rounded, since the difference of two such numbers is seldom whole where it should be.
    const timeToLive = expiresAt === Infinity
      ? 0
      : Math.min(Math.max(1, Math.round(expiresAt - now)), MAX_TIME_TO_LIVE);
    this.#shell.dispatch(worker, request, timeToLive);
  }

  /** Puts a worker among those that wait if it has room, at the tail if it is new there. */
  #rest(worker: Worker<B>, used = false): void {
    const { service } = worker, room = worker.holding < worker.credit;
    if (worker.waiting && (used || !room)) service.waiting.remove(worker);
    if (room && (used || !worker.waiting)) service.waiting.push(worker);
    if (worker.waiting !== room) service.resting += room ? 1 : -1;
    worker.waiting = room;
  }

  /** The worker has ended a request, or is lost with it: it holds it no longer. */
  #release(request: Request<B>, worker: Worker<B>): void {
    worker.held.remove(request);
    if (--worker.holding === 0) this.#idle++;
    if (worker.dialect === MULTIPLEXED) this.#tokens.delete(request.token);
  }

  /** The worker has ended a request, whether anybody still wants the answer or not. */
  #finished(request: Request<B>, worker: Worker<B>, now: number): void {
    worker.service.works!.add(now - request.dispatchedAt);
    if (worker.mayHaveCrossed) worker.mayHaveCrossed = worker.heartbeatsWhenBusy = false;
    this.#release(request, worker);
  }

  /** The worker has ended a request: it has room for another. */
  #released(worker: Worker<B>, now: number): void {
    this.#rest(worker);
    this.#serve(worker.service, now);
  }

  /** Takes back a request that never got to the worker: that was no attempt. */
  #undispatched(request: Request<B>, worker: string): void {
    const holder = request.worker;
    // It may be over meanwhile, or elsewhere.
    if (request.over || request.queue !== undefined || holder?.identity !== worker) return;
    // It was answered before it was sent, by a guess: that is for the rules of lost workers.
    if (request.begun) return;
    this.#release(request, holder);
    request.attempts--;
    this.counters.dispatched--;
    this.#putBack(request);
  }

  /** Takes back the request of a worker that was lost. */
  #recover(request: Request<B>, worker: Worker<B>): void {
    if (request.over) return;
    if (request.begun) return this.#drop(request, "partial");
    if (request.once) return this.#drop(request, "once");
    if (request.attempts >= this.#options.maxAttempts) return this.#drop(request, "attempts");
    this.#putBack(request);
    this.counters.recovered++;
    request.service.recovered++;
    this.#shell.report({ type: "request recovered", request, worker });
  }

  /** It is no longer in flight. */
  #landed(request: Request<B>): void {
    this.#inFlight--;
    request.service.inFlight--;
  }

  /** At the head of its queue. The queue's bounds do not hold for it, since it was accepted. */
  #putBack(request: Request<B>): void {
    this.#landed(request);
    request.worker = undefined;
    if (request.size < 0) request.size = this.#shell.size(request.body);
    this.#enqueue(request, "head");
    this.#schedule(request, request.expiresAt);
  }

  // ---- workers' lives ----

  /** The request that a worker's answer is for; if it holds none such, it is dealt with. */
  #answered(
    worker: string,
    dialect: Dialect,
    key: string | Id,
    now: number,
  ): Request<B> | undefined {
    const known = this.#workers.get(worker);
    if (known === undefined) {
      this.#unknown(worker, dialect, true);
      return undefined;
    }
    known.heardAt = now;
    const request = this.#heldBy(known, key);
    if (request === undefined) {
      this.#end(known, "violation", now, "an answer to a request that it does not hold");
    } else known.spoiltAt = Infinity;
    return request;
  }

  /** What a worker holds by this name: a token, or in RFC 18 the address of the client. */
  #heldBy(worker: Worker<B>, key: string | Id): Request<B> | undefined {
    if (worker.dialect !== MULTIPLEXED) {
      const request = worker.held.first;
      return request?.client === key ? request : undefined;
    }
    const request = typeof key === "number" ? this.#tokens.get(key) : undefined;
    return request?.worker === worker ? request : undefined;
  }

  #unknown(worker: string, dialect: Dialect, answer: boolean): void {
    this.counters.unknown++;
    if (answer) this.#shell.report({ type: "answer from unknown worker", worker });
    this.#shell.control(worker, dialect, "disconnect");
  }

  /** The worker is no longer one, and others get what it held. */
  #end(worker: Worker<B>, reason: WorkerEnd, now: number, violation?: Violation): void {
    this.#remove(worker, reason, now, violation);
    this.#serve(worker.service, now);
  }

  /** The worker is told so where it may listen, forgotten, its requests back in their queues. */
  #remove(worker: Worker<B>, reason: WorkerEnd, now: number, violation?: Violation): void {
    const { service, held, holding } = worker;
    this.#workers.delete(worker.identity);
    this.#deadlines.cancel(worker);
    if (worker.waiting) {
      service.waiting.remove(worker);
      service.resting--;
    }
    worker.waiting = false;
    if (--service.workers === 0) this.#nameBytes += excessOf(service.name);
    service.credit -= worker.credit;
    const served = service.serving > 0;
    if (worker.credit > 0) service.serving--;
    this.counters.left[reason]++;
    if (reason !== "disconnect" && reason !== "stopped") service.workersLost++;
    if (reason !== "disconnect" && reason !== "gone") {
      this.#shell.control(worker.identity, worker.dialect, "disconnect");
    }
    this.#shell.report({ type: "worker left", worker, reason, violation, held: holding });
    // The last dispatched first, since each goes to the head.
    for (let request; (request = held.last) !== undefined;) {
      this.#release(request, worker);
      this.#recover(request, worker);
    }
    this.#idle--;
    if (served && service.serving === 0) this.#noLongerServed(service, now);
    else if (service.serving === 0 && service.queued > 0 && service.day === undefined) {
      // What it held while it drained came back to a service that nobody serves any more.
      this.#deadlines.schedule(service, now + this.#options.requestExpiry);
    } else this.#forgetIfIdle(service);
  }

  /** When a worker is held for dead if nothing more is heard of it. */
  #diesAt(worker: Worker<B>): number {
    const { heartbeatTimeout, busyWorkerTimeout } = this.#options;
    const mayBeSilent = worker.holding > 0 && !worker.heartbeatsWhenBusy;
    const silentUntil = mayBeSilent
      ? Math.max(worker.heardAt, worker.dispatchedAt) + busyWorkerTimeout
      : worker.heardAt + heartbeatTimeout;
    return Math.max(
      this.#sparedUntil,
      // For a right answer it has the whole time, however long it has worked in silence.
      Math.min(silentUntil, worker.spoiltAt + heartbeatTimeout),
    );
  }

  /**
   * When a worker is sent a heartbeat at the latest, if it is sent nothing else: up to a hundredth of
   * the interval early, so that many workers get theirs together: with 1,000 an idle broker takes 0.8
   * to 0.9 of the CPU.
   */
  #speaksAt({ sentAt }: Worker<B>): number {
    const { heartbeatInterval } = this.#options, step = Math.floor(heartbeatInterval / 100);
    const at = sentAt + heartbeatInterval;
    return step > 1 ? at - at % step : at;
  }

  /**
   * Has the worker checked when it may next need a heartbeat or be dead. What happens in between
   * moves both, mostly to later, and does not touch the calendar: the check then finds nothing
   * to do. It is never too late for the death, since the interval is at most the timeout.
   */
  #watch(worker: Worker<B>): void {
    this.#deadlines.schedule(
      worker,
      Math.min(this.#speaksAt(worker), this.#diesAt(worker)),
    );
  }

  #checkWorker(worker: Worker<B>, now: number): void {
    if (this.#diesAt(worker) <= now) {
      if (worker.spoiltAt === Infinity) return this.#end(worker, "silent", now);
      return this.#end(worker, "violation", now, "an invalid answer, and no other in time");
    }
    if (this.#speaksAt(worker) <= now) {
      worker.sentAt = now;
      this.#shell.control(worker.identity, worker.dialect, "heartbeat");
    }
    this.#watch(worker);
  }

  #checkClient(client: Client<B>, now: number): void {
    const lostAt = Math.max(
      this.#sparedUntil,
      client.heardAt + this.#options.heartbeatTimeout,
    );
    if (lostAt <= now) this.#dropAll(client.identity, "clientGone", now);
    else this.#deadlines.schedule(client, lostAt);
  }

  // ---- expiry ----
  // A request has a deadline of its own for its time to live, and if it comes to a service that
  // nobody serves. When the last worker leaves, one deadline for the service does for all that is
  // queued then.

  #noLongerServed(service: Service<B>, now: number): void {
    service.emptySince = now;
    if (service.queued > 0) this.#deadlines.schedule(service, now + this.#options.requestExpiry);
    else this.#forgetIfIdle(service);
  }

  #checkRequest(request: Request<B>, now: number): void {
    const { service } = request;
    if (request.expiresAt <= now) {
      this.#cancelWork(request, now);
      this.#expire(request, "late");
    } else if (
      request.queue !== undefined && service.serving === 0 &&
      service.emptySince + this.#options.requestExpiry <= now
    ) this.#expire(request, "no worker");
    else return this.#schedule(request, request.expiresAt);
    this.#forgetIfIdle(service);
  }

  #checkService(service: Service<B>, now: number): void {
    const { requestExpiry } = this.#options;
    if (service.serving > 0) return;
    if (service.emptySince + requestExpiry > now) {
      return this.#deadlines.schedule(service, service.emptySince + requestExpiry);
    }
    for (const queue of [...service.queues.values()]) {
      for (let request; (request = queue.requests.first) !== undefined;) {
        if (request.arrivedAt + requestExpiry > now) break;
        this.#expire(request, "no worker");
      }
    }
    this.#forgetIfIdle(service);
  }
}

/** How many bytes of a name count as if they were of a queued body: what is more than usual. */
function excessOf(name: string): number {
  return Math.max(0, name.length - USUAL_NAME);
}

const NO_BACKLOG = { queued: 0, queuedBytes: 0 } as const;

/** What an ERROR of the broker's own says. */
type Notice = [code: number, message: string];

/** What a multiplexed client is told of a refusal, unless by DISCONNECT. */
const REFUSALS: Readonly<Partial<Record<Refusal, Notice>>> = {
  queueFull: [QUEUE_FULL, "Too many requests are queued"],
  clientQueueFull: [QUEUE_FULL, "Too many requests of this client are queued"],
  stopping: [STOPPING, STOPPING_WORDS],
  noWorker: [NO_WORKER, "No worker serves this"],
};

/** What a multiplexed client is told when its request is dropped, unless it knows. */
const DROPS: Readonly<Partial<Record<Drop, Notice>>> = {
  attempts: [WORKER_LOST, "Too many workers were lost with the request"],
  partial: [WORKER_LOST, "The worker was lost after a part of its reply"],
  once: [WORKER_LOST, "The worker was lost with the request"],
};
