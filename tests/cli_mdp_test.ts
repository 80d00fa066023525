import assert from "node:assert/strict";
import manifest from "../deno.json" with { type: "json" };
import { Client } from "../client.ts";
import { Worker } from "../worker.ts";
import { Program, start, startBroker } from "./cli.ts";
import { eventually } from "./http_stage.ts";
import { HINT, mdp, MdpStage, startMdp } from "./mdp.ts";
import { RawSocket } from "./raw.ts";
import { until } from "./stage.ts";

/** Arguments that are wrong, and what is said of them. */
const WRONG: readonly [args: string[], line: string][] = [
  [
    [],
    "A command is missing: call, serve, services, workers, stats, ping, top, bench or check-config",
  ],
  [["serv"], 'Unexpected option or argument: "serv". Did you mean `serve`?'],
  [["call"], "Expected a `SERVICE`, but too few arguments"],
  [["call", ""], "`SERVICE`: Expected a name, but got none"],
  [
    ["call", "é".repeat(32_768)],
    "`SERVICE`: Expected a name of at most 65535 bytes, but got one of 65536",
  ],
  [
    ["call", "x", "-b", "localhost"],
    '`-b`/`--broker-url`: Expected an endpoint such as tcp://127.0.0.1:5555 or \
ipc:///run/majortomo.sock, but got "localhost"',
  ],
  [
    ["ping", "-b", "tcp://*:5555"],
    '`-b`/`--broker-url`: Expected an endpoint such as tcp://127.0.0.1:5555 or \
ipc:///run/majortomo.sock, but got "tcp://*:5555"',
  ],
  [["services", "--raw"], 'Unexpected option or argument: "--raw": it cannot stand here'],
  [["call", "x", "--rew"], 'Unexpected option or argument: "--rew". Did you mean `--raw`?'],
  [["call", "x", "--raw", "--json"], '"--raw" and "--json" cannot be used together'],
  [["call", "x", "y", "--file", "z"], '--file "z" and the body "y" exclude each other'],
  [
    ["call", "x", "--file", "no/such/file"],
    'Cannot read the file "no/such/file": There is no such file',
  ],
  [["call", "x", "--file=-", "--file=-"], "--file - can be given once, as stdin can be read once"],
  [
    ["call", "x", "y", "-H", "trace"],
    '--header: Expected a name and a value such as Trace:42, but got "trace"',
  ],
  [
    ["call", "x", "--count", "0"],
    '`-n`/`--count`: Expected a value greater than or equal to 1, but got "0"',
  ],
  [["serve", "x"], "What to answer is missing: one of `--echo`, `--command` and `--reply`"],
  [["serve", "x", "--echo", "--reply", "y"], '"--echo" and "--reply" "y" cannot be used together'],
  [["serve", "x", "--echo", "--stream"], "--stream goes with --command, and not with --echo"],
  [
    ["serve", "mmi.x", "--echo"],
    'No worker can serve "mmi.x": names that begin with mmi. are the broker\'s own',
  ],
  [
    ["bench", "--size", "200MiB"],
    '`--size`: Expected at most 134217728 bytes, but got "200MiB"',
  ],
  [
    ["bench", "--service", "mmi.ping"],
    'No worker can serve "mmi.ping": names that begin with mmi. are the broker\'s own',
  ],
  [["bench", "--workers", "0"], "--workers 0 needs a --service that has workers elsewhere"],
  [["top"], "top needs a terminal: use mdp services without one"],
];

Deno.test("`mdp` exits with 2 and says in a line what would be right when an option is wrong", async (t) => {
  for (const [args, line] of WRONG) {
    await t.step(args.join(" ").slice(0, 60), async () => {
      assert.deepEqual(await mdp(args), { code: 2, stdout: [], stderr: [`mdp: ${line}${HINT}`] });
    });
  }
});

Deno.test("`mdp` says what is wrong with MDP_BROKER", async () => {
  const { code, stderr } = await mdp(["call", "x", "y"], { env: { MDP_BROKER: "localhost:5555" } });
  assert.deepEqual([code, stderr], [2, [
    `mdp: MDP_BROKER: Expected an endpoint such as tcp://127.0.0.1:5555 or \
ipc:///run/majortomo.sock, but got "localhost:5555"${HINT}`,
  ]]);
});

