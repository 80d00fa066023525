import assert from "node:assert/strict";
import manifest from "../deno.json" with { type: "json" };
import { parseConfig } from "../cli/config.ts";
import { Client } from "../client.ts";
import { BROKER_V8_FLAGS } from "../scripts/v8_flags.ts";
import { startBroker } from "../testing.ts";
import { Program, startBroker as startProgram } from "./cli.ts";
import { startMdp } from "./mdp.ts";
import { output, run } from "./program.ts";
import { bytes, RawSocket, show } from "./raw.ts";
import { until } from "./stage.ts";

const ROOT = new URL("../", import.meta.url);
const README = await Deno.readTextFile(new URL("README.md", ROOT));
const PROTOCOL = await Deno.readTextFile(new URL("docs/protocol.md", ROOT));
const MULTIPLEXED = await Deno.readTextFile(new URL("docs/multiplexed.md", ROOT));
const OPERATIONS = await Deno.readTextFile(new URL("docs/operations.md", ROOT));
const REFERENCE = await Deno.readTextFile(new URL("docs/reference.md", ROOT));
const MIGRATION = await Deno.readTextFile(new URL("docs/migration.md", ROOT));
const METRICS = await Deno.readTextFile(new URL("docs/metrics.md", ROOT));
const DEFAULT_ENDPOINT = "tcp://127.0.0.1:5555";

/** The code blocks of a document in a language. */
function blocks(markdown: string, language: string): string[] {
  const fences = markdown.matchAll(/^```(\w*)\n([\s\S]*?)^```$/gm);
  return [...fences].filter(([, name]) => name === language).map(([, , code]) => code!);
}

/** The one block that has this in it. */
function block(language: string, content: string): string {
  const found = blocks(README, language).filter((code) => code.includes(content));
  assert.equal(found.length, 1, `README has one block of ${language} with ${content}`);
  return found[0]!;
}

// ---- README.md ----

