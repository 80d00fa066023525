/**
 * MDP 0.2 as typed commands: {@linkcode encode} turns a command into the frames of a message,
 * {@linkcode decodeAtBroker}, {@linkcode decodeAtClient} and {@linkcode decodeAtWorker} turn the
 * frames of a message into a command, and refuse whatever is not MDP 0.2 with a
 * {@linkcode ProtocolError} that says why. Pure: no socket, no clock.
 *
 * Two dialects are spoken in the wild, that of RFC 18 and that of the Python project majortomo;
 * `docs/protocol.md` has both, byte by byte. A dialect is a {@linkcode Dialect} value.
 *
 * Frames are `Uint8Array`s unless a {@linkcode FrameReader} for another type is given: only the
 * frames of the envelope are read, and a body is handed on as it is.
 *
 * @example
 * ```ts
 * import { decodeAtBroker, encode, RFC } from "@majortomo/mdp/codec";
 *
 * const utf8 = (text: string) => new TextEncoder().encode(text);
 * const frames = encode({
 *   side: "client",
 *   command: "request",
 *   dialect: RFC,
 *   service: utf8("echo"),
 *   body: [utf8("hello")],
 * });
 * const command = decodeAtBroker(frames);
 * if (command.command === "request") console.log(command.service, command.body);
 * ```
 *
 * @module
 */

import { ProtocolError } from "./errors.ts";

export { ProtocolError, type ProtocolErrorKind } from "./errors.ts";

/** The dialects that a `Client` or `Worker` can be told to speak. */
export type DialectName = "rfc" | "majortomo";

/**
 * A dialect of MDP 0.2: all that differs between peers on the wire. There are three values,
 * {@linkcode RFC}, {@linkcode RFC_REQ} and {@linkcode MAJORTOMO}; compare them by identity.
 */
export interface Dialect {
  /** Which it is. */
  readonly name: DialectName;
  /** Whether an empty frame comes first in every message, as a REQ socket sends it. */
  readonly delimiter: boolean;
  /** The command bytes of the client side. */
  readonly client: { readonly request: number; readonly partial: number; readonly final: number };
  /** Whether replies to clients name the service, after the command. */
  readonly serviceInReply: boolean;
}

/** RFC 18: no leading empty frame, client commands 01 to 03, the service named in replies. */
export const RFC: Dialect = Object.freeze({
  name: "rfc",
  delimiter: false,
  client: Object.freeze({ request: 1, partial: 2, final: 3 }),
  serviceInReply: true,
});

/** RFC 18 behind the empty frame that a REQ socket sends, and wants to get. */
export const RFC_REQ: Dialect = Object.freeze({ ...RFC, delimiter: true });

/** majortomo: always a leading empty frame, client commands 02 to 04, no service in replies. */
export const MAJORTOMO: Dialect = Object.freeze({
  name: "majortomo",
  delimiter: true,
  client: Object.freeze({ request: 2, partial: 3, final: 4 }),
  serviceInReply: false,
});

/** The dialects that a `Client` or `Worker` can be told to speak, by name. */
export const DIALECTS: Readonly<Record<DialectName, Dialect>> = Object.freeze({
  rfc: RFC,
  majortomo: MAJORTOMO,
});

/** A client's request. RFC 18: REQUEST, client to broker. */
export interface RequestCommand<F = Uint8Array> {
  /** Which half of the protocol. */
  side: "client";
  /** Which command. */
  command: "request";
  /** What it is written in, and its reply must be. */
  dialect: Dialect;
  /** The name of the service, at least one byte. */
  service: F;
  /** The body. RFC 18 wants one frame or more; majortomo's client can send none. */
  body: readonly F[];
}

/** A part of a reply, or the last of it. RFC 18: PARTIAL and FINAL, broker to client. */
export interface ReplyCommand<F = Uint8Array> {
  /** Which half of the protocol. */
  side: "client";
  /** Which command. */
  command: "partial" | "final";
  /** What it is written in. */
  dialect: Dialect;
  /** The name of the service; absent where the dialect does not send it. */
  service?: F;
  /** The body. */
  body: readonly F[];
}

