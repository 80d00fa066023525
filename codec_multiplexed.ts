/**
 * The multiplexed dialect on the wire. Each message begins with a control frame of 20 bytes:
 *
 * ```text
 *   0       6         7       8               16              20
 *   ┌───────┬─────────┬───────┬───────────────┬───────────────┐
 *   │ MDPCX1│ command │ flags │ id            │ value         │
 *   │ MDPWX1│         │       │ big-endian    │ big-endian    │
 *   └───────┴─────────┴───────┴───────────────┴───────────────┘
 * ```
 *
 * Which command has which fields and frames is the table {@linkcode SHAPES}; everything else is
 * refused.
 *
 * @module
 */

import {
  type Command,
  type CommandAtBroker,
  type CommandAtClient,
  type CommandAtWorker,
  type FrameReader,
  type Id,
  MULTIPLEXED,
} from "./commands.ts";
import { InvalidMessage, must } from "./codec_invalid.ts";

/** The length of a control frame. */
export const CONTROL_LENGTH = 20;
const VERSION_AT = 4, COMMAND_AT = 6, FLAGS_AT = 7, ID_AT = 8, VALUE_AT = 16;
const MAGIC_LENGTH = 6;
/** `MDPC` and `MDPW`: what begins the control frames of a side. */
const CLIENT = 0x4d445043, WORKER = 0x4d445057;
/** `X1`. */
const VERSION = 0x5831;

const HEADERS = 1, NOWAIT = 2, ONCE = 4;
const MAX_VALUE = 2 ** 32 - 1, MAX_CREDIT = 65_535, MIN_CODE = 400, MAX_CODE = 599;

/** What a command has. */
interface Shape {
  /** Its name in the RFC's manner, for messages. */
  readonly name: string;
  /** The flags that it may have. */
  readonly flags: number;
  /** Whether it has an id. */
  readonly hasId: boolean;
  /** What its value may be. */
  readonly least: number;
  readonly greatest: number;
  /** The frame after the control frame, before headers and body. */
  readonly leading: "none" | "service" | "message";
  /** How many frames may follow after that. */
  readonly trailing: number;
}

/** A shape: what is not said, the command does not have. Made in one place, all are alike to V8. */
function shape(name: string, has: Partial<Omit<Shape, "name">> = {}): Shape {
  const { flags = 0, hasId = false, least = 0, greatest = 0, leading = "none", trailing = 0 } = has;
  return { name, flags, hasId, least, greatest, leading, trailing };
}

const PART = { flags: HEADERS, hasId: true, trailing: Infinity } as const;
const PARTIAL = shape("PARTIAL", PART), FINAL = shape("FINAL", PART);
const HEARTBEAT = shape("HEARTBEAT"), DISCONNECT = shape("DISCONNECT");
const CANCEL = shape("CANCEL", { hasId: true });
const ERROR = shape("ERROR", {
  hasId: true,
  least: MIN_CODE,
  greatest: MAX_CODE,
  leading: "message",
  trailing: 1,
});
const REQUEST = shape("REQUEST", {
  flags: HEADERS | NOWAIT | ONCE,
  hasId: true,
  greatest: MAX_VALUE,
  leading: "service",
  trailing: Infinity,
});
const READY = shape("READY", { least: 1, greatest: MAX_CREDIT, leading: "service" });
const CREDIT = shape("CREDIT", { greatest: MAX_CREDIT });
const WORK = shape("REQUEST", { ...PART, greatest: MAX_VALUE });

/** Shapes by the numbers of the commands. */
type Shapes = readonly (Shape | undefined)[];

/** Every command by receiver, side and number; none has the number 0. */
const SHAPES = {
  broker: {
    client: [, REQUEST, , , , HEARTBEAT, DISCONNECT, , CANCEL],
    worker: [, READY, , PARTIAL, FINAL, HEARTBEAT, DISCONNECT, ERROR, , CREDIT],
  },
  client: [, , PARTIAL, FINAL, ERROR, HEARTBEAT, DISCONNECT],
  worker: [, , WORK, , , HEARTBEAT, DISCONNECT, , CANCEL],
} as const satisfies { broker: Record<string, Shapes>; client: Shapes; worker: Shapes };

