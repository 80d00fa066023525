// What the broker makes of messages that are not MDP 0.2: dropped, counted by kind, and nobody
// else notices.

import assert from "node:assert/strict";
import type { ProtocolErrorKind } from "../errors.ts";
import { bytes, type RawFrame, show } from "./raw.ts";
import {
  C,
  C_FINAL,
  C_REQUEST,
  DISCONNECT,
  fence,
  FINAL,
  HEARTBEAT,
  PARTIAL,
  READY,
  REQUEST,
  Stage,
  W,
} from "./stage.ts";

const INVALID: Partial<Record<ProtocolErrorKind, readonly RawFrame[][]>> = {
  header: [
    ["x"],
    ["", ""],
    ["", "x"],
    ["", "", C, C_REQUEST, "echo", "x"],
    ["MDPC01", C_REQUEST, "echo", "x"],
    ["MDPC03", C_REQUEST, "echo", "x"],
    ["MDPX02", C_REQUEST, "echo", "x"],
    ["mdpc02", C_REQUEST, "echo", "x"],
    ["MDPC02 ", C_REQUEST, "echo", "x"],
    ["MDPC0", C_REQUEST, "echo", "x"],
    ["MDPW01", [1], "echo"],
    ["MDPW02\n", READY, "echo"],
    ["GET / HTTP/1.1\r\n\r\n"],
    [new Uint8Array(100_000)],
    ["echo", C, C_REQUEST],
  ],
  command: [
    [C, [0], "echo", "x"],
    [C, [2], "echo", "x"],
    [C, [3], "echo", "x"],
    [C, [4], "echo", "x"],
    [C, [255], "echo", "x"],
    [C, "1", "echo", "x"],
    [C, "", "echo", "x"],
    [C, [1, 1], "echo", "x"],
    [C, [0, 1], "echo", "x"],
    ["", C, [3], "echo", "x"],
    ["", C, [4], "echo", "x"],
    [W, [0], "echo"],
    [W, REQUEST, "c", "", "x"],
    [W, [7]],
    [W, [1, 2]],
    [W, ""],
    ["", W, REQUEST, "c", "", "x"],
  ],
  frames: [
    [C],
    ["", C],
    [C, C_REQUEST],
    ["", C, C_REQUEST],
    ["", C, [2]],
    [W],
    [W, READY],
    [W, READY, "echo", "more"],
    [W, READY, "echo", ""],
    [W, PARTIAL],
    [W, FINAL],
    [W, FINAL, "", ""],
    [W, HEARTBEAT, ""],
    [W, DISCONNECT, "bye"],
    ["", W, HEARTBEAT, "more"],
  ],
  delimiter: [
    [W, PARTIAL, "c"],
    [W, FINAL, "c"],
    [W, FINAL, "c", "x"],
    ["", W, FINAL, "c", "x", "y"],
  ],
  service: [
    [C, C_REQUEST, ""],
    [C, C_REQUEST, "", "x"],
    ["", C, [2], "", "x"],
    [W, READY, ""],
    ["", W, READY, ""],
    [C, C_REQUEST, new Uint8Array(65_536).fill(65), "x"],
    [W, READY, new Uint8Array(2 ** 24).fill(65)],
  ],
};

for (const [kind, messages] of Object.entries(INVALID)) {
  Deno.test(`a message is dropped and counted as "${kind}", and nobody notices, when it is so`, async () => {
    await using stage = new Stage();
    const client = stage.peer("c"), worker = await stage.worker("w", "echo");
    client.send(C, C_REQUEST, "echo", "before");
    await worker.expect(W, REQUEST, "c", "", "before");
    const peer = stage.peer("bad");
    for (const [i, message] of messages.entries()) {
      peer.send(...message);
      await fence(peer);
      const { invalid } = stage.broker.stats();
      const expected = {
        header: 0,
        delimiter: 0,
        command: 0,
        frames: 0,
        service: 0,
        size: 0,
        flags: 0,
        id: 0,
        value: 0,
        [kind]: i + 1,
      };
      assert.deepEqual(invalid, expected, `after ${show(message).join(" | ")}`);
    }
    const { workers, accepted, unknown, services } = stage.broker.stats();
    assert.deepEqual([workers.registered, accepted, unknown, services], [1, 1, 0, 1]);
    worker.send(W, FINAL, "c", "", "after");
    await client.expect(C, C_FINAL, "echo", "after");
    await fence(client);
    await fence(worker);
  });
}

Deno.test("an invalid message from a worker is dropped, and the worker stays", async () => {
  await using stage = new Stage();
  const client = stage.peer("c"), worker = await stage.worker("w", "echo");
  client.send(C, C_REQUEST, "echo", "x");
  await worker.expect(W, REQUEST, "c", "", "x");
  worker.send(W, [9], "c", "", "y");
  worker.send(W, FINAL, "c");
  await fence(worker);
  worker.send(W, FINAL, "c", "", "y");
  await client.expect(C, C_FINAL, "echo", "y");
  const { workers, invalid } = stage.broker.stats();
  assert.deepEqual([workers.waiting, invalid.command, invalid.delimiter], [1, 1, 1]);
});

