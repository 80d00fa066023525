import assert from "node:assert/strict";
import { merge } from "../cli/broker_options.ts";
import { UsageError } from "../cli/command_line.ts";
import { parseConfig } from "../cli/config.ts";
import { duration } from "../cli/values.ts";
import { run, start, startBroker } from "./cli.ts";
import { RawSocket } from "./raw.ts";

const BROKER = "cli/broker.ts";

/** A file of its own for a test. */
async function withFile(
  text: string | Uint8Array,
  test: (path: string) => Promise<void>,
): Promise<void> {
  const path = await Deno.makeTempFile({ suffix: ".yaml" });
  try {
    if (typeof text === "string") await Deno.writeTextFile(path, text);
    else await Deno.writeFile(path, text);
    await test(path);
  } finally {
    await Deno.remove(path);
  }
}

Deno.test("`parseConfig` takes every option of the command line when it has its long name", async () => {
  const help = (await run(BROKER, ["--help"])).stdout.join("\n");
  const known = [...help.matchAll(/^ {2}(?:-\w, )?--([a-z-]+)/gm)].map(([, name]) => name!)
    .filter((name) => !["help", "version", "config", "completion"].includes(name));
  const values: Record<string, string> = {
    "bind-url": "[tcp://*:1, ipc:///tmp/x]",
    transport: "libzmq",
    http: "127.0.0.1:9090",
    gateway: "true",
    "gateway-origin": "https://example.org",
    "log-format": "json",
    verbose: "true",
    debug: "false",
  };
  const text = known.map((name) => `${name}: ${values[name] ?? 1}`).join("\n");
  const { settings } = parseConfig(text, "x.yaml");
  assert.deepEqual(settings, {
    bindUrl: ["tcp://*:1", "ipc:///tmp/x"],
    heartbeatInterval: 1_000,
    heartbeatTimeout: 1_000,
    busyWorkerTimeout: 1_000,
    requestExpiry: 1_000,
    maxAttempts: 1,
    maxQueue: 1,
    maxQueueBytes: 1,
    maxTotalQueue: 1,
    maxTotalQueueBytes: 1,
    maxClientQueue: 1,
    maxClientQueueBytes: 1,
    maxMessageSize: 1,
    transport: "libzmq",
    drain: 1_000,
    http: { hostname: "127.0.0.1", port: 9090 },
    gateway: true,
    gatewayOrigin: ["https://example.org"],
    logFormat: "json",
    verbose: true,
    debug: false,
  });
});

Deno.test("`parseConfig` reads units, and names with underscores", () => {
  const { settings } = parseConfig(
    [
      "bind_url: tcp://127.0.0.1:1",
      "heartbeat_interval: 0.5",
      'heartbeat-timeout: "2"',
      "busy_worker_timeout: 1h",
      "request-expiry: 250ms",
      "max_queue_bytes: 64KiB",
      "max-message-size: 10MB",
    ].join("\n"),
    "x.yaml",
  );
  assert.deepEqual(settings, {
    bindUrl: ["tcp://127.0.0.1:1"],
    heartbeatInterval: 500,
    heartbeatTimeout: 2_000,
    busyWorkerTimeout: 3_600_000,
    requestExpiry: 250,
    maxQueueBytes: 65_536,
    maxMessageSize: 10_000_000,
  });
});

Deno.test("`parseConfig` finds nothing when the file is empty", () => {
  for (const text of ["", "# nothing\n", "---\n", "{}"]) {
    assert.deepEqual(parseConfig(text, "x.yaml").settings, {}, JSON.stringify(text));
  }
});

Deno.test("`parseConfig` reads how to log in its own form and in Python's", () => {
  assert.deepEqual(
    parseConfig(
      "logging: { level: info, format: json, levels: { majortomo.broker: debug } }",
      "x.yaml",
    ),
    {
      settings: {},
      logging: {
        level: "info",
        format: "json",
        levels: { "majortomo.broker": "debug" },
        sinks: undefined,
      },
      ignored: [],
    },
  );
  const python = `
logging:
  version: 1
  disable_existing_loggers: false
  formatters: { default: { format: "%(message)s" } }
  handlers: { console: { class: logging.StreamHandler, level: INFO } }
  root: { level: WARN, handlers: [console] }
  loggers:
    majortomo.broker: { level: CRITICAL, propagate: false }
    zmq: { handlers: [console] }
`;
  assert.deepEqual(parseConfig(python, "x.yaml"), {
    settings: {},
    logging: {
      level: "warning",
      format: undefined,
      levels: { "majortomo.broker": "fatal" },
      sinks: undefined,
    },
    ignored: ["logging.formatters", "logging.handlers"],
  });
});

