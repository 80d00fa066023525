import assert from "node:assert/strict";
import type { WorkersAnswer } from "../broker.ts";
import { Client } from "../client.ts";
import { startBroker as startLibraryBroker } from "../testing.ts";
import { Worker } from "../worker.ts";
import { Program, run, start, startBroker } from "./cli.ts";
import { assertFrames, RawSocket } from "./raw.ts";

const ECHO = "cli/echo.ts";
const HINT = " (try majortomo-echo --help)";

/** An echo worker, registered at a broker. */
async function startWorker(
  endpoint: string,
  broker: { stderr(pattern: RegExp): Promise<unknown> },
  args: readonly string[] = [],
) {
  const worker = start(ECHO, ["-b", endpoint, "worker", ...args]);
  await broker.stderr(/joined/);
  return worker;
}

Deno.test("`echo` worker and client exchange frames through a broker, each in its process", async () => {
  const { broker, endpoint } = await startBroker(["-V"]);
  await using _ = broker;
  await using worker = await startWorker(endpoint, broker);
  const sent = ["-m", "héllo", "-m", "", "-m", "two words"];
  assert.deepEqual(await run(ECHO, ["-b", endpoint, "client", ...sent, "-r", "2", "-d", "10ms"]), {
    code: 0,
    stdout: ["héllo", "", "two words", "héllo", "", "two words"],
    stderr: [],
  });
  worker.kill("SIGTERM");
  assert.deepEqual(await worker.ended(), {
    code: 0,
    stdout: [],
    stderr: ['Serving "mdp-echo"'],
  });
  await broker.stderr(/left service "mdp-echo": disconnect/);
});

Deno.test("`echo` takes options in the forms that argparse takes, and no value for one", async () => {
  const { broker, endpoint } = await startBroker(["-V"]);
  await using _ = broker;
  const options = ["--heartbeat", "1", "--gar"];
  await using _worker = await startWorker(endpoint, broker, options);
  for (
    const [args, stdout] of [
      [["--broker", endpoint, "client", "-mhello", "-r2", "-d0"], ["olleh", "olleh"]],
      [[`-b${endpoint}`, "client", "--mess", "-r2", "--rep=1"], ["2r-"]],
      [["client", `--broker_u=${endpoint}`, "-m", "--rep", "-m--repeat"], ["taeper--", "per--"]],
    ] as const
  ) {
    assert.deepEqual(await run(ECHO, args), { code: 0, stdout: [...stdout], stderr: [] });
  }
});

Deno.test("`echo` worker reverses frames and their bytes when garbage is asked for", async () => {
  const { broker, endpoint } = await startBroker(["-V"]);
  await using _ = broker;
  const options = ["-f", "-d", "20ms", "-j", "2", "-n", "garbage"];
  await using _worker = await startWorker(endpoint, broker, options);
  const { code, stdout } = await run(ECHO, [
    "client",
    "--broker_url",
    endpoint,
    "--service-name=garbage",
    "-m",
    "abc",
    "-m",
    "é",
  ]);
  assert.equal(code, 0);
  assert.deepEqual(stdout, ["\\xa9\\xc3", "cba"]);
});

Deno.test("`echo` client prints frames that no terminal could be fooled with", async () => {
  await using broker = RawSocket.router();
  await using client = start(ECHO, [
    "client",
    "--dialect",
    "rfc",
    "-b",
    broker.endpoint,
    "-m",
    "x",
  ]);
  const [id] = await broker.receive();
  const control = "a\tb\nc\x1b[31m\u202e\\";
  broker.send(id!, "MDPC02", [3], "mdp-echo", control, [0x41, 0xff, 0x0d], "日本");
  const { code, stdout } = await client.ended();
  assert.equal(code, 0);
  assert.deepEqual(stdout, ["a\tb\\nc\\x1b[31m\\u202e\\", "A\\xff\\r", "日本"]);
});

