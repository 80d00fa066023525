import assert from "node:assert/strict";
import { Client } from "../client.ts";
import { startBroker } from "./cli.ts";
import { output } from "./program.ts";

const LINUX = Deno.build.os === "linux";

/** How much of files a process has in memory, in KiB. */
async function residentFiles(pid: number): Promise<number> {
  const status = await Deno.readTextFile(`/proc/${pid}/status`);
  return Number(/^RssFile:\s+(\d+) kB$/m.exec(status)![1]);
}

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
