/**
 * MDP 0.2 as typed commands: {@linkcode encode} turns a command into the frames of a message,
 * {@linkcode decodeAtBroker}, {@linkcode decodeAtClient} and {@linkcode decodeAtWorker} turn the
 * frames of a message into a command, and refuse whatever is not MDP 0.2 with a
 * {@linkcode ProtocolError} that says why. Pure: no socket, no clock.
 *
 * Two dialects are spoken in the wild, that of RFC 18 and that of the Python project majortomo;
 * the third, multiplexed, is this project's own. `docs/protocol.md` has all, byte by byte. A
 * dialect is a {@linkcode Dialect} value.
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

import {
  BYTES,
  type Command,
  type CommandAtBroker,
  type CommandAtClient,
  type CommandAtWorker,
  type Dialect,
  type FrameReader,
  MAJORTOMO,
  MULTIPLEXED,
  type ReplyCommand,
  RFC,
  RFC_REQ,
} from "./commands.ts";
import * as multiplexed from "./codec_multiplexed.ts";
import { errorOf, InvalidMessage, must } from "./codec_invalid.ts";
import {
  CLIENT,
  clientEnvelope,
  DISCONNECT,
  EMPTY,
  FINAL,
  HEARTBEAT,
  MDP,
  PARTIAL,
  READY,
  REQUEST,
  SIDE_AT,
  VERSION,
  WORKER,
  workerEnvelope,
} from "./codec_envelope.ts";

export * from "./commands.ts";
export type { Refused } from "./codec_multiplexed.ts";
export { InvalidMessage } from "./codec_invalid.ts";
export { CLIENT_HEADER, WORKER_HEADER } from "./codec_envelope.ts";
export { ProtocolError, type ProtocolErrorKind } from "./errors.ts";

const HEADER_LENGTH = 6;

/**
 * The frames of a command, as they follow a ROUTER's identity frame. A body is passed on as it
 * is; the frames before it must not be written to.
 *
 * @param command What to send.
 * @param into 20 bytes that a control frame of the multiplexed dialect is written to. Default: new
 * ones; whoever sends at once can use the same ones again.
 * @returns Its frames, in an array of the caller's own. Values are not looked at: an id of 0, a code of
 * 9999 or an empty name are written as they are, and refused by who decodes them.
 * @throws {TypeError} If a reply names no service in a dialect that does, or the dialect has no such
 * command.
 */
export function encode<F = Uint8Array>(
  command: Command<F>,
  into?: Uint8Array,
): (F | Uint8Array)[] {
  const { dialect } = command;
  if (dialect === MULTIPLEXED) {
    return multiplexed.encode(command, into ?? new Uint8Array(multiplexed.CONTROL_LENGTH));
  }
  if (command.side === "client") {
    switch (command.command) {
      case "request":
      case "partial":
      case "final": {
        const frames: (F | Uint8Array)[] = clientEnvelope(dialect, command.command);
        if (command.command === "request") frames.push(command.service);
        else if (dialect.serviceInReply) frames.push(serviceOf(command));
        for (const frame of command.body) frames.push(frame);
        return frames;
      }
    }
  } else {
    switch (command.command) {
      case "ready":
      case "request":
      case "partial":
      case "final":
      case "heartbeat":
      case "disconnect": {
        const frames: (F | Uint8Array)[] = workerEnvelope(dialect, command.command);
        if ("service" in command) frames.push(command.service);
        if ("body" in command) {
          frames.push(command.client!, EMPTY);
          for (const frame of command.body) frames.push(frame);
        }
        return frames;
      }
    }
  }
  throw new TypeError(
    `The dialect "${dialect.name}" has no ${command.command} on the ${command.side} side`,
  );
}

function serviceOf<F>({ command, dialect, service }: ReplyCommand<F>): F {
  if (service !== undefined) return service;
  throw new TypeError(
    `A ${command.toUpperCase()} in the dialect ${dialect.name} names its service, got undefined`,
  );
}

/**
 * Decodes what a client or worker sent. The dialect is found from the message: a leading empty
 * frame and command 02 is majortomo's client, command 01 is RFC 18's, with the frame or without;
 * a worker's dialect is whether it sends the frame. A control frame is the multiplexed dialect.
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
  return must(tryDecodeAtBroker(frames, reader));
}

/**
 * What is known of a message that {@linkcode decodeAtBroker} or {@linkcode tryDecodeAtBroker}
 * refused.
 *
 * @param frames The frames after the identity.
 * @param reader How to read one.
 */
export function inspectRefused<F>(
  frames: readonly F[],
  reader: FrameReader<F>,
): multiplexed.Refused {
  const at = frames.length > 0 && isEmpty(frames[0]!, reader) ? 1 : 0;
  if (readHeader(frames, at, reader) !== WORKER) return multiplexed.inspectRefused(frames, reader);
  const command = readCommand(frames, at + 1, reader);
  return command === PARTIAL || command === FINAL ? { isAnswer: true } : {};
}

