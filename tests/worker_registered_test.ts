// That a broker has taken a worker is told, in each dialect as soon as it can be known.

import assert from "node:assert/strict";
import { Broker } from "../broker.ts";
import { StateError } from "../errors.ts";
import { Worker, type WorkerOptions } from "../worker.ts";
import { bytes, type RawFrame } from "./raw.ts";
import { until } from "./stage.ts";
import { captureLog, FakeBroker, Inbox } from "./worker_stage.ts";

/** A control frame of the multiplexed dialect: 20 bytes, of which the last is its value's. */
function control(command: number, value = 0): RawFrame {
  const frame = new Uint8Array(20);
  frame.set(bytes("MDPWX1"));
  frame[6] = command;
  frame[19] = value;
  return frame;
}

const READY = control(1, 1), HEARTBEAT = control(5);

/** Where a worker is told to be registered, in order. */
function told(): { told: Inbox<string>; onRegistered: (broker: string) => void } {
  const told = new Inbox<string>();
  return { told, onRegistered: (broker) => told.push(broker) };
}

Deno.test("`onRegistered` is called when a multiplexed broker has answered READY, and not before", async () => {
  await using broker = new FakeBroker();
  const { told: where, onRegistered } = told();
  await using worker = broker.worker({ dialect: "multiplexed", onRegistered });
  worker.connect();
  const peer = await broker.joined.next("a socket");
  await peer.expect(READY, "echo");
  assert.deepEqual(where.items, []);
  peer.send(HEARTBEAT);
  assert.equal(await where.next("it is told"), broker.endpoint);
  peer.send(HEARTBEAT);
  await worker.close();
  assert.deepEqual(where.items, [], "it is told once");
});

for (const dialect of ["rfc", "majortomo"] as const) {
  Deno.test(`\`onRegistered\` is called when the connection stands in ${dialect}, once for all of them`, async () => {
    const nobody = new FakeBroker(dialect);
    const { endpoint } = nobody;
    await nobody.close();
    const { told: where, onRegistered } = told();
    await using worker = nobody.worker({ dialect, concurrency: 3, onRegistered });
    worker.connect();
    assert.deepEqual(where.items, [], "nobody is there");
    await using broker = new FakeBroker(dialect, endpoint);
    for (let i = 0; i < 3; i++) await broker.ready();
    assert.equal(await where.next("it is told"), endpoint);
    assert.deepEqual(where.items, []);
  });
}

Deno.test("`onRegistered` is called again after the broker was lost, with the one that has it now", async () => {
  await using first = new FakeBroker();
  await using second = new FakeBroker();
  const { told: where, onRegistered } = told();
  const { endpoint } = first;
  await using worker = first.worker({ broker: [endpoint, second.endpoint], onRegistered });
  worker.connect();
  const peer = await first.ready();
  assert.equal(await where.next("the first"), endpoint);
  peer.send("MDPW02", [6]);
  assert.equal(await where.next("the second"), second.endpoint);
  await second.ready();
  worker.connect({ reconnect: true });
  assert.equal(await where.next("the second again"), second.endpoint);
});

for (const dialect of ["auto", "multiplexed", "rfc"] as const) {
  Deno.test(`\`onRegistered\` is called by inproc in the dialect ${dialect}`, async () => {
    const bind = `inproc://registered-${dialect}`;
    await using broker = new Broker({ bind });
    broker.bind();
    const { told: where, onRegistered } = told();
    await using worker = new Worker({ broker: bind, service: "echo", dialect, onRegistered });
    worker.connect();
    assert.equal(await where.next("it is told"), bind);
  });
}

Deno.test("`onRegistered` may close the worker, and what it throws is logged", async () => {
  using log = captureLog();
  await using broker = new Broker({ bind: "tcp://127.0.0.1:*" });
  const [endpoint] = broker.bind();
  const worker: Worker = new Worker({
    broker: endpoint,
    service: "echo",
    onRegistered() {
      worker.close();
      throw new StateError("As is told");
    },
  });
  await worker.serve(() => "");
  assert.ok(log.texts().includes("error: onRegistered has failed: As is told"));
  assert.throws(() => new Worker({ service: "echo", onRegistered: 1 } as never as WorkerOptions), {
    name: "TypeError",
    message: "onRegistered is a function, got 1",
  });
});

Deno.test("`onRegistered` may be an async function, and what it rejects with is logged", async () => {
  using log = captureLog();
  await using broker = new Broker({ bind: "tcp://127.0.0.1:*" });
  const [endpoint] = broker.bind();
  const worker: Worker = new Worker({
    broker: endpoint,
    service: "echo",
    async onRegistered() {
      await worker.close();
      throw new StateError("As is told");
    },
  });
  await worker.serve(() => "");
  const isLogged = () => log.texts().includes("error: onRegistered has failed: As is told");
  await until(isLogged, "it is logged");
});
