/**
 * The MDP 0.2 client: {@linkcode Client} asks services by name, over a broker.
 *
 * @example A request and its reply
 * ```ts no-eval
 * import { Client } from "@majortomo/mdp/client";
 *
 * await using client = new Client("tcp://127.0.0.1:5555");
 * const reply = await client.request("echo", "hello", { timeout: 10_000 });
 * console.log(reply.text());
 * ```
 *
 * @module
 */

import { Calls } from "./calls.ts";
import { Dialogue, type ReceiveOptions } from "./dialogue.ts";
import { Brokers } from "./failover.ts";
import { DealerLine } from "./line.ts";
import {
  type Body,
  type BodyFrame,
  type ClientOptions,
  type ConnectOptions,
  isReconnect,
  type RequestOptions,
  resolveClientOptions,
} from "./options.ts";
import type { Transport } from "./pool.ts";
import { transportFor } from "./multiplexer.ts";
import type { Reply, ReplyPart } from "./reply.ts";

export type { DialectName } from "./codec.ts";
export type { ReceiveOptions } from "./dialogue.ts";
export * from "./errors.ts";
export type {
  Body,
  BodyFrame,
  ClientOptions,
  ConnectOptions,
  DialectOption,
  RequestOptions,
} from "./options.ts";
export { Payload, Reply, ReplyPart } from "./reply.ts";

/**
 * What a {@linkcode Client} does, for code that is to work with a stand-in for one too, such as
 * the `MockClient` of `@majortomo/mdp/testing`.
 *
 * @example A function that takes either
 * ```ts
 * import type { ClientLike } from "@majortomo/mdp/client";
 * import { MockClient } from "@majortomo/mdp/testing";
 *
 * async function area(client: ClientLike, width: number, height: number): Promise<number> {
 *   const reply = await client.request("multiply", JSON.stringify([width, height]));
 *   return reply.json<number>();
 * }
 *
 * await using mock = new MockClient();
 * mock.reply("multiply", "42");
 * console.log(await area(mock, 6, 7));
 * ```
 */
export interface ClientLike extends AsyncDisposable {
  /** As {@linkcode Client.request}. */
  request(service: string | Uint8Array, body?: Body, options?: RequestOptions): Promise<Reply>;
  /** As {@linkcode Client.stream}. */
  stream(
    service: string | Uint8Array,
    body?: Body,
    options?: RequestOptions,
  ): AsyncGenerator<ReplyPart, void, undefined>;
  /** As {@linkcode Client.isConnected}. */
  readonly isConnected: boolean;
  /** As {@linkcode Client.connect}. */
  connect(options?: ConnectOptions | boolean): void;
  /** As {@linkcode Client.send}. */
  send(service: string | Uint8Array, ...frames: BodyFrame[]): void;
  /** As {@linkcode Client.recvPart}. */
  recvPart(timeout?: number | ReceiveOptions): Promise<Uint8Array[] | undefined>;
  /** As {@linkcode Client.recvAll}. */
  recvAll(timeout?: number | ReceiveOptions): AsyncGenerator<Uint8Array[], void, undefined>;
  /** As {@linkcode Client.recvAllAsList}. */
  recvAllAsList(timeout?: number | ReceiveOptions): Promise<Uint8Array[]>;
  /** As {@linkcode Client.close}. */
  close(): Promise<void>;
}

/**
 * An MDP 0.2 client. It has two ways to ask a service, which do not disturb each other:
 *
 * - `request()` and `stream()`, which may be called at any time and as often as wanted. With a
 *   broker that speaks the multiplexed dialect all requests share one connection. With others
 *   each request in flight has a connection of its own, since RFC 18 has no request ids;
 *   connections are kept for the next requests. One whose reply did not come to its end in order
 *   is given up, so that a late reply never reaches another request.
 * - The strict dialogue of majortomo's client: `connect()`, `send()` and `recvPart()`,
 *   `recvAll()` or `recvAllAsList()`, one request at a time on one connection.
 *
 * Connections are made when they are needed, and keep the process alive until `close()`. A
 * broker that is not there shows as a {@linkcode TimeoutError}, since ZeroMQ goes on trying to
 * connect. When a broker is lost, what it has not answered is sent again at once: to the next
 * broker, or to the same as soon as it is back.
 *
 * @example Requests
 * ```ts no-eval
 * import { Client } from "@majortomo/mdp";
 *
 * await using client = new Client({ broker: "tcp://127.0.0.1:5555", timeout: 5_000 });
 * const [one, two] = await Promise.all([
 *   client.request("echo", "hello"),
 *   client.request("sum", JSON.stringify([1, 2, 3])),
 * ]);
 * console.log(one.text(), two.json());
 * ```
 *
 * @example A reply in parts
 * ```ts no-eval
 * import { Client } from "@majortomo/mdp";
 *
 * await using client = new Client("tcp://127.0.0.1:5555");
 * for await (const part of client.stream("report", ["2026", "Q3"], { deadline: 60_000 })) {
 *   console.log(part.type, part.text());
 * }
 * ```
 *
 * @example Two brokers: if the first does not answer in a second, the second is asked
 * ```ts no-eval
 * import { Client, TimeoutError } from "@majortomo/mdp";
 *
 * await using client = new Client({
 *   broker: ["tcp://10.0.0.1:5555", "tcp://10.0.0.2:5555"],
 *   timeout: 1_000,
 * });
 * try {
 *   await client.request("echo", "hello");
 * } catch (error) {
 *   if (error instanceof TimeoutError) console.error(error.message);
 * }
 * ```
 */
