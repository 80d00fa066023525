/**
 * What a broker tells whoever listens, while anybody does: what becomes of each worker and each
 * request.
 *
 * @module
 */

import type { Logger } from "@logtape/logtape";
import type { DialectName } from "./codec.ts";
import { hexOf, textOf } from "./names.ts";
import type { Drop, Refusal, Request, RoutingEvent, WorkerEnd } from "./routing.ts";

/** What is told of all that happens. */
export interface EventTime {
  /** When it happened, in ms since 1970 as `Date.now()` has it. */
  time: number;
}

/** What is told of a worker. */
export interface WorkerEvent extends EventTime {
  /** Its identity, in hexadecimal. */
  worker: string;
  /** The name of its service: text if it is UTF-8, else with bytes as `\xff`. */
  service: string;
}

/** What is told of a request that was accepted. */
export interface RequestEvent extends EventTime {
  /** The how many-th that the broker accepted it is: the same in all that is told of it. */
  request: number;
  /** The identity of its client, in hexadecimal. */
  client: string;
  /** The name of the service: text if it is UTF-8, else with bytes as `\xff`. */
  service: string;
}

/**
 * What happens in a broker. What becomes of a request is `accepted`, any number of `dispatched` and
 * `recovered`, and then one of `answered`, `expired` and `dropped`; if the answer turns out to be
 * one that its client does not take, `dropped` comes after `answered`.
 */
export type BrokerEvent =
  | WorkerEvent & {
    /** A worker has registered. */
    type: "worker joined";
    /** What it speaks. */
    dialect: DialectName;
    /** How many requests it may hold at once. */
    credit: number;
  }
  | WorkerEvent & {
    /** A worker is no longer one. */
    type: "worker left";
    /** Why. */
    reason: WorkerEnd;
    /** Which violation it was, in words for people; absent if the reason is another. */
    violation?: string;
    /** How many requests it held. */
    held: number;
  }
  | WorkerEvent & {
    /** A worker may not register: the name of the service is the broker's. */
    type: "worker refused";
  }
  | RequestEvent & {
    /** A request is queued, or about to be dispatched. */
    type: "request accepted";
  }
  | RequestEvent & {
    /** A request is on its way to a worker. */
    type: "request dispatched";
    /** The worker. */
    worker: string;
    /** The how many-th it is that has the request. */
    attempt: number;
    /** How long ago the request came, in ms. */
    wait: number;
  }
  | RequestEvent & {
    /** The FINAL or ERROR of the worker is on its way to the client. */
    type: "request answered";
    /** The worker. */
    worker: string;
    /** The code of the ERROR; absent if it is a FINAL. */
    code?: number;
    /** How long the request waited for the worker, in ms. */
    wait: number;
    /** How long the worker had it, in ms. */
    serviceTime: number;
  }
  | RequestEvent & {
    /** Nobody has answered the request in time. */
    type: "request expired";
    /** Its time to live has passed, or no worker came to the service. */
    reason: "late" | "no worker";
    /** The worker that holds it, if one does. */
    worker?: string;
  }
  | RequestEvent & {
    /** The request was put back into its queue. */
    type: "request recovered";
    /** The worker that was lost. */
    worker: string;
    /** How many workers have had it. */
    attempts: number;
  }
  | RequestEvent & {
    /** The request has been given up. */
    type: "request dropped";
    /** Why. */
    reason: Drop;
    /** The worker that has it, or had it last. */
    worker?: string;
  }
  | EventTime & {
    /** A request was not accepted. */
    type: "request refused";
    /** The identity of its client, in hexadecimal. */
    client: string;
    /** The name of the service. */
    service: string;
    /** Why. */
    reason: Refusal;
  }
  | EventTime & {
    /** An answer came from somebody who is no registered worker. */
    type: "answer from unknown worker";
    /** Its identity, in hexadecimal. */
    worker: string;
  };

/** Which events somebody listens to. */
export interface ListenOptions {
  /**
   * The types of the events wanted. Nothing is spent on those that nobody wants: it makes a
   * difference for `request accepted`, `request dispatched` and `request answered`, which come with
   * every request.
   * @default {all}
   */
  types?: readonly BrokerEvent["type"][];
}

/** Options of {@linkcode Broker.events}. */
export interface EventsOptions extends ListenOptions {
  /** Ends the iteration when it aborts. */
  signal?: AbortSignal;
  /**
   * How many events are kept for who does not take them in time; then the oldest is dropped.
   * @default {1000}
   */
  buffer?: number;
}