/** The numbers of the commands, by side and by what the typed commands call them. */
const NUMBERS = {
  client: { request: 1, partial: 2, final: 3, error: 4, heartbeat: 5, disconnect: 6, cancel: 8 },
  worker: {
    ready: 1,
    request: 2,
    partial: 3,
    final: 4,
    heartbeat: 5,
    disconnect: 6,
    error: 7,
    cancel: 8,
    credit: 9,
  },
} as const;

/** The first frame of the message that is being decoded, as far as it goes. */
export const head: Uint8Array<ArrayBuffer> = new Uint8Array(CONTROL_LENGTH);
const NOTHING = new Uint8Array(0);

/**
 * The side that a message claims to be of, if it is this dialect's to decode or to refuse.
 *
 * @param length The length of its first frame, whose beginning is in {@linkcode head}.
 */
export function sideOf(length: number): number | undefined {
  if (length < MAGIC_LENGTH || (head[VERSION_AT]! << 8 | head[VERSION_AT + 1]!) !== VERSION) {
    return undefined;
  }
  const side = uint32(0);
  return side === CLIENT || side === WORKER ? side : undefined;
}

/** What is known of a message that was refused, so that its sender can be dealt with. */
export interface Refused {
  /** The id of a client's REQUEST whose control frame is whole and has one: it can be told. */
  request?: Id;
  /** The value of a worker's HEARTBEAT that is right but for having one. */
  heartbeat?: number;
  /** Whether it is a PARTIAL or FINAL of a worker that speaks RFC 18 or majortomo's dialect. */
  isAnswer?: boolean;
}

/** The same for messages of this dialect: see `codec.ts`. */
export function inspectRefused<F>(frames: readonly F[], reader: FrameReader<F>): Refused {
  if (frames.length === 0 || reader.read(frames[0]!, head) !== CONTROL_LENGTH) return {};
  const side = sideOf(CONTROL_LENGTH), id = readId();
  if (side === CLIENT && head[COMMAND_AT] === NUMBERS.client.request && id !== 0) {
    return { request: id };
  }
  if (
    side === WORKER && head[COMMAND_AT] === NUMBERS.worker.heartbeat && id === 0 &&
    head[FLAGS_AT] === 0 && frames.length === 1
  ) return { heartbeat: uint32(VALUE_AT) };
  return {};
}

/**
 * As `tryDecodeAtBroker` of `codec.ts`.
 *
 * @param length The length of its first frame, whose beginning is in {@linkcode head}, and
 * @param side what {@linkcode sideOf} says of it.
 */
export function decodeAtBroker<F>(
  frames: readonly F[],
  reader: FrameReader<F>,
  length: number,
  side: number,
): CommandAtBroker<F> | InvalidMessage {
  if (length !== CONTROL_LENGTH) return wrongLength(length);
  const shapes = side === CLIENT ? SHAPES.broker.client : SHAPES.broker.worker;
  const invalid = check(frames, reader, shapes);
  if (invalid !== undefined) return invalid;
  const flags = head[FLAGS_AT]!, value = uint32(VALUE_AT), id = readId();
  const dialect = MULTIPLEXED;
  if (side === CLIENT) {
    switch (head[COMMAND_AT]) {
      case NUMBERS.client.request:
        return {
          side: "client",
          command: "request",
          dialect,
          id,
          timeToLive: value,
          noWait: (flags & NOWAIT) !== 0,
          once: (flags & ONCE) !== 0,
          service: frames[1]!,
          headers: flags & HEADERS ? frames[2]! : undefined,
          body: restOf(frames, flags & HEADERS ? 3 : 2),
        };
      case NUMBERS.client.cancel:
        return { side: "client", command: "cancel", dialect, id };
      case NUMBERS.client.heartbeat:
        return { side: "client", command: "heartbeat", dialect };
      default:
        return { side: "client", command: "disconnect", dialect };
    }
  }
  switch (head[COMMAND_AT]) {
    case NUMBERS.worker.ready:
      return { side: "worker", command: "ready", dialect, credit: value, service: frames[1]! };
    case NUMBERS.worker.partial:
    case NUMBERS.worker.final:
      return {
        side: "worker",
        command: head[COMMAND_AT] === NUMBERS.worker.final ? "final" : "partial",
        dialect,
        token: id,
        headers: flags & HEADERS ? frames[1]! : undefined,
        body: restOf(frames, flags & HEADERS ? 2 : 1),
      };
    case NUMBERS.worker.error:
      return {
        side: "worker",
        command: "error",
        dialect,
        token: id,
        code: value,
        message: frames[1]!,
        details: frames[2],
      };
    case NUMBERS.worker.credit:
      return { side: "worker", command: "credit", dialect, credit: value };
    case NUMBERS.worker.heartbeat:
      return { side: "worker", command: "heartbeat", dialect };
    default:
      return { side: "worker", command: "disconnect", dialect };
  }
}

