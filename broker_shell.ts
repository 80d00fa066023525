/**
 * What a broker's routing has sent: commands, encoded and put into the outbox.
 *
 * @module
 */

import type { BrokerEvents } from "./broker_events.ts";
import type { BrokerLog } from "./broker_log.ts";
import type { BrokerTraces } from "./broker_traces.ts";
import { type Command, type Dialect, encode, type Id, MULTIPLEXED } from "./codec.ts";
import { clientEnvelope, EMPTY, workerEnvelope } from "./codec_envelope.ts";
import { writeReply, writeWork } from "./codec_multiplexed.ts";
import { bodyIn, type Content, detach, discard, headersIn, sizeOf } from "./content.ts";
import { bytesOfName } from "./names.ts";
import { LONGEST_NAME } from "./options.ts";
import type { Outbox } from "./outbox.ts";
import type { Message as What, Request, RoutingEvent, Shell, Worker } from "./routing.ts";
import { Frame } from "./zmtp/frame.ts";

// What is sent with every request is made once.

/** A name that no service can have. */
const NO_NAME = "-".repeat(LONGEST_NAME + 1);
const NO_ENVELOPE: readonly Uint8Array[] = [];
/** How messages begin, by dialect. */
const ENVELOPES = new Map<Dialect, Envelopes>();

interface Envelopes {
  readonly work: readonly Uint8Array[];
  readonly partial: readonly Uint8Array[];
  readonly final: readonly Uint8Array[];
  /** The frame between the client's address and the body. */
  readonly empty: Uint8Array;
}

function envelopesOf(dialect: Dialect): Envelopes {
  let envelopes = ENVELOPES.get(dialect);
  if (envelopes !== undefined) return envelopes;
  envelopes = {
    work: workerEnvelope(dialect, "request"),
    partial: clientEnvelope(dialect, "partial"),
    final: clientEnvelope(dialect, "final"),
    empty: EMPTY,
  };
  ENVELOPES.set(dialect, envelopes);
  return envelopes;
}

/** Names of services as frames. */
const nameOf = keeping(bytesOfName, 1024, 255);
const UTF8 = new TextEncoder();
/** A text as bytes that are not to be written to. To encode a short one costs 0.4 µs. */
const bytesOf = keeping((text) => UTF8.encode(text), 64, 64);

/** What is made of strings, kept: at most so many, of so many characters. */
function keeping<T>(make: (text: string) => T, most: number, longest: number): (text: string) => T {
  const known = new Map<string, T>();
  return (text) => {
    let made = known.get(text);
    if (made !== undefined) return made;
    made = make(text);
    if (text.length > longest) return made;
    if (known.size === most) known.clear();
    known.set(text, made);
    return made;
  };
}

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
    const { identity, dialect } = worker, { body, client } = request;
    // Copies, since the request may have to be sent to another worker.
    const copies = body instanceof Frame ? [body.copy()] : body.frames.map((frame) => frame.copy());
    if (dialect === MULTIPLEXED) {
      const headers = this.#traces?.headersFor(request) ?? headersIn(body)?.copy();
      const control = this.#outbox.control();
      writeWork(control[0], request.token, timeToLive, headers !== undefined);
      const frames = headers === undefined ? copies : [headers, ...copies];
      return this.#outbox.put(identity, control, frames, "request", request);
    }
    // Without headers, for which an RFC 18 worker has no room.
    const { work, empty } = envelopesOf(dialect), address = this.#outbox.identity(client);
    const frames = copies.length === 1 ? [address, empty, copies[0]!] : [address, empty, ...copies];
    this.#outbox.put(identity, work, frames, "request", request);
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
    const headers = headersIn(content), body = bodyIn(content);
    if (dialect === MULTIPLEXED) {
      const control = this.#outbox.control();
      writeReply(control[0], command, id, headers !== undefined);
      const frames = headers === undefined ? body : [headers, ...body];
      return this.#outbox.put(client, control, frames, command, request);
    }
    // An RFC 18 client has no room for them.
    headers?.release();
    let frames: readonly (Frame | Uint8Array)[] = body;
    if (dialect.serviceInReply) {
      const name = nameOf(service.name);
      frames = body.length === 1 ? [name, body[0]!] : [name, ...body];
    }
    this.#outbox.put(client, envelopesOf(dialect)[command], frames, command, request);
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
      service: nameOf(service),
      body: [bytesOf(text)],
    });
  }

  read(content: Content): string {
    const first = bodyIn(content)[0];
    if (first === undefined) return "";
    return first.size > LONGEST_NAME ? NO_NAME : first.toBinaryString();
  }

  size(content: Content): number {
    return sizeOf(content);
  }

  detach(content: Content): void {
    detach(content);
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
    command: Command<Frame | Uint8Array>,
  ): void {
    const outbox = this.#outbox;
    if (command.dialect === MULTIPLEXED) {
      const control = outbox.control();
      const [, ...frames] = encode<Frame | Uint8Array>(command, control[0]);
      outbox.put(peer, control, frames, what, request);
    } else outbox.put(peer, NO_ENVELOPE, encode<Frame | Uint8Array>(command), what, request);
  }
}
