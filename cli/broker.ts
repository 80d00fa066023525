/**
 * The broker as a program. It takes the options of majortomo's `majortomo.broker`, and more.
 *
 * ```sh
 * deno run --allow-ffi jsr:@majortomo/mdp/cli/broker --bind-url tcp://127.0.0.1:5555 --verbose
 * deno run --allow-ffi jsr:@majortomo/mdp/cli/broker --help
 * ```
 *
 * On stderr it says where it listens, one line for each endpoint, and then what goes wrong, with
 * `--verbose` all that it does. SIGTERM or SIGINT stops it in order, a second one at once. With
 * `--config`, SIGHUP has it read the file again: timeouts, limits and how to log change at once.
 *
 * It exits with 0 after it was stopped, 1 if it cannot listen or open libzmq, 2 if the options
 * or the configuration file are wrong.
 *
 * `--config` needs the permission `--allow-read`, a log file that it names `--allow-write`,
 * `--http` `--allow-net`, and the environment variable `MAJORTOMO_LIBZMQ`, which names another
 * libzmq, `--allow-env=MAJORTOMO_LIBZMQ`.
 *
 * @module
 */

import { object } from "@optique/core/constructs";
import { message } from "@optique/core/message";
import { multiple, optional } from "@optique/core/modifiers";
import { flag, option } from "@optique/core/primitives";
import { string } from "@optique/core/valueparser";
import { Broker } from "../broker.ts";
import { MdpError } from "../errors.ts";
import { brokerOptions, merge, type Settings, VALUES } from "./broker_options.ts";
import { ANY_OPTIONS, parseArguments, type Program, runProgram } from "./command_line.ts";
import type { Config } from "./config.ts";
import { EXIT } from "./exit_codes.ts";
import { requireFfi } from "./ffi.ts";
import { serveHttp } from "./http.ts";
import { asItIs, cliLogger, type LogSettings, prepareLogging } from "./logging.ts";
import { releaseMemory } from "./resident.ts";
import { onHangUp, stopSignal } from "./signals.ts";
import { warmUp } from "./warm_up.ts";

const NAME = "majortomo-broker";

const PROGRAM: Program = {
  name: NAME,
  brief: message`A broker of MDP 0.2 (ZeroMQ RFC 18, Majordomo).`,
  usage: [ANY_OPTIONS],
  completion: true,
  footer: message`SECONDS are a number of seconds such as 2.5, or have their unit: 500ms, 3s, 2m, \
1h. BYTES are a number, or have theirs: 64KiB, 10MB. A value is an argument of its own, or \
stands right behind a short name, or behind = after a long one: -e 30, -e30, --request-expiry 30, \
--request-expiry=30. Each option can stand in the configuration file under its long name.`,
  python: [
    ...["--bind-url", "--heartbeat-interval", "--heartbeat-timeout", "--busy-worker-timeout"],
    ...["--config", "--verbose", "--debug", "--help"],
  ],
};

const OPTIONS = object({
  bindUrl: optional(multiple(
    option("-b", "--bind-url", VALUES.bindUrl, {
      description: message`Where to listen; can be repeated. A port of * is a free one. Default: \
tcp://127.0.0.1:5555.`,
    }),
    { min: 1 },
  )),
  heartbeatInterval: optional(
    option("-i", "--heartbeat-interval", VALUES.heartbeatInterval, {
      description: message`Send a worker a heartbeat when it was sent nothing for so long. \
Default: 2.5.`,
    }),
  ),
  heartbeatTimeout: optional(
    option("-t", "--heartbeat-timeout", VALUES.heartbeatTimeout, {
      description: message`Hold a worker for dead when it sent nothing for so long. A multiple of \
the interval. Default: 10.`,
    }),
  ),
  busyWorkerTimeout: optional(
    option("-B", "--busy-worker-timeout", VALUES.busyWorkerTimeout, {
      description: message`The same for a worker that has a request and never heartbeats while it \
works. Default: 900.`,
    }),
  ),
  requestExpiry: optional(
    option("-e", "--request-expiry", VALUES.requestExpiry, {
      description: message`Drop a request when no worker served it for so long; 0 is never. \
Default: 60.`,
    }),
  ),
  maxAttempts: optional(
    option("--max-attempts", VALUES.maxAttempts, {
      description: message`Give a request to so many workers when one after the other is lost. \
Default: 3.`,
    }),
  ),
  maxQueue: optional(
    option("--max-queue", VALUES.maxQueue, {
      description: message`Let so many requests wait for one service. Default: 100000.`,
    }),
  ),
  maxQueueBytes: optional(
    option("--max-queue-bytes", VALUES.maxQueueBytes, {
      description: message`The same in bytes. Default: 256MiB.`,
    }),
  ),
  maxTotalQueue: optional(
    option("--max-total-queue", VALUES.maxTotalQueue, {
      description: message`Let so many requests wait for all services together. Default: 1000000.`,
    }),
  ),
  maxTotalQueueBytes: optional(
    option("--max-total-queue-bytes", VALUES.maxTotalQueueBytes, {
      description: message`The same in bytes. Default: 1GiB.`,
    }),
  ),
  maxClientQueue: optional(
    option("--max-client-queue", VALUES.maxClientQueue, {
      description: message`Let so many requests of one client wait, for all services together. \
Default: as many as the others allow.`,
    }),
  ),
  maxClientQueueBytes: optional(
    option("--max-client-queue-bytes", VALUES.maxClientQueueBytes, {
      description: message`The same in bytes. Default: as many as the others allow.`,
    }),
  ),
  maxMessageSize: optional(
    option("--max-message-size", VALUES.maxMessageSize, {
      description: message`Take messages of at most so many bytes. Default: 128MiB.`,
    }),
  ),
  transport: optional(
    option("--transport", VALUES.transport, {
      description:
        message`What speaks ZMTP: auto is the broker itself where it can, as on Linux; or \
libzmq. Default: auto.`,
    }),
  ),
  drain: optional(
    option("--drain", VALUES.drain, {
      description: message`When stopped, give work in flight so long to end. Default: 0.`,
    }),
  ),
  http: optional(
    option("--http", VALUES.http, {
      description: message`Serve a live page, metrics and health over HTTP there; a port alone is \
one of loopback. Default: not at all.`,
    }),
  ),
  gateway: optional(
    flag("--gateway", {
      description: message`With --http: let services be called by POST /services/NAME.`,
    }),
  ),
  gatewayOrigin: optional(multiple(
    option("--gateway-origin", VALUES.gatewayOrigin, {
      description: message`With --gateway: let web pages of that origin call services, too; can be \
repeated, and * is all of them.`,
    }),
    { min: 1 },
  )),
  config: optional(
    option("-c", "--config", string({ metavar: "FILE" }), {
      description: message`A configuration file in YAML. What the command line says comes first.`,
    }),
  ),
  logFormat: optional(
    option("--log-format", VALUES.logFormat, {
      description: message`The form of the log on stderr: text, or json, an object a line. \
Default: text.`,
    }),
  ),
  verbose: optional(flag("-V", "--verbose", { description: message`Log what the broker does.` })),
  debug: optional(flag("-D", "--debug", { description: message`Log in detail.` })),
});

