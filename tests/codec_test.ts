import assert from "node:assert/strict";
import fc from "fast-check";
import {
  BYTES,
  CLIENT_HEADER,
  type Command,
  type CommandAtBroker,
  decodeAtBroker,
  decodeAtClient,
  decodeAtWorker,
  type Dialect,
  DIALECTS,
  encode,
  type FrameReader,
  inspectRefused,
  InvalidMessage,
  MAJORTOMO,
  ProtocolError,
  type ProtocolErrorKind,
  RFC,
  RFC_REQ,
  tryDecodeAtBroker,
  WORKER_HEADER,
} from "../codec.ts";
import { anyMessage, corpus } from "./hostile.ts";
import { Random } from "./random.ts";
import { assertFrames, bytes, type RawFrame, show } from "./raw.ts";

type Decode = (frames: readonly Uint8Array[]) => Command;

const atBroker: Decode = decodeAtBroker;
const atClient = (dialect: Dialect): Decode => (frames) => decodeAtClient(frames, dialect);
const atWorker = (dialect: Dialect): Decode => (frames) => decodeAtWorker(frames, dialect);

const nameOf = (dialect: Dialect) => dialect === RFC_REQ ? "rfc behind REQ" : dialect.name;

/** An identity of five bytes that ROUTER made up, as clients' addresses are. */
const ADDRESS = [0x00, 0x6b, 0x8b, 0x45, 0x67];
const echo = bytes("echo"), address = bytes(ADDRESS);
const body = [bytes("hello"), bytes(""), bytes([0xff, 0x00])];
const BODY: RawFrame[] = ["hello", "", [0xff, 0x00]];

/** Every command of every dialect, and what it looks like on the wire after ROUTER's identity. */
const WIRE: { who: string; decode: Decode; command: Command; frames: RawFrame[] }[] = [
  {
    who: "client to broker",
    decode: atBroker,
    command: { side: "client", command: "request", dialect: RFC, service: echo, body },
    frames: ["MDPC02", [1], "echo", ...BODY],
  },
  {
    who: "client to broker",
    decode: atBroker,
    command: { side: "client", command: "request", dialect: RFC_REQ, service: echo, body },
    frames: ["", "MDPC02", [1], "echo", ...BODY],
  },
  {
    who: "client to broker",
    decode: atBroker,
    command: { side: "client", command: "request", dialect: MAJORTOMO, service: echo, body },
    frames: ["", "MDPC02", [2], "echo", ...BODY],
  },
  {
    who: "broker to client",
    decode: atClient(RFC),
    command: { side: "client", command: "partial", dialect: RFC, service: echo, body },
    frames: ["MDPC02", [2], "echo", ...BODY],
  },
  {
    who: "broker to client",
    decode: atClient(RFC),
    command: { side: "client", command: "final", dialect: RFC, service: echo, body },
    frames: ["MDPC02", [3], "echo", ...BODY],
  },
  {
    who: "broker to client",
    decode: atClient(RFC_REQ),
    command: { side: "client", command: "partial", dialect: RFC_REQ, service: echo, body },
    frames: ["", "MDPC02", [2], "echo", ...BODY],
  },
  {
    who: "broker to client",
    decode: atClient(RFC_REQ),
    command: { side: "client", command: "final", dialect: RFC_REQ, service: echo, body },
    frames: ["", "MDPC02", [3], "echo", ...BODY],
  },
  {
    who: "broker to client",
    decode: atClient(MAJORTOMO),
    command: { side: "client", command: "partial", dialect: MAJORTOMO, body },
    frames: ["", "MDPC02", [3], ...BODY],
  },
  {
    who: "broker to client",
    decode: atClient(MAJORTOMO),
    command: { side: "client", command: "final", dialect: MAJORTOMO, body },
    frames: ["", "MDPC02", [4], ...BODY],
  },
  ...([[RFC, []], [MAJORTOMO, [""]]] as const).flatMap(([dialect, first]) => [
    {
      who: "worker to broker",
      decode: atBroker,
      command: { side: "worker", command: "ready", dialect, service: echo } as const,
      frames: [...first, "MDPW02", [1], "echo"],
    },
    {
      who: "broker to worker",
      decode: atWorker(dialect),
      command: { side: "worker", command: "request", dialect, client: address, body } as const,
      frames: [...first, "MDPW02", [2], ADDRESS, "", ...BODY],
    },
    {
      who: "worker to broker",
      decode: atBroker,
      command: { side: "worker", command: "partial", dialect, client: address, body } as const,
      frames: [...first, "MDPW02", [3], ADDRESS, "", ...BODY],
    },
    {
      who: "worker to broker",
      decode: atBroker,
      command: { side: "worker", command: "final", dialect, client: address, body } as const,
      frames: [...first, "MDPW02", [4], ADDRESS, "", ...BODY],
    },
    ...([["worker to broker", atBroker], ["broker to worker", atWorker(dialect)]] as const)
      .flatMap(([who, decode]) => [
        {
          who,
          decode,
          command: { side: "worker", command: "heartbeat", dialect } as const,
          frames: [...first, "MDPW02", [5]],
        },
        {
          who,
          decode,
          command: { side: "worker", command: "disconnect", dialect } as const,
          frames: [...first, "MDPW02", [6]],
        },
      ]),
  ]),
];

