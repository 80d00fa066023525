/**
 * What a broker logs: what its routing reports, and what is wrong with what peers send, as lines
 * that no peer can flood or forge.
 *
 * @module
 */

import type { Logger } from "@logtape/logtape";
import { ComplaintLog } from "./complaint_log.ts";
import type { Properties } from "./complaints.ts";
import { bytesOfName, hexOf } from "./names.ts";
import type { RoutingEvent } from "./routing.ts";

/** How many characters of a peer's name go into a log line. */
const SHOWN = 64;
/** Why connections cannot be taken, in words. */
const REASONS: Readonly<Record<string, string>> = {
  EMFILE: "the process may have no more open files (EMFILE), see ulimit -n",
  ENFILE: "the system may have no more open files (ENFILE)",
};

/** The log of one broker. */
export class BrokerLog {
  readonly #logger: Logger;
  readonly #complaints = new ComplaintLog();

  /** @param logger Where it goes. */
  constructor(logger: Logger) {
    this.#logger = logger;
  }

  /**
   * A message that was dropped, since it is not MDP.
   *
   * @param address Tells where it came from; asked only if it is logged, as it costs a call.
   * @param now The time in ms.
   */
  invalid(
    kind: string,
    peer: string,
    address: () => string | undefined,
    reason: string,
    now: number,
  ): void {
    const template = () => `Dropped a message from {peer}${where(address())}: {reason}`;
    const properties = () => ({ peer: hex(peer), ...at(address()), reason });
    this.#log("warn", `invalid ${kind}`, template, properties, peer, now);
  }

  /** A connection that could not be taken. */
  notAccepted(endpoint: string, code: string): void {
    this.#complain(`accept ${code}`, "Cannot take a new connection at {endpoint}: {reason}", {
      endpoint,
      reason: REASONS[code] ?? code,
    });
  }

  /** Nothing more comes: tells what was left out and not told yet. */
  close(): void {
    this.#complaints.close();
  }

  /** Logs what routing tells. */
  report(event: RoutingEvent<unknown>): void {
    switch (event.type) {
      case "worker joined": {
        const { identity, service, address } = event.worker;
        this.#log(
          "info",
          "joined",
          `Worker {worker}${where(address)} joined service "{service}"`,
          () => ({ worker: hex(identity), service: text(service.name), ...at(address) }),
          identity,
        );
        break;
      }
      case "worker left": {
        const { worker: { identity, service, address }, reason, violation, held } = event;
        const properties = () => ({
          worker: hex(identity),
          service: text(service.name),
          ...at(address),
          reason,
          ...(violation !== undefined && { violation }),
          held,
        });
        const template = `Worker {worker}${where(address)} left service "{service}": ` +
          `{reason}${violation === undefined ? "" : ", {violation}"} (requests held: {held})`;
        const orderly = reason === "disconnect" || reason === "stopped";
        if (orderly && held === 0) this.#log("info", "left", template, properties, identity);
        else this.#complain(`worker ${reason}`, template, properties, identity);
        break;
      }
      case "worker refused":
        this.#complain(
          "reserved",
          'Refused worker {worker}: the service name "{service}" is reserved',
          () => ({ worker: hex(event.worker), service: text(event.service) }),
          event.worker,
        );
        break;
      case "answer from unknown worker":
        this.#complain(
          "unknown",
          "Dropped an answer from {worker}, which is no registered worker",
          () => ({ worker: hex(event.worker) }),
          event.worker,
        );
        break;
      case "request refused":
        this.#lost(event.type, event.client, event.service, event.reason);
        break;
      case "request expired":
      case "request dropped": {
        const { client, service, number, attempts } = event.request;
        const more = () => ({ request: number, attempts });
        this.#lost(event.type, client, service.name, event.reason, more);
        break;
      }
      case "request recovered": {
        const { client, service, number, attempts } = event.request;
        const worker = event.worker.identity;
        const more = () => ({ request: number, worker: hex(worker), attempts });
        this.#lost(event.type, client, service.name, "worker lost", more);
        break;
      }
    }
  }

  /** E.g. 'Request of client 0001 for service "echo" expired: late (request 5, attempts 0)'. */
  #lost(
    type: `request ${string}`,
    client: string,
    service: string,
    reason: string,
    more: () => Record<string, unknown> = () => ({}),
  ): void {
    const became = type.slice("request ".length);
    this.#complain(
      `${type} ${reason}`,
      () => {
        // What is told of one request at several places is to be found together.
        const about = Object.keys(more()).map((name) => `${name} {${name}}`).join(", ");
        return `Request of client {client} for service "{service}" ${became}: {reason}` +
          (about === "" ? "" : ` (${about})`);
      },
      () => ({ client: hex(client), service: text(service), reason, ...more() }),
      client,
    );
  }

  /** What is a function is asked only if it is logged: most of a flood is not. */
  #complain(
    kind: string,
    template: string | (() => string),
    properties: Properties | (() => Properties),
    peer?: string,
  ): void {
    this.#log("warn", kind, template, properties, peer);
  }

  /** Logs it, unless too much of its kind, or of its kind about the peer, was logged just now. */
  #log(
    level: "info" | "warn",
    kind: string,
    template: string | (() => string),
    properties: Properties | (() => Properties),
    peer?: string,
    now = performance.now(),
  ): void {
    this.#complaints.log(
      kind,
      now,
      (template, properties) => this.#logger[level](template, properties),
      template,
      properties,
      peer,
    );
  }
}

/** The address of a peer, among the properties of a line; it may not be known. */
function at(address: string | undefined): { address?: string } {
  return address === undefined ? {} : { address: text(address) };
}

/** The same in its template. */
function where(address: string | undefined): string {
  return address === undefined ? "" : " at {address}";
}

/** An identity as the log shows it. */
function hex(identity: string): string {
  const shown = hexOf(identity.slice(0, SHOWN / 2));
  return identity.length > SHOWN / 2 ? `${shown}…` : shown;
}

/**
 * A service's name as the log shows it, in quotes that it cannot end: what could fool a reader or a
 * terminal is escaped.
 */
function text(name: string): string {
  const bytes = bytesOfName(name.slice(0, SHOWN));
  const shown = JSON.stringify(new TextDecoder().decode(bytes)).slice(1, -1)
    // Beside the control characters that JSON escapes, those that move or turn text around.
    .replace(/[\u007f-\u009f\u2028\u2029\u200e\u200f\u202a-\u202e]/g, "\ufffd");
  return name.length > SHOWN ? `${shown}…` : shown;
}