/** The events of a broker, to be iterated over once. Leaving the loop ends it. */
export interface EventStream
  extends AsyncIterableIterator<BrokerEvent, void, undefined>, AsyncDisposable {
  /** Ends it; what was not taken is dropped. `await using` does it too. */
  return(): Promise<IteratorResult<BrokerEvent, void>>;
  /** How many events were dropped, since they came faster than they were taken. */
  readonly dropped: number;
}

/** Whether a type is one of the events that come with every request. */
const TYPES: Readonly<Record<BrokerEvent["type"], "rare" | "common">> = {
  "worker joined": "rare",
  "worker left": "rare",
  "worker refused": "rare",
  "request accepted": "common",
  "request dispatched": "common",
  "request answered": "common",
  "request expired": "rare",
  "request recovered": "rare",
  "request dropped": "rare",
  "request refused": "rare",
  "answer from unknown worker": "rare",
};

/**
 * Checks the types of events that somebody wants.
 *
 * @throws {TypeError} If they are no list of types that there are.
 */
export function checkTypes({ types }: ListenOptions): void {
  if (types === undefined) return;
  if (!Array.isArray(types)) {
    throw new TypeError(`types must be a list of types of events, got ${Deno.inspect(types)}`);
  }
  for (const type of types) {
    if (Object.hasOwn(TYPES, type)) continue;
    const known = Object.keys(TYPES).map((known) => `"${known}"`).join(", ");
    throw new TypeError(`A type of event is one of ${known}, got ${Deno.inspect(type)}`);
  }
}

/** Who listens, and to what. */
interface Listener {
  listener: (event: BrokerEvent) => void;
  types: ReadonlySet<BrokerEvent["type"]>;
}

/** Hands what happens to those who listen. */
export class BrokerEvents {
  readonly #listeners = new Set<Listener>();
  #isObserved = false;
  /** Whether nothing happens any more. */
  #isOver = false;
  readonly #streams = new Set<BufferedEvents>();
  readonly #logger: Logger;
  readonly #onObserved: (isObserved: boolean) => void;

  /**
   * @param logger Told of listeners that throw.
   * @param onObserved Told when the first listener comes to what happens to every request, and
   * when the last of these has gone.
   */
  constructor(logger: Logger, onObserved: (isObserved: boolean) => void) {
    this.#logger = logger;
    this.#onObserved = onObserved;
  }

