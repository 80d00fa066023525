/**
 * Programs in a process of their own, for tests of what only a whole process shows: that it ends
 * by itself, what it may do, what it holds open.
 *
 * @module
 */

import assert from "node:assert/strict";

/** The repository: where programs run, so that `./zmq/socket.ts` is a module's. */
export const ROOT = new URL("../", import.meta.url);

/** Whether a program of the system's, which tells its version, is installed. */
export function isInstalled(command: string): boolean {
  try {
    return new Deno.Command(command, { args: ["--version"], stdout: "null", stderr: "null" })
      .outputSync().success;
  } catch {
    return false;
  }
}

/** How a program ended. */
export interface Ended {
  code: number;
  stdout: string;
  stderr: string;
}

/** How a program is run. */
export interface RunOptions {
  /** Flags of `deno run`. Default: what a user of the package needs. */
  flags?: string[];
  /** Further environment variables. */
  env?: Record<string, string>;
  /** A command to be put before deno's, e.g. one that sets limits. */
  under?: string[];
}

/** How long a program may take, in ms: only a failing test waits so long. */
const PATIENCE = 60_000;

/** Runs the text of a module, whose imports are relative to the repository, to its end. */
export async function run(text: string, options: RunOptions = {}): Promise<Ended> {
  const { flags = ["--allow-ffi"], under = [], env } = options;
  const [command, ...args] = [
    ...under,
    Deno.execPath(),
    "run",
    "--quiet",
    "--no-prompt",
    "--no-check",
    ...flags,
    "-",
  ];
  const { MAJORTOMO_LIBZMQ: _, ...inherited } = Deno.env.toObject();
  const child = new Deno.Command(command!, {
    args,
    cwd: ROOT,
    clearEnv: true,
    env: { ...inherited, NO_COLOR: "1", ...env },
    stdin: "piped",
    stdout: "piped",
    stderr: "piped",
  }).spawn();
  let late = false;
  const timer = setTimeout(() => {
    late = true;
    child.kill("SIGKILL");
  }, PATIENCE);
  const writer = child.stdin.getWriter();
  await writer.write(new TextEncoder().encode(text));
  await writer.close();
  const { code, stdout, stderr } = await child.output();
  clearTimeout(timer);
  const ended = { code, stdout: decode(stdout), stderr: decode(stderr) };
  if (late) assert.fail(`The program did not end by itself: ${Deno.inspect(ended)}`);
  return ended;
}

/** The same for a program that must end well; what it wrote to stdout. */
export async function output(text: string, options: RunOptions = {}): Promise<string> {
  const { code, stdout, stderr } = await run(text, options);
  assert.equal(code, 0, stderr);
  assert.equal(stderr, "");
  return stdout.trim();
}

function decode(bytes: Uint8Array): string {
  return new TextDecoder().decode(bytes);
}
