/**
 * A broker played by hand, for tests of the client that look at the bytes.
 *
 * @module
 */

import assert from "node:assert/strict";
import { Client, type ClientOptions, ZmqError } from "../client.ts";
import { assertFrames, bytes, type RawFrame, RawSocket } from "./raw.ts";

/** The client side of RFC 18. */
export const C = "MDPC02";
export const REQUEST = [1], PARTIAL = [2], FINAL = [3];
/** The client side of majortomo. */
export const OLD_REQUEST = [2], OLD_PARTIAL = [3], OLD_FINAL = [4];

/** A request as the broker got it. */
export interface Asked {
  /** The client's address, in hex. */
  from: string;
  /** Sends a message back. */
  answer(...frames: RawFrame[]): void;
}

/** A ROUTER, and clients of it that are closed at the end. */
export class ClientStage {
  readonly router: RawSocket = RawSocket.router();
  readonly #clients: Client[] = [];
  readonly #routers: RawSocket[] = [this.router];

  /** Where the ROUTER is. */
  get endpoint(): string {
    return this.router.endpoint;
  }

  /** A client; its pauses are short. */
  client(options: ClientOptions = {}): Client {
    const client = new Client({
      broker: this.endpoint,
      dialect: "rfc",
      backoff: 1,
      maxBackoff: 5,
      ...options,
    });
    this.#clients.push(client);
    // A test that fails leaves calls behind, and is to fail with its own error, not with theirs.
    const request = client.request.bind(client), stream = client.stream.bind(client);
    client.request = (...args) => handled(request(...args));
    client.stream = (...args) => {
      const parts = stream(...args);
      const next = parts.next.bind(parts);
      parts.next = () => handled(next());
      return parts;
    };
    return client;
  }

  /** A second ROUTER. */
  another(): RawSocket {
    const router = RawSocket.router();
    this.#routers.push(router);
    return router;
  }

  /** The next request, which must be this one in RFC 18's dialect. */
  async asked(service: RawFrame, ...body: RawFrame[]): Promise<Asked> {
    return await asked(this.router, C, REQUEST, service, ...body);
  }

  /** So many requests with one body frame, by their service; they may come in any order. */
  async askedInAnyOrder(count: number): Promise<Map<string, Asked>> {
    const requests = new Map<string, Asked>();
    for (let i = 0; i < count; i++) {
      const [address, ...frames] = await this.router.receive();
      const [service] = texts(frames.slice(2));
      assertFrames(frames, [C, REQUEST, service!, ""]);
      requests.set(service!, toAsked(this.router, address!));
    }
    return requests;
  }

  /** Closes all. */
  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all(this.#clients.map((client) => client.close()));
    await Promise.all(this.#routers.map((router) => router.close()));
  }
}

function handled<T>(promise: Promise<T>): Promise<T> {
  promise.catch(() => {});
  return promise;
}

/** Does something at an endpoint that is free soon, since who was bound there is closed. */
export async function whenFree<T>(bind: () => T): Promise<T> {
  for (const end = performance.now() + 10_000;;) {
    try {
      return bind();
    } catch (error) {
      const inUse = error instanceof ZmqError && error.code === "EADDRINUSE";
      if (!inUse || performance.now() > end) throw error;
    }
    await new Promise((resolve) => setTimeout(resolve, 3));
  }
}

/** The next request, which must have these frames after the address. */
export async function asked(router: RawSocket, ...frames: RawFrame[]): Promise<Asked> {
  const [address, ...rest] = await router.receive();
  assertFrames(rest, frames);
  return toAsked(router, address!);
}

function toAsked(router: RawSocket, address: Uint8Array): Asked {
  return {
    from: [...address].map((byte) => byte.toString(16).padStart(2, "0")).join(""),
    answer: (...answer) => router.send(address, ...answer),
  };
}

/** What a promise rejects with. */
export async function failure(promise: Promise<unknown>): Promise<Error> {
  let value: unknown;
  try {
    value = await promise;
  } catch (error) {
    return error as Error;
  }
  assert.fail(`It did not fail, but gave ${Deno.inspect(value)}`);
}

/** Asserts what something fails with. */
export async function assertFails(
  promise: Promise<unknown>,
  type: new (...args: never[]) => Error,
  message: RegExp,
): Promise<void> {
  const error = await failure(promise);
  assert.equal(error.constructor.name, type.name, error.stack);
  assert.match(error.message, message);
}

/** Whether a promise is settled by now. */
export async function isSettled(promise: Promise<unknown>): Promise<boolean> {
  const pending = Symbol();
  const first = await Promise.race([promise.catch(() => {}), Promise.resolve(pending)]);
  return first !== pending;
}

/** The frames as text. */
export function texts(frames: readonly Uint8Array[]): string[] {
  return frames.map((frame) => new TextDecoder().decode(frame));
}

export { bytes };
