/**
 * A process of the chaos, as the one that starts it sees it.
 *
 * @module
 */

import { linesOf } from "./lines.ts";

/** How long a process may take to say what it is asked for, in ms. */
const PATIENCE = 30_000;

/** A program of this folder in a process of its own. */
export class Child implements AsyncDisposable {
  readonly #process: Deno.ChildProcess;
  readonly #input: WritableStreamDefaultWriter<Uint8Array<ArrayBuffer>>;
  readonly #lines: string[] = [];
  #more = Promise.withResolvers<void>();
  #over = false;
  #ending = false;
  #frozen = false;
  readonly #read: Promise<void>;

  /** Starts a module of this folder. */
  constructor(module: string, args: readonly string[]) {
    const path = new URL(module, import.meta.url).pathname;
    this.#process = new Deno.Command(Deno.execPath(), {
      args: ["run", "--quiet", "--no-check", "-A", "--v8-flags=--expose-gc", path, ...args],
      stdin: "piped",
      stdout: "piped",
      stderr: "inherit",
    }).spawn();
    this.#input = this.#process.stdin.getWriter();
    this.#read = this.#readLines();
  }

  /** Whether it has ended or was told to, or is stopped by SIGSTOP. */
  get isAway(): boolean {
    return this.#over || this.#ending || this.#frozen;
  }

  /** Its number. */
  get pid(): number {
    return this.#process.pid;
  }

  async #readLines(): Promise<void> {
    for await (const line of linesOf(this.#process.stdout)) {
      this.#lines.push(line);
      this.#more.resolve();
      this.#more = Promise.withResolvers();
    }
    this.#over = true;
    this.#more.resolve();
  }

  /**
   * The next line that it prints, `undefined` at its end.
   *
   * @param patience How long to wait for it, in ms.
   */
  async line(patience = PATIENCE): Promise<string | undefined> {
    const end = performance.now() + patience;
    while (this.#lines.length === 0 && !this.#over) {
      let timer;
      const late = new Promise<never>((_, reject) => {
        const error = new Error(`Process ${this.pid} said nothing for ${patience} ms`);
        timer = setTimeout(() => reject(error), end - performance.now());
      });
      try {
        await Promise.race([this.#more.promise, late]);
      } finally {
        clearTimeout(timer);
      }
    }
    return this.#lines.shift();
  }

  /** The lines that it has printed and that were not taken. */
  taken(): string[] {
    return this.#lines.splice(0);
  }

  /** Writes a line to its stdin. */
  async send(line: string): Promise<void> {
    await this.#input.write(new TextEncoder().encode(`${line}\n`));
  }

  /** Sends a signal and waits for the end. */
  async kill(signal: Deno.Signal = "SIGKILL"): Promise<void> {
    this.#ending = true;
    this.thaw();
    try {
      this.#process.kill(signal);
    } catch {
      // It has ended.
    }
    await this.#process.status;
    this.#over = true;
    await this.#read;
    await this.#input.abort().catch(() => {});
  }

  /** Stops it without a word, as a laptop that is shut. */
  freeze(): void {
    this.#frozen = true;
    this.#process.kill("SIGSTOP");
  }

  /** Has it go on. */
  thaw(): void {
    if (!this.#frozen) return;
    this.#frozen = false;
    this.#process.kill("SIGCONT");
  }

  /** Ends it, however it is. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.kill();
  }
}
