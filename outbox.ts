/**
 * What a broker has to send, until it sends it all at once, peer by peer: what is for one peer then
 * takes one call to the system, and not one for each message.
 *
 * @module
 */

import { CONTROL_LENGTH } from "./codec_multiplexed.ts";
import { bytesOfName } from "./names.ts";
import type { Message as What, Request, Unsent } from "./routing.ts";
import type { BrokerSocket } from "./broker_socket.ts";
import type { SendResult } from "./zmq/socket.ts";
import { Frame } from "./zmtp/frame.ts";

/** How many buffers for control frames are kept. */
const CONTROLS = 1024;
/** How many peers are known; as many connections may have been there. */
const PEERS = 65_536;

/** A message, and the next one for the same peer. */
class Parcel<B> {
  next: Parcel<B> | undefined;

  constructor(
    readonly envelope: readonly Uint8Array[],
    readonly frames: readonly (Frame | Uint8Array)[],
    readonly what: What,
    readonly request: Request<B> | undefined,
    /** The how many-th that was put in it is. */
    readonly number: number,
  ) {}
}

/** A peer, and which messages are for it: the first, and the last so far. */
interface Peer<B> {
  readonly name: string;
  readonly identity: Uint8Array;
  first: Parcel<B> | undefined;
  last: Parcel<B> | undefined;
}

/** Messages for the peers of a ROUTER; `B` is what a request has for its body. */
export class Outbox<B> {
  /** Those that something was put in for; kept, since one is found in 60 ns, and its identity alone costs 285 to make. */
  readonly #peers = new Map<string, Peer<B>>();
  /** Those that there are messages for, in the order of their first. */
  readonly #due: Peer<B>[] = [];
  #length = 0;
  /** By the number of the message. */
  readonly #controls: (readonly [Uint8Array])[] = [];

  /** How many messages there are. */
  get length(): number {
    return this.#length;
  }

  /** Memory for the control frame of the message that is put next, as its envelope. */
  control(): readonly [Uint8Array] {
    const next = this.#length;
    if (next >= CONTROLS) return newControl();
    return this.#controls[next] ??= newControl();
  }

  /** The identity of a peer as a frame. */
  identity(name: string): Uint8Array {
    return this.#peer(name).identity;
  }

  /**
   * Puts a message in.
   *
   * @param name The identity of who is to get it, as a binary string.
   * @param envelope What follows it, and
   * @param frames what follows that. Messages among them are the outbox's from now on, and bytes
   * must stay as they are.
   * @param what What it is, and
   * @param request the request that it belongs to, for the case that it cannot be sent.
   */
  put(
    name: string,
    envelope: readonly Uint8Array[],
    frames: readonly (Frame | Uint8Array)[],
    what: What,
    request: Request<B> | undefined,
  ): void {
    const parcel = new Parcel(envelope, frames, what, request, this.#length++);
    const peer = this.#peer(name);
    if (peer.last === undefined) {
      peer.first = parcel;
      this.#due.push(peer);
    } else peer.last.next = parcel;
    peer.last = parcel;
  }

  /**
   * Takes back the requests that are for a peer.
   *
   * @param name Its identity, as a binary string.
   * @returns The requests, in the order in which they were put.
   */
  withdraw(name: string): Request<B>[] {
    const peer = this.#peers.get(name), requests: Request<B>[] = [];
    let last: Parcel<B> | undefined;
    for (let parcel = peer?.first; parcel !== undefined; parcel = parcel.next) {
      if (parcel.what !== "request") {
        last = parcel;
        continue;
      }
      requests.push(parcel.request!);
      releaseIn(parcel.frames);
      if (last === undefined) peer!.first = parcel.next;
      else last.next = parcel.next;
    }
    if (peer !== undefined) peer.last = last;
    return requests;
  }

  /** Forgets a peer that is gone; what is still to be sent to it stays. */
  forget(name: string): void {
    this.#peers.delete(name);
  }

  /**
   * Sends all there is: to each peer in the order in which it was put. A peer for whom something
   * cannot be sent gets nothing after it either: it would miss what was in between.
   *
   * @param socket The ROUTER.
   * @returns What could not be sent, in the order in which it was put.
   */
  flush(socket: Pick<BrokerSocket, "sendTo" | "flush">): Unsent<B>[] {
    const due = this.#due, failed: { number: number; message: Unsent<B> }[] = [];
    for (const peer of due) {
      let result: SendResult = "sent";
      for (let parcel = peer.first; parcel !== undefined; parcel = parcel.next) {
        const { envelope, frames } = parcel;
        if (result === "sent") result = socket.sendTo(peer.name, envelope, frames);
        if (result !== "sent") {
          const { what, request, number } = parcel;
          failed.push({ number, message: { peer: peer.name, what, request, why: result } });
        }
        releaseIn(frames);
      }
      peer.first = peer.last = undefined;
      // Nobody is told any more of one that is gone.
      if (result === "unreachable") this.#peers.delete(peer.name);
    }
    socket.flush();
    due.length = this.#length = 0;
    if (this.#peers.size > PEERS) this.#peers.clear();
    return failed.sort((a, b) => a.number - b.number).map(({ message }) => message);
  }

  #peer(name: string): Peer<B> {
    return this.#peers.get(name) ?? this.#addPeer(name);
  }

  #addPeer(name: string): Peer<B> {
    const identity = bytesOfName(name);
    const peer = { name, identity, first: undefined, last: undefined };
    this.#peers.set(name, peer);
    return peer;
  }
}

/** Lets go of those that are a broker's. */
function releaseIn(frames: readonly (Frame | Uint8Array)[]): void {
  for (let i = 0; i < frames.length; i++) {
    const frame = frames[i];
    if (frame instanceof Frame) frame.release();
  }
}

function newControl(): readonly [Uint8Array] {
  return [new Uint8Array(CONTROL_LENGTH)];
}
