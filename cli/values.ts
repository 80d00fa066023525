/**
 * The values that options take, each read from its text in one place: the command line and the
 * configuration file accept the same, and refuse in the same words.
 *
 * @module
 */

import { type Message, message, text } from "@optique/core/message";
import type { NonEmptyString } from "@optique/core/nonempty";
import { choice, fileSize, integer, string, type ValueParser } from "@optique/core/valueparser";
import { DURATION_FORMS, parseDuration } from "../durations.ts";
import { isOrigin } from "../http/origins.ts";
import {
  DEFAULT_ENDPOINT,
  type DialectOption,
  LONGEST_NAME,
  resolveBrokerOptions,
  resolveClientOptions,
} from "../options.ts";
import { UsageError } from "./command_line.ts";

/** The largest number that there is here. */
const MOST = `${Number.MAX_SAFE_INTEGER}`;
/** What a timer can hold, in ms. */
const LONGEST = 2 ** 31 - 1;

/**
 * A duration: seconds (`2.5`), or a number with its unit (`500ms`, `3s`, `2m`, `1h`).
 *
 * @param least The shortest that is accepted, in ms.
 * @returns A parser of durations that gives ms.
 */
export function duration(least: number): ValueParser<"sync", number> {
  return {
    mode: "sync",
    metavar: "SECONDS",
    placeholder: least,
    parse(input) {
      const value = parseDuration(input);
      if (value === undefined) {
        return {
          success: false,
          error: message`Expected ${text(DURATION_FORMS)}, but got ${input}.`,
        };
      }
      if (value >= least && value <= LONGEST) return { success: true, value };
      const bounds = value < least
        ? `at least ${inSeconds(least)}`
        : `at most ${inSeconds(LONGEST)}`;
      return {
        success: false,
        error: message`Expected ${text(bounds)} seconds, but got ${input}.`,
      };
    },
    format: inSeconds,
  };
}

/**
 * A duration in the form that {@linkcode duration} reads.
 *
 * @param milliseconds The duration in ms.
 * @returns It in seconds.
 */
export function inSeconds(milliseconds: number): string {
  return String(milliseconds / 1_000);
}

/**
 * A number of bytes: plain (`65536`), or with a unit (`64KiB`, `10MB`).
 *
 * @param least The smallest that is accepted.
 * @param most The largest.
 * @returns A parser of sizes that gives bytes.
 */
export function byteSize(least: number, most?: number): ValueParser<"sync", number> {
  const bytes = fileSize({
    metavar: "BYTES",
    defaultUnit: "B",
    errors: {
      invalidFormat: (input) =>
        isHuge(input)
          ? message`Expected at most ${text(MOST)} bytes, but got ${input}.`
          : message`Expected bytes such as 65536, 64KiB or 10MB, but got ${input}.`,
    },
  });
  return {
    ...bytes,
    parse(input) {
      const size = bytes.parse(input);
      if (!size.success) return size;
      if (size.value >= least && size.value <= (most ?? Infinity)) return size;
      const bounds = size.value < least ? `at least ${least}` : `at most ${most}`;
      return {
        success: false,
        error: message`Expected ${text(bounds)} bytes, but got ${input}.`,
      };
    },
  };
}

/** Whether it is a number of bytes, and one beyond all numbers. */
function isHuge(input: string): boolean {
  const [, digits, unit = "", binary = ""] =
    /^\s*(\d+(?:\.\d+)?)\s*(?:([KMGTPE])(i?))?B?\s*$/i.exec(input) ?? [];
  const factor = (binary === "" ? 1_000 : 1_024) ** " KMGTPE".indexOf(unit.toUpperCase() || " ");
  return digits !== undefined && Number(digits) * factor > Number.MAX_SAFE_INTEGER;
}

/**
 * A whole number.
 *
 * @param least The smallest that is accepted.
 * @param most The largest.
 * @returns A parser of whole numbers.
 */
export function count(least: number, most?: number): ValueParser<"sync", number> {
  return integer({
    metavar: "NUMBER",
    min: least,
    max: most,
    errors: {
      unsafeInteger: (input) =>
        message`Expected a number from ${text(String(least))} to ${
          text(String(most ?? MOST))
        }, but got ${input}.`,
    },
  });
}

/**
 * Where to listen or connect: whatever the library takes.
 *
 * @param resolve Has the library look at it.
 * @returns A parser of endpoints.
 */
