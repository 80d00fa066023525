/**
 * What the programs' command lines have in common: help, version, shell completions, and how
 * wrong usage is told.
 *
 * @module
 */

import { runParser } from "@optique/core/facade";
import { formatMessage, type Message } from "@optique/core/message";
import type { Parser } from "@optique/core/parser";
import type { Usage, UsageTerm } from "@optique/core/usage";
import manifest from "../deno.json" with { type: "json" };
import { spellOut } from "./argparse.ts";
import { EXIT } from "./exit_codes.ts";
import { print, tell } from "./output.ts";

/** A program as its help presents it. */
export interface Program {
  /** Its name, as errors and the help show it. */
  name: string;
  /** What it is, in a sentence. */
  brief: Message;
  /** How it is called, in short. */
  usage: Usage;
  /** How it can be called, if that is not clear from the options. */
  examples?: Message;
  /** What stands below the options in the help. */
  footer: Message;
  /** Whether `--completion SHELL` prints completions for a shell. */
  completion?: boolean;
  /**
   * The long options of its counterpart in Python, if it has one: then arguments may have the forms
   * that argparse takes.
   */
  python?: readonly string[];
}

/**
 * The program was started in a way that it cannot be: what it says is for the user, in one line.
 */
export class UsageError extends Error {
  /** The name of the class. */
  override name = "UsageError";
}

/** `[OPTION...]`, in the usage of a program. */
export const ANY_OPTIONS: UsageTerm = {
  type: "multiple",
  min: 0,
  terms: [{ type: "argument", metavar: "OPTION" }],
};

/** The line on what completions call the program with, which the library has in its help. */
// deno-lint-ignore no-control-regex -- as colours begin with it
const INTERNAL = /^ *(?:\x1b\[\d+m)*ARG\b.*\n(?: {12,}.*\n)*/m;
/** The library suggests an option that is another command's, and so nothing but what was given. */
const WHAT_IS_THERE = /("([^"]*)")\. Did you mean .*`\2`.*\?$/;
/** The fewest columns that help is made for: with less than its longest option it cannot be. */
const NARROWEST = 40;

/**
 * Parses the arguments; answers `--help`, `--version` and `--completion` on stdout.
 *
 * @param parser What the program takes.
 * @param program The program.
 * @param args The arguments.
 * @returns What was given, or `undefined` if there is nothing left to do.
 * @throws {UsageError} If the arguments are wrong.
 */
export function parseArguments<T>(
  parser: Parser<"sync", T, unknown>,
  program: Program,
  args: readonly string[],
): T | undefined {
  const onShow = () => undefined;
  const terminal = Deno.stdout.isTerminal();
  const { python } = program;
  const argv = python === undefined ? args : spellOut(args, parser.usage, python);
  return runParser<Parser<"sync", T | undefined, unknown>, undefined>(parser, program.name, argv, {
    brief: program.brief,
    usageLine: program.usage,
    examples: program.examples,
    footer: program.footer,
    help: { option: { names: ["-h", "--help"] }, onShow },
    version: { option: true, value: version(program.name), onShow },
    completion: program.completion ? { option: true, onShow } : undefined,
    colors: terminal && !Deno.noColor,
    // It refuses less than its longest word.
    maxWidth: terminal && Math.max(NARROWEST, Deno.consoleSize().columns) || 100,
    termWidth: "auto",
    aboveError: "none",
    stdout: (text) => print(text.replace(INTERNAL, "")),
    stderr: () => {},
    onError: (_code, error) => {
      throw new UsageError(plainText(error).replace(WHAT_IS_THERE, "$1: it cannot stand here"));
    },
  });
}

/**
 * A message on one line, without colours and final period.
 *
 * @param message The message.
 * @returns Its text, with the values quoted.
 */
export function plainText(message: Message): string {
  return formatMessage(message, { colors: false }).replace(/\s*\n\s*/g, " ").replace(/\.$/, "");
}

/**
 * Runs a program: tells wrong usage on stderr.
 *
 * @param name The program's name.
 * @param program What it does; resolves to its exit code.
 * @returns The exit code.
 */
export async function runProgram(name: string, program: () => Promise<number>): Promise<number> {
  try {
    return await program();
  } catch (error) {
    if (!(error instanceof UsageError)) throw error;
    tell(`${name}: ${error.message} (try ${name} --help)`);
    return EXIT.usage;
  }
}

function version(name: string): string {
  const { standalone, target } = Deno.build;
  const form = standalone ? "standalone executable, " : "";
  return `${name} ${manifest.version} (${form}Deno ${Deno.version.deno}, ${target})`;
}
