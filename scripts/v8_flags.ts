/**
 * V8's flags for a process that is a broker and nothing else.
 *
 * V8 lets its young generation grow to 32 MiB under load, and keeps it. What a broker allocates for
 * a request is garbage as soon as that is answered: with 4 MiB it takes 62 of 79 MiB under
 * throughput's load, and answers as many requests as far as the noise of a measurement tells (0.93
 * to 1.12 of them in five rounds of the bench). A program cannot set them for itself. `tasks.broker` in deno.json has them, too.
 *
 * @module
 */

/** For `--v8-flags=`, or the environment variable `DENO_V8_FLAGS`. */
export const BROKER_V8_FLAGS = "--max-semi-space-size=2";