Deno.test("`mdp` prints the help of each command with examples, and its version", async (t) => {
  const commands = [
    "call",
    "serve",
    "services",
    "workers",
    "stats",
    "ping",
    "top",
    "bench",
    "check-config",
  ];
  const { code, stdout } = await mdp(["--help"]);
  // The library has them on its help, for completions.
  assert.ok(!stdout.some((line) => /\bARG\b|shell\s+integration/.test(line)), stdout.join("\n"));
  assert.equal(code, 0);
  for (const command of commands) {
    assert.ok(stdout.some((line) => line.startsWith(`  ${command} `)), command);
    await t.step(command, async () => {
      const help = await mdp([command, "--help"]);
      assert.deepEqual([help.code, help.stderr], [0, []]);
      assert.ok(help.stdout.includes("Examples:"), help.stdout.join("\n"));
      assert.ok(help.stdout.some((line) => line.startsWith(`  mdp ${command}`)));
      assert.ok(help.stdout.some((line) => line.includes("--broker-url URL")));
    });
  }
  const version = await mdp(["--version"]);
  assert.match(version.stdout.join("\n"), new RegExp(`^mdp ${manifest.version} \\(`));
});

Deno.test("`mdp` completes commands and options in shells", async () => {
  for (const shell of ["bash", "zsh", "fish", "nu", "pwsh"]) {
    const { code, stdout } = await mdp(["--completion", shell]);
    assert.equal(code, 0);
    assert.ok(stdout.some((line) => line.includes("mdp")), shell);
  }
  const words = async (...typed: string[]) => {
    const { stdout } = await mdp(["--completion", "bash", ...typed]);
    return stdout.filter((line) => line !== "");
  };
  assert.deepEqual(await words("serv"), ["serve", "services"]);
  assert.deepEqual(await words("call", "--dia"), ["--dialect"]);
  assert.deepEqual(await words("call", "--dialect", "m"), ["multiplexed", "majortomo"]);
});

Deno.test("`mdp` can be installed with `deno install --global`, and then completed by bash", async () => {
  const root = await Deno.makeTempDir();
  try {
    const installed = await new Program(Deno.execPath(), [
      "install",
      "--global",
      "--quiet",
      "--no-check",
      "--config=deno.json",
      `--root=${root}`,
      "--allow-ffi",
      "cli/mdp.ts",
    ]).ended();
    assert.equal(installed.code, 0, installed.stderr.join("\n"));
    const deno = Deno.execPath().replace(/\/[^/]*$/, "");
    const env = { PATH: `${root}/bin:${deno}:${Deno.env.get("PATH")}` };
    const { code, stdout } = await new Program("mdp", ["--version"], env).ended();
    assert.deepEqual([code, stdout.length], [0, 1]);
    // What is typed as "mdp serv" and Tab.
    const completed = await new Program(
      "bash",
      [],
      env,
      [
        "source <(mdp --completion bash)",
        "COMP_WORDS=(mdp serv) COMP_CWORD=1",
        "_mdp",
        'printf "%s\\n" "${COMPREPLY[@]}"',
      ].join("\n"),
    ).ended();
    assert.deepEqual(completed.stdout.map((word) => word.trim()), ["serve", "services"]);
  } finally {
    await Deno.remove(root, { recursive: true });
  }
});

// ---- call ----

Deno.test("`mdp call` prints each frame of the answer on a line", async () => {
  await using stage = await MdpStage.start();
  await stage.serve("echo", "--echo");
  const call = async (...args: string[]) => await stage.run(["call", "echo", ...args]);
  assert.deepEqual(await call("héllo", "", "two words", "--", "--dashes"), {
    code: 0,
    stdout: ["héllo", "", "two words", "--dashes"],
    stderr: [],
  });
  // Before the command, too, and in RFC 18.
  const { code, stdout } = await mdp(["-b", stage.endpoint, "--dialect=rfc", "call", "echo", "x"]);
  assert.deepEqual([code, stdout], [0, ["x"]]);
});

