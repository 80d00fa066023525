/**
 * An echo service and a client for it, to try a broker with: majortomo's `majortomo.echo`.
 *
 * ```sh
 * deno run --allow-ffi jsr:@majortomo/mdp/cli/echo worker
 * deno run --allow-ffi jsr:@majortomo/mdp/cli/echo client --message hello --repeat 3
 * deno run --allow-ffi jsr:@majortomo/mdp/cli/echo --dialect majortomo client --message hello
 * ```
 *
 * The worker answers with the frames that it gets until SIGTERM or SIGINT stops it. The client
 * prints each frame of each reply on a line of stdout, on a terminal in green if the reply is what
 * was sent and in red if not.
 *
 * With `--concurrency` the worker takes several requests at once, and the client keeps several in
 * flight; its replies are then printed as they come.
 *
 * They exit with 0 after they have done what they should, 1 if no reply came in time or libzmq
 * cannot be opened, 2 if the options are wrong, 3 if the service answered with an error, whose code
 * and message are then a line of stderr.
 *
 * @module
 */

import { setTimeout as pause } from "node:timers/promises";
import { merge, object, or } from "@optique/core/constructs";
import { message } from "@optique/core/message";
import { map, multiple, optional, withDefault } from "@optique/core/modifiers";
import { command, constant, flag, option } from "@optique/core/primitives";
import { string } from "@optique/core/valueparser";
import { Client } from "../client.ts";
import type { DialectOption } from "../options.ts";
import { Worker } from "../worker.ts";
import {
  ANY_OPTIONS,
  parseArguments,
  type Program,
  runProgram,
  UsageError,
} from "./command_line.ts";
import { EXIT } from "./exit_codes.ts";
import { tellFailure } from "./failure.ts";
import { requireFfi } from "./ffi.ts";
import { asItIs, cliLogger, configureLogging } from "./logging.ts";
import { print } from "./output.ts";
import { printable } from "./printable.ts";
import { stopSignal } from "./signals.ts";
import {
  brokerUrl,
  count,
  dialect,
  DIALECT_DESCRIPTION,
  duration,
  inSeconds,
  refuseReserved,
  service,
} from "./values.ts";

const NAME = "majortomo-echo";

const PROGRAM: Program = {
  name: NAME,
  brief: message`An echo service and a client for it, to try an MDP broker with.`,
  usage: [{
    type: "exclusive",
    terms: [[{ type: "command", name: "worker" }], [{ type: "command", name: "client" }]],
  }, ANY_OPTIONS],
  footer: message`SECONDS are a number of seconds such as 2.5, or have their unit: 500ms, 3s, 2m, \
1h. The options -b, -n, --dialect and --debug can stand before or after the command.`,
  python: [
    ...["--broker_url", "--service-name", "--debug", "--help", "--delay", "--heartbeat-interval"],
    ...["--garbage", "--repeat", "--message", "--timeout"],
  ],
};

const COMMON = object({
  broker: optional(multiple(
    option("-b", "--broker-url", "--broker_url", brokerUrl(), {
      description: message`Where the broker is; repeated: others to turn to when it fails. \
Default: tcp://127.0.0.1:5555.`,
    }),
    { min: 1 },
  )),
  service: withDefault(
    option(
      "-n",
      "--service-name",
      service("NAME"),
      { description: message`The service. Default: mdp-echo.` },
    ),
    "mdp-echo",
  ),
  dialect: optional(
    option("--dialect", dialect(), { description: DIALECT_DESCRIPTION }),
  ),
  debug: withDefault(flag("--debug", { description: message`Log in detail on stderr.` }), false),
});

const DELAY = duration(0);

const WORKER = object({
  action: constant("worker"),
  delay: withDefault(
    option("-d", "--delay", DELAY, { description: message`Wait so long before each reply.` }),
    0,
  ),
  heartbeatInterval: optional(
    option("-i", "--heartbeat-interval", duration(1), {
      description: message`Send a heartbeat when nothing was sent for so long. Default: 2.5.`,
    }),
  ),
  heartbeatTimeout: optional(
    option("-t", "--heartbeat-timeout", duration(1), {
      description: message`Hold the broker for lost when it sent nothing for so long. Default: \
four intervals, at least 10.`,
    }),
  ),
  garbage: withDefault(
    flag("-f", "--garbage", {
      description: message`Reply with the frames in reverse order, each with its bytes reversed.`,
    }),
    false,
  ),
  concurrency: optional(
    option("-j", "--concurrency", count(1, 65_535), {
      description: message`Take so many requests at once. Default: 1.`,
    }),
  ),
});

