/**
 * The broker's options as they can be given on the command line and in the configuration file,
 * and what becomes of them.
 *
 * @module
 */

import { choice } from "@optique/core/valueparser";
import { BROKER_OPTIONS, type BrokerOptions } from "../options.ts";
import { UsageError } from "./command_line.ts";
import { LOG_FORMATS, type LogFormat } from "./logging.ts";
import {
  bindUrl,
  byteSize,
  count,
  duration,
  type HttpAddress,
  httpAddress,
  inSeconds,
  origin,
} from "./values.ts";

/** What was given, in one place or the other. Durations are in ms. */
export interface Settings extends Omit<BrokerOptions, "bind" | "linger" | "sendHighWaterMark"> {
  /** `--bind-url`: the endpoints to listen at. */
  bindUrl?: readonly string[];
  /** `--http`: where to serve HTTP. */
  http?: HttpAddress;
  /** `--gateway`: whether services can be called over HTTP. */
  gateway?: boolean;
  /** `--gateway-origin`: the origins of web pages that may call them. */
  gatewayOrigin?: readonly string[];
  /** `--verbose`: log from info up. */
  verbose?: boolean;
  /** `--debug`: log from debug up. */
  debug?: boolean;
  /** `--log-format`: the form of the log. */
  logFormat?: LogFormat;
}

/** Those that are the broker's own. */
export function brokerOptions(settings: Settings): BrokerOptions {
  const own = Object.entries(settings).filter(([name]) => name in BROKER_OPTIONS);
  return { ...Object.fromEntries(own), bind: settings.bindUrl };
}

/** How the options that take a value are read. */
export const VALUES = {
  bindUrl: bindUrl(),
  heartbeatInterval: duration(1),
  heartbeatTimeout: duration(1),
  busyWorkerTimeout: duration(1),
  requestExpiry: duration(0),
  maxAttempts: count(1),
  maxQueue: count(0),
  maxQueueBytes: byteSize(0),
  maxTotalQueue: count(0),
  maxTotalQueueBytes: byteSize(0),
  maxClientQueue: count(0),
  maxClientQueueBytes: byteSize(0),
  maxMessageSize: byteSize(1),
  transport: choice(["auto", "libzmq"], { metavar: "TRANSPORT" }),
  drain: duration(0),
  http: httpAddress(),
  gatewayOrigin: origin(),
  logFormat: choice(LOG_FORMATS, { metavar: "FORMAT" }),
};

/** The defaults that the rule below needs, as in the library. */
const DEFAULTS = { heartbeatInterval: 2_500, heartbeatTimeout: 10_000 };

/**
 * The broker's options: what the command line says comes before what the file says.
 *
 * @param given What the command line says.
 * @param file What the file says.
 * @param path The file, as messages name it.
 * @returns The settings that hold.
 * @throws {UsageError} If they do not fit together.
 */
export function merge(given: Settings, file: Settings, path: string): Settings {
  const settings: Settings = { ...file, ...withoutUndefined(given) };
  const timings = { ...DEFAULTS, ...withoutUndefined(settings) };
  const show = (name: keyof typeof DEFAULTS): string => {
    const origin = given[name] !== undefined
      ? ""
      : file[name] !== undefined
      ? ` (in ${path})`
      : " (the default)";
    return `${optionName(name)} ${inSeconds(timings[name])}${origin}`;
  };
  const { heartbeatInterval: interval, heartbeatTimeout: timeout } = timings;
  // majortomo's rule. In microseconds, where 0.3 is a multiple of 0.1.
  const [step, whole] = [Math.round(interval * 1_000), Math.round(timeout * 1_000)];
  if (whole % step !== 0) {
    const below = Math.floor(whole / step) * step;
    const fitting = (below === 0 ? [step, 2 * step] : [below, below + step])
      .map((microseconds) => inSeconds(microseconds / 1_000)).join(" or ");
    throw new UsageError(
      `${show("heartbeatTimeout")} must be a multiple of ${show("heartbeatInterval")}: ` +
        `use for example ${fitting}`,
    );
  }
  if (settings.http === undefined && (settings.gateway || settings.gatewayOrigin !== undefined)) {
    const name = settings.gateway ? "gateway" : "gatewayOrigin";
    const origin = given[name] === undefined ? ` (in ${path})` : "";
    throw new UsageError(`${optionName(name)}${origin} needs --http: use for example --http 9090`);
  }
  if (settings.gatewayOrigin !== undefined && !settings.gateway) {
    const origin = given.gatewayOrigin === undefined ? ` (in ${path})` : "";
    throw new UsageError(`${optionName("gatewayOrigin")}${origin} needs --gateway`);
  }
  return settings;
}

/**
 * The name of an option as it stands on the command line.
 *
 * @param setting The setting's name, e.g. `bindUrl`.
 * @returns E.g. `--bind-url`.
 */
export function optionName(setting: string): string {
  return `--${kebabCase(setting)}`;
}

/**
 * The name of a setting as files have it.
 *
 * @param setting E.g. `bindUrl`.
 * @returns E.g. `bind-url`.
 */
export function kebabCase(setting: string): string {
  return setting.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`);
}

function withoutUndefined<T extends object>(settings: T): T {
  return Object.fromEntries(
    Object.entries(settings).filter(([, value]) => value !== undefined),
  ) as T;
}
