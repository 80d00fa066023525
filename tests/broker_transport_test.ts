import assert from "node:assert/strict";
import { Broker } from "../broker.ts";
import { C, C_FINAL, C_REQUEST, FINAL, READY, REQUEST, Stage, W } from "./stage.ts";
import { CX, WX } from "./raw.ts";

for (const transport of ["auto", "libzmq"] as const) {
  Deno.test(`transport "${transport}": the same peers get and see the same`, async () => {
    await using stage = new Stage({ transport });
    const worker = stage.peer("w"), client = stage.peer("c");
    worker.send(W, READY, "echo");
    await stage.until("registered", ({ workers }) => workers.registered === 1);
    assert.equal(stage.broker.workers()[0]!.address, "127.0.0.1");
    const bodies = [new Uint8Array(0), new Uint8Array(40), new Uint8Array(300_000).fill(7), "end"];
    client.send(C, C_REQUEST, "echo", ...bodies);
    await worker.expect(W, REQUEST, "c", "", ...bodies);
    worker.send(W, FINAL, "c", "", ...bodies);
    await client.expect(C, C_FINAL, "echo", ...bodies);
    // Identities do not count: of READY, REQUEST and FINAL, each way.
    const sizes = 300_043;
    const { messages, bytes } = stage.broker.stats();
    assert.deepEqual([messages.in, messages.out], [3, 2]);
    assert.deepEqual(bytes, {
      in: 11 + (11 + sizes) + (8 + sizes),
      out: (8 + sizes) + (11 + sizes),
    });
    // Whose connection is gone is told.
    client.send(C, C_REQUEST, "echo", "again");
    await worker.expect(W, REQUEST, "c", "", "again");
    await worker.close();
    await stage.until("gone", ({ workers }) => workers.left.gone === 1);
    const other = stage.stranger();
    other.send(WX(1, 0, 8), "echo");
    // The broker's first HEARTBEAT says what it speaks.
    assert.equal((await other.receive())[0]![6], 5);
    const [control, ...rest] = await other.receive();
    assert.equal(control![6], 2);
    assert.equal(rest.length, 1);
    other.send(WX(4, control!.subarray(8, 16)), "answer");
    await client.expect(C, C_FINAL, "echo", "answer");
    const asking = stage.stranger();
    asking.send(CX(1, 77), "mmi.service", "echo");
    await asking.expect(CX(3, 77), "200");
  });
}

Deno.test("transport: a broker with an endpoint of libzmq's alone is reached at all that it has", async () => {
  const name = `inproc://transport-${crypto.randomUUID()}`;
  await using stage = new Stage({ bind: ["tcp://127.0.0.1:*", name] });
  for (const endpoint of stage.broker.endpoints) {
    const peer = stage.peer(`at ${endpoint}`, endpoint);
    peer.send(C, C_REQUEST, "mmi.service", "nobody");
    await peer.expect(C, C_FINAL, "mmi.service", "404");
  }
});

Deno.test("transport: what is none is a TypeError", () => {
  for (const transport of ["tcp", "", null, 1]) {
    assert.throws(() => new Broker({ transport: transport as never }), {
      name: "TypeError",
      message: `transport is "auto" or "libzmq", got ${Deno.inspect(transport)}`,
    });
  }
});
