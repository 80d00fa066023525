/**
 * What `GET /metrics` tells: the broker's figures under the names that docs/metrics.md explains.
 *
 * @module
 */

import type { Broker, BrokerStats, ServiceStats } from "../broker.ts";
import { Exposition, type Labels, type Points } from "./exposition.ts";
import type { Gateway } from "./gateway.ts";
import type { LagMeter } from "./lag.ts";
import { buildInfo } from "./build.ts";
import { ServiceTotals } from "./service_totals.ts";

/** Writes the metrics of one broker. */
export class Metrics {
  readonly #broker: Broker;
  readonly #lag: LagMeter;
  readonly #gateway: Gateway | undefined;
  readonly #totals = new ServiceTotals();
  #writing: Promise<string> | undefined;

  /**
   * @param broker The broker.
   * @param lag The event loop's lag.
   * @param gateway The gateway, if there is one.
   */
  constructor(broker: Broker, lag: LagMeter, gateway: Gateway | undefined) {
    this.#broker = broker;
    this.#lag = lag;
    this.#gateway = gateway;
  }

  /**
   * The text of all metrics as they are when this is called. Those who ask while it is written
   * share it.
   */
  write(): Promise<string> {
    return this.#writing ??= this.#write().finally(() => this.#writing = undefined);
  }

  #write(): Promise<string> {
    const out = new Exposition();
    const stats = this.#broker.stats();
    this.#ofBroker(out, stats);
    this.#ofServices(out, this.#totals.divide(stats, this.#broker.services()));
    this.#ofGateway(out);
    this.#ofProcess(out);
    return out.text();
  }

  #ofBroker(out: Exposition, stats: BrokerStats): void {
    const { isBound, isDraining } = this.#broker;
    out.gauge("majortomo_build_info", "What runs; always 1", [[buildInfo(), 1]]);
    out.gauge("majortomo_uptime_seconds", "Time since the broker was bound", stats.uptime / 1_000);
    out.gauge("majortomo_ready", "1 if bound and not draining", +(isBound && !isDraining));
    out.gauge("majortomo_draining", "1 while work in flight is given time to end", +isDraining);
    out.counter("majortomo_messages_received", "Messages received", stats.messages.in);
    out.counter("majortomo_messages_sent", "Messages sent", stats.messages.out);
    out.counter("majortomo_received_bytes", "Bytes received, all frames together", stats.bytes.in);
    out.counter("majortomo_sent_bytes", "Bytes sent, all frames together", stats.bytes.out);
    out.counter(
      "majortomo_commands_received",
      "Valid commands received, by kind; gone are connections that ended",
      by("command", stats.received),
    );
    out.counter(
      "majortomo_messages_malformed",
      "Messages dropped since they are not MDP, by what is wrong",
      by("kind", stats.invalid),
    );
    out.counter(
      "majortomo_requests_refused",
      "Requests not accepted, by reason",
      by("reason", stats.refused),
    );
    out.counter(
      "majortomo_requests_dropped",
      "Requests accepted and given up, by reason",
      by("reason", stats.dropped),
    );
    out.counter("majortomo_dispatches", "Requests given to a worker", stats.dispatched);
    out.counter("majortomo_mmi_requests", "Requests that the broker answered itself", stats.mmi);
    out.counter("majortomo_workers_joined", "Workers that registered", stats.workers.joined);
    out.counter(
      "majortomo_workers_left",
      "Workers that are no longer registered, by reason",
      by("reason", stats.workers.left),
    );
    out.counter(
      "majortomo_workers_refused",
      "Workers refused since the name of the service is reserved",
      stats.workers.reserved,
    );
    out.counter(
      "majortomo_unknown_worker_commands",
      "Commands from peers that are no registered workers",
      stats.unknown,
    );
    out.gauge("majortomo_services", "Services with workers or requests", stats.services);
  }

  #ofServices(out: Exposition, services: readonly ServiceStats[]): void {
    const each = <T>(value: (service: ServiceStats) => T): Points<T> =>
      services.map((service) => [{ service: service.name }, value(service)]);
    const eachBy = (label: string, values: (service: ServiceStats) => Record<string, number>) =>
      services.flatMap((service) => by(label, values(service), { service: service.name }));
    out.counter(
      "majortomo_requests",
      "Requests that came to their end, by service and outcome",
      eachBy("outcome", ({ answered, errors, expired, dropped, refused }) => ({
        answered: answered - errors,
        error: errors,
        expired,
        dropped,
        refused,
      })),
    );
    out.counter("majortomo_requests_accepted", "Requests accepted", each((it) => it.accepted));
    out.counter(
      "majortomo_requests_recovered",
      "Requests of lost workers that were put back into their queue",
      each((it) => it.recovered),
    );
    out.counter("majortomo_partials", "Partial replies sent to clients", each((it) => it.partials));
    out.gauge(
      "majortomo_requests_in_flight",
      "Requests that a worker holds",
      each((it) => it.inFlight),
    );
    out.gauge(
      "majortomo_requests_queued",
      "Requests that wait for a worker",
      each((it) => it.queued),
    );
    out.gauge(
      "majortomo_requests_queued_bytes",
      "Bytes of body that they have",
      each((it) => it.queuedBytes),
    );
    out.gauge(
      "majortomo_workers",
      "Workers, by service and whether they have room for a request",
      eachBy("state", ({ workers, waiting }) => ({ waiting, busy: workers - waiting })),
    );
    out.counter(
      "majortomo_workers_lost",
      "Workers that left and did not say so, by service",
      each((it) => it.workersLost),
    );
    out.gauge(
      "majortomo_worker_credit",
      "Requests that the workers take at once, all together",
      each((it) => it.credit),
    );
    out.histogram(
      "majortomo_dispatch_wait_seconds",
      "Time from a request to its dispatch to a worker, one for each dispatch",
      each((it) => it.wait),
    );
    out.histogram(
      "majortomo_service_time_seconds",
      "Time from a dispatch to the end of the reply",
      each((it) => it.serviceTime),
    );
  }

  #ofGateway(out: Exposition): void {
    if (this.#gateway === undefined) return;
    const { answered, inFlight } = this.#gateway;
    out.counter(
      "majortomo_gateway_requests",
      "Calls over HTTP, by the status of the answer",
      Array.from(answered, ([code, count]) => [{ code: String(code) }, count]),
    );
    out.gauge("majortomo_gateway_requests_in_flight", "Calls over HTTP under way", inFlight);
  }

  #ofProcess(out: Exposition): void {
    out.histogram(
      "majortomo_event_loop_lag_seconds",
      "How late the event loop was, looked at four times a second",
      [[{}, this.#lag.histogram]],
    );
    const { rss, heapUsed, heapTotal } = Deno.memoryUsage();
    out.gauge("process_resident_memory_bytes", "Memory of the process", rss);
    out.gauge("majortomo_heap_used_bytes", "JavaScript's heap in use", heapUsed);
    out.gauge("majortomo_heap_size_bytes", "JavaScript's heap", heapTotal);
    out.gauge(
      "process_start_time_seconds",
      "When the process started, in seconds since 1970",
      performance.timeOrigin / 1_000,
    );
  }
}

/** A point for each of the counts, labelled by its key. */
function by(label: string, counts: Record<string, number>, more: Labels = {}): Points<number> {
  return Object.entries(counts).map((
    [key, count],
  ) => [{ ...more, [label]: snakeCase(key) }, count]);
}

function snakeCase(name: string): string {
  return name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);
}
