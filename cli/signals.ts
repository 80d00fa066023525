/**
 * How the programs are stopped from outside.
 *
 * @module
 */

/** The signals that stop a program, with the exit codes that shells know such an end by. */
const SIGNALS: readonly (readonly [Deno.Signal, number])[] = Deno.build.os === "windows"
  ? [["SIGINT", 130], ["SIGBREAK", 149]]
  : [["SIGINT", 130], ["SIGTERM", 143]];

/**
 * Takes the signals that stop a program: the first is told, the second ends the process at once.
 *
 * @returns Aborted by the first; disposing of it gives the signals back to the system.
 */
export function stopSignal(): { signal: AbortSignal } & Disposable {
  const controller = new AbortController();
  const listeners = SIGNALS.map(([name, code]) => {
    const listener = () => {
      if (controller.signal.aborted) Deno.exit(code);
      controller.abort();
    };
    Deno.addSignalListener(name, listener);
    return [name, listener] as const;
  });
  return {
    signal: controller.signal,
    [Symbol.dispose]() {
      for (const [name, listener] of listeners) Deno.removeSignalListener(name, listener);
    },
  };
}
