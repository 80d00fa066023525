/**
 * A broker played by hand, for tests of the worker that look at the bytes. It tells its peers
 * apart by their identities, and keeps heartbeats apart from what a test wants to see.
 *
 * @module
 */

import assert from "node:assert/strict";
import { configureSync, type LogRecord, resetSync } from "@logtape/logtape";
import { Worker, type WorkerOptions } from "../worker.ts";
import { Socket } from "../zmq/socket.ts";
import { assertFrames, bytes, type RawFrame, show } from "./raw.ts";

/** How long a test waits for what must come, in ms: only a failing one waits so long. */
const PATIENCE = 10_000;

/** Things that come one by one, and who waits for them. */
export class Inbox<T> {
  /** What came and was not taken. */
  readonly items: T[] = [];
  readonly #waiting: ((item: T) => void)[] = [];

  /** Puts one in. */
  push(item: T): void {
    const waiting = this.#waiting.shift();
    if (waiting === undefined) this.items.push(item);
    else waiting(item);
  }

  /** Takes the next. @param what Said when it does not come. */
  next(what: string): Promise<T> {
    const item = this.items.shift();
    if (item !== undefined) return Promise.resolve(item);
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => {
        this.#waiting.splice(this.#waiting.indexOf(receiver), 1);
        reject(new assert.AssertionError({ message: `${what}: not within ${PATIENCE} ms` }));
      }, PATIENCE);
      const receiver = (item: T) => {
        clearTimeout(timer);
        resolve(item);
      };
      this.#waiting.push(receiver);
    });
  }
}

/** One socket of a worker, as its broker sees it. */
export class Peer {
  /** What came from it, but for heartbeats. */
  readonly inbox: Inbox<Uint8Array[]> = new Inbox();
  /** When heartbeats came from it. */
  readonly heartbeats: Inbox<number> = new Inbox();
  /** Its identity in hex. */
  readonly name: string;
  readonly #send: (frames: readonly RawFrame[]) => void;

  constructor(name: string, send: (frames: readonly RawFrame[]) => void) {
    this.name = name;
    this.#send = send;
  }

  /** Sends it a message. */
  send(...frames: RawFrame[]): void {
    this.#send(frames);
  }

  /** Sends it a REQUEST of RFC 18. */
  request(client: RawFrame, ...body: RawFrame[]): void {
    this.send("MDPW02", [2], client, "", ...body);
  }

  /** The next message from it, which must have these frames. Heartbeats are passed over. */
  async expect(...frames: RawFrame[]): Promise<void> {
    assertFrames(await this.inbox.next(`a message [${show(frames)}]`), frames);
  }

  /** What came from it and was not looked at must be nothing but heartbeats. */
  assertNothingElse(): void {
    assert.deepEqual(this.inbox.items.map(show), []);
  }
}

/** A ROUTER that plays the broker. */
export class FakeBroker {
  /** Where it is bound. */
  readonly endpoint: string;
  /** Sockets that were heard for the first time, in order. */
  readonly joined: Inbox<Peer> = new Inbox();
  /** How many sockets were heard. */
  readonly peers: Map<string, Peer> = new Map();
  readonly #socket = new Socket("ROUTER", { linger: 0 });
  readonly #delimiter: RawFrame[];

  /**
   * @param dialect What its workers speak; tests write the frames after the empty one.
   */
  constructor(dialect: "rfc" | "majortomo" = "rfc", endpoint = "tcp://127.0.0.1:*") {
    this.#delimiter = dialect === "majortomo" ? [""] : [];
    this.endpoint = this.#socket.bind(endpoint);
    this.#socket.watch(() => {
      for (let message; (message = this.#socket.receiveBytes()) !== undefined;) {
        this.#receive(message[0]!, message.slice(1));
      }
    });
  }

  /** A worker for the service "echo" whose heartbeats are an hour apart, and which never drains. */
  worker(options: Partial<WorkerOptions> = {}): Worker {
    return new Worker({
      broker: this.endpoint,
      service: "echo",
      dialect: "rfc",
      heartbeatInterval: 3_600_000,
      backoff: 10,
      drain: 0,
      ...options,
    });
  }

  /** The next socket that registers, by READY as its first message. */
  async ready(service: RawFrame = "echo"): Promise<Peer> {
    const peer = await this.joined.next("another socket");
    await peer.expect("MDPW02", [1], service);
    return peer;
  }

  #receive(identity: Uint8Array, frames: Uint8Array[]): void {
    const name = identity.toHex();
    let peer = this.peers.get(name);
    if (peer === undefined) {
      peer = new Peer(name, (frames) => {
        const message = [identity, ...[...this.#delimiter, ...frames].map(bytes)];
        assert.equal(this.#socket.send(message), "sent");
      });
      this.peers.set(name, peer);
      this.joined.push(peer);
    }
    assertFrames(frames.splice(0, this.#delimiter.length), this.#delimiter);
    const isHeartbeat = frames.length === 2 && frames[1]!.length === 1 && frames[1]![0] === 5;
    if (!isHeartbeat) return peer.inbox.push(frames);
    assertFrames(frames, ["MDPW02", [5]]);
    peer.heartbeats.push(performance.now());
  }

  /** Closes the socket. */
  close(): Promise<void> {
    return this.#socket.close();
  }

  /** Closes the socket, for `await using`. */
  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }
}

/** The log of this package, until it is disposed of. */
export function captureLog(): { records: LogRecord[]; texts(): string[] } & Disposable {
  const records: LogRecord[] = [];
  configureSync({
    reset: true,
    sinks: { memory: (record) => void records.push(record) },
    loggers: [
      { category: "majortomo", sinks: ["memory"], lowestLevel: "debug" },
      { category: ["logtape", "meta"], sinks: [] },
    ],
  });
  return {
    records,
    texts: () =>
      records.map((record) =>
        `${record.level}: ${
          record.message.map((part) => part instanceof Error ? part.message : part).join("")
        }`
      ),
    [Symbol.dispose]: resetSync,
  };
}

/** Resolves after so many ms: for what must not happen in that time, or takes it. */
export function pause(milliseconds: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, milliseconds));
}

/** What the promise gives, which must not take long. @param what Said when it does. */
export async function soon<T>(promise: Promise<T>, what: string): Promise<T> {
  let timer;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(
      () => reject(new assert.AssertionError({ message: `${what}: not within ${PATIENCE} ms` })),
      PATIENCE,
    );
  });
  try {
    return await Promise.race([promise, late]);
  } finally {
    clearTimeout(timer);
  }
}
