// What a hostile peer sends, at the live broker, client and worker: others do not notice, nothing
// grows, and nothing throws. A seed of a failure: HOSTILE_SEED=… deno test -A tests/hostile_test.ts

import assert from "node:assert/strict";
import { Client } from "../client.ts";
import { MdpError } from "../errors.ts";
import type { DialectOption } from "../options.ts";
import { Worker } from "../worker.ts";
import { anyMessage, control, corpus, type Victim } from "./hostile.ts";
import { anySeed, Random } from "./random.ts";
import { bytes, type RawFrame, RawSocket, show } from "./raw.ts";
import {
  C,
  C_FINAL,
  C_REQUEST,
  DISCONNECT,
  fence,
  FINAL,
  READY,
  REQUEST,
  Stage,
  until,
  W,
} from "./stage.ts";

const SEED = Number(Deno.env.get("HOSTILE_SEED") ?? anySeed());
const DIALECTS: readonly DialectOption[] = ["rfc", "majortomo", "multiplexed"];

/** Corpus and chance, for one victim. A failure names the seed. */
async function attack(
  victim: Victim,
  count: number,
  body: (messages: ReturnType<typeof corpus>, random: Random) => Promise<void>,
): Promise<void> {
  const random = new Random(SEED);
  const messages = corpus(victim);
  for (let i = 0; i < count; i++) messages.push(anyMessage(random, victim));
  try {
    await body(messages, random);
  } catch (error) {
    (error as Error).message += ` (HOSTILE_SEED=${SEED})`;
    throw error;
  }
}

Deno.test("the broker serves pairs of all dialects, each its own replies, whatever others send", async () => {
  await attack("broker", 10_000, async (messages, random) => {
    await using stage = new Stage({ maxTotalQueue: 1_000 });
    await using all = new AsyncDisposableStack();
    let over = false, answered = 0;
    const pairs = DIALECTS.map(async (dialect) => {
      // A service of its own: that of the corpus is everybody's.
      const options = { broker: stage.endpoint, dialect, heartbeatInterval: 1_000 };
      const worker = all.use(new Worker({ ...options, service: dialect, concurrency: 4 }));
      worker.serve(async function* (request) {
        yield `part of ${request.text()}`;
        return `last of ${request.text()}`;
      });
      const client = all.use(new Client({ ...options, timeout: 20_000 }));
      for (let n = 0; !over || n < 10; n++) {
        const { parts } = await client.request(dialect, `${n}`);
        assert.deepEqual(parts.map((part) => part.text()), [`part of ${n}`, `last of ${n}`]);
        answered++;
      }
    });
    const peers = Array.from(
      { length: 8 },
      (_, i) => i < 4 ? stage.peer(`client ${i}`) : stage.stranger(),
    );
    const count = ({ received, invalid }: ReturnType<Stage["broker"]["stats"]>) =>
      [...Object.values(received), ...Object.values(invalid)].reduce((sum, n) => sum + n, 0);
    for (let at = 0; at < messages.length;) {
      const before = count(stage.broker.stats());
      const batch = messages.slice(at, at += 400);
      for (const message of batch) random.pick(peers).send(...message);
      await stage.until("all are handled", (stats) => count(stats) >= before + batch.length);
    }
    over = true;
    await Promise.all(pairs);
    assert.ok(answered >= 30, `${answered} answered meanwhile`);
    await stage.assertServes();
  });
});

