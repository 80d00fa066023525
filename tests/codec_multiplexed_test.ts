// The multiplexed dialect in bytes: every command of both sides as it is on the wire, and all that
// is none.

import assert from "node:assert/strict";
import {
  type Command,
  decodeAtBroker,
  decodeAtClient,
  decodeAtWorker,
  encode,
  type FrameReader,
  type Id,
  inspectRefused,
  MULTIPLEXED as dialect,
  ProtocolError,
  type ProtocolErrorKind,
} from "../codec.ts";
import { assertFrames, bytes, CX, type RawFrame, WX } from "./raw.ts";

type Decode = (frames: readonly Uint8Array[]) => Command;
const atBroker: Decode = decodeAtBroker;
const atClient: Decode = (frames) => decodeAtClient(frames, dialect);
const atWorker: Decode = (frames) => decodeAtWorker(frames, dialect);

/** Bytes in hex. */
const hex = (text: string): Uint8Array => Uint8Array.fromHex(text.replaceAll(" ", ""));
const echo = bytes("echo"), headers = bytes("{}"), message = bytes("größe"), details = bytes("");
const body = [bytes("a"), bytes(""), bytes([0xff, 0])];
const BODY: RawFrame[] = ["a", "", [0xff, 0]];
const client = { side: "client", dialect } as const, worker = { side: "worker", dialect } as const;
/** An id whose every byte differs, beyond what a number can be. */
const BIG = 0x0102030405060708n, big = "01 02 03 04 05 06 07 08";

