/**
 * Where the programs' log goes: to stderr, as text or as lines of JSON.
 *
 * @module
 */

import {
  configureSync,
  getConsoleSink,
  getJsonLinesFormatter,
  getLogger,
  getTextFormatter,
  type Logger,
  type LogLevel,
  type LogRecord,
  type TextFormatter,
} from "@logtape/logtape";

/** The forms of the log, by their name in the options. */
export const LOG_FORMATS = ["text", "json"] as const;

/** A form of the log. */
export type LogFormat = (typeof LOG_FORMATS)[number];

/** What is logged, and how. */
export interface LogSettings {
  /** The least level that is logged. */
  level: LogLevel;
  /** The form. */
  format: LogFormat;
  /** Levels of categories, e.g. of `majortomo.broker`, where they differ. */
  levels?: Readonly<Record<string, LogLevel>>;
}

/**
 * What a program says itself, such as where it listens. It is no matter of taste: whatever the
 * level, it is logged from info up, and as text it has no time and category before it.
 */
const CLI = "majortomo.cli";

/** What runs before it is needed, which is nothing to tell anybody. */
const WARM_UP = "majortomo.warm-up";

/** What a program says itself; see there. */
export const cliLogger: Logger = getLogger(CLI.split("."));

/** Goes nowhere; see there. */
export const warmUpLogger: Logger = getLogger(WARM_UP.split("."));

/**
 * Sends the log to stderr from now on.
 *
 * @param name The program's name, before its own warnings and errors in text form.
 * @param settings What to log, and how.
 */
export function configureLogging(name: string, settings: LogSettings): void {
  const levels = new Map(Object.entries(settings.levels ?? {}));
  levels.set(CLI, "info").set("logtape.meta", "warning");
  const onStderr = { sinks: ["stderr" as const], parentSinks: "override" as const };
  configureSync({
    reset: true,
    sinks: {
      stderr: getConsoleSink({
        formatter: settings.format === "json" ? json : text(name),
        levelMap: {
          trace: "error",
          debug: "error",
          info: "error",
          warning: "error",
          error: "error",
          fatal: "error",
        },
      }),
    },
    loggers: [
      { ...onStderr, category: [], lowestLevel: settings.level },
      { category: WARM_UP.split("."), parentSinks: "override", lowestLevel: null },
      ...Array.from(levels, ([category, lowestLevel]) => ({
        ...onStderr,
        category: category.split("."),
        lowestLevel,
      })),
    ],
  });
}

function text(name: string): TextFormatter {
  const log = getTextFormatter({
    timestamp: "rfc3339",
    level: "FULL",
    category: ".",
    value: "bare",
  });
  const plain = getTextFormatter({
    value: "bare",
    format: ({ message, record }) => record.level === "info" ? message : `${name}: ${message}`,
  });
  return (record) => record.category.join(".") === CLI ? plain(record) : log(record);
}

const jsonLines = getJsonLinesFormatter({ properties: "flatten" });
const message = getTextFormatter({ value: "bare", format: ({ message }) => message });

/** Values that are text stand in the message as they do in text form, without quotes. */
function json(record: LogRecord): string {
  return jsonLines({ ...record, message: [message(record).trimEnd()] });
}
