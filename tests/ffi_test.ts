// Foreign functions: nothing leaks, nothing crashes, whatever is closed when. `deno task chaos --ffi`
// does the same a hundred times as often. What a closed socket says is in zmq_test.ts.

import assert from "node:assert/strict";
import { StateError } from "../errors.ts";
import { Socket } from "../zmq/socket.ts";
import { Child } from "./chaos/child.ts";
import { run } from "./program.ts";

Deno.test("memory and descriptors stay flat when sockets, messages and waits come and go", async () => {
  await using child = new Child("./ffi.ts", ["3000", "100000", "3000", "20261124"]);
  const lines: string[] = [];
  for (let line; (line = await child.line()) !== undefined;) lines.push(line);
  assert.equal(lines.at(-1), '{"broken":[]}', lines.join("\n"));
});

/** A program that waits for messages on sockets of both ends, in all ways, when it gets to the end. */
const WAITING = `
  import { Broker, Client, Worker } from "./mod.ts";
  const broker = new Broker({ bind: "tcp://127.0.0.1:*" });
  const [endpoint] = broker.bind();
  broker.run();
  for (const dialect of ["rfc", "multiplexed"]) {
    const worker = new Worker({ broker: endpoint, service: "x", dialect });
    worker.serve(() => new Promise(() => {}));
    const client = new Client({ broker: endpoint, dialect });
    client.request("x").catch(() => {});
    client.request("nobody's").catch(() => {});
  }
  while (broker.stats().inFlight < 2) await new Promise((resolve) => setTimeout(resolve, 5));
  // Asleep by now, on another thread.
  await new Promise((resolve) => setTimeout(resolve, 50));
`;

Deno.test("a program ends at once when it exits while it waits for messages", async () => {
  const { code, stderr } = await run(`${WAITING} Deno.exit(7);`);
  assert.deepEqual([code, stderr], [7, ""]);
});

Deno.test("a program ends with the error that nobody caught while it waits for messages", async () => {
  const { code, stderr } = await run(`${WAITING} throw new RangeError("on purpose");`);
  assert.equal(code, 1);
  assert.match(stderr, /RangeError: on purpose/);
});

Deno.test("`Socket.close` in its own handler, and in that of another, is safe", async () => {
  await using router = new Socket("ROUTER", { linger: 0 });
  const endpoint = router.bind("inproc://close-in-handler");
  const pairs = Array.from({ length: 20 }, () => new Socket("DEALER", { linger: 0 }));
  const { promise, resolve } = Promise.withResolvers<void>();
  for (const [i, dealer] of pairs.entries()) {
    dealer.connect(endpoint);
    dealer.watch(() => {
      dealer.receiveBytes();
      dealer.close();
      // The neighbour may be due in the same turn.
      pairs[(i + 1) % pairs.length]!.close();
      if (pairs.every((socket) => socket.isClosed)) resolve();
      assert.throws(() => dealer.receiveBytes(), StateError);
      assert.throws(() => dealer.send(["x"]), StateError);
    });
    dealer.send(["hello"]);
  }
  router.watch(() => {
    for (let frames; (frames = router.receiveBytes()) !== undefined;) router.send(frames);
  });
  await promise;
  await Promise.all(pairs.map((socket) => socket.close()));
});

Deno.test({
  name: "a Web Worker that has closed all leaves no threads and descriptors behind",
  // They are counted in /proc.
  ignore: Deno.build.os !== "linux",
  async fn() {
    const { code, stdout, stderr } = await run(
      `const count = (what) => [...Deno.readDirSync("/proc/self/" + what)].length;
      const counts = [];
      for (let i = 0; i < 9; i++) {
        const worker = new Worker(import.meta.resolve("./tests/web_worker.ts"), { type: "module" });
        await new Promise((resolve) => worker.onmessage = resolve);
        worker.terminate();
        counts.push([count("task"), count("fd")]);
      }
      console.log(JSON.stringify(counts));`,
      { flags: ["--allow-all"] },
    );
    assert.deepEqual({ code, stderr }, { code: 0, stderr: "" });
    const counts: [number, number][] = JSON.parse(stdout);
    const [[threads, files], [laterThreads, laterFiles]] = [counts[2]!, counts[8]!];
    // What each would leave is its two threads and seven descriptors, so 12 and 42 from here to
    // there. One or two that were ended just now, or at the earlier look, may not be gone.
    assert.ok(laterThreads < threads + 8 && laterFiles < files + 21, stdout);
  },
});
