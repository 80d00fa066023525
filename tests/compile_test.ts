import assert from "node:assert/strict";
import { compile } from "../scripts/compile.ts";
import { BROKER_V8_FLAGS } from "../scripts/v8_flags.ts";
import { libzmq } from "../zmq/library.ts";
import { Program } from "./cli.ts";
import { assertFrames, RawSocket } from "./raw.ts";

/** Compiles the broker for the length of a test. */
async function withExecutable(test: (path: string) => Promise<void>): Promise<void> {
  const directory = await Deno.makeTempDir();
  try {
    const path = `${directory}/majortomo-broker`;
    assert.ok(await compile(path), "deno compile failed");
    await test(path);
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
}

/** How often some bytes are in others. */
function count(bytes: Uint8Array, part: Uint8Array): number {
  const text = new TextDecoder("latin1").decode(bytes);
  return text.split(new TextDecoder("latin1").decode(part)).length - 1;
}

/** Why a runtime for executables can be had at once, or not: `deno compile` would download it. */
async function denort(): Promise<{ found: boolean; reason: string }> {
  const named = Deno.env.get("DENORT_BIN");
  if (named !== undefined) {
    const isDeno = await Deno.realPath(named) === await Deno.realPath(Deno.execPath());
    return { found: !isDeno, reason: `DENORT_BIN is deno itself` };
  }
  const { stdout } = await new Deno.Command(Deno.execPath(), { args: ["info", "--json"] }).output();
  const { denoDir } = JSON.parse(new TextDecoder().decode(stdout));
  const { version: { deno }, build: { target } } = Deno;
  const zip = `${denoDir}/dl/release/v${deno}/denort-${target}.zip`;
  const found = await Deno.stat(zip).then(() => true, () => false);
  return { found, reason: `no DENORT_BIN, and none in Deno's cache` };
}

Deno.test("`compile` puts one build of libzmq into the executable and leaves npm:zeromq out", async () => {
  const named = Deno.env.get("DENORT_BIN");
  // Any executable can play the runtime as long as the result is not run.
  const runtime = named ?? Deno.execPath();
  Deno.env.set("DENORT_BIN", runtime);
  try {
    await withExecutable(async (path) => {
      const added = (await Deno.stat(path)).size - (await Deno.stat(runtime)).size;
      assert.ok(added > 2e6 && added < 30e6, `${added} bytes were added`);
      const bytes = await Deno.readFile(path);
      assert.equal(count(bytes, await Deno.readFile(libzmq().path)), 1);
      assert.equal(count(bytes, new TextEncoder().encode("node-addon-api/")), 0);
      // In deno.json's task they are not a string of their own.
      assert.equal(count(bytes, new TextEncoder().encode(`"${BROKER_V8_FLAGS}"`)), 1);
    });
  } finally {
    if (named === undefined) Deno.env.delete("DENORT_BIN");
  }
});

Deno.test("the task `compile` puts the libzmq into the executable that MAJORTOMO_LIBZMQ names", async () => {
  const directory = await Deno.makeTempDir();
  try {
    // A library may have anything at its end.
    const mark = new TextEncoder().encode(crypto.randomUUID()), named = `${directory}/libzmq.so`;
    await Deno.writeFile(named, await Deno.readFile(libzmq().path));
    await Deno.writeFile(named, mark, { append: true });
    const output = `${directory}/majortomo-broker`;
    const { success, stderr } = await new Deno.Command(Deno.execPath(), {
      args: ["task", "--quiet", "compile", output],
      cwd: new URL("..", import.meta.url),
      env: {
        MAJORTOMO_LIBZMQ: named,
        DENORT_BIN: Deno.env.get("DENORT_BIN") ?? Deno.execPath(),
      },
    }).output();
    assert.ok(success, new TextDecoder().decode(stderr));
    assert.equal(count(await Deno.readFile(output), mark), 1);
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
});

const { found, reason } = await denort();

Deno.test({
  name: `\`compile\` makes a broker that serves on its own${found ? "" : ` (ignored: ${reason})`}`,
  ignore: !found,
  fn: () =>
    withExecutable(async (path) => {
      const version = await new Program(path, ["--version"]).ended();
      assert.match(version.stdout.join(" "), /^majortomo-broker \S+ \(standalone executable, /);

      await using broker = new Program(path, ["-b", "tcp://127.0.0.1:*"]);
      const [, endpoint] = await broker.stderr(/^Listening on (.*)$/);
      await using worker = RawSocket.dealer(endpoint!);
      await using client = RawSocket.dealer(endpoint!);
      worker.send("MDPW02", [1], "echo");
      client.send("MDPC02", [1], "echo", "hello");
      const request = await worker.receiveButHeartbeats();
      assertFrames(request, ["MDPW02", [2], request[2]!, "", "hello"]);
      worker.send("MDPW02", [4], request[2]!, "", "world");
      await client.expect("MDPC02", [3], "echo", "world");
      broker.kill("SIGTERM");
      assert.equal((await broker.ended()).code, 0);
    }),
});
