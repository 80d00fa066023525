/**
 * What routing and its shell say to each other: what routing has sent, what it tells an operator,
 * what it counts, and the rules that can be set.
 *
 * @module
 */

import type { Dialect, Id } from "./commands.ts";
import type { Request, Worker } from "./routing_state.ts";

/**
 * What routing has its shell do. Identities and names are binary strings.
 *
 * What is to be sent may be sent later, in order: to send many messages at once costs half of
 * what it costs to send them one by one. What could then not be sent the shell says by
 * `Routing.unsent`.
 */
export interface Shell<B> {
  /**
   * Sends a request to a worker. The body stays routing's: it may have to be sent again.
   *
   * @param timeToLive How long the answer is of use, in ms; 0 is for ever.
   */
  dispatch(worker: Worker<B>, request: Request<B>, timeToLive: number): void;
  /** Sends a HEARTBEAT or DISCONNECT to a worker, or to a peer that holds itself for one. */
  control(worker: string, dialect: Dialect, command: "heartbeat" | "disconnect"): void;
  /** Sends a CANCEL for a request to the worker that holds it. Multiplexed. */
  cancel(worker: Worker<B>, request: Request<B>): void;
  /** Sends a part of a reply to the client of a request. The body is the shell's from here on. */
  reply(request: Request<B>, command: "partial" | "final", body: B): void;
  /** Sends a worker's ERROR to the client of a request, likewise. Multiplexed. */
  fail(request: Request<B>, code: number, body: B): void;
  /** Sends an ERROR of the broker's own to a client. Multiplexed. */
  error(client: string, id: Id, code: number, message: string): void;
  /** Sends a HEARTBEAT or DISCONNECT to a client. Multiplexed. */
  controlClient(client: string, command: "heartbeat" | "disconnect"): void;
  /** Sends a FINAL with a body of one frame, from the broker itself. RFC 8. */
  answer(client: string, dialect: Dialect, id: Id, service: string, text: string): void;
  /**
   * The first frame of a body as a binary string; empty if there is none, and if it is longer than a
   * service's name can be another such name.
   */
  read(body: B): string;
  /** How many bytes a body has. */
  size(body: B): number;
  /** Has a body take no more memory than its own, since it is going to wait. */
  detach(body: B): void;
  /** Lets go of a body that routing was given. */
  discard(body: B): void;
  /** Tells of something that an operator may want to know. Not called for every message. */
  report(event: RoutingEvent<B>): void;
}

/**
 * What a message was, for the case that it could not be sent.
 *
 * - `request`: to a worker
 * - `partial`, `final`, `error`: a worker's, to the request's client
 * - `notice`: the broker's own, which a client must not miss
 * - `control`: a HEARTBEAT, or what is of no use to a peer that is gone
 */
export type Message = "request" | "partial" | "final" | "error" | "notice" | "control";

/** A message that could not be sent. */
export interface Unsent<B> {
  /** Who should have got it. */
  peer: string;
  what: Message;
  /** The request that it, or the reply in it, is; for the first four. */
  request: Request<B> | undefined;
  /** The peer takes no more just now, or is gone. */
  why: "full" | "unreachable";
}

/**
 * Why a worker is no longer one.
 *
 * - `disconnect`: it sent DISCONNECT
 * - `gone`: its connection is gone
 * - `silent`: it was silent for the timeout
 * - `violation`: it sent READY again, an answer to a request that it does not hold, or, in the
 *   multiplexed dialect, an invalid message; or, in the others, an invalid answer and no other in
 *   time
 * - `full`: it does not take what it is sent
 * - `stopped`: the broker stopped
 */
export type WorkerEnd = "disconnect" | "gone" | "silent" | "violation" | "full" | "stopped";

/** Which violation it was, in words. */
export type Violation =
  | "READY again"
  | "CREDIT in another dialect"
  | "an answer to a request that it does not hold"
  | "an invalid message"
  | "an invalid answer, and no other in time";

/**
 * Why a request was not accepted.
 *
 * - `queueFull`: too many requests or bytes wait, for the service or in all
 * - `clientQueueFull`: too many requests or bytes of this client wait
 * - `stopping`: the broker is stopping
 * - `noWorker`: no worker serves it, and it was not to wait (NOWAIT)
 * - `duplicate`: its id is in flight already
 * - `clientFull`: its client had not taken what it was sent, and was told DISCONNECT
 */
