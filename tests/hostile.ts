/**
 * Messages that nobody should send: a corpus of those that are known to be awkward, and a seeded
 * generator, which also spoils good ones. For whoever parses what peers send: the broker, the
 * client and the worker.
 *
 * @module
 */

import { bytes, type RawFrame } from "./raw.ts";
import type { Random } from "./random.ts";

/** Who gets the messages. */
export type Victim = "broker" | "client" | "worker";

const C = "MDPC02", W = "MDPW02";
const EVERY_BYTE = Uint8Array.from({ length: 256 }, (_, byte) => byte);

/** The fields of a control frame of the multiplexed dialect. */
interface Control {
  command: number;
  flags?: number;
  /** The id, 8 bytes in hex. */
  id?: string;
  value?: number;
}

/** A control frame. */
export function control(magic: "MDPCX1" | "MDPWX1", fields: Control): Uint8Array {
  const { command, flags = 0, id = "0000000000000001", value = 0 } = fields;
  const frame = new Uint8Array(20);
  frame.set(bytes(magic));
  frame[6] = command;
  frame[7] = flags;
  const view = new DataView(frame.buffer);
  view.setBigUint64(8, BigInt(`0x${id}`));
  view.setUint32(16, value);
  return frame;
}

const NO_ID = "0000000000000000", LAST_ID = "ffffffffffffffff";

/** Good messages for each victim, which the generator spoils. */
const GOOD: Readonly<Record<Victim, readonly RawFrame[][]>> = {
  broker: [
    [C, [1], "echo", "body"],
    ["", C, [1], "echo", "body", "", "more"],
    ["", C, [2], "echo"],
    [C, [1], "mmi.service", "echo"],
    [W, [1], "echo"],
    ["", W, [1], "echo"],
    [W, [3], "client", "", "part"],
    [W, [4], "client", "", "last"],
    ["", W, [4], "client", "", "last"],
    [W, [5]],
    [W, [6]],
    [control("MDPCX1", { command: 1 }), "echo", "body"],
    [control("MDPCX1", { command: 1, flags: 7, value: 50 }), "echo", "{}", "body"],
    [control("MDPCX1", { command: 1, id: LAST_ID, value: 2 ** 32 - 1 }), "echo"],
    [control("MDPCX1", { command: 5, id: NO_ID })],
    [control("MDPCX1", { command: 6, id: NO_ID })],
    [control("MDPCX1", { command: 8 })],
    [control("MDPWX1", { command: 1, id: NO_ID, value: 3 }), "echo"],
    [control("MDPWX1", { command: 1, id: NO_ID, value: 65_535 }), "echo"],
    [control("MDPWX1", { command: 3 }), "part"],
    [control("MDPWX1", { command: 4, flags: 1 }), "{}", "last"],
    [control("MDPWX1", { command: 5, id: NO_ID })],
    [control("MDPWX1", { command: 6, id: NO_ID })],
    [control("MDPWX1", { command: 7, value: 500 }), "message", "details"],
    [control("MDPWX1", { command: 9, id: NO_ID, value: 0 })],
  ],
  client: [
    [C, [2], "echo", "part"],
    [C, [3], "echo", "last"],
    [C, [3], "mmi.multiplexed", "200"],
    ["", C, [3], "part"],
    ["", C, [4], "last"],
    [control("MDPCX1", { command: 2 }), "part"],
    [control("MDPCX1", { command: 3, flags: 1 }), "{}", "last"],
    [control("MDPCX1", { command: 3, id: LAST_ID }), "last"],
    [control("MDPCX1", { command: 4, value: 502 }), "message", "details"],
    [control("MDPCX1", { command: 4, value: 599 }), EVERY_BYTE],
    [control("MDPCX1", { command: 5, id: NO_ID })],
    [control("MDPCX1", { command: 6, id: NO_ID })],
  ],
  worker: [
    [W, [2], "client", "", "body"],
    ["", W, [2], "client", "", "body", "more"],
    [W, [2], "\0".repeat(300), "", EVERY_BYTE],
    [W, [5]],
    [W, [6]],
    ["", W, [5]],
    [control("MDPWX1", { command: 2, value: 1 }), "body"],
    [control("MDPWX1", { command: 2, id: LAST_ID, flags: 1 }), "no JSON", "body"],
    [control("MDPWX1", { command: 5, id: NO_ID })],
    [control("MDPWX1", { command: 6, id: NO_ID })],
    [control("MDPWX1", { command: 8 })],
    [control("MDPWX1", { command: 8, id: LAST_ID })],
  ],
};