for (const { who, decode, command, frames } of WIRE) {
  const name = `${command.command.toUpperCase()}, ${who}, ${nameOf(command.dialect)}`;

  Deno.test(`\`encode\` writes the bytes of ${name}`, () => {
    assertFrames(encode(command), frames);
  });

  Deno.test(`\`decode\` reads the bytes of ${name}`, () => {
    const decoded = decode(frames.map(bytes));
    assert.deepEqual(decoded, command);
    assert.equal(decoded.dialect, command.dialect, "a dialect is compared by identity");
  });
}

Deno.test("`DIALECTS` holds what clients and workers can be told to speak, by name", () => {
  assert.deepEqual(Object.keys(DIALECTS), ["rfc", "majortomo", "multiplexed"]);
  assert.equal(DIALECTS.rfc, RFC);
  assert.equal(DIALECTS.majortomo, MAJORTOMO);
  assertFrames([CLIENT_HEADER, WORKER_HEADER], ["MDPC02", "MDPW02"]);
});

Deno.test("`encode` passes a body on as the very frames that it was given", () => {
  const frames = encode({ side: "client", command: "request", dialect: RFC, service: echo, body });
  assert.equal(frames[2], echo);
  for (const [i, frame] of body.entries()) assert.equal(frames[3 + i], frame);
});

Deno.test("`encode` gives each caller an array of its own", () => {
  const command: Command = { side: "worker", command: "heartbeat", dialect: RFC };
  encode(command).unshift(bytes("identity"));
  assertFrames(encode(command), ["MDPW02", [5]]);
});

Deno.test("`encode` refuses a reply without the service that its dialect names", () => {
  for (const dialect of [RFC, RFC_REQ]) {
    assert.throws(() => encode({ side: "client", command: "final", dialect, body }), {
      name: "TypeError",
      message: "A FINAL in the dialect rfc names its service, got undefined",
    });
  }
});

for (const length of [0, 1, 1000]) {
  Deno.test(`\`decode\` takes a body of ${length} frames, as it is`, () => {
    const long = Array.from({ length }, (_, i) => bytes(i % 3 === 0 ? "" : `frame ${i}`));
    const commands = WIRE.filter(({ command }) => "body" in command);
    assert.equal(commands.length, 15);
    for (const { command, decode } of commands) {
      const whole = { ...command, body: long } as Command & { body: Uint8Array[] };
      const decoded = decode(encode<Uint8Array>(whole)) as typeof whole;
      assert.deepEqual(decoded, whole);
      for (const [i, frame] of decoded.body.entries()) assert.equal(frame, long[i]);
    }
  });
}

