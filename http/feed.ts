/**
 * What the live page shows: the broker looked at once a second, and what happened lately.
 *
 * @module
 */

import type { Broker, BrokerStats, WorkerStats } from "../broker.ts";
import { buildInfo, VERSION } from "./build.ts";
import type { LagMeter } from "./lag.ts";
import { Rates, type Sample, type ServiceSample } from "./rates.ts";
import { RecentEvents, type ShownEvent } from "./recent_events.ts";
import { respond, respondError, serverSentEvent } from "./responses.ts";
import { shortName } from "./short_name.ts";

/** How often the broker is looked at, in ms. */
const INTERVAL = 1_000;
/** How many looks are remembered: those of five minutes. */
const HISTORY = 300;
/** How many services and workers are shown. */
const MOST_SERVICES = 1_000, MOST_WORKERS = 1_000;
/** How many may look on at once. */
const MOST_VIEWERS = 100;
/** How many messages may wait for a viewer; what comes then it does not get. */
const BEHIND = 4;

/** Whether the broker serves. */
interface State {
  state: "running" | "draining" | "not bound";
  endpoints: readonly string[];
}

/** What a viewer is sent at first. */
interface Hello extends State {
  version: string;
  history: readonly Sample[];
  events: readonly ShownEvent[];
}

/** What a viewer is sent each second. */
interface Update extends State {
  sample: Sample;
  stats: BrokerStats;
  /** Of the process, in bytes. */
  memory: number;
  /** The longest lag of the event loop since the last, in ms. */
  lag: number;
  /** The busiest. */
  services: ServiceSample[];
  /** The youngest. */
  workers: WorkerStats[];
  /** New ones, and those that have happened again. */
  events: readonly ShownEvent[];
}

/** Who looks on. */
interface Viewer {
  controller: ReadableStreamDefaultController<Uint8Array<ArrayBuffer>>;
  /** Whether it has missed something, and is to be greeted anew. */
  isBehind: boolean;
}

const UTF8 = new TextEncoder();

/** Looks at one broker, and shows it to whoever wants to see. */
export class Feed {
  readonly #broker: Broker;
  readonly #lag: LagMeter;
  readonly #rates: Rates;
  readonly #history: Sample[] = [];
  readonly #events: RecentEvents;
  readonly #viewers = new Set<Viewer>();
  readonly #timer: ReturnType<typeof setInterval>;

  /**
   * Looks from now on. That does not keep the process alive.
   *
   * @param broker The broker.
   * @param lag The event loop's lag.
   */
  constructor(broker: Broker, lag: LagMeter) {
    this.#broker = broker;
    this.#lag = lag;
    this.#rates = new Rates(performance.now(), broker.stats(), broker.services());
    this.#events = new RecentEvents(broker);
    this.#timer = setInterval(() => this.#look(), INTERVAL);
    Deno.unrefTimer(this.#timer);
  }

  /** Looks no more, and ends all streams. */
  close(): void {
    clearInterval(this.#timer);
    this.#events[Symbol.dispose]();
    for (const { controller } of this.#viewers) controller.close();
    this.#viewers.clear();
  }

  /** The broker's figures as they are now. */
  status(): Record<string, unknown> {
    const services = this.#broker.services(), workers = this.#broker.workers();
    return {
      ...this.#state(),
      build: buildInfo(),
      memory: Deno.memoryUsage(),
      stats: this.#broker.stats(),
      services: services.slice(0, MOST_SERVICES).map(named),
      workers: workers.slice(0, MOST_WORKERS).map(serving),
    };
  }

  /**
   * Shows the broker from now on.
   *
   * @returns An endless stream of events: `hello` with what has been, then `update` once a second.
   */
  open(): Response {
    if (this.#viewers.size >= MOST_VIEWERS) {
      return respondError(503, `There are ${MOST_VIEWERS} viewers already, which is the most`);
    }
    let viewer: Viewer;
    const stream = new ReadableStream<Uint8Array<ArrayBuffer>>({
      start: (controller) => {
        viewer = { controller, isBehind: false };
        this.#viewers.add(viewer);
        controller.enqueue(this.#hello());
      },
      cancel: () => void this.#viewers.delete(viewer),
    }, { highWaterMark: BEHIND });
    return respond(stream, "text/event-stream");
  }

  #state(): State {
    const { isBound, isDraining, endpoints } = this.#broker;
    return { state: isDraining ? "draining" : isBound ? "running" : "not bound", endpoints };
  }

  #look(): void {
    const stats = this.#broker.stats();
    const looked = this.#rates.look(performance.now(), stats, this.#broker.services());
    const { sample, services } = looked;
    this.#history.push(sample);
    if (this.#history.length > HISTORY) this.#history.shift();
    const events = this.#events.takeChanged(), lag = Math.round(this.#lag.takeLongest());
    if (this.#viewers.size === 0) return;
    const update: Update = {
      ...this.#state(),
      sample,
      stats,
      memory: Deno.memoryUsage().rss,
      lag,
      services: busiest(services).map(named),
      workers: this.#broker.workers().slice(-MOST_WORKERS).map(serving),
      events,
    };
    const bytes = encodeEvent("update", update);
    for (const viewer of this.#viewers) this.#show(viewer, bytes);
  }

  #show(viewer: Viewer, update: Uint8Array<ArrayBuffer>): void {
    const { controller } = viewer;
    if (controller.desiredSize! <= 0) viewer.isBehind = true;
    else {
      if (viewer.isBehind) controller.enqueue(this.#hello());
      viewer.isBehind = false;
      controller.enqueue(update);
    }
  }

  #hello(): Uint8Array<ArrayBuffer> {
    const hello: Hello = {
      ...this.#state(),
      version: VERSION,
      history: this.#history,
      events: this.#events.all,
    };
    return encodeEvent("hello", hello);
  }
}

function busiest(services: ServiceSample[]): ServiceSample[] {
  if (services.length <= MOST_SERVICES) return services;
  const work = ({ answered, failed, inFlight, queued }: ServiceSample) =>
    answered + failed + inFlight + queued;
  return services.toSorted((a, b) => work(b) - work(a)).slice(0, MOST_SERVICES);
}

/** A service with its name as it is shown. */
function named<T extends { name: string }>(service: T): T {
  return { ...service, name: shortName(service.name) };
}

/** A worker with the same of its service. */
function serving(worker: WorkerStats): WorkerStats {
  return { ...worker, service: shortName(worker.service) };
}

function encodeEvent(type: string, data: Hello | Update): Uint8Array<ArrayBuffer> {
  return UTF8.encode(serverSentEvent(type, data));
}