Deno.test("`mdp call` sends stdin or files when no body is given", async () => {
  await using stage = await MdpStage.start();
  await stage.serve("echo", "--echo");
  const fromStdin = await stage.run(["call", "echo"], "a\nb\n");
  assert.deepEqual(fromStdin, { code: 0, stdout: ["a", "b"], stderr: [] });
  const version = (await Deno.readTextFile(new URL("../.dvmrc", import.meta.url))).trim();
  const { stdout } = await stage.run(
    ["call", "echo", "--file", ".dvmrc", "-f", "-", "--json"],
    "x",
  );
  assert.deepEqual(JSON.parse(stdout[0]!).frames, [`${version}\n`, "x"]);
});

Deno.test("`mdp call` prints answers that no terminal could be fooled with, and raw ones on demand", async () => {
  await using stage = await MdpStage.start();
  await stage.serve("echo", "--echo");
  const sent = "a\tb\r\nc\x1b[31m\u202e\n";
  const text = await stage.run(["call", "echo"], sent);
  assert.deepEqual(text.stdout, ["a\tb", "c\\x1b[31m\\u202e"]);
  const raw = await stage.run(["call", "echo", "--raw"], sent);
  assert.equal(raw.stdout.join("\n"), sent.replace(/\n$/, ""));
  const frames = await stage.run(["call", "echo", "--raw", "a", "b"]);
  assert.deepEqual(frames.stdout, ["ab"]);
});

Deno.test("`mdp call --json` prints an object for each part", async () => {
  await using stage = await MdpStage.start();
  await stage.serve("parts", "--stream", "--command", "cat; echo; echo two");
  const { code, stdout } = await stage.run(["call", "parts", "--json"], new Uint8Array([255]));
  assert.equal(code, 0);
  const parts = stdout.map((line) => JSON.parse(line));
  assert.ok(parts.every(({ ms }) => ms >= 0));
  assert.deepEqual(parts.map(({ ms: _, ...part }) => part), [
    { request: 1, type: "partial", frames: [{ base64: "/w==" }] },
    { request: 1, type: "partial", frames: ["two"] },
    { request: 1, type: "final", frames: [""] },
  ]);
});

