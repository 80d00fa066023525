import assert from "node:assert/strict";
import manifest from "../deno.json" with { type: "json" };
import { run, start, startBroker } from "./cli.ts";
import { assertFrames, RawSocket } from "./raw.ts";

const BROKER = "cli/broker.ts";
const HINT = " (try majortomo-broker --help)";

Deno.test("`broker` says where it listens and serves a request when it may use FFI alone", async () => {
  const { broker, endpoint } = await startBroker();
  await using _ = broker;
  await using worker = RawSocket.dealer(endpoint);
  await using client = RawSocket.dealer(endpoint);
  worker.send("MDPW02", [1], "echo");
  client.send("MDPC02", [1], "echo", "hello");
  const request = await worker.receiveButHeartbeats();
  assertFrames(request, ["MDPW02", [2], request[2]!, "", "hello"]);
  worker.send("MDPW02", [4], request[2]!, "", "world");
  await client.expect("MDPC02", [3], "echo", "world");

  broker.kill("SIGTERM");
  const { code, stdout, stderr } = await broker.ended();
  assert.deepEqual({ code, stdout, stderr }, {
    code: 0,
    stdout: [],
    stderr: [`Listening on ${endpoint}`],
  });
});

for (const signal of ["SIGTERM", "SIGINT"] as const) {
  Deno.test(`\`broker\` sends its workers DISCONNECT and exits with 0 within a second when it gets ${signal}`, async () => {
    const { broker, endpoint } = await startBroker(["-V"]);
    await using _ = broker;
    await using worker = RawSocket.dealer(endpoint);
    worker.send("MDPW02", [1], "echo");
    await broker.stderr(/joined/);
    const before = performance.now();
    broker.kill(signal);
    assertFrames(await worker.receiveButHeartbeats(), ["MDPW02", [6]]);
    assert.equal((await broker.ended()).code, 0);
    assert.ok(performance.now() - before < 1_000, `${performance.now() - before} ms`);
  });
}

Deno.test("`broker` drains when it is stopped, and ends at once when it is signalled twice", async () => {
  for (const [signal, code] of [["SIGINT", 130], ["SIGTERM", 143]] as const) {
    const { broker, endpoint } = await startBroker(["--drain", "1h", "-V"]);
    await using _ = broker;
    await using worker = RawSocket.dealer(endpoint);
    await using client = RawSocket.dealer(endpoint);
    worker.send("MDPW02", [1], "echo");
    client.send("MDPC02", [1], "echo", "hello");
    const request = await worker.receiveButHeartbeats();
    broker.kill(signal);
    await broker.stderr(/Stopping with 1 requests in flight/);
    if (signal === "SIGTERM") {
      worker.send("MDPW02", [4], request[2]!, "", "done");
      await client.expect("MDPC02", [3], "echo", "done");
      assert.equal((await broker.ended()).code, 0);
    } else {
      broker.kill(signal);
      assert.equal((await broker.ended()).code, code);
    }
  }
});

Deno.test("`broker` listens at each endpoint when --bind-url is repeated", async () => {
  const directory = await Deno.makeTempDir();
  await using broker = start(BROKER, [
    "-b",
    "tcp://127.0.0.1:*",
    // Braces are nothing special, in the log neither.
    `--bind-url=ipc://${directory}/mdp{1}.sock`,
  ]);
  const [, tcp] = await broker.stderr(/^Listening on (tcp:\/\/127\.0\.0\.1:[1-9]\d+)$/);
  const [, ipc] = await broker.stderr(/^Listening on (ipc:.*)$/);
  assert.equal(ipc, `ipc://${directory}/mdp{1}.sock`);
  for (const endpoint of [tcp!, ipc!]) {
    await using client = RawSocket.dealer(endpoint);
    client.send("MDPC02", [1], "mmi.service", "none");
    await client.expect("MDPC02", [3], "mmi.service", "404");
  }
  broker.kill("SIGINT");
  assert.equal((await broker.ended()).code, 0);
  await Deno.remove(directory, { recursive: true });
});

