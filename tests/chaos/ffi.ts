/**
 * Wears the foreign functions down: sockets opened and closed, messages, and waits that are given
 * up at random moments. Memory and descriptors must stay flat. Run as a program, its arguments are
 * how many sockets, messages and waits, and a seed; it prints what it did, and as the last line what was broken,
 * as JSON.
 *
 * @module
 */

import { Client } from "../../client.ts";
import { Broker } from "../../broker.ts";
import { Worker } from "../../worker.ts";
import { Message } from "../../zmq/message.ts";
import { Socket } from "../../zmq/socket.ts";
import { Random } from "../random.ts";
import { collect, descriptorsOf } from "./broker.ts";

/** How much more memory, in MiB, and how many more descriptors there may be at the end. */
const SLACK = 64, DESCRIPTORS = 12;
/** How many times memory is looked at. */
const LOOKS = 10;

const MIB = 2 ** 20;
const tick = () => new Promise<void>((resolve) => setImmediate(resolve));

/** What the process holds. */
interface Holding {
  /** Memory in MiB. */
  memory: number;
  descriptors: number;
}

/** What the process holds when garbage is collected and what was closed is gone. */
async function holding(): Promise<Holding> {
  collect();
  await new Promise((resolve) => setTimeout(resolve, 20));
  collect();
  return {
    memory: Deno.memoryUsage().rss / MIB,
    descriptors: Deno.build.os === "linux" ? descriptorsOf("self") : 0,
  };
}

/**
 * Does something so many times, and looks whether what the process holds grows after the first
 * fifth.
 *
 * @param batch Does it at most so many times. @returns How many times it did.
 */
async function wear(
  what: string,
  count: number,
  batch: (most: number) => Promise<number>,
): Promise<string[]> {
  const looks: Holding[] = [], start = performance.now();
  for (let done = 0, next = 0; done < count;) {
    done += await batch(count - done);
    if (done < next && done < count) continue;
    looks.push(await holding());
    next = done + count / LOOKS;
  }
  const seconds = (performance.now() - start) / 1_000;
  const series = (values: number[]) => values.map((value) => value.toFixed()).join(" ");
  console.log(
    `${count} ${what} in ${seconds.toFixed(1)} s; ` +
      `MiB: ${series(looks.map(({ memory }) => memory))}; ` +
      `descriptors: ${series(looks.map(({ descriptors }) => descriptors))}`,
  );
  const warm = looks[Math.min(looks.length - 1, Math.ceil(LOOKS / 5))]!, last = looks.at(-1)!;
  const broken: string[] = [];
  if (last.memory > warm.memory + SLACK) {
    broken.push(
      `${what}: memory grew from ${warm.memory.toFixed()} to ${last.memory.toFixed()} MiB`,
    );
  }
  if (last.descriptors > warm.descriptors + DESCRIPTORS) {
    broken.push(`${what}: descriptors grew from ${warm.descriptors} to ${last.descriptors}`);
  }
  return broken;
}

/** Sockets of all kinds, closed in every state that they can be in. */
async function wearSockets(count: number, random: Random): Promise<string[]> {
  let serial = 0;
  return await wear("sockets opened and closed", count, async (most) => {
    const endpoint = random.chance(0.7)
      ? `inproc://wear-${++serial}`
      : random.chance(0.5)
      ? "tcp://127.0.0.1:*"
      : `ipc:///tmp/mdp-wear-${Deno.pid}`;
    await using router = new Socket("ROUTER", { linger: 0 });
    const bound = router.bind(endpoint);
    router.watch(() => {
      while (!router.isClosed && router.receiveBytes() !== undefined);
    });
    const open: Socket[] = [];
    for (let i = Math.min(most - 1, random.between(1, 100)); i > 0; i--) {
      const dealer = new Socket("DEALER", { linger: 0 });
      open.push(dealer);
      if (random.chance(0.1)) continue;
      if (random.chance(0.05) && !bound.startsWith("inproc")) dealer.monitor(() => {});
      dealer.connect(bound);
      if (random.chance(0.6)) dealer.watch(() => dealer.receiveBytes());
      for (let n = random.below(4); n > 0; n--) dealer.send([random.bytes(50), "x"]);
      if (random.chance(0.2)) await tick();
      if (random.chance(0.3)) dealer.close();
    }
    if (random.chance(0.3)) await new Promise((resolve) => setTimeout(resolve, random.below(3)));
    const closed = open.map((socket) => socket.close());
    if (random.chance(0.2)) { for (const socket of open) socket.close(); }
    await Promise.all(closed);
    return open.length + 1;
  });
}

