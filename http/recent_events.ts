/**
 * What happened in a broker lately that somebody may want to know: not what becomes of each
 * request in order, but what went wrong, and which workers came and went.
 *
 * @module
 */

import type { Broker, BrokerEvent } from "../broker.ts";
import { shortName } from "./short_name.ts";

/** How many are remembered. */
const MOST = 200;
/** How long the same goes on being one event, in ms: a thousand refusals are one that says so. */
const TOGETHER = 1_000;

/** An event as the page shows it. */
export interface ShownEvent {
  /** Grows with each; the same event that happens again keeps it. */
  id: number;
  /** When it happened last, in ms since 1970. */
  time: number;
  /** What happened. */
  type: BrokerEvent["type"];
  /** The service that it was about, if it was about one, as {@linkcode shortName} shows it. */
  service?: string;
  /** Why. */
  reason?: string;
  /** The worker that it was about, or the last of them, in hexadecimal. */
  worker?: string;
  /** The client that it was about most often, in hexadecimal. */
  client?: string;
  /** How often it was about that client. */
  ofClient?: number;
  /** How many there were. */
  count: number;
}

/** Of how many clients it is counted how often an event was about them: the first that came. */
const CLIENTS = 50;

/** The others become of every request, and are told by figures. */
const NOTABLE: readonly BrokerEvent["type"][] = [
  "worker joined",
  "worker left",
  "worker refused",
  "request expired",
  "request recovered",
  "request dropped",
  "request refused",
  "answer from unknown worker",
];

/** Remembers the events of one broker. */
export class RecentEvents implements Disposable {
  readonly #listening: Disposable;
  /** With what each has in common with others like it; in the order of their first time. */
  readonly #events = new Map<ShownEvent, string>();
  /** The last of each kind: those that have type, service and reason in common. */
  readonly #recurring = new Map<string, ShownEvent>();
  /** How often an event was about which client: one that floods is not the last that suffers. */
  readonly #clients = new WeakMap<ShownEvent, Map<string, number>>();
  #changed = new Set<ShownEvent>();
  #id = 0;

  /** @param broker The broker, which is listened to from now on. */
  constructor(broker: Broker) {
    this.#listening = broker.on((event) => this.#add(event), { types: NOTABLE });
  }

  /** All that are remembered, the oldest first. */
  get all(): ShownEvent[] {
    return [...this.#events.keys()];
  }

  /** Those that are new or have happened again since this was called last. */
  takeChanged(): ShownEvent[] {
    const changed = [...this.#changed];
    this.#changed = new Set();
    return changed;
  }

  /** Listens no more. */
  [Symbol.dispose](): void {
    this.#listening[Symbol.dispose]();
  }

  #add(event: BrokerEvent): void {
    const { type, time } = event;
    const { service: name, reason, worker, client } = event as Partial<ShownEvent>;
    const service = name && shortName(name);
    const key = [type, service, reason].join("\n");
    let shown = this.#recurring.get(key);
    if (shown === undefined || time - shown.time > TOGETHER) {
      shown = { id: ++this.#id, time, type, service, reason, worker, count: 0 };
      this.#recurring.set(key, shown);
      this.#events.set(shown, key);
      if (this.#events.size > MOST) this.#forgetOldest();
    }
    shown.time = time;
    shown.count++;
    shown.worker = worker ?? shown.worker;
    if (client !== undefined) this.#count(shown, client);
    this.#changed.add(shown);
  }

  #count(shown: ShownEvent, client: string): void {
    let clients = this.#clients.get(shown);
    if (clients === undefined) this.#clients.set(shown, clients = new Map());
    const times = (clients.get(client) ?? 0) + 1;
    if (times === 1 && clients.size >= CLIENTS) return;
    clients.set(client, times);
    if (times <= (shown.ofClient ?? 0)) return;
    shown.client = client;
    shown.ofClient = times;
  }

  #forgetOldest(): void {
    const [oldest, key] = this.#events.entries().next().value!;
    this.#events.delete(oldest);
    this.#changed.delete(oldest);
    if (this.#recurring.get(key) === oldest) this.#recurring.delete(key);
  }
}