export type Refusal =
  | "queueFull"
  | "clientQueueFull"
  | "stopping"
  | "noWorker"
  | "duplicate"
  | "clientFull";

/**
 * Why a request that was accepted has no answer.
 *
 * - `attempts`: one worker after the other was lost with it
 * - `partial`: its worker was lost after a part of the reply had been forwarded
 * - `once`: its worker was lost, and it was not to be given to another (ONCE)
 * - `failed`: its worker answered ERROR, which its client's dialect does not have
 * - `cancelled`: its client cancelled it, or disconnected
 * - `clientGone`: its client is gone
 * - `clientFull`: its client does not take what it is sent
 * - `stopped`: the broker stopped
 */
export type Drop =
  | "attempts"
  | "partial"
  | "once"
  | "failed"
  | "cancelled"
  | "clientGone"
  | "clientFull"
  | "stopped";

/**
 * What routing tells of. Those of the second half happen to every request, and are told only
 * while somebody listens: see `Routing.isObserved`.
 */
export type RoutingEvent<B> =
  | { type: "worker joined"; worker: Worker<B> }
  | {
    type: "worker left";
    worker: Worker<B>;
    reason: WorkerEnd;
    violation: Violation | undefined;
    held: number;
  }
  | { type: "worker refused"; worker: string; service: string }
  | { type: "request refused"; client: string; service: string; reason: Refusal }
  | { type: "request recovered"; request: Request<B>; worker: Worker<B> }
  | { type: "request expired"; request: Request<B>; reason: "no worker" | "late" }
  | { type: "request dropped"; request: Request<B>; reason: Drop }
  | { type: "answer from unknown worker"; worker: string }
  | { type: "request accepted"; request: Request<B> }
  | { type: "request dispatched"; request: Request<B> }
  | { type: "request answered"; request: Request<B>; code: number | undefined; now: number };

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
  maxClientQueue: number;
  maxClientQueueBytes: number;
}

/** What was counted since the start. */
export interface RoutingCounters {
  /**
   * Valid commands that came, by kind; `gone` are connections that ended, `clientHeartbeat` and
   * `clientDisconnect` those of clients.
   */
  received: Record<
    | "request"
    | "cancel"
    | "clientHeartbeat"
    | "clientDisconnect"
    | "ready"
    | "partial"
    | "final"
    | "error"
    | "credit"
    | "heartbeat"
    | "disconnect"
    | "gone",
    number
  >;
  /** Requests accepted, to be queued or dispatched. Those for `mmi.*` are not among them. */
  accepted: number;
  /** Requests whose FINAL or ERROR, from their worker, was sent to their client. */
  answered: number;
  /** Those of them that were answered by ERROR. */
  errors: number;
  /** PARTIALs sent to clients. */
  partials: number;
  /** Requests not accepted. */
  refused: Record<Refusal, number>;
  /** Requests whose time to live passed, or that waited too long for a worker to come. */
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

/** All at zero. */
export function newCounters(): RoutingCounters {
  return {
    received: {
      request: 0,
      cancel: 0,
      clientHeartbeat: 0,
      clientDisconnect: 0,
      ready: 0,
      partial: 0,
      final: 0,
      error: 0,
      credit: 0,
      heartbeat: 0,
      disconnect: 0,
      gone: 0,
    },
    accepted: 0,
    answered: 0,
    errors: 0,
    partials: 0,
    refused: {
      queueFull: 0,
      clientQueueFull: 0,
      stopping: 0,
      noWorker: 0,
      duplicate: 0,
      clientFull: 0,
    },
    expired: 0,
    dispatched: 0,
    recovered: 0,
    dropped: {
      attempts: 0,
      partial: 0,
      once: 0,
      failed: 0,
      cancelled: 0,
      clientGone: 0,
      clientFull: 0,
      stopped: 0,
    },
    mmi: 0,
    joined: 0,
    reserved: 0,
    left: { disconnect: 0, gone: 0, silent: 0, violation: 0, full: 0, stopped: 0 },
    unknown: 0,
  };
}
