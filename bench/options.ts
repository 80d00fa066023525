/**
 * The command line of the bench.
 *
 * @module
 */

import { resolve } from "node:path";
import { object } from "@optique/core/constructs";
import { lineBreak, type Message, message, text } from "@optique/core/message";
import { map, multiple, optional, withDefault } from "@optique/core/modifiers";
import { flag, option } from "@optique/core/primitives";
import { choice, string, type ValueParser } from "@optique/core/valueparser";
import { type DialectName, DIALECTS } from "../codec.ts";
import { ANY_OPTIONS, parseArguments, type Program, UsageError } from "../cli/command_line.ts";
import { examples } from "../cli/mdp_options.ts";
import { count, duration } from "../cli/values.ts";
import { FEW } from "./backlog.ts";
import { SHAPES } from "./shapes.ts";
import type { Settings } from "./stage.ts";

/** The name of the program. */
export const NAME = "bench";

/** What was given. */
export interface Options extends Settings {
  /** The shapes that are measured; if there are none, those that need not be named. */
  only: readonly string[];
  /** The dialects; if there are none, those in which a shape differs. */
  dialects: readonly DialectName[];
  /** The command of the broker that is measured; our own if there is none. */
  broker?: string;
  /** The command of the one that it is held against, if there is one. */
  against?: string;
  /** Whether another system does the same work. */
  peers: boolean;
  /** The folder for plots, if there are to be some. */
  plot?: string;
  /** Whether JSON is printed instead of a table. */
  json: boolean;
}

const PROGRAM: Program = {
  name: NAME,
  brief: message`Measures the broker, the client and the worker under load.`,
  usage: [ANY_OPTIONS],
  footer: [
    text("The shapes:"),
    ...SHAPES.flatMap(({ name, summary, onRequest }): Message => [
      lineBreak(),
      text(`  ${name.padEnd(18)} ${summary}${onRequest ? " (only where it is named)" : ""}`),
    ]),
    lineBreak(),
    lineBreak(),
    ...examples(
      "deno task bench --only throughput,latency --rounds 5",
      'deno task bench --against "other-broker --bind {url}"',
      "deno task bench --peers",
      "deno task bench --plot docs",
    ),
  ],
};

const OPTIONS = object({
  only: several(
    option("--only", names("SHAPES", SHAPES.map(({ name }) => name)), {
      description: message`Measure these shapes only, separated by commas. They are listed below.`,
    }),
  ),
  dialects: several(
    option("--dialect", names("DIALECTS", Object.keys(DIALECTS) as DialectName[]), {
      description: message`Speak these: rfc, majortomo, multiplexed, separated by commas. \
Default: rfc and multiplexed, where they differ.`,
    }),
  ),
  rounds: withDefault(
    option("--rounds", count(1), { description: message`Measure each so often. Default: 3.` }),
    3,
  ),
  seconds: withDefault(
    inSeconds(option("--seconds", duration(1), {
      description: message`Measure for so long each time. Default: 3.`,
    })),
    3,
  ),
  warmUp: withDefault(
    inSeconds(option("--warm-up", duration(0), {
      description: message`Load it for so long before that. Default: 1.`,
    })),
    1,
  ),
  transport: withDefault(
    option("--transport", choice(["tcp", "ipc"], { metavar: "TRANSPORT" }), {
      description: message`Reach the broker by tcp (on 127.0.0.1) or ipc. Default: tcp.`,
    }),
    "tcp",
  ),
  rate: withDefault(
    option("--rate", count(1), {
      description: message`Requests a second in the shape latency. Default: 5000.`,
    }),
    5_000,
  ),
  idle: withDefault(
    option("--idle", count(1), {
      description: message`Idle workers in the shapes that have some. Default: 2000.`,
    }),
    2_000,
  ),
  backlog: withDefault(
    option("--backlog", count(FEW), {
      description: message`Requests in the larger backlog, 1000 at least. Default: 1000000.`,
    }),
    1_000_000,
  ),
  broker: optional(option("--broker", command(), {
    description: message`Measure the broker that this starts, in the foreground; {url} is where it \
is to listen. Default: the one of this checkout.`,
  })),
  against: optional(option("--against", command(), {
    description: message`Measure this one too, in turn with the first, and print ratios.`,
  })),
  peers: withDefault(
    flag("--peers", {
      description: message`Measure the same work over NATS, in turn with ours. Other shapes are \
measured only where they are named.`,
    }),
    false,
  ),
  plot: optional(map(
    option("--plot", folder(), {
      description: message`Measure how cost grows and write plots to this folder. Other shapes are \
measured only where they are named.`,
    }),
    // A task runs where deno.json is, and INIT_CWD is where it was started.
    (folder) => resolve(Deno.env.get("INIT_CWD") ?? ".", folder),
  )),
  json: withDefault(
    flag("--json", {
      description:
        message`Print JSON: the figures of each round, in order, null for one that has failed, and the failures, each with its round and side.`,
    }),
    false,
  ),
});

/**
 * Reads the command line; answers `--help` itself.
 *
 * @param args Its arguments.
 * @returns What was given; `undefined` if there is nothing left to do.
 * @throws {UsageError} If it is wrong.
 */
export function parseOptions(args: readonly string[]): Options | undefined {
  const options = parseArguments(OPTIONS, PROGRAM, args);
  if (options === undefined) return undefined;
  if (options.peers && options.against !== undefined) {
    throw new UsageError("--peers and --against cannot be given together");
  }
  if (options.peers && options.broker !== undefined) {
    throw new UsageError("--peers measures the broker of this checkout: leave --broker out");
  }
  if (options.peers && options.transport === "ipc") {
    throw new UsageError("--peers measures over tcp, which NATS has: leave --transport ipc out");
  }
  return options;
}

/** An option with a list, which can be repeated: each once; an empty list if it is not given. */
function several<T, S>(parser: Parameters<typeof multiple<"sync", T[], S>>[0]) {
  return map(multiple(parser), (lists) => [...new Set(lists.flat())]);
}

/** Durations are in ms wherever they are read. */
function inSeconds<S>(parser: Parameters<typeof map<"sync", number, number, S>>[0]) {
  return map(parser, (milliseconds) => milliseconds / 1_000);
}

/** Some of the names that there are, separated by commas. */
function names<T extends string>(
  metavar: "SHAPES" | "DIALECTS",
  known: readonly T[],
): ValueParser<"sync", T[]> {
  return {
    mode: "sync",
    metavar,
    placeholder: [],
    parse(input) {
      const given = input.split(",").map((name) => name.trim());
      const unknown = given.find((name) => !known.includes(name as T));
      if (unknown === undefined) return { success: true, value: given as T[] };
      return {
        success: false,
        error: message`Expected some of ${text(known.join(", "))}, but got ${unknown}.`,
      };
    },
    format: (value) => value.join(","),
  };
}

function folder(): ValueParser<"sync", string> {
  return string({
    metavar: "FOLDER",
    pattern: /./s,
    errors: { patternMismatch: message`Expected a folder, but got none.` },
  });
}

/** A command that starts a broker. */
function command(): ValueParser<"sync", string> {
  return {
    mode: "sync",
    metavar: "COMMAND",
    placeholder: "{url}",
    parse(input) {
      if (input.includes("{url}")) return { success: true, value: input };
      return {
        success: false,
        error: message`Expected a command with {url} where the endpoint goes, but got ${input}.`,
      };
    },
    format: (value) => value,
  };
}
