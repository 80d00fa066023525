/**
 * The toolbox: asks services, serves requests, shows what a broker knows and puts load on it.
 *
 * ```sh
 * deno install --global --allow-ffi --allow-env --allow-read --allow-run jsr:@majortomo/mdp/cli/mdp
 *
 * mdp serve upper --command 'tr a-z A-Z'
 * mdp call upper hello
 * mdp services
 * mdp --help
 * ```
 *
 * Shells complete its commands and options after `source <(mdp --completion bash)`, or the same with
 * `zsh`, `fish`, `nu` or `pwsh` in their ways.
 *
 * The broker is the one that `--broker-url` or the environment variable `MDP_BROKER` names, else
 * that at `tcp://127.0.0.1:5555`.
 *
 * It exits with 0 after it has done what it should, 1 if no answer came in time or something else
 * failed, 2 if the options are wrong, 3 if the service answered with an error, whose code and
 * message are then a line of stderr, and with 130 or 143 if SIGINT or SIGTERM ended it before;
 * `mdp serve`, which nothing else ends, exits with 0 then, unless a second one ends it at once.
 *
 * Beside `--allow-ffi` it needs `--allow-env=MDP_BROKER` for that variable, `--allow-read` for
 * files that are named and for `mdp bench`, and `--allow-run` for the commands of `mdp serve`.
 *
 * @module
 */

import { merge, or } from "@optique/core/constructs";
import { message } from "@optique/core/message";
import { ANY_OPTIONS, parseArguments, type Program, runProgram } from "./command_line.ts";
import { EXIT } from "./exit_codes.ts";
import { tellFailure } from "./failure.ts";
import { requireFfi } from "./ffi.ts";
import { configureLogging } from "./logging.ts";
import { BENCH, runBench } from "./mdp_bench.ts";
import { CALL, runCall } from "./mdp_call.ts";
import { CHECK_CONFIG, runCheckConfig } from "./mdp_check_config.ts";
import { COMMON, examples, NAME } from "./mdp_options.ts";
import { runServe, SERVE } from "./mdp_serve.ts";
import {
  PING,
  runPing,
  runServices,
  runStats,
  runWorkers,
  SERVICES,
  STATS,
  WORKERS,
} from "./mdp_show.ts";
import { runTop, TOP } from "./mdp_top.ts";

const PROGRAM: Program = {
  name: NAME,
  brief: message`A toolbox for MDP brokers and the services behind them.`,
  usage: [{ type: "argument", metavar: "COMMAND" }, ANY_OPTIONS],
  examples: examples(
    "mdp ping",
    "mdp serve upper --command 'tr a-z A-Z'",
    "mdp call upper hello",
    "mdp services",
    "mdp call --help",
  ).slice(2),
  completion: true,
  footer: message`SECONDS are a number of seconds such as 2.5, or have their unit: 500ms, 3s, 2m, \
1h. BYTES are a number, or have theirs: 64KiB, 10MB. A value is an argument of its own, or \
stands behind = after a long name: -t 3, --timeout 3, --timeout=3. The common options can stand before or after \
the command. The exit code is 0 if all went well, 1 after a timeout or another failure, 2 after \
wrong options, 3 if the service answered with an error, and 130 or 143 after SIGINT or SIGTERM.`,
};

const OPTIONS = merge(
  COMMON,
  or(CALL, SERVE, SERVICES, WORKERS, STATS, PING, TOP, BENCH, CHECK_CONFIG, {
    errors: {
      noMatch: message`A command is missing: call, serve, services, workers, stats, ping, top, \
bench or check-config.`,
    },
  }),
);

/**
 * Runs a command of the toolbox.
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
      if (parsed.action !== "check-config") requireFfi();
      switch (parsed.action) {
        case "call":
          return await runCall(parsed);
        case "serve":
          return await runServe(parsed);
        case "services":
          return await runServices(parsed);
        case "workers":
          return await runWorkers(parsed);
        case "stats":
          return await runStats(parsed);
        case "ping":
          return await runPing(parsed);
        case "top":
          return await runTop(parsed);
        case "bench":
          return await runBench(parsed);
        case "check-config":
          return runCheckConfig(parsed);
      }
    } catch (error) {
      return tellFailure(NAME, error);
    }
  });
}

if (import.meta.main) Deno.exit(await main(Deno.args));
