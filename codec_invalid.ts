/**
 * What the codec finds wrong with a message, before anybody wants an error of it.
 *
 * @module
 */

import { ProtocolError, type ProtocolErrorKind } from "./errors.ts";

/**
 * A message that is not MDP 0.2, as {@linkcode tryDecodeAtBroker} returns it: all that a
 * {@linkcode ProtocolError} says, but no error. To make one (2 µs, for its stack, whatever
 * `Error.stackTraceLimit` says) and to throw it (4 µs from a callback of the event loop) costs
 * several times as much as to serve a request, and a peer that sends garbage has a broker do it for
 * each message.
 */
export class InvalidMessage {
  /** The rule that was broken, as in {@linkcode ProtocolError.kind}. */
  readonly kind: ProtocolErrorKind;
  /** What was wrong, with the offending value. */
  readonly message: string;

  /**
   * Says what is wrong with one message.
   *
   * @param kind The rule that was broken.
   * @param message What was wrong, with the offending value.
   */
  constructor(kind: ProtocolErrorKind, message: string) {
    this.kind = kind;
    this.message = message;
  }
}

/** The same as an error. */
export function errorOf({ kind, message }: InvalidMessage): ProtocolError {
  return new ProtocolError(kind, message);
}

/** What was read, if nothing is wrong with it. @throws {ProtocolError} If something is. */
export function must<T>(found: T | InvalidMessage): T {
  if (found instanceof InvalidMessage) throw errorOf(found);
  return found;
}
