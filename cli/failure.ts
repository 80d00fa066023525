/**
 * How the programs tell that what they were to do has failed.
 *
 * @module
 */

import { MdpError, ServiceError } from "../errors.ts";
import { EXIT } from "./exit_codes.ts";
import { tell } from "./output.ts";

/**
 * Tells a failure of the messaging on a line of stderr.
 *
 * @param name The program's name.
 * @param error The failure.
 * @returns The exit code that is due.
 * @throws The error itself if it is none of the messaging.
 */
export function tellFailure(name: string, error: unknown): number {
  if (error instanceof ServiceError) {
    tell(`${error.code} ${error.message}`);
    return EXIT.serviceError;
  }
  if (!(error instanceof MdpError)) throw error;
  tell(`${name}: ${error.message}`);
  return EXIT.failure;
}
