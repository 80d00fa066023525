/**
 * A broker in this process with its HTTP side, for tests.
 *
 * @module
 */

import assert from "node:assert/strict";
import type { Broker, BrokerOptions } from "../broker.ts";
import { BrokerHttp, type HttpOptions } from "../http/server.ts";
import { startBroker } from "../testing.ts";
import { Worker, type WorkerOptions } from "../worker.ts";

/** How long a test waits for something, in ms: only a failing one waits so long. */
const PATIENCE = 20_000;

/** All closed at the end. */
export class HttpStage implements AsyncDisposable {
  readonly broker: Broker;
  readonly endpoint: string;
  readonly http: BrokerHttp;
  /** The address, with a `/` at its end. */
  readonly url: string;
  readonly #stack = new AsyncDisposableStack();

  constructor(options: HttpOptions = {}, brokerOptions: BrokerOptions = {}) {
    const broker = this.#stack.use(startBroker(brokerOptions));
    this.broker = broker.broker;
    this.endpoint = broker.endpoint;
    this.http = this.#stack.use(new BrokerHttp(this.broker, options));
    this.url = this.http.listen();
  }

  /** A worker that is registered, with this handler. */
  async worker(
    service: string | Uint8Array,
    handler: Parameters<Worker["serve"]>[0],
    options: Partial<WorkerOptions> = {},
  ): Promise<Worker> {
    const before = this.broker.stats().workers.joined;
    const worker = this.#stack.use(
      new Worker({ broker: this.endpoint, service, drain: 0, ...options }),
    );
    worker.serve(handler);
    await eventually(() => this.broker.stats().workers.joined > before, "a worker joins");
    return worker;
  }

  /** Asks for a path. */
  async get(path: string): Promise<{ status: number; text: string; headers: Headers }> {
    const response = await fetch(this.url + path);
    return { status: response.status, text: await response.text(), headers: response.headers };
  }

  /** The samples of `/metrics`, by name and labels as they stand there. */
  async metrics(): Promise<Map<string, number>> {
    const { status, text } = await this.get("metrics");
    assert.equal(status, 200);
    const lines = text.split("\n").filter((line) => line !== "" && !line.startsWith("#"));
    return new Map(lines.map((line) => {
      const at = line.lastIndexOf(" ");
      return [line.slice(0, at), Number(line.slice(at + 1))];
    }));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#stack.disposeAsync();
  }
}

/** Waits until something is so. */
export async function eventually(
  condition: () => boolean | Promise<boolean>,
  what: string,
): Promise<void> {
  for (const end = performance.now() + PATIENCE; !await condition();) {
    assert.ok(performance.now() < end, `Not within ${PATIENCE} ms: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}
