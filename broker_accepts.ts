/**
 * Tells when a broker's socket cannot take new connections. libzmq tries again without a pause and
 * tells each time, so it is listened to once in a while only.
 *
 * @module
 */

import { ZmqError } from "./errors.ts";
import type { Socket } from "./zmq/socket.ts";

/** How long nobody is told, after it was told once, in ms. */
const PAUSE = 1_000;

/** Listens to one socket until it is stopped. */
export class AcceptWatch {
  readonly #socket: Socket;
  readonly #report: (endpoint: string, code: string) => void;
  #timer: ReturnType<typeof setTimeout> | undefined;

  /**
   * @param socket What listens. Nobody else may monitor it.
   * @param report Told where a connection could not be taken, and why, e.g. `"EMFILE"`.
   */
  constructor(socket: Socket, report: (endpoint: string, code: string) => void) {
    this.#socket = socket;
    this.#report = report;
    this.#listen();
  }

  /** Tells nothing more. */
  stop(): void {
    clearTimeout(this.#timer);
    this.#socket.unmonitor();
  }

  #listen(): void {
    try {
      this.#socket.monitor((_, { endpoint, code }) => this.#fail(endpoint, code), ["acceptFailed"]);
    } catch (error) {
      // To listen takes descriptors, too.
      if (!(error instanceof ZmqError)) throw error;
      this.#fail(this.#socket.lastEndpoint, error.code);
    }
  }

  #fail(endpoint: string, code: string): void {
    this.#socket.unmonitor();
    this.#report(endpoint, code);
    this.#timer = setTimeout(() => this.#listen(), PAUSE);
  }
}
