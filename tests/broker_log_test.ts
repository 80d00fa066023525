// What the log says while peers misbehave, the broker's and that of a client or worker whose broker
// does: about each, a little, and nothing at their length.

import assert from "node:assert/strict";
import { configure, getTextFormatter, type LogRecord, reset } from "@logtape/logtape";
import { Client } from "../client.ts";
import { Worker } from "../worker.ts";
import { anyMessage, control, corpus } from "./hostile.ts";
import { Random } from "./random.ts";
import { bytes, type RawFrame, RawSocket } from "./raw.ts";
import { C, C_REQUEST, FINAL, READY, REQUEST, Stage, until, W } from "./stage.ts";

const format = getTextFormatter({ timestamp: "none" });

/** Runs with a log from info up. @returns Its lines, and how many seconds it took. */
async function logged(
  body: (lines: string[]) => Promise<void>,
): Promise<{ lines: string[]; seconds: number }> {
  const lines: string[] = [], start = performance.now();
  await configure({
    sinks: { memory: (record: LogRecord) => void lines.push(format(record)) },
    loggers: [
      { category: "majortomo", sinks: ["memory"], lowestLevel: "info" },
      { category: ["logtape", "meta"], sinks: [], lowestLevel: "error" },
    ],
  });
  try {
    await body(lines);
  } finally {
    await reset();
  }
  return { lines, seconds: Math.ceil((performance.now() - start) / 1_000) };
}

Deno.test("no line is long, or does anything to a terminal, whatever peers send", async () => {
  const nasty = ["\x1b[2J\u202e", "x".repeat(60_000), "\r\nfake line", "\u2028\u0085", "\0"];
  const { lines } = await logged(async () => {
    await using stage = new Stage();
    const random = new Random(7);
    const peers = Array.from(
      { length: 8 },
      (_, i) => stage.peer(nasty[i]?.slice(0, 255) ?? `${i}`),
    );
    const messages = corpus("broker");
    for (let i = 0; i < 2_000; i++) messages.push(anyMessage(random, "broker"));
    for (const name of nasty) {
      messages.push([W, READY, name], [C, C_REQUEST, name, "x"], [W, READY, `mmi.${name}`]);
      messages.push([name, name], [W, FINAL, name, "", "x"], [C, bytes(name)]);
    }
    for (let at = 0; at < messages.length; at += 200) {
      for (const message of messages.slice(at, at + 200)) random.pick(peers).send(...message);
      await stage.assertServes();
    }
  });
  assert.ok(lines.length > 20, `${lines.length} lines`);
  assertHarmless(lines);
});

/** That no line grows with what a peer sends, or does anything to a terminal. */
function assertHarmless(lines: readonly string[]): void {
  for (const line of lines) {
    assert.ok(line.length < 600, `a line of ${line.length} characters: ${line.slice(0, 200)}`);
    // deno-lint-ignore no-control-regex -- they are what is looked for
    assert.doesNotMatch(line.trimEnd(), /[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e]/);
  }
}

Deno.test("the line on a worker that is cut off says for what", async () => {
  const { lines } = await logged(async () => {
    await using stage = new Stage();
    const worker = await stage.worker("w", "echo");
    worker.send(W, READY, "echo");
    await stage.until("it left", ({ workers }) => workers.left.violation === 1);
  });
  assert.match(
    lines.find((line) => line.includes("left service"))!,
    / left service ""echo"": "violation", "READY again" \(requests held: 0\)$/m,
  );
});

