import assert from "node:assert/strict";
import {
  command,
  faultOfGreeting,
  GREETING,
  identityIn,
  nameOf,
  pong,
  READY,
} from "../zmtp/wire.ts";

const ascii = (text: string) => [...new TextEncoder().encode(text)];
const zeros = (count: number) => new Array<number>(count).fill(0);
/** A property of a READY. */
const property = (
  name: string,
  value: number[],
) => [name.length, ...ascii(name), 0, 0, 0, value.length, ...value];

Deno.test("GREETING is that of ZMTP 3.1 with the mechanism NULL", () => {
  assert.deepEqual([...GREETING], [
    ...[0xff, 0, 0, 0, 0, 0, 0, 0, 0, 0x7f, 3, 1],
    ...ascii("NULL"),
    ...zeros(16 + 1 + 31),
  ]);
});

Deno.test("READY names the type, and an identity that is empty", () => {
  assert.deepEqual([...READY], [
    4,
    41,
    ...[5, ...ascii("READY")],
    ...property("Socket-Type", ascii("ROUTER")),
    ...property("Identity", []),
  ]);
});

function greeting(change: Record<number, number>, mechanism = "NULL"): Uint8Array {
  const bytes = new Uint8Array(GREETING);
  bytes.fill(0, 12, 32);
  bytes.set(ascii(mechanism), 12);
  for (const [at, byte] of Object.entries(change)) bytes[Number(at)] = byte;
  return bytes;
}

for (
  const [what, bytes, fault] of [
    ["3.1", greeting({}), undefined],
    ["3.0", greeting({ 11: 0 }), undefined],
    ["one to come", greeting({ 10: 4 }), undefined],
    ["padding that is used", greeting({ 8: 1 }), undefined],
    ["a server", greeting({ 32: 1 }), undefined],
    [
      "HTTP",
      new TextEncoder().encode("GET / HTTP/1.1\r\n\r\n"),
      "It does not begin as ZMTP 3 does",
    ],
    ["ZMTP 1", new Uint8Array([1, 0, 3]), "It does not begin as ZMTP 3 does"],
    ["no signature", greeting({ 9: 0x7e }), "It does not begin as ZMTP 3 does"],
    ["2.0", greeting({ 10: 1 }), "It speaks ZMTP 2, and 3 is needed"],
    ["CURVE", greeting({}, "CURVE"), 'It wants the mechanism "CURVE"'],
  ] as const
) {
  Deno.test(`faultOfGreeting tells ${fault ?? "none"} when it is ${what}`, () => {
    const padded = new Uint8Array([1, 2, ...bytes]);
    assert.equal(faultOfGreeting(padded, 2, padded.length), fault);
    if (fault !== undefined) return;
    // Nor of any beginning of it.
    for (let end = 2; end < padded.length; end++) {
      assert.equal(faultOfGreeting(padded, 2, end), undefined, `${end} bytes`);
    }
  });
}

const ready = (...properties: number[][]) => [5, ...ascii("READY"), ...properties.flat()];

for (
  const [what, body, expected] of [
    ["a type", ready(property("Socket-Type", ascii("DEALER"))), []],
    ["letters of any case", ready(property("SOCKET-type", ascii("REQ"))), []],
    [
      "an identity",
      ready(property("Identity", [1, 2, 255]), property("Socket-Type", ascii("ROUTER"))),
      [1, 2, 255],
    ],
    [
      "what nobody knows",
      ready(property("X", [9]), property("Socket-Type", ascii("DEALER")), property("Y", [])),
      [],
    ],
    ["no type", ready(), 'It is a socket of type ""'],
    ["the type SUB", ready(property("Socket-Type", ascii("SUB"))), 'It is a socket of type "SUB"'],
    [
      "an identity of the ROUTER's own",
      ready(property("Socket-Type", ascii("DEALER")), property("Identity", [0, 1, 2, 3, 4])),
      "Its identity is too long, or begins with 0",
    ],
    [
      "a value that is cut off",
      ready(property("Socket-Type", ascii("DEALER"))).slice(0, -1),
      "Its READY is cut off",
    ],
    ["a name that is cut off", [...ready(), 11, 65], "Its READY is cut off"],
    [
      "a size beyond all",
      [...ready(), 1, 65, 255, 255, 255, 255, 0],
      "Its READY is cut off",
    ],
  ] as const
) {
  Deno.test(`identityIn reads a READY with ${what}`, () => {
    const bytes = new Uint8Array([7, ...body, 7]), read = identityIn(bytes, 1, bytes.length - 1);
    if (typeof expected === "string") assert.deepEqual(read, { fault: expected });
    else assert.deepEqual(read, { identity: new Uint8Array(expected) });
  });
}

Deno.test("identityIn takes 255 bytes, and no more", () => {
  const read = (length: number) => {
    const value = new Array(length).fill(65);
    const identity = [8, ...ascii("Identity"), 0, 0, length >> 8, length & 0xff, ...value];
    const bytes = new Uint8Array(ready(property("Socket-Type", ascii("DEALER")), identity));
    return identityIn(bytes, 0, bytes.length);
  };
  assert.ok("identity" in read(255));
  assert.ok("fault" in read(256));
});

Deno.test("nameOf and pong read a command, and answer a PING with what is to come back", () => {
  const ping = new Uint8Array([9, 4, ...ascii("PING"), 0, 50, 1, 2, 3]);
  assert.equal(nameOf(ping, 1, ping.length), "PING");
  assert.equal(nameOf(ping, 1, 4), undefined);
  assert.equal(nameOf(ping, 1, 1), undefined);
  assert.deepEqual([...pong(ping, 1, ping.length)], [4, 8, 4, ...ascii("PONG"), 1, 2, 3]);
  assert.deepEqual([...command("X", [])], [4, 2, 1, 88]);
});