function endpoint(resolve: (input: string) => unknown): ValueParser<"sync", string> {
  return {
    mode: "sync",
    metavar: "URL",
    placeholder: DEFAULT_ENDPOINT,
    parse(input) {
      try {
        resolve(input);
      } catch {
        return {
          success: false,
          error: message`Expected an endpoint such as tcp://127.0.0.1:5555 or \
ipc:///run/majortomo.sock, but got ${input}.`,
        };
      }
      return { success: true, value: input };
    },
    format: (value) => value,
  };
}

/**
 * Where to listen.
 *
 * @returns A parser of endpoints.
 */
export function bindUrl(): ValueParser<"sync", string> {
  return endpoint((bind) => resolveBrokerOptions({ bind }));
}

/**
 * Where to connect.
 *
 * @returns A parser of endpoints.
 */
export function brokerUrl(): ValueParser<"sync", string> {
  return endpoint((broker) => resolveClientOptions({ broker }));
}

/** What the option for a dialect says of itself. */
export const DIALECT_DESCRIPTION: Message =
  message`What to speak: auto (multiplexed if the broker can, else rfc), multiplexed, rfc, or \
majortomo for a broker in Python. Default: auto.`;

const DIALECT_OPTIONS: readonly DialectOption[] = ["auto", "multiplexed", "rfc", "majortomo"];

/**
 * What a client or worker speaks.
 *
 * @returns A parser of dialects by their names.
 */
export function dialect(): ValueParser<"sync", DialectOption> {
  return choice(DIALECT_OPTIONS, { metavar: "DIALECT" });
}

/**
 * The name of a service.
 *
 * @param metavar What stands for it in the help.
 * @returns A parser of text that is neither empty nor longer than a broker takes.
 */
export function service(metavar: NonEmptyString): ValueParser<"sync", string> {
  const name = string({
    metavar,
    pattern: /./s,
    errors: { patternMismatch: message`Expected a name, but got none.` },
  });
  return {
    ...name,
    parse(input) {
      const { length } = new TextEncoder().encode(input);
      if (length <= LONGEST_NAME) return name.parse(input);
      return {
        success: false,
        error: message`Expected a name of at most ${text(String(LONGEST_NAME))} bytes, but got one \
of ${text(String(length))}.`,
      };
    },
  };
}

/** Where to serve HTTP. */
export interface HttpAddress {
  /** The address, or a name of it. */
  hostname: string;
  /** The port; 0 is a free one. */
  port: number;
}

/**
 * Where to serve HTTP: `HOST:PORT`, or the port alone, which is one of loopback.
 *
 * @returns A parser of such addresses.
 */
export function httpAddress(): ValueParser<"sync", HttpAddress> {
  return {
    mode: "sync",
    metavar: "HOST:PORT",
    placeholder: { hostname: "127.0.0.1", port: 0 },
    parse(input) {
      const [, host = "", port = ""] =
        /^(?:(\[[\da-f:.]+\]|\*|[\w.-]+)?:)?(\d{1,5}|\*)$/i.exec(input.trim()) ?? [];
      if (port !== "" && Number(port === "*" ? 0 : port) <= 65_535) {
        const hostname = host === "*" ? "0.0.0.0" : host.replace(/[[\]]/g, "") || "127.0.0.1";
        return { success: true, value: { hostname, port: port === "*" ? 0 : Number(port) } };
      }
      return {
        success: false,
        error:
          message`Expected HOST:PORT such as 127.0.0.1:9090, or a port of loopback such as 9090, \
but got ${input}.`,
      };
    },
    format: ({ hostname, port }) =>
      `${hostname.includes(":") ? `[${hostname}]` : hostname}:${port}`,
  };
}

/**
 * The origin of web pages: whatever the gateway takes.
 *
 * @returns A parser of origins.
 */
export function origin(): ValueParser<"sync", string> {
  return {
    mode: "sync",
    metavar: "ORIGIN",
    placeholder: "*",
    parse(input) {
      if (isOrigin(input)) return { success: true, value: input };
      return {
        success: false,
        error:
          message`Expected an origin such as https://example.org, or * for any, but got ${input}.`,
      };
    },
    format: (value) => value,
  };
}

/**
 * Refuses to have workers for what no worker can serve.
 *
 * @param service The name.
 * @throws {UsageError} If it is the broker's own.
 */
export function refuseReserved(service: string): void {
  if (!service.startsWith("mmi.")) return;
  throw new UsageError(
    `No worker can serve "${service}": names that begin with mmi. are the broker's own`,
  );
}
