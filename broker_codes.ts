/**
 * The codes of the ERRORs that a broker itself answers with in the multiplexed dialect: rule 12 of
 * `docs/multiplexed.md`. Services use the same for what they like.
 *
 * @module
 */

/** The request is none that can be served. */
export const INVALID = 400;
/** Nobody serves it now, and it was not to wait. */
export const NO_WORKER = 404;
/** A queue is full. */
export const QUEUE_FULL = 429;
/** Its worker was lost with it, and no other is to have it. */
export const WORKER_LOST = 502;
/** The broker takes no more requests. */
export const STOPPING = 503;
/** Its time is up. */
export const TOO_LATE = 504;

/**
 * What this package's brokers say with {@linkcode STOPPING}: by it a client tells them from a service
 * that has no time just now.
 */
export const STOPPING_WORDS = "The broker is stopping";