const CLIENT = object({
  action: constant("client"),
  frames: multiple(
    option("-m", "--message", string({ metavar: "TEXT" }), {
      description: message`What to send; repeated: a frame each.`,
    }),
    { min: 1, errors: { tooFew: message`A message is missing: give one with --message.` } },
  ),
  repeat: withDefault(
    option("-r", "--repeat", count(0), {
      description: message`Send it so many times. Default: 1.`,
    }),
    1,
  ),
  concurrency: withDefault(
    option("-j", "--concurrency", count(1, 65_535), {
      description: message`Keep so many in flight. Default: 1, one after the other.`,
    }),
    1,
  ),
  delay: optional(
    option("-d", "--delay", DELAY, {
      description: message`Wait so long after a reply before the next. Default: 0.5, and 0 with \
several in flight.`,
    }),
  ),
  timeout: optional(map(
    option("-t", "--timeout", duration(0), {
      description: message`Wait so long for each reply; 0 is for ever. Default: 30.`,
    }),
    (milliseconds) => milliseconds || Infinity,
  )),
});

const OPTIONS = merge(
  COMMON,
  or(
    command("worker", WORKER, { brief: message`Serve requests with what they hold.` }),
    command("client", CLIENT, { brief: message`Send a message and print the replies.` }),
    {
      errors: {
        noMatch: message`A command is missing: worker or client.`,
      },
    },
  ),
);

/** What the options before or after the command say. */
interface Common {
  broker?: readonly string[];
  service: string;
  dialect?: DialectOption;
}

/**
 * Runs the echo service or its client.
 *
 * @param args The command line's arguments.
 * @returns The exit code.
 */
export function main(args: readonly string[]): Promise<number> {
  return runProgram(NAME, async () => {
    const parsed = parseArguments(OPTIONS, PROGRAM, args);
    if (parsed === undefined) return EXIT.ok;
    configureLogging(NAME, { level: parsed.debug ? "debug" : "warning", format: "text" });
    try {
      requireFfi();
      if (parsed.action === "worker") await runWorker(parsed);
      else await runClient(parsed);
      return EXIT.ok;
    } catch (error) {
      return tellFailure(NAME, error);
    }
  });
}

async function runWorker(
  { broker, service, dialect, delay, garbage, ...options }: Common & {
    delay: number;
    garbage: boolean;
    heartbeatInterval?: number;
    heartbeatTimeout?: number;
    concurrency?: number;
  },
): Promise<void> {
  const { heartbeatInterval = 2_500, heartbeatTimeout, concurrency } = options;
  if (heartbeatTimeout !== undefined && heartbeatTimeout < heartbeatInterval) {
    throw new UsageError(
      `--heartbeat-timeout ${inSeconds(heartbeatTimeout)} must be at least ` +
        `--heartbeat-interval ${inSeconds(heartbeatInterval)}`,
    );
  }
  refuseReserved(service);
  using stop = stopSignal();
  await using worker = new Worker({
    broker,
    service,
    dialect,
    heartbeatInterval,
    heartbeatTimeout,
    concurrency,
  });
  cliLogger.info(asItIs(`Serving ${JSON.stringify(service)}`), { service });
  await worker.serve(async ({ frames, signal }) => {
    if (delay > 0) await pause(delay, undefined, { signal });
    return garbage ? frames.toReversed().map((frame) => frame.toReversed()) : frames;
  }, { signal: stop.signal });
}

async function runClient(
  { broker, service, dialect, frames, repeat, timeout, concurrency, delay }: Common & {
    frames: readonly string[];
    repeat: number;
    concurrency: number;
    delay?: number;
    timeout?: number;
  },
): Promise<void> {
  await using client = new Client({ broker, dialect, timeout, maxInFlight: concurrency });
  const color = Deno.stdout.isTerminal() && !Deno.noColor;
  const sent = frames.map((frame) => new TextEncoder().encode(frame));
  const wait = delay ?? (concurrency === 1 ? 500 : 0);
  let left = repeat;
  const send = async () => {
    while (left > 0) {
      left--;
      const reply = await client.request(service, sent);
      const paint = color ? `\x1b[3${isEqual(reply.frames, sent) ? 2 : 1}m` : "";
      print(
        ...reply.frames.map((frame) => paint + printable(frame) + (color ? "\x1b[0m" : "")),
      );
      if (left > 0 && wait > 0) await pause(wait);
    }
  };
  try {
    await Promise.all(Array.from({ length: Math.min(concurrency, repeat) }, send));
  } finally {
    // After a failure nothing more is sent.
    left = 0;
  }
}

function isEqual(a: readonly Uint8Array[], b: readonly Uint8Array[]): boolean {
  return a.length === b.length && a.every((frame, i) => {
    const other = b[i]!;
    return frame.length === other.length && frame.every((byte, at) => byte === other[at]);
  });
}

if (import.meta.main) Deno.exit(await main(Deno.args));
