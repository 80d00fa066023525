/**
 * Where the programs' log goes, to stderr unless told otherwise, as text or as lines of JSON.
 *
 * @module
 */

import {
  configureSync,
  getJsonLinesFormatter,
  getLogger,
  getTextFormatter,
  type Logger,
  type LogLevel,
  type LogRecord,
  type Sink,
  type TextFormatter,
  withFilter,
} from "@logtape/logtape";
import { isStream, openSink } from "./log_sinks.ts";
import { tell } from "./output.ts";

/** The forms of the log, by their name in the options. */
export const LOG_FORMATS = ["text", "json"] as const;

/** A form of the log. */
export type LogFormat = (typeof LOG_FORMATS)[number];

/** A place that the log goes to. */
export interface LogSink {
  /** `stderr`, `stdout`, or the path of a file. */
  to: string;
  /** The least level that goes there, beside what holds for all. */
  level?: LogLevel;
  /** The form, if it is not that of all. */
  format?: LogFormat;
}

/** What is logged, and how. */
export interface LogSettings {
  /** The least level that is logged. */
  level: LogLevel;
  /** The form. */
  format: LogFormat;
  /** Levels of categories, e.g. of `majortomo.broker`, where they differ. */
  levels?: Readonly<Record<string, LogLevel>>;
  /**
   * Where it goes.
   * @default {stderr}
   */
  sinks?: readonly LogSink[];
}

/**
 * What a program says itself, such as where it listens. It is no matter of taste: whatever the
 * level, it is logged from info up, and as text it has no time and category before it.
 */
const CLI = "majortomo.cli";

/** Where its errors go, too, when all else goes to files: these may be what is wrong. */
const BESIDE = "beside";

/** What runs before it is needed, which is nothing to tell anybody. */
const WARM_UP = "majortomo.warm-up";

/** What a program says itself; see there. */
export const cliLogger: Logger = getLogger(CLI.split("."));

/**
 * A text that is to be logged as it is: LogTape takes what is in braces for the name of a value.
 *
 * @param text The text.
 * @returns It, with its braces doubled.
 */
export function asItIs(text: string): string {
  return text.replace(/[{}]/g, "$&$&");
}

/** Goes nowhere; see there. */
export const warmUpLogger: Logger = getLogger(WARM_UP.split("."));

/**
 * Has the log go where the settings say from now on.
 *
 * @param name The program's name, before its own warnings and errors in text form.
 * @param settings What to log, and how.
 * @throws {UsageError} If a file cannot be written; then all stays as it was.
 */
export function configureLogging(name: string, settings: LogSettings): void {
  prepareLogging(name, settings)();
}

/**
 * Opens what the log is to go to. Files are opened anew, so that one that was moved away is let go
 * of.
 *
 * @param name As for {@linkcode configureLogging}.
 * @param settings As there.
 * @returns Has it go there, from when it is called.
 * @throws {UsageError} If a file cannot be written.
 */
export function prepareLogging(name: string, settings: LogSettings): () => void {
  const sinks = openSinks(name, settings);
  return () => switchTo(sinks, settings);
}

function switchTo(sinks: Record<string, Sink>, settings: LogSettings): void {
  const levels = new Map(Object.entries(settings.levels ?? {}));
  levels.set(CLI, "info").set("logtape.meta", "warning");
  levels.delete(WARM_UP);
  const all = Object.keys(sinks);
  const everywhere = {
    sinks: all.filter((name) => name !== BESIDE),
    parentSinks: "override" as const,
  };
  configureSync({
    reset: true,
    sinks,
    loggers: [
      { ...everywhere, category: [], lowestLevel: settings.level },
      { category: WARM_UP.split("."), parentSinks: "override", lowestLevel: null },
      ...Array.from(levels, ([category, lowestLevel]) => ({
        ...everywhere,
        ...(category === CLI && { sinks: all }),
        category: category.split("."),
        lowestLevel,
      })),
    ],
  });
}

/** Opens all, or none. */
function openSinks(name: string, settings: LogSettings): Record<string, Sink> {
  const opened: Record<string, Sink & Partial<Disposable>> = {};
  const all: readonly LogSink[] = settings.sinks ?? [{ to: "stderr" }];
  const formatterOf = ({ format = settings.format }: Partial<LogSink> = {}) =>
    format === "json" ? json : text(name);
  // What one of them cannot take any more is told on stderr, whether it is one of them or not.
  const onStderr = formatterOf(all.find(({ to }) => to === "stderr"));
  const tellRecord = (record: LogRecord) => tell(onStderr(record).trimEnd());
  try {
    for (const each of all) {
      const { to, level } = each;
      const sink = openSink(to, formatterOf(each), tellRecord);
      opened[`${Object.keys(opened).length} ${to}`] = level === undefined
        ? sink
        : withFilter(sink, level);
    }
    if (!all.some(({ to }) => isStream(to))) opened[BESIDE] = withFilter(tellRecord, "error");
  } catch (error) {
    for (const sink of Object.values(opened)) sink[Symbol.dispose]?.();
    throw error;
  }
  return opened;
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
