/**
 * Where one measurement takes place: a fresh broker, and the processes that load it. All end with
 * it.
 *
 * @module
 */

import type { DialectName } from "../codec.ts";
import { setTimeout as delay } from "node:timers/promises";
import { BROKER_V8_FLAGS } from "../scripts/v8_flags.ts";
import { BenchError, Child } from "./process.ts";

const ROOT = new URL("../", import.meta.url);
/** How long a broker may take to listen, in ms. */
const PATIENCE = 15_000;
/** How long it may take to end after it has told its workers so, in ms. */
const FAREWELL = 1_000;
/** Between two attempts to reach it, in ms. */
const PAUSE = 2;

/** What the user can set. */
export interface Settings {
  /** How often each shape is measured. */
  rounds: number;
  /** How long each time, in s. */
  seconds: number;
  /** How long it is loaded before that, in s. */
  warmUp: number;
  /** By what brokers are reached. */
  transport: "tcp" | "ipc";
  /** Requests a second where that is fixed. */
  rate: number;
  /** Idle workers in the shapes that have them. */
  idle: number;
  /** Requests that are queued in the large backlog. */
  backlog: number;
}

/** How our own broker is started; another's command is taken as it is. */
export interface BrokerNeeds {
  /** Whether it must answer for its memory and its timers: see `load/broker.ts`. */
  probed?: boolean;
  /** Further options. */
  args?: readonly string[];
}

/** A broker that runs. */
export interface RunningBroker {
  /** Where it listens. */
  url: string;
  /** Whether it is the one of this checkout. */
  isOurs: boolean;
  /** Its process, or that of the script which has started it. */
  pid: number;
  /** From its start until it took connections, in ms. */
  startedIn: number;
  /** Asks it about itself; only our own answers, if it was started for that. */
  ask?<T>(question: string): Promise<T>;
}

/** What a measurement is about. */
export interface StageOptions {
  /** What is spoken. */
  dialect: DialectName;
  /** What the user has set. */
  settings: Settings;
  /** The broker's command; our own broker if there is none. */
  command?: string;
  /** Ends all processes when it aborts. */
  signal: AbortSignal;
}

/** One measurement's processes. */
export class Stage implements AsyncDisposable {
  /** What is spoken. */
  readonly dialect: DialectName;
  /** What the user has set. */
  readonly settings: Settings;
  readonly #command: string | undefined;
  readonly #children: Child[] = [];
  #folder: string | undefined;