/** As `decodeAtClient` of `codec.ts`. */
export function decodeAtClient<F>(
  frames: readonly F[],
  reader: FrameReader<F>,
): CommandAtClient<F> {
  must(wantSide(readHead(frames, reader), CLIENT));
  must(check(frames, reader, SHAPES.client));
  const flags = head[FLAGS_AT]!, id = readId();
  const dialect = MULTIPLEXED;
  switch (head[COMMAND_AT]) {
    case NUMBERS.client.partial:
    case NUMBERS.client.final:
      return {
        side: "client",
        command: head[COMMAND_AT] === NUMBERS.client.final ? "final" : "partial",
        dialect,
        id,
        headers: flags & HEADERS ? frames[1]! : undefined,
        body: restOf(frames, flags & HEADERS ? 2 : 1),
      };
    case NUMBERS.client.error:
      return {
        side: "client",
        command: "error",
        dialect,
        id,
        code: uint32(VALUE_AT),
        message: frames[1]!,
        details: frames[2],
      };
    case NUMBERS.client.heartbeat:
      return { side: "client", command: "heartbeat", dialect };
    default:
      return { side: "client", command: "disconnect", dialect };
  }
}

/** As `decodeAtWorker` of `codec.ts`. */
export function decodeAtWorker<F>(
  frames: readonly F[],
  reader: FrameReader<F>,
): CommandAtWorker<F> {
  must(wantSide(readHead(frames, reader), WORKER));
  must(check(frames, reader, SHAPES.worker));
  const flags = head[FLAGS_AT]!, id = readId();
  const dialect = MULTIPLEXED;
  switch (head[COMMAND_AT]) {
    case NUMBERS.worker.request:
      return {
        side: "worker",
        command: "request",
        dialect,
        token: id,
        timeToLive: uint32(VALUE_AT),
        headers: flags & HEADERS ? frames[1]! : undefined,
        body: restOf(frames, flags & HEADERS ? 2 : 1),
      };
    case NUMBERS.worker.cancel:
      return { side: "worker", command: "cancel", dialect, token: id };
    case NUMBERS.worker.heartbeat:
      return { side: "worker", command: "heartbeat", dialect };
    default:
      return { side: "worker", command: "disconnect", dialect };
  }
}

/**
 * As `encode` of `codec.ts`.
 *
 * @param command What to send.
 * @param into Where the control frame is written to; 20 bytes.
 */
export function encode<F>(command: Command<F>, into: Uint8Array): (F | Uint8Array)[] {
  if (command.side === "client") {
    const numbers = NUMBERS.client;
    switch (command.command) {
      case "request": {
        const { headers, service, body } = command;
        writeRequest(into, command.id!, command.timeToLive ?? 0, command, headers !== undefined);
        return requestFrames<F | Uint8Array>(into, service, headers, body);
      }
      case "partial":
      case "final": {
        const { headers, id, body } = command;
        writeReply(into, command.command, id!, headers !== undefined);
        return withBody<F | Uint8Array>(into, headers, body);
      }
      case "error": {
        const { id, code, message, details } = command;
        writeControl(into, CLIENT, numbers.error, 0, id, code);
        return withDetails(into, message, details);
      }
      case "cancel":
        writeControl(into, CLIENT, numbers.cancel, 0, command.id, 0);
        return [into];
      default:
        writeControl(into, CLIENT, numbers[command.command], 0, 0, 0);
        return [into];
    }
  }
  const numbers = NUMBERS.worker;
  switch (command.command) {
    case "ready":
      writeControl(into, WORKER, numbers.ready, 0, 0, command.credit ?? 1);
      return [into, command.service];
    case "request": {
      const { headers, token, timeToLive = 0, body } = command;
      writeWork(into, token!, timeToLive, headers !== undefined);
      return withBody<F | Uint8Array>(into, headers, body);
    }
    case "partial":
    case "final": {
      const { headers, token, body } = command;
      writeAnswer(into, command.command, token!, headers !== undefined);
      return withBody<F | Uint8Array>(into, headers, body);
    }
    case "error": {
      const { token, code, message, details } = command;
      writeControl(into, WORKER, numbers.error, 0, token, code);
      return withDetails(into, message, details);
    }
    case "cancel":
      writeControl(into, WORKER, numbers.cancel, 0, command.token, 0);
      return [into];
    case "credit":
      writeControl(into, WORKER, numbers.credit, 0, 0, command.credit);
      return [into];
    default:
      writeControl(into, WORKER, numbers[command.command], 0, 0, 0);
      return [into];
  }
}