/** A worker registers for a service. RFC 18: READY, worker to broker. */
export interface ReadyCommand<F = Uint8Array> {
  /** Which half of the protocol. */
  side: "worker";
  /** Which command. */
  command: "ready";
  /** What it is written in. */
  dialect: Dialect;
  /** The name of the service, at least one byte. */
  service: F;
}

/** A request for a worker. RFC 18: REQUEST, broker to worker. */
export interface WorkCommand<F = Uint8Array> {
  /** Which half of the protocol. */
  side: "worker";
  /** Which command. */
  command: "request";
  /** What it is written in. */
  dialect: Dialect;
  /** The address of the client, to be sent back with each part of the reply. */
  client: F;
  /** The body. */
  body: readonly F[];
}

/** A part of a worker's reply, or the last of it. RFC 18: PARTIAL and FINAL, worker to broker. */
export interface AnswerCommand<F = Uint8Array> {
  /** Which half of the protocol. */
  side: "worker";
  /** Which command. */
  command: "partial" | "final";
  /** What it is written in. */
  dialect: Dialect;
  /** The address of the client that the request came with. */
  client: F;
  /** The body. */
  body: readonly F[];
}

/** RFC 18: HEARTBEAT and DISCONNECT, both ways between worker and broker. */
export interface ControlCommand {
  /** Which half of the protocol. */
  side: "worker";
  /** Which command. */
  command: "heartbeat" | "disconnect";
  /** What it is written in. */
  dialect: Dialect;
}

/** What a broker can get. */
export type CommandAtBroker<F = Uint8Array> =
  | RequestCommand<F>
  | ReadyCommand<F>
  | AnswerCommand<F>
  | ControlCommand;

/** What a client can get. */
export type CommandAtClient<F = Uint8Array> = ReplyCommand<F>;

/** What a worker can get. */
export type CommandAtWorker<F = Uint8Array> = WorkCommand<F> | ControlCommand;

/** Every command, for {@linkcode encode}. */
export type Command<F = Uint8Array> =
  | CommandAtBroker<F>
  | CommandAtClient<F>
  | CommandAtWorker<F>;

/** How the codec reads a frame of whatever type. */
export interface FrameReader<F> {
  /**
   * Copies the beginning of a frame.
   *
   * @param frame The frame.
   * @param into Where to; filled as far as both go.
   * @returns The frame's whole length in bytes.
   */
  read(frame: F, into: Uint8Array): number;
}

/** The reader for frames that are bytes in JavaScript. */
export const BYTES: FrameReader<Uint8Array> = {
  read(frame, into) {
    const length = Math.min(frame.length, into.length);
    for (let i = 0; i < length; i++) into[i] = frame[i]!;
    return frame.length;
  },
};

const EMPTY = new Uint8Array(0);
const HEADER_LENGTH = 6;
/** What both headers begin and end with; the byte between says the side. */
const MDP = [0x4d, 0x44, 0x50] as const, VERSION = [0x30, 0x32] as const;
const SIDE_AT = 3, CLIENT = 0x43, WORKER = 0x57;
const header = (side: number) => new Uint8Array([...MDP, side, ...VERSION]);

/** The header of messages between clients and broker, `MDPC02`. */
export const CLIENT_HEADER: Uint8Array = header(CLIENT);
/** The header of messages between workers and broker, `MDPW02`. */
export const WORKER_HEADER: Uint8Array = header(WORKER);

const READY = 1, REQUEST = 2, PARTIAL = 3, FINAL = 4, HEARTBEAT = 5, DISCONNECT = 6;
const WORKER_COMMANDS = {
  ready: READY,
  request: REQUEST,
  partial: PARTIAL,
  final: FINAL,
  heartbeat: HEARTBEAT,
  disconnect: DISCONNECT,
} as const;

/** One-byte frames, made once: they are sent with every message. */
const COMMAND_FRAMES = Array.from({ length: 7 }, (_, byte) => new Uint8Array([byte]));
const ENVELOPES = {
  client: (delimiter: boolean, command: number) => envelope(delimiter, CLIENT_HEADER, command),
  worker: (delimiter: boolean, command: number) => envelope(delimiter, WORKER_HEADER, command),
};