/** Messages of all sizes: copied into JavaScript or not, sent on, sent twice, or dropped. */
async function wearMessages(count: number, random: Random): Promise<string[]> {
  await using there = new Socket("ROUTER", { linger: 0, routerMandatory: 1 });
  await using here = new Socket("DEALER", { linger: 0 });
  here.connect(there.bind("inproc://wear-messages"));
  // Chance for each would cost more than the message.
  const sizes = Array.from(
    { length: 997 },
    () => random.chance(0.02) ? random.below(60_000) : random.below(60),
  );
  const bytes = new Uint8Array(60_000);
  let at = 0;
  const size = () => sizes[at++ % sizes.length]!;
  const broken = await wear("messages", count, async (most) => {
    let sent = 0;
    for (let i = 0; i < 400 && sent < most; i++) {
      const length = size();
      if (here.send([bytes.subarray(0, length), bytes.subarray(0, length % 7)]) === "sent") sent++;
    }
    for (let frames; (frames = there.receiveFrom()) !== undefined;) {
      const peer = there.sender.toBinaryString();
      const whole = frames[0]!.size;
      if (whole % 3 === 0) frames[0]!.bytes();
      if (whole % 5 === 0) {
        const copies = frames.map((frame) => frame.bytes());
        if (there.send([peer, ...copies]) === "sent") sent++;
      }
      if (whole % 2 === 0 && there.send([peer, ...frames]) === "sent") sent++;
      for (const frame of frames) frame.release();
      if (whole % 11 === 0) Message.take().release();
    }
    while (here.receiveBytes() !== undefined);
    await tick();
    return sent;
  });
  return broken;
}

/** Requests whose callers go, at any moment, in all dialects. */
async function wearWaits(count: number, random: Random): Promise<string[]> {
  await using broker = new Broker({ bind: "tcp://127.0.0.1:*", linger: 0 });
  const [endpoint] = broker.bind() as [string];
  await using worker = new Worker({
    broker: endpoint,
    service: "x",
    dialect: "multiplexed",
    concurrency: 64,
  });
  worker.serve(async (request) => {
    const work = request.frames[0]!.length;
    if (work > 0) await new Promise((resolve) => setTimeout(resolve, work));
    return request.frames;
  });
  await using rfc = new Client({ broker: endpoint, dialect: "rfc" });
  await using multiplexed = new Client({ broker: endpoint, dialect: "multiplexed" });
  let answered = 0, aborted = 0;
  const broken = await wear("waits, cancelled at random", count, async (most) => {
    const waits = Array.from({ length: Math.min(most, 64) }, async () => {
      const controller = new AbortController();
      const client = random.chance(0.9) ? multiplexed : rfc;
      // Some wait for as long as it takes: on a busy machine few answers come within 6 ms.
      const moment = random.chance(0.1) ? 60_000 : random.below(6);
      const timer = moment > 0 ? setTimeout(() => controller.abort(), moment) : undefined;
      const call = client.request("x", random.bytes(4), { signal: controller.signal });
      if (timer === undefined) controller.abort();
      try {
        await call;
        answered++;
      } catch (error) {
        if ((error as Error).name !== "AbortError") throw error;
        aborted++;
      }
      clearTimeout(timer);
    });
    await Promise.all(waits);
    return waits.length;
  });
  console.log(`of those ${answered} were answered and ${aborted} cancelled`);
  if (answered === 0 || aborted === 0) broken.push("Waits ended in one way only");
  return broken;
}

if (import.meta.main) {
  const [sockets, messages, waits, seed] = Deno.args.map(Number) as [
    number,
    number,
    number,
    number,
  ];
  const random = new Random(seed);
  const broken = [
    ...await wearSockets(sockets, random),
    ...await wearMessages(messages, random),
    ...await wearWaits(waits, random),
  ];
  console.log(JSON.stringify({ broken }));
}