Deno.test("`decodeAtBroker` tells the dialect from the message, whatever came before", () => {
  const request = (...frames: RawFrame[]) => decodeAtBroker(frames.map(bytes));
  assert.equal(request("MDPC02", [1], "s", "").dialect, RFC);
  assert.equal(request("", "MDPC02", [2], "s", "").dialect, MAJORTOMO);
  assert.equal(request("", "MDPC02", [1], "s", "").dialect, RFC_REQ);
  assert.equal(request("MDPW02", [5]).dialect, RFC);
  assert.equal(request("", "MDPW02", [5]).dialect, MAJORTOMO);
});

Deno.test("`inspectRefused` tells answers of workers from what else is wrong", () => {
  const rows: [frames: RawFrame[], isAnswer: boolean][] = [
    [["MDPW02", [3]], true],
    [["MDPW02", [4], ""], true],
    [["", "MDPW02", [4], "c"], true],
    [["MDPW02", [5], "x"], false],
    [["MDPW02", [9]], false],
    [["MDPW02"], false],
    [["MDPC02", [3], "x"], false],
    [["", ""], false],
    [[], false],
  ];
  for (const [frames, isAnswer] of rows) {
    const { isAnswer: found = false } = inspectRefused(frames.map((frame) => bytes(frame)), {
      read: (frame, into) => {
        into.set(frame.subarray(0, into.length));
        return frame.length;
      },
    });
    assert.equal(found, isAnswer, show(frames).join());
  }
});

const FRAMES = "frames", HEADER = "header", COMMAND = "command", DELIMITER = "delimiter";
const SERVICE = "service";
type Refusal = [what: string, frames: RawFrame[], kind: ProtocolErrorKind, message: string];