/**
 * The frames of a command, as they follow a ROUTER's identity frame. A body is passed on as it
 * is; the frames before it must not be written to.
 *
 * @param command What to send.
 * @returns Its frames, in an array of the caller's own.
 * @throws {TypeError} If a reply names no service in a dialect that does.
 */
export function encode<F = Uint8Array>(command: Command<F>): (F | Uint8Array)[] {
  const { dialect } = command;
  if (command.side === "client") {
    const frames: (F | Uint8Array)[] = ENVELOPES.client(
      dialect.delimiter,
      dialect.client[command.command],
    );
    if (command.command === "request") frames.push(command.service);
    else if (dialect.serviceInReply) frames.push(serviceOf(command));
    for (const frame of command.body) frames.push(frame);
    return frames;
  }
  const frames: (F | Uint8Array)[] = ENVELOPES.worker(
    dialect.delimiter,
    WORKER_COMMANDS[command.command],
  );
  switch (command.command) {
    case "ready":
      frames.push(command.service);
      break;
    case "request":
    case "partial":
    case "final":
      frames.push(command.client, EMPTY);
      for (const frame of command.body) frames.push(frame);
  }
  return frames;
}

function serviceOf<F>({ command, dialect, service }: ReplyCommand<F>): F {
  if (service !== undefined) return service;
  throw new TypeError(
    `A ${command.toUpperCase()} in the dialect ${dialect.name} names its service, got undefined`,
  );
}

function envelope(delimiter: boolean, header: Uint8Array, command: number): Uint8Array[] {
  const byte = COMMAND_FRAMES[command]!;
  return delimiter ? [EMPTY, header, byte] : [header, byte];
}

/**
 * Decodes what a client or worker sent. The dialect is found from the message: a leading empty
 * frame and command 02 is majortomo's client, command 01 is RFC 18's, with the frame or without;
 * a worker's dialect is whether it sends the frame.
 *
 * @param frames The frames after the identity.
 * @returns The command; its body, service and client are frames of the message.
 * @throws {ProtocolError} If it is not a message that a broker may get.
 */
export function decodeAtBroker(frames: readonly Uint8Array[]): CommandAtBroker;
/**
 * Decodes the same from frames of another type; those of the body are not read.
 *
 * @param frames The frames after the identity.
 * @param reader How to read one.
 * @returns The command; its frames are those of the message.
 * @throws {ProtocolError} If it is not a message that a broker may get.
 */
export function decodeAtBroker<F>(
  frames: readonly F[],
  reader: FrameReader<F>,
): CommandAtBroker<F>;
export function decodeAtBroker<F>(
  frames: readonly F[],
  reader: FrameReader<F> = BYTES as FrameReader<never>,
): CommandAtBroker<F> {
  const delimiter = frames.length > 0 && isEmpty(frames[0]!, reader);
  const at = delimiter ? 1 : 0;
  const side = readHeader(frames, at, reader);
  const byte = readCommand(frames, at + 1, reader);
  const rest = at + 2;
  if (side === CLIENT) {
    const dialect = byte === RFC.client.request
      ? delimiter ? RFC_REQ : RFC
      : byte === MAJORTOMO.client.request && delimiter
      ? MAJORTOMO
      : undefined;
    if (dialect === undefined) throw unknownCommand(byte, "a client", "REQUEST");
    return {
      side: "client",
      command: "request",
      dialect,
      service: readService(frames, rest, reader),
      body: frames.slice(rest + 1),
    };
  }
  const dialect = delimiter ? MAJORTOMO : RFC;
  switch (byte) {
    case READY: {
      const service = readService(frames, rest, reader);
      noMore(frames, rest + 1, "READY");
      return { side: "worker", command: "ready", dialect, service };
    }
    case PARTIAL:
    case FINAL: {
      const command = byte === PARTIAL ? "partial" : "final";
      const client = readAddress(frames, rest, reader);
      return { side: "worker", command, dialect, client, body: frames.slice(rest + 2) };
    }
    case HEARTBEAT:
      noMore(frames, rest, "HEARTBEAT");
      return { side: "worker", command: "heartbeat", dialect };
    case DISCONNECT:
      noMore(frames, rest, "DISCONNECT");
      return { side: "worker", command: "disconnect", dialect };
  }
  throw unknownCommand(byte, "a worker", "READY, PARTIAL, FINAL, HEARTBEAT or DISCONNECT");
}

