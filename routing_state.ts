/**
 * What routing remembers: services, workers, clients and requests, as plain records. The rules
 * by which they change are in `routing.ts`.
 *
 * Identities and names are binary strings, one character a byte. A body is opaque.
 *
 * @module
 */

import { type Dialect, type Id, MULTIPLEXED } from "./commands.ts";
import type { Due } from "./deadlines.ts";
import type { Identified, Ids } from "./ids.ts";
import { type Linked, List } from "./list.ts";
import type { Times } from "./routing_times.ts";

/** A service: it is there while it has workers or requests. */
export class Service<B> implements Due {
  day: Due["day"];
  dueBefore: Due["dueBefore"];
  dueAfter: Due["dueAfter"];
  /** How many workers are registered for it. */
  workers = 0;
  /** How many of them take requests: those that do not drain. */
  serving = 0;
  /** When the last that takes requests left, or the service came to be. */
  emptySince: number;
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
  /** How many workers have room for a request. */
  resting = 0;
  /** How many requests its workers may hold together. */
  credit = 0;
  /** How many they hold that are not over. */
  inFlight = 0;
  // What was counted since the service came to be, as for all services together.
  accepted = 0;
  answered = 0;
  errors = 0;
  expired = 0;
  dropped = 0;
  refused = 0;
  recovered = 0;
  partials = 0;
  /** Workers that left and did not say so. */
  workersLost = 0;
  /**
   * From a request's arrival to its dispatch. Made when the first worker comes: anybody can have
   * a service come to be by asking for it.
   */
  waits: Times | undefined;
  /** From a request's dispatch to its FINAL or ERROR. */
  works: Times | undefined;

  constructor(readonly name: string, now: number) {
    this.emptySince = now;
  }
}

/** The requests of one client that wait for one service, first in, first out. */
export class ClientQueue<B> implements Linked<ClientQueue<B>> {
  previous: ClientQueue<B> | undefined;
  next: ClientQueue<B> | undefined;
  readonly requests: List<Request<B>> = new List();
  /** The one that was put back last. */
  returned: Request<B> | undefined;

  constructor(readonly backlog: Backlog<B>, readonly service: Service<B>) {}

  /** Whose they are. */
  get client(): string {
    return this.backlog.client;
  }
}

/** All that one client has queued; it is there while there is something. */
export class Backlog<B> {
  /** One for each service. */
  readonly queues: Set<ClientQueue<B>> = new Set();
  /** How many requests these have. */
  queued = 0;
  /** How many bytes those have. */
  queuedBytes = 0;

  constructor(readonly client: string) {}
}

/** What a request is sent with, beside its body. */
export interface RequestTerms {
  /** What it is written in, and its reply must be. */
  dialect: Dialect;
  /** Multiplexed: what the client knows it by. */
  id?: Id;
  /** Multiplexed: how long an answer is of use, in ms; 0 is for ever. */
  timeToLive?: number;
  /** Multiplexed: to be refused if no worker serves it now. */
  noWait?: boolean;
  /** Multiplexed: never to be given to a second worker. */
  once?: boolean;
}

/** A request that was accepted. It is queued, held by a worker, or over. */
export class Request<B> implements Linked<Request<B>>, Identified<Request<B>> {
  previous: Request<B> | undefined;
  next: Request<B> | undefined;
  sibling: Request<B> | undefined;
  /** What the reply is written in. */
  readonly dialect: Dialect;
  /** What its client knows it by; 0 in dialects without ids. */
  readonly id: Id;
  /** Never to be given to a second worker. */
  readonly once: boolean;
  /** When its time to live has passed. */
  readonly expiresAt: number;
  /** Its end by itself, if that was ever due: most never are, and take no memory for it. */
  expiry: Expiry<B> | undefined;
  /** The queue that it is in. */
  queue: ClientQueue<B> | undefined;
  /** The worker that holds it, and what that one knows it by in the multiplexed dialect. */
  worker: Worker<B> | undefined;
  token = 0;
  /** Its client's record, in dialects with ids. */
  owner: Client<B> | undefined;
  /** How many bytes it counts for in a queue; known once it was queued. */
  size = -1;
  /** How often it was given to a worker. */
  attempts = 0;
  /** When it was last. */
  dispatchedAt = 0;
  /** Whether a part of the reply was forwarded. */
  begun = false;
  /** Whether it is answered, expired or dropped. A worker may hold it even so, until it ends it. */
  over = false;

  constructor(
    /** Whose it is, and where the reply goes. */
    readonly client: string,
    readonly service: Service<B>,
    terms: RequestTerms,
    readonly body: B,
    /** When it came. */
    readonly arrivedAt: number,
    /** The how many-th that was accepted it is. */
    readonly number: number,
  ) {
    this.dialect = terms.dialect;
    this.id = terms.id ?? 0;
    this.once = terms.once ?? false;
    this.expiresAt = terms.timeToLive ? arrivedAt + terms.timeToLive : Infinity;
  }
}

/** The end of a request whose time has come. */
export class Expiry<B> implements Due {
  day: Due["day"];
  dueBefore: Due["dueBefore"];
  dueAfter: Due["dueAfter"];

  constructor(readonly request: Request<B>) {}
}

/** A client of the multiplexed dialect: it is there while it has requests that are not over. */
export class Client<B> implements Due {
  day: Due["day"];
  dueBefore: Due["dueBefore"];
  dueAfter: Due["dueAfter"];
  /** Its requests by its own ids. */
  readonly requests: Ids<Request<B>>;
  /** When it was last heard. */
  heardAt: number;
  /** Whether it has sent a heartbeat. */
  heartbeats = false;

  constructor(readonly identity: string, requests: Ids<Request<B>>, now: number) {
    this.requests = requests;
    this.heardAt = now;
  }
}

/** A registered worker. */
export class Worker<B> implements Due, Linked<Worker<B>> {
  day: Due["day"];
  dueBefore: Due["dueBefore"];
  dueAfter: Due["dueAfter"];
  previous: Worker<B> | undefined;
  next: Worker<B> | undefined;
  /** The requests that it holds, in the order in which it got them. */
  readonly held: List<Request<B>> = new List();
  /** How many these are. */
  holding = 0;
  /** Whether it has room, and so is in its service's list of those that wait. */
  waiting = false;
  /** When it was last heard. */
  heardAt: number;
  /** When it was last sent something. */
  sentAt: number;
  /** When it was last given a request. */
  dispatchedAt = 0;
  /** Whether it heartbeats while it holds a request, as far as is known. */
  heartbeatsWhenBusy: boolean;
  /** Whether that is known of one heartbeat only, which may have been sent before the request came. */
  mayHaveCrossed = false;
  /** When it answered with what is no answer, if it has not answered since. */
  spoiltAt = Infinity;

  constructor(
    readonly identity: string,
    readonly dialect: Dialect,
    readonly service: Service<B>,
    /** How many requests it may hold at once. RFC 18: one. */
    public credit: number,
    /** When it registered. */
    readonly registeredAt: number,
    /** Where it connects from, if that is known. */
    readonly address?: string,
  ) {
    this.heardAt = this.sentAt = registeredAt;
    this.heartbeatsWhenBusy = dialect === MULTIPLEXED;
  }
}
