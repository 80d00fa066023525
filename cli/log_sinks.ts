/**
 * Where the programs' log can go beside stderr: stdout, and files.
 *
 * @module
 */

import { getConsoleSink, type Sink, type TextFormatter } from "@logtape/logtape";
import { UsageError } from "./command_line.ts";

/** The sinks that are no files. */
export const STREAMS = ["stderr", "stdout"] as const;

/**
 * Opens a sink.
 *
 * @param to `stderr`, `stdout`, or the path of a file, which is made if it is not there and
 * appended to if it is.
 * @param formatter The form of a record.
 * @returns The sink; that of a file is closed when it is disposed of.
 * @throws {UsageError} If the file cannot be written: the message says why.
 */
export function openSink(to: string, formatter: TextFormatter): Sink & Partial<Disposable> {
  if (to === "stderr") return consoleSink("error", formatter);
  if (to === "stdout") return consoleSink("info", formatter);
  const file = openFile(to);
  const utf8 = new TextEncoder();
  const sink: Sink = (record) => {
    const bytes = utf8.encode(formatter(record));
    for (let at = 0; at < bytes.length;) at += file.writeSync(bytes.subarray(at));
  };
  return Object.assign(sink, { [Symbol.dispose]: () => file.close() });
}

/** The console's `error` writes to stderr, its `info` to stdout. */
function consoleSink(method: "error" | "info", formatter: TextFormatter): Sink {
  const levelMap = {
    trace: method,
    debug: method,
    info: method,
    warning: method,
    error: method,
    fatal: method,
  };
  return getConsoleSink({ formatter, levelMap });
}

function openFile(path: string): Deno.FsFile {
  // Asked first, since at a terminal Deno would prompt for the permission.
  if (Deno.permissions.querySync({ name: "write", path }).state !== "granted") {
    throw new UsageError(
      `Writing the log "${path}" needs the permission --allow-write: ` +
        `run deno with --allow-write="${path}"`,
    );
  }
  try {
    return Deno.openSync(path, { append: true, create: true });
  } catch (error) {
    throw new UsageError(`Cannot write the log "${path}": ${why(error)}`);
  }
}

function why(error: unknown): string {
  if (error instanceof Deno.errors.NotFound) return "There is no such directory";
  if (error instanceof Deno.errors.IsADirectory) return "It is a directory";
  if (error instanceof Deno.errors.PermissionDenied) return "The file system does not permit it";
  return error instanceof Error ? error.message : String(error);
}
