/**
 * ZMTP 3.1 (ZeroMQ RFC 37), byte by byte: the greeting, the frames, and those commands that a ROUTER
 * of the mechanism NULL sends and gets. Peers of ZMTP 3.0 are met, too. Pure: no socket, no clock.
 *
 * @module
 */

/** Flags of a frame: more of the message follow; its size has 8 bytes; it is a command. */
export const MORE = 1, LONG = 2, COMMAND = 4;
/** How many bytes a greeting has. */
export const GREETING_LENGTH = 64;
/** How many bytes of it tell the version. */
export const VERSION_LENGTH = 11;
/** The sockets that a ROUTER may be connected with. */
const TYPES: ReadonlySet<string> = new Set(["REQ", "DEALER", "ROUTER"]);
/** How many bytes an identity has at most. */
const LONGEST_IDENTITY = 255;

/** What a ROUTER says first. */
export const GREETING: Uint8Array<ArrayBuffer> = new Uint8Array(GREETING_LENGTH);
GREETING.set([0xff, 0, 0, 0, 0, 0, 0, 0, 0, 0x7f, 3, 1]);
GREETING.set(ascii("NULL"), 12);

/** What it says next: READY, with its type. */
export const READY: Uint8Array<ArrayBuffer> = command("READY", [
  ...property("Socket-Type", ascii("ROUTER")),
  ...property("Identity", []),
]);

/**
 * What is wrong with a greeting, as far as it is there.
 *
 * @returns `undefined` if nothing is.
 */
export function faultOfGreeting(bytes: Uint8Array, at: number, end: number): string | undefined {
  const length = end - at;
  if (length > 0 && bytes[at] !== 0xff) return "It does not begin as ZMTP 3 does";
  if (length >= 10 && (bytes[at + 9]! & 1) === 0) return "It does not begin as ZMTP 3 does";
  if (length >= VERSION_LENGTH && bytes[at + 10]! < 3) {
    return `It speaks ZMTP ${bytes[at + 10] === 0 ? 1 : 2}, and 3 is needed`;
  }
  if (length < GREETING_LENGTH) return undefined;
  const mechanism = text(bytes, at + 12, at + 32).replace(/\0+$/, "");
  return mechanism === "NULL" ? undefined : `It wants the mechanism "${mechanism}"`;
}

/** The name of a command, whose body is between these places; `undefined` if it has none. */
export function nameOf(bytes: Uint8Array, at: number, end: number): string | undefined {
  if (at >= end || at + 1 + bytes[at]! > end) return undefined;
  return text(bytes, at + 1, at + 1 + bytes[at]!);
}

/**
 * The identity in a READY whose body is between these places: empty if the peer leaves it to the
 * ROUTER.
 *
 * @returns What is wrong with it, if something is.
 */
export function identityIn(
  bytes: Uint8Array,
  at: number,
  end: number,
): { identity: Uint8Array<ArrayBuffer> } | { fault: string } {
  let identity = new Uint8Array(0), type = "";
  const view = new DataView(bytes.buffer, bytes.byteOffset);
  for (let next = at + 1 + "READY".length; next < end;) {
    const name = next + 1, value = name + bytes[next]! + 4;
    if (value > end) return { fault: "Its READY is cut off" };
    next = value + view.getUint32(value - 4);
    if (next > end) return { fault: "Its READY is cut off" };
    switch (text(bytes, name, value - 4).toLowerCase()) {
      case "socket-type":
        type = text(bytes, value, next);
        break;
      case "identity":
        identity = new Uint8Array(bytes.slice(value, next));
    }
  }
  if (!TYPES.has(type)) return { fault: `It is a socket of type "${type}"` };
  // One that begins with 0 is of those that a ROUTER gives.
  if (identity.length > LONGEST_IDENTITY || identity[0] === 0) {
    return { fault: "Its identity is too long, or begins with 0" };
  }
  return { identity };
}

/** Where the body of a PING has its time to live, of 16 bits, and what is to come back. */
const TTL_AT = 1 + "PING".length, CONTEXT_AT = TTL_AT + 2, LONGEST_CONTEXT = 16;

/** For how many tenths of a second the sender of a PING may be silent; 0 if it does not say. */
export function timeToLive(bytes: Uint8Array, at: number, end: number): number {
  return at + CONTEXT_AT > end ? 0 : bytes[at + TTL_AT]! << 8 | bytes[at + TTL_AT + 1]!;
}

/** What answers a PING whose body is between these places. */
export function pong(bytes: Uint8Array, at: number, end: number): Uint8Array<ArrayBuffer> {
  const from = at + CONTEXT_AT, to = Math.min(end, from + LONGEST_CONTEXT);
  return command("PONG", [...bytes.subarray(from, Math.max(from, to))]);
}

/** A command as a frame. */
export function command(name: string, data: readonly number[]): Uint8Array<ArrayBuffer> {
  const body = [name.length, ...ascii(name), ...data];
  return new Uint8Array([COMMAND, body.length, ...body]);
}

function property(name: string, value: readonly number[]): number[] {
  return [name.length, ...ascii(name), 0, 0, 0, value.length, ...value];
}

function ascii(text: string): number[] {
  return Array.from(text, (char) => char.charCodeAt(0));
}

function text(bytes: Uint8Array, at: number, end: number): string {
  return String.fromCharCode(...bytes.subarray(at, end));
}
