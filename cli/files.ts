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
 * @param most How many bytes are enough to see that it is too large: some files have no end.
 * @returns What is in it.
 * @throws {UsageError} If it cannot be read: the message says why.
 */
export function readFile(path: string, what: string, most: number = Infinity): Uint8Array {
  // Asked first, since at a terminal Deno would prompt for the permission.
  if (Deno.permissions.querySync({ name: "read", path }).state !== "granted") {
    throw new UsageError(
      `Reading the ${what} "${path}" needs the permission --allow-read: ` +
        `run deno with --allow-read="${path}"`,
    );
  }
  try {
    if (most === Infinity) return Deno.readFileSync(path);
    using file = Deno.openSync(path);
    const bytes = new Uint8Array(most);
    let size = 0;
    for (let read; size < most && (read = file.readSync(bytes.subarray(size))) !== null;) {
      size += read;
    }
    return bytes.subarray(0, size);
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