/** What nobody may send, wherever it arrives. */
const REFUSED_AT_BROKER: Refusal[] = [
  ["an empty message", [], FRAMES, "The message has no frames, and no header"],
  ["an empty frame alone", [""], FRAMES, "The message has 1 frame, and no header"],
  [
    "a second empty frame",
    ["", "", "MDPC02", [1], "echo", ""],
    HEADER,
    'The header is empty, which is neither "MDPC02" nor "MDPW02"',
  ],
  [
    "MDP 0.1",
    ["MDPC01", "echo", "hello"],
    HEADER,
    'The header is "MDPC01", which is MDP 0.1: only MDP 0.2 is spoken here',
  ],
  [
    "a worker of MDP 0.1",
    ["", "MDPW01", [1], "echo"],
    HEADER,
    'The header is "MDPW01", which is MDP 0.1: only MDP 0.2 is spoken here',
  ],
  [
    "a header that goes on",
    ["MDPC02\n", [1], "echo", ""],
    HEADER,
    'The header is 7 bytes (4d 44 50 43 30 32 …), which is neither "MDPC02" nor "MDPW02"',
  ],
  [
    "a header that stops short",
    ["MDPC0", [1], "echo", ""],
    HEADER,
    'The header is 5 bytes (4d 44 50 43 30), which is neither "MDPC02" nor "MDPW02"',
  ],
  [
    "a header of another side",
    ["MDPX02", [1], "echo", ""],
    HEADER,
    'The header is 6 bytes (4d 44 50 58 30 32), which is neither "MDPC02" nor "MDPW02"',
  ],
  [
    "a header in small letters",
    ["mdpc02", [1], "echo", ""],
    HEADER,
    'The header is 6 bytes (6d 64 70 63 30 32), which is neither "MDPC02" nor "MDPW02"',
  ],
  [
    "a header alone",
    ["MDPC02"],
    FRAMES,
    "The message ends after its header: the command is missing",
  ],
  [
    "a header alone behind an empty frame",
    ["", "MDPW02"],
    FRAMES,
    "The message ends after its header: the command is missing",
  ],
  [
    "an empty command",
    ["MDPC02", "", "echo", ""],
    COMMAND,
    "The command is empty where one byte is due",
  ],
  [
    "a command of two bytes",
    ["MDPW02", [5, 0]],
    COMMAND,
    "The command is 2 bytes (05 00) where one byte is due",
  ],
  [
    "a command in ASCII",
    ["MDPC02", "1", "echo", ""],
    COMMAND,
    "The command 31 is none that a client sends: REQUEST",
  ],
  ...[0, 3, 4, 255].map((command): Refusal => [
    `a client's command ${command}`,
    ["MDPC02", [command], "echo", ""],
    COMMAND,
    `The command ${hex(command)} is none that a client sends: REQUEST`,
  ]),
  [
    "majortomo's REQUEST without the empty frame",
    ["MDPC02", [2], "echo", ""],
    COMMAND,
    "The command 02 is none that a client sends: REQUEST",
  ],
  ...[0, 2, 7, 255].map((command): Refusal => [
    `a worker's command ${command}`,
    ["MDPW02", [command], ADDRESS, "", "x"],
    COMMAND,
    `The command ${hex(command)} is none that a worker sends: ` +
    "READY, PARTIAL, FINAL, HEARTBEAT or DISCONNECT",
  ]),
  [
    "a REQUEST without a service",
    ["MDPC02", [1]],
    FRAMES,
    "The message ends after its command: the service is missing",
  ],
  [
    "a REQUEST for a service without a name",
    ["", "MDPC02", [2], "", "hello"],
    SERVICE,
    "The service name is empty",
  ],
  [
    "a READY without a service",
    ["MDPW02", [1]],
    FRAMES,
    "The message ends after its command: the service is missing",
  ],
  [
    "a READY for a service without a name",
    ["MDPW02", [1], ""],
    SERVICE,
    "The service name is empty",
  ],
  ["a READY that goes on", ["MDPW02", [1], "echo", ""], FRAMES, "READY has 1 frame left over"],
  ["a HEARTBEAT that goes on", ["MDPW02", [5], ""], FRAMES, "HEARTBEAT has 1 frame left over"],
  [
    "a DISCONNECT that goes on",
    ["", "MDPW02", [6], "good", "bye"],
    FRAMES,
    "DISCONNECT has 2 frames left over",
  ],
  ...[3, 4].flatMap((command): Refusal[] => refusedAddresses(command)),
];

/** What a broker may not send to a worker or a client, in the RFC's dialect. */
const REFUSED_AT_PEERS: [side: "client" | "worker", ...Refusal][] = [
  ["client", "an empty message", [], FRAMES, "The message has no frames, and no header"],
  [
    "client",
    "a worker's header",
    ["MDPW02", [3], "echo", ""],
    HEADER,
    'The header is "MDPW02" where "MDPC02" is due',
  ],
  [
    "client",
    "no MDP at all",
    ["HTTP/1.1 200 OK"],
    HEADER,
    'The header is 15 bytes (48 54 54 50 2f 31 …), which is neither "MDPC02" nor "MDPW02"',
  ],
  [
    "client",
    "a header alone",
    ["MDPC02"],
    FRAMES,
    "The message ends after its header: the command is missing",
  ],
  ...[0, 1, 4, 255].map((command): [side: "client", ...Refusal] => [
    "client",
    `the command ${command}`,
    ["MDPC02", [command], "echo", ""],
    COMMAND,
    `The command ${hex(command)} is none that a broker sends: PARTIAL or FINAL`,
  ]),
  [
    "client",
    "a command of two bytes",
    ["MDPC02", [3, 3], "echo", ""],
    COMMAND,
    "The command is 2 bytes (03 03) where one byte is due",
  ],
  [
    "client",
    "a FINAL without a service",
    ["MDPC02", [3]],
    FRAMES,
    "The message ends after its command: the service is missing",
  ],
  [
    "client",
    "a FINAL of a service without a name",
    ["MDPC02", [3], "", "x"],
    SERVICE,
    "The service name is empty",
  ],
  ["worker", "an empty message", [], FRAMES, "The message has no frames, and no header"],
  [
    "worker",
    "a client's header",
    ["MDPC02", [2], ADDRESS, "", "x"],
    HEADER,
    'The header is "MDPC02" where "MDPW02" is due',
  ],
  ...[0, 1, 3, 4, 7].map((command): [side: "worker", ...Refusal] => [
    "worker",
    `the command ${command}`,
    ["MDPW02", [command], ADDRESS, "", "x"],
    COMMAND,
    `The command ${hex(command)} is none that a broker sends: REQUEST, HEARTBEAT or DISCONNECT`,
  ]),
  [
    "worker",
    "a HEARTBEAT that goes on",
    ["MDPW02", [5], "x"],
    FRAMES,
    "HEARTBEAT has 1 frame left over",
  ],
  [
    "worker",
    "a DISCONNECT that goes on",
    ["MDPW02", [6], "", ""],
    FRAMES,
    "DISCONNECT has 2 frames left over",
  ],
  ...refusedAddresses(2).map((refusal): [side: "worker", ...Refusal] => ["worker", ...refusal]),
];

