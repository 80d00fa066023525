/**
 * The permission that all programs need, which is asked for before it is used: at a terminal Deno
 * would prompt for it, and a script that waits there for an answer looks as if it hung.
 *
 * @module
 */

import { mayOpen } from "../zmq/library.ts";
import { MdpError } from "../errors.ts";

/**
 * Makes sure that libzmq can be opened without a question.
 *
 * @throws {MdpError} If `--allow-ffi` is missing.
 */
export function requireFfi(): void {
  if (!mayOpen()) {
    throw new MdpError(
      "Opening libzmq needs the permission --allow-ffi: run deno with --allow-ffi",
    );
  }
}
