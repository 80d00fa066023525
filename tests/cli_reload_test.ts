import assert from "node:assert/strict";
import { Program, start } from "./cli.ts";
import { RawSocket } from "./raw.ts";

const BROKER = "cli/broker.ts";
const IGNORE = Deno.build.os === "windows";

/** A broker with a configuration file, in a folder of their own. */
class Reloaded implements AsyncDisposable {
  readonly path: string;
  readonly #folder: string;
  #broker: ReturnType<typeof start> | undefined;
  endpoint = "";

  constructor() {
    this.#folder = Deno.makeTempDirSync();
    this.path = `${this.#folder}/broker.yaml`;
  }

  get broker() {
    return this.#broker!;
  }

  file(name: string): string {
    return `${this.#folder}/${name}`;
  }

  /** Starts the broker with this in the file. */
  async start(text: string, args: string[] = [], more: string[] = []): Promise<void> {
    await Deno.writeTextFile(this.path, `bind-url: tcp://127.0.0.1:*\n${text}`);
    const permissions = ["--allow-read", `--allow-write=${this.#folder}`, ...more];
    this.#broker = start(BROKER, ["-c", this.path, ...args], permissions);
    this.endpoint = (await this.broker.stderr(/Listening on (tcp:[^"\s]+)/))[1]!;
  }

  /** Has it read this. */
  async reload(text: string): Promise<void> {
    await Deno.writeTextFile(this.path, text);
    this.broker.kill("SIGHUP");
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#broker?.[Symbol.asyncDispose]();
    await Deno.remove(this.#folder, { recursive: true });
  }
}

/** The broker's counters. */
async function stats(client: RawSocket) {
  client.send("MDPC02", [1], "mmi.stats", "");
  for (;;) {
    const frames = await client.receive();
    const text = new TextDecoder().decode(frames[3]);
    if (text.startsWith("{")) return JSON.parse(text);
  }
}

Deno.test({
  name: "`broker` changes timeouts and limits when it gets SIGHUP, and keeps its connections",
  ignore: IGNORE,
  async fn() {
    await using reloaded = new Reloaded();
    await reloaded.start("request-expiry: 1h\nmax-queue: 1\n");
    await using client = RawSocket.dealer(reloaded.endpoint);
    client.send("MDPC02", [1], "nobody", "waits");
    client.send("MDPC02", [1], "nobody", "refused");
    assert.partialDeepStrictEqual(await stats(client), { queued: 1, refused: { queueFull: 1 } });
    await reloaded.reload("bind-url: tcp://127.0.0.1:*\nrequest-expiry: 50ms\nmax-queue: 2\n");
    await reloaded.broker.stderr(
      /^Read \/\S+\/broker\.yaml again: changed request-expiry, max-queue$/,
    );
    await reloaded.broker.stderr(/"nobody" expired: no worker/);
    client.send("MDPC02", [1], "nobody", "one");
    client.send("MDPC02", [1], "nobody", "two");
    assert.partialDeepStrictEqual(await stats(client), { expired: 1, accepted: 3 });
    // What is not named any more has its default again; what the command line says stays.
    await reloaded.reload("bind-url: tcp://127.0.0.1:*\nrequest-expiry: 50ms\n");
    await reloaded.broker.stderr(/again: changed max-queue$/);
    await reloaded.reload("bind-url: tcp://127.0.0.1:*\nrequest-expiry: 50ms\n");
    await reloaded.broker.stderr(/again: nothing changed$/);
    reloaded.broker.kill("SIGTERM");
    assert.equal((await reloaded.broker.ended()).code, 0);
  },
});

Deno.test({
  name:
    "`broker` keeps its configuration, and says why in a line, when the file is wrong at SIGHUP",
  ignore: IGNORE,
  async fn() {
    await using reloaded = new Reloaded();
    await reloaded.start("max-queue: 1\n");
    const { path, broker } = reloaded;
    const kept = "majortomo-broker: The configuration stays as it was: ";
    await reloaded.reload("max-queue: 5\nmax-quque: 1\n");
    assert.equal(
      (await broker.stderr(/stays as it was/)).input,
      `${kept}${path}:2: max-quque: Unknown option with the value 1, did you mean max-queue?`,
    );
    await reloaded.reload("heartbeat-interval: 3\nheartbeat-timeout: 10\n");
    const [line] = await broker.stderr(/.*stays as it was.*/);
    assert.ok(
      line.startsWith(`${kept}--heartbeat-timeout 10 (in ${path}) must be a multiple`),
      line,
    );
    await reloaded.reload("logging: &a { levels: { x: *a } }\n");
    await broker.stderr(/stays as it was: .*An alias stands in what it is an alias of/);
    // It has a place of its own in the log, which is not to be set.
    await reloaded.reload("max-queue: 1\nlogging: { levels: { majortomo.warm-up: debug } }\n");
    await broker.stderr(/again: changed logging$/);
    await reloaded.reload("logging:\n  sinks: /nowhere/x.log\nmax-queue: 7\n");
    await broker.stderr(/stays as it was: Writing the log "\/nowhere\/x\.log" needs .*allow-write/);
    await Deno.remove(path);
    broker.kill("SIGHUP");
    assert.equal(
      (await broker.stderr(/stays as it was/)).input,
      `${kept}Cannot read the configuration file "${path}": There is no such file`,
    );
    await using client = RawSocket.dealer(reloaded.endpoint);
    client.send("MDPC02", [1], "nobody", "waits");
    client.send("MDPC02", [1], "nobody", "refused");
    assert.partialDeepStrictEqual(await stats(client), { queued: 1, refused: { queueFull: 1 } });
  },
});

Deno.test({
  name: "`broker` names what it cannot change when it gets SIGHUP, and changes the rest",
  ignore: IGNORE,
  async fn() {
    await using reloaded = new Reloaded();
    await reloaded.start("");
    const { broker, path } = reloaded;
    await reloaded.reload(
      "bind-url: tcp://127.0.0.1:1\nmax-message-size: 1MB\nmax-attempts: 9\nhttp: 9090\n" +
        "transport: libzmq\ngateway: true\ngateway-origin: '*'\n",
    );
    await broker.stderr(/again: changed max-attempts$/);
    assert.equal(
      (await broker.stderr(/restart/)).input,
      `majortomo-broker: ${path}: bind-url, max-message-size, transport, http, gateway, gateway-origin ` +
        "cannot change while the broker runs: restart it for that",
    );
    await using client = RawSocket.dealer(reloaded.endpoint);
    await stats(client);
    // It is still not what it runs with.
    broker.kill("SIGHUP");
    await broker.stderr(
      /bind-url, max-message-size, transport, http, gateway, gateway-origin cannot change/,
    );
  },
});

Deno.test({
  name: "`broker` keeps to the command line when a file says otherwise at SIGHUP",
  ignore: IGNORE,
  async fn() {
    await using reloaded = new Reloaded();
    await reloaded.start("", ["--max-queue", "1"]);
    await reloaded.reload("bind-url: tcp://127.0.0.1:*\nmax-queue: 5\n");
    await reloaded.broker.stderr(/again: nothing changed$/);
  },
});

Deno.test({
  name: "`broker` logs elsewhere and otherwise from SIGHUP on, and opens its files anew",
  ignore: IGNORE,
  async fn() {
    await using reloaded = new Reloaded();
    const { path } = reloaded, log = reloaded.file("broker.log"), old = reloaded.file("old.log");
    const text = (level: string) =>
      `bind-url: tcp://127.0.0.1:*\nlogging:\n  level: ${level}\n  sinks:\n    - stderr\n` +
      `    - { to: ${log}, format: json, level: info }\n`;
    await reloaded.start(text("warning").slice(text("").indexOf("logging")));
    const { broker, endpoint } = reloaded;
    await using worker = RawSocket.dealer(endpoint);
    worker.send("MDPW02", [1], "silent");
    await stats(worker);
    await Deno.rename(log, old);
    await reloaded.reload(text("info"));
    await broker.stderr(/again/);
    await using other = RawSocket.dealer(endpoint);
    other.send("MDPW02", [1], "told");
    await broker.stderr(
      /\[INFO\] majortomo\.broker: Worker \w+ at 127.0.0.1 joined service "told"$/,
    );
    const messages = async (path: string) =>
      (await Deno.readTextFile(path)).trim().split("\n").map((line) => JSON.parse(line).message);
    assert.deepEqual(await messages(old), [`Listening on ${endpoint}`], "it goes where it went");
    // The file may be written after stderr.
    let found: string[];
    while ((found = await messages(log).catch(() => [])).length < 2) {
      await new Promise((r) => setTimeout(r, 5));
    }
    const [read, joined, ...rest] = found;
    assert.equal(read, `Read ${path} again: changed logging`);
    assert.match(joined ?? "", /^Worker \w+ at 127.0.0.1 joined service "told"$/);
    assert.deepEqual(rest, []);
  },
});

Deno.test({
  name:
    "`broker` names all that an empty file changes at SIGHUP, where it has logged until then, too",
  ignore: IGNORE,
  async fn() {
    await using reloaded = new Reloaded();
    const { path } = reloaded, log = reloaded.file("broker.log");
    await reloaded.start(
      `max-queue: 1\nverbose: true\nhttp: 127.0.0.1:0\nlogging:\n  sinks:\n    - ${log}\n    - stderr\n`,
      [],
      ["--allow-net"],
    );
    const { broker } = reloaded;
    await reloaded.reload("");
    await broker.stderr(/^Reading \S+ again: the log goes where that says from now on$/);
    await broker.stderr(/^Read \S+ again: changed max-queue, logging, verbose$/);
    assert.equal(
      (await broker.stderr(/./)).input,
      `majortomo-broker: ${path} says nothing any more: what it said has its default again`,
    );
    await broker.stderr(/: bind-url, http cannot change while the broker runs/);
    assert.match(await Deno.readTextFile(log), /Reading \S+ again: the log goes where/);
    // There is nothing more that it could lose.
    await reloaded.reload("# nothing\n");
    await broker.stderr(/^Read \S+ again: nothing changed$/);
    assert.match((await broker.stderr(/./)).input, /: bind-url, http cannot change/);
  },
});

Deno.test("`broker` exits with 2 when it cannot write its log", async () => {
  await using reloaded = new Reloaded();
  const missing = reloaded.file("missing/broker.log");
  await Deno.writeTextFile(
    reloaded.path,
    `bind-url: tcp://127.0.0.1:*\nlogging: { sinks: ${missing} }`,
  );
  const permissions = ["--allow-read", "--allow-write"];
  await using broker = start(BROKER, ["-c", reloaded.path], permissions);
  const { code, stderr } = await broker.ended();
  assert.equal(code, 2);
  assert.deepEqual(stderr, [
    `majortomo-broker: Cannot write the log "${missing}": There is no such directory ` +
    "(try majortomo-broker --help)",
  ]);
});

Deno.test({
  name:
    "`broker` logs where it did until SIGHUP when it cannot write the new log, and does not say otherwise",
  ignore: IGNORE,
  async fn() {
    await using reloaded = new Reloaded();
    await reloaded.start("");
    const missing = reloaded.file("missing/broker.log");
    await reloaded.reload(`bind-url: tcp://127.0.0.1:*\nlogging: { sinks: ${missing} }\n`);
    assert.equal(
      (await reloaded.broker.stderr(/./)).input,
      "majortomo-broker: The configuration stays as it was: Cannot write the log " +
        `"${missing}": There is no such directory`,
    );
    await reloaded.reload("bind-url: tcp://127.0.0.1:*\n");
    assert.match((await reloaded.broker.stderr(/./)).input, /again: nothing changed$/);
  },
});

Deno.test({
  name: "`broker` says on stderr that it cannot open its log again, where it logs to files alone",
  ignore: IGNORE,
  async fn() {
    await using reloaded = new Reloaded();
    const { path } = reloaded, folder = reloaded.file("logs"), log = `${folder}/broker.log`;
    await Deno.mkdir(folder);
    const text = `bind-url: tcp://127.0.0.1:*\nlogging: { sinks: ${log} }\n`;
    await Deno.writeTextFile(path, text);
    await using broker = start(BROKER, ["-c", path], ["--allow-read", "--allow-write"]);
    while (!(await Deno.readTextFile(log).catch(() => "")).includes("Listening on ")) {
      await new Promise((r) => setTimeout(r, 5));
    }
    await Deno.remove(folder, { recursive: true });
    broker.kill("SIGHUP");
    assert.equal(
      (await broker.stderr(/./)).input,
      "majortomo-broker: The configuration stays as it was: Cannot write the log " +
        `"${log}": There is no such directory`,
    );
    await Deno.writeTextFile(path, `${text.replace(log, `[${log}, stderr]`)}`);
    await Deno.mkdir(folder);
    broker.kill("SIGHUP");
    await broker.stderr(/^Read \S+ again: changed logging$/);
    await Deno.remove(folder, { recursive: true });
    broker.kill("SIGHUP");
    await broker.stderr(/stays as it was/);
    broker.kill("SIGTERM");
    const { stderr } = await broker.ended();
    assert.equal(stderr.length, 3, `told once where stderr is a sink: ${stderr.join("\n")}`);
  },
});

for (const what of ["makes room", "begins a new file"] as const) {
  Deno.test({
    name: `\`broker\` says what is missing in its log after SIGHUP, too, when one ${what}`,
    ignore: IGNORE,
    async fn() {
      await using reloaded = new Reloaded();
      const log = reloaded.file("broker.log"), limit = 65_536;
      const text = (sinks: string) => `logging: { level: info, sinks: ${sinks} }\n`;
      await Deno.writeTextFile(reloaded.path, text(log));
      // There is room for a bit of a line.
      await Deno.writeTextFile(log, `${"x".repeat(limit - 6)}\n`);
      const command =
        `trap '' XFSZ; ulimit -f ${limit / 1_024}; exec "$0" run -A --no-code-cache ${BROKER} ` +
        `-c ${reloaded.path} -b tcp://127.0.0.1:*${" -b tcp://127.0.0.1:*".repeat(5)}`;
      await using broker = new Program("bash", ["-c", command, Deno.execPath()], { NO_COLOR: "1" });
      await broker.stderr(/Cannot write the log/);
      await Deno.writeTextFile(reloaded.path, text(`[${log}, stderr]`));
      broker.kill("SIGHUP");
      await broker.stderr(/^Read \S+ again: changed logging$/);
      if (what === "makes room") await Deno.truncate(log);
      else await Deno.rename(log, reloaded.file("old.log"));
      broker.kill("SIGHUP");
      await broker.stderr(/^Read \S+ again: nothing changed$/);
      broker.kill("SIGTERM");
      const { stderr } = await broker.ended();
      assert.equal(stderr.filter((line) => line.includes("Cannot write")).length, 1, "told once");
      const lines = (await Deno.readTextFile(log)).split("\n");
      // What was there of a line is ended, where it is the same file.
      if (what === "makes room") assert.equal(lines.shift(), "");
      // Six say where it listens, and two that the file was read.
      assert.match(lines[0]!, / \[ERROR\] majortomo\.log: 8 lines are missing here$/);
      assert.match(lines[1]!, /^Read \S+ again: nothing changed$/);
    },
  });
}

Deno.test("`broker` ends what it finds of a line in its log first", async () => {
  await using reloaded = new Reloaded();
  const log = reloaded.file("broker.log");
  await Deno.writeTextFile(log, "whole\ncut");
  await reloaded.start(`logging: { sinks: [${log}, stderr] }\n`);
  reloaded.broker.kill("SIGTERM");
  await reloaded.broker.ended();
  const lines = (await Deno.readTextFile(log)).split("\n");
  assert.deepEqual(lines, ["whole", "cut", `Listening on ${reloaded.endpoint}`, ""]);
});

Deno.test({
  name: "`broker` says once that its log cannot be written, and in the log what is missing there",
  ignore: IGNORE,
  async fn() {
    await using reloaded = new Reloaded();
    const log = reloaded.file("broker.log"), limit = 65_536;
    await Deno.writeTextFile(reloaded.path, `logging: { level: info, sinks: ${log} }\n`);
    // There is room for a bit of a line.
    await Deno.writeTextFile(log, `${"x".repeat(limit - 6)}\n`);
    const command =
      `trap '' XFSZ; ulimit -f ${limit / 1_024}; exec "$0" run -A --no-code-cache ${BROKER} ` +
      `-c ${reloaded.path} -b tcp://127.0.0.1:* -b ipc://${reloaded.file("socket")}`;
    await using broker = new Program("bash", ["-c", command, Deno.execPath()], { NO_COLOR: "1" });
    assert.match(
      (await broker.stderr(/./)).input,
      /^\S+ \[ERROR\] majortomo\.log: Cannot write the log "\S+": File too large \(os error 27\)$/,
    );
    const endpoint = `ipc://${reloaded.file("socket")}`;
    await using client = RawSocket.dealer(endpoint);
    const join = async (service: string) => {
      await using worker = RawSocket.dealer(endpoint);
      worker.send("MDPW02", [1], service);
      for (let there = ""; there !== "200";) {
        client.send("MDPC02", [1], "mmi.service", service);
        there = new TextDecoder().decode((await client.receive()).at(-1));
      }
    };
    await join("lost");
    // As an operator makes room.
    await Deno.truncate(log);
    await join("kept");
    broker.kill("SIGTERM");
    assert.equal((await broker.ended()).stderr.length, 1, "told once");
    const [cut, missing, ...rest] = (await Deno.readTextFile(log)).split("\n");
    assert.equal(cut, "", "what was there of a line is ended");
    assert.match(missing!, / \[ERROR\] majortomo\.log: [3-9] lines are missing here$/);
    assert.ok(rest.some((line) => / joined service "kept"$/.test(line)), rest.join("\n"));
    assert.ok(!rest.some((line) => /"lost"$/.test(line)), "of which one is this");
  },
});
