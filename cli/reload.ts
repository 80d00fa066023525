/**
 * A broker's configuration file is read again while it runs: on SIGHUP, as daemons do.
 *
 * @module
 */

import type { Broker } from "../broker.ts";
import { type LiveBrokerOptions, resolveBrokerOptions } from "../options.ts";
import { brokerOptions, kebabCase, merge, type Settings } from "./broker_options.ts";
import { type Config, readConfig } from "./config.ts";
import { asItIs, cliLogger } from "./logging.ts";
import { printableText } from "./printable.ts";
import { onHangUp } from "./signals.ts";

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
  "transport",
  "http",
  "gateway",
  "gatewayOrigin",
] as const satisfies readonly (keyof Settings)[];

/** How to log, beside the file's section on it. */
const LOG_FLAGS = ["verbose", "debug", "logFormat"] as const satisfies readonly (keyof Settings)[];

/** What a broker was started with. */
export interface Started {
  /** The configuration file. */
  path: string;
  /** What the command line says, which comes first. */
  given: Settings;
  /** What the file says. */
  config: Config;
  /** What holds, from both. */
  settings: Settings;
}

/** Reads a broker's configuration file again when it is told to. */
export class Reloader {
  readonly #broker: Broker;
  readonly #started: Started;
  readonly #prepareLogging: (config: Config) => () => void;
  /** What holds now. */
  #settings: Settings;
  /** What the file said last. */
  #config: Config;

  /**
   * @param broker The broker.
   * @param started What it was started with.
   * @param prepareLogging Opens what a file says that it is to log to, and gives what has it log
   * there. Throws `UsageError` if it cannot.
   */
  constructor(broker: Broker, started: Started, prepareLogging: (config: Config) => () => void) {
    this.#broker = broker;
    this.#started = started;
    this.#prepareLogging = prepareLogging;
    this.#settings = started.settings;
    this.#config = started.config;
  }

  /**
   * Reads the file on each SIGHUP from now on. Windows has none.
   *
   * @returns Gives the signal back to the system when it is disposed of.
   */
  onHangUp(): Disposable {
    return onHangUp(() => this.reload());
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
      // Whatever it is: it is no reason to end a broker that works.
      const why = error instanceof Error ? error.message : String(error);
      cliLogger.error(asItIs(`The configuration stays as it was: ${printableText(why)}`), { path });
    }
  }

  #apply(settings: Settings, config: Config): void {
    const { path } = this.#started;
    // Those that are not named any more have their defaults again.
    const before = resolved(this.#settings), after = resolved(settings);
    const differs = (name: (typeof LIVE | typeof FIXED)[number]) =>
      isOther(before[name], after[name]);
    const live = LIVE.filter(differs), refused = FIXED.filter(differs);
    const changed = [...live, ...this.#loggingChanges(settings, config)].map(kebabCase);
    const switchLog = this.#prepareLogging(config);
    if (isOther(this.#config.logging.sinks, config.logging.sinks)) {
      // For whoever reads where it went until now.
      cliLogger.info("Reading {path} again: the log goes where that says from now on", { path });
    }
    switchLog();
    this.#broker.reconfigure(Object.fromEntries(live.map((name) => [name, after[name]])));
    const kept = Object.fromEntries(FIXED.map((name) => [name, this.#settings[name]]));
    this.#settings = { ...settings, ...kept };
    const hadAny = saysAny(this.#config);
    this.#config = config;
    const what = changed.length > 0 ? `changed ${changed.join(", ")}` : "nothing changed";
    cliLogger.info(asItIs(`Read ${path} again: ${what}`), { path, changed });
    if (hadAny && !saysAny(config)) {
      cliLogger.warn("{path} says nothing any more: what it said has its default again", { path });
    }
    if (refused.length === 0) return;
    cliLogger.warn(
      asItIs(
        `${path}: ${
          refused.map(kebabCase).join(", ")
        } cannot change while the broker runs: restart it for that`,
      ),
      { path, refused: refused.map(kebabCase) },
    );
  }

  /** What of it is about the log. */
  #loggingChanges(settings: Settings, { logging }: Config): string[] {
    const flags = LOG_FLAGS.filter((name) => isOther(this.#settings[name], settings[name]));
    return isOther(this.#config.logging, logging) ? ["logging", ...flags] : flags;
  }
}

/** Whole, with the defaults. */
function resolved(settings: Settings) {
  const { http, gateway = false, gatewayOrigin } = settings;
  const { bind, ...rest } = resolveBrokerOptions(brokerOptions(settings));
  return { ...rest, bindUrl: bind, http, gateway, gatewayOrigin };
}

/** Whether there is anything in a file that the broker goes by. */
function saysAny({ settings, logging }: Config): boolean {
  return isOther(settings, {}) || isOther(logging, { levels: {} });
}

function isOther(one: unknown, other: unknown): boolean {
  return JSON.stringify(one) !== JSON.stringify(other);
}