/**
 * Decodes what a broker sent to a client.
 *
 * @param frames The frames of the message.
 * @param dialect What the client speaks.
 * @returns The command.
 * @throws {ProtocolError} If it is not a message that a client of this dialect may get.
 */
export function decodeAtClient(
  frames: readonly Uint8Array[],
  dialect: Dialect,
): CommandAtClient;
/**
 * Decodes the same from frames of another type; those of the body are not read.
 *
 * @param frames The frames of the message.
 * @param dialect What the client speaks.
 * @param reader How to read one.
 * @returns The command; its frames are those of the message.
 * @throws {ProtocolError} If it is not a message that a client of this dialect may get.
 */
export function decodeAtClient<F>(
  frames: readonly F[],
  dialect: Dialect,
  reader: FrameReader<F>,
): CommandAtClient<F>;
export function decodeAtClient<F>(
  frames: readonly F[],
  dialect: Dialect,
  reader: FrameReader<F> = BYTES as FrameReader<never>,
): CommandAtClient<F> {
  const at = readDelimiter(frames, dialect, reader);
  wantSide(readHeader(frames, at, reader), CLIENT);
  const byte = readCommand(frames, at + 1, reader);
  const command = byte === dialect.client.partial
    ? "partial"
    : byte === dialect.client.final
    ? "final"
    : undefined;
  if (command === undefined) throw unknownCommand(byte, "a broker", "PARTIAL or FINAL");
  let rest = at + 2;
  if (!dialect.serviceInReply) {
    return { side: "client", command, dialect, body: frames.slice(rest) };
  }
  const service = readService(frames, rest++, reader);
  return { side: "client", command, dialect, service, body: frames.slice(rest) };
}

/**
 * Decodes what a broker sent to a worker.
 *
 * @param frames The frames of the message.
 * @param dialect What the worker speaks.
 * @returns The command.
 * @throws {ProtocolError} If it is not a message that a worker of this dialect may get.
 */
export function decodeAtWorker(
  frames: readonly Uint8Array[],
  dialect: Dialect,
): CommandAtWorker;
/**
 * Decodes the same from frames of another type; those of the body are not read.
 *
 * @param frames The frames of the message.
 * @param dialect What the worker speaks.
 * @param reader How to read one.
 * @returns The command; its frames are those of the message.
 * @throws {ProtocolError} If it is not a message that a worker of this dialect may get.
 */
export function decodeAtWorker<F>(
  frames: readonly F[],
  dialect: Dialect,
  reader: FrameReader<F>,
): CommandAtWorker<F>;
export function decodeAtWorker<F>(
  frames: readonly F[],
  dialect: Dialect,
  reader: FrameReader<F> = BYTES as FrameReader<never>,
): CommandAtWorker<F> {
  const at = readDelimiter(frames, dialect, reader);
  wantSide(readHeader(frames, at, reader), WORKER);
  const byte = readCommand(frames, at + 1, reader);
  const rest = at + 2;
  switch (byte) {
    case REQUEST: {
      const client = readAddress(frames, rest, reader);
      return { side: "worker", command: "request", dialect, client, body: frames.slice(rest + 2) };
    }
    case HEARTBEAT:
      noMore(frames, rest, "HEARTBEAT");
      return { side: "worker", command: "heartbeat", dialect };
    case DISCONNECT:
      noMore(frames, rest, "DISCONNECT");
      return { side: "worker", command: "disconnect", dialect };
  }
  throw unknownCommand(byte, "a broker", "REQUEST, HEARTBEAT or DISCONNECT");
}

/** Where the beginnings of envelope frames are read to, one at a time. */
const head = new Uint8Array(HEADER_LENGTH);

function isEmpty<F>(frame: F, reader: FrameReader<F>): boolean {
  return reader.read(frame, EMPTY) === 0;
}

