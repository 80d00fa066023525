/**
 * What is constant in the messages of RFC 18 and majortomo's dialect: the frames that begin them, each
 * made once.
 *
 * @module
 */

import type { Dialect } from "./commands.ts";

/** What both headers begin and end with; the byte between says the side. */
export const MDP = [0x4d, 0x44, 0x50] as const, VERSION = [0x30, 0x32] as const;
export const SIDE_AT = 3, CLIENT = 0x43, WORKER = 0x57;

const header = (side: number) => new Uint8Array([...MDP, side, ...VERSION]);

/** The header of messages between clients and broker, `MDPC02`. */
export const CLIENT_HEADER: Uint8Array = header(CLIENT);
/** The header of messages between workers and broker, `MDPW02`. */
export const WORKER_HEADER: Uint8Array = header(WORKER);
/** The frame without a byte. */
export const EMPTY: Uint8Array = new Uint8Array(0);

/** The commands of the worker side, as bytes. */
export const READY = 1, REQUEST = 2, PARTIAL = 3, FINAL = 4, HEARTBEAT = 5, DISCONNECT = 6;
const WORKER_COMMANDS = {
  ready: READY,
  request: REQUEST,
  partial: PARTIAL,
  final: FINAL,
  heartbeat: HEARTBEAT,
  disconnect: DISCONNECT,
} as const;

const COMMAND_FRAMES = Array.from({ length: 7 }, (_, byte) => new Uint8Array([byte]));

/** The frames that begin a message between a client and the broker. In an array of the caller's own. */
export function clientEnvelope(
  dialect: Dialect,
  command: "request" | "partial" | "final",
): Uint8Array[] {
  return envelope(dialect, CLIENT_HEADER, dialect.client[command]);
}

/** The same between a worker and the broker. */
export function workerEnvelope(
  dialect: Dialect,
  command: keyof typeof WORKER_COMMANDS,
): Uint8Array[] {
  return envelope(dialect, WORKER_HEADER, WORKER_COMMANDS[command]);
}

function envelope(dialect: Dialect, header: Uint8Array, command: number): Uint8Array[] {
  const byte = COMMAND_FRAMES[command]!;
  return dialect.delimiter ? [EMPTY, header, byte] : [header, byte];
}
