/**
 * The broker's rules: services, workers, queues, expiry, heartbeats and MMI, as a state machine
 * that neither reads a clock nor touches a socket. It is told what came and what time it is, and
 * has its {@linkcode Shell} send what is to be sent.
 *
 * A worker, as RFC 18 sees it:
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
 * A request:
 *
 * ```text
 *   REQUEST ──► queued ◄────────────────► in flight ──► answered
 *      │          │      dispatched,          │
 *      ▼          ▼      recovered            ▼
 *   refused    expired                     dropped
 * ```
 *
 * Identities and names are binary strings, one character a byte. A body is a value that is only
 * handed on. All of it is O(1) for each message, and the cost of time is O(what is due).
 *
 * @module
 */

import { type Dialect, MAJORTOMO } from "./codec.ts";
import { Deadlines, type Due } from "./deadlines.ts";
import { type Linked, List } from "./list.ts";

/** What became of a message that the shell was to send. */
export type Sent = "sent" | "full" | "unreachable";

/** What routing has its shell do. */
export interface Shell<B> {
  /**
   * Sends a request to a worker. The body stays routing's: it may have to be sent again.
   * RFC 18: REQUEST.
   */
  dispatch(worker: Worker<B>, request: Request<B>): Sent;
  /** Sends a HEARTBEAT or DISCONNECT to a worker, or to a peer that holds itself for one. */
  control(worker: string, dialect: Dialect, command: "heartbeat" | "disconnect"): Sent;
  /** Sends a part of a reply to the client of a request. RFC 18: PARTIAL, FINAL. */
  reply(request: Request<B>, command: "partial" | "final", body: B): Sent;
  /** Sends a FINAL with a body of one frame, from the broker itself. RFC 8. */
  answer(client: string, dialect: Dialect, service: string, text: string): Sent;
  /** The first frame of a body as a binary string; empty if there is none. */
  read(body: B): string;
  /** How many bytes a body has. */
  size(body: B): number;
  /** Lets go of a body that routing was given. */
  discard(body: B): void;
  /** Tells of something that an operator may want to know. Not called for every message. */
  report(event: RoutingEvent): void;
}

/** Why a worker is no longer one. */
export type WorkerEnd =
  /** It sent DISCONNECT. */
  | "disconnect"
  /** Its connection is gone. */
  | "gone"
  /** It was silent for the timeout. */
  | "silent"
  /** It sent READY again, or an answer to a request that it does not hold. */
  | "violation"
  /** It does not take what it is sent. */
  | "full"
  /** The broker stopped. */
  | "stopped";

/** Why a request was not accepted. */
export type Refusal =
  /** Too many requests or bytes wait, for the service or in all. */
  | "queueFull"
  /** The broker is stopping. */
  | "stopping";

/** Why a request that was accepted has no answer. */
export type Drop =
  /** One worker after the other was lost with it. */
  | "attempts"
  /** Its worker was lost after a part of the reply had been forwarded. */
  | "partial"
  /** Its client is gone. */
  | "clientGone"
  /** Its client does not take what it is sent. */
  | "clientFull"
  /** The broker stopped. */
  | "stopped";

/** What routing tells an operator. */
export type RoutingEvent =
  | { type: "worker joined"; worker: string; service: string }
  | { type: "worker left"; worker: string; service: string; reason: WorkerEnd; held: number }
  | { type: "worker refused"; worker: string; service: string }
  | { type: "request refused"; client: string; service: string; reason: Refusal }
  | { type: "request recovered"; client: string; service: string; attempts: number }
  | { type: "request expired"; client: string; service: string }
  | { type: "request dropped"; client: string; service: string; reason: Drop }
  | { type: "answer from unknown worker"; worker: string };

/** The rules that can be set. Durations are in milliseconds, `Infinity` is for ever. */
export interface RoutingOptions {
  heartbeatInterval: number;
  heartbeatTimeout: number;
  busyWorkerTimeout: number;
  requestExpiry: number;
  maxAttempts: number;
  maxQueue: number;
  maxQueueBytes: number;
  maxTotalQueue: number;
  maxTotalQueueBytes: number;
}