/** A worker's command with a client's address, with something amiss about it. */
function refusedAddresses(command: number): Refusal[] {
  const name = ["REQUEST", "PARTIAL", "FINAL"][command - 2]!;
  return [
    [
      `a ${name} without a client`,
      ["MDPW02", [command]],
      FRAMES,
      "The message ends after its command: the client is missing",
    ],
    [
      `a ${name} with an empty client`,
      ["MDPW02", [command], "", "", "x"],
      FRAMES,
      "The client's address is empty",
    ],
    [
      `a ${name} that ends after the client`,
      ["MDPW02", [command], ADDRESS],
      DELIMITER,
      "The message ends after the client's address: the empty frame is missing",
    ],
    [
      `a ${name} without an empty frame after the client`,
      ["MDPW02", [command], ADDRESS, "hello", "x"],
      DELIMITER,
      "The frame after the client's address is 5 bytes (68 65 6c 6c 6f) where an empty one is due",
    ],
  ];
}

function hex(byte: number): string {
  return byte.toString(16).padStart(2, "0");
}

function assertRefused(decode: () => unknown, kind: ProtocolErrorKind, message: string): void {
  let error: unknown;
  try {
    error = `nothing was thrown: ${Deno.inspect(decode())}`;
  } catch (thrown) {
    error = thrown;
  }
  if (!(error instanceof ProtocolError)) assert.fail(String(error));
  assert.deepEqual({ kind: error.kind, message: error.message }, { kind, message });
}

for (const [what, frames, kind, message] of REFUSED_AT_BROKER) {
  Deno.test(`\`decodeAtBroker\` refuses ${what}`, () => {
    assertRefused(() => decodeAtBroker(frames.map(bytes)), kind, message);
  });
}

for (const [side, what, frames, kind, message] of REFUSED_AT_PEERS) {
  const decode = side === "client" ? decodeAtClient : decodeAtWorker;
  Deno.test(`\`${decode.name}\` refuses ${what}`, () => {
    assertRefused(() => decode(frames.map(bytes), RFC), kind, message);
    if (frames.length > 0) {
      assertRefused(() => decode(["", ...frames].map(bytes), RFC_REQ), kind, message);
    }
  });
}

Deno.test("`decodeAtClient` and `decodeAtWorker` refuse an empty frame that the dialect has not", () => {
  const message = "The message begins with an empty frame, which this dialect does not have";
  const reply = ["", "MDPC02", [3], "echo", "x"].map(bytes);
  assertRefused(() => decodeAtClient(reply, RFC), DELIMITER, message);
  assertRefused(() => decodeAtWorker(["", "MDPW02", [5]].map(bytes), RFC), DELIMITER, message);
});

