/**
 * Commands of the shell that answer requests.
 *
 * @module
 */

import { ServiceError } from "../errors.ts";
import { asText } from "./printable.ts";

/** How much of a command's stderr is kept, in bytes. */
const KEPT = 4_096;
/** How long one line of its stdout may be, in bytes: what is longer is sent in pieces. */
const LONGEST_LINE = 1 << 20;
/** How long a command that is told to end may go on, in ms. */
const PATIENCE = 2_000;
const NEWLINE = 10;

/** Those that run. */
const running = new Set<Deno.ChildProcess>();
/** Whether they are killed when this process ends. */
let isGuarded = false;

/** Whether this process is permitted to run commands. */
export function mayRunShell(): boolean {
  return Deno.permissions.querySync({ name: "run", command: "sh" }).state === "granted";
}

/**
 * Runs a command.
 *
 * @param command The command, for `sh -c`.
 * @param input What its stdin is.
 * @param signal Kills it, with all that it has started.
 * @returns What it wrote to stdout.
 * @throws {ServiceError} 500, if it did not exit with 0.
 */
export async function outputOf(
  command: string,
  input: Uint8Array,
  signal: AbortSignal,
): Promise<Uint8Array> {
  const chunks: Uint8Array[] = [];
  for await (const chunk of chunksOf(command, input, signal)) chunks.push(chunk);
  return join(chunks);
}

/**
 * Runs a command.
 *
 * @param command The command, for `sh -c`.
 * @param input What its stdin is.
 * @param signal Kills it, with all that it has started.
 * @returns The lines of its stdout as they come, without line breaks.
 * @throws {ServiceError} 500, if it did not exit with 0.
 */
export async function* partsOf(
  command: string,
  input: Uint8Array,
  signal: AbortSignal,
): AsyncGenerator<Uint8Array, void, undefined> {
  let rest: Uint8Array[] = [], length = 0;
  for await (const chunk of chunksOf(command, input, signal)) {
    let from = 0;
    for (let to; (to = chunk.indexOf(NEWLINE, from)) >= 0; from = to + 1) {
      yield join([...rest, chunk.subarray(from, to)]);
      rest = [];
      length = 0;
    }
    if (from === chunk.length) continue;
    rest.push(chunk.subarray(from));
    length += chunk.length - from;
    if (length < LONGEST_LINE) continue;
    yield join(rest);
    rest = [];
    length = 0;
  }
  if (length > 0) yield join(rest);
}

async function* chunksOf(
  command: string,
  input: Uint8Array,
  signal: AbortSignal,
): AsyncGenerator<Uint8Array, void, undefined> {
  signal.throwIfAborted();
  const child = new Deno.Command("sh", {
    args: ["-c", command],
    stdin: "piped",
    stdout: "piped",
    stderr: "piped",
    // A group of its own: Ctrl-C is for us, who let it end; and what it has started is killed
    // with it.
    detached: true,
  }).spawn();
  running.add(child);
  if (!isGuarded) {
    isGuarded = true;
    // Also if it ends at once, as by a second signal: nobody is left to wait for them.
    addEventListener("unload", () => running.forEach((child) => killGroup(child, "SIGKILL")));
  }
  let killer: ReturnType<typeof setTimeout> | undefined;
  const kill = () => {
    killGroup(child, "SIGTERM");
    killer ??= setTimeout(killGroup, PATIENCE, child, "SIGKILL");
  };
  signal.addEventListener("abort", kill, { once: true });
  const fed = feed(child.stdin, input);
  const complaint = lastLine(child.stderr);
  let isOver = false;
  try {
    yield* child.stdout;
    const { code, signal: killedBy } = await child.status;
    isOver = true;
    signal.throwIfAborted();
    if (code === 0) return;
    const how = killedBy === null ? `exit status ${code}` : `killed by ${killedBy}`;
    // What it left behind may hold its stderr open.
    killGroup(child, "SIGTERM");
    const said = await complaint;
    throw new ServiceError(500, `Command failed: ${how}${said === "" ? "" : `: ${said}`}`);
  } finally {
    signal.removeEventListener("abort", kill);
    if (!isOver) kill();
    await Promise.all([child.status, fed]);
    clearTimeout(killer);
    running.delete(child);
  }
}

/** A command need not read what it is given. */
async function feed(stdin: WritableStream<Uint8Array>, input: Uint8Array): Promise<void> {
  const writer = stdin.getWriter();
  try {
    await writer.write(input);
    await writer.close();
  } catch {
    // It has ended, or closed its stdin.
  }
}

/** Passes its stderr on, and keeps the last line that is not empty. */
async function lastLine(stderr: ReadableStream<Uint8Array>): Promise<string> {
  let tail: Uint8Array = new Uint8Array(0);
  for await (const chunk of stderr) {
    // Passed on for who reads it; if nobody can, the command has done its work all the same.
    await Deno.stderr.write(chunk).catch(() => {});
    tail = join([tail, chunk]).subarray(-KEPT);
  }
  const text = asText(tail) ?? new TextDecoder().decode(tail);
  return text.trim().split(/\s*\n\s*/).at(-1)!;
}

function killGroup(child: Deno.ChildProcess, signal: "SIGTERM" | "SIGKILL"): void {
  try {
    Deno.kill(-child.pid, signal);
  } catch {
    // It has ended, or we may run commands but not send signals: then at least to this one.
    try {
      child.kill(signal);
    } catch {
      // It has ended.
    }
  }
}

function join(chunks: readonly Uint8Array[]): Uint8Array {
  if (chunks.length === 1) return chunks[0]!;
  const joined = new Uint8Array(chunks.reduce((sum, { length }) => sum + length, 0));
  let at = 0;
  for (const chunk of chunks) {
    joined.set(chunk, at);
    at += chunk.length;
  }
  return joined;
}