Deno.test("`echo` speaks majortomo's dialect when it is told to", async () => {
  await using broker = RawSocket.router();
  await using client = start(ECHO, [
    "-b",
    broker.endpoint,
    "--dialect",
    "majortomo",
    "client",
    "-m",
    "hello",
  ]);
  const request = await broker.receive();
  assertFrames(request.slice(1), ["", "MDPC02", [2], "mdp-echo", "hello"]);
  broker.send(request[0]!, "", "MDPC02", [4], "hello");
  assert.deepEqual(await client.ended(), { code: 0, stdout: ["hello"], stderr: [] });

  await using worker = start(ECHO, [
    "worker",
    "-b",
    broker.endpoint,
    "--dialect",
    "majortomo",
  ]);
  assertFrames((await broker.receive()).slice(1), ["", "MDPW02", [1], "mdp-echo"]);
  worker.kill("SIGKILL");
});

Deno.test("`echo` client exits with 1 and says why in a line when no reply comes in time", async () => {
  await using broker = RawSocket.router();
  const { code, stdout, stderr } = await run(ECHO, [
    "-b",
    broker.endpoint,
    "client",
    "-m",
    "x",
    "-t",
    "100ms",
  ]);
  assert.deepEqual({ code, stdout, lines: stderr.length }, { code: 1, stdout: [], lines: 1 });
  assert.match(stderr[0]!, /^majortomo-echo: .*mdp-echo/);
});

for (const signal of ["SIGTERM", "SIGINT"] as const) {
  Deno.test(`\`echo\` worker sends DISCONNECT and exits with 0 when it gets ${signal}`, async () => {
    await using broker = RawSocket.router();
    await using worker = start(ECHO, [
      "worker",
      "--dialect=rfc",
      "-b",
      broker.endpoint,
      "-i",
      "1",
      "-t",
      "5",
    ]);
    const [id, ...ready] = await broker.receive();
    assertFrames(ready, ["MDPW02", [1], "mdp-echo"]);
    broker.send(id!, "MDPW02", [5]);
    worker.kill(signal);
    assertFrames(await broker.receiveButHeartbeats(), [id!, "MDPW02", [6]]);
    assert.equal((await worker.ended()).code, 0);
  });
}

Deno.test("`echo` worker heartbeats at the interval that it is told", async () => {
  await using broker = RawSocket.router();
  await using _worker = start(ECHO, [
    "worker",
    "--dialect=rfc",
    "-b",
    broker.endpoint,
    "-i",
    "50ms",
  ]);
  const [id] = await broker.receive();
  for (let i = 0; i < 3; i++) assertFrames(await broker.receive(), [id!, "MDPW02", [5]]);
});

Deno.test("`echo` client keeps as many in flight as it is told", async () => {
  await using broker = startLibraryBroker();
  await using worker = new Worker({
    broker: broker.endpoint,
    service: "mdp-echo",
    concurrency: 16,
  });
  let held = 0, most = 0, all = Promise.withResolvers<void>();
  // Each waits for all others that are to be in flight with it.
  worker.serve(async (request) => {
    most = Math.max(most, ++held);
    const together = all;
    if (held === 8) {
      all = Promise.withResolvers();
      together.resolve();
    }
    await together.promise;
    held--;
    return request.frames;
  });
  const args = ["-b", broker.endpoint, "client", "-m", "hello", "-r", "16", "-j", "8"];
  const { code, stdout } = await run(ECHO, args);
  assert.deepEqual({ code, stdout }, { code: 0, stdout: new Array(16).fill("hello") });
  assert.equal(most, 8);
});

Deno.test("`echo` worker takes as many at once as it is told", async () => {
  const { broker, endpoint } = await startBroker(["-V"]);
  await using _ = broker;
  await using _worker = await startWorker(endpoint, broker, ["-j", "8", "-d", "1s"]);
  await using client = new Client(endpoint);
  const replies = Array.from({ length: 8 }, () => client.request("mdp-echo", "hello"));
  // Asked for after them on the same connection, so all are with the worker, or none waits for it.
  const [worker] = (await client.request("mmi.workers")).json<WorkersAnswer>().workers;
  assert.deepEqual([worker!.credit, worker!.inFlight], [8, 8]);
  for (const reply of await Promise.all(replies)) assert.equal(reply.text(), "hello");
});

for (const dialect of ["auto", "multiplexed", "rfc"]) {
  Deno.test(`\`echo\` worker and client speak ${dialect} when they are told to`, async () => {
    const { broker, endpoint } = await startBroker(["-V"]);
    await using _ = broker;
    const option = ["--dialect", dialect];
    await using _worker = await startWorker(endpoint, broker, option);
    const { code, stdout } = await run(ECHO, ["-b", endpoint, "client", ...option, "-m", "x"]);
    assert.deepEqual({ code, stdout }, { code: 0, stdout: ["x"] });
  });
}