Deno.test("a peer that floods is told of a few times a second, and does not silence what is said of another", async () => {
  const { lines, seconds } = await logged(async (lines) => {
    await using stage = new Stage();
    const loud = stage.peer("loud"), quiet = stage.peer("quiet");
    for (let round = 0; round < 40; round++) {
      for (let i = 0; i < 100; i++) loud.send("garbage");
      await stage.until("all came", ({ invalid }) => invalid.header >= 100 * (round + 1));
    }
    quiet.send("garbage");
    await stage.until("it came", ({ invalid }) => invalid.header === 4_001);
    assert.match(lines.at(-1)!, new RegExp(`Dropped a message from .?${hexOf("quiet")}`));
    // What was left out is told with the next.
    const told = () => lines.some((line) => /\(\d{2,} more like it were left out\)/.test(line));
    for (let i = 0; i < 200 && !told(); i++) {
      for (let j = 0; j < 20; j++) loud.send("garbage");
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
    assert.ok(told(), `nothing says what was left out: ${lines.at(-1)}`);
  });
  const loud = lines.filter((line) => line.includes(hexOf("loud")));
  assert.ok(loud.length <= 5 * (seconds + 1), `${loud.length} lines in ${seconds} s`);
});

Deno.test("a crowd of peers that misbehave is told of at a bounded rate", async () => {
  const { lines, seconds } = await logged(async () => {
    await using stage = new Stage();
    const crowd = Array.from({ length: 300 }, (_, i) => stage.peer(`peer ${i}`));
    for (let round = 0; round < 4; round++) {
      for (const peer of crowd) peer.send("garbage");
      await stage.until("all came", ({ invalid }) => invalid.header === 300 * (round + 1));
    }
  });
  const told = lines.filter((line) => line.includes("Dropped a message")).length;
  assert.ok(told >= 50 && told <= 50 * (seconds + 1), `${told} lines in ${seconds} s`);
});

/** What a broker should not send, of several kinds. */
const NASTY: RawFrame[][] = [
  ["\x1b[2J\u202e"],
  ["x".repeat(60_000)],
  ["", "\r\nfake line"],
  [W, [9], "\x1b[2J"],
  [C, "\x1b[2J\x07", "x".repeat(60_000)],
  [control("MDPWX1", { command: 99 })],
  [control("MDPCX1", { command: 99 }), "\x1b"],
];
const ROUNDS = 100;

for (const dialect of ["rfc", "majortomo", "multiplexed"] as const) {
  Deno.test(`${dialect}: a worker tells of a broker that misbehaves a few times a second, in short`, async () => {
    const { lines, seconds } = await logged(async () => {
      await using router = RawSocket.router();
      await using worker = new Worker({ broker: router.endpoint, service: "echo", dialect });
      worker.serve((request) => request.frames);
      const [address] = await router.receive();
      for (let i = 0; i < ROUNDS; i++) {
        for (const message of NASTY) router.send(address!, ...message);
      }
      // What comes after them is still taken.
      const delimiter = dialect === "majortomo" ? [""] : [];
      if (dialect === "multiplexed") {
        router.send(address!, control("MDPWX1", { command: 2 }), "x");
      } else router.send(address!, ...delimiter, W, REQUEST, "c", "", "x");
      const answer = await router.receive();
      assert.equal(new TextDecoder().decode(answer.at(-1)), "x");
    });
    assertHarmless(lines);
    assertFew(lines, /Dropped a message of/, seconds);
  });
}

Deno.test("multiplexed: a client tells of a broker that misbehaves a few times a second, in short", async () => {
  const { lines, seconds } = await logged(async () => {
    await using router = RawSocket.router();
    await using client = new Client({ broker: router.endpoint, dialect: "multiplexed" });
    const call = client.request("echo", "x");
    const [address, head] = await router.receive();
    for (let i = 0; i < ROUNDS; i++) {
      for (const message of NASTY) router.send(address!, ...message);
    }
    const final = head!.slice();
    final[6] = 3;
    final.fill(0, 16);
    router.send(address!, final, "y");
    assert.equal((await call).text(), "y");
  });
  assertHarmless(lines);
  assertFew(lines, /Dropped an invalid message/, seconds);
});

/** That there are some, and no more than 5 a second of each kind. */
function assertFew(lines: readonly string[], pattern: RegExp, seconds: number): void {
  const count = lines.filter((line) => pattern.test(line)).length;
  const most = 5 * NASTY.length * (seconds + 1);
  assert.ok(count > 0 && count <= most, `${count} lines in ${seconds} s: ${lines.slice(0, 5)}`);
  assert.ok(most < ROUNDS * NASTY.length, "it took too long to show anything");
}

Deno.test("all that is lost at once is told of, though nothing follows", async () => {
  await logged(async (lines) => {
    await using stage = new Stage();
    const crowd = Array.from({ length: 60 }, (_, i) => stage.peer(`worker ${i}`));
    for (const peer of crowd) peer.send(W, READY, "echo");
    await stage.until("all are there", ({ workers }) => workers.registered === 60);
    await Promise.all(crowd.map((peer) => peer.close()));
    await stage.until("all are gone", ({ workers }) => workers.left.gone === 60);
    const told = (what: string) => {
      const found = lines.filter((line) => line.includes(what));
      const omitted = found.map((line) => Number(/\((\d+) more like it/.exec(line)?.[1] ?? 0));
      return omitted.reduce((sum, count) => sum + count, found.length);
    };
    await until(() => told("joined") === 60 && told('"gone" (') === 60, "all is told", () => lines);
  });
});

function hexOf(name: string): string {
  return [...bytes(name)].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}