Deno.test("`decodeAtClient` and `decodeAtWorker` want the empty frame that the dialect has", () => {
  const message = "The message does not begin with the empty frame that this dialect has";
  const heartbeat = ["MDPW02", [5]].map(bytes);
  for (const dialect of [MAJORTOMO, RFC_REQ]) {
    const reply = ["MDPC02", [dialect.client.final], "echo", "x"].map(bytes);
    assertRefused(() => decodeAtClient(reply, dialect), DELIMITER, message);
    assertRefused(() => decodeAtWorker(heartbeat, dialect), DELIMITER, message);
  }
});

Deno.test("`decodeAtClient` takes commands by its own dialect only", () => {
  const refused = (command: string) =>
    `The command ${command} is none that a broker sends: PARTIAL or FINAL`;
  // RFC 18's PARTIAL is majortomo's REQUEST, and majortomo's FINAL nothing in RFC 18.
  const rfc = ["", "MDPC02", [2], "echo", "x"].map(bytes);
  assertRefused(() => decodeAtClient(rfc, MAJORTOMO), COMMAND, refused("02"));
  const majortomo = ["", "MDPC02", [4], "x"].map(bytes);
  assertRefused(() => decodeAtClient(majortomo, RFC_REQ), COMMAND, refused("04"));
});

const frame = fc.uint8Array({ maxLength: 12 });
const someBytes = fc.uint8Array({ minLength: 1, maxLength: 12 });
const someBody = fc.array(frame, { maxLength: 5 });
const anyDialect = fc.constantFrom(RFC, RFC_REQ, MAJORTOMO);
/** Where a worker is concerned, majortomo is RFC 18 behind a REQ socket. */
const workersDialect = fc.constantFrom(RFC, MAJORTOMO);
const workerSide = fc.constant("worker" as const), clientSide = fc.constant("client" as const);
const control = fc.record({
  side: workerSide,
  command: fc.constantFrom("heartbeat" as const, "disconnect" as const),
  dialect: workersDialect,
});
const commandAtBroker: fc.Arbitrary<CommandAtBroker> = fc.oneof(
  fc.record({
    side: clientSide,
    command: fc.constant("request" as const),
    dialect: anyDialect,
    service: someBytes,
    body: someBody,
  }),
  fc.record({
    side: workerSide,
    command: fc.constant("ready" as const),
    dialect: workersDialect,
    service: someBytes,
  }),
  fc.record({
    side: workerSide,
    command: fc.constantFrom("partial" as const, "final" as const),
    dialect: workersDialect,
    client: someBytes,
    body: someBody,
  }),
  control,
);

Deno.test("`decodeAtBroker` undoes `encode` for all that peers can send", () => {
  fc.assert(fc.property(commandAtBroker, (command) => {
    assert.deepEqual(decodeAtBroker(encode(command)), { ...command });
  }));
});

Deno.test("`decodeAtClient` undoes `encode` for all that a broker can send to a client", () => {
  const reply = fc.record({
    side: clientSide,
    command: fc.constantFrom("partial" as const, "final" as const),
    dialect: anyDialect,
    service: someBytes,
    body: someBody,
  });
  fc.assert(fc.property(reply, ({ service, ...rest }) => {
    const command = rest.dialect.serviceInReply ? { ...rest, service } : { ...rest };
    assert.deepEqual(decodeAtClient(encode(command), command.dialect), command);
  }));
});

Deno.test("`decodeAtWorker` undoes `encode` for all that a broker can send to a worker", () => {
  const work = fc.record({
    side: workerSide,
    command: fc.constant("request" as const),
    dialect: workersDialect,
    client: someBytes,
    body: someBody,
  });
  fc.assert(fc.property(fc.oneof(work, control), (command) => {
    assert.deepEqual(decodeAtWorker(encode(command), command.dialect), { ...command });
  }));
});

/** Frames of which many are nearly MDP, since frames at random seldom get past the header. */
const hostile = fc.array(
  fc.oneof(
    fc.uint8Array({ maxLength: 8 }),
    fc.constantFrom(CLIENT_HEADER, WORKER_HEADER, bytes(""), bytes("MDPC01")),
    fc.nat(8).map((command) => bytes([command])),
  ),
  { maxLength: 7 },
);