  readonly #signal: AbortSignal;
  // At once, as a second interrupt, which ends the bench, may follow: a terminal sends one to the
  // bench and one to the task that runs it.
  readonly #abort = () => {
    this.#children.forEach((child) => child.kill("SIGKILL"));
    this.#removeFolder();
  };

  /** Has no processes yet. */
  constructor({ dialect, settings, command, signal }: StageOptions) {
    this.dialect = dialect;
    this.settings = settings;
    this.#command = command;
    this.#signal = signal;
    signal.addEventListener("abort", this.#abort);
  }

  /** Starts the broker, and waits until it listens. */
  async broker({ probed = false, args = [] }: BrokerNeeds = {}): Promise<RunningBroker> {
    const address = this.#address();
    const { url } = address;
    const own = this.#command === undefined;
    const start = performance.now();
    const child = this.#spawn(
      "broker",
      own ? ownBroker(url, probed, args) : ["sh", "-c", this.#command!.replaceAll("{url}", url)],
      own && probed,
    );
    await reach(address.connect, child);
    const startedIn = performance.now() - start;
    const ask = own && probed ? <T>(question: string) => child.ask<T>(question) : undefined;
    return { url, isOurs: own, pid: child.pid, startedIn, ask };
  }

  /**
   * Starts a module of `load/`.
   *
   * @param module Its name, without the folder.
   * @param job What it is told.
   */
  load(module: string, job: object): Child {
    return this.run(module.replace(/\.ts$/, ""), [
      Deno.execPath(),
      ...["run", "--quiet", "--no-prompt", "--allow-all", "--no-check"],
      new URL(`bench/load/${module}`, ROOT).href,
      JSON.stringify(job),
    ], true);
  }

  /**
   * Starts any program.
   *
   * @param isHeard Whether it answers in lines of JSON.
   */
  run(name: string, command: readonly [string, ...string[]], isHeard = false): Child {
    return this.#spawn(name, command, isHeard);
  }

  /**
   * What one of the processes says next.
   *
   * @param teller Who says it, and may end then.
   * @throws {BenchError} If another ends meanwhile, or had before: with none there is no load, and the
   * teller would wait for long, or measure another one.
   */
  async hear<T>(teller: Child): Promise<T> {
    const others = this.#children.filter((child) => child !== teller);
    const said = await Promise.race([
      ...others.map(async (child) => {
        await child.ended();
        throw await child.failure();
      }),
      teller.next<T>(),
    ]).catch(async (error) => {
      throw await this.#cause(error);
    });
    const gone = others.find(({ hasEnded }) => hasEnded);
    if (gone !== undefined) throw await gone.failure();
    return said;
  }

  /** The error to tell: a broker that ends says so to the others first, which may end before it. */
  async #cause(error: unknown): Promise<unknown> {
    const [broker] = this.#children;
    await Promise.race([broker!.ended(), delay(FAREWELL, undefined, { ref: false })]);
    return broker!.hasEnded ? await broker!.failure() : error;
  }

  /** Waits so many seconds. @throws The signal's reason, if it aborts. */
  async pause(seconds: number): Promise<void> {
    await delay(1_000 * seconds, undefined, { signal: this.#signal });
  }

  /** Waits until a server listens on a port of loopback. */
  async reach(port: number, server: Child): Promise<void> {
    await reach({ port }, server);
  }

  /** Ends all processes. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#signal.removeEventListener("abort", this.#abort);
    // The load first: it must not see the broker go. It holds nothing, so no time is given to it.
    const [broker, ...load] = this.#children;
    await Promise.all(load.map((child) => child.end("SIGKILL")));
    await broker?.end();
    this.#removeFolder();
  }

  #removeFolder(): void {
    if (this.#folder === undefined) return;
    Deno.removeSync(this.#folder, { recursive: true });
    this.#folder = undefined;
  }

  #spawn(name: string, command: readonly [string, ...string[]], isHeard: boolean): Child {
    this.#signal.throwIfAborted();
    const child = new Child(name, command, isHeard);
    this.#children.push(child);
    return child;
  }

  #address(): { url: string; connect: Deno.ConnectOptions | Deno.UnixConnectOptions } {
    if (this.settings.transport === "ipc") {
      this.#folder = Deno.makeTempDirSync({ prefix: "majortomo-bench-" });
      const path = `${this.#folder}/broker`;
      return { url: `ipc://${path}`, connect: { transport: "unix", path } };
    }
    const port = freePort();
    return { url: `tcp://127.0.0.1:${port}`, connect: { port } };
  }
}

/** A port of loopback that nothing listens on. */
export function freePort(): number {
  using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  return listener.addr.port;
}

function ownBroker(url: string, probed: boolean, args: readonly string[]): [string, ...string[]] {
  const module = new URL(probed ? "bench/load/broker.ts" : "cli/broker.ts", ROOT).href;
  return [
    Deno.execPath(),
    ...["run", "--quiet", "--no-prompt", "--no-check"],
    `--v8-flags=${BROKER_V8_FLAGS}${probed ? ",--expose-gc" : ""}`,
    probed ? "--allow-all" : "--allow-ffi",
    ...[module, "--bind-url", url, ...args],
  ];
}

async function reach(
  options: Deno.ConnectOptions | Deno.UnixConnectOptions,
  server: Child,
): Promise<void> {
  const until = performance.now() + PATIENCE;
  while (performance.now() < until) {
    try {
      const connection = options.transport === "unix"
        ? await Deno.connect(options as Deno.UnixConnectOptions)
        : await Deno.connect({ hostname: "127.0.0.1", ...options as Deno.ConnectOptions });
      return connection.close();
    } catch {
      if (server.hasEnded) throw await server.failure();
      await new Promise((resolve) => setTimeout(resolve, PAUSE));
    }
  }
  throw new BenchError(`The broker does not listen after ${PATIENCE / 1_000} s`);
}