/**
 * As {@linkcode decodeAtBroker}, but what is wrong with a message is returned and not thrown: for
 * brokers, which are sent garbage by whoever likes to, and are to refuse it cheaply.
 *
 * @param frames The frames after the identity.
 * @param reader How to read one.
 * @returns The command, or what is wrong.
 */
export function tryDecodeAtBroker<F>(
  frames: readonly F[],
  reader: FrameReader<F>,
): CommandAtBroker<F> | InvalidMessage {
  const length = frames.length > 0 ? reader.read(frames[0]!, head) : -1;
  const multiplexedSide = multiplexed.sideOf(length);
  if (multiplexedSide !== undefined) {
    return multiplexed.decodeAtBroker(frames, reader, length, multiplexedSide);
  }
  const delimiter = length === 0;
  const at = delimiter ? 1 : 0;
  const side = length > 0 ? checkHeader(length) : readHeader(frames, at, reader);
  if (typeof side !== "number") return side;
  const byte = readCommand(frames, at + 1, reader);
  if (typeof byte !== "number") return byte;
  const rest = at + 2;
  if (side === CLIENT) {
    const dialect = byte === RFC.client.request
      ? delimiter ? RFC_REQ : RFC
      : byte === MAJORTOMO.client.request && delimiter
      ? MAJORTOMO
      : undefined;
    if (dialect === undefined) return unknownCommand(byte, "a client", "REQUEST");
    const service = readService(frames, rest, reader);
    if (service instanceof InvalidMessage) return service;
    return {
      side: "client",
      command: "request",
      dialect,
      service,
      body: multiplexed.restOf(frames, rest + 1),
    };
  }
  const dialect = delimiter ? MAJORTOMO : RFC;
  switch (byte) {
    case READY: {
      const service = readService(frames, rest, reader);
      if (service instanceof InvalidMessage) return service;
      return leftOver(frames, rest + 1, "READY") ??
        { side: "worker", command: "ready", dialect, service };
    }
    case PARTIAL:
    case FINAL: {
      const command = byte === PARTIAL ? "partial" : "final";
      const client = readAddress(frames, rest, reader);
      if (client instanceof InvalidMessage) return client;
      return {
        side: "worker",
        command,
        dialect,
        client,
        body: multiplexed.restOf(frames, rest + 2),
      };
    }
    case HEARTBEAT:
      return leftOver(frames, rest, "HEARTBEAT") ??
        { side: "worker", command: "heartbeat", dialect };
    case DISCONNECT:
      return leftOver(frames, rest, "DISCONNECT") ??
        { side: "worker", command: "disconnect", dialect };
  }
  return unknownCommand(byte, "a worker", "READY, PARTIAL, FINAL, HEARTBEAT or DISCONNECT");
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
  if (dialect === MULTIPLEXED) return multiplexed.decodeAtClient(frames, reader);
  const at = must(readDelimiter(frames, dialect, reader));
  must(wantSide(readHeader(frames, at, reader), CLIENT));
  const byte = must(readCommand(frames, at + 1, reader));
  const command = byte === dialect.client.partial
    ? "partial"
    : byte === dialect.client.final
    ? "final"
    : undefined;
  if (command === undefined) throw errorOf(unknownCommand(byte, "a broker", "PARTIAL or FINAL"));
  let rest = at + 2;
  if (!dialect.serviceInReply) {
    return { side: "client", command, dialect, body: multiplexed.restOf(frames, rest) };
  }
  const service = must(readService(frames, rest++, reader));
  return { side: "client", command, dialect, service, body: multiplexed.restOf(frames, rest) };
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
  if (dialect === MULTIPLEXED) return multiplexed.decodeAtWorker(frames, reader);
  const at = must(readDelimiter(frames, dialect, reader));
  must(wantSide(readHeader(frames, at, reader), WORKER));
  const byte = must(readCommand(frames, at + 1, reader));
  const rest = at + 2;
  switch (byte) {
    case REQUEST: {
      const client = must(readAddress(frames, rest, reader));
      return {
        side: "worker",
        command: "request",
        dialect,
        client,
        body: multiplexed.restOf(frames, rest + 2),
      };
    }
    case HEARTBEAT:
      must(leftOver(frames, rest, "HEARTBEAT"));
      return { side: "worker", command: "heartbeat", dialect };
    case DISCONNECT:
      must(leftOver(frames, rest, "DISCONNECT"));
      return { side: "worker", command: "disconnect", dialect };
  }
  throw errorOf(unknownCommand(byte, "a broker", "REQUEST, HEARTBEAT or DISCONNECT"));
}

/** Where the beginnings of envelope frames are read to, one at a time. */
const { head } = multiplexed;

function isEmpty<F>(frame: F, reader: FrameReader<F>): boolean {
  return reader.read(frame, EMPTY) === 0;
}

