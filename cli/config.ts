/**
 * The broker's configuration file: YAML, with the options of the command line under their long
 * names, and how to log.
 *
 * ```yaml
 * bind-url:
 *   - tcp://127.0.0.1:5555
 *   - ipc:///run/majortomo.sock
 * heartbeat-interval: 500ms
 * heartbeat-timeout: 2
 * max-queue-bytes: 64MiB
 * logging:
 *   level: info
 *   format: json
 *   levels:
 *     majortomo.broker: debug
 *   sinks:
 *     - stderr
 *     - to: /var/log/majortomo/broker.log
 *       level: warning
 *       format: text
 * ```
 *
 * @module
 */

import process from "node:process";
import type { LogLevel } from "@logtape/logtape";
import { findSimilar } from "@optique/core/suggestion";
import { choice, type ValueParser } from "@optique/core/valueparser";
import * as v from "valibot";
import {
  type Document,
  isMap,
  isNode,
  isScalar,
  LineCounter,
  parseDocument,
  type YAMLError,
} from "yaml";
import { kebabCase, type Settings, VALUES } from "./broker_options.ts";
import { plainText, UsageError } from "./command_line.ts";
import { readFile } from "./files.ts";
import type { LogFormat, LogSink } from "./logging.ts";

/** What a configuration file says. */
export interface Config {
  /** The options. */
  settings: Settings;
  /** How to log, where it says so. */
  logging: {
    level?: LogLevel;
    format?: LogFormat;
    levels: Record<string, LogLevel>;
    sinks?: readonly LogSink[];
  };
  /** Keys that mean something to majortomo in Python and nothing here. */
  ignored: readonly string[];
}

/**
 * How long a file may be, in bytes. A running broker reads it, too, and serves nobody meanwhile;
 * the time that its parser takes grows with the square of the number of keys.
 */
const LONGEST = 65_536;

/** What no configuration file says. */
const NO_CONFIG: Config = { settings: {}, logging: { levels: {} }, ignored: [] };

/**
 * Reads a configuration file.
 *
 * @param path The file.
 * @returns What it says.
 * @throws {UsageError} If it cannot be read, or something in it is wrong: the message says where,
 * and what would be right.
 */
export function readConfig(path: string): Config {
  const bytes = readFile(path, "configuration file", LONGEST + 1);
  if (bytes.length > LONGEST) {
    throw new UsageError(
      `The configuration file "${path}" has more than ${LONGEST} bytes, which is all that is read`,
    );
  }
  let text: string;
  try {
    text = new TextDecoder("utf-8", { fatal: true }).decode(bytes);
  } catch {
    throw new UsageError(
      `Cannot read the configuration file "${path}": It is no text in UTF-8`,
    );
  }
  return parseConfig(text, path);
}

/**
 * Parses the text of a configuration file.
 *
 * @param text The text.
 * @param path The file's name, for messages.
 * @returns What it says.
 * @throws {UsageError} If something in it is wrong.
 */
export function parseConfig(text: string, path: string): Config {
  const lines = new LineCounter();
  const document = withoutEnvironment(() =>
    parseDocument(text, { lineCounter: lines, prettyErrors: false })
  );
  const fail = (offset: number | undefined, message: string): never => {
    const at = offset === undefined ? "" : `:${lines.linePos(offset).line}`;
    throw new UsageError(`${path}${at}: ${message}`);
  };
  const [fault] = [...document.errors, ...document.warnings];
  if (fault !== undefined) {
    fail(fault.pos[0], explain(fault, text));
  }
  const { contents } = document;
  if (contents === null || isScalar(contents) && contents.value === null) return NO_CONFIG;
  if (!isMap(contents)) {
    fail(0, `Expected "option: value" lines, but got ${show(toJs(document, fail))}`);
  }

  const spelled = new Map<string, string>();
  const values: Record<string, unknown> = {};
  for (const [key, value] of Object.entries(toJs(document, fail))) {
    const name = key.replace(/[-_]([a-z])/g, (_, letter: string) => letter.toUpperCase());
    const before = spelled.get(name);
    if (before !== undefined) {
      fail(offsetOf(document, [key]), `${key}: The same option is set as ${before} already`);
    }
    spelled.set(name, key);
    values[name] = value;
  }
  const result = v.safeParse(SCHEMA, values);
  if (result.success) return assemble(result.output);
  const issue = result.issues[0];
  const [first, ...rest] = (issue.path ?? []).map((item) => String(item.key));
  // One value may stand for a list of one, which has no places.
  const inside = typeof values[first!] === "object" ? rest : [];
  const keys = [spelled.get(first!) ?? first!, ...inside];
  return fail(offsetOf(document, keys), `${keys.join(".")}: ${describe(issue, keys)}`);
}