/** What was counted since the start. */
export interface RoutingCounters {
  /** Commands that came, by kind; `gone` are connections that ended. */
  received: Record<
    "request" | "ready" | "partial" | "final" | "heartbeat" | "disconnect" | "gone",
    number
  >;
  /** Requests accepted, to be queued or dispatched. Those for `mmi.*` are not among them. */
  accepted: number;
  /** Requests whose FINAL was sent to their client. */
  answered: number;
  /** PARTIALs sent to clients. */
  partials: number;
  /** Requests not accepted. */
  refused: Record<Refusal, number>;
  /** Requests that waited too long for a service without workers. */
  expired: number;
  /** Times that a request was given to a worker. */
  dispatched: number;
  /** Times that a lost worker's request was put back into its queue. */
  recovered: number;
  /** Requests accepted and given up. */
  dropped: Record<Drop, number>;
  /** Requests for `mmi.*` that the broker answered itself. */
  mmi: number;
  /** READYs that registered a worker. */
  joined: number;
  /** READYs refused, since the name is reserved. */
  reserved: number;
  /** Workers that are no longer registered. */
  left: Record<WorkerEnd, number>;
  /** Commands from peers that are no registered workers. */
  unknown: number;
}

/** A service: it is there while it has workers or requests. */
export class Service<B> implements Due {
  day: Due["day"];
  /** How many workers are registered for it. */
  workers = 0;
  /** When its last worker left, or the first request came. */
  emptySince = 0;
  /** Workers with room for a request, the least recently used first. */
  readonly waiting: List<Worker<B>> = new List();
  /** Clients with requests queued, in whose turn they are. */
  readonly turns: List<ClientQueue<B>> = new List();
  /** The same by client. */
  readonly queues: Map<string, ClientQueue<B>> = new Map();
  /** How many requests are queued. */
  queued = 0;
  /** How many bytes these have. */
  queuedBytes = 0;
  /** @param name Its name. */
  constructor(readonly name: string) {}
}

/** The requests of one client that wait for one service, first in, first out. */
class ClientQueue<B> implements Linked<ClientQueue<B>> {
  previous: ClientQueue<B> | undefined;
  next: ClientQueue<B> | undefined;
  readonly requests: List<Request<B>> = new List();
  constructor(readonly client: string, readonly service: Service<B>) {}
}

/** A request that was accepted. */
export class Request<B> implements Due, Linked<Request<B>> {
  day: Due["day"];
  previous: Request<B> | undefined;
  next: Request<B> | undefined;
  /** How many bytes it counts for in a queue; known once it was queued. */
  size = -1;
  /** How often it was given to a worker. */
  attempts = 0;
  /** Whether a part of the reply was forwarded. */
  begun = false;
  /** Why its reply does not reach the client, once that is known: no more of it is sent. */
  lost: "clientGone" | "clientFull" | undefined;
  constructor(
    /** Whose it is, and where the reply goes. */
    readonly client: string,
    /** What the reply is written in. */
    readonly dialect: Dialect,
    readonly service: Service<B>,
    readonly body: B,
    /** When it came. */
    readonly arrivedAt: number,
  ) {}
}

/** A registered worker. */
export class Worker<B> implements Due, Linked<Worker<B>> {
  day: Due["day"];
  previous: Worker<B> | undefined;
  next: Worker<B> | undefined;
  /** How many requests it may hold at once. RFC 18: one. */
  readonly credit = 1;
  /** The requests that it holds, by what it names them with. RFC 18: the client's address. */
  readonly held: Map<string, Request<B>> = new Map();
  /** When it was last heard. */
  heardAt: number;
  /** When it was last sent something. */
  sentAt: number;
  /** When it was last given a request. */
  dispatchedAt = 0;
  /** Whether it has ever sent a heartbeat while it held a request. */
  heartbeatsWhenBusy = false;
  constructor(
    readonly id: string,
    readonly dialect: Dialect,
    readonly service: Service<B>,
    now: number,
  ) {
    this.heardAt = this.sentAt = now;
  }
}

type Timed<B> = Worker<B> | Request<B> | Service<B>;

/** What names of services that the broker answers itself begin with. RFC 8. */
const RESERVED = "mmi.";
/**
 * A worker of majortomo's cannot heartbeat while it works, but one that it sent just before it
 * got the request arrives just after: within this, in ms, it says nothing about a busy worker.
 */
const CROSSING = 250;