function readDelimiter<F>(
  frames: readonly F[],
  dialect: Dialect,
  reader: FrameReader<F>,
): number | InvalidMessage {
  const found = frames.length > 0 && isEmpty(frames[0]!, reader);
  if (found === dialect.delimiter) return found ? 1 : 0;
  return new InvalidMessage(
    "delimiter",
    found
      ? "The message begins with an empty frame, which this dialect does not have"
      : "The message does not begin with the empty frame that this dialect has",
  );
}

function readHeader<F>(
  frames: readonly F[],
  at: number,
  reader: FrameReader<F>,
): number | InvalidMessage {
  if (at >= frames.length) {
    return new InvalidMessage("frames", `The message has ${count(frames.length)}, and no header`);
  }
  return checkHeader(reader.read(frames[at]!, head));
}

/** The header whose beginning is in `head`. */
function checkHeader(length: number): number | InvalidMessage {
  const side = head[SIDE_AT]!;
  if (
    length === HEADER_LENGTH && head[0] === MDP[0] && head[1] === MDP[1] && head[2] === MDP[2] &&
    head[4] === VERSION[0] && head[5] === VERSION[1] && (side === CLIENT || side === WORKER)
  ) return side;
  const text = length === HEADER_LENGTH ? String.fromCharCode(...head.subarray(0, length)) : "";
  return new InvalidMessage(
    "header",
    // There are peers of MDP 0.1 left, the examples of ZeroMQ's guide among them.
    text === "MDPC01" || text === "MDPW01"
      ? `The header is "${text}", which is MDP 0.1: only MDP 0.2 is spoken here`
      : `The header is ${show(head, length)}, which is neither "MDPC02" nor "MDPW02"`,
  );
}

/** The side, if it is the wanted one and was found at all. */
function wantSide(side: number | InvalidMessage, wanted: number): number | InvalidMessage {
  if (side === wanted || typeof side !== "number") return side;
  return new InvalidMessage(
    "header",
    `The header is "MDP${String.fromCharCode(side)}02" where "MDP${
      String.fromCharCode(wanted)
    }02" is due`,
  );
}

function readCommand<F>(
  frames: readonly F[],
  at: number,
  reader: FrameReader<F>,
): number | InvalidMessage {
  if (at >= frames.length) {
    return new InvalidMessage(
      "frames",
      "The message ends after its header: the command is missing",
    );
  }
  const length = reader.read(frames[at]!, head);
  if (length === 1) return head[0]!;
  return new InvalidMessage(
    "command",
    `The command is ${show(head, length)} where one byte is due`,
  );
}

function readService<F>(
  frames: readonly F[],
  at: number,
  reader: FrameReader<F>,
): F | InvalidMessage {
  if (at >= frames.length) {
    return new InvalidMessage(
      "frames",
      "The message ends after its command: the service is missing",
    );
  }
  const service = frames[at]!;
  if (!isEmpty(service, reader)) return service;
  return new InvalidMessage("service", "The service name is empty");
}

/** The client's address and the empty frame after it. */
function readAddress<F>(
  frames: readonly F[],
  at: number,
  reader: FrameReader<F>,
): F | InvalidMessage {
  if (at >= frames.length) {
    return new InvalidMessage(
      "frames",
      "The message ends after its command: the client is missing",
    );
  }
  const client = frames[at]!;
  if (isEmpty(client, reader)) {
    return new InvalidMessage("frames", "The client's address is empty");
  }
  if (at + 1 >= frames.length) {
    return new InvalidMessage(
      "delimiter",
      "The message ends after the client's address: the empty frame is missing",
    );
  }
  const length = reader.read(frames[at + 1]!, head);
  if (length === 0) return client;
  return new InvalidMessage(
    "delimiter",
    `The frame after the client's address is ${show(head, length)} where an empty one is due`,
  );
}

/** What is wrong if a command has more frames than so many. */
function leftOver<F>(
  frames: readonly F[],
  length: number,
  command: string,
): InvalidMessage | undefined {
  if (frames.length === length) return undefined;
  return new InvalidMessage(
    "frames",
    `${command} has ${count(frames.length - length)} left over`,
  );
}

function unknownCommand(byte: number, who: string, commands: string): InvalidMessage {
  const hex = byte.toString(16).padStart(2, "0");
  return new InvalidMessage("command", `The command ${hex} is none that ${who} sends: ${commands}`);
}

function count(frames: number): string {
  return frames === 0 ? "no frames" : frames === 1 ? "1 frame" : `${frames} frames`;
}

const HEX = Array.from({ length: 256 }, (_, byte) => byte.toString(16).padStart(2, "0"));

/** A short frame as its bytes in hex: what a peer sends is not for a terminal to interpret. */
function show(bytes: Uint8Array, length: number): string {
  if (length === 0) return "empty";
  // A flood of what is wrong is to cost little more than the same of what is right.
  let hex = HEX[bytes[0]!]!;
  for (let i = 1; i < length && i < HEADER_LENGTH; i++) hex += ` ${HEX[bytes[i]!]}`;
  const size = length === 1 ? "1 byte" : `${length} bytes`;
  return length > HEADER_LENGTH ? `${size} (${hex} …)` : `${size} (${hex})`;
}