/** What is wrong with a text that is not what YAML can be here. */
function explain({ code, message, pos: [start] }: YAMLError, text: string): string {
  switch (code) {
    case "DUPLICATE_KEY":
      return `${/^[^\s:]+/.exec(text.slice(start))}: The same option is set above already`;
    case "MULTIPLE_DOCS":
      return "Expected one document, but a second begins here";
    case "RESOURCE_EXHAUSTION":
      return "Nested too deeply";
    default:
      return message.replace(/\s*\n\s*/g, " ");
  }
}

/** Reads a value as the command line would. */
function as<T>(parser: ValueParser<"sync", T>) {
  return v.pipe(
    v.unknown(),
    v.rawTransform<unknown, T>(({ dataset: { value }, addIssue, NEVER }) => {
      const isObject = typeof value === "object" && value !== null;
      const result = parser.parse(isObject ? JSON.stringify(value) : String(value));
      if (result.success) return result.value;
      addIssue({ message: plainText(result.error) });
      return NEVER;
    }),
  );
}

/** Reads one value, or several in a list. */
function oneOrMore<T>(parser: ValueParser<"sync", T>, what: string) {
  return v.pipe(
    v.unknown(),
    v.transform((value) => Array.isArray(value) ? value : [value]),
    v.array(as(parser)),
    v.nonEmpty(`Expected at least one ${what}, but got an empty list`),
  );
}

const flag = v.boolean(({ input }) => `Expected true or false, but got ${JSON.stringify(input)}`);

/** The names of levels here and in Python, and what they are here. */
const LEVELS = {
  trace: "trace",
  debug: "debug",
  info: "info",
  warning: "warning",
  warn: "warning",
  error: "error",
  fatal: "fatal",
  critical: "fatal",
} as const;

const level = v.pipe(
  as(choice(Object.keys(LEVELS) as (keyof typeof LEVELS)[], { caseInsensitive: true })),
  v.transform((name): LogLevel => LEVELS[name]),
);

/** Python's levels are numbers, too, or none: a record is logged whose number is at least that. */
const pythonLevel = v.optional(v.pipe(
  v.unknown(),
  v.transform((value) => {
    if (value === null || value === 0 || /^notset$/i.test(String(value))) return undefined;
    if (!Number.isInteger(value)) return value;
    return PYTHON_LEVELS.find(([number]) => (value as number) <= number)?.[1] ?? "fatal";
  }),
  v.optional(level),
));

const PYTHON_LEVELS = [[10, "debug"], [20, "info"], [30, "warning"], [40, "error"]] as const;

/** A logger in the form of Python's logging.config; what else it may have is of no use here. */
const pythonLogger = v.looseObject({ level: pythonLevel }, expectedMapping);

const SINK = v.strictObject({
  to: v.pipe(
    v.string(({ input }) => `Expected stderr, stdout or a path, but got ${show(input)}`),
    v.nonEmpty('Expected stderr, stdout or a path, but got ""'),
  ),
  level: v.optional(level),
  format: v.optional(as(VALUES.logFormat)),
}, (issue) => {
  if (issue.expected === "never") return "";
  if (issue.expected === '"to"') return 'Expected "to: …" with stderr, stdout or a path';
  return `Expected stderr, stdout, a path, or "to: …" with one of them, but got ${
    show(issue.input)
  }`;
});

/** The rest of that form. */
const PYTHON_ONLY = ["formatters", "filters", "handlers"] as const;

const LOGGING = v.strictObject({
  level: v.optional(level),
  format: v.optional(as(VALUES.logFormat)),
  levels: v.optional(v.record(v.string(), level, expectedMapping)),
  sinks: v.optional(v.pipe(
    v.unknown(),
    v.transform((value) => Array.isArray(value) ? value : [value]),
    // Each may be its name alone.
    v.transform((all) => all.map((each) => typeof each === "string" ? { to: each } : each)),
    v.array(SINK),
    v.nonEmpty("Expected at least one sink, but got an empty list"),
  )),
  root: v.optional(pythonLogger),
  loggers: v.optional(v.record(v.string(), pythonLogger, expectedMapping)),
  version: v.optional(v.unknown()),
  incremental: v.optional(v.unknown()),
  disable_existing_loggers: v.optional(v.unknown()),
  formatters: v.optional(v.unknown()),
  filters: v.optional(v.unknown()),
  handlers: v.optional(v.unknown()),
}, expectedMapping);

