/**
 * What a ROUTER knows of one connection: {@linkcode Connection}.
 *
 * @module
 */

import type { Block, Frame } from "./frame.ts";

/** Bytes that the system has not taken yet. */
export interface Piece {
  readonly bytes: Uint8Array<ArrayBuffer>;
  /** Whose memory that is; to be released. */
  readonly block: Block | undefined;
  /** How many messages it ends. */
  readonly messages: number;
}

/** How long a connection is there for after its time to live, in ms. */
const GRACE = 100;

/** A connection, from when it was accepted until it is closed. */
export class Connection {
  /**
   * How far it is: its greeting, then its READY is awaited; then it is `open` until it is `closed`.
   */
  state: "greeting" | "ready" | "open" | "closed" = "greeting";
  /** The identity of its peer as a binary string, once it has one. */
  name = "";

  /** What was received of a message that is not whole: bytes from the begin of a frame on. */
  rest: Uint8Array<ArrayBuffer> | undefined = undefined;
  /** Whether it has had its turn, and there are whole messages in that. */
  hasMore = false;
  /** Those of its frames that are whole. */
  frames: Frame[] = [];
  /** How many bytes they count for. */
  framesSize = 0;
  /** A long frame that is being received: how many bytes it has, how many are there, more flags. */
  long: Block | undefined = undefined;
  longSize = 0;
  longAt = 0;
  longMore = false;

  /** What is to be sent as soon as the system takes more, and how much of the first is sent. */
  readonly waiting: Piece[] = [];
  waitingAt = 0;
  /** How many messages that is. */
  waitingMessages = 0;
  /** Whether the system said that nothing can be sent any more. */
  isBroken = false;
  /** How often in a row a call failed with an error that is not its own. */
  misses = 0;
  /** Ends it if its peer, which has said so in a PING, is silent for too long. */
  #timer: ReturnType<typeof setTimeout> | undefined = undefined;

  constructor(
    readonly descriptor: number,
    /** Where it comes from; see {@linkcode Router.addressOf}. */
    readonly address: string | undefined,
    /** When it was accepted, in ms. */
    readonly since: number,
  ) {}

  /** Has it end in so many ms, unless something comes. */
  liveFor(milliseconds: number, end: () => void): void {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => {
      // What came while this process stood still is to be read first.
      this.#timer = setTimeout(end, GRACE);
    }, milliseconds);
  }

  /** Something has come. */
  live(): void {
    if (this.#timer === undefined) return;
    clearTimeout(this.#timer);
    this.#timer = undefined;
  }

  /** Lets go of all that was received and is to be sent. */
  release(): void {
    this.live();
    for (const frame of this.frames.splice(0)) frame.release();
    this.long?.release();
    this.long = this.rest = undefined;
    for (const { block } of this.waiting.splice(0)) block?.release();
    this.waitingMessages = 0;
  }
}