Deno.test("`echo` client exits with 3 and prints code and message when the service fails", async () => {
  await using broker = RawSocket.router();
  await using client = start(ECHO, [
    "--dialect=multiplexed",
    "client",
    "-b",
    broker.endpoint,
    "-m",
    "x",
  ]);
  const [id, request] = await broker.receive();
  // The same control frame with the command ERROR and the value 418.
  const error = request!.slice();
  error.set([4, 0], 6);
  error.set([0, 0, 418 >> 8, 418 & 0xff], 16);
  broker.send(id!, error, "I am a teapot\x1b");
  assert.deepEqual(await client.ended(), {
    code: 3,
    stdout: [],
    stderr: ["418 I am a teapot\\x1b"],
  });
});

Deno.test("`echo` client ends when nobody reads its replies any more", async () => {
  const { broker, endpoint } = await startBroker();
  await using _ = broker;
  await using _worker = start(ECHO, ["-b", endpoint, "worker"]);
  const client = `"$0" run -q --allow-ffi ${ECHO} -b ${endpoint} client -m x -d 0 -r 1000000`;
  await using program = new Program("bash", [
    "-c",
    `${client} | head -n 1; exit \${PIPESTATUS[0]}`,
    Deno.execPath(),
  ], { NO_COLOR: "1" });
  assert.deepEqual(await program.ended(), { code: 1, stdout: ["x"], stderr: [] });
});

/** Arguments that are wrong, and what is said of them. */
const WRONG: readonly [args: string[], line: string][] = [
  [[], "A command is missing: worker or client"],
  [["worker", "--de", "1"], 'Unexpected option or argument: "--de". Did you mean `-d`?'],
  [["wrker"], 'Unexpected option or argument: "wrker". Did you mean `worker`?'],
  [["client"], "A message is missing: give one with --message"],
  [["client", "-m"], "`-m` requires `TEXT`"],
  [
    ["client", "-m", "x", "-r", "many"],
    '`-r`/`--repeat`: Expected a valid integer, but got "many"',
  ],
  [
    ["client", "-m", "x", "-t", "soon"],
    '`-t`/`--timeout`: Expected seconds such as 2.5, or a number with its unit such as 500ms, 3s, \
2m or 1h, but got "soon"',
  ],
  [
    ["-b", "localhost", "worker"],
    '`-b`/`--broker-url`/`--broker_url`: Expected an endpoint such as tcp://127.0.0.1:5555 or \
ipc:///run/majortomo.sock, but got "localhost"',
  ],
  [
    ["--dialect", "mdp1", "worker"],
    '`--dialect`: Expected one of "auto", "multiplexed", "rfc", and "majortomo", but got "mdp1"',
  ],
  [
    ["worker", "-j", "0"],
    '`-j`/`--concurrency`: Expected a value greater than or equal to 1, but got "0"',
  ],
  [
    ["worker", "-i", "5", "-t", "1"],
    "--heartbeat-timeout 1 must be at least --heartbeat-interval 5",
  ],
  [
    ["worker", "-n", "mmi.echo"],
    'No worker can serve "mmi.echo": names that begin with mmi. are the broker\'s own',
  ],
  [["worker", "-n", ""], "`-n`/`--service-name`: Expected a name, but got none"],
];

Deno.test("`echo` exits with 2 and says in a line what would be right when an option is wrong", async (t) => {
  for (const [args, line] of WRONG) {
    await t.step(args.join(" "), async () => {
      assert.deepEqual(await run(ECHO, args), {
        code: 2,
        stdout: [],
        stderr: [`majortomo-echo: ${line}${HINT}`],
      });
    });
  }
});

Deno.test("`echo` prints the help of a command on stdout when asked", async () => {
  for (const args of [["--help"], ["worker", "--help"], ["client", "-h"]]) {
    const { code, stdout, stderr } = await run(ECHO, args);
    assert.deepEqual({ code, stderr }, { code: 0, stderr: [] });
    assert.ok(stdout.some((line) => line.includes("--dialect DIALECT")), stdout.join("\n"));
  }
});
