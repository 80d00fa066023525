/**
 * What a broker tells of itself in numbers: in all, by service and by worker.
 *
 * @module
 */

import type { DialectName } from "./codec.ts";
import type { Content } from "./content.ts";
import type { ProtocolErrorKind } from "./errors.ts";
import { hexOf, textOf } from "./names.ts";
import type { Routing, RoutingCounters, Service, Worker } from "./routing.ts";
import { type Histogram, noTimes } from "./routing_times.ts";
import type { Traffic } from "./zmq/socket.ts";

/**
 * What a broker has counted since it was made, and what it holds now. At every moment
 * `accepted = answered + expired + (all of dropped) + queued + inFlight`.
 */
export interface BrokerStats {
  /** How long ago it was bound, in ms; 0 before. */
  uptime: number;
  /** Commands received, by kind; `gone` are connections that ended. */
  received: RoutingCounters["received"];
  /** Messages that are not MDP 0.2, by what is wrong with them. They were dropped. */
  invalid: Record<ProtocolErrorKind, number>;
  /** Requests accepted, to be queued or dispatched. Those for `mmi.*` are not among them. */
  accepted: number;
  /** Requests whose FINAL or ERROR, from their worker, was sent to their client. */
  answered: number;
  /** Those of them that were answered by ERROR. */
  errors: number;
  /** PARTIALs sent to clients. */
  partials: number;
  /** Requests not accepted, by reason. */
  refused: RoutingCounters["refused"];
  /** Requests whose time to live passed, or that waited too long for a worker to come. */
  expired: number;
  /** Times that a request was given to a worker. */
  dispatched: number;
  /** Times that a lost worker's request was put back into its queue. */
  recovered: number;
  /** Requests accepted and given up, by reason. */
  dropped: RoutingCounters["dropped"];
  /** Requests for `mmi.*` that the broker answered itself. */
  mmi: number;
  /** Commands from peers that are no registered workers. */
  unknown: number;
  /** Requests that wait for a worker. */
  queued: number;
  /** How many bytes of body they have. */
  queuedBytes: number;
  /** Requests that a worker holds. */
  inFlight: number;
  /** Workers: registered now, of those without a request, and what was counted. */
  workers: {
    /** Registered now. */
    registered: number;
    /** Of those, the ones that hold no request. */
    waiting: number;
    /** READYs that registered one. */
    joined: number;
    /** READYs refused, since the name of the service is reserved. */
    reserved: number;
    /** Workers that are no longer registered, by reason. */
    left: RoutingCounters["left"];
  };
  /** Services that have workers or requests now. */
  services: number;
  /** Messages of all kinds, MDP or not. */
  messages: {
    /** Received. */
    in: number;
    /** Sent: handed to libzmq. */
    out: number;
  };
  /** The bytes of their frames, without what ZeroMQ adds on the wire. */
  bytes: {
    /** Received. */
    in: number;
    /** Sent: handed to libzmq. */
    out: number;
  };
}

/**
 * What a broker knows of a service. It is known while it has workers or requests; what was counted
 * since it came to be goes with it, and stays in {@linkcode BrokerStats}. At every moment
 * `accepted = answered + expired + dropped + queued + inFlight`.
 */
export interface ServiceStats {
  /** Its name: text if it is UTF-8, else with the bytes that are not ASCII as `\xff`. */
  name: string;
  /** Workers registered for it. */
  workers: number;
  /** Of those, the ones that have room for a request. */
  waiting: number;
  /** How many requests its workers may hold together. */
  credit: number;
  /** Requests that they hold. */
  inFlight: number;
  /** Requests that wait for one. */
  queued: number;
  /** How many bytes of body they have. */
  queuedBytes: number;
  /** Requests accepted. */
  accepted: number;
  /** Requests answered by their worker. */
  answered: number;
  /** Those of them that were answered by ERROR. */
  errors: number;
  /** Requests whose time to live passed, or that waited too long for a worker to come. */
  expired: number;
  /** Requests accepted and given up. */
  dropped: number;
  /** Requests not accepted while the service was known. */
  refused: number;
  /** Times that a lost worker's request was put back into the queue. */
  recovered: number;
  /** PARTIALs sent to clients. */
  partials: number;
  /** Workers that left and did not say so: `gone`, `silent`, `violation` and `full`. */
  workersLost: number;
  /** From a request's arrival to its dispatch; one for each dispatch. */
  wait: Histogram;
  /** From a dispatch to the FINAL or ERROR of the worker, wanted still or not. */
  serviceTime: Histogram;
}

