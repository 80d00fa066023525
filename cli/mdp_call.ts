/**
 * `mdp call`: asks a service and prints what it answers.
 *
 * @module
 */

import { object, or } from "@optique/core/constructs";
import { message, optionName } from "@optique/core/message";
import { map, multiple, optional, withDefault } from "@optique/core/modifiers";
import { argument, command, constant, flag, option } from "@optique/core/primitives";
import { string } from "@optique/core/valueparser";
import { MdpError, ServiceError } from "../errors.ts";
import type { ReplyPart } from "../reply.ts";
import { UsageError } from "./command_line.ts";
import { EXIT } from "./exit_codes.ts";
import { readFile } from "./files.ts";
import { type Common, connect, examples, usage } from "./mdp_options.ts";
import { print, write } from "./output.ts";
import { asText, printableLines } from "./printable.ts";
import { count, duration, service } from "./values.ts";

const TIMEOUT = 30_000;

/** What is sent, and how the answers are shown. */
interface CallOptions extends Common {
  service: string;
  body: readonly string[];
  files: readonly string[];
  headers: readonly string[];
  count: number;
  concurrency: number;
  deadline?: number;
  retries?: number;
  noWait: boolean;
  once: boolean;
  form: "text" | "raw" | "json";
}

/** The command. */
export const CALL = command(
  "call",
  object({
    action: constant("call"),
    service: argument(service("SERVICE"), { description: message`The service that is asked.` }),
    body: multiple(argument(string({ metavar: "BODY" }), {
      description: message`What to send, a frame each. Without it, and without \
${optionName("--file")}, stdin is sent, unless that is a terminal.`,
    })),
    files: multiple(option("-f", "--file", string({ metavar: "FILE" }), {
      description: message`Send what is in a file, - being stdin; repeated: a frame each.`,
    })),
    headers: multiple(option("-H", "--header", string({ metavar: "NAME:VALUE" }), {
      description: message`Send a header along; needs the multiplexed dialect. Can be repeated.`,
    })),
    count: withDefault(
      option("-n", "--count", count(1), {
        description: message`Send it so many times. Default: 1.`,
      }),
      1,
    ),
    concurrency: withDefault(
      option("-j", "--concurrency", count(1, 65_535), {
        description: message`Keep so many in flight. Default: 1, one after the other.`,
      }),
      1,
    ),
    deadline: optional(option("--deadline", duration(1), {
      description: message`Give up when the whole of an answer is not there by then.`,
    })),
    retries: optional(option("--retries", count(0), {
      description: message`Send a request again so often after a timeout. Default: once to each \
further broker.`,
    })),
    noWait: withDefault(
      flag("--no-wait", {
        description: message`Fail at once with 404 if no worker serves it now.`,
      }),
      false,
    ),
    once: withDefault(
      flag("--once", {
        description: message`Never have it done by a second worker when the first is lost; needs \
the multiplexed dialect.`,
      }),
      false,
    ),
    form: withDefault(
      or(
        map(
          flag("--raw", {
            description: message`Write the bytes of the answers, and nothing else.`,
          }),
          () => "raw" as const,
        ),
        map(
          flag("--json", {
            description: message`Print a JSON object for each part, on a line of its own.`,
          }),
          () => "json" as const,
        ),
      ),
      "text" as const,
    ),
  }),
  {
    brief: message`Ask a service and print its answer.`,
    description: message`Sends a request and prints the frames of the answer, each on a line, its \
PARTIALs as they come, and an empty FINAL behind them not at all. Control characters are escaped but for line breaks. In JSON a frame is a \
string, or an object with its "base64" if it is not UTF-8.`,
    footer: examples(
      "mdp call upper hello",
      "mdp call resize --file photo.jpg --raw > small.jpg",
      "echo '{\"year\": 2026}' | mdp call report --timeout 2m",
      "mdp call upper hello --count 1000 --concurrency 50 --json",
    ),
    usageLine: usage({ type: "argument", metavar: "SERVICE" }, {
      type: "multiple",
      min: 0,
      terms: [{ type: "argument", metavar: "BODY" }],
    }),
  },
);

