/**
 * The commands of MDP 0.2 as types, and the dialects that they are written in. What turns them
 * into frames and back is `codec.ts`, which exports all of this.
 *
 * @module
 */

/** The names of the dialects. */
export type DialectName = "rfc" | "majortomo" | "multiplexed";

/**
 * A dialect of MDP 0.2: all that differs between peers on the wire. There are four values,
 * {@linkcode RFC}, {@linkcode RFC_REQ}, {@linkcode MAJORTOMO} and {@linkcode MULTIPLEXED};
 * compare them by identity.
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

/** The multiplexed dialect: a control frame of 20 bytes, with ids, instead of an envelope. */
export const MULTIPLEXED: Dialect = Object.freeze({
  name: "multiplexed",
  delimiter: false,
  client: Object.freeze({ request: 1, partial: 2, final: 3 }),
  serviceInReply: false,
});

/** The dialects by name. */
export const DIALECTS: Readonly<Record<DialectName, Dialect>> = Object.freeze({
  rfc: RFC,
  majortomo: MAJORTOMO,
  multiplexed: MULTIPLEXED,
});

/**
 * The id of a request in the multiplexed dialect, 1 to 2⁶⁴ - 1: a number if it is a safe
 * integer, else a bigint, so that equal ids are equal keys of a `Map`.
 */
export type Id = number | bigint;

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
  /** Multiplexed: what the client knows it by. */
  id?: Id;
  /** Multiplexed: how long the answer is of use, in ms; 0 is for ever. */
  timeToLive?: number;
  /** Multiplexed: to be refused if no worker serves it now. */
  noWait?: boolean;
  /** Multiplexed: never to be given to a second worker. */
  once?: boolean;
  /** Multiplexed: headers, if there are any. */
  headers?: F;
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
  /** Multiplexed: what the client knows the request by. */
  id?: Id;
  /** Multiplexed: headers, if there are any. */
  headers?: F;
}

/** Multiplexed: instead of a FINAL, broker to client. */
export interface ErrorCommand<F = Uint8Array> {
  /** Which half of the protocol. */
  side: "client";
  /** Which command. */
  command: "error";
  /** What it is written in. */
  dialect: Dialect;
  /** What the client knows the request by. */
  id: Id;
  /** What went wrong, 400 to 599 as in HTTP. */
  code: number;
  /** The same in words, UTF-8. */
  message: F;
  /** More about it, if there is any. */
  details?: F;
}

/** Multiplexed: HEARTBEAT and DISCONNECT, both ways between client and broker. */
export interface ClientControlCommand {
  /** Which half of the protocol. */
  side: "client";
  /** Which command. */
  command: "heartbeat" | "disconnect";
  /** What it is written in. */
  dialect: Dialect;
}

/** Multiplexed: the client no longer wants an answer. */
export interface CancelRequestCommand {
  /** Which half of the protocol. */
  side: "client";
  /** Which command. */
  command: "cancel";
  /** What it is written in. */
  dialect: Dialect;
  /** What the client knows the request by. */
  id: Id;
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
  /** Multiplexed: how many requests it takes at once, 1 to 65,535. */
  credit?: number;
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
  client?: F;
  /** Multiplexed, instead of the address: what the broker knows the request by. */
  token?: Id;
  /** Multiplexed: how long the answer is still of use, in ms; 0 is for ever. */
  timeToLive?: number;
  /** The body. */
  body: readonly F[];
  /** Multiplexed: headers, if there are any. */
  headers?: F;
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
  client?: F;
  /** Multiplexed, instead of the address: the token that the request came with. */
  token?: Id;
  /** The body. */
  body: readonly F[];
  /** Multiplexed: headers, if there are any. */
  headers?: F;
}

/** Multiplexed: instead of a FINAL, worker to broker. */
export interface FailureCommand<F = Uint8Array> {
  /** Which half of the protocol. */
  side: "worker";
  /** Which command. */
  command: "error";
  /** What it is written in. */
  dialect: Dialect;
  /** The token that the request came with. */
  token: Id;
  /** What went wrong, 400 to 599 as in HTTP. */
  code: number;
  /** The same in words, UTF-8. */
  message: F;
  /** More about it, if there is any. */
  details?: F;
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

/** Multiplexed: nobody wants the answer to a request any more, broker to worker. */
export interface CancelWorkCommand {
  /** Which half of the protocol. */
  side: "worker";
  /** Which command. */
  command: "cancel";
  /** What it is written in. */
  dialect: Dialect;
  /** The token that the request came with. */
  token: Id;
}

/** Multiplexed: how many requests a worker takes from now on, worker to broker. */
export interface CreditCommand {
  /** Which half of the protocol. */
  side: "worker";
  /** Which command. */
  command: "credit";
  /** What it is written in. */
  dialect: Dialect;
  /** 0 to 65,535; 0 is no more. */
  credit: number;
}

/** What a broker can get. */
export type CommandAtBroker<F = Uint8Array> =
  | RequestCommand<F>
  | CancelRequestCommand
  | ClientControlCommand
  | ReadyCommand<F>
  | AnswerCommand<F>
  | FailureCommand<F>
  | CreditCommand
  | ControlCommand;

/** What a client can get. */
export type CommandAtClient<F = Uint8Array> =
  | ReplyCommand<F>
  | ErrorCommand<F>
  | ClientControlCommand;

/** What a worker can get. */
export type CommandAtWorker<F = Uint8Array> = WorkCommand<F> | CancelWorkCommand | ControlCommand;

/** Every command. */
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