const SCHEMA = v.strictObject({
  bindUrl: v.optional(oneOrMore(VALUES.bindUrl, "endpoint")),
  heartbeatInterval: v.optional(as(VALUES.heartbeatInterval)),
  heartbeatTimeout: v.optional(as(VALUES.heartbeatTimeout)),
  busyWorkerTimeout: v.optional(as(VALUES.busyWorkerTimeout)),
  requestExpiry: v.optional(as(VALUES.requestExpiry)),
  maxAttempts: v.optional(as(VALUES.maxAttempts)),
  maxQueue: v.optional(as(VALUES.maxQueue)),
  maxQueueBytes: v.optional(as(VALUES.maxQueueBytes)),
  maxTotalQueue: v.optional(as(VALUES.maxTotalQueue)),
  maxTotalQueueBytes: v.optional(as(VALUES.maxTotalQueueBytes)),
  maxClientQueue: v.optional(as(VALUES.maxClientQueue)),
  maxClientQueueBytes: v.optional(as(VALUES.maxClientQueueBytes)),
  maxMessageSize: v.optional(as(VALUES.maxMessageSize)),
  transport: v.optional(as(VALUES.transport)),
  drain: v.optional(as(VALUES.drain)),
  http: v.optional(as(VALUES.http)),
  gateway: v.optional(flag),
  gatewayOrigin: v.optional(oneOrMore(VALUES.gatewayOrigin, "origin")),
  logFormat: v.optional(as(VALUES.logFormat)),
  verbose: v.optional(flag),
  debug: v.optional(flag),
  logging: v.optional(LOGGING),
});

function assemble({ logging = {}, ...settings }: v.InferOutput<typeof SCHEMA>): Config {
  const levels: Record<string, LogLevel> = {};
  let { level } = logging.root ?? {};
  for (const [name, logger] of Object.entries(logging.loggers ?? {})) {
    if (logger.level === undefined) continue;
    // Both names are the root's, whose own section comes first.
    if (name === "" || name === "root") level ??= logger.level;
    // As `python -m majortomo.broker` logs.
    else if (name === "__main__") levels["majortomo.broker"] ??= logger.level;
    else levels[name] = logger.level;
  }
  return {
    settings,
    logging: {
      level: logging.level ?? level,
      format: logging.format,
      levels: { ...levels, ...logging.levels },
      sinks: logging.sinks,
    },
    ignored: PYTHON_ONLY.filter((key) => logging[key] !== undefined).map((key) => `logging.${key}`),
  };
}

function expectedMapping({ expected, input }: v.BaseIssue<unknown>): string {
  return expected === "never" ? "" : `Expected "name: value" lines, but got ${show(input)}`;
}

/** What is wrong with the value at these keys, and what would be right. */
function describe(issue: v.BaseIssue<unknown>, keys: readonly string[]): string {
  // An unknown key: valibot expects that it "never" is there.
  if (issue.kind !== "schema" || issue.expected !== "never") return issue.message;
  const known = keys.length === 1
    ? Object.keys(SCHEMA.entries).map(kebabCase)
    : Object.keys(keys[1] === "sinks" ? SINK.entries : LOGGING.entries);
  const [similar] = findSimilar(keys.at(-1)!.replaceAll("_", "-"), known, { maxSuggestions: 1 });
  return `Unknown option with the value ${show(issue.path?.at(-1)?.value)}, ${
    similar === undefined ? `expected one of ${known.join(", ")}` : `did you mean ${similar}?`
  }`;
}

function show(value: unknown): string {
  return JSON.stringify(value) ?? String(value);
}

function toJs(document: Document, fail: (offset: undefined, message: string) => never) {
  let value: Record<string, unknown>;
  try {
    value = document.toJS() as Record<string, unknown>;
  } catch (error) {
    // Aliases that multiply beyond all measure.
    return fail(undefined, error instanceof Error ? error.message : String(error));
  }
  try {
    JSON.stringify(value);
  } catch {
    return fail(undefined, "An alias stands in what it is an alias of, without end");
  }
  return value;
}

/**
 * The yaml package reads LOG_TOKENS and LOG_STREAM from the environment as it parses, to debug
 * itself, which would need a permission that nobody else here does.
 */
function withoutEnvironment<T>(parse: () => T): T {
  const { env } = process;
  process.env = {};
  try {
    return parse();
  } finally {
    process.env = env;
  }
}

/** Where a value stands in the file, or the nearest of what it stands in. */
function offsetOf(document: Document, keys: readonly string[]): number | undefined {
  for (let depth = keys.length; depth > 0; depth--) {
    const parent = depth === 1 ? document.contents : document.getIn(keys.slice(0, depth - 1), true);
    if (!isMap(parent)) continue;
    const pair = parent.items.find(({ key }) =>
      isScalar(key) && String(key.value) === keys[depth - 1]
    );
    if (isNode(pair?.key)) return pair.key.range?.[0];
  }
  return undefined;
}
