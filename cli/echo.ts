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
import { choice, string } from "@optique/core/valueparser";
import { Client } from "../client.ts";
import { MdpError, ServiceError } from "../errors.ts";
import type { DialectOption } from "../options.ts";
import { Worker } from "../worker.ts";
import {
  ANY_OPTIONS,
  EXIT,
  parseArguments,
  type Program,
  runProgram,
  UsageError,
} from "./command_line.ts";
import { cliLogger, configureLogging } from "./logging.ts";
import { stopSignal } from "./signals.ts";
import { count, duration, endpoint, inSeconds } from "./values.ts";

const NAME = "majortomo-echo";
/** The exit code when the service answered with an error. */
const SERVICE_ERROR = 3;
const DIALECT_OPTIONS: readonly DialectOption[] = ["auto", "multiplexed", "rfc", "majortomo"];

const PROGRAM: Program = {
  name: NAME,
  brief: message`An echo service and a client for it, to try an MDP broker with.`,
  usage: [{
    type: "exclusive",
    terms: [[{ type: "command", name: "worker" }], [{ type: "command", name: "client" }]],
  }, ANY_OPTIONS],
  footer: message`SECONDS are a number of seconds such as 2.5, or have their unit: 500ms, 3s, 2m, \
1h. The options -b, -n, --dialect and --debug can stand before or after the command.`,
};

const COMMON = object({
  broker: optional(multiple(
    option("-b", "--broker-url", "--broker_url", endpoint(), {
      description: message`Where the broker is; repeated: others to turn to when it fails. \
Default: tcp://127.0.0.1:5555.`,
    }),
    { min: 1 },
  )),
  service: withDefault(
    option(
      "-n",
      "--service-name",
      string({
        metavar: "NAME",
        pattern: /./s,
        errors: { patternMismatch: message`Expected a name, but got none.` },
      }),
      {
        description: message`The service. Default: mdp-echo.`,
      },
    ),
    "mdp-echo",
  ),
  dialect: optional(
    option(
      "--dialect",
      choice(DIALECT_OPTIONS, { metavar: "DIALECT" }),
      {
        description:
          message`What to speak: auto (multiplexed if the broker can, else rfc), multiplexed, rfc, \
or majortomo for a broker in Python. Default: auto.`,
      },
    ),
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
      if (parsed.action === "worker") await runWorker(parsed);
      else await runClient(parsed);
      return EXIT.ok;
    } catch (error) {
      if (error instanceof ServiceError) {
        console.error(`${error.code} ${printableText(error.message)}`);
        return SERVICE_ERROR;
      }
      if (!(error instanceof MdpError)) throw error;
      cliLogger.fatal(error.message);
      return EXIT.failure;
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
  using stop = stopSignal();
  await using worker = new Worker({
    broker,
    service,
    dialect,
    heartbeatInterval,
    heartbeatTimeout,
    concurrency,
  });
  cliLogger.info(`Serving ${JSON.stringify(service)}`, { service });
  await worker.serve(async ({ frames, signal }) => {
    if (delay > 0) await pause(delay, undefined, { signal });
    return garbage ? frames.toReversed().map((frame) => frame.toReversed()) : frames;
  }, stop);
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
      for (const frame of reply.frames) {
        console.log(paint + printable(frame) + (color ? "\x1b[0m" : ""));
      }
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

/**
 * A frame on one line that no terminal can be fooled with: text as it is but for its control
 * characters, and of what is no text the ASCII.
 */
function printable(frame: Uint8Array): string {
  try {
    const text = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(frame);
    return printableText(text);
  } catch {
    return Array.from(frame, (byte) => String.fromCharCode(byte)).join("")
      .replace(/[^ -~\t]/g, escape);
  }
}

function printableText(text: string): string {
  return text.replace(/(?!\t)[\p{Cc}\u2028-\u202e\u2066-\u2069]/gu, escape);
}

function escape(character: string): string {
  if (character === "\n") return "\\n";
  if (character === "\r") return "\\r";
  const hex = character.charCodeAt(0).toString(16);
  return hex.length <= 2 ? `\\x${hex.padStart(2, "0")}` : `\\u${hex.padStart(4, "0")}`;
}

if (import.meta.main) Deno.exit(await main(Deno.args));