// What is sent all the time can also be had without a command as an object: to make one, and to find
// out what it is, takes as long again.

/** Writes the control frame of a client's REQUEST, as `encode` does. */
export function writeRequest(
  into: Uint8Array,
  id: Id,
  timeToLive: number,
  { noWait, once }: { readonly noWait?: boolean; readonly once?: boolean },
  hasHeaders: boolean,
) {
  const flags = (hasHeaders ? HEADERS : 0) | (noWait ? NOWAIT : 0) | (once ? ONCE : 0);
  writeControl(into, CLIENT, NUMBERS.client.request, flags, id, timeToLive);
}

/** Writes the control frame of a worker's PARTIAL or FINAL, as `encode` does. */
export function writeAnswer(
  into: Uint8Array,
  command: "partial" | "final",
  token: Id,
  hasHeaders: boolean,
) {
  const number = command === "final" ? NUMBERS.worker.final : NUMBERS.worker.partial;
  writeControl(into, WORKER, number, hasHeaders ? HEADERS : 0, token, 0);
}

/** Writes the control frame of a worker's REQUEST, as `encode` does. */
export function writeWork(into: Uint8Array, token: Id, timeToLive: number, hasHeaders: boolean) {
  writeControl(into, WORKER, NUMBERS.worker.request, hasHeaders ? HEADERS : 0, token, timeToLive);
}

/** Writes the control frame of a client's PARTIAL or FINAL, as `encode` does. */
export function writeReply(
  into: Uint8Array,
  command: "partial" | "final",
  id: Id,
  hasHeaders: boolean,
) {
  const number = command === "final" ? NUMBERS.client.final : NUMBERS.client.partial;
  writeControl(into, CLIENT, number, hasHeaders ? HEADERS : 0, id, 0);
}

function writeControl(
  into: Uint8Array,
  side: number,
  command: number,
  flags: number,
  id: Id,
  value: number,
): void {
  writeUint32(into, 0, side);
  into[VERSION_AT] = VERSION >>> 8;
  into[VERSION_AT + 1] = VERSION & 0xff;
  into[COMMAND_AT] = command;
  into[FLAGS_AT] = flags;
  if (typeof id === "number") {
    writeUint32(into, ID_AT, Math.floor(id / 2 ** 32));
    writeUint32(into, ID_AT + 4, id >>> 0);
  } else {
    writeUint32(into, ID_AT, Number(id >> 32n));
    writeUint32(into, ID_AT + 4, Number(id & 0xffffffffn));
  }
  writeUint32(into, VALUE_AT, value);
}

/** The frames of a REQUEST of a client, of which the first two are there. */
export function requestFrames<F>(
  control: F,
  service: F,
  headers: F | undefined,
  body: readonly F[],
): F[] {
  if (headers !== undefined) return [control, service, headers, ...body];
  // A spread makes an array longer than it need be; most bodies have one frame.
  return body.length === 1 ? [control, service, body[0]!] : [control, service, ...body];
}

/** The same of what has no more than a body. */
export function withBody<F>(control: F, headers: F | undefined, body: readonly F[]): F[] {
  if (headers !== undefined) return [control, headers, ...body];
  return body.length === 1 ? [control, body[0]!] : [control, ...body];
}