Deno.test("`decode` throws nothing but `ProtocolError`, whatever the frames are", () => {
  fc.assert(
    fc.property(hostile, anyDialect, (frames, dialect) => {
      for (const decode of [atBroker, atClient(dialect), atWorker(dialect)]) {
        try {
          const command = decode(frames);
          // What is taken can be written again, and is the same: nothing was lost or made up.
          assert.deepEqual(encode(command), frames);
        } catch (error) {
          if (!(error instanceof ProtocolError)) throw error;
          assert.notEqual(error.message, "");
        }
      }
    }),
    { numRuns: 2_000 },
  );
});

Deno.test("`tryDecodeAtBroker` returns what `decodeAtBroker` returns or throws, and throws nothing", () => {
  let valid = 0, invalid = 0;
  const check = (frames: Uint8Array[]) => {
    const found = tryDecodeAtBroker(frames, BYTES);
    if (found instanceof InvalidMessage) {
      invalid++;
      return assertRefused(() => decodeAtBroker(frames), found.kind, found.message);
    }
    valid++;
    assert.deepEqual(found, decodeAtBroker(frames));
  };
  for (const message of corpus("broker")) check(message.map(bytes));
  for (const [, frames] of REFUSED_AT_BROKER) check(frames.map(bytes));
  fc.assert(
    fc.property(fc.nat(), (seed) => check(anyMessage(new Random(seed), "broker").map(bytes))),
    { numRuns: 300 },
  );
  assert.ok(valid > 20 && invalid > 100, `${valid} valid, ${invalid} invalid`);
});

/** Frames that are not bytes, and notice being read. */
class Parcel {
  reads = 0;
  readonly content: Uint8Array;

  constructor(content: Uint8Array) {
    this.content = content;
  }
}

const PARCELS: FrameReader<Parcel> = {
  read(parcel, into) {
    parcel.reads++;
    return BYTES.read(parcel.content, into);
  },
};

Deno.test("`FrameReader` reads the envelope only: bodies are never looked at", () => {
  const decoders: Record<string, (frames: Parcel[], dialect: Dialect) => Command<Parcel>> = {
    "client to broker": (frames) => decodeAtBroker(frames, PARCELS),
    "worker to broker": (frames) => decodeAtBroker(frames, PARCELS),
    "broker to client": (frames, dialect) => decodeAtClient(frames, dialect, PARCELS),
    "broker to worker": (frames, dialect) => decodeAtWorker(frames, dialect, PARCELS),
  };
  for (const { who, command, frames } of WIRE) {
    const parcels = frames.map((frame) => new Parcel(bytes(frame)));
    const decoded = decoders[who]!(parcels, command.dialect);
    const handedOn = "body" in decoded ? decoded.body : [];
    assert.deepEqual(
      handedOn,
      "body" in command ? parcels.slice(-command.body.length) : [],
      "the body is the message's own last frames",
    );
    assert.deepEqual(handedOn.map(({ reads }) => reads), handedOn.map(() => 0));
    // No frame of the envelope is read more than twice: reading is a call into libzmq.
    assert.ok(parcels.every(({ reads }) => reads <= 2), `${who}: ${parcels.map((p) => p.reads)}`);
    if ("service" in decoded) assert.ok(parcels.includes(decoded.service!));
    if ("client" in decoded) assert.ok(parcels.includes(decoded.client!));
  }
});

Deno.test("`BYTES` copies as much as both have, and tells the whole length", () => {
  const into = new Uint8Array([9, 9, 9]);
  assert.equal(BYTES.read(bytes([1, 2]), into), 2);
  assert.deepEqual([...into], [1, 2, 9]);
  assert.equal(BYTES.read(bytes([3, 4, 5, 6]), into), 4);
  assert.deepEqual([...into], [3, 4, 5]);
  assert.equal(BYTES.read(bytes([7]), new Uint8Array(0)), 1);
});
