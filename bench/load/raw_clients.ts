/**
 * Clients without any protocol engine: sockets that send requests and check the answers.
 *
 * @module
 */

import { BadAnswer, type Job } from "./job.ts";
import { Frame, Port, Wait } from "./port.ts";
import { type ClientWire, clientWire } from "./wire.ts";

/** What clients are told. */
export interface RawClientJob extends Job {
  /** How many there are, each with a socket. */
  clients: number;
  /** What they ask, in turn. */
  services: readonly string[];
  /** How many PARTIALs must come before each FINAL. */
  parts: number;
}

/** How long nothing may come while answers are due, in ms. */
const STALLED = 20_000;

/** A body begins with so many bytes that say whose it is and which. */
const STAMP = 8;
/** So many at either end of a body are compared with what was sent. */
const SEEN = 32;

/** Called with each answer: whose it is, the time, and when its request was to be sent. */
export type OnAnswer = (client: number, now: number, since: number) => void;

/** All clients of one process. */
export class RawClients {
  readonly #wire: ClientWire;
  readonly #ports: readonly Port[];
  readonly #wait: Wait;
  readonly #services: readonly Frame[];
  readonly #body: Frame;
  /**
   * Each body begins with whose it is and which: an answer to somebody else is found out. What follows
   * is the same in all.
   */
  readonly #stamp: DataView;
  readonly #received: Frame;
  readonly #echo: DataView;
  /** The beginnings of what came and of what is due, by four bytes: bytes take twice as long. */
  readonly #words: Uint32Array;
  readonly #expected: Uint32Array;
  readonly #parts: number;
  /** By client, and by the sequence number's lower bits: when it was sent, 0 if it is over. */
  readonly #sentAt: Float64Array[];
  /** The whole of that number. */
  readonly #sequences: Uint32Array[];
  readonly #partsOf: Uint32Array[];
  readonly #mask: number;
  readonly #next: Uint32Array;
  readonly #bytes: number;
  #inFlight = 0;
  #heardAt = 0;
  #barriers = 0;

  /** @param window How many requests each may have in flight at most. */
  constructor(job: RawClientJob, window: number) {
    this.#wire = clientWire(job.dialect);
    this.#services = job.services.map((name) => new Frame(name));
    this.#bytes = job.bytes;
    this.#body = new Frame(Array.from({ length: job.bytes }, (_, i) => i & 0xff));
    this.#stamp = new DataView(this.#body.bytes.buffer);
    this.#received = new Frame(Math.max(256, job.bytes));
    this.#echo = new DataView(this.#received.bytes.buffer);
    const words = Math.floor(Math.min(SEEN, job.bytes) / 4);
    this.#words = new Uint32Array(this.#received.bytes.buffer, 0, words);
    this.#expected = new Uint32Array(this.#body.bytes.buffer, 0, words);
    this.#parts = job.parts;
    const slots = 2 ** Math.ceil(Math.log2(4 * window));
    this.#mask = slots - 1;
    this.#ports = Array.from({ length: job.clients }, () => new Port(job.url));
    this.#wait = new Wait(this.#ports);
    this.#sentAt = this.#ports.map(() => new Float64Array(slots));
    this.#sequences = this.#ports.map(() => new Uint32Array(slots));
    this.#partsOf = this.#ports.map(() => new Uint32Array(job.parts > 0 ? slots : 0));
    this.#next = new Uint32Array(job.clients);
  }

  /** How many there are. */
  get count(): number {
    return this.#ports.length;
  }

  /** Requests whose answer is due. */
  get inFlight(): number {
    return this.#inFlight;
  }