/** What no configuration file says. */
const NO_CONFIG: Config = { settings: {}, logging: { levels: {} }, ignored: [] };

/** Loads what reads YAML only where there is some: 14 MiB and 30 ms of the start. */
async function readConfig(path: string): Promise<Config> {
  return (await import("./config.ts")).readConfig(path);
}

/**
 * Runs the broker until it is stopped by a signal.
 *
 * @param args The command line's arguments.
 * @returns The exit code.
 */
export function main(args: readonly string[]): Promise<number> {
  return runProgram(NAME, async () => {
    const parsed = parseArguments(OPTIONS, PROGRAM, args);
    if (parsed === undefined) return EXIT.ok;
    const { config: path, ...given } = parsed;
    // It is read for the first time anyhow, and that the system ends us is not what was meant.
    using _early = path === undefined ? undefined : onHangUp(() => {});
    const config = path === undefined ? NO_CONFIG : await readConfig(path);
    const settings = merge(given, config.settings, path ?? "");
    const prepare = (config: Config) => prepareLogging(NAME, logSettings(given, config));

    using stop = stopSignal();
    const broker = new Broker(brokerOptions(settings));
    let endpoints, http;
    try {
      // Before the log is configured, as the broker would log there what is said below.
      requireFfi();
      endpoints = broker.bind();
      http = await serveHttp(broker, settings);
    } catch (error) {
      if (!(error instanceof MdpError)) throw error;
      prepare(config)();
      cliLogger.fatal(asItIs(error.message));
      await broker.close();
      return EXIT.failure;
    }
    // Before it says that it listens: who starts it may signal it then.
    using _ = path === undefined ? undefined : new (await import("./reload.ts")).Reloader(
      broker,
      { path, given, config, settings },
      prepare,
    )
      .onHangUp();
    prepare(config)();
    const listening = http === undefined ? endpoints : [...endpoints, http.url];
    for (const endpoint of listening) cliLogger.info("Listening on {endpoint}", { endpoint });
    if (config.ignored.length > 0) {
      cliLogger.warn(
        asItIs(`${path}: Ignored, as it is for Python only: ${config.ignored.join(", ")}`),
      );
    }
    await Promise.all([
      broker.run({ signal: stop.signal }),
      warmUp(stop.signal).then(releaseMemory),
    ]);
    await http?.close();
    return EXIT.ok;
  });
}

/** The flags of the command line come first, then the file's section on logging, then its flags. */
function logSettings(given: Settings, { settings, logging }: Config): LogSettings {
  const level = ({ verbose, debug }: Settings): LogSettings["level"] | undefined =>
    debug ? "debug" : verbose ? "info" : undefined;
  return {
    level: level(given) ?? logging.level ?? level(settings) ?? "warning",
    format: given.logFormat ?? logging.format ?? settings.logFormat ?? "text",
    // The only client here is that of the HTTP side, whose broker cannot be lost but by its end.
    levels: { "majortomo.client": "fatal", ...logging.levels },
    sinks: logging.sinks,
  };
}

if (import.meta.main) Deno.exit(await main(Deno.args));