function withDetails<F>(
  control: Uint8Array,
  message: F,
  details: F | undefined,
): (F | Uint8Array)[] {
  return details === undefined ? [control, message] : [control, message, details];
}

function writeUint32(into: Uint8Array, at: number, value: number): void {
  into[at] = value >>> 24;
  into[at + 1] = value >>> 16;
  into[at + 2] = value >>> 8;
  into[at + 3] = value;
}

/** The frames from one on. */
export function restOf<F>(frames: readonly F[], at: number): F[] {
  // Most bodies have one frame, and an array written out costs no call: 15 ns and not 31.
  return frames.length === at + 1 ? [frames[at]!] : frames.slice(at);
}

function readHead<F>(frames: readonly F[], reader: FrameReader<F>): number | InvalidMessage {
  if (frames.length === 0) return new InvalidMessage("frames", "The message has no frames");
  const length = reader.read(frames[0]!, head), side = sideOf(length);
  if (side === undefined) {
    return new InvalidMessage("header", 'The first frame begins neither "MDPCX1" nor "MDPWX1"');
  }
  return length === CONTROL_LENGTH ? side : wrongLength(length);
}

function wrongLength(length: number): InvalidMessage {
  return new InvalidMessage(
    "header",
    `The control frame has ${length} bytes where ${CONTROL_LENGTH} are due`,
  );
}

/** The side, if it is the wanted one and was found at all. */
function wantSide(side: number | InvalidMessage, wanted: number): number | InvalidMessage {
  if (side === wanted || typeof side !== "number") return side;
  const [is, due] = [side, wanted].map((side) => `"MDP${String.fromCharCode(side & 0xff)}X1"`);
  return new InvalidMessage("header", `The control frame begins ${is} where ${due} is due`);
}

/**
 * Holds the message whose control frame is in `head` against the shape of its command.
 *
 * @returns What is wrong, if anything is.
 */
function check<F>(
  frames: readonly F[],
  reader: FrameReader<F>,
  shapes: Shapes,
): InvalidMessage | undefined {
  const byte = head[COMMAND_AT]!;
  const shape = byte < shapes.length ? shapes[byte] : undefined;
  if (shape === undefined) {
    const known = shapes.flatMap((shape) => shape?.name ?? []).join(", ");
    return new InvalidMessage("command", `The command ${hex(byte)} is not due here: ${known}`);
  }
  const { name, leading, trailing } = shape;
  const flags = head[FLAGS_AT]!, value = uint32(VALUE_AT);
  if ((flags & ~shape.flags) !== 0) {
    return new InvalidMessage(
      "flags",
      `${name} has the flags ${hex(flags)}, not all of them its own`,
    );
  }
  const hasId = (uint32(ID_AT) | uint32(ID_AT + 4)) !== 0;
  if (hasId !== shape.hasId) {
    return new InvalidMessage("id", hasId ? `${name} has an id` : `${name} has no id`);
  }
  if (value < shape.least || value > shape.greatest) {
    return new InvalidMessage("value", `${name} has the value ${value}, which it cannot`);
  }
  const fewest = 1 + (leading === "none" ? 0 : 1) + (flags & HEADERS ? 1 : 0);
  const most = fewest + trailing;
  if (frames.length < fewest || frames.length > most) {
    return new InvalidMessage(
      "frames",
      `${name} has ${frames.length} frames where ${
        most === Infinity ? `${fewest} or more` : most === fewest ? most : `${fewest} or ${most}`
      } are due`,
    );
  }
  if (leading === "service" && reader.read(frames[1]!, NOTHING) === 0) {
    return new InvalidMessage("service", "The service name is empty");
  }
}

/**
 * The 32 bits at a place in `head`. They are read as they were written, byte by byte: a processor has
 * to wait for its own writes when it reads several of them at once, as a `DataView` does.
 */
function uint32(at: number): number {
  return (head[at]! << 24 | head[at + 1]! << 16 | head[at + 2]! << 8 | head[at + 3]!) >>> 0;
}

function readId(): Id {
  const high = uint32(ID_AT), low = uint32(ID_AT + 4);
  return high < 2 ** 21 ? high * 2 ** 32 + low : BigInt(high) << 32n | BigInt(low);
}

function hex(byte: number): string {
  return byte.toString(16).padStart(2, "0");
}