Deno.test("`parseConfig` takes the levels of loggers that Python takes", () => {
  const root = (level: string) =>
    parseConfig(`logging: { root: { level: ${level} } }`, "x.yaml").logging.level;
  for (
    const [level, expected] of [
      ["-1", "debug"],
      ["5", "debug"],
      ["10", "debug"],
      ["11", "info"],
      ["20", "info"],
      ["30", "warning"],
      ["40", "error"],
      ["41", "fatal"],
      ["50", "fatal"],
      ["99", "fatal"],
      ["0", undefined],
      ["NOTSET", undefined],
      ["null", undefined],
    ] as const
  ) {
    assert.equal(root(level), expected, level);
  }
  for (const level of ["1.5", "true", ".nan", "''"]) {
    assert.throws(
      () => root(level),
      /^UsageError: x\.yaml:1: logging\.root\.level: Expected one of/,
    );
  }
});

Deno.test("`parseConfig` knows the loggers that Python has under other names", () => {
  const loggers = (text: string) => {
    const { level, levels } = parseConfig(`logging: { ${text} }`, "x.yaml").logging;
    return { level, levels };
  };
  assert.deepEqual(loggers("loggers: { __main__: { level: 10 }, '': { level: ERROR } }"), {
    level: "error",
    levels: { "majortomo.broker": "debug" },
  });
  assert.deepEqual(
    loggers("root: { level: INFO }, loggers: { root: { level: 40 }, x: { level: NOTSET } }"),
    { level: "info", levels: {} },
  );
  for (const names of [["__main__", "majortomo.broker"], ["majortomo.broker", "__main__"]]) {
    const each = names.map((name) => `${name}: { level: ${name === "__main__" ? 10 : 30} }`);
    assert.deepEqual(loggers(`loggers: { ${each.join()} }`).levels, {
      "majortomo.broker": "warning",
    });
  }
});

Deno.test("`parseConfig` reads where to log to", () => {
  const sinks = (text: string) =>
    parseConfig(`logging: { sinks: ${text} }`, "x.yaml").logging.sinks;
  assert.deepEqual(sinks("stdout"), [{ to: "stdout" }]);
  assert.deepEqual(sinks("[stderr, { to: /var/log/mdp.log, level: WARN, format: json }]"), [
    { to: "stderr" },
    { to: "/var/log/mdp.log", level: "warning", format: "json" },
  ]);
});