/**
 * Asks, and prints what is answered.
 *
 * @param options What the command line says.
 * @returns The exit code.
 * @throws {MdpError} If an answer does not come, or is an error; nothing more is sent then.
 * @throws {UsageError} If the options cannot be done.
 */
export async function runCall(options: CallOptions): Promise<number> {
  const headers = parseHeaders(options.headers);
  const body = await readBody(options);
  const { service, count, concurrency, form, deadline, retries, noWait, once } = options;
  await using client = connect(options, TIMEOUT, concurrency);
  let sent = 0;
  const send = async () => {
    while (sent < count) {
      const request = ++sent, start = performance.now();
      const took = () => Number((performance.now() - start).toFixed(3));
      try {
        const parts = client.stream(service, body, { headers, deadline, retries, noWait, once });
        let isFirst = true;
        for await (const part of parts) {
          show(part, form, request, took(), isFirst);
          isFirst = false;
        }
      } catch (error) {
        if (form === "json" && error instanceof MdpError) showError(error, request, took());
        throw error;
      }
    }
  };
  try {
    await Promise.all(Array.from({ length: Math.min(concurrency, count) }, send));
  } finally {
    // After a failure nothing more is sent.
    sent = count;
  }
  return EXIT.ok;
}

function show(
  part: ReplyPart,
  form: CallOptions["form"],
  request: number,
  ms: number,
  isFirst: boolean,
): void {
  const { type, frames, headers } = part;
  // It has one frame at least, by RFC 18, and says nothing but that there are no more PARTIALs.
  const isEnd = !isFirst && type === "final" && frames.length <= 1 && !frames[0]?.length;
  if (form === "raw") { for (const frame of frames) write(frame); }
  else if (form === "text") { if (!isEnd) print(...frames.map(printableLines)); }
  else {
    const some = Object.keys(headers).length > 0;
    print(JSON.stringify({
      request,
      type,
      ms,
      headers: some ? headers : undefined,
      frames: frames.map(frameAsJson),
    }));
  }
}

function showError(error: MdpError, request: number, ms: number): void {
  const { name, message } = error;
  const { code, details } = error instanceof ServiceError ? error : {};
  print(JSON.stringify({
    request,
    type: "error",
    ms,
    name,
    code,
    message,
    details: details && frameAsJson(details),
  }));
}

function frameAsJson(frame: Uint8Array): string | { base64: string } {
  return asText(frame) ?? { base64: frame.toBase64() };
}

async function readBody({ body, files }: CallOptions): Promise<(string | Uint8Array)[]> {
  if (body.length > 0 && files.length > 0) {
    throw new UsageError(`--file "${files[0]}" and the body "${body[0]}" exclude each other`);
  }
  if (body.length > 0) return [...body];
  if (files.filter((file) => file === "-").length > 1) {
    throw new UsageError("--file - can be given once, as stdin can be read once");
  }
  const stdin = async () => new Uint8Array(await new Response(Deno.stdin.readable).arrayBuffer());
  if (files.length === 0) return Deno.stdin.isTerminal() ? [] : [await stdin()];
  const frames: Uint8Array[] = [];
  for (const file of files) frames.push(file === "-" ? await stdin() : readFile(file, "file"));
  return frames;
}

function parseHeaders(lines: readonly string[]): Record<string, string> | undefined {
  if (lines.length === 0) return undefined;
  return Object.fromEntries(lines.map((line) => {
    const [, name, value] = /^([^:]+):\s*(.*)$/s.exec(line) ?? [];
    if (name === undefined) {
      throw new UsageError(
        `--header: Expected a name and a value such as Trace:42, but got "${line}"`,
      );
    }
    return [name.trim(), value!];
  }));
}