Deno.test("`mdp call` prints PARTIALs as they come", async () => {
  await using stage = await MdpStage.start();
  const folder = await Deno.makeTempDir();
  try {
    const fifo = `${folder}/fifo`;
    assert.equal((await new Program("mkfifo", [fifo]).ended()).code, 0);
    await stage.serve("wait", "--stream", "--command", `echo first; cat ${fifo}`);
    const call = stage.begin(["call", "wait", "x"]);
    await call.stdout(/^first$/);
    // Only now can the command go on.
    await Deno.writeTextFile(fifo, "second\n");
    assert.deepEqual(await call.ended(), { code: 0, stdout: ["first", "second"], stderr: [] });
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});

Deno.test("`mdp call` prints an empty FINAL as a line, unless it is but the end of PARTIALs", async () => {
  await using stage = await MdpStage.start();
  await stage.serve("lines", "--stream", "--command", "printf 'one\\n\\ntwo'");
  await stage.serve("empty", "--reply", "");
  const call = async (...args: string[]) => (await stage.run(["call", ...args])).stdout;
  assert.deepEqual(await call("lines", "x"), ["one", "", "two"]);
  assert.deepEqual(await call("lines", "x", "--count", "2"), ["one", "", "two", "one", "", "two"]);
  assert.deepEqual(await call("empty", "x"), [""]);
  assert.deepEqual(await call("empty", "x", "--count", "2"), ["", ""]);
});

Deno.test("`mdp call --count` sends so many, so many at a time", async () => {
  await using stage = await MdpStage.start();
  await using client = new Client(stage.endpoint);
  const registered = Promise.withResolvers<string>();
  await using worker = new Worker({
    broker: stage.endpoint,
    service: "slow",
    concurrency: 16,
    onRegistered: registered.resolve,
  });
  const isFull = Promise.withResolvers<void>();
  let running = 0, most = 0;
  worker.serve(async (request) => {
    most = Math.max(most, ++running);
    if (running === 8) {
      // Whatever else was sent at once has come when this is answered.
      await client.request("mmi.ping");
      await client.request("mmi.ping");
      isFull.resolve();
    }
    await isFull.promise;
    running--;
    return request.frames;
  });
  await registered.promise;
  const { code, stdout } = await stage.run(["call", "slow", "x", "--count=20", "-j", "8"]);
  assert.deepEqual([code, stdout], [0, Array.from({ length: 20 }, () => "x")]);
  assert.equal(most, 8);
});

Deno.test("`mdp call` sends headers", async () => {
  await using broker = RawSocket.router();
  const args = ["call", "x", "y", "-H", "Trace: a:b", "-H", "empty:", "--dialect=multiplexed"];
  await using _call = new Program(Deno.execPath(), [
    "run",
    "--allow-ffi",
    "cli/mdp.ts",
    "-b",
    broker.endpoint,
    ...args,
  ]);
  const [, , service, headers] = await broker.receive();
  const text = (bytes: Uint8Array | undefined) => new TextDecoder().decode(bytes);
  assert.deepEqual([text(service), JSON.parse(text(headers))], ["x", { Trace: "a:b", empty: "" }]);
});

Deno.test("`mdp call` exits with 1 and says why in a line when no answer comes in time", async () => {
  await using broker = RawSocket.router();
  const started = performance.now();
  assert.deepEqual(
    await mdp(["call", "x", "y", "-b", broker.endpoint, "--timeout", "300ms"]),
    {
      code: 1,
      stdout: [],
      stderr: [
        `mdp: Service "x" at "${broker.endpoint}" sent no reply within the timeout of 300 ms \
(1 attempt)`,
      ],
    },
  );
  assert.ok(performance.now() - started >= 300);
});

Deno.test("`mdp call` exits with 3 and prints code and message when the service fails", async () => {
  await using stage = await MdpStage.start();
  const nobody = await stage.run(["call", "nobody", "x", "--no-wait"]);
  assert.deepEqual([nobody.code, nobody.stdout, nobody.stderr.length], [3, [], 1]);
  assert.match(nobody.stderr[0]!, /^404 /);
  const json = await stage.run(["call", "nobody", "x", "--no-wait", "--json", "--count", "3"]);
  const { ms: _, ...error } = JSON.parse(json.stdout[0]!);
  assert.equal(json.code, 3);
  // After the first failure nothing more is sent.
  assert.equal(json.stdout.length, 1);
  assert.deepEqual(error, {
    request: 1,
    type: "error",
    name: "ServiceError",
    code: 404,
    message: nobody.stderr[0]!.slice(4),
  });
});

for (const [signal, code] of [["SIGINT", 130], ["SIGTERM", 143]] as const) {
  Deno.test(`\`mdp call\` exits with ${code} when it gets ${signal}`, async () => {
    await using broker = RawSocket.router();
    await using call = new Program(Deno.execPath(), [
      "run",
      "--allow-ffi",
      "cli/mdp.ts",
      "call",
      "-b",
      broker.endpoint,
      "--dialect=rfc",
      "x",
      "y",
    ]);
    await broker.receive();
    call.kill(signal);
    assert.deepEqual(await call.ended(), { code, stdout: [], stderr: [] });
  });
}

// ---- serve ----

Deno.test("`mdp serve --command` answers with the output, or error 500 after another exit status than 0", async () => {
  await using stage = await MdpStage.start();
  const worker = await stage.serve(
    "check",
    "--verbose",
    "--command",
    'read line; echo "got $line"; [ "$line" = good ] || { echo "so bad" >&2; exit 3; }',
  );
  assert.deepEqual(await stage.run(["call", "check", "good"]), {
    code: 0,
    stdout: ["got good"],
    stderr: [],
  });
  assert.deepEqual(await stage.run(["call", "check", "bad"]), {
    code: 3,
    stdout: [],
    stderr: ["500 Command failed: exit status 3: so bad"],
  });
  await worker.stderr(/^Request: 1 frame, 4 bytes$/);
  await worker.stderr(/^so bad$/);
  await worker.stderr(/^Failed: Command failed: exit status 3: so bad$/);
});

Deno.test("`mdp` says in a line that stdout cannot be written to", async () => {
  await using stage = await MdpStage.start();
  const command = `exec "$0" run -A cli/mdp.ts services -b ${stage.endpoint} > /dev/full`;
  await using program = new Program("sh", ["-c", command, Deno.execPath()], { NO_COLOR: "1" });
  const { code, stderr } = await program.ended();
  assert.equal(code, 1);
  assert.deepEqual(stderr, ["Cannot write to stdout: No space left on device (os error 28)"]);
});

Deno.test("`mdp` prints no help where stdout cannot be written to, and says so", async () => {
  const command = `exec "$0" run -A cli/mdp.ts --help > /dev/full`;
  await using program = new Program("sh", ["-c", command, Deno.execPath()], { NO_COLOR: "1" });
  const { code, stderr } = await program.ended();
  assert.equal(code, 1);
  assert.deepEqual(stderr, ["Cannot write to stdout: No space left on device (os error 28)"]);
});

Deno.test("`mdp serve --verbose` answers when what it tells cannot be written", async () => {
  await using stage = await MdpStage.start();
  const command =
    `exec "$0" run -A cli/mdp.ts serve told --echo -V -b ${stage.endpoint} 2>/dev/full`;
  await using _ = new Program("sh", ["-c", command, Deno.execPath()]);
  assert.deepEqual(await stage.run(["call", "told", "hello"]), {
    code: 0,
    stdout: ["hello"],
    stderr: [],
  });
});

Deno.test("`mdp serve --command` takes megabytes both ways, and a command that reads nothing", async () => {
  await using stage = await MdpStage.start();
  await stage.serve("count", "--command", "wc -c");
  await stage.serve("zeros", "--command", "head -c 3000000 /dev/zero | tr '\\0' x");
  const big = new Uint8Array(3_000_000).fill(97);
  const counted = await stage.run(["call", "count"], big);
  assert.deepEqual(counted.stdout.map(Number), [3_000_000]);
  const { stdout } = await stage.run(["call", "zeros"], big);
  assert.deepEqual(stdout.map((line) => line.length), [3_000_000]);
});

Deno.test("`mdp serve` kills a command, with what it has started, when nobody waits for it any more", async () => {
  await using stage = await MdpStage.start();
  const folder = await Deno.makeTempDir();
  try {
    const trapped = `trap 'echo gone > ${folder}/gone; exit' TERM; echo begun; sleep 60 & wait`;
    await stage.serve("long", "--stream", "--command", `sh -c "${trapped}"; true`);
    await using client = new Client(stage.endpoint);
    const controller = new AbortController();
    const parts = client.stream("long", "x", { signal: controller.signal });
    assert.equal((await parts.next()).value?.text(), "begun");
    using watcher = Deno.watchFs(folder);
    controller.abort();
    await assert.rejects(parts.next());
    for await (const _ of watcher) {
      if ((await Deno.readTextFile(`${folder}/gone`)) === "gone\n") break;
    }
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});

Deno.test("`mdp serve --reply` answers with frames, and a signal ends it with 0 after what is in hand", async () => {
  await using stage = await MdpStage.start();
  const reply = await stage.serve("reply", "--reply", "a", "--reply", "b");
  assert.deepEqual((await stage.run(["call", "reply", "x"])).stdout, ["a", "b"]);
  reply.kill("SIGTERM");
  assert.deepEqual(await reply.ended(), {
    code: 0,
    stdout: [],
    stderr: [`Connecting to ${stage.endpoint}`, `Serving "reply" at ${stage.endpoint}`],
  });

  const slow = await stage.serve(
    "slow",
    "--stream",
    "--command",
    "echo begun; sleep 0.5; echo end",
  );
  const call = stage.begin(["call", "slow", "x"]);
  await call.stdout(/begun/);
  slow.kill("SIGINT");
  assert.deepEqual((await call.ended()).stdout, ["begun", "end"]);
  assert.equal((await slow.ended()).code, 0);
});

Deno.test("`mdp serve` says that no broker answers, and that it serves when one does, anew each time", async () => {
  const first = await startBroker();
  const { endpoint } = first;
  const again = async () => {
    await using broker = start("cli/broker.ts", ["-b", endpoint]);
    await broker.stderr(/^Listening on /);
    await worker.stderr(/^Serving /);
    broker.kill("SIGKILL");
    await broker.ended();
    await worker.stderr(/is gone$/);
  };
  await first.broker[Symbol.asyncDispose]();
  await using worker = startMdp(["serve", "x", "--echo", "-b", endpoint]);
  assert.equal((await worker.stderr(/./)).input, `Connecting to ${endpoint}`);
  assert.equal(
    (await worker.stderr(/./)).input,
    `mdp: No broker answers at ${endpoint}: it is tried until one does`,
  );
  await again();
  await again();
  worker.kill("SIGTERM");
  const { code, stderr } = await worker.ended();
  assert.equal(code, 0);
  assert.deepEqual(
    stderr.filter((line) => line.startsWith("Serving")),
    Array(2).fill(`Serving "x" at ${endpoint}`),
  );
});

Deno.test("`mdp serve` leaves no command behind when a second signal ends it at once", async () => {
  await using stage = await MdpStage.start();
  // It does not end for being told to.
  const worker = await stage.serve("long", "--stream", "-c", "trap '' TERM; echo $$; sleep 600");
  await using client = new Client(stage.endpoint);
  const parts = client.stream("long", "x");
  const pid = Number((await parts.next()).value!.text());
  worker.kill("SIGTERM");
  await eventually(
    async () => (await client.request("mmi.service", "long")).text() !== "200",
    "it has heard of the first signal",
  );
  worker.kill("SIGTERM");
  assert.equal((await worker.ended()).code, 143);
  const isGone = () => {
    try {
      // Who is to take note of its end may be slow.
      return /^State:\s*[ZX]/m.test(Deno.readTextFileSync(`/proc/${pid}/status`));
    } catch {
      return true;
    }
  };
  await until(isGone, "the command is killed");
});

Deno.test("`mdp serve --command` says which permission is missing", async () => {
  const args = ["run", "--no-prompt", "--allow-ffi", "cli/mdp.ts", "serve", "x", "-c", "cat"];
  assert.deepEqual(await new Program(Deno.execPath(), args).ended(), {
    code: 2,
    stdout: [],
    stderr: [
      `mdp: --command "cat" needs the permission --allow-run: run deno with --allow-run${HINT}`,
    ],
  });
});

// ---- check-config ----

Deno.test("`mdp check-config` tells a file that the broker can start with from others", async () => {
  const folder = await Deno.makeTempDir();
  const check = async (text: string, ...args: string[]) => {
    const path = `${folder}/broker.yaml`;
    await Deno.writeTextFile(path, text);
    const { code, stdout, stderr } = await mdp(["check-config", path, ...args]);
    const short = (lines: string[]) => lines.map((line) => line.replaceAll(folder, "."));
    return [code, short(stdout), short(stderr)];
  };
  try {
    const good = "heartbeat-interval: 500ms\nheartbeat-timeout: 2\n";
    assert.deepEqual(await check(good), [0, ["./broker.yaml: The broker can start with this"], []]);
    const [code, stdout] = await check(good, "--json");
    assert.equal(code, 0);
    assert.deepEqual(JSON.parse((stdout as string[]).join("")).settings, {
      heartbeatInterval: 500,
      heartbeatTimeout: 2_000,
    });
    assert.deepEqual(await check("# fine\ndrain: soon\n"), [1, [], [
      'mdp: ./broker.yaml:2: drain: Expected seconds such as 2.5, or a number with its unit such \
as 500ms, 3s, 2m or 1h, but got "soon"',
    ]]);
    assert.deepEqual(await check("logging: { sinks: new.log }\n"), [0, [
      "./broker.yaml: The broker can start with this",
    ], []]);
    assert.deepEqual(await check(`logging: { sinks: [stderr, ${folder}/none/x.log] }\n`), [1, [], [
      'mdp: Cannot write the log "./none/x.log": There is no such directory',
    ]]);
    assert.deepEqual(await check(`logging: { sinks: { to: ${folder} } }\n`), [1, [], [
      'mdp: Cannot write the log ".": It is a directory',
    ]]);
    assert.deepEqual(await check("#".repeat(65_537)), [1, [], [
      'mdp: The configuration file "./broker.yaml" has more than 65536 bytes, which is all that is read',
    ]]);
    assert.deepEqual(await check("heartbeat-timeout: 3\n"), [1, [], [
      "mdp: --heartbeat-timeout 3 (in ./broker.yaml) must be a multiple of --heartbeat-interval \
2.5 (the default): use for example 2.5 or 5",
    ]]);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});