  /**
   * Sends a request.
   *
   * @param client Whose.
   * @param since When it was to be sent, by which its latency counts.
   */
  send(client: number, since: number): void {
    const sequence = this.#next[client]!++;
    const slot = sequence & this.#mask;
    if (this.#sentAt[client]![slot] !== 0) {
      throw new BadAnswer("The broker is so far behind the load that an answer was never sent");
    }
    this.#sentAt[client]![slot] = since;
    this.#sequences[client]![slot] = sequence;
    if (this.#parts > 0) this.#partsOf[client]![slot] = 0;
    this.#stamp.setUint32(0, client);
    this.#stamp.setUint32(4, sequence);
    const service = this.#serviceOf(client, sequence);
    this.#wire.request(this.#ports[client]!, service, sequence + 1, this.#body);
    if (this.#inFlight++ === 0) this.#heardAt = performance.now();
  }

  /**
   * Waits until there are answers or time is up, and hands on all that there are.
   *
   * @throws {BadAnswer} If one is wrong, or none has come for long.
   */
  receive(milliseconds: number, onAnswer: OnAnswer): void {
    // Whoever was sent to must be looked at: the send may have taken the descriptor's edge.
    let found = false;
    for (let i = 0; i < this.#ports.length; i++) if (this.#drain(i, onAnswer)) found = true;
    if (found) return;
    this.#wait.for(milliseconds, (i) => this.#drain(i, onAnswer));
    if (this.#inFlight > 0 && performance.now() - this.#heardAt > STALLED) {
      throw new BadAnswer(`${this.#inFlight} requests were not answered`);
    }
  }

  /** Receives until all is answered. */
  finish(onAnswer: OnAnswer): void {
    while (this.#inFlight > 0) this.receive(1_000, onAnswer);
  }

  /**
   * Waits until the broker has taken all that was sent: it is asked on each connection whether it
   * serves something (RFC 8), and the answer comes after what was sent before.
   */
  barrier(): void {
    const question = new Frame("mmi.service"), body = new Frame("-");
    this.#barriers = this.#ports.length;
    for (const [client, port] of this.#ports.entries()) {
      this.#wire.request(port, question, 2 ** 40 + client, body);
    }
    this.#heardAt = performance.now();
    while (this.#barriers > 0) {
      this.receive(1_000, () => {
        throw new BadAnswer("There is a worker already, so no backlog can be made");
      });
    }
  }

  #serviceOf(client: number, sequence: number): Frame {
    return this.#services[(client + sequence) % this.#services.length]!;
  }

  /** Whether what came is the answer to this request. Of a long body the ends are looked at. */
  #isEcho(client: number, sequence: number): boolean {
    const { bytes, size } = this.#received;
    if (size !== this.#bytes || this.#echo.getUint32(0) !== client) return false;
    if (!this.#wire.isAbout(sequence + 1, this.#serviceOf(client, sequence))) return false;
    for (let i = STAMP / 4; i < this.#expected.length; i++) {
      if (this.#words[i] !== this.#expected[i]) return false;
    }
    const sent = this.#body.bytes;
    for (let i = Math.max(4 * this.#expected.length, size - SEEN); i < size; i++) {
      if (bytes[i] !== sent[i]) return false;
    }
    return true;
  }

  #drain(client: number, onAnswer: OnAnswer): boolean {
    const port = this.#ports[client]!, received = this.#received;
    let found = false;
    for (let heard; (heard = this.#wire.receive(port, received)) !== "nothing"; found = true) {
      if (heard === "heartbeat") continue;
      const now = performance.now();
      this.#heardAt = now;
      if (heard === "final" && this.#barriers > 0 && received.size === 3) {
        this.#barriers--;
        continue;
      }
      if (heard === "error") {
        throw new BadAnswer(`A request was answered with ERROR ${this.#wire.code}`);
      }
      const sequence = this.#echo.getUint32(4), slot = sequence & this.#mask;
      const since = this.#sentAt[client]![slot]!;
      const isOurs = this.#sequences[client]![slot] === sequence && this.#isEcho(client, sequence);
      if (heard === "partial" && this.#parts > 0 && isOurs && since !== 0) {
        this.#partsOf[client]![slot]!++;
        continue;
      }
      if (heard !== "final" || !isOurs || since === 0) {
        throw new BadAnswer("A client got what is no answer to one of its requests");
      }
      if (this.#parts > 0 && this.#partsOf[client]![slot] !== this.#parts) {
        throw new BadAnswer("PARTIALs are missing before a FINAL");
      }
      this.#sentAt[client]![slot] = 0;
      this.#inFlight--;
      onAnswer(client, now, since);
    }
    return found;
  }
}