/** What has nothing to do with the protocol, or only half. */
const ODD: readonly RawFrame[][] = [
  [""],
  ["", ""],
  ["", "", ""],
  ["x"],
  [EVERY_BYTE],
  [new Uint8Array(100_000)],
  Array.from({ length: 1_000 }, () => ""),
  ["GET / HTTP/1.1\r\n\r\n"],
  ["MDP"],
  ["MDPC0"],
  ["MDPC02"],
  ["MDPC022"],
  ["MDPW02"],
  ["MDPCX1"],
  ["MDPWX1"],
  ["MDPCX2", [1], "echo", "x"],
  [control("MDPCX1", { command: 1 }).subarray(0, 19), "echo"],
  [new Uint8Array([...control("MDPCX1", { command: 1 }), 0]), "echo"],
  ["", control("MDPCX1", { command: 1 }), "echo"],
  ["", control("MDPWX1", { command: 2 }), "echo"],
  ["mmi.service", "\u202e\x1b[2J\x07", "\ufffd"],
];

/** The values at which fields turn over. */
const EDGES = [0, 1, 2, 0x7f, 0x80, 0xfe, 0xff];

/** Every awkward message that is known. */
export function corpus(victim: Victim): RawFrame[][] {
  const spoilt: RawFrame[][] = [];
  for (const good of GOOD[victim]) {
    for (let i = 0; i < good.length; i++) {
      // One frame too few, one twice, one empty, and all after it left out.
      spoilt.push(good.filter((_, j) => j !== i), good.toSpliced(i, 0, good[i]!));
      spoilt.push(good.with(i, ""), good.slice(0, i + 1));
    }
    const head = bytes(good[0]!);
    // Each byte of what says what the message is.
    for (let at = 0; at < head.length; at++) {
      for (const edge of EDGES) {
        const other = head.slice();
        other[at] = edge;
        spoilt.push(good.with(0, other));
      }
    }
  }
  return [...ODD, ...GOOD[victim], ...spoilt].filter((message) => message.length > 0);
}

/** A message that chance has made, more or less like what the victim expects. */
export function anyMessage(random: Random, victim: Victim): RawFrame[] {
  if (random.chance(0.1)) return random.pick(ODD);
  if (random.chance(0.15)) {
    return Array.from({ length: random.between(1, 6) }, () => random.bytes(40));
  }
  let message = random.pick(GOOD[victim]).map(bytes);
  for (let times = random.below(4); times > 0; times--) message = spoil(random, message);
  return message.length > 0 ? message : [""];
}

function spoil(random: Random, message: Uint8Array[]): Uint8Array[] {
  const at = random.below(message.length);
  const frame = message[at];
  if (frame === undefined) return [random.bytes(30)];
  switch (random.below(7)) {
    case 0:
      return message.toSpliced(at, 1);
    case 1:
      return message.toSpliced(at, 0, random.bytes(30));
    case 2:
      return message.toSpliced(at, 0, frame);
    case 3:
      return message.with(at, frame.subarray(0, random.below(frame.length + 1)));
    case 4:
      return message.with(at, new Uint8Array([...frame, ...random.bytes(9)]));
    case 5:
      return message.with(at, message[random.below(message.length)]!);
    default: {
      if (frame.length === 0) return message.with(at, random.bytes(300));
      const other = frame.slice();
      other[random.below(other.length)] = random.chance(0.5)
        ? random.pick(EDGES)
        : random.below(256);
      return message.with(at, other);
    }
  }
}