Deno.test("README: the quick start's worker and client work when pasted", async () => {
  await using broker = startBroker();
  const folder = await Deno.makeTempDir();
  try {
    const [worker, client] = await Promise.all(["Worker", "Client"].map(async (name) => {
      const code = block("ts", `import { ${name} } from "jsr:`);
      assert.ok(code.includes(DEFAULT_ENDPOINT));
      const path = `${folder}/${name}.ts`;
      await Deno.writeTextFile(path, code.replace(DEFAULT_ENDPOINT, broker.endpoint));
      const config = `--config=${new URL("deno.json", ROOT).pathname}`;
      return new Program(Deno.execPath(), [
        "run",
        "-q",
        "--no-prompt",
        config,
        "--allow-ffi",
        path,
      ]);
    }));
    await using running = worker!;
    assert.deepEqual(await client!.ended(), { code: 0, stdout: ["HELLO"], stderr: [] });
    running.kill("SIGINT");
    assert.equal((await running.ended()).code, 0);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});

Deno.test("README: the program with all in one process prints parts and replies", async () => {
  const printed = await output(block("ts", "Broker, Client, Worker"));
  assert.deepEqual(printed.split("\n"), [
    "partial 1",
    "partial 2",
    "final 3",
    '[ "1", "2", "3" ]',
  ]);
});

Deno.test("README: the handling of errors tells who did not answer", async () => {
  await using silent = RawSocket.router();
  const code = block("ts", "TimeoutError").replace(DEFAULT_ENDPOINT, silent.endpoint)
    .replace("1_000", "50");
  const ended = await run(code);
  assert.deepEqual([ended.code, ended.stdout], [0, ""]);
  assert.equal(
    ended.stderr.trim(),
    `Service "upper" at "${silent.endpoint}" sent no reply within the timeout of 50 ms (3 attempts)`,
  );
});

Deno.test("README: the configuration file is one", () => {
  const { settings, logging, ignored } = parseConfig(block("yaml", "bind-url"), "README.md");
  assert.equal(settings.bindUrl?.length, 2);
  assert.equal(settings.requestExpiry, 30_000);
  assert.deepEqual([logging.level, logging.format, ignored], ["info", "json", []]);
});

Deno.test("deno.json: the task broker has V8's flags for one", () => {
  assert.ok(manifest.tasks.broker.includes(` --v8-flags=${BROKER_V8_FLAGS} `));
});

Deno.test("README: the tasks broker and echo do what is said", async () => {
  // Without `deno task` itself, whose end by a signal can leave the program behind.
  const task = (name: "broker" | "echo", ...args: string[]) => {
    const [deno, ...command] = manifest.tasks[name].split(" ");
    assert.equal(deno, "deno");
    return new Program(Deno.execPath(), [...command, ...args], { NO_COLOR: "1" });
  };
  await using broker = task("broker", "-b", "tcp://127.0.0.1:*");
  const [, endpoint] = await broker.stderr(/^Listening on (.*)$/);
  await using worker = task("echo", "worker", "-b", endpoint!);
  await worker.stderr(/^Serving "mdp-echo"$/);
  const client = await task("echo", "client", "-m", "hello", "-b", endpoint!).ended();
  assert.deepEqual(client, { code: 0, stdout: ["hello"], stderr: [] });
  for (const program of [worker, broker]) {
    program.kill("SIGINT");
    assert.equal((await program.ended()).code, 0);
  }
});

/** What is the same each time that something is run: figures and blanks are not. */
function timeless(line: string): string {
  return line.replace(/\b00[\da-f]{8}\b/, "ID").replace(/[\d.]+( ?(?:µs|ms|s)\b)?/g, "#").replace(
    / +/g,
    " ",
  );
}

Deno.test("README: the session with mdp is one", async () => {
  const { broker, endpoint } = await startProgram(["-V"]);
  await using _ = broker;
  await using background = new AsyncDisposableStack();
  const [, ...exchanges] = block("console", "mdp serve").split(/^\$ /m);
  assert.ok(exchanges.length >= 5);
  for (const exchange of exchanges) {
    const [command, ...shown] = exchange.trimEnd().split("\n");
    const [, line, isBackground] = /^mdp (.*?)( &)?$/.exec(command!)!;
    const args = line!.match(/'[^']*'|\S+/g)!.map((word) => word.replace(/^'(.*)'$/, "$1"));
    const program = startMdp(args, { env: { MDP_BROKER: endpoint } });
    if (isBackground !== undefined) {
      background.use(program);
      for (const line of shown) {
        const [seen] = await program.stderr(/.+/);
        assert.equal(seen.replaceAll(endpoint, DEFAULT_ENDPOINT), line);
      }
      await broker.stderr(/joined/);
      continue;
    }
    const { stdout, stderr } = await program.ended();
    const seen = [...stdout, ...stderr].map((line) => line.replaceAll(endpoint, DEFAULT_ENDPOINT));
    assert.deepEqual(seen.map(timeless), shown.map(timeless), command);
  }
});

Deno.test("documents: tasks, modules and files that they name are there", async () => {
  const exports = Object.keys(manifest.exports);
  for (const [, name] of README.matchAll(/\btask (\w+)/g)) {
    assert.ok(Object.hasOwn(manifest.tasks, name!), `task ${name}`);
  }
  for (const [, path] of README.matchAll(/jsr:@majortomo\/mdp\/([\w/]+)/g)) {
    assert.ok(exports.includes(`./${path}`), `@majortomo/mdp/${path}`);
  }
  const documents = [
    ["README.md", README],
    ["docs/protocol.md", PROTOCOL],
    ["docs/multiplexed.md", MULTIPLEXED],
    ["docs/reference.md", REFERENCE],
    ["docs/metrics.md", METRICS],
    ["docs/migration.md", MIGRATION],
    ["docs/operations.md", OPERATIONS],
  ] as const;
  for (const [document, text] of documents) {
    for (const [, target] of text.matchAll(/\]\(([^)\s]+)\)/g)) {
      if (/^https:/.test(target!)) continue;
      if (target!.startsWith("#")) {
        const anchors = [...text.matchAll(/^#+ (.*)$/gm)].map(([, title]) =>
          `#${title!.toLowerCase().replace(/[^\w\s-]/g, "").replaceAll(" ", "-")}`
        );
        assert.ok(anchors.includes(target!), `${document} has no heading for ${target}`);
      } else await Deno.stat(new URL(target!, new URL(document, ROOT)));
    }
  }
});

// ---- docs/protocol.md and docs/multiplexed.md: exchanges ----

type Peer = "client" | "worker" | "broker";

interface Message {
  from: Peer;
  to: Peer;
  /** Bytes, or `undefined` where any do. */
  frames: (number | undefined)[][];
}