/** Files that are wrong, and what is said of them. */
const WRONG: readonly [text: string, message: string][] = [
  [
    "heartbeat-interval: fast",
    'x.yaml:1: heartbeat-interval: Expected seconds such as 2.5, or a number with its unit such \
as 500ms, 3s, 2m or 1h, but got "fast"',
  ],
  [
    "# one\nmax_queue: 1.5\n",
    'x.yaml:2: max_queue: Expected a valid integer, but got "1.5"',
  ],
  [
    "max-queue: [1]",
    'x.yaml:1: max-queue: Expected a valid integer, but got "[1]"',
  ],
  [
    "heartbeat-intervall: 1",
    "x.yaml:1: heartbeat-intervall: Unknown option with the value 1, did you mean \
heartbeat-interval?",
  ],
  [
    "bind_ulr: tcp://*:1",
    'x.yaml:1: bind_ulr: Unknown option with the value "tcp://*:1", did you mean bind-url?',
  ],
  [
    "drain: 1\nconfig: other.yaml",
    'x.yaml:2: config: Unknown option with the value "other.yaml", expected one of bind-url, \
heartbeat-interval, heartbeat-timeout, busy-worker-timeout, request-expiry, max-attempts, \
max-queue, max-queue-bytes, max-total-queue, max-total-queue-bytes, max-client-queue, \
max-client-queue-bytes, max-message-size, transport, drain, http, gateway, gateway-origin, log-format, verbose, debug, logging',
  ],
  [
    "bind-url: [tcp://*:1, 5555]",
    'x.yaml:1: bind-url.1: Expected an endpoint such as tcp://127.0.0.1:5555 or \
ipc:///run/majortomo.sock, but got "5555"',
  ],
  [
    "bind-url: tcp://127.0.0.1",
    'x.yaml:1: bind-url: Expected an endpoint such as tcp://127.0.0.1:5555 or \
ipc:///run/majortomo.sock, but got "tcp://127.0.0.1"',
  ],
  ["drain: 1\n---\ndrain: 2\n", "x.yaml:2: Expected one document, but a second begins here"],
  [`drain: ${"[".repeat(20_000)}`, "x.yaml:1: Nested too deeply"],
  ["bind-url: []", "x.yaml:1: bind-url: Expected at least one endpoint, but got an empty list"],
  [
    "drain:",
    'x.yaml:1: drain: Expected seconds such as 2.5, or a number with its unit such as \
500ms, 3s, 2m or 1h, but got "null"',
  ],
  ["verbose: yes", 'x.yaml:1: verbose: Expected true or false, but got "yes"'],
  ["drain: 1\nverbose: true\ndrain: 2\n", "x.yaml:3: drain: The same option is set above already"],
  [
    "max-queue: 1\nmax_queue: 2\n",
    "x.yaml:2: max_queue: The same option is set as max-queue already",
  ],
  ["- drain: 1", 'x.yaml:1: Expected "option: value" lines, but got [{"drain":1}]'],
  ["drain", 'x.yaml:1: Expected "option: value" lines, but got "drain"'],
  ["logging: debug", 'x.yaml:1: logging: Expected "name: value" lines, but got "debug"'],
  [
    "logging:\n  level: loud",
    'x.yaml:2: logging.level: Expected one of "trace", "debug", "info", "warning", "warn", \
"error", "fatal", and "critical", but got "loud"',
  ],
  [
    "logging:\n  levels:\n    majortomo: 3",
    'x.yaml:3: logging.levels.majortomo: Expected one of "trace", "debug", "info", "warning", \
"warn", "error", "fatal", and "critical", but got "3"',
  ],
  [
    "logging:\n  formt: json",
    'x.yaml:2: logging.formt: Unknown option with the value "json", did you mean format?',
  ],
  [
    "logging:\n  sinks: []",
    "x.yaml:2: logging.sinks: Expected at least one sink, but got an empty list",
  ],
  [
    "logging:\n  sinks: [stderr, 3]",
    'x.yaml:2: logging.sinks.1: Expected stderr, stdout, a path, or "to: …" with one of them, but \
got 3',
  ],
  [
    "logging:\n  sinks: { level: info }",
    'x.yaml:2: logging.sinks.0.to: Expected "to: …" with stderr, stdout or a path',
  ],
  [
    "logging:\n  sinks: { to: stderr, levle: info }",
    'x.yaml:2: logging.sinks.0.levle: Unknown option with the value "info", did you mean level?',
  ],
  [
    "drain: [1",
    "x.yaml:1: Flow sequence in block collection must be sufficiently indented and \
end with a ]",
  ],
  ["a: &a [*a]", "x.yaml: An alias stands in what it is an alias of, without end"],
  [
    "logging: &a { levels: { x: *a } }",
    "x.yaml: An alias stands in what it is an alias of, without end",
  ],
  ["drain: *other", "x.yaml: Unresolved alias (the anchor must be set before the alias): other"],
];

Deno.test("`parseConfig` names the file, line, key and value when something is wrong", async (t) => {
  for (const [text, message] of WRONG) {
    await t.step(text.replaceAll("\n", "⏎").slice(0, 80), () => {
      assert.throws(() => parseConfig(text, "x.yaml"), (error) => {
        assert.ok(error instanceof UsageError);
        assert.equal(error.message, message);
        return true;
      });
    });
  }
});

Deno.test("`duration` gives whole numbers of ms when the text is a decimal fraction", () => {
  const parse = (text: string) => {
    const result = duration(0).parse(text);
    return result.success ? result.value : undefined;
  };
  for (
    const [text, expected] of [
      ["1.1", 1_100],
      ["0.3", 300],
      [".5s", 500],
      ["5.", 5_000],
      ["2 m", 120_000],
      ["0.0025", 2.5],
      ["1e3", undefined],
      ["1 day", undefined],
      ["", undefined],
      ["NaN", undefined],
    ] as const
  ) {
    assert.equal(parse(text), expected, text);
  }
});

