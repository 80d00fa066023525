/**
 * The errors of this package. All of them are {@linkcode MdpError}s, so one `instanceof` tells
 * a failure of the messaging from one of your own code. Wrong arguments are not among them: they
 * throw `TypeError` or `RangeError` at the call.
 *
 * @module
 */

/** What every error of this package is. majortomo calls it `Error`. */
export class MdpError extends Error {
  /** The name of the class, e.g. `"TimeoutError"`. */
  override name = "MdpError";
}

/**
 * A message is not MDP 0.2, or not one that its receiver may get: who sent it is at fault.
 * The message says which rule it breaks.
 */
export class ProtocolError extends MdpError {
  /** The name of the class. */
  override name = "ProtocolError";
  /** The rule that was broken, short and fixed: what a counter or a log is keyed by. */
  readonly kind: ProtocolErrorKind;

  /**
   * Makes the error for one message.
   *
   * @param kind The rule that was broken.
   * @param message What was wrong, with the offending value.
   */
  constructor(kind: ProtocolErrorKind, message: string) {
    super(message);
    this.kind = kind;
  }
}

/**
 * The ways in which a message can fail to be MDP 0.2.
 *
 * - `header`: the header frame is none of MDP 0.2
 * - `delimiter`: an empty frame is missing where the protocol has one, or stands where it has none
 * - `command`: the command is unknown, or not one that this side may send
 * - `frames`: frames are missing or left over
 * - `service`: the service name is empty, or not the one that was asked
 * - `size`: the message is larger than allowed
 * - `flags`, `id`, `value`: a field of the multiplexed dialect's control frame is wrong
 */
export type ProtocolErrorKind =
  | "header"
  | "delimiter"
  | "command"
  | "frames"
  | "service"
  | "size"
  | "flags"
  | "id"
  | "value";

/** Something did not come in the time that was given for it. majortomo calls it `Timeout`. */
export class TimeoutError extends MdpError {
  /** The name of the class. */
  override name = "TimeoutError";
}

/** A call does not fit the state of the object: it is closed, or a reply is still due. */
export class StateError extends MdpError {
  /** The name of the class. */
  override name = "StateError";
}

/** The connection to the broker ended: it said DISCONNECT, fell silent, or was closed here. */
export class DisconnectedError extends MdpError {
  /** The name of the class. */
  override name = "DisconnectedError";
}

/**
 * A service, or the broker for it, answered with an error instead of a reply, as the multiplexed
 * dialect can; a worker's handler throws one to have it reach the caller. RFC 18 and majortomo's
 * dialect have no such answer: there it shows as a {@linkcode TimeoutError}.
 */
export class ServiceError extends MdpError {
  /** The name of the class. */
  override name = "ServiceError";
  /** What went wrong, 400 to 599 as in HTTP. */
  readonly code: number;
  /** What the service said about it in bytes of its own, if it did. */
  readonly details?: Uint8Array;

  /**
   * Makes the error that a service answers with.
   *
   * @param code 400 to 599, as in HTTP; 500 is a handler that failed.
   * @param message What went wrong, in words.
   * @param details More about it, opaque to all in between.
   * @throws {RangeError} If the code is not a whole number from 400 to 599, {@linkcode TypeError} if
   * the details are no bytes.
   */
  constructor(code: number, message: string, details?: Uint8Array) {
    if (!Number.isInteger(code) || code < 400 || code > 599) {
      throw new RangeError(`A service error's code is a whole number from 400 to 599, got ${code}`);
    }
    if (details !== undefined && !(details instanceof Uint8Array)) {
      const shown = Deno.inspect(details, { depth: 0 });
      throw new TypeError(`A service error's details are a Uint8Array, got ${shown}`);
    }
    super(message);
    this.code = code;
    this.details = details;
  }
}

/** libzmq refused a call. */
export class ZmqError extends MdpError {
  /** The name of the class. */
  override name = "ZmqError";
  /** The name of the error number, e.g. `"EADDRINUSE"`, or `"E<number>"` for one without. */
  readonly code: string;
  /** The call that failed, e.g. `"zmq_bind"`. */
  readonly call: string;

  /**
   * Makes the error for one call.
   *
   * @param code The name of the error number.
   * @param call The call that failed.
   * @param message What libzmq says of it, and the endpoint or option that it is about.
   */
  constructor(code: string, call: string, message: string) {
    super(message);
    this.code = code;
    this.call = call;
  }
}
