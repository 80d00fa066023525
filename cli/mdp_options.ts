/**
 * What the commands of `mdp` have in common: where the broker is, how it is spoken to, and how
 * long it is waited for.
 *
 * @module
 */

import { group, object } from "@optique/core/constructs";
import { envVar, lineBreak, type Message, message, text } from "@optique/core/message";
import { map, multiple, optional, withDefault } from "@optique/core/modifiers";
import { flag, option } from "@optique/core/primitives";
import type { Usage, UsageTerm } from "@optique/core/usage";
import { Client } from "../client.ts";
import type { DialectOption } from "../options.ts";
import { ANY_OPTIONS, plainText, UsageError } from "./command_line.ts";
import { brokerUrl, dialect, DIALECT_DESCRIPTION, duration } from "./values.ts";

/** The program's name. */
export const NAME = "mdp";

/** The variable that names the broker where no option does. */
const VARIABLE = "MDP_BROKER";

/** What can be said before or after each command. */
export interface Common {
  /** `--broker-url`: the endpoints, in the order of preference. */
  broker?: readonly string[];
  /** `--timeout`, in ms. */
  timeout?: number;
  /** `--dialect`. */
  dialect?: DialectOption;
  /** `--debug`: log in detail. */
  debug: boolean;
}

/** The options of {@linkcode Common}. */
export const COMMON = group(
  "Common options",
  object({
    broker: optional(multiple(
      option("-b", "--broker-url", brokerUrl(), {
        description: message`Where the broker is; repeated: others to turn to when it fails. \
Default: what ${envVar(VARIABLE)} names, else tcp://127.0.0.1:5555.`,
      }),
      { min: 1 },
    )),
    timeout: optional(map(
      option("-t", "--timeout", duration(0), {
        description: message`Wait so long for each answer, or each part of one; 0 is for ever. \
Default: 30 for call, else 5.`,
      }),
      (milliseconds) => milliseconds || Infinity,
    )),
    dialect: optional(option("--dialect", dialect(), { description: DIALECT_DESCRIPTION })),
    debug: withDefault(flag("--debug", { description: message`Log in detail on stderr.` }), false),
  }),
);

/** `--json`, of the commands that print a table otherwise. */
export const JSON_FLAG = withDefault(
  flag("--json", { description: message`Print JSON, with all that is known.` }),
  false,
);

/**
 * Examples, as they stand below the options in the help of a command.
 *
 * @param lines What can be typed.
 * @returns They, with a heading.
 */
export function examples(...lines: string[]): Message {
  return [text("Examples:"), ...lines.flatMap((line) => [lineBreak(), text(`  ${line}`)])];
}

/**
 * How a command is called, in short.
 *
 * @param terms What stands behind its options.
 * @returns The options, and that.
 */
export function usage(...terms: UsageTerm[]): Usage {
  return [ANY_OPTIONS, ...terms];
}

/**
 * The brokers that are meant.
 *
 * @param common What the command line says.
 * @returns Their endpoints; `undefined` is the default.
 * @throws {UsageError} If the variable is set to what is no endpoint.
 */
export function brokers({ broker }: Common): readonly string[] | undefined {
  if (broker !== undefined) return broker;
  // Asked first, since at a terminal Deno would prompt for the permission.
  const query = { name: "env", variable: VARIABLE } as const;
  if (Deno.permissions.querySync(query).state !== "granted") return undefined;
  const named = (Deno.env.get(VARIABLE) ?? "").split(/[\s,]+/).filter((name) => name !== "");
  for (const name of named) {
    const result = brokerUrl().parse(name);
    if (!result.success) throw new UsageError(`${VARIABLE}: ${plainText(result.error)}`);
  }
  return named.length === 0 ? undefined : named;
}

/**
 * A client as the command line asks for it.
 *
 * @param common What it says.
 * @param timeout The time to wait for each part of an answer if it says nothing, in ms.
 * @param maxInFlight How many requests it may have in flight at once.
 */
export function connect(common: Common, timeout: number, maxInFlight?: number): Client {
  return new Client({
    broker: brokers(common),
    dialect: common.dialect,
    timeout: common.timeout ?? timeout,
    maxInFlight,
    // Here one call has it all, and the broker knows best what it takes.
    maxMessageSize: Infinity,
  });
}