Deno.test("an answer is a violation when the address in it is longer than any can be", async () => {
  await using stage = new Stage();
  const worker = await stage.worker("w", "echo");
  worker.send(W, FINAL, new Uint8Array(2 ** 24).fill(65), "", "x");
  await worker.expect(W, DISCONNECT);
  assert.equal(stage.broker.stats().workers.left.violation, 1);
});

Deno.test("a lone empty frame is a farewell, as ROUTER_NOTIFY's is", async () => {
  await using stage = new Stage();
  const worker = await stage.worker("w", "echo"), stranger = stage.peer("s");
  worker.send("");
  await fence(worker);
  stranger.send("");
  await fence(stranger);
  const { workers, received } = stage.broker.stats();
  assert.deepEqual([workers.registered, workers.left.gone, received.gone], [0, 1, 2]);
});

Deno.test("a request is refused as too large when its frames together are", async () => {
  await using stage = new Stage({ maxMessageSize: 10_000 });
  const client = stage.peer("c"), worker = await stage.worker("w", "echo");
  const half = new Uint8Array(5_000).fill(7);
  client.send(C, C_REQUEST, "echo", half, half, "x");
  await fence(client);
  assert.equal(stage.broker.stats().invalid.size, 1);
  client.send(C, C_REQUEST, "echo", half, half);
  await worker.expect(W, REQUEST, "c", "", half, half);
});

Deno.test("a peer is cut off, and others are not, when it sends a frame that is too large", async () => {
  await using stage = new Stage({ maxMessageSize: 10_000 });
  const client = stage.peer("c"), worker = await stage.worker("w", "echo");
  const giant = stage.stranger({ reconnectInterval: 60_000 });
  await fence(giant);
  const { gone } = stage.broker.stats().received;
  giant.send(C, C_REQUEST, "echo", new Uint8Array(10_001));
  await stage.until("cut off", (stats) => stats.received.gone === gone + 1);
  client.send(C, C_REQUEST, "echo", new Uint8Array(10_000));
  await worker.expect(W, REQUEST, "c", "", new Uint8Array(10_000));
  assert.equal(stage.broker.stats().accepted, 1);
});

Deno.test("the broker goes on when thousands of messages of random frames come", async () => {
  await using stage = new Stage({ maxTotalQueue: 100 });
  // A fixed seed: what fails once fails again.
  let seed = 20261123;
  const random = (below: number) => {
    seed = (Math.imul(seed, 1_664_525) + 1_013_904_223) >>> 0;
    return Math.floor(seed / 2 ** 32 * below);
  };
  const pieces: RawFrame[] = ["", C, W, "MDPX02", "echo", "c", "mmi.service", "mmi.x", "worker"];
  const frame = (): RawFrame => {
    const choice = random(pieces.length + 10);
    if (choice < pieces.length) return pieces[choice]!;
    if (choice < pieces.length + 8) return [random(8)];
    return Uint8Array.from({ length: random(40) }, () => random(256));
  };
  const control = (): RawFrame => {
    const frame = new Uint8Array(20);
    frame.set(bytes(["MDPCX1", "MDPWX1"][random(2)]!));
    frame[6] = random(11);
    if (random(8) === 0) frame[7] = 1 << random(4);
    frame[15] = random(2) === 0 ? 0 : random(4);
    if (random(3) === 0) frame.set([random(3) === 0 ? 255 : 0, 0, 1, random(256)], 16);
    return random(20) === 0 ? frame.subarray(1) : frame;
  };
  const message = (): RawFrame[] => {
    if (random(3) === 0) return [control(), ...Array.from({ length: random(4) }, frame)];
    if (random(4) === 0) return Array.from({ length: 1 + random(6) }, frame);
    const envelope = [...[[], [""]][random(2)]!, [C, W][random(2)]!, [random(8)]];
    return [...envelope, ...Array.from({ length: random(5) }, frame)];
  };
  const peers = Array.from({ length: 8 }, (_, i) => stage.peer(`p${i}`));
  for (let round = 0; round < 150; round++) {
    for (const peer of peers) for (let i = 0; i < 20; i++) peer.send(...message());
    const { received, invalid } = stage.broker.stats();
    const seen = (counts: object) => Object.values(counts).reduce((a, b) => a + b, 0);
    await stage.until("all handled", (stats) => {
      const handled = seen(stats.received) + seen(stats.invalid);
      return handled >= Math.min((round + 1) * 160, seen(received) + seen(invalid) + 160);
    });
  }
  const { received, invalid } = stage.broker.stats();
  for (const [kind, count] of Object.entries({ ...received, ...invalid })) {
    if (kind !== "size") assert.ok(count > 0, `no message was of kind "${kind}"`);
  }
  await stage.assertServes();
});

Deno.test("the broker goes on when what connects does not speak ZMTP", async () => {
  await using stage = new Stage();
  const { hostname, port } = new URL(stage.endpoint.replace("tcp:", "http:"));
  const garbage = [
    new TextEncoder().encode("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"),
    crypto.getRandomValues(new Uint8Array(10_000)),
    new Uint8Array(1_000),
    new Uint8Array([0xff, 0, 0, 0, 0, 0, 0, 0, 0, 0x7f, 3, 0]),
    new Uint8Array(0),
  ];
  for (const bytes of garbage) {
    const connection = await Deno.connect({ hostname, port: Number(port) });
    await connection.write(bytes);
    await stage.assertServes();
    connection.close();
  }
  await stage.assertServes();
});
