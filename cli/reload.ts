/**
 * A broker's configuration file is read again while it runs: on SIGHUP, as daemons do.
 *
 * @module
 */

import type { Broker } from "../broker.ts";
import { type LiveBrokerOptions, resolveBrokerOptions } from "../options.ts";
import { kebabCase, merge, type Settings } from "./broker_options.ts";
import { UsageError } from "./command_line.ts";
import { type Config, readConfig } from "./config.ts";
import { cliLogger } from "./logging.ts";

/** What can change while a broker runs; see {@linkcode Broker.reconfigure}. */
const LIVE = [
  "heartbeatInterval",
  "heartbeatTimeout",
  "busyWorkerTimeout",
  "requestExpiry",
  "maxAttempts",
  "maxQueue",
  "maxQueueBytes",
  "maxTotalQueue",
  "maxTotalQueueBytes",
  "maxClientQueue",
  "maxClientQueueBytes",
  "drain",
] as const satisfies readonly (keyof LiveBrokerOptions & keyof Settings)[];

/** What needs a new socket, or another server. */
const FIXED = [
  "bindUrl",
  "maxMessageSize",
  "http",
  "gateway",
  "gatewayOrigin",
] as const satisfies readonly (keyof Settings)[];

/** What a broker was started with. */
export interface Started {
  /** The configuration file. */
  path: string;
  /** What the command line says, which comes first. */
  given: Settings;
  /** What holds, from both. */
  settings: Settings;
}

/** Reads a broker's configuration file again when it is told to. */
export class Reloader {
  readonly #broker: Broker;
  readonly #started: Started;
  readonly #configureLogging: (config: Config) => void;
  /** What holds now. */
  #settings: Settings;

  /**
   * @param broker The broker.
   * @param started What it was started with.
   * @param configureLogging Has it log as a file says. Throws `UsageError` if it cannot.
   */
  constructor(broker: Broker, started: Started, configureLogging: (config: Config) => void) {
    this.#broker = broker;
    this.#started = started;
    this.#configureLogging = configureLogging;
    this.#settings = started.settings;
  }

  /**
   * Reads the file on each SIGHUP from now on. Windows has none.
   *
   * @returns Gives the signal back to the system when it is disposed of.
   */
  onHangUp(): Disposable {
    if (Deno.build.os === "windows") return { [Symbol.dispose]() {} };
    const listener = () => this.reload();
    Deno.addSignalListener("SIGHUP", listener);
    return { [Symbol.dispose]: () => Deno.removeSignalListener("SIGHUP", listener) };
  }

  /** Does as the file says by now, as far as that can be; says what became of it. Never throws. */
  reload(): void {
    const { path, given } = this.#started;
    // It is about to end, and nothing is to change any more.
    if (this.#broker.isDraining) return;
    try {
      const config = readConfig(path);
      const settings = merge(given, config.settings, path);
      this.#apply(settings, config);
    } catch (error) {
      if (!(error instanceof UsageError)) throw error;
      cliLogger.error(`The configuration stays as it was: ${error.message}`, { path });
    }
  }

  #apply(settings: Settings, config: Config): void {
    const { path } = this.#started;
    // Those that are not named any more have their defaults again.
    const before = resolved(this.#settings), after = resolved(settings);
    const differs = (name: (typeof LIVE | typeof FIXED)[number]) =>
      JSON.stringify(before[name]) !== JSON.stringify(after[name]);
    const changed = LIVE.filter(differs), refused = FIXED.filter(differs);
    this.#configureLogging(config);
    this.#broker.reconfigure(Object.fromEntries(changed.map((name) => [name, after[name]])));
    const kept = Object.fromEntries(FIXED.map((name) => [name, this.#settings[name]]));
    this.#settings = { ...settings, ...kept };
    const what = changed.length > 0 ? `changed ${list(changed)}` : "no timeout or limit changed";
    cliLogger.info(`Read ${path} again: ${what}`, { path, changed: changed.map(kebabCase) });
    if (refused.length === 0) return;
    cliLogger.warn(
      `${path}: ${list(refused)} cannot change while the broker runs: restart it for that`,
      { path, refused: refused.map(kebabCase) },
    );
  }
}

/** Whole, with the defaults. */
function resolved(settings: Settings) {
  const { bindUrl, http, gateway = false, gatewayOrigin, ...options } = settings;
  const { bind, ...rest } = resolveBrokerOptions({ ...options, bind: bindUrl });
  return { ...rest, bindUrl: bind, http, gateway, gatewayOrigin };
}

function list(names: readonly string[]): string {
  return names.map(kebabCase).join(", ");
}