/** The state machine of one broker. */
export class Routing<B> {
  readonly #shell: Shell<B>;
  #options: RoutingOptions;
  readonly #services = new Map<string, Service<B>>();
  readonly #workers = new Map<string, Worker<B>>();
  /** Queues by client, so that what a client has queued goes when its connection does. */
  readonly #queuesOf = new Map<string, Set<ClientQueue<B>>>();
  readonly #deadlines = new Deadlines<Timed<B>>();
  #stopping = false;
  #queued = 0;
  #queuedBytes = 0;
  #inFlight = 0;
  readonly #mmi: ReadonlyMap<string, (body: B) => string> = new Map([
    ["mmi.service", (body: B) => this.#serves(this.#shell.read(body)) ? "200" : "404"],
  ]);
  /** What was counted since the start. */
  readonly counters: RoutingCounters = {
    received: { request: 0, ready: 0, partial: 0, final: 0, heartbeat: 0, disconnect: 0, gone: 0 },
    accepted: 0,
    answered: 0,
    partials: 0,
    refused: { queueFull: 0, stopping: 0 },
    expired: 0,
    dispatched: 0,
    recovered: 0,
    dropped: { attempts: 0, partial: 0, clientGone: 0, clientFull: 0, stopped: 0 },
    mmi: 0,
    joined: 0,
    reserved: 0,
    left: { disconnect: 0, gone: 0, silent: 0, violation: 0, full: 0, stopped: 0 },
    unknown: 0,
  };

  constructor(shell: Shell<B>, options: RoutingOptions) {
    this.#shell = shell;
    this.#options = options;
  }

  /** Requests that wait for a worker. */
  get queued(): number {
    return this.#queued;
  }

  /** The bytes that they have. */
  get queuedBytes(): number {
    return this.#queuedBytes;
  }

  /** Requests that a worker holds. */
  get inFlight(): number {
    return this.#inFlight;
  }

  /** The services that have workers or requests. */
  get services(): ReadonlyMap<string, Service<B>> {
    return this.#services;
  }

  /** The registered workers, by identity. */
  get workers(): ReadonlyMap<string, Worker<B>> {
    return this.#workers;
  }

  /** When `elapse` has something to do next; `Infinity` if it has not. */
  nextDeadline(): number {
    return this.#deadlines.next();
  }

  // ---- what clients send ----

  /** REQUEST. From here on the body is routing's. */
  request(client: string, dialect: Dialect, service: string, body: B, now: number): void {
    this.counters.received.request++;
    if (service.startsWith(RESERVED)) return this.#askBroker(client, dialect, service, body);
    if (this.#stopping) return this.#refuse(client, service, body, "stopping");
    const found = this.#services.get(service);
    const worker = found?.waiting.first;
    if (found !== undefined && worker !== undefined) {
      // A service has no queue while a worker waits, so nobody is overtaken.
      const request = new Request(client, dialect, found, body, now);
      this.counters.accepted++;
      if (!this.#dispatch(request, worker, now)) this.#serve(found, now);
      return;
    }
    const size = this.#shell.size(body);
    const { maxQueue, maxQueueBytes, maxTotalQueue, maxTotalQueueBytes } = this.#options;
    if (
      (found?.queued ?? 0) + 1 > maxQueue || (found?.queuedBytes ?? 0) + size > maxQueueBytes ||
      this.#queued + 1 > maxTotalQueue || this.#queuedBytes + size > maxTotalQueueBytes
    ) return this.#refuse(client, service, body, "queueFull");
    const request = new Request(
      client,
      dialect,
      found ?? this.#addService(service, now),
      body,
      now,
    );
    request.size = size;
    this.counters.accepted++;
    this.#enqueue(request, "tail");
    if (request.service.workers === 0) {
      this.#deadlines.schedule(request, now + this.#options.requestExpiry);
    }
  }

  // ---- what workers send ----

  /** READY. */
  ready(id: string, dialect: Dialect, service: string, now: number): void {
    this.counters.received.ready++;
    const known = this.#workers.get(id);
    if (known !== undefined) return this.#end(known, "violation", now);
    if (service.startsWith(RESERVED)) {
      this.counters.reserved++;
      this.#shell.report({ type: "worker refused", worker: id, service });
      this.#shell.control(id, dialect, "disconnect");
      return;
    }
    const found = this.#services.get(service) ?? this.#addService(service, now);
    const worker = new Worker(id, dialect, found, now);
    this.#workers.set(id, worker);
    found.workers++;
    found.waiting.push(worker);
    this.counters.joined++;
    this.#watch(worker);
    this.#shell.report({ type: "worker joined", worker: id, service });
    this.#serve(found, now);
  }

  /** PARTIAL or FINAL. The body stays the caller's, as the shell left it. */
  reply(
    id: string,
    dialect: Dialect,
    command: "partial" | "final",
    client: string,
    body: B,
    now: number,
  ): void {
    this.counters.received[command]++;
    const worker = this.#workers.get(id);
    if (worker === undefined) return this.#unknown(id, dialect, "answer");
    worker.heardAt = now;
    const request = worker.held.get(client);
    if (request === undefined) return this.#end(worker, "violation", now);
    if (request.lost === undefined) {
      const sent = this.#shell.reply(request, command, body);
      if (sent === "unreachable") request.lost = "clientGone";
      else if (sent === "full") request.lost = "clientFull";
    }
    if (command === "partial") {
      if (request.lost !== undefined) return;
      request.begun = true;
      this.counters.partials++;
      return;
    }
    if (worker.held.size === worker.credit) worker.service.waiting.push(worker);
    worker.held.delete(client);
    this.#inFlight--;
    if (request.lost === undefined) {
      this.counters.answered++;
      this.#shell.discard(request.body);
    } else this.#drop(request, request.lost);
    this.#serve(worker.service, now);
  }

  /** HEARTBEAT. */
  heartbeat(id: string, dialect: Dialect, now: number): void {
    this.counters.received.heartbeat++;
    const worker = this.#workers.get(id);
    if (worker === undefined) return this.#unknown(id, dialect, "heartbeat");
    worker.heardAt = now;
    if (worker.held.size === 0) return;
    if (worker.dialect === MAJORTOMO && now - worker.dispatchedAt < CROSSING) return;
    worker.heartbeatsWhenBusy = true;
  }

  /** DISCONNECT. */
  disconnect(id: string, now: number): void {
    this.counters.received.disconnect++;
    const worker = this.#workers.get(id);
    if (worker !== undefined) this.#end(worker, "disconnect", now);
  }

  // ---- what happens by itself ----

  /** A peer's connection is gone. */
  gone(id: string, now: number): void {
    this.counters.received.gone++;
    const worker = this.#workers.get(id);
    if (worker !== undefined) this.#end(worker, "gone", now);
    // An identity that libzmq made begins with a zero byte and never comes back; one that the
    // peer chose may come back for its replies.
    if (id.charCodeAt(0) !== 0) return;
    for (const queue of this.#queuesOf.get(id) ?? []) {
      for (let request; (request = queue.requests.first) !== undefined;) {
        this.#dequeue(request, queue);
        this.#drop(request, "clientGone");
      }
      this.#forgetIfIdle(queue.service);
    }
  }

  /** Time has passed: does all that is due. */
  elapse(now: number): void {
    for (let item; (item = this.#deadlines.take(now)) !== undefined;) {
      if (item instanceof Worker) this.#checkWorker(item, now);
      else if (item instanceof Request) this.#checkRequest(item, now);
      else this.#checkService(item, now);
    }
  }

  /** Takes no new requests from now on; what is queued and in flight goes on. */
  stop(): void {
    this.#stopping = true;
  }

  /** Ends all there is: DISCONNECT to all workers, requests dropped. */
  end(now: number): void {
    this.#stopping = true;
    for (const service of [...this.#services.values()]) {
      for (let queue; (queue = service.turns.first) !== undefined;) {
        const request = queue.requests.first!;
        this.#dequeue(request, queue);
        this.#drop(request, "stopped");
      }
    }
    for (const worker of [...this.#workers.values()]) this.#end(worker, "stopped", now);
    this.#services.clear();
  }

  /** Puts other rules in force, for all that comes from now on. */
  configure(options: RoutingOptions): void {
    this.#options = options;
  }

  // ---- MMI, RFC 8 ----

  #askBroker(client: string, dialect: Dialect, service: string, body: B): void {
    this.counters.mmi++;
    const text = this.#mmi.get(service)?.(body) ?? "501";
    this.#shell.discard(body);
    this.#shell.answer(client, dialect, service, text);
  }

  #serves(name: string): boolean {
    return this.#mmi.has(name) || (this.#services.get(name)?.workers ?? 0) > 0;
  }

  // ---- queues and dispatch ----

  #addService(name: string, now: number): Service<B> {
    const service = new Service<B>(name);
    service.emptySince = now;
    this.#services.set(name, service);
    return service;
  }

  #enqueue(request: Request<B>, where: "head" | "tail"): void {
    const { service, client } = request;
    let queue = service.queues.get(client);
    if (queue === undefined) {
      queue = new ClientQueue(client, service);
      service.queues.set(client, queue);
      const queues = this.#queuesOf.get(client);
      if (queues === undefined) this.#queuesOf.set(client, new Set([queue]));
      else queues.add(queue);
      if (where === "head") service.turns.unshift(queue);
      else service.turns.push(queue);
    } else if (where === "head") {
      service.turns.remove(queue);
      service.turns.unshift(queue);
    }
    if (where === "head") queue.requests.unshift(request);
    else queue.requests.push(request);
    service.queued++;
    service.queuedBytes += request.size;
    this.#queued++;
    this.#queuedBytes += request.size;
  }

  #dequeue(request: Request<B>, queue: ClientQueue<B>): void {
    const { service } = queue;
    this.#deadlines.cancel(request);
    queue.requests.remove(request);
    service.queued--;
    service.queuedBytes -= request.size;
    this.#queued--;
    this.#queuedBytes -= request.size;
    if (queue.requests.first !== undefined) return;
    service.turns.remove(queue);
    service.queues.delete(queue.client);
    const queues = this.#queuesOf.get(queue.client)!;
    queues.delete(queue);
    if (queues.size === 0) this.#queuesOf.delete(queue.client);
  }

  /** Dispatches what is queued for a service while it has workers with room. */
  #serve(service: Service<B>, now: number): void {
    for (let queue; (queue = service.turns.first) !== undefined;) {
      const worker = service.waiting.first;
      if (worker === undefined) return;
      const request = queue.requests.first!;
      this.#dequeue(request, queue);
      if (this.#dispatch(request, worker, now) && queue.requests.first !== undefined) {
        // The next client's turn.
        service.turns.remove(queue);
        service.turns.push(queue);
      }
    }
  }

  /** False if the worker was lost with it: then the request is queued again. */
  #dispatch(request: Request<B>, worker: Worker<B>, now: number): boolean {
    const { service } = worker;
    service.waiting.remove(worker);
    const sent = this.#shell.dispatch(worker, request);
    if (sent === "sent") {
      request.attempts++;
      worker.held.set(request.client, request);
      if (worker.held.size < worker.credit) service.waiting.push(worker);
      worker.sentAt = worker.dispatchedAt = now;
      this.#inFlight++;
      this.counters.dispatched++;
      return true;
    }
    // It never got there, so it is no attempt. The queue's bounds do not hold for it, since it
    // was accepted.
    if (request.size < 0) request.size = this.#shell.size(request.body);
    this.#enqueue(request, "head");
    service.waiting.push(worker);
    this.#remove(worker, sent === "full" ? "full" : "gone", now);
    return false;
  }

  #refuse(client: string, service: string, body: B, reason: Refusal): void {
    this.counters.refused[reason]++;
    this.#shell.discard(body);
    this.#shell.report({ type: "request refused", client, service, reason });
  }

  #drop(request: Request<B>, reason: Drop): void {
    this.counters.dropped[reason]++;
    this.#shell.discard(request.body);
    const { client, service } = request;
    this.#shell.report({ type: "request dropped", client, service: service.name, reason });
  }

  #expire(request: Request<B>, queue: ClientQueue<B>): void {
    this.#dequeue(request, queue);
    this.counters.expired++;
    this.#shell.discard(request.body);
    const { client, service } = request;
    this.#shell.report({ type: "request expired", client, service: service.name });
  }

  /** Takes back the request of a worker that was lost. */
  #recover(request: Request<B>): void {
    this.#inFlight--;
    if (request.lost !== undefined) return this.#drop(request, request.lost);
    if (request.begun) return this.#drop(request, "partial");
    if (request.attempts >= this.#options.maxAttempts) return this.#drop(request, "attempts");
    if (request.size < 0) request.size = this.#shell.size(request.body);
    this.#enqueue(request, "head");
    this.counters.recovered++;
    const { client, service, attempts } = request;
    this.#shell.report({ type: "request recovered", client, service: service.name, attempts });
  }

  // ---- workers' lives ----

  #unknown(id: string, dialect: Dialect, what: "answer" | "heartbeat"): void {
    this.counters.unknown++;
    if (what === "answer") this.#shell.report({ type: "answer from unknown worker", worker: id });
    this.#shell.control(id, dialect, "disconnect");
  }

  /** The worker is no longer one, and others get what it held. */
  #end(worker: Worker<B>, reason: WorkerEnd, now: number): void {
    this.#remove(worker, reason, now);
    this.#serve(worker.service, now);
  }

  /** The worker is told so where it may listen, forgotten, its requests back in their queues. */
  #remove(worker: Worker<B>, reason: WorkerEnd, now: number): void {
    const { service, held } = worker;
    this.#workers.delete(worker.id);
    this.#deadlines.cancel(worker);
    if (held.size < worker.credit) service.waiting.remove(worker);
    service.workers--;
    this.counters.left[reason]++;
    if (reason !== "disconnect" && reason !== "gone") {
      this.#shell.control(worker.id, worker.dialect, "disconnect");
    }
    this.#shell.report({
      type: "worker left",
      worker: worker.id,
      service: service.name,
      reason,
      held: held.size,
    });
    const requests = [...held.values()].reverse();
    held.clear();
    for (const request of requests) {
      if (reason === "stopped") {
        this.#inFlight--;
        this.#drop(request, "stopped");
      } else this.#recover(request);
    }
    if (service.workers > 0) return;
    service.emptySince = now;
    if (service.queued === 0) this.#forgetIfIdle(service);
    else this.#deadlines.schedule(service, now + this.#options.requestExpiry);
  }

  #forgetIfIdle(service: Service<B>): void {
    if (service.workers > 0 || service.queued > 0) return;
    this.#deadlines.cancel(service);
    this.#services.delete(service.name);
  }

  /** When a worker is held for dead if nothing more is heard of it. */
  #diesAt(worker: Worker<B>): number {
    const { heartbeatTimeout, busyWorkerTimeout } = this.#options;
    return worker.held.size > 0 && !worker.heartbeatsWhenBusy
      ? Math.max(worker.heardAt, worker.dispatchedAt) + busyWorkerTimeout
      : worker.heardAt + heartbeatTimeout;
  }

  /**
   * Has the worker checked when it may next need a heartbeat or be dead. What happens in between
   * moves both, mostly to later, and does not touch the calendar: the check then finds nothing
   * to do. It is never too late for the death, since the interval is at most the timeout.
   */
  #watch(worker: Worker<B>): void {
    this.#deadlines.schedule(
      worker,
      Math.min(worker.sentAt + this.#options.heartbeatInterval, this.#diesAt(worker)),
    );
  }

  #checkWorker(worker: Worker<B>, now: number): void {
    if (this.#diesAt(worker) <= now) return this.#end(worker, "silent", now);
    if (worker.sentAt + this.#options.heartbeatInterval <= now) {
      worker.sentAt = now;
      const sent = this.#shell.control(worker.id, worker.dialect, "heartbeat");
      if (sent === "unreachable") return this.#end(worker, "gone", now);
    }
    this.#watch(worker);
  }

  // ---- expiry ----
  // A request that comes to a service without workers has a deadline of its own. When the last
  // worker leaves, one deadline for the service does for all that is queued then.

  #checkRequest(request: Request<B>, now: number): void {
    const { service } = request;
    if (service.workers > 0 || service.emptySince + this.#options.requestExpiry > now) return;
    this.#expire(request, service.queues.get(request.client)!);
    this.#forgetIfIdle(service);
  }

  #checkService(service: Service<B>, now: number): void {
    const { requestExpiry } = this.#options;
    if (service.workers > 0) return;
    if (service.emptySince + requestExpiry > now) {
      return this.#deadlines.schedule(service, service.emptySince + requestExpiry);
    }
    for (const queue of [...service.queues.values()]) {
      for (let request; (request = queue.requests.first) !== undefined;) {
        if (request.arrivedAt + requestExpiry > now) break;
        this.#expire(request, queue);
      }
    }
    this.#forgetIfIdle(service);
  }
}
