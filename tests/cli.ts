/**
 * Runs the programs of `cli/` as a user does: in a process of their own, with no more permissions
 * than they say they need.
 *
 * @module
 */

import assert from "node:assert/strict";

/** How long a test waits for a line or an end, in ms: only a failing one waits so long. */
const PATIENCE = 60_000;

const ROOT = new URL("../", import.meta.url);

/** How a program ended. */
export interface Ended {
  /** The exit code. */
  code: number;
  /** All lines of its stdout. */
  stdout: string[];
  /** All lines of its stderr. */
  stderr: string[];
}

/** A program that runs. */
export class Program {
  readonly #process: Deno.ChildProcess;
  readonly #stdout: Lines;
  readonly #stderr: Lines;

  constructor(
    command: string,
    args: readonly string[],
    env: Record<string, string> = {},
    input?: string | Uint8Array,
  ) {
    this.#process = new Deno.Command(command, {
      args: [...args],
      cwd: ROOT,
      env,
      stdin: input === undefined ? "null" : "piped",
      stdout: "piped",
      stderr: "piped",
    }).spawn();
    if (input !== undefined) this.#feed(input);
    this.#stdout = new Lines(this.#process.stdout);
    this.#stderr = new Lines(this.#process.stderr);
  }

  async #feed(input: string | Uint8Array): Promise<void> {
    const writer = this.#process.stdin.getWriter();
    await writer.write(typeof input === "string" ? new TextEncoder().encode(input) : input);
    await writer.close();
  }

  /** The next line of stdout that this matches, with what it captured. */
  async stdout(pattern: RegExp): Promise<RegExpExecArray> {
    return await this.#stdout.next(pattern);
  }

  /** The next line of stderr that this matches, with what it captured. */
  async stderr(pattern: RegExp): Promise<RegExpExecArray> {
    return await this.#stderr.next(pattern);
  }

  /** Its process id. */
  get pid(): number {
    return this.#process.pid;
  }

  /** Sends it a signal. */
  kill(signal: Deno.Signal): void {
    this.#process.kill(signal);
  }

  /** Its end. */
  async ended(): Promise<Ended> {
    const { code } = await patiently(this.#process.status, () => this.#seen());
    // A process that it has started and left behind may hold its streams open.
    const [stdout, stderr] = await patiently(
      Promise.all([this.#stdout.all(), this.#stderr.all()]),
      () => this.#seen(),
    );
    return { code, stdout, stderr };
  }

  /** Kills it if it still runs, for `await using`. */
  async [Symbol.asyncDispose](): Promise<void> {
    try {
      this.#process.kill("SIGKILL");
    } catch {
      // It has ended.
    }
    await this.ended();
  }

  #seen(): string {
    return [...this.#stdout.seen, ...this.#stderr.seen].join("\n");
  }
}

/** What a program finds. */
export interface Surroundings {
  /** Further environment variables. */
  env?: Record<string, string>;
  /** Its stdin. Default: none. */
  input?: string | Uint8Array;
}

/** Starts a program of `cli/`, with `--allow-ffi` and the permissions named. */
export function start(
  script: string,
  args: readonly string[],
  permissions: readonly string[] = [],
  { env, input }: Surroundings = {},
): Program {
  const deno = ["run", "--quiet", "--no-prompt", "--allow-ffi", ...permissions, script, ...args];
  return new Program(Deno.execPath(), deno, { NO_COLOR: "1", ...env }, input);
}

/** Starts a program of `cli/` that ends by itself. */
export async function run(...args: Parameters<typeof start>): Promise<Ended> {
  await using program = start(...args);
  return await program.ended();
}

/** Starts a broker on a free port of loopback. */
export async function startBroker(
  args: readonly string[] = [],
  permissions: readonly string[] = [],
): Promise<{ broker: Program; endpoint: string }> {
  const broker = start("cli/broker.ts", ["-b", "tcp://127.0.0.1:*", ...args], permissions);
  const [, endpoint] = await broker.stderr(/Listening on (tcp:[^"\s]+)/);
  return { broker, endpoint: endpoint! };
}

/** The lines of a stream, as they come. */
class Lines {
  readonly seen: string[] = [];
  #next = 0;
  #more = Promise.withResolvers<void>();
  readonly #end: Promise<void>;

  constructor(stream: ReadableStream<Uint8Array<ArrayBuffer>>) {
    this.#end = this.#read(stream);
  }

  async #read(stream: ReadableStream<Uint8Array<ArrayBuffer>>): Promise<void> {
    let rest = "";
    for await (const text of stream.pipeThrough(new TextDecoderStream())) {
      const lines = (rest + text).split("\n");
      rest = lines.pop()!;
      this.#add(lines);
    }
    this.#add(rest === "" ? [] : [rest]);
    this.#more.reject(new assert.AssertionError({ message: "The program ended" }));
    this.#more.promise.catch(() => {});
  }

  #add(lines: string[]): void {
    this.seen.push(...lines);
    this.#more.resolve();
    this.#more = Promise.withResolvers();
  }

  async next(pattern: RegExp): Promise<RegExpExecArray> {
    const seen = () => `no line matched ${pattern} in:\n${this.seen.join("\n")}`;
    for (;;) {
      while (this.#next < this.seen.length) {
        const match = pattern.exec(this.seen[this.#next++]!);
        if (match !== null) return match;
      }
      await patiently(this.#more.promise, seen);
    }
  }

  async all(): Promise<string[]> {
    await this.#end;
    return this.seen;
  }
}

async function patiently<T>(promise: Promise<T>, seen: () => string): Promise<T> {
  let timer;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => {
      reject(new assert.AssertionError({ message: `Not within ${PATIENCE} ms; seen: ${seen()}` }));
    }, PATIENCE);
  });
  try {
    return await Promise.race([promise, late]);
  } finally {
    clearTimeout(timer);
  }
}
