// Many peers at once: every reply is the right one, for the right client, once.

import assert from "node:assert/strict";
import type { RawSocket } from "./raw.ts";
import {
  assertAddsUp,
  C,
  C_FINAL,
  C_PARTIAL,
  C_REQUEST,
  FINAL,
  PARTIAL,
  READY,
  Stage,
  W,
} from "./stage.ts";

const CLIENTS = 200, WORKERS = 50, REQUESTS = 20, SERVICES = 5;

const decode = (frame: Uint8Array) => new TextDecoder().decode(frame);

Deno.test("every client gets each of its replies, once and in order, when 200 of them and 50 workers are at work", async () => {
  await using stage = new Stage();
  const workers = Array.from({ length: WORKERS }, (_, i) => {
    // Every other one is of majortomo.
    const delimiter = i % 2 === 0 ? [] : [""];
    const worker = stage.stranger();
    worker.send(...delimiter, W, READY, `service ${i % SERVICES}`);
    return { worker, delimiter };
  });
  let over = false;
  const served = workers.map(async ({ worker, delimiter }, i) => {
    for (let done = 0;; done++) {
      const message = await worker.receive(60_000).catch((error) => {
        if (over) return undefined;
        throw error;
      });
      if (message === undefined) return done;
      const [client, , text, padding] = message.slice(delimiter.length + 2);
      if (client === undefined) return done; // DISCONNECT: the end.
      const reply = `${decode(text!)} from a worker of service ${i % SERVICES}`;
      if (done % 3 === 0) worker.send(...delimiter, W, PARTIAL, client, "", `${reply}, in part`);
      worker.send(...delimiter, W, FINAL, client, "", reply, padding!);
    }
  });

  const clients = Array.from({ length: CLIENTS }, () => stage.stranger());
  let partials = 0;
  const all = clients.map(async (client: RawSocket, i) => {
    const service = `service ${i % SERVICES}`;
    for (let sequence = 0; sequence < REQUESTS; sequence++) {
      const text = `request ${sequence} of client ${i}`;
      const padding = new Uint8Array((i * sequence) % 4_000).fill(sequence);
      client.send(C, C_REQUEST, service, text, padding);
      const expected = `${text} from a worker of ${service}`;
      let reply = await client.receive(60_000);
      if (reply[1]![0] === C_PARTIAL[0]) {
        partials++;
        assert.equal(decode(reply[3]!), `${expected}, in part`);
        reply = await client.receive(60_000);
      }
      assert.deepEqual([...reply[1]!], C_FINAL);
      assert.deepEqual(reply.slice(2, 4).map(decode), [service, expected]);
      assert.deepEqual(reply[4], padding);
    }
  });
  await Promise.all(all);
  for (const client of clients) assert.deepEqual(client.unread, []);

  const stats = stage.broker.stats();
  assertAddsUp(stats);
  const total = CLIENTS * REQUESTS;
  assert.partialDeepStrictEqual(stats, {
    accepted: total,
    answered: total,
    dispatched: total,
    partials,
    recovered: 0,
    queued: 0,
    queuedBytes: 0,
    inFlight: 0,
    expired: 0,
    services: SERVICES,
  });
  over = true;
  await stage.broker.close();
  const done = await Promise.all(served);
  assert.equal(done.reduce((sum, count) => sum + count, 0), total);
  assert.ok(done.every((count) => count > 0), `every worker had work: ${done}`);
});