for (const dialect of DIALECTS) {
  Deno.test(`a client of ${dialect} fails no worse than with an MdpError whatever its broker sends`, async () => {
    await attack("client", 3_000, async (messages) => {
      await using router = RawSocket.router();
      await using client = new Client({
        broker: router.endpoint,
        dialect,
        timeout: 5_000,
        retries: 3,
        backoff: 1,
        maxBackoff: 2,
      });
      const faults: unknown[] = [];
      let answered = 0, hostile = true;
      const answering = (async () => {
        for (let at = 0;;) {
          const [address, ...frames] = await router.receive(60_000);
          // What is no REQUEST, a HEARTBEAT or CANCEL, is told nothing.
          const request = dialect === "multiplexed" ? frames[0]![6] === 1 : true;
          if (!request) continue;
          if (hostile) {
            // Without ids, the first that is invalid ends the connection.
            const burst = dialect === "multiplexed" ? 20 : 1;
            for (let i = 0; i < burst && at < messages.length; i++) {
              router.socket.send([address!, ...messages[at++]!.map(bytes)]);
            }
            if (at >= messages.length) hostile = false;
          }
          router.socket.send([address!, ...finalFor(dialect, frames)]);
        }
      })();
      answering.catch((error) => faults.push(error));
      const all = Array.from({ length: 4 }, async () => {
        while (hostile && faults.length === 0) {
          try {
            await client.request("echo", "question");
            answered++;
          } catch (error) {
            if (!(error instanceof MdpError)) faults.push(error);
          }
        }
      });
      await Promise.all(all);
      assert.deepEqual(faults, []);
      assert.ok(answered > 0, "nothing was ever answered");
      const reply = await client.request("echo", "question", { retries: 20 });
      assert.equal(reply.text(), "the answer");
    });
  });

  Deno.test(`a worker of ${dialect} goes on working whatever its broker sends`, async () => {
    await attack("worker", 3_000, async (messages) => {
      await using router = RawSocket.router();
      await using worker = new Worker({
        broker: router.endpoint,
        service: "echo",
        dialect,
        concurrency: 2,
        backoff: 1,
        maxBackoff: 2,
        drain: 0,
      });
      const served = worker.serve((request) => `re: ${request.text()}`);
      let address: Uint8Array | undefined, ended = false;
      served.catch(() => {}).finally(() => ended = true);
      const replies: string[] = [];
      const listening = (async () => {
        for (;;) {
          const [from, ...frames] = await router.receive(60_000);
          // READY: a registration to be sent to.
          const head = dialect === "multiplexed"
            ? frames[0]![6]
            : frames[dialect === "rfc" ? 1 : 2]![0];
          if (head === READY[0]) address = from;
          if (head === FINAL[0]) replies.push(show(frames).at(-1)!);
        }
      })();
      listening.catch(() => {});
      for (let at = 0; at < messages.length;) {
        await until(() => address !== undefined || ended, "it registers", () => replies.at(-1));
        assert.ok(!ended, "it has ended");
        for (let i = 0; i < 25 && at < messages.length; i++, at++) {
          // It may have gone and be about to come anew.
          if (router.socket.send([address!, ...messages[at]!.map(bytes)]) !== "sent") break;
        }
        await new Promise((resolve) => setTimeout(resolve, 1));
      }
      let asked = 0;
      await until(
        () => {
          // A registration of before may be over: another one is asked then.
          const question = bytes(`question ${++asked}`);
          router.socket.send([address!, ...requestFor(dialect, asked, question)]);
          return replies.some((reply) => reply.startsWith("re: question"));
        },
        "a question is answered",
        () => replies.slice(-5),
      );
    });
  });
}

/** The right answer to a client's request. */
function finalFor(dialect: DialectOption, frames: readonly Uint8Array[]): Uint8Array[] {
  const answer = bytes("the answer");
  if (dialect === "multiplexed") {
    const head = frames[0]!.slice();
    head[6] = 3;
    head[7] = 0;
    head.fill(0, 16);
    return [head, answer];
  }
  if (dialect === "majortomo") return [bytes(""), bytes(C), bytes([4]), answer];
  return [bytes(C), bytes(C_FINAL), frames[2]!, answer];
}

/** A request for a worker. */
function requestFor(dialect: DialectOption, number: number, body: Uint8Array): Uint8Array[] {
  if (dialect === "multiplexed") {
    const head = new Uint8Array(20);
    head.set(bytes("MDPWX1"));
    head[6] = REQUEST[0]!;
    new DataView(head.buffer).setUint32(12, 1_000_000 + number);
    return [head, body];
  }
  const delimiter = dialect === "majortomo" ? [bytes("")] : [];
  return [...delimiter, bytes(W), bytes(REQUEST), bytes(`client ${number}`), bytes(""), body];
}

// ---- names ----

Deno.test("addresses of 1 to 255 bytes are served, each with its own replies", async () => {
  await using stage = new Stage();
  const worker = await stage.worker("w", "echo");
  for (let length = 1; length <= 255; length++) {
    // Those that begin with a zero byte are libzmq's own.
    const name = String.fromCharCode(1 + length % 120).repeat(length);
    const client = stage.peer(name);
    client.send(C, C_REQUEST, "echo", `${length}`);
    await worker.expect(W, REQUEST, name, "", `${length}`);
    worker.send(W, FINAL, name, "", `${length}`);
    await client.expect(C, C_FINAL, "echo", `${length}`);
    await client.close();
  }
});

Deno.test("names of services of every length to 300 bytes, and the longest, are served", async () => {
  await using stage = new Stage();
  const client = stage.peer("c"), worker = stage.peer("w");
  const lengths = [...Array.from({ length: 300 }, (_, i) => i + 1), 1_000, 65_534, 65_535];
  for (const length of lengths) {
    const name = Uint8Array.from({ length }, (_, i) => (i * 7 + length) % 256);
    worker.send(W, READY, name);
    client.send(C, C_REQUEST, name, "x");
    await worker.expect(W, REQUEST, "c", "", "x");
    worker.send(W, FINAL, "c", "", "y");
    worker.send(W, DISCONNECT);
    await client.expect(C, C_FINAL, name, "y");
    await fence(worker);
  }
  assert.equal(stage.broker.stats().services, 0);
});

