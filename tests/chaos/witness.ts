/**
 * A client of the chaos that sees the wire: it holds each message against what may come, so that a
 * reply which is doubled, or another's, is seen where `Client` would drop it in silence.
 *
 * @module
 */

import { Socket } from "../../zmq/socket.ts";
import { control } from "../hostile.ts";
import { bytes } from "../raw.ts";
import type { Exchange } from "./exchange.ts";

/** How long it waits for a reply before it asks again, on a new socket, in ms. */
const PATIENCE = 3_000;

const PARTIAL = 2, FINAL = 3, ERROR = 4;

/** What came of one attempt: the parts of the reply, or nothing. */
type Outcome = Uint8Array[][] | undefined;

/** A client that does without `Client`: RFC 18's, or a multiplexed one. */
export class Witness implements AsyncDisposable {
  /** Messages that came and were not due. */
  doubled = 0;
  /** What these were. */
  readonly faults: string[] = [];
  readonly #endpoint: string;
  readonly #multiplexed: boolean;
  #socket: Socket | undefined;
  #id = 0;
  #parts: Uint8Array[][] = [];
  #waiting: ((outcome: Outcome) => void) | undefined;

  constructor(endpoint: string, multiplexed: boolean) {
    this.#endpoint = endpoint;
    this.#multiplexed = multiplexed;
  }

  /** Asks until there is a reply. */
  async ask(exchange: Exchange): Promise<Uint8Array[][]> {
    for (;;) {
      const parts = await this.#attempt(exchange);
      if (parts !== undefined) return parts;
      // A reply that comes late must not be held for one to the next request.
      await this.#socket!.close();
      this.#socket = undefined;
    }
  }

  async #attempt({ service, body }: Exchange): Promise<Outcome> {
    this.#socket ??= this.#connect();
    this.#parts = [];
    this.#id++;
    const id = this.#id.toString(16).padStart(16, "0");
    const head = this.#multiplexed
      ? [control("MDPCX1", { command: 1, id })]
      : [bytes("MDPC02"), bytes([1])];
    const frames = [...head, service, ...body].map((frame) =>
      typeof frame === "string" ? bytes(frame) : frame
    );
    const { promise, resolve } = Promise.withResolvers<Outcome>();
    this.#waiting = resolve;
    this.#socket.send(frames);
    const timer = setTimeout(() => resolve(undefined), PATIENCE);
    const outcome = await promise;
    clearTimeout(timer);
    this.#waiting = undefined;
    return outcome;
  }

  #connect(): Socket {
    const socket = new Socket("DEALER", { linger: 0 });
    socket.connect(this.#endpoint);
    socket.watch(() => {
      for (let frames; !socket.isClosed && (frames = socket.receiveBytes()) !== undefined;) {
        this.#receive(frames);
      }
    });
    return socket;
  }

  #receive(frames: Uint8Array[]): void {
    const head = frames[0]!;
    const command = this.#multiplexed ? head[6] : frames[1]![0];
    if (this.#multiplexed) {
      // The broker is stopping, or was lost and the connection is with the next one.
      if (command === 6) return this.#waiting?.(undefined);
      const id = Number(new DataView(head.buffer).getBigUint64(8));
      if (id !== this.#id || this.#waiting === undefined) return this.#undue(command, id);
      if (command === ERROR) return this.#end(undefined);
    } else if (this.#waiting === undefined) return this.#undue(command, this.#id);
    this.#parts.push(frames.slice(this.#multiplexed ? 1 : 3));
    if (command === FINAL) this.#end(this.#parts);
    else if (command !== PARTIAL) this.faults.push(`A witness got command ${command}`);
  }

  #end(outcome: Outcome): void {
    this.#waiting?.(outcome);
    this.#waiting = undefined;
  }

  #undue(command: number | undefined, id: number): void {
    this.doubled++;
    this.faults.push(`A witness got command ${command} for request ${id}, which was over`);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#socket?.close();
  }
}