Deno.test("`merge` prefers the command line, and says where values come from that do not fit", () => {
  const file = { heartbeatInterval: 1_000, heartbeatTimeout: 5_000, bindUrl: ["tcp://*:1"] };
  assert.deepEqual(merge({ heartbeatInterval: 2_500, bindUrl: undefined }, file, "x.yaml"), {
    heartbeatInterval: 2_500,
    heartbeatTimeout: 5_000,
    bindUrl: ["tcp://*:1"],
  });
  assert.throws(() => merge({ heartbeatInterval: 3_000 }, file, "x.yaml"), {
    message: "--heartbeat-timeout 5 (in x.yaml) must be a multiple of --heartbeat-interval 3: " +
      "use for example 3 or 6",
  });
});

Deno.test("`broker` takes from the command line first, then from the file, then its defaults", async () => {
  const text = "bind-url: tcp://127.0.0.1:1\nheartbeat-interval: 1\nheartbeat-timeout: 300ms\n" +
    "max-queue: 1\nlogging: { format: json }\n";
  await withFile(text, async (path) => {
    const args = ["-c", path, "-i", "100ms", "--log-format", "text"];
    const { broker, endpoint } = await startBroker(args, ["--allow-read"]);
    await using _ = broker;
    await using client = RawSocket.dealer(endpoint);
    client.send("MDPC02", [1], "nobody", "first");
    client.send("MDPC02", [1], "nobody", "second");
    await broker.stderr(/^\S+ \[WARNING\] majortomo\.broker: Request of .* "nobody" refused: /);
    broker.kill("SIGTERM");
    const { code, stderr } = await broker.ended();
    assert.equal(code, 0);
    assert.deepEqual(stderr.filter((line) => line.includes("Listening")), [
      `Listening on ${endpoint}`,
    ]);
  });
});

Deno.test("`broker` logs as the file says, and the flags of the command line come before it", async () => {
  const text = "bind-url: tcp://127.0.0.1:*\nlogging:\n  level: error\n  format: json\n" +
    "  handlers: {}\n  loggers: { majortomo: { level: ERROR } }\n";
  await withFile(text, async (path) => {
    await using quiet = start(BROKER, ["-c", path], ["--allow-read"]);
    const [line] = await quiet.stderr(/.*Listening.*/);
    assert.match(JSON.parse(line).endpoint, /^tcp:\/\/127\.0\.0\.1:\d+$/);
    await quiet.stderr(/: Ignored, as it is for Python only: logging\.handlers"/);
    quiet.kill("SIGTERM");
    assert.equal((await quiet.ended()).stderr.length, 2);
  });
  await withFile("bind-url: tcp://127.0.0.1:*\nlogging: { level: error }", async (path) => {
    await using verbose = start(BROKER, ["-c", path, "-V"], ["--allow-read"]);
    await verbose.stderr(/Listening/);
    verbose.kill("SIGTERM");
    await verbose.stderr(/\[INFO\] majortomo\.broker: Stopped/);
    await verbose.ended();
  });
});

Deno.test("`broker` exits with 2 when it cannot read the file or there is something wrong in it", async () => {
  const hint = " (try majortomo-broker --help)";
  const read = ["--allow-read"];
  const said = async (path: string, permissions: string[]) => {
    const { code, stdout, stderr } = await run(BROKER, ["-c", path], permissions);
    assert.deepEqual({ code, stdout, lines: stderr.length }, { code: 2, stdout: [], lines: 1 });
    return stderr[0];
  };
  assert.equal(
    await said("/nowhere/x.yaml", read),
    `majortomo-broker: Cannot read the configuration file "/nowhere/x.yaml": There is no such file${hint}`,
  );
  assert.equal(
    await said("/", read),
    `majortomo-broker: Cannot read the configuration file "/": It is a directory${hint}`,
  );
  await withFile("drain: 1\ndrian: 2", async (path) => {
    assert.equal(
      await said(path, read),
      `majortomo-broker: ${path}:2: drian: Unknown option with the value 2, did you mean drain?${hint}`,
    );
    assert.equal(
      await said(path, []),
      `majortomo-broker: Reading the configuration file "${path}" needs the permission ` +
        `--allow-read: run deno with --allow-read="${path}"${hint}`,
    );
  });
  await withFile(new Uint8Array([0xff, 0xfe, 0x80]), async (path) => {
    assert.equal(
      await said(path, read),
      `majortomo-broker: Cannot read the configuration file "${path}": It is no text in UTF-8${hint}`,
    );
  });
});
