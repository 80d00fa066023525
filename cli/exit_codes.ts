/**
 * How the programs end.
 *
 * @module
 */

/** The exit codes of the programs. */
export const EXIT = { ok: 0, failure: 1, usage: 2, serviceError: 3 } as const;
