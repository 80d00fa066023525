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
const COMMAND_AT = 6, FLAGS_AT = 7, ID_AT = 8, VALUE_AT = 16, SIDE_AT = 3;
const CLIENT = 0x43, WORKER = 0x57;
/** `MDP`, side, `X1`. */
const MAGIC = [0x4d, 0x44, 0x50, 0, 0x58, 0x31] as const;

const HEADERS = 1, NOWAIT = 2, ONCE = 4;
const MAX_CREDIT = 65_535, MIN_CODE = 400, MAX_CODE = 599;

/** What a field of the control frame must hold. */
type Field = "zero" | "any" | "nonzero" | "code" | "credit" | "first credit";

/** What a command has. */
interface Shape {
  /** Its name in the RFC's manner, for messages. */
  readonly name: string;
  /** The flags that it may have. */
  readonly flags: number;
  readonly id: "zero" | "nonzero";
  readonly value: Field;
  /** Frames after the control frame and before headers and body: none, or a service or message. */
  readonly leading: "none" | "service" | "message";
  /** Frames after that: none, at most one, or any number. */
  readonly trailing: "none" | "one" | "any";
}

/** A shape: what is not said, the command does not have. Made in one place, all are alike to V8. */
function shape(name: string, has: Partial<Omit<Shape, "name">> = {}): Shape {
  const { flags = 0, id = "zero", value = "zero", leading = "none", trailing = "none" } = has;
  return { name, flags, id, value, leading, trailing };
}

const PART = { flags: HEADERS, id: "nonzero", trailing: "any" } as const;
const PARTIAL = shape("PARTIAL", PART), FINAL = shape("FINAL", PART);
const HEARTBEAT = shape("HEARTBEAT"), DISCONNECT = shape("DISCONNECT");
const CANCEL = shape("CANCEL", { id: "nonzero" });
const ERROR = shape("ERROR", {
  id: "nonzero",
  value: "code",
  leading: "message",
  trailing: "one",
});
const REQUEST = shape("REQUEST", {
  flags: HEADERS | NOWAIT | ONCE,
  id: "nonzero",
  value: "any",
  leading: "service",
  trailing: "any",
});
const READY = shape("READY", { value: "first credit", leading: "service" });
const CREDIT = shape("CREDIT", { value: "credit" });
const WORK = shape("REQUEST", { ...PART, value: "any" });

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
const fields = new DataView(head.buffer);
const NOTHING = new Uint8Array(0);

/**
 * Whether a message is this dialect's to decode, or to refuse.
 *
 * @param length The length of its first frame, whose beginning is in {@linkcode head}.
 */
export function isMultiplexed(length: number): boolean {
  return length >= MAGIC.length && sideOf() !== undefined;
}

/** What is known of a message that was refused, so that its sender can be dealt with. */
export interface Refused {
  /** The id of a client's REQUEST whose control frame is whole and has one: it can be told. */
  request?: Id;
  /** The value of a worker's HEARTBEAT that is right but for having one. */
  heartbeat?: number;
}

/**
 * What is known of a message that `decodeAtBroker` or `tryDecodeAtBroker` refused.
 *
 * @param frames The frames after the identity.
 * @param reader How to read them.
 */
export function inspectRefused<F>(frames: readonly F[], reader: FrameReader<F>): Refused {
  if (frames.length === 0 || reader.read(frames[0]!, head) !== CONTROL_LENGTH) return {};
  const side = sideOf(), id = readId();
  if (side === CLIENT && head[COMMAND_AT] === NUMBERS.client.request && id !== 0) {
    return { request: id };
  }
  if (
    side === WORKER && head[COMMAND_AT] === NUMBERS.worker.heartbeat && id === 0 &&
    head[FLAGS_AT] === 0 && frames.length === 1
  ) return { heartbeat: fields.getUint32(VALUE_AT) };
  return {};
}

/**
 * As `tryDecodeAtBroker` of `codec.ts`.
 *
 * @param length The length of its first frame, whose beginning is in {@linkcode head}.
 */