// ---- floods ----

Deno.test("nothing is left of 2,000 connections when they were opened and abandoned at all stages", async () => {
  await using stage = new Stage();
  const { port } = new URL(stage.endpoint.replace("tcp:", "http:"));
  const greeting = new Uint8Array(64);
  greeting.set([0xff, 0, 0, 0, 0, 0, 0, 0, 1, 0x7f, 3, 0, ...bytes("NULL")]);
  const ready = [4, 28, 5, ...bytes("READY"), 11, ...bytes("Socket-Type"), 0, 0, 0, 6];
  ready.push(...bytes("DEALER"));
  // A worker's READY, and a request that nobody serves, each in frames of ZMTP.
  const register = [1, 6, ...bytes(W), 1, 1, 1, 0, 3, ...bytes("any")];
  const ask = [1, 6, ...bytes(C), 1, 1, 1, 1, 4, ...bytes("none"), 0, 1, 120];
  /** What is said, piece by piece; before each but the first the broker is heard. */
  const stages: ArrayLike<number>[][] = [
    [],
    [greeting.subarray(0, 20)],
    [greeting],
    [greeting, ready],
    [greeting, [...ready, ...register]],
    [greeting, [...ready, ...ask]],
    [greeting, [...ready, ...register.slice(0, -2)]],
  ];
  const say = async (connection: Deno.TcpConn, pieces: ArrayLike<number>[]) => {
    for (const [i, piece] of pieces.entries()) {
      if (i > 0) await connection.read(new Uint8Array(500));
      await connection.write(new Uint8Array(piece));
    }
  };
  const descriptors = () => [...Deno.readDirSync("/proc/self/fd")].length;
  await stage.assertServes();
  const before = Deno.build.os === "linux" ? descriptors() : 0;
  for (let round = 0; round < 10; round++) {
    const open = await Promise.all(
      Array.from({ length: 200 }, () => Deno.connect({ port: Number(port) })),
    );
    await Promise.all(open.map((each, i) => say(each, stages[i % stages.length]!)));
    await stage.assertServes();
    for (const each of open) each.close();
  }
  await stage.until("all are gone", ({ workers, queued }) => workers.registered + queued === 0);
  await stage.assertServes();
  const { received, services } = stage.broker.stats();
  // Two of seven have said something whole, and not all of those were heard before they went.
  assert.ok(received.ready > 50 && received.request > 80, Deno.inspect(received));
  assert.equal(services, 0);
  if (before > 0) {
    await until(() => descriptors() < before + 50, "descriptors are closed", descriptors);
  }
});

/** READY of each dialect, and for how many services: the flood is the same but for its bytes. */
const REGISTERING = {
  rfc: [[W, READY], 100_000],
  majortomo: [["", W, READY], 10_000],
  multiplexed: [[control("MDPWX1", { command: 1, id: "0".repeat(16), value: 9 })], 10_000],
} satisfies Record<string, [RawFrame[], number]>;

for (const [dialect, [ready, count]] of Object.entries(REGISTERING)) {
  Deno.test(`${dialect}: a peer that registers for ${count} services holds at most one`, async () => {
    await using stage = new Stage();
    const flood = stage.peer("flood"), client = stage.peer("c");
    const worker = await stage.worker("w", "echo");
    let most = 0;
    for (let i = 0; i < count; i += 500) {
      for (let j = i; j < i + 500; j++) flood.send(...ready, `service number ${j}`);
      client.send(C, C_REQUEST, "echo", `${i}`);
      await worker.expect(W, REQUEST, "c", "", `${i}`);
      worker.send(W, FINAL, "c", "", `${i}`);
      await client.expect(C, C_FINAL, "echo", `${i}`);
      await stage.until("all came", ({ received }) => received.ready >= i + 501);
      most = Math.max(most, stage.broker.stats().services);
    }
    assert.ok(most <= 2, `${most} services at a time`);
    // Every second READY was one too many.
    assert.equal(stage.broker.stats().workers.left.violation, count / 2);
  });
}

Deno.test("a peer that asks for 100,000 services gets as many queued as the limit says", async () => {
  await using stage = new Stage({ maxTotalQueue: 5_000 });
  const flood = stage.stranger();
  for (let i = 0; i < 100_000; i += 1_000) {
    for (let j = i; j < i + 1_000; j++) flood.send(C, C_REQUEST, `service number ${j}`, "x");
    await stage.until("all came", ({ received }) => received.request >= i + 1_000);
  }
  const { queued, services, refused } = stage.broker.stats();
  assert.deepEqual([queued, services, refused.queueFull], [5_000, 5_000, 95_000]);
  await stage.assertServes();
  await flood.close();
  await stage.until("all is forgotten", ({ queued, services }) => queued + services === 0);
});
