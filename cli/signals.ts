/**
 * How the programs are stopped from outside.
 *
 * @module
 */

/** A signal, and the exit code that shells know an end by it by. */
type Stop = readonly [name: Deno.Signal, exitCode: number];

/** The signals that stop any program. */
const SIGNALS: readonly Stop[] = Deno.build.os === "windows"
  ? [["SIGINT", 130], ["SIGBREAK", 149]]
  : [["SIGINT", 130], ["SIGTERM", 143]];

/** The signals that stop a program, taken from the system. */
export interface StopSignal extends Disposable {
  /** Aborted by the first. */
  readonly signal: AbortSignal;
  /** The exit code of a program that ends for it before it has done what it should. */
  readonly exitCode: number | undefined;
}

/**
 * Takes SIGHUP, which would end the program otherwise. Windows has none.
 *
 * @param listener Called with each.
 * @returns Gives the signal back to the system when it is disposed of.
 */
export function onHangUp(listener: () => void): Disposable {
  if (Deno.build.os === "windows") return { [Symbol.dispose]() {} };
  Deno.addSignalListener("SIGHUP", listener);
  return { [Symbol.dispose]: () => Deno.removeSignalListener("SIGHUP", listener) };
}

/**
 * Takes the signals that stop a program: the first is told, the second ends the process at once.
 *
 * @param more Signals that stop it, too, each with an exit code.
 * @returns What tells of the first; disposing of it gives the signals back to the system.
 */
export function stopSignal(...more: readonly Stop[]): StopSignal {
  const controller = new AbortController();
  let exitCode: number | undefined;
  const listeners = [...SIGNALS, ...more].map(([name, code]) => {
    const listener = () => {
      if (controller.signal.aborted) Deno.exit(code);
      exitCode = code;
      controller.abort();
    };
    Deno.addSignalListener(name, listener);
    return [name, listener] as const;
  });
  return {
    signal: controller.signal,
    get exitCode() {
      return exitCode;
    },
    [Symbol.dispose]() {
      for (const [name, listener] of listeners) Deno.removeSignalListener(name, listener);
    },
  };
}
