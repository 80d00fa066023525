/**
 * A broker in a process of its own, for tests that kill it. Run as a program it binds what the
 * options in its argument (JSON) say, prints the endpoints as a line of JSON, serves until
 * SIGTERM, and prints its stats as the last line.
 *
 * @module
 */

import assert from "node:assert/strict";
import { Broker, type BrokerOptions, type BrokerStats } from "../broker.ts";

/** A program of tests/ in a process of its own, whose output is read line by line. */
export class Program {
  /** The process. */
  readonly child: Deno.ChildProcess;
  readonly #lines: ReadableStreamDefaultReader<string>;

  /**
   * Starts a module of this folder, or with `command` another program that is given its path.
   *
   * @param under A command to be put before, e.g. one that sets limits.
   */
  constructor(
    module: string,
    args: readonly string[],
    { command, under = [] }: { command?: string; under?: readonly string[] } = {},
  ) {
    const path = new URL(module, import.meta.url).pathname;
    const whole = command === undefined
      ? [...under, Deno.execPath(), "run", "--allow-all", "--no-prompt", path, ...args]
      : [...under, command, path, ...args];
    this.child = new Deno.Command(whole[0]!, {
      args: whole.slice(1),
      stdin: "null",
      stdout: "piped",
      stderr: "inherit",
    }).spawn();
    let rest = "";
    this.#lines = this.child.stdout.pipeThrough(new TextDecoderStream()).pipeThrough(
      new TransformStream<string, string>({
        transform(chunk, controller) {
          const lines = (rest + chunk).split("\n");
          rest = lines.pop()!;
          for (const line of lines) controller.enqueue(line);
        },
      }),
    ).getReader();
  }

  /** The next line that it prints. */
  async line(): Promise<string> {
    const { value, done } = await this.#lines.read();
    assert.ok(!done, "The process ended before it printed what was waited for");
    return value;
  }

  /** Sends a signal and waits for the end. */
  async kill(signal: Deno.Signal = "SIGKILL"): Promise<Deno.CommandStatus> {
    try {
      this.child.kill(signal);
    } catch (error) {
      // It has ended by itself.
      if (!(error instanceof TypeError)) throw error;
    }
    return await this.child.status;
  }

  /** Ends it, however it is. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.kill();
    await this.#lines.cancel();
  }
}

/** A broker in a process of its own. */
export class BrokerProcess extends Program {
  /** Where it listens. */
  endpoints: readonly string[] = [];

  private constructor(options: BrokerOptions) {
    super("./broker_process.ts", [JSON.stringify(options)]);
  }

  /** Starts one, and waits until it listens. */
  static async start(options: BrokerOptions = {}): Promise<BrokerProcess> {
    const broker = new BrokerProcess({ bind: "tcp://127.0.0.1:*", ...options });
    broker.endpoints = JSON.parse(await broker.line());
    return broker;
  }

  /** Ends it in order. @returns What it had counted. */
  async stop(): Promise<BrokerStats> {
    const status = this.kill("SIGTERM");
    const stats = JSON.parse(await this.line());
    assert.equal((await status).code, 0);
    return stats;
  }
}

if (import.meta.main) {
  const broker = new Broker(JSON.parse(Deno.args[0]!));
  Deno.addSignalListener("SIGTERM", () => broker.close());
  console.log(JSON.stringify(broker.bind()));
  await broker.run();
  console.log(JSON.stringify(broker.stats()));
  Deno.exit(0);
}