export class Client implements ClientLike {
  readonly #calls: Calls;
  readonly #transport: Transport;
  readonly #dialogue: Dialogue;
  readonly #linger: number;
  #closed: Promise<void> | undefined;

  /**
   * Makes a client; nothing is connected yet.
   *
   * @param options See {@linkcode ClientOptions}; or only the endpoint of the broker, or those of
   * several.
   * @throws {TypeError} If an option has the wrong type, {@linkcode RangeError} if it is out of
   * range.
   */
  constructor(options: ClientOptions | string | readonly string[] = {}) {
    const resolved = resolveClientOptions(options);
    const brokers = new Brokers(resolved.brokers);
    this.#linger = resolved.linger;
    this.#transport = transportFor(resolved);
    this.#calls = new Calls(resolved, this.#transport, brokers);
    this.#dialogue = new Dialogue(
      resolved,
      brokers,
      (endpoint, events) => new DealerLine(endpoint, resolved, events),
    );
  }

  /**
   * Asks a service and waits for the whole reply.
   *
   * If `maxInFlight` requests are in flight already it waits for its turn first. After a timeout
   * the request is sent again if `retries` are left; what had come of the reply by then is
   * dropped. Bytes must not be changed until the call has ended.
   *
   * @param service The name of the service: text (sent as UTF-8) or bytes, 1 to 65,535.
   * @param body One frame, or several in a list. Default: one empty frame.
   * @param options See {@linkcode RequestOptions}; times in ms.
   * @returns The reply: its PARTIALs, if there are any, and its FINAL.
   * @throws {TimeoutError} If a part did not come within `timeout` and no retries are left, or
   * if the whole did not within `deadline`; the broker's or the service's ERROR 504 is this too, as
   * its `cause`, if a deadline was set. With 0 for either, at once: nothing is sent.
   * @throws {ServiceError} If the service or the broker answered with an error: only in the
   * multiplexed dialect. It is not sent again; but 502, its worker was lost, and 503, with
   * which a broker refuses what comes while it stops, are retried first; if nothing comes then, it is
   * this one.
   * @throws {DisconnectedError} If the connection was lost and it may not be sent again: it was
   * already, or it is to be sent `once`.
   * @throws {ProtocolError} If what came is not MDP 0.2 in the client's dialect, or is another
   * service's. It is not sent again.
   * @throws {StateError} If the client is closed, before or meanwhile; or if an option needs the
   * multiplexed dialect and the broker does not speak it.
   * @throws {ZmqError} If libzmq cannot connect: a bad endpoint, or too many sockets (`EMFILE`).
   * @throws {TypeError} If an argument has the wrong type, {@linkcode RangeError} if an option is
   * out of range or the name or body too long.
   * @throws The signal's reason, if it aborts.
   */
  request(
    service: string | Uint8Array,
    body?: Body,
    options?: RequestOptions,
  ): Promise<Reply> {
    try {
      return this.#calls.make(service, body, options).collect();
    } catch (error) {
      return Promise.reject(error);
    }
  }

  /**
   * Asks a service, and yields the parts of its reply as they come: PARTIALs, then the FINAL.
   *
   * It begins when the first part is asked for, as with any generator, and takes a turn as
   * `request()` does, until the FINAL has come. It is sent again after a timeout only while no part
   * has been yielded. To leave the loop early gives the request up; who does not come to that, as it
   * waits for a part, has the signal. Parts that come faster than they are taken are
   * kept in memory; `timeout` counts only while one is waited for.
   *
   * @param service The name of the service: text (sent as UTF-8) or bytes, 1 to 65,535.
   * @param body One frame, or several in a list. Default: one empty frame.
   * @param options See {@linkcode RequestOptions}; times in ms.
   * @returns The parts. Taking one throws what `request()` rejects with, but for wrong arguments.
   * @throws {TypeError} If an argument has the wrong type, {@linkcode RangeError} if an option is
   * out of range or the name or body too long.
   */
  stream(
    service: string | Uint8Array,
    body?: Body,
    options?: RequestOptions,
  ): AsyncGenerator<ReplyPart, void, undefined> {
    return this.#calls.make(service, body, options).stream();
  }

  /**
   * Whether the strict dialogue has a connection. It may still be on its way to the broker. One
   * that was lost is none: the next `send()` makes another, to the next broker if there are several.
   */
  get isConnected(): boolean {
    return this.#dialogue.isConnected;
  }

  /**
   * Strict dialogue: connects, in the background, unless it is connected already. `send()` does
   * it too.
   *
   * @param options Whether to connect anew and give up a reply that is due: as
   * {@linkcode ConnectOptions}, or only `true`.
   * @throws {StateError} If the client is closed.
   * @throws {TypeError} If the options are none.
   * @throws {ZmqError} If libzmq refuses the endpoint, or another socket (`EMFILE`).
   */
  connect(options: ConnectOptions | boolean = false): void {
    this.#dialogue.connect(isReconnect(options));
  }

  /**
   * Strict dialogue: sends a request, whose reply must be received before the next. Connects
   * first if it is not connected.
   *
   * @param service The name of the service: text (sent as UTF-8) or bytes, 1 to 65,535.
   * @param frames The body. Default: one empty frame.
   * @throws {StateError} If a reply is still due, or the client is closed.
   * @throws {TypeError} If an argument has the wrong type, {@linkcode RangeError} if the name or
   * body is too long.
   * @throws {ZmqError} If libzmq cannot connect.
   */
  send(service: string | Uint8Array, ...frames: BodyFrame[]): void {
    this.#dialogue.send(service, frames);
  }

  /**
   * Strict dialogue: receives the next part of the reply.
   *
   * @param timeout How long to wait, in ms, or {@linkcode ReceiveOptions}. Default: the client's.
   * @returns The frames of the part; `undefined` if none is due: the FINAL was received, or
   * nothing was sent.
   * @throws {TimeoutError} If none came in time. The reply is still due: receive again, or give
   * it up with `connect({ reconnect: true })`.
   * @throws {DisconnectedError} If the connection was lost before the reply was there, which is
   * given up then.
   * @throws {ProtocolError} If what came is no reply to the request. The connection is given up.
   * @throws {StateError} If another call is waiting for a part, or the client is closed.
   * @throws The signal's reason, if it aborts. The reply is still due.
   */
  async recvPart(timeout?: number | ReceiveOptions): Promise<Uint8Array[] | undefined> {
    const part = await this.#dialogue.recvPart(timeout);
    return part && [...part.frames];
  }

  /**
   * Strict dialogue: receives the parts of the reply that are still due, one by one. To leave
   * the loop early leaves the rest due.
   *
   * @param timeout How long to wait for each part, in ms, or {@linkcode ReceiveOptions}.
   * @returns The frames of each part. Taking one throws what `recvPart()` rejects with.
   */
  recvAll(timeout?: number | ReceiveOptions): AsyncGenerator<Uint8Array[], void, undefined> {
    return this.#dialogue.recvAll(timeout);
  }

  /**
   * Strict dialogue: receives the parts of the reply that are still due.
   *
   * @param timeout How long to wait for each part, in ms, or {@linkcode ReceiveOptions}.
   * @returns The frames of all parts, in one list; none if no reply is due.
   * @throws What `recvPart()` rejects with. Parts that were received before are lost then.
   */
  async recvAllAsList(timeout?: number | ReceiveOptions): Promise<Uint8Array[]> {
    const frames: Uint8Array[] = [];
    for await (const part of this.#dialogue.recvAll(timeout)) frames.push(...part);
    return frames;
  }

  /**
   * Closes the client for good. Calls in flight, and those that wait for their turn, fail with a
   * {@linkcode StateError}, and so does every later call. What `send()` has sent may take
   * `linger` ms to leave.
   *
   * @returns A promise of the end of all connections, the same for each call.
   */
  close(): Promise<void> {
    if (this.#closed === undefined) {
      this.#calls.close();
      this.#closed = Promise.all([this.#transport.close(), this.#dialogue.close(this.#linger)])
        .then(() => {});
    }
    return this.#closed;
  }

  /** `close()`, for `await using`. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }
}
