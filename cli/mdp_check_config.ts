/**
 * `mdp check-config`: looks at a broker's configuration file without starting the broker.
 *
 * @module
 */

import { object } from "@optique/core/constructs";
import { message } from "@optique/core/message";
import { argument, command, constant } from "@optique/core/primitives";
import { string } from "@optique/core/valueparser";
import { merge } from "./broker_options.ts";
import { UsageError } from "./command_line.ts";
import { EXIT } from "./exit_codes.ts";
import { readConfig } from "./config.ts";
import { checkSink } from "./log_sinks.ts";
import { examples, JSON_FLAG, NAME, usage } from "./mdp_options.ts";
import { print, printJson, tell } from "./output.ts";

/** The command. */
export const CHECK_CONFIG = command(
  "check-config",
  object({
    action: constant("check-config"),
    path: argument(string({ metavar: "FILE" }), { description: message`The file, in YAML.` }),
    json: JSON_FLAG,
  }),
  {
    brief: message`Check a configuration file of the broker.`,
    description: message`Says whether the broker could start with this file, and if not, what is \
wrong and on which line; then it exits with 1. In JSON it prints the settings that the file makes, \
times in milliseconds.`,
    footer: examples("mdp check-config /etc/majortomo/broker.yaml"),
    usageLine: usage({ type: "argument", metavar: "FILE" }),
  },
);

/**
 * Checks a file.
 *
 * @param options The file, and how to print what is in it.
 * @returns The exit code.
 */
export function runCheckConfig({ path, json }: { path: string; json: boolean }): number {
  let config;
  try {
    config = readConfig(path);
    merge({}, config.settings, path);
    for (const { to } of config.logging.sinks ?? []) checkSink(to);
  } catch (error) {
    if (!(error instanceof UsageError)) throw error;
    // What was to be checked is wrong, and not how that was asked.
    tell(`${NAME}: ${error.message}`);
    return EXIT.failure;
  }
  const { settings, logging, ignored } = config;
  if (json) {
    printJson({ settings, logging, ignored });
    return EXIT.ok;
  }
  print(`${path}: The broker can start with this`);
  if (ignored.length > 0) {
    tell(`${NAME}: ${path}: Ignored, as it is for Python only: ${ignored.join(", ")}`);
  }
  return EXIT.ok;
}
