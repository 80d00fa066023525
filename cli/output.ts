/**
 * What the programs print: whole, in the order in which it is printed, and only as long as there
 * is someone who reads it; and what they tell beside it.
 *
 * @module
 */

import { EXIT } from "./exit_codes.ts";

const UTF8 = new TextEncoder();

/**
 * Writes bytes to stdout.
 *
 * @param bytes The bytes.
 */
export function write(bytes: Uint8Array): void {
  try {
    writeAll(Deno.stdout, bytes);
  } catch (error) {
    // As with `head`, which has seen enough: nothing is wrong that would have to be told.
    if (!(error instanceof Deno.errors.BrokenPipe)) {
      tell(`Cannot write to stdout: ${error instanceof Error ? error.message : error}`);
    }
    Deno.exit(EXIT.failure);
  }
}

/**
 * Prints lines on stdout.
 *
 * @param lines The lines, without line breaks.
 */
export function print(...lines: string[]): void {
  write(UTF8.encode(lines.map((line) => `${line}\n`).join("")));
}

/**
 * Tells something on stderr. Where that cannot be written to there is nobody to tell, and nothing
 * happens.
 *
 * @param line The line, without line break.
 */
export function tell(line: string): void {
  try {
    writeAll(Deno.stderr, UTF8.encode(`${line}\n`));
  } catch {
    // See above.
  }
}

function writeAll(stream: { writeSync(bytes: Uint8Array): number }, bytes: Uint8Array): void {
  for (let at = 0; at < bytes.length;) at += stream.writeSync(bytes.subarray(at));
}

/**
 * Prints a value on stdout as JSON.
 *
 * @param value The value: on a terminal over several lines, so that it can be read.
 */
export function printJson(value: unknown): void {
  print(JSON.stringify(value, undefined, Deno.stdout.isTerminal() ? 2 : undefined));
}

/**
 * Sets a text in bold where stdout is a terminal.
 *
 * @param text The text.
 * @returns It, with the codes around it that are wanted.
 */
export function bold(text: string): string {
  return Deno.stdout.isTerminal() && !Deno.noColor ? `\x1b[1m${text}\x1b[22m` : text;
}