/** The messages of a block: `from → to`, then a frame a line, its bytes in hex. */
function messages(code: string): Message[] {
  return code.trim().split("\n\n").map((paragraph) => {
    const [heading, ...lines] = paragraph.split("\n");
    const [, from, to] = /^(\w+) → (\w+)$/.exec(heading!)!;
    const frames = lines.map((line) => {
      const [, hex] = /^ {2}(\(empty\)|(?:[0-9a-f.]{2} )*[0-9a-f.]{2})(?: {2}|$)/.exec(line) ??
        assert.fail(`"${line}" is no frame`);
      if (hex === "(empty)") return [];
      return hex!.split(" ").map((byte) => byte === ".." ? undefined : parseInt(byte, 16));
    });
    return { from: from as Peer, to: to as Peer, frames };
  });
}

const exchanges = ([["docs/protocol.md", PROTOCOL], ["docs/multiplexed.md", MULTIPLEXED]] as const)
  .flatMap(([document, text]) =>
    blocks(text, "text").map((code, i) => ({ name: `${document}: exchange ${i + 1}`, code }))
  );

Deno.test("the documents have exchanges", () => assert.equal(exchanges.length, 7));

for (const { name, code } of exchanges) {
  Deno.test(`${name} is what the broker does`, async () => {
    await using broker = startBroker();
    await using client = RawSocket.dealer(broker.endpoint);
    await using worker = RawSocket.dealer(broker.endpoint);
    const peers = { client, worker };
    let address: Uint8Array | undefined;
    for (const { from, to, frames } of messages(code)) {
      const isOpen = (frame: (number | undefined)[]) => frame.includes(undefined);
      if (to === "broker") {
        peers[from as "client" | "worker"].send(
          ...frames.map((frame) => isOpen(frame) ? address! : bytes(frame as number[])),
        );
        continue;
      }
      const received = await peers[to as "client" | "worker"].receive();
      const at = frames.findIndex(isOpen);
      if (at >= 0) {
        address = received[at]!;
        assert.deepEqual([address.length, address[0]], [frames[at]!.length, frames[at]![0]]);
      }
      const wanted = frames.map((frame) => isOpen(frame) ? address! : bytes(frame as number[]));
      assert.deepEqual(show(received), show(wanted));
    }
    assert.deepEqual([client.unread, worker.unread], [[], []]);
    assert.deepEqual(
      Object.values(broker.broker.stats().invalid).reduce((sum, each) => sum + each),
      0,
    );
  });
}

// ---- docs/protocol.md and docs/multiplexed.md: programs in C ----

/** Builds the one program in C of a document, for another endpoint; its path. */
async function build(document: string, endpoint: string, folder: string): Promise<string> {
  const [code, ...others] = blocks(document, "c");
  assert.ok(code !== undefined && code.includes(DEFAULT_ENDPOINT) && others.length === 0);
  const path = `${folder}/program`;
  await Deno.writeTextFile(`${path}.c`, code.replaceAll(DEFAULT_ENDPOINT, endpoint));
  const { code: status, stderr } = await new Deno.Command("cc", {
    args: ["-Wall", "-Wextra", "-Werror", "-o", path, `${path}.c`, "-lzmq"],
  }).output();
  assert.equal(status, 0, new TextDecoder().decode(stderr));
  return path;
}

/** Whether there is a compiler, with libzmq's header. */
function canBuild(): boolean {
  try {
    const args = ["-fsyntax-only", "-include", "zmq.h", "-x", "c", "/dev/null"];
    return new Deno.Command("cc", { args, stderr: "null" }).outputSync().success;
  } catch {
    return false;
  }
}

Deno.test({
  name: "docs/multiplexed.md: the worker in C serves, drains and leaves in order",
  ignore: !canBuild(),
  async fn() {
    await using broker = startBroker();
    const folder = await Deno.makeTempDir();
    try {
      await using worker = new Program(await build(MULTIPLEXED, broker.endpoint, folder), []);
      await using client = new Client(broker.endpoint);
      const calls = Array.from({ length: 100 }, (_, i) => client.request("echo", [`${i}`, ""]));
      for (const [i, call] of calls.entries()) {
        assert.deepEqual(show((await call).frames), show([`${i}`, ""]));
      }
      worker.kill("SIGTERM");
      assert.equal((await worker.ended()).code, 0);
      await until(() => broker.broker.stats().workers.registered === 0, "left");
      const { workers, invalid } = broker.broker.stats();
      assert.deepEqual([workers.joined, workers.left.disconnect], [1, 1]);
      assert.equal(Object.values(invalid).reduce((sum, each) => sum + each), 0);
    } finally {
      await Deno.remove(folder, { recursive: true });
    }
  },
});
