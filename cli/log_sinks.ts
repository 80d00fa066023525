/**
 * Where the programs' log can go: stderr, stdout, and files.
 *
 * @module
 */

import { dirname } from "node:path";
import type { LogRecord, Sink, TextFormatter } from "@logtape/logtape";
import { UsageError } from "./command_line.ts";

/** What bytes are written to. */
type Writer = Pick<Deno.FsFile, "writeSync">;

/** The sinks that are no files. */
const STREAMS = new Map<string, Writer>([["stderr", Deno.stderr], ["stdout", Deno.stdout]]);
const NEWLINE = 10;

/** What became of what was written last: it outlives SIGHUP, at which files are opened anew. */
interface Past {
  /** How many lines have been lost and not been told of. */
  lost: number;
  /** Whether the last line is there in part alone. */
  isCut: boolean;
  /** Which file that was. */
  file?: string;
}

/** By the name of the sink. */
const PASTS = new Map<string, Past>();

/**
 * Opens a sink. Where it cannot be written to any more, as when a disk is full, the program goes
 * on without: the lines of then are lost, and once it can be, it has one that says how many.
 *
 * @param to `stderr`, `stdout`, or the path of a file, which is made if it is not there and
 * appended to if it is.
 * @param formatter The form of a record: a line.
 * @param complain Told when lines begin to be lost, and why.
 * @returns The sink; that of a file is closed when it is disposed of.
 * @throws {UsageError} If the file cannot be opened: the message says why.
 */
export function openSink(
  to: string,
  formatter: TextFormatter,
  complain: (record: LogRecord) => void,
): Sink & Partial<Disposable> {
  const past = PASTS.get(to) ?? { lost: 0, isCut: false };
  PASTS.set(to, past);
  const stream = STREAMS.get(to);
  if (stream !== undefined) return sinkOf(stream, to, formatter, complain, past);
  const file = openFile(to);
  const { dev, ino } = file.statSync(), id = `${dev} ${ino}`;
  const isCut = endsCut(to, file);
  const sink = sinkOf(file, `"${to}"`, formatter, complain, past);
  const begun: Sink = (record) => {
    // Not before: whoever opens it may have to stay with what is open.
    if (past.file !== id) Object.assign(past, { file: id, isCut });
    sink(record);
  };
  return Object.assign(begun, { [Symbol.dispose]: () => file.close() });
}

/** Whether its last line has no end, as far as that may be looked at. */
function endsCut(path: string, file: Deno.FsFile): boolean {
  const { isFile, size } = file.statSync();
  if (!isFile || size === 0) return false;
  if (Deno.permissions.querySync({ name: "read", path }).state !== "granted") return false;
  try {
    using read = Deno.openSync(path);
    read.seekSync(-1, Deno.SeekMode.End);
    const last = new Uint8Array(1);
    return read.readSync(last) === 1 && last[0] !== NEWLINE;
  } catch {
    return false;
  }
}

/**
 * Says whether a sink is one that whoever runs the program sees.
 *
 * @param to As for {@linkcode openSink}.
 * @returns Whether it is no file.
 */
export function isStream(to: string): boolean {
  return STREAMS.has(to);
}

/**
 * Looks whether a sink could be opened, as far as that can be told without making a file.
 *
 * @param to As for {@linkcode openSink}.
 * @throws {UsageError} If it is a directory, or in one that is not there: the message says so.
 */
export function checkSink(to: string): void {
  if (isStream(to)) return;
  const parent = kindOf(dirname(to));
  if (parent === "none" || parent === "file") throw unwritable(to, new Deno.errors.NotFound());
  if (kindOf(to) === "directory") throw unwritable(to, new Deno.errors.IsADirectory());
}

/** What there is; `undefined` where that may not be looked at. */
function kindOf(path: string): "directory" | "file" | "none" | undefined {
  if (Deno.permissions.querySync({ name: "read", path }).state !== "granted") return undefined;
  try {
    return Deno.statSync(path).isDirectory ? "directory" : "file";
  } catch (error) {
    return error instanceof Deno.errors.NotFound ? "none" : undefined;
  }
}

function sinkOf(
  out: Writer,
  name: string,
  formatter: TextFormatter,
  complain: (record: LogRecord) => void,
  past: Past,
): Sink {
  const utf8 = new TextEncoder();
  const write = (line: string): void => {
    // What there was room for of a line is ended first, so that the next one is whole.
    const bytes = utf8.encode(past.isCut ? `\n${line}` : line);
    let at = 0;
    try {
      while (at < bytes.length) at += out.writeSync(bytes.subarray(at));
    } finally {
      if (at > 0) past.isCut = bytes[at - 1] !== NEWLINE;
    }
  };
  return (record) => {
    try {
      if (past.lost > 0) {
        const { lost } = past;
        write(formatter(note(`${lost} ${lost === 1 ? "line is" : "lines are"} missing here`)));
        past.lost = 0;
      }
      write(formatter(record));
    } catch (error) {
      if (past.lost++ === 0) complain(note(`Cannot write the log ${name}: ${why(error)}`));
    }
  };
}

/** A record that is the log's own. */
function note(message: string): LogRecord {
  return {
    category: ["majortomo", "log"],
    level: "error",
    message: [message],
    rawMessage: message,
    timestamp: Date.now(),
    properties: {},
  };
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
    throw unwritable(path, error);
  }
}

function unwritable(path: string, error: unknown): UsageError {
  return new UsageError(`Cannot write the log "${path}": ${why(error)}`);
}

function why(error: unknown): string {
  if (error instanceof Deno.errors.NotFound) return "There is no such directory";
  if (error instanceof Deno.errors.IsADirectory) return "It is a directory";
  if (error instanceof Deno.errors.PermissionDenied) return "The file system does not permit it";
  return error instanceof Error ? error.message : String(error);
}
