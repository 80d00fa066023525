/**
 * What a broker's routing has sent: commands, encoded and put into the outbox.
 *
 * @module
 */

import type { BrokerEvents } from "./broker_events.ts";
import type { BrokerLog } from "./broker_log.ts";
import type { BrokerTraces } from "./broker_traces.ts";
import { type Command, type Dialect, encode, type Id, MULTIPLEXED } from "./codec.ts";
import { bodyIn, type Content, discard, headersIn, sizeOf } from "./content.ts";
import type { Outbox } from "./outbox.ts";
import type { Message as What, Request, RoutingEvent, Shell, Worker } from "./routing.ts";
import { Message } from "./zmq/message.ts";
import type { Frame } from "./zmq/socket.ts";

const UTF8 = new TextEncoder();
/** Texts that are said again and again, as bytes. */
const ENCODED = new Map<string, Uint8Array>();
/** How many are kept, and how long they may be. */
const MOST_ENCODED = 64, LONGEST_ENCODED = 64;

/** See {@linkcode Shell}. */
export class BrokerShell implements Shell<Content> {
  readonly #outbox: Outbox<Content>;
  readonly #log: BrokerLog;
  readonly #events: BrokerEvents;
  readonly #traces: BrokerTraces | undefined;

  /** Puts messages into the outbox, and tells the log and whoever else wants it of events. */
  constructor(
    outbox: Outbox<Content>,
    log: BrokerLog,
    events: BrokerEvents,
    traces: BrokerTraces | undefined,
  ) {
    this.#outbox = outbox;
    this.#log = log;
    this.#events = events;
    this.#traces = traces;
  }

  dispatch(worker: Worker<Content>, request: Request<Content>, timeToLive: number): void {
    const { body } = request, { dialect } = worker;
    this.#put(worker.identity, "request", request, {
      side: "worker",
      command: "request",
      dialect,
      client: request.client,
      token: request.token,
      timeToLive,
      // An RFC 18 worker has no room for headers.
      headers: dialect === MULTIPLEXED
        ? this.#traces?.headersFor(request) ?? headersIn(body)?.copy()
        : undefined,
      // Copies, since the request may have to be sent to another worker.
      body: body instanceof Message ? [body.copy()] : body.frames.map((frame) => frame.copy()),
    });
  }

  control(worker: string, dialect: Dialect, command: "heartbeat" | "disconnect"): void {
    this.#put(worker, "control", undefined, { side: "worker", command, dialect });
  }

  cancel({ identity, dialect }: Worker<Content>, { token }: Request<Content>): void {
    this.#put(identity, "control", undefined, {
      side: "worker",
      command: "cancel",
      dialect,
      token,
    });
  }

  reply(request: Request<Content>, command: "partial" | "final", content: Content): void {
    const { client, dialect, id, service } = request;
    let headers = headersIn(content);
    if (headers !== undefined && dialect !== MULTIPLEXED) {
      // An RFC 18 client has no room for headers.
      headers.release();
      headers = undefined;
    }
    this.#put(client, command, request, {
      side: "client",
      command,
      dialect,
      id,
      service: service.name,
      headers,
      body: bodyIn(content),
    });
  }

  fail(request: Request<Content>, code: number, content: Content): void {
    const { client, dialect, id } = request;
    const [message, details] = bodyIn(content);
    this.#put(client, "error", request, {
      side: "client",
      command: "error",
      dialect,
      id,
      code,
      message: message!,
      details,
    });
  }

  error(client: string, id: Id, code: number, message: string): void {
    this.#put(client, "notice", undefined, {
      side: "client",
      command: "error",
      dialect: MULTIPLEXED,
      id,
      code,
      message: bytesOf(message),
    });
  }

  controlClient(client: string, command: "heartbeat" | "disconnect"): void {
    const what = command === "disconnect" ? "notice" : "control";
    this.#put(client, what, undefined, { side: "client", command, dialect: MULTIPLEXED });
  }

  answer(client: string, dialect: Dialect, id: Id, service: string, text: string): void {
    this.#put(client, dialect === MULTIPLEXED ? "notice" : "control", undefined, {
      side: "client",
      command: "final",
      dialect,
      id,
      service,
      body: [bytesOf(text)],
    });
  }

  read(content: Content): string {
    return bodyIn(content)[0]?.toBinaryString() ?? "";
  }

  size(content: Content): number {
    return sizeOf(content);
  }

  discard(content: Content): void {
    discard(content);
  }

  report(event: RoutingEvent<Content>): void {
    this.#log.report(event);
    this.#events.report(event);
    this.#traces?.report(event);
  }

  #put(
    peer: string,
    what: What,
    request: Request<Content> | undefined,
    command: Command<Frame>,
  ): void {
    const outbox = this.#outbox;
    outbox.put(peer, encode<Frame>(command, outbox.control()), what, request);
  }
}

/** A text as bytes that are not to be written to. To encode a short one costs 0.4 µs. */
function bytesOf(text: string): Uint8Array {
  let bytes = ENCODED.get(text);
  if (bytes !== undefined) return bytes;
  bytes = UTF8.encode(text);
  if (text.length > LONGEST_ENCODED) return bytes;
  if (ENCODED.size === MOST_ENCODED) ENCODED.clear();
  ENCODED.set(text, bytes);
  return bytes;
}