Deno.test("`broker` logs what it does, once, when it is verbose", async () => {
  const { broker, endpoint } = await startBroker(["--verbose"]);
  await using _ = broker;
  await using worker = RawSocket.dealer(endpoint);
  worker.send("MDPW02", [1], "echo");
  await broker.stderr(
    /^\d{4}-\S+Z \[INFO\] majortomo\.broker: Worker \w+ at 127.0.0.1 joined service "echo"$/,
  );
  worker.send("MDPW02", [6]);
  await broker.stderr(
    /^\d{4}-\S+Z \[INFO\] majortomo\.broker: Worker \w+ at 127.0.0.1 left service "echo": /,
  );
  broker.kill("SIGTERM");
  const { stderr } = await broker.ended();
  assert.deepEqual(stderr.filter((line) => line.includes("Listening")), [
    `Listening on ${endpoint}`,
  ]);
});

Deno.test("`broker` writes an object a line when --log-format is json", async () => {
  const { broker, endpoint } = await startBroker(["-V", "--log-format", "json"]);
  await using _ = broker;
  await using worker = RawSocket.dealer(endpoint);
  worker.send("MDPW02", [1], "echo");
  await broker.stderr(/joined/);
  broker.kill("SIGTERM");
  const records = (await broker.ended()).stderr.map((line) => JSON.parse(line));
  assert.equal(records[0].message, `Listening on ${endpoint}`);
  assert.equal(records[0].endpoint, endpoint);
  assert.equal(records[0].level, "INFO");
  assert.match(records[1].message, /^Worker \w+ at 127.0.0.1 joined service "echo"$/);
  assert.equal(records[1].logger, "majortomo.broker");
});

Deno.test("`broker` keeps the names of the fields in its log, which tools go by", async () => {
  const { broker, endpoint } = await startBroker(
    ["-V", "--log-format", "json", "--max-queue", "0", "--request-expiry", "50ms"],
  );
  await using _ = broker;
  await using worker = RawSocket.dealer(endpoint);
  await using client = RawSocket.dealer(endpoint);
  client.send("MDPC02", [1], "echo", "refused");
  client.send("no MDP");
  await broker.stderr(/Dropped a message/);
  worker.send("MDPW02", [1], "mmi.mine");
  worker.send("MDPW02", [1], "echo");
  await broker.stderr(/joined/);
  client.send("MDPC02", [1], "echo", "recovered, and expires");
  await worker.receiveButHeartbeats();
  await worker.receiveButHeartbeats();
  worker.send("MDPW02", [6]);
  worker.send("MDPW02", [4], "c", "", "too late");
  await broker.stderr(/expired/);
  broker.kill("SIGTERM");
  const records = (await broker.ended()).stderr.map((line) => JSON.parse(line));
  const always = ["@timestamp", "level", "message", "logger"];
  const found: Record<string, string[]> = {};
  for (const record of records) {
    const { level, logger, message } = record;
    assert.match(record["@timestamp"], /^\d{4}-\d\d-\d\dT[\d:.]+Z$/, message);
    assert.match(level, /^(INFO|WARN)$/, message);
    const what = String(message).replace(/[0-9a-f]{10}|"[\w.]+"|tcp:\S+|\(.*\)|: .*/g, "…");
    found[`${logger}: ${what}`] = Object.keys(record).filter((name) => !always.includes(name));
  }
  const log = "majortomo.broker: ";
  // As they are, so that they can be searched for.
  const services = new Set(records.map(({ service }) => service));
  assert.deepEqual([...services], [undefined, "echo", "mmi.mine"]);
  assert.deepEqual(found, {
    "majortomo.cli: Listening on …": ["endpoint"],
    [`${log}Request of client … for service … refused…`]: ["client", "service", "reason"],
    [`${log}Dropped a message from … at 127.0.0.1…`]: ["peer", "address", "reason"],
    [`${log}Refused worker ……`]: ["worker", "service"],
    [`${log}Worker … at 127.0.0.1 joined service …`]: ["worker", "service", "address"],
    [`${log}Worker … at 127.0.0.1 left service ……`]: [
      "worker",
      "service",
      "address",
      "reason",
      "held",
    ],
    [`${log}Request of client … for service … recovered…`]: [
      "client",
      "service",
      "reason",
      "request",
      "worker",
      "attempts",
    ],
    [`${log}Dropped an answer from …, which is no registered worker`]: ["worker"],
    [`${log}Request of client … for service … expired…`]: [
      "client",
      "service",
      "reason",
      "request",
      "attempts",
    ],
    [`${log}Stopping with 0 requests in flight and 0 queued`]: ["inFlight", "queued", "drain"],
    [`${log}Stopped`]: [],
  });
});