/** Every command, and what it looks like on the wire after ROUTER's identity. */
const WIRE: [what: string, Decode, Command, RawFrame[]][] = [
  [
    "a client's REQUEST",
    atBroker,
    {
      ...client,
      command: "request",
      id: 1,
      timeToLive: 0,
      noWait: false,
      once: false,
      service: echo,
      headers: undefined,
      body,
    },
    [hex("4d 44 50 43 58 31 01 00 00 00 00 00 00 00 00 01 00 00 00 00"), "echo", ...BODY],
  ],
  [
    "a client's REQUEST with all that it can have",
    atBroker,
    {
      ...client,
      command: "request",
      id: BIG,
      timeToLive: 0xfffefdfc,
      noWait: true,
      once: true,
      service: echo,
      headers,
      body: [],
    },
    [hex(`4d 44 50 43 58 31 01 07 ${big} ff fe fd fc`), "echo", "{}"],
  ],
  [
    "PARTIAL to a client",
    atClient,
    { ...client, command: "partial", id: 2 ** 53 - 1, headers: undefined, body },
    [hex("4d 44 50 43 58 31 02 00 00 1f ff ff ff ff ff ff 00 00 00 00"), ...BODY],
  ],
  [
    "PARTIAL to a client with headers",
    atClient,
    { ...client, command: "partial", id: 2n ** 53n, headers, body },
    [hex("4d 44 50 43 58 31 02 01 00 20 00 00 00 00 00 00 00 00 00 00"), "{}", ...BODY],
  ],
  [
    "FINAL to a client without a body",
    atClient,
    { ...client, command: "final", id: 258, headers: undefined, body: [] },
    [hex("4d 44 50 43 58 31 03 00 00 00 00 00 00 00 01 02 00 00 00 00")],
  ],
  [
    "FINAL to a client with headers alone",
    atClient,
    { ...client, command: "final", id: 2n ** 64n - 1n, headers, body: [] },
    [hex("4d 44 50 43 58 31 03 01 ff ff ff ff ff ff ff ff 00 00 00 00"), "{}"],
  ],
  [
    "ERROR to a client",
    atClient,
    { ...client, command: "error", id: 1, code: 400, message, details: undefined },
    [hex("4d 44 50 43 58 31 04 00 00 00 00 00 00 00 00 01 00 00 01 90"), "größe"],
  ],
  [
    "ERROR to a client with details",
    atClient,
    { ...client, command: "error", id: BIG, code: 599, message, details },
    [hex(`4d 44 50 43 58 31 04 00 ${big} 00 00 02 57`), "größe", ""],
  ],
  ...[atBroker, atClient].flatMap((decode): typeof WIRE => [
    [
      `a client side's HEARTBEAT, ${decode === atBroker ? "to" : "from"} the broker`,
      decode,
      { ...client, command: "heartbeat" },
      [hex("4d 44 50 43 58 31 05 00 00 00 00 00 00 00 00 00 00 00 00 00")],
    ],
    [
      `a client side's DISCONNECT, ${decode === atBroker ? "to" : "from"} the broker`,
      decode,
      { ...client, command: "disconnect" },
      [hex("4d 44 50 43 58 31 06 00 00 00 00 00 00 00 00 00 00 00 00 00")],
    ],
  ]),
  [
    "a client's CANCEL",
    atBroker,
    { ...client, command: "cancel", id: BIG },
    [hex(`4d 44 50 43 58 31 08 00 ${big} 00 00 00 00`)],
  ],
  [
    "READY",
    atBroker,
    { ...worker, command: "ready", credit: 65_535, service: echo },
    [hex("4d 44 50 57 58 31 01 00 00 00 00 00 00 00 00 00 00 00 ff ff"), "echo"],
  ],
  [
    "REQUEST to a worker",
    atWorker,
    { ...worker, command: "request", token: 7, timeToLive: 0, headers: undefined, body: [] },
    [hex("4d 44 50 57 58 31 02 00 00 00 00 00 00 00 00 07 00 00 00 00")],
  ],
  [
    "REQUEST to a worker with headers and a time to live",
    atWorker,
    { ...worker, command: "request", token: BIG, timeToLive: 2 ** 32 - 1, headers, body },
    [hex(`4d 44 50 57 58 31 02 01 ${big} ff ff ff ff`), "{}", ...BODY],
  ],
  [
    "a worker's PARTIAL",
    atBroker,
    { ...worker, command: "partial", token: 7, headers: undefined, body },
    [hex("4d 44 50 57 58 31 03 00 00 00 00 00 00 00 00 07 00 00 00 00"), ...BODY],
  ],
  [
    "a worker's FINAL with headers",
    atBroker,
    { ...worker, command: "final", token: BIG, headers, body: [] },
    [hex(`4d 44 50 57 58 31 04 01 ${big} 00 00 00 00`), "{}"],
  ],
  ...[atBroker, atWorker].flatMap((decode): typeof WIRE => [
    [
      `a worker side's HEARTBEAT, ${decode === atBroker ? "to" : "from"} the broker`,
      decode,
      { ...worker, command: "heartbeat" },
      [hex("4d 44 50 57 58 31 05 00 00 00 00 00 00 00 00 00 00 00 00 00")],
    ],
    [
      `a worker side's DISCONNECT, ${decode === atBroker ? "to" : "from"} the broker`,
      decode,
      { ...worker, command: "disconnect" },
      [hex("4d 44 50 57 58 31 06 00 00 00 00 00 00 00 00 00 00 00 00 00")],
    ],
  ]),
  [
    "a worker's ERROR",
    atBroker,
    { ...worker, command: "error", token: BIG, code: 500, message, details },
    [hex(`4d 44 50 57 58 31 07 00 ${big} 00 00 01 f4`), "größe", ""],
  ],
  [
    "CANCEL to a worker",
    atWorker,
    { ...worker, command: "cancel", token: 7 },
    [hex("4d 44 50 57 58 31 08 00 00 00 00 00 00 00 00 07 00 00 00 00")],
  ],
  [
    "CREDIT",
    atBroker,
    { ...worker, command: "credit", credit: 258 },
    [hex("4d 44 50 57 58 31 09 00 00 00 00 00 00 00 00 00 00 00 01 02")],
  ],
  [
    "CREDIT 0",
    atBroker,
    { ...worker, command: "credit", credit: 0 },
    [hex("4d 44 50 57 58 31 09 00 00 00 00 00 00 00 00 00 00 00 00 00")],
  ],
];

for (const [what, decode, command, frames] of WIRE) {
  Deno.test(`\`encode\` writes the bytes of ${what}, multiplexed`, () => {
    assertFrames(encode(command), frames);
    // Into memory that was used before.
    assertFrames(encode(command, new Uint8Array(20).fill(0xff)), frames);
  });

  Deno.test(`\`decode\` reads the bytes of ${what}, multiplexed`, () => {
    assert.deepEqual(decode(frames.map(bytes)), command);
  });
}

/** What a side's commands may have: flags, whether an id, values, and frames beyond the first. */
interface Law {
  flags: number;
  id: boolean;
  values: [least: number, most: number];
  frames: [least: number, most: number];
}

const NONE: [number, number] = [0, 0], ANY: [number, number] = [0, 2 ** 32 - 1];
const control: Law = { flags: 0, id: false, values: NONE, frames: NONE };
const part: Law = { flags: 1, id: true, values: NONE, frames: [0, Infinity] };
const error: Law = { flags: 0, id: true, values: [400, 599], frames: [1, 2] };
const cancel: Law = { flags: 0, id: true, values: NONE, frames: NONE };

