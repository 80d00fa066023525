/**
 * The processes of a bench: what they say is read line by line, and none outlives its stage.
 *
 * @module
 */

import { family } from "./proc.ts";

/** What a process of the bench could not do: told to the user in one line. */
export class BenchError extends Error {
  /** The name of the class. */
  override name = "BenchError";
}

/** How much of what a process says on stderr is kept. */
const KEPT = 4_096;
/** How long a process may take to end when it is asked to, in ms. */
const PATIENCE = 3_000;

/** A process that answers in lines of JSON. */
export class Child {
  readonly #name: string;
  readonly #process: Deno.ChildProcess;
  readonly #lines: AsyncIterator<string>;
  readonly #input: WritableStreamDefaultWriter<Uint8Array<ArrayBuffer>>;
  readonly #errors: Promise<void>;
  #said = "";
  #failure: Promise<BenchError> | undefined;
  #hasEnded = false;

  /**
   * Starts it, in the session of the bench: Linux shares the CPU among sessions first, so that
   * with one for each process a client of RFC 18 got half as many answers on two cores.
   *
   * @param name What errors call it.
   * @param command The program and its arguments.
   * @param isHeard Whether it answers on stdout; if not, that is thrown away: who writes where nobody
   * reads has to wait some day.
   * @throws {BenchError} If there is no such program that may be run.
   */
  constructor(
    name: string,
    [program, ...args]: readonly [string, ...string[]],
    isHeard: boolean,
  ) {
    this.#name = name;
    this.#process = spawn(name, program, args, isHeard);
    this.#lines = isHeard ? lines(this.#process.stdout) : lines(new Blob([]).stream());
    this.#input = this.#process.stdin.getWriter();
    this.#errors = this.#listen();
    this.#process.status.then(() => this.#hasEnded = true);
  }

  /** Its process id. */
  get pid(): number {
    return this.#process.pid;
  }

  /** Whether it is no more. */
  get hasEnded(): boolean {
    return this.#hasEnded;
  }

  /** Resolves when it is no more. */
  async ended(): Promise<void> {
    await this.#process.status;
  }

  /**
   * What it says next.
   *
   * @throws {BenchError} If it failed or has ended.
   */
  async next<T>(): Promise<T> {
    const { value, done } = await this.#lines.next();
    if (done) throw await this.failure();
    const said = JSON.parse(value);
    if (said.error !== undefined) throw new BenchError(said.error);
    return said;
  }

  /** Says something to it. */
  async say(line: string): Promise<void> {
    await this.#input.write(new TextEncoder().encode(`${line}\n`));
  }

  /** Says something to it, and waits for what it says to that. */
  async ask<T>(line: string): Promise<T> {
    await this.say(line);
    return await this.next<T>();
  }

  /** The error that it has ended though it should not have, or was not understood. */
  failure(): Promise<BenchError> {
    // Once for all who ask: what it said last can be read once.
    return this.#failure ??= this.#fail();
  }

  async #fail(): Promise<BenchError> {
    const { code } = await this.#process.status;
    await this.#errors;
    // What it said last, if it answers and nobody has asked: a worker is asked once only.
    for (let line; !(line = await this.#lines.next()).done;) {
      const { error } = JSON.parse(line.value);
      if (error !== undefined) return new BenchError(error);
    }
    const last = this.#said.trim().split("\n").at(-1);
    return new BenchError(`The ${this.#name} ended with ${code}${last ? `: ${last}` : ""}`);
  }

  /** Ends it and all that it has started, by force if it does not listen. */
  async end(signal: Deno.Signal = "SIGTERM"): Promise<void> {
    const all = this.kill(signal);
    const timer = setTimeout(() => this.kill("SIGKILL"), PATIENCE);
    await this.#process.status;
    clearTimeout(timer);
    // Those that it has started and left behind.
    for (const pid of all) send(pid, "SIGKILL");
    await this.#input.abort().catch(() => {});
    await this.#lines.return?.();
    await this.#errors;
  }

  /** Sends a signal to it and all that it has started, and tells who that was. */
  kill(signal: Deno.Signal): number[] {
    const all = this.#hasEnded ? [] : family(this.pid);
    for (const pid of all) send(pid, signal);
    return all;
  }

  async #listen(): Promise<void> {
    for await (const text of this.#process.stderr.pipeThrough(new TextDecoderStream())) {
      this.#said = (this.#said + text).slice(-KEPT);
    }
  }
}

function spawn(
  name: string,
  program: string,
  args: string[],
  isHeard: boolean,
): Deno.ChildProcess {
  try {
    return new Deno.Command(program, {
      args,
      stdin: "piped",
      stdout: isHeard ? "piped" : "null",
      stderr: "piped",
    }).spawn();
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error);
    throw new BenchError(`The ${name} cannot be started: ${why}`);
  }
}

function send(pid: number, signal: Deno.Signal): void {
  try {
    Deno.kill(pid, signal);
  } catch {
    // It has ended.
  }
}

async function* lines(stream: ReadableStream<Uint8Array<ArrayBuffer>>): AsyncGenerator<string> {
  let rest = "";
  for await (const text of stream.pipeThrough(new TextDecoderStream())) {
    const found = (rest + text).split("\n");
    rest = found.pop()!;
    yield* found;
  }
}