Deno.test("`broker` exits with 1 and says why in a line when its port is taken", async () => {
  const { broker, endpoint } = await startBroker();
  await using _ = broker;
  assert.deepEqual(await run(BROKER, ["-b", endpoint]), {
    code: 1,
    stdout: [],
    stderr: [
      `majortomo-broker: zmq_bind failed for "${endpoint}": Address already in use (EADDRINUSE)`,
    ],
  });
  const { code, stderr } = await run(BROKER, ["-b", endpoint, "--log-format", "json"]);
  assert.equal(code, 1);
  assert.equal(stderr.length, 1);
  assert.match(JSON.parse(stderr[0]!).message, /EADDRINUSE/);
});

Deno.test("`broker` exits with 1 and names the permission when it may not use FFI", async () => {
  assert.deepEqual(await run(BROKER, ["-b", "tcp://127.0.0.1:*"], ["--deny-ffi"]), {
    code: 1,
    stdout: [],
    stderr: [
      "majortomo-broker: Opening libzmq needs the permission --allow-ffi: run deno with --allow-ffi",
    ],
  });
});

/** Arguments that are wrong, and what is said of them. */
const WRONG: readonly [args: string[], line: string][] = [
  [
    ["-i", "fast"],
    '`-i`/`--heartbeat-interval`: Expected seconds such as 2.5, or a number with its unit such as \
500ms, 3s, 2m or 1h, but got "fast"',
  ],
  [["-i", "0"], '`-i`/`--heartbeat-interval`: Expected at least 0.001 seconds, but got "0"'],
  [
    ["-t", "-1"],
    '`-t`/`--heartbeat-timeout`: Expected seconds such as 2.5, or a number with its \
unit such as 500ms, 3s, 2m or 1h, but got "-1"',
  ],
  [
    ["--drain", "700h"],
    '`--drain`: Expected at most 2147483.647 seconds, but got "700h"',
  ],
  [
    ["-i", "3"],
    "--heartbeat-timeout 10 (the default) must be a multiple of --heartbeat-interval 3: use for \
example 9 or 12",
  ],
  [
    ["-i", "2s", "-t", "1s"],
    "--heartbeat-timeout 1 must be a multiple of --heartbeat-interval 2: use for example 2 or 4",
  ],
  [
    ["-b", "127.0.0.1:5555"],
    '`-b`/`--bind-url`: Expected an endpoint such as tcp://127.0.0.1:5555 or \
ipc:///run/majortomo.sock, but got "127.0.0.1:5555"',
  ],
  [
    ["--max-queue-bytes", "64k"],
    '`--max-queue-bytes`: Expected bytes such as 65536, 64KiB or 10MB, but got "64k"',
  ],
  [
    ["-b", "tcp://127.0.0.1"],
    '`-b`/`--bind-url`: Expected an endpoint such as tcp://127.0.0.1:5555 or \
ipc:///run/majortomo.sock, but got "tcp://127.0.0.1"',
  ],
  [
    ["--max-queue-bytes", "9999PiB"],
    '`--max-queue-bytes`: Expected at most 9007199254740991 bytes, but got "9999PiB"',
  ],
  [
    ["--max-queue-bytes", "8PiB"],
    '`--max-queue-bytes`: Expected at most 9007199254740991 bytes, but got "8PiB"',
  ],
  [
    ["--max-queue", "99999999999999999999"],
    '`--max-queue`: Expected a number from 0 to 9007199254740991, but got "99999999999999999999"',
  ],
  [["--max-message-size", "0"], '`--max-message-size`: Expected at least 1 bytes, but got "0"'],
  [
    ["--max-attempts", "0"],
    '`--max-attempts`: Expected a value greater than or equal to 1, but got "0"',
  ],
  [["--max-queue", "1.5"], '`--max-queue`: Expected a valid integer, but got "1.5"'],
  [["--log-format", "xml"], '`--log-format`: Expected one of "text" and "json", but got "xml"'],
  [["-i"], "`-i` requires `SECONDS`"],
  [["-i", "1", "-i", "2"], "`-i` cannot be used multiple times"],
  [["--heartbeat", "1"], 'Unexpected option or argument: "--heartbeat"'],
  [
    ["-bind-url", "x"],
    'Unexpected option or argument: "-bind-url". Did you mean `--bind-url`?',
  ],
  [["--drai", "1"], 'Unexpected option or argument: "--drai". Did you mean `--drain`?'],
  [["-i0"], '`-i`/`--heartbeat-interval`: Expected at least 0.001 seconds, but got "0"'],
  [
    ["--log-format", "-i1"],
    '`--log-format`: Expected one of "text" and "json", but got "-i1"',
  ],
  [["--bind-uri", "x"], 'Unexpected option or argument: "--bind-uri". Did you mean `--bind-url`?'],
  [["extra"], 'Unexpected option or argument: "extra"'],
];