  /** Calls a function for each event from now on, until what this returns is disposed of. */
  on(
    listener: (event: BrokerEvent) => void,
    { types = Object.keys(TYPES) as BrokerEvent["type"][] }: ListenOptions = {},
  ): Disposable {
    // The same function may be given twice.
    const own = { listener, types: new Set(types) };
    this.#listeners.add(own);
    this.#observe();
    return {
      [Symbol.dispose]: () => {
        if (this.#listeners.delete(own)) this.#observe();
      },
    };
  }

  /** The events from now on. */
  stream({ signal, buffer = 1_000, types }: EventsOptions): EventStream {
    const stream = new BufferedEvents(buffer, () => {
      listening[Symbol.dispose]();
      signal?.removeEventListener("abort", end);
      this.#streams.delete(stream);
    });
    const end = () => stream.end();
    const listening = this.on((event) => stream.push(event), { types });
    this.#streams.add(stream);
    if (this.#isOver || signal?.aborted) end();
    else signal?.addEventListener("abort", end);
    return stream;
  }

  /** Nothing happens any more. */
  end(): void {
    this.#isOver = true;
    for (const stream of this.#streams) stream.end();
  }

  /** Something has happened. */
  report(event: RoutingEvent<unknown>): void {
    let told: BrokerEvent | undefined;
    for (const { listener, types } of [...this.#listeners]) {
      if (!types.has(event.type)) continue;
      told ??= brokerEvent(event, Date.now());
      try {
        listener(told);
      } catch (error) {
        this.#logger.error("A listener to {type} failed: {error}", { type: told.type, error });
      }
    }
  }

  /** Tells whether anybody listens to what happens to every request, if that has changed. */
  #observe(): void {
    const isObserved = [...this.#listeners].some(({ types }) =>
      [...types].some((type) => TYPES[type] === "common")
    );
    if (isObserved === this.#isObserved) return;
    this.#isObserved = isObserved;
    this.#onObserved(isObserved);
  }
}

/** Events that are kept until they are taken. */
class BufferedEvents implements EventStream {
  readonly #most: number;
  readonly #onEnd: () => void;
  #events: BrokerEvent[] = [];
  /** Where the oldest is. */
  #first = 0;
  readonly #waiting: ((result: IteratorResult<BrokerEvent, void>) => void)[] = [];
  #dropped = 0;
  #over = false;

  constructor(most: number, onEnd: () => void) {
    this.#most = most;
    this.#onEnd = onEnd;
  }

  get dropped(): number {
    return this.#dropped;
  }

  push(event: BrokerEvent): void {
    if (this.#over) return;
    const next = this.#waiting.shift();
    if (next !== undefined) return next({ value: event, done: false });
    this.#events.push(event);
    if (this.#events.length - this.#first <= this.#most) return;
    this.#first++;
    this.#dropped++;
    this.#tidy();
  }

  /** Nothing more comes. What is there can still be taken. */
  end(): void {
    if (this.#over) return;
    this.#over = true;
    this.#onEnd();
    for (const next of this.#waiting.splice(0)) next({ value: undefined, done: true });
  }

  next(): Promise<IteratorResult<BrokerEvent, void>> {
    const event = this.#events[this.#first];
    if (event !== undefined) {
      this.#first++;
      this.#tidy();
      return Promise.resolve({ value: event, done: false });
    }
    if (this.#over) return Promise.resolve({ value: undefined, done: true });
    return new Promise((resolve) => this.#waiting.push(resolve));
  }

  return(): Promise<IteratorResult<BrokerEvent, void>> {
    this.end();
    this.#events = [];
    this.#first = 0;
    return Promise.resolve({ value: undefined, done: true });
  }

  [Symbol.asyncIterator](): this {
    return this;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.return();
  }

  /** Lets go of what has been taken, now and then. */
  #tidy(): void {
    if (this.#first <= this.#most && this.#first < this.#events.length) return;
    this.#events.splice(0, this.#first);
    this.#first = 0;
  }
}

function brokerEvent(event: RoutingEvent<unknown>, time: number): BrokerEvent {
  const { type } = event;
  switch (type) {
    case "worker joined": {
      const { identity, service, dialect, credit } = event.worker;
      const worker = hexOf(identity);
      return { type, time, worker, service: textOf(service.name), dialect: dialect.name, credit };
    }
    case "worker left": {
      const { worker: { identity, service }, reason, violation, held } = event;
      const worker = hexOf(identity);
      const left = { type, time, worker, service: textOf(service.name), reason, held };
      return violation === undefined ? left : { ...left, violation };
    }
    case "worker refused":
      return { type, time, worker: hexOf(event.worker), service: textOf(event.service) };
    case "answer from unknown worker":
      return { type, time, worker: hexOf(event.worker) };
    case "request refused": {
      const { client, service, reason } = event;
      return { type, time, client: hexOf(client), service: textOf(service), reason };
    }
    case "request accepted":
      return { type, time, ...about(event.request) };
    case "request dispatched": {
      const { request } = event;
      const worker = hexOf(request.worker!.identity);
      return {
        type,
        time,
        ...about(request),
        worker,
        attempt: request.attempts,
        wait: wait(request),
      };
    }
    case "request answered": {
      const { request, code, now } = event;
      const answered = {
        type,
        time,
        ...about(request),
        worker: hexOf(request.worker!.identity),
        wait: wait(request),
        serviceTime: now - request.dispatchedAt,
      };
      return code === undefined ? answered : { ...answered, code };
    }
    case "request expired":
    case "request dropped": {
      const { request, reason } = event;
      const told = { type, time, ...about(request), reason } as BrokerEvent & { worker?: string };
      if (request.worker !== undefined) told.worker = hexOf(request.worker.identity);
      return told;
    }
    case "request recovered": {
      const { request, worker } = event;
      return {
        type,
        time,
        ...about(request),
        worker: hexOf(worker.identity),
        attempts: request.attempts,
      };
    }
  }
}

function about({ number, client, service }: Request<unknown>) {
  return { request: number, client: hexOf(client), service: textOf(service.name) };
}

function wait({ arrivedAt, dispatchedAt }: Request<unknown>): number {
  return dispatchedAt - arrivedAt;
}
