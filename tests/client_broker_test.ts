// The client against the real broker and real workers, in both dialects.

import assert from "node:assert/strict";
import { Client, type DialectName, ServiceError, TimeoutError } from "../client.ts";
import { startBroker, type TestBroker } from "../testing.ts";
import { Worker, type WorkerOptions } from "../worker.ts";
import { assertFails, texts, whenFree } from "./client_stage.ts";
import { until } from "./stage.ts";

/** A worker whose reply has PARTIALs "1" and "2" and the request itself, and what ends it. */
function echo(broker: TestBroker, options: Partial<WorkerOptions> = {}): AsyncDisposable {
  const worker = new Worker({ broker: broker.endpoint, service: "echo", ...options });
  const served = worker.serve(async function* (request) {
    yield "1";
    yield ["2", ""];
    return request.frames;
  });
  return {
    async [Symbol.asyncDispose]() {
      await worker.close();
      await served;
    },
  };
}

/** Waits until nothing is queued or with a worker. */
async function settled({ broker }: TestBroker): Promise<void> {
  const stats = () => broker.stats();
  await until(() => stats().queued + stats().inFlight === 0, "the broker to be done", stats);
}

for (const dialect of ["rfc", "majortomo"] satisfies DialectName[]) {
  Deno.test(`\`request\`, \`stream\` and \`recvPart\` reach a worker when the dialect is ${dialect}`, async () => {
    await using broker = startBroker();
    // The worker speaks the other one.
    await using _ = echo(broker, { dialect: dialect === "rfc" ? "majortomo" : "rfc" });
    await using client = new Client({ broker: broker.endpoint, dialect });
    const reply = await client.request("echo", ["a", "b"]);
    assert.deepEqual(texts(reply.frames), ["1", "2", "", "a", "b"]);
    assert.equal(reply.final.text(), "ab");

    const parts = [];
    for await (const part of client.stream("echo", "x")) parts.push([part.type, part.text()]);
    assert.deepEqual(parts, [["partial", "1"], ["partial", "2"], ["final", "x"]]);

    client.send("echo", "y", "z");
    assert.deepEqual(texts((await client.recvPart())!), ["1"]);
    assert.deepEqual(texts(await client.recvAllAsList()), ["2", "", "y", "z"]);
  });
}

Deno.test("`request` gets each its own reply when 300 are asked for at once", async () => {
  await using broker = startBroker();
  await using _ = echo(broker, { concurrency: 4 });
  await using client = new Client({ broker: broker.endpoint, maxInFlight: 100 });
  const bodies = Array.from({ length: 300 }, (_, i) => `request ${i}`);
  const replies = await Promise.all(bodies.map((body) => client.request("echo", body)));
  assert.deepEqual(replies.map((reply) => reply.final.text()), bodies);
  assert.equal(broker.broker.stats().answered, 300);
});

Deno.test("`request` brings a large reply and an empty one back as they were", async () => {
  await using broker = startBroker();
  await using _ = echo(broker);
  await using client = new Client(broker.endpoint);
  const large = crypto.getRandomValues(new Uint8Array(65_536));
  const frames = [...Array.from({ length: 32 }, () => large), new Uint8Array(0)];
  assert.deepEqual((await client.request("echo", frames)).final.frames, frames);
  assert.deepEqual((await client.request("echo")).final.frames, [new Uint8Array(0)]);
});

Deno.test("`request` waits for a worker that comes later, and asks MMI meanwhile", async () => {
  await using broker = startBroker();
  await using client = new Client(broker.endpoint);
  const reply = client.request("echo", "early");
  assert.equal((await client.request("mmi.service", "echo")).text(), "404");
  await using _ = echo(broker);
  assert.equal((await reply).final.text(), "early");
  assert.equal((await client.request("mmi.service", "echo")).text(), "200");
});

Deno.test("`request` rejects with TimeoutError when no worker comes", async () => {
  await using broker = startBroker({ requestExpiry: 50 });
  await using client = new Client({ broker: broker.endpoint, dialect: "rfc" });
  await assertFails(client.request("nobody", "", { timeout: 100 }), TimeoutError, /"nobody"/);
  await settled(broker);
});

Deno.test("`request` rejects with the broker's ServiceError 504 when no worker comes, where there are errors", async () => {
  await using broker = startBroker({ requestExpiry: 50 });
  await using client = new Client(broker.endpoint);
  await assertFails(client.request("nobody", ""), ServiceError, /No worker/);
  await settled(broker);
});

Deno.test("`request` goes to the second broker when the first has gone, and all calls follow", async () => {
  const first = startBroker();
  await using second = startBroker();
  await using _ = echo(second);
  const brokers = [first.endpoint, second.endpoint];
  await using client = new Client({ broker: brokers, timeout: 300, backoff: 1 });
  {
    await using _ = echo(first);
    await client.request("echo", "1");
  }
  assert.equal(first.broker.stats().answered, 1);
  await first.close();
  const replies = ["2", "3", "4"].map((body) => client.request("echo", body));
  assert.deepEqual(
    (await Promise.all(replies)).map((reply) => reply.final.text()),
    ["2", "3", "4"],
  );
  const before = performance.now();
  await client.request("echo", "5", { timeout: 10_000 });
  assert.ok(performance.now() - before < 5_000, "the first broker was asked again");
});

Deno.test("`request` is answered when the broker was started anew in between", async () => {
  const first = startBroker();
  await using client = new Client({ broker: first.endpoint, timeout: 2_000, retries: 5 });
  assert.equal((await client.request("mmi.service", "x")).text(), "404");
  await first.close();
  const reply = client.request("mmi.service", "x");
  await using _ = await whenFree(() => startBroker({ bind: first.endpoint }));
  assert.equal((await reply).text(), "404");
});

Deno.test("`stream` that is left early leaves the broker and the client in order", async () => {
  await using broker = startBroker();
  await using _ = echo(broker);
  await using client = new Client({ broker: broker.endpoint, maxInFlight: 1 });
  for (let i = 0; i < 20; i++) {
    for await (const part of client.stream("echo", `left ${i}`)) {
      assert.equal(part.text(), "1");
      break;
    }
    assert.equal((await client.request("echo", `${i}`)).final.text(), `${i}`);
  }
  await settled(broker);
});

Deno.test("a program ends by itself when its client is closed, and needs --allow-ffi alone", async () => {
  await using broker = startBroker();
  const module = new URL("../client.ts", import.meta.url);
  const program = `
    import { Client } from ${JSON.stringify(module)};
    await using client = new Client(${JSON.stringify(broker.endpoint)});
    const calls = Array.from({ length: 20 }, () => client.request("mmi.service", "x"));
    for (const reply of await Promise.all(calls)) console.log(reply.text());
  `;
  const config = new URL("../deno.json", import.meta.url).pathname;
  const child = new Deno.Command(Deno.execPath(), {
    args: ["run", "--quiet", `--config=${config}`, "--allow-ffi", "-"],
    stdin: "piped",
    stdout: "piped",
    stderr: "piped",
  }).spawn();
  const writer = child.stdin.getWriter();
  await writer.write(new TextEncoder().encode(program));
  await writer.close();
  const { code, stdout, stderr } = await child.output();
  assert.equal(code, 0, new TextDecoder().decode(stderr));
  assert.equal(new TextDecoder().decode(stdout), "404\n".repeat(20));
});