Deno.test("`broker` exits with 2 and says in a line what would be right when an option is wrong", async (t) => {
  for (const [args, line] of WRONG) {
    await t.step(args.join(" "), async () => {
      assert.deepEqual(await run(BROKER, args), {
        code: 2,
        stdout: [],
        stderr: [`majortomo-broker: ${line}${HINT}`],
      });
    });
  }
});

Deno.test("`broker` takes options in the forms that argparse takes", async () => {
  for (
    const args of [
      ["-btcp://127.0.0.1:*", "-i1", "-t=3", "-e30", "-VD"],
      ["--bind", "tcp://127.0.0.1:*", "--heartbeat-i", "1", "--heartbeat-t=3", "--busy", "30"],
      // No option of Python's but one begins so, whatever ours do.
      ["--bi=tcp://127.0.0.1:*", "--ver"],
    ]
  ) {
    await using broker = start(BROKER, args);
    await broker.stderr(/Listening on tcp:\/\/127\.0\.0\.1:[1-9]\d+$/);
    broker.kill("SIGTERM");
    const { code, stderr } = await broker.ended();
    assert.equal(code, 0);
    const isVerbose = stderr.some((line) => /\[INFO\] majortomo\.broker: Stopped/.test(line));
    assert.equal(isVerbose, !args.includes("--busy"));
  }
});

Deno.test("`broker` completes what is half there and would be enough of an option", async () => {
  const { code, stdout } = await run(BROKER, ["--completion", "bash", "--ver"]);
  assert.equal(code, 0);
  assert.match(stdout.join("\n"), /--version/);
});

Deno.test("`broker` takes a timeout of 0.3 seconds when the interval is 0.1", async () => {
  const { broker } = await startBroker(["-i", "0.1", "-t", "0.3"]);
  await using _ = broker;
  broker.kill("SIGTERM");
  assert.equal((await broker.ended()).code, 0);
});

Deno.test("`broker` heartbeats and forgets workers at the times that it is told", async () => {
  const { broker, endpoint } = await startBroker(["-i", "50ms", "-t", "200ms", "-V"]);
  await using _ = broker;
  await using worker = RawSocket.dealer(endpoint);
  worker.send("MDPW02", [1], "echo");
  await worker.expect("MDPW02", [5]);
  await broker.stderr(/left service "echo": /);
  assertFrames(await worker.receiveButHeartbeats(), ["MDPW02", [6]]);
});

Deno.test("`broker` drops a request that nobody serves when --request-expiry has passed", async () => {
  const { broker, endpoint } = await startBroker(["-e", "50ms", "-D"]);
  await using _ = broker;
  await using client = RawSocket.dealer(endpoint);
  client.send("MDPC02", [1], "nobody", "hello");
  await broker.stderr(/for service "nobody"/);
});

Deno.test("`broker` refuses what goes beyond --max-queue and --max-message-size", async () => {
  const { broker, endpoint } = await startBroker([
    "--max-queue",
    "1",
    "--max-message-size",
    "1KiB",
  ]);
  await using _ = broker;
  await using client = RawSocket.dealer(endpoint);
  client.send("MDPC02", [1], "nobody", "first");
  client.send("MDPC02", [1], "nobody", "second");
  await broker.stderr(/for service "nobody"/);
  client.send("MDPC02", [1], "nobody", new Uint8Array(600), new Uint8Array(600));
  await broker.stderr(/1200 bytes/);
});

Deno.test("`broker` prints its help and version on stdout when asked", async () => {
  const help = await run(BROKER, ["--help"]);
  assert.equal(help.code, 0);
  assert.deepEqual(help.stderr, []);
  for (const option of ["-b, --bind-url URL", "-B, --busy-worker-timeout SECONDS", "--drain"]) {
    assert.ok(help.stdout.some((line) => line.includes(option)), option);
  }
  const version = await run(BROKER, ["--version"]);
  assert.equal(version.code, 0);
  assert.equal(
    version.stdout.join("\n"),
    `majortomo-broker ${manifest.version} (Deno ${Deno.version.deno}, ${Deno.build.target})`,
  );
});