export function decodeAtBroker<F>(
  frames: readonly F[],
  reader: FrameReader<F>,
  length: number,
): CommandAtBroker<F> | InvalidMessage {
  const side = checkHead(length);
  if (typeof side !== "number") return side;
  const shapes = side === CLIENT ? SHAPES.broker.client : SHAPES.broker.worker;
  const shape = check(frames, reader, shapes);
  if (shape instanceof InvalidMessage) return shape;
  const flags = head[FLAGS_AT]!, value = fields.getUint32(VALUE_AT);
  const dialect = MULTIPLEXED;
  const id = shape.id === "zero" ? 0 : readId();
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
  const shape = must(check(frames, reader, SHAPES.client));
  const flags = head[FLAGS_AT]!;
  const dialect = MULTIPLEXED;
  const id = shape.id === "zero" ? 0 : readId();
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
        code: fields.getUint32(VALUE_AT),
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
  const shape = must(check(frames, reader, SHAPES.worker));
  const flags = head[FLAGS_AT]!;
  const dialect = MULTIPLEXED;
  const id = shape.id === "zero" ? 0 : readId();
  switch (head[COMMAND_AT]) {
    case NUMBERS.worker.request:
      return {
        side: "worker",
        command: "request",
        dialect,
        token: id,
        timeToLive: fields.getUint32(VALUE_AT),
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
        const { headers, id, noWait, once, timeToLive = 0, service, body } = command;
        const flags = flagOf(headers) | (noWait ? NOWAIT : 0) | (once ? ONCE : 0);
        writeControl(into, CLIENT, numbers.request, flags, id!, timeToLive);
        return headers === undefined ? [into, service, ...body] : [into, service, headers, ...body];
      }
      case "partial":
      case "final": {
        const { headers, id, body } = command;
        const number = command.command === "final" ? numbers.final : numbers.partial;
        writeControl(into, CLIENT, number, flagOf(headers), id!, 0);
        return withBody(into, headers, body);
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
      writeControl(into, WORKER, numbers.request, flagOf(headers), token!, timeToLive);
      return withBody(into, headers, body);
    }
    case "partial":
    case "final": {
      const { headers, token, body } = command;
      const number = command.command === "final" ? numbers.final : numbers.partial;
      writeControl(into, WORKER, number, flagOf(headers), token!, 0);
      return withBody(into, headers, body);
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

function flagOf<F>(headers: F | undefined): number {
  return headers === undefined ? 0 : HEADERS;
}

function writeControl(
  into: Uint8Array,
  side: number,
  command: number,
  flags: number,
  id: Id,
  value: number,
): void {
  for (let i = 0; i < MAGIC.length; i++) into[i] = MAGIC[i]!;
  into[SIDE_AT] = side;
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

function withBody<F>(
  control: Uint8Array,
  headers: F | undefined,
  body: readonly F[],
): (F | Uint8Array)[] {
  if (headers !== undefined) return [control, headers, ...body];
  // A spread makes an array longer than it need be; most bodies have one frame.
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

/** The side that the control frame in `head` claims, if it is one. */
function sideOf(): number | undefined {
  for (let i = 0; i < MAGIC.length; i++) {
    if (i !== SIDE_AT && head[i] !== MAGIC[i]) return undefined;
  }
  const side = head[SIDE_AT];
  return side === CLIENT || side === WORKER ? side : undefined;
}

/** The frames from one on. */
export function restOf<F>(frames: readonly F[], at: number): F[] {
  // Most bodies have one frame, and an array written out costs no call.
  return frames.length === at + 1 ? [frames[at]!] : frames.slice(at);
}

function readHead<F>(frames: readonly F[], reader: FrameReader<F>): number | InvalidMessage {
  if (frames.length === 0) return new InvalidMessage("frames", "The message has no frames");
  return checkHead(reader.read(frames[0]!, head));
}

function checkHead(length: number): number | InvalidMessage {
  const side = length >= MAGIC.length ? sideOf() : undefined;
  if (side === undefined) {
    return new InvalidMessage("header", 'The first frame begins neither "MDPCX1" nor "MDPWX1"');
  }
  if (length === CONTROL_LENGTH) return side;
  return new InvalidMessage(
    "header",
    `The control frame has ${length} bytes where ${CONTROL_LENGTH} are due`,
  );
}

/** The side, if it is the wanted one and was found at all. */
function wantSide(side: number | InvalidMessage, wanted: number): number | InvalidMessage {
  if (side === wanted || typeof side !== "number") return side;
  const [is, due] = [side, wanted].map((byte) => `"MDP${String.fromCharCode(byte)}X1"`);
  return new InvalidMessage("header", `The control frame begins ${is} where ${due} is due`);
}

/** Holds the message whose control frame is in `head` against the shape of its command. */
function check<F>(
  frames: readonly F[],
  reader: FrameReader<F>,
  shapes: Shapes,
): Shape | InvalidMessage {
  const byte = head[COMMAND_AT]!, flags = head[FLAGS_AT]!, value = fields.getUint32(VALUE_AT);
  const shape = byte < shapes.length ? shapes[byte] : undefined;
  if (shape === undefined) {
    const known = shapes.flatMap((shape) => shape?.name ?? []).join(", ");
    return new InvalidMessage(
      "command",
      `The command ${byte.toString(16).padStart(2, "0")} is not due here: ${known}`,
    );
  }
  const { name } = shape;
  if ((flags & ~shape.flags) !== 0) {
    return new InvalidMessage(
      "flags",
      `${name} has the flags ${hex(flags)}, not all of them its own`,
    );
  }
  const hasId = fields.getUint32(ID_AT) !== 0 || fields.getUint32(ID_AT + 4) !== 0;
  if (hasId !== (shape.id === "nonzero")) {
    return new InvalidMessage("id", hasId ? `${name} has an id` : `${name} has no id`);
  }
  if (!fits(value, shape.value)) {
    return new InvalidMessage("value", `${name} has the value ${value}, which it cannot`);
  }
  const fixed = 1 + (shape.leading === "none" ? 0 : 1) + (flags & HEADERS ? 1 : 0);
  const most = shape.trailing === "any" ? Infinity : shape.trailing === "one" ? fixed + 1 : fixed;
  if (frames.length < fixed || frames.length > most) {
    return new InvalidMessage(
      "frames",
      `${name} has ${frames.length} frames where ${
        most === Infinity ? `${fixed} or more` : most === fixed ? fixed : `${fixed} or ${most}`
      } are due`,
    );
  }
  if (shape.leading === "service" && reader.read(frames[1]!, NOTHING) === 0) {
    return new InvalidMessage("service", "The service name is empty");
  }
  return shape;
}

function fits(value: number, field: Field): boolean {
  switch (field) {
    case "zero":
      return value === 0;
    case "any":
      return true;
    case "nonzero":
      return value !== 0;
    case "code":
      return value >= MIN_CODE && value <= MAX_CODE;
    case "credit":
      return value <= MAX_CREDIT;
    case "first credit":
      return value >= 1 && value <= MAX_CREDIT;
  }
}

function readId(): Id {
  const high = fields.getUint32(ID_AT), low = fields.getUint32(ID_AT + 4);
  return high < 2 ** 21 ? high * 2 ** 32 + low : fields.getBigUint64(ID_AT);
}

function hex(byte: number): string {
  return byte.toString(16).padStart(2, "0");
}
