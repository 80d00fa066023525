/**
 * Runs commands in a terminal of their own, by `script` of util-linux, which every Debian has.
 *
 * @module
 */

import assert from "node:assert/strict";
import { isInstalled } from "./program.ts";

/** How long a test waits for something to be shown, in ms: only a failing one waits so long. */
const PATIENCE = 15_000;
const ROOT = new URL("../", import.meta.url);

/** Whether terminals can be had here. */
export const hasTerminals: boolean = Deno.build.os === "linux" && isInstalled("script");

/** A terminal of 24 lines and 120 columns, and a command that runs in it. */
export class Terminal implements AsyncDisposable {
  readonly #process: Deno.ChildProcess;
  readonly #keys: WritableStreamDefaultWriter<Uint8Array<ArrayBuffer>>;
  readonly #end: Promise<void>;
  #shown = "";
  #seen = 0;
  #more = Promise.withResolvers<void>();

  /** Runs a command of `sh`. */
  constructor(command: string, env: Record<string, string> = {}) {
    this.#process = new Deno.Command("script", {
      args: ["--quiet", "--return", "--command", `stty rows 24 cols 120; ${command}`, "/dev/null"],
      cwd: ROOT,
      env: { SHELL: "/bin/sh", TERM: "xterm", ...env },
      stdin: "piped",
      stdout: "piped",
      stderr: "null",
    }).spawn();
    this.#keys = this.#process.stdin.getWriter();
    this.#end = this.#read();
  }

  /** Waits until what was shown since the last call matches. */
  async until(pattern: RegExp): Promise<RegExpExecArray> {
    const late = setTimeout(() => this.#more.resolve(), PATIENCE);
    const start = performance.now();
    for (;;) {
      const match = pattern.exec(this.#shown.slice(this.#seen));
      if (match !== null) {
        this.#seen += match.index + match[0].length;
        clearTimeout(late);
        return match;
      }
      if (performance.now() - start >= PATIENCE) {
        assert.fail(
          `Nothing matched ${pattern} in: ${Deno.inspect(this.#shown.slice(this.#seen))}`,
        );
      }
      await this.#more.promise;
    }
  }

  /** Types. */
  async press(keys: string): Promise<void> {
    await this.#keys.write(new TextEncoder().encode(keys));
  }

  /** Its end: the exit code, and all that was shown. */
  async ended(): Promise<{ code: number; shown: string }> {
    const { code } = await this.#process.status;
    await this.#end;
    return { code, shown: this.#shown };
  }

  async #read(): Promise<void> {
    for await (const text of this.#process.stdout.pipeThrough(new TextDecoderStream())) {
      this.#shown += text;
      this.#more.resolve();
      this.#more = Promise.withResolvers();
    }
  }

  /** Ends what still runs: the terminal is taken from it. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.#keys.close().catch(() => {});
    try {
      this.#process.kill("SIGTERM");
    } catch {
      // It has ended.
    }
    await this.ended();
  }
}
