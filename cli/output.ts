/**
 * What the programs print: whole, in the order in which it is printed, and only as long as there
 * is someone who reads it; and what they tell beside it.
 *
 * @module
 */

import { EXIT } from "./exit_codes.ts";
import { printableText } from "./printable.ts";

const UTF8 = new TextEncoder();
/** How long to wait for whoever reads too slowly, in ms, and what is waited for, which never comes. */
const PAUSE = 5, NOBODY = new Int32Array(new SharedArrayBuffer(4));

/**
 * Writes bytes to stdout.
 *
 * @param bytes The bytes.
 */
export function write(bytes: Uint8Array): void {
  try {
    for (let rest = bytes; (rest = writeSome(Deno.stdout, rest)).length > 0;) {
      // Whoever has the other end has it not block, which holds for this one, too.
      Atomics.wait(NOBODY, 0, 0, PAUSE);
    }
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
 * @param line The line, without line break; its control characters are escaped.
 */
export function tell(line: string): void {
  try {
    writeSome(Deno.stderr, UTF8.encode(`${printableText(line)}\n`));
  } catch {
    // See above.
  }
}

/** @returns What there was no room for, where the stream is one that does not block. */
function writeSome(
  stream: { writeSync(bytes: Uint8Array): number },
  bytes: Uint8Array,
): Uint8Array {
  try {
    while (bytes.length > 0) bytes = bytes.subarray(stream.writeSync(bytes));
  } catch (error) {
    if (!(error instanceof Deno.errors.WouldBlock)) throw error;
  }
  return bytes;
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
