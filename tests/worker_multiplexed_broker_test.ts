// The worker in the multiplexed dialect with the broker and the client of this project, and how
// worker and client of different dialects get on.

import assert from "node:assert/strict";
import { Broker } from "../broker.ts";
import { Client } from "../client.ts";
import { ServiceError, TimeoutError } from "../errors.ts";
import type { DialectOption } from "../options.ts";
import { Worker, type WorkerRequest } from "../worker.ts";
import { until } from "./stage.ts";
import { pause, soon } from "./worker_stage.ts";

/** A broker, and a client and a worker whose dialects the test says. */
class Trio {
  readonly broker: Broker;
  readonly endpoint: string;
  readonly worker: Worker;
  readonly client: Client;

  constructor(worker: DialectOption = "auto", client: DialectOption = "auto", bind = "*") {
    this.broker = new Broker({ bind: `tcp://127.0.0.1:${bind}` });
    this.endpoint = this.broker.bind()[0]!;
    this.worker = new Worker({
      broker: this.endpoint,
      service: "echo",
      dialect: worker,
      concurrency: 4,
      backoff: 10,
      drain: 0,
    });
    this.client = new Client({ broker: this.endpoint, dialect: client, timeout: 10_000 });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.client.close();
    await this.worker.close();
    await this.broker.close();
  }
}

const DIALECTS: readonly DialectOption[] = ["auto", "multiplexed", "rfc", "majortomo"];
for (const worker of DIALECTS) {
  for (const client of DIALECTS) {
    Deno.test(`Rule 11: parts get from a worker of ${worker} to a client of ${client}`, async () => {
      await using trio = new Trio(worker, client);
      trio.worker.serve(async function* (request) {
        yield ["part", request.text()];
        return request.frames;
      });
      const calls = [1, 2, 3, 4, 5, 6].map((i) => trio.client.request("echo", [`${i}`, ""]));
      for (const [i, call] of calls.entries()) {
        const { parts } = await call;
        assert.deepEqual(
          parts.map((part) => part.frames.map((frame) => new TextDecoder().decode(frame))),
          [["part", `${i + 1}`], [`${i + 1}`, ""]],
        );
      }
      const stats = trio.broker.stats();
      assert.equal(stats.unknown, 0);
      assert.equal(stats.workers.left.violation, 0);
    });
  }
}

Deno.test("a worker of credit 4 has one registration", async () => {
  await using trio = new Trio();
  trio.worker.serve((request) => request.frames);
  const calls = Array.from({ length: 500 }, (_, i) => trio.client.request("echo", `${i}`));
  for (const [i, call] of calls.entries()) assert.equal((await call).text(), `${i}`);
  const { workers, answered } = trio.broker.stats();
  assert.deepEqual([workers.joined, workers.registered, answered], [1, 1, 500]);
});

Deno.test("what a handler throws is what the client gets", async () => {
  await using trio = new Trio();
  trio.worker.serve(() => {
    throw new ServiceError(409, "already there", new Uint8Array([1, 2]));
  });
  await assert.rejects(trio.client.request("echo", "x"), (error) => {
    assert.ok(error instanceof ServiceError, `got ${error}`);
    assert.deepEqual([error.code, error.message], [409, "already there"]);
    assert.deepEqual([...error.details!], [1, 2]);
    return true;
  });
});

Deno.test("a client that aborts its call aborts the handler, whose credit comes back", async () => {
  await using trio = new Trio();
  const requests: WorkerRequest[] = [];
  trio.worker.serve(async (request) => {
    if (request.text() === "quick") return "done";
    requests.push(request);
    await new Promise((_, reject) =>
      request.signal.addEventListener("abort", () => reject(request.signal.reason))
    );
  });
  const controller = new AbortController();
  const calls = [1, 2, 3, 4].map((i) =>
    assert.rejects(trio.client.request("echo", `${i}`, { signal: controller.signal }))
  );
  await until(() => requests.length === 4, "the credit is used up");
  controller.abort();
  await Promise.all(calls);
  const reply = await soon(trio.client.request("echo", "quick"), "the next answer");
  assert.equal(reply.text(), "done");
  assert.ok(requests.every((request) => (request.signal.reason as Error).name === "AbortError"));
  assert.equal(trio.broker.stats().workers.joined, 1);
});

Deno.test("a deadline of the client ends the handler", async () => {
  await using trio = new Trio();
  const reason = Promise.withResolvers<Error>();
  trio.worker.serve(async (request) => {
    assert.ok(request.deadline !== undefined);
    await new Promise<void>((resolve) => request.signal.addEventListener("abort", () => resolve()));
    reason.resolve(request.signal.reason);
  });
  // Long enough for the request to reach the handler on a machine that has much to do.
  await assert.rejects(trio.client.request("echo", "x", { deadline: 2_000 }));
  const error = await soon(reason.promise, "the handler's end");
  assert.ok(error instanceof TimeoutError || error.name === "AbortError", `got ${error}`);
  assert.equal(trio.broker.stats().workers.left.violation, 0);
});

Deno.test("a worker comes back to a broker that is started anew, at once", async () => {
  await using trio = new Trio();
  trio.worker.serve((request) => request.frames);
  await trio.client.request("echo", "1");
  await trio.broker.close();
  await until(() => !trio.worker.isConnected, "the worker has noticed");
  await using again = new Broker({ bind: trio.endpoint });
  again.bind();
  await until(() => again.stats().workers.registered === 1, "it is back");
  await pause(20);
  assert.equal(again.stats().workers.joined, 1);
});

Deno.test("a stop answers what is in hand, whatever crosses it", async () => {
  await using trio = new Trio();
  await using second = new Worker({ broker: trio.endpoint, service: "echo", drain: 10_000 });
  second.serve(async (request) => {
    await pause(50);
    return request.frames;
  });
  const calls = Array.from({ length: 8 }, (_, i) => trio.client.request("echo", `${i}`));
  await until(() => trio.broker.stats().inFlight > 0, "one is in hand");
  const closed = second.close();
  trio.worker.serve((request) => request.frames);
  for (const [i, call] of calls.entries()) assert.equal((await call).text(), `${i}`);
  await closed;
});
