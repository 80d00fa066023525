/**
 * Files that the programs are told to read.
 *
 * @module
 */

import { UsageError } from "./command_line.ts";

/**
 * Reads a file.
 *
 * @param path Where it is.
 * @param what What it is to the program, e.g. `configuration file`.
 * @returns What is in it.
 * @throws {UsageError} If it cannot be read: the message says why.
 */
export function readFile(path: string, what: string): Uint8Array {
  // Asked first, since at a terminal Deno would prompt for the permission.
  if (Deno.permissions.querySync({ name: "read", path }).state !== "granted") {
    throw new UsageError(
      `Reading the ${what} "${path}" needs the permission --allow-read: ` +
        `run deno with --allow-read="${path}"`,
    );
  }
  try {
    return Deno.readFileSync(path);
  } catch (error) {
    throw new UsageError(`Cannot read the ${what} "${path}": ${why(error)}`);
  }
}

/** Why a file cannot be read. */
function why(error: unknown): string {
  if (error instanceof Deno.errors.NotFound) return "There is no such file";
  if (error instanceof Deno.errors.IsADirectory) return "It is a directory";
  if (error instanceof Deno.errors.PermissionDenied) return "The file system does not permit it";
  return error instanceof Error ? error.message : String(error);
}
