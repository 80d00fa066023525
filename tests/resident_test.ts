import assert from "node:assert/strict";
import { Client } from "../client.ts";
import { startBroker } from "./cli.ts";
import { output } from "./program.ts";
import { CX, RawSocket } from "./raw.ts";

const LINUX = Deno.build.os === "linux";

/** How much of files, or of its own, a process has in memory, in KiB. */
async function resident(pid: number, what: "RssFile" | "RssAnon"): Promise<number> {
  const status = await Deno.readTextFile(`/proc/${pid}/status`);
  return Number(new RegExp(`^${what}:\\s+(\\d+) kB$`, "m").exec(status)![1]);
}

const residentFiles = (pid: number) => resident(pid, "RssFile");

Deno.test({
  name: "`broker` gives back what only its start needed, and serves as before",
  ignore: !LINUX,
  async fn() {
    const { broker, endpoint } = await startBroker();
    await using _ = broker;
    const atStart = await residentFiles(broker.pid), until = performance.now() + 60_000;
    // That is when the warm-up is over.
    for (let now = atStart; now > 0.6 * atStart; now = await residentFiles(broker.pid)) {
      assert.ok(performance.now() < until, `${now} KiB of ${atStart} are still there`);
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
    await using client = new Client(endpoint);
    assert.equal((await client.request("mmi.service", "nobody")).text(), "404");
  },
});

Deno.test({
  name: "`broker` keeps of what comes with a request that waits nothing but the request",
  ignore: !LINUX,
  async fn() {
    const { broker, endpoint } = await startBroker(["--request-expiry", "0"]);
    await using _ = broker;
    await using peer = RawSocket.dealer(endpoint, { sendHighWaterMark: 0 });
    // libzmq receives 8 KiB at once: with each one that waits comes much that does not.
    const short = new Uint8Array(100), long = new Uint8Array(8_000), NOWAIT = 2, count = 8_000;
    const before = await resident(broker.pid, "RssAnon");
    for (let id = 1; id <= count; id++) {
      peer.send(CX(1, 2 * id), "nobody", short);
      peer.send(CX(1, 2 * id + 1, 0, NOWAIT), "nobody", long);
    }
    for (let i = 0; i < count; i++) await peer.receive();
    const each = (await resident(broker.pid, "RssAnon") - before) / count;
    // It is 15 where all of it is kept, and not 1, since the broker's own memory grows under load.
    assert.ok(each < 8, `${each} KiB each`);
  },
});

Deno.test("`releaseMemory` does nothing where libc may not be called", async () => {
  const text = `
    import { releaseMemory } from "./cli/resident.ts";
    releaseMemory();
    console.log("done");
  `;
  for (const flags of [[], ["--allow-ffi=./libzmq.so"], ["--allow-ffi", "--deny-ffi=libc.so.6"]]) {
    assert.equal(await output(text, { flags }), "done");
  }
});