/** The tables of the dialect, once more. */
const LAWS: Record<string, [Decode, typeof CX, Record<number, Law>]> = {
  "a client to the broker": [atBroker, CX, {
    1: { flags: 7, id: true, values: ANY, frames: [1, Infinity] },
    5: control,
    6: control,
    8: cancel,
  }],
  "the broker to a client": [atClient, CX, { 2: part, 3: part, 4: error, 5: control, 6: control }],
  "a worker to the broker": [atBroker, WX, {
    1: { flags: 0, id: false, values: [1, 65_535], frames: [1, 1] },
    3: part,
    4: part,
    5: control,
    6: control,
    7: error,
    9: { flags: 0, id: false, values: [0, 65_535], frames: NONE },
  }],
  "the broker to a worker": [atWorker, WX, {
    2: { ...part, values: ANY },
    5: control,
    6: control,
    8: cancel,
  }],
};

/** Which rule a message breaks first; none if it is valid. */
function broken(
  law: Law | undefined,
  flags: number,
  id: Id,
  value: number,
  frames: number,
): ProtocolErrorKind | undefined {
  if (law === undefined) return "command";
  if ((flags & ~law.flags) !== 0) return "flags";
  if ((id !== 0) !== law.id) return "id";
  if (value < law.values[0] || value > law.values[1]) return "value";
  const extra = flags & 1;
  if (frames < law.frames[0] + extra || frames > law.frames[1]) return "frames";
  return undefined;
}

for (const [who, [decode, control, laws]] of Object.entries(LAWS)) {
  Deno.test(`\`decode\` takes from ${who} what the tables allow, and nothing else`, () => {
    for (let command = 0; command < 12; command++) {
      for (const flags of [0, 1, 2, 4, 7, 8, 16, 32, 64, 128, 129]) {
        for (const id of [0, 1, 2 ** 32, 2n ** 63n]) {
          for (const value of [0, 1, 399, 400, 599, 600, 65_535, 65_536, 2 ** 32 - 1]) {
            for (let frames = 0; frames < 4; frames++) {
              const law = laws[command];
              const message = [
                control(command, id, value, flags),
                ...["echo", "x", "y"].slice(0, frames).map(bytes),
              ];
              const due = broken(law, flags, id, value, frames);
              let seen: unknown;
              try {
                decode(message);
              } catch (error) {
                assert.ok(error instanceof ProtocolError, `${error}`);
                seen = error.kind;
              }
              const what = `command ${command} flags ${flags} id ${id} value ${value} +${frames}`;
              assert.equal(seen, due, what);
            }
          }
        }
      }
    }
  });

  Deno.test(`\`decode\` takes from ${who} control frames of 20 bytes alone, without one before`, () => {
    const own = Number(Object.keys(laws).find((command) => laws[Number(command)]!.id));
    const { values: [value], frames: [least] } = laws[own]!;
    const whole = control(own, 1, value), rest = ["echo"].slice(0, least).map(bytes);
    decode([whole, ...rest]);
    const bad = [
      [whole.slice(0, 19), ...rest],
      [new Uint8Array([...whole, 0]), ...rest],
      [whole.slice(0, 6), ...rest],
      [bytes(""), whole, ...rest],
      [bytes(""), ...rest],
      [],
      [bytes("MDPCX2"), ...rest],
    ];
    for (let at = 0; at < 6; at++) {
      const wrong = whole.slice();
      wrong[at]! ^= 1;
      bad.push([wrong, ...rest]);
    }
    for (const frames of bad) assert.throws(() => decode(frames), ProtocolError);
  });
}

Deno.test("`inspectRefused` tells the id of a client's REQUEST, and a worker's HEARTBEAT that is right but for its value", () => {
  const reader: FrameReader<Uint8Array> = {
    read: (frame, into) => {
      into.set(frame.subarray(0, into.length));
      return frame.length;
    },
  };
  const request = CX(1, 7, 0, 0xff), heartbeat = WX(5, 0, 9, 0);
  const rows: [frames: Uint8Array[], expected: object][] = [
    [[request], { request: 7 }],
    [[heartbeat], { heartbeat: 9 }],
    [[], {}],
    [[request.subarray(0, 19)], {}],
    [[heartbeat.subarray(0, 19)], {}],
    [[CX(1, 0, 0, 0)], {}],
    [[CX(8, 7, 0, 0)], {}],
    [[WX(1, 7, 0, 0)], {}],
    [[heartbeat, heartbeat], {}],
    [[WX(5, 0, 9, 1)], {}],
    [[WX(5, 1, 9, 0)], {}],
    [[WX(9, 0, 9, 0)], {}],
    [[CX(5, 0, 9, 0)], {}],
  ];
  for (const [frames, expected] of rows) assert.deepEqual(inspectRefused(frames, reader), expected);
});