/** What a broker knows of a worker. */
export interface WorkerStats {
  /** Its identity as a ROUTER has it, in hexadecimal. */
  identity: string;
  /** The name of its service, as in {@linkcode ServiceStats}. */
  service: string;
  /**
   * Where it connects from: an address of IP, or by `ipc:` the ids of its user, group and process as
   * `localhost:0:0:4711`. It is not there where libzmq does not know.
   */
  address?: string;
  /** What it speaks. */
  dialect: DialectName;
  /** How many requests it may hold at once; 1 in RFC 18. */
  credit: number;
  /** How many it holds, those included that nobody wants an answer to any more. */
  inFlight: number;
  /** How long ago it registered, in ms. */
  registered: number;
  /** How long ago it was last heard, in ms. */
  heard: number;
}

/** For `Broker`: what it tells of itself in all. */
export function brokerStats(
  routing: Routing<Content>,
  invalid: Record<ProtocolErrorKind, number>,
  traffic: Readonly<Traffic>,
  uptime: number,
): BrokerStats {
  const { counters } = routing;
  return {
    uptime,
    received: { ...counters.received },
    invalid: { ...invalid },
    accepted: counters.accepted,
    answered: counters.answered,
    errors: counters.errors,
    partials: counters.partials,
    refused: { ...counters.refused },
    expired: counters.expired,
    dispatched: counters.dispatched,
    recovered: counters.recovered,
    dropped: { ...counters.dropped },
    mmi: counters.mmi,
    unknown: counters.unknown,
    queued: routing.queued,
    queuedBytes: routing.queuedBytes,
    inFlight: routing.inFlight,
    workers: {
      registered: routing.workers.size,
      waiting: routing.idle,
      joined: counters.joined,
      reserved: counters.reserved,
      left: { ...counters.left },
    },
    services: routing.services.size,
    // That a connection is gone is told by libzmq and not by the peer.
    messages: { in: traffic.messagesIn - counters.received.gone, out: traffic.messagesOut },
    bytes: { in: traffic.bytesIn, out: traffic.bytesOut },
  };
}

/** For `Broker`: what it tells of a service. */
export function serviceStats<B>(service: Service<B>): ServiceStats {
  return {
    name: textOf(service.name),
    workers: service.workers,
    waiting: service.resting,
    credit: service.credit,
    inFlight: service.inFlight,
    queued: service.queued,
    queuedBytes: service.queuedBytes,
    accepted: service.accepted,
    answered: service.answered,
    errors: service.errors,
    expired: service.expired,
    dropped: service.dropped,
    refused: service.refused,
    recovered: service.recovered,
    partials: service.partials,
    workersLost: service.workersLost,
    wait: service.waits?.histogram() ?? noTimes(),
    serviceTime: service.works?.histogram() ?? noTimes(),
  };
}

/** For `Broker`: what it tells of a worker. */
export function workerStats<B>(worker: Worker<B>, now: number): WorkerStats {
  return {
    identity: hexOf(worker.identity),
    service: textOf(worker.service.name),
    ...(worker.address === undefined ? {} : { address: worker.address }),
    dialect: worker.dialect.name,
    credit: worker.credit,
    inFlight: worker.holding,
    // The time of a turn is that of its beginning.
    registered: Math.max(0, now - worker.registeredAt),
    heard: Math.max(0, now - worker.heardAt),
  };
}

/** At most so many of an iterable's items, made into something else. */
export function firstOf<T, R>(items: Iterable<T>, most: number, make: (item: T) => R): R[] {
  const made: R[] = [];
  for (const item of items) {
    if (made.length === most) break;
    made.push(make(item));
  }
  return made;
}