function readDelimiter<F>(frames: readonly F[], dialect: Dialect, reader: FrameReader<F>): number {
  const found = frames.length > 0 && isEmpty(frames[0]!, reader);
  if (found === dialect.delimiter) return found ? 1 : 0;
  throw new ProtocolError(
    "delimiter",
    found
      ? "The message begins with an empty frame, which this dialect does not have"
      : "The message does not begin with the empty frame that this dialect has",
  );
}

function readHeader<F>(frames: readonly F[], at: number, reader: FrameReader<F>): number {
  if (at >= frames.length) {
    throw new ProtocolError("frames", `The message has ${count(frames.length)}, and no header`);
  }
  const length = reader.read(frames[at]!, head);
  const side = head[SIDE_AT]!;
  if (
    length === HEADER_LENGTH && head[0] === MDP[0] && head[1] === MDP[1] && head[2] === MDP[2] &&
    head[4] === VERSION[0] && head[5] === VERSION[1] && (side === CLIENT || side === WORKER)
  ) return side;
  throw new ProtocolError(
    "header",
    `The header is ${show(head, length)}, which is neither "MDPC02" nor "MDPW02"`,
  );
}

function wantSide(side: number, wanted: number): void {
  if (side === wanted) return;
  throw new ProtocolError(
    "header",
    `The header is "MDP${String.fromCharCode(side)}02" where "MDP${
      String.fromCharCode(wanted)
    }02" is due`,
  );
}

function readCommand<F>(frames: readonly F[], at: number, reader: FrameReader<F>): number {
  if (at >= frames.length) {
    throw new ProtocolError("frames", "The message ends after its header: the command is missing");
  }
  const length = reader.read(frames[at]!, head);
  if (length === 1) return head[0]!;
  throw new ProtocolError("command", `The command is ${show(head, length)} where one byte is due`);
}

function readService<F>(frames: readonly F[], at: number, reader: FrameReader<F>): F {
  if (at >= frames.length) {
    throw new ProtocolError("frames", "The message ends after its command: the service is missing");
  }
  const service = frames[at]!;
  if (!isEmpty(service, reader)) return service;
  throw new ProtocolError("service", "The service name is empty");
}

/** The client's address and the empty frame after it. */
function readAddress<F>(frames: readonly F[], at: number, reader: FrameReader<F>): F {
  if (at >= frames.length) {
    throw new ProtocolError("frames", "The message ends after its command: the client is missing");
  }
  const client = frames[at]!;
  if (isEmpty(client, reader)) {
    throw new ProtocolError("frames", "The client's address is empty");
  }
  if (at + 1 >= frames.length) {
    throw new ProtocolError(
      "delimiter",
      "The message ends after the client's address: the empty frame is missing",
    );
  }
  const length = reader.read(frames[at + 1]!, head);
  if (length === 0) return client;
  throw new ProtocolError(
    "delimiter",
    `The frame after the client's address is ${show(head, length)} where an empty one is due`,
  );
}

function noMore<F>(frames: readonly F[], length: number, command: string): void {
  if (frames.length === length) return;
  throw new ProtocolError(
    "frames",
    `${command} has ${count(frames.length - length)} left over`,
  );
}

function unknownCommand(byte: number, who: string, commands: string): ProtocolError {
  const hex = byte.toString(16).padStart(2, "0");
  return new ProtocolError("command", `The command ${hex} is none that ${who} sends: ${commands}`);
}

function count(frames: number): string {
  return frames === 0 ? "no frames" : frames === 1 ? "1 frame" : `${frames} frames`;
}

/** A short frame as its bytes in hex: what a peer sends is not for a terminal to interpret. */
function show(bytes: Uint8Array, length: number): string {
  const shown = [...bytes.subarray(0, Math.min(length, HEADER_LENGTH))];
  const hex = shown.map((byte) => byte.toString(16).padStart(2, "0")).join(" ");
  if (length === 0) return "empty";
  const size = length === 1 ? "1 byte" : `${length} bytes`;
  return length > HEADER_LENGTH ? `${size} (${hex} …)` : `${size} (${hex})`;
}
