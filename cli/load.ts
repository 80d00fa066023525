/**
 * The load of `mdp bench`: clients that keep requests in flight, and workers on another thread.
 *
 * @module
 */

import { Client } from "../client.ts";
import { MdpError } from "../errors.ts";
import type { DialectOption } from "../options.ts";
import { Latencies } from "./latencies.ts";
import type { ServerJob, ServerReport } from "./mdp_bench_server.ts";

/** What is asked, how often, and by how many. */
export interface LoadJob {
  broker: readonly string[] | undefined;
  dialect: DialectOption | undefined;
  /** How long an answer is waited for, in ms. */
  timeout: number;
  service: string;
  clients: number;
  /** How many requests each client keeps in flight. */
  window: number;
  /** How many workers answer; 0 if others do. */
  workers: number;
  /** The bytes of each request. */
  size: number;
  /** When it ends: after so many requests, or so many ms. */
  requests: number;
  duration: number;
}

/** What was measured. */
export interface Result {
  /** Requests that were answered. */
  requests: number;
  /** Those that were not. */
  errors: number;
  /** What the first of them failed by. */
  firstError: string | undefined;
  /** From the first request to the last answer. */
  seconds: number;
  /** From each request to its answer. */
  latencies: Latencies;
}

/** Where the workers' thread begins. */
const SERVER = new URL("./mdp_bench_server.ts", import.meta.url);

/** Whether this process is permitted to start threads: those of local modules are read first. */
export function mayStartThreads(): boolean {
  return SERVER.protocol !== "file:" ||
    Deno.permissions.querySync({ name: "read", path: SERVER }).state === "granted";
}

/** Load that is put on a broker once. */
export class Load implements AsyncDisposable {
  readonly #job: LoadJob;
  readonly #clients: Client[];
  readonly #body: Uint8Array;
  readonly #latencies = new Latencies();
  #thread: Thread | undefined;
  #started = 0;
  #sent = 0;
  #errors = 0;
  #firstError: string | undefined;
  #until = 0;

  /** Nothing is connected yet. */
  constructor(job: LoadJob) {
    const { broker, dialect, timeout, clients, window: maxInFlight } = job;
    this.#job = job;
    this.#body = new Uint8Array(job.size).fill(120);
    this.#clients = Array.from(
      { length: clients },
      () => new Client({ broker, dialect, timeout, maxInFlight }),
    );
  }

  /** How many requests have been answered. */
  get count(): number {
    return this.#latencies.count;
  }

  /** How much is done, from 0 to 1. */
  get progress(): number {
    const { requests, duration } = this.#job;
    const elapsed = this.#started === 0 ? 0 : performance.now() - this.#started;
    return Math.min(1, Math.max(this.count / requests, elapsed / duration));
  }

  /**
   * Starts the workers, and has each client connect and get an answer.
   *
   * @param signal Ends it early.
   * @throws {MdpError} If one gets none.
   */
  async prepare(signal: AbortSignal): Promise<void> {
    const { workers, window, clients, service } = this.#job;
    if (workers > 0) {
      // So that all that is in flight is with a worker, where the dialect allows it.
      const concurrency = Math.min(65_535, Math.ceil(clients * window / workers));
      this.#thread = await Thread.start({ ...this.#job, concurrency });
    }
    const first = this.#clients.map((client) => client.request(service, this.#body, { signal }));
    await this.#unlessAborted(Promise.all(first), signal);
  }

  /**
   * Puts the load on.
   *
   * @param signal Ends it early; what is in flight then is not counted.
   * @returns What was measured.
   * @throws {MdpError} If its own workers fail.
   */
  async run(signal: AbortSignal): Promise<Result> {
    this.#started = performance.now();
    this.#until = this.#started + this.#job.duration;
    const asking = this.#clients.flatMap((client) =>
      Array.from({ length: this.#job.window }, () => this.#ask(client, signal))
    );
    await this.#unlessAborted(Promise.all(asking), signal);
    return {
      requests: this.count,
      errors: this.#errors,
      firstError: this.#firstError,
      seconds: (performance.now() - this.#started) / 1_000,
      latencies: this.#latencies,
    };
  }

  async #ask(client: Client, signal: AbortSignal): Promise<void> {
    const { service, requests } = this.#job;
    for (let start; (start = performance.now()) < this.#until && this.#sent < requests;) {
      this.#sent++;
      try {
        await client.request(service, this.#body);
        if (signal.aborted) return;
        this.#latencies.record(performance.now() - start);
      } catch (error) {
        if (signal.aborted) return;
        if (!(error instanceof MdpError)) throw error;
        this.#errors++;
        this.#firstError ??= error.message;
      }
    }
  }

  /** Waits for one thing, the failure of the workers, or the signal. */
  async #unlessAborted(done: Promise<unknown>, signal: AbortSignal): Promise<void> {
    const aborted = Promise.withResolvers<void>();
    const abort = () => aborted.resolve();
    signal.addEventListener("abort", abort, { once: true });
    if (signal.aborted) abort();
    // What it fails by after the signal is the signal's doing.
    const settled = done.catch((error) => {
      if (!signal.aborted) throw error;
    });
    await Promise.race([settled, aborted.promise, this.#thread?.failed ?? aborted.promise]);
    signal.removeEventListener("abort", abort);
  }

  /** Ends clients and workers. */
  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all(this.#clients.map((client) => client.close()));
    await this.#thread?.stop();
  }
}

/** The thread of the workers. */
class Thread {
  readonly #worker: globalThis.Worker;
  readonly #serving = Promise.withResolvers<void>();
  readonly #ended = Promise.withResolvers<void>();
  readonly #failed = Promise.withResolvers<never>();

  private constructor(job: ServerJob) {
    this.#failed.promise.catch(() => {});
    this.#worker = new globalThis.Worker(SERVER, { type: "module" });
    this.#worker.onmessage = ({ data }: MessageEvent<ServerReport>) => {
      if (data.state === "serving") this.#serving.resolve();
      else if (data.state === "ended") this.#ended.resolve();
      else this.#fail(data.message);
    };
    this.#worker.onerror = (event) => {
      event.preventDefault();
      this.#fail(event.message);
    };
    this.#worker.postMessage(job);
  }

  /** Starts it; resolves when its workers are connecting. */
  static async start(job: ServerJob): Promise<Thread> {
    const { broker, dialect, service, workers, concurrency } = job;
    const thread = new Thread({ broker, dialect, service, workers, concurrency });
    await Promise.race([thread.#serving.promise, thread.failed]);
    return thread;
  }

  /** Rejects when it cannot go on. */
  get failed(): Promise<never> {
    return this.#failed.promise;
  }

  /** Has its workers leave in order. */
  async stop(): Promise<void> {
    this.#worker.postMessage("stop");
    await Promise.race([this.#ended.promise, this.failed.catch(() => {})]);
    this.#worker.terminate();
  }

  #fail(message: string): void {
    this.#failed.reject(new MdpError(`The workers of the bench failed: ${message}`));
  }
}
