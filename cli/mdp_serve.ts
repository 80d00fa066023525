/**
 * `mdp serve`: a worker from the shell.
 *
 * @module
 */

import { object, or } from "@optique/core/constructs";
import { message, optionName } from "@optique/core/message";
import { map, multiple, withDefault } from "@optique/core/modifiers";
import { argument, command, constant, flag, option } from "@optique/core/primitives";
import { string } from "@optique/core/valueparser";
import { DEFAULT_ENDPOINT } from "../options.ts";
import { type RequestHandler, Worker } from "../worker.ts";
import { UsageError } from "./command_line.ts";
import { EXIT } from "./exit_codes.ts";
import { asItIs, cliLogger } from "./logging.ts";
import { brokers, type Common, examples, usage } from "./mdp_options.ts";
import { tell } from "./output.ts";
import { mayRunShell, outputOf, partsOf } from "./shell.ts";
import { stopSignal } from "./signals.ts";
import { count, refuseReserved, service } from "./values.ts";

/** After how long it is said that no broker answers, in ms: by then one that is there has. */
const PATIENCE = 2_000;

/** What is done with a request. */
type Answer =
  | { kind: "echo" }
  | { kind: "command"; command: string }
  | { kind: "reply"; frames: readonly string[] };

/** What is served, and how. */
interface ServeOptions extends Common {
  service: string;
  answer: Answer;
  stream: boolean;
  concurrency: number;
  verbose: boolean;
}

/** The command. */
export const SERVE = command(
  "serve",
  object({
    action: constant("serve"),
    service: argument(service("SERVICE"), { description: message`The service to be.` }),
    answer: or(
      map(
        flag("--echo", { description: message`Answer with what came.` }),
        (): Answer => ({ kind: "echo" }),
      ),
      map(
        option("-c", "--command", string({ metavar: "COMMAND" }), {
          description: message`Run this for each request, by sh -c: the request is its stdin, its \
stdout the answer. If it does not exit with 0 the client gets error 500, with the last line of its \
stderr.`,
        }),
        (command): Answer => ({ kind: "command", command }),
      ),
      map(
        multiple(
          option("-r", "--reply", string({ metavar: "TEXT" }), {
            description: message`Answer with this; repeated: a frame each.`,
          }),
          { min: 1 },
        ),
        (frames): Answer => ({ kind: "reply", frames }),
      ),
      {
        errors: {
          noMatch: message`What to answer is missing: one of ${optionName("--echo")}, \
${optionName("--command")} and ${optionName("--reply")}`,
        },
      },
    ),
    stream: withDefault(
      flag("--stream", {
        description: message`With ${optionName("--command")}: send each line of its stdout at \
once, as a PARTIAL, and an empty FINAL.`,
      }),
      false,
    ),
    concurrency: withDefault(
      option("-j", "--concurrency", count(1, 65_535), {
        description: message`Take so many requests at once. Default: 1.`,
      }),
      1,
    ),
    verbose: withDefault(
      flag("-V", "--verbose", { description: message`Tell of each request on stderr.` }),
      false,
    ),
  }),
  {
    brief: message`Serve requests from the shell.`,
    description: message`A worker for a service. It says on stderr when a broker has taken it \
(in the dialects rfc and majortomo: when the connection stands, as no more can be known there), and \
goes on trying while there is none. A signal stops it: requests in hand have 5 \
seconds to end, a second signal ends it at once. A command whose answer nobody waits for any more \
is killed. To brokers of RFC 18 alone no errors can be sent: there a request whose command failed \
is left to the next worker.`,
    footer: examples(
      "mdp serve mdp-echo --echo",
      "mdp serve upper --command 'tr a-z A-Z'",
      "mdp serve logs --command 'journalctl --follow --lines 0' --stream",
      "mdp serve health --reply OK --concurrency 16",
    ),
    usageLine: usage({ type: "argument", metavar: "SERVICE" }),
  },
);

/**
 * Serves until a signal comes.
 *
 * @param options What the command line says.
 * @returns The exit code.
 * @throws {MdpError} If libzmq refuses the endpoint, or cannot be opened.
 * @throws {UsageError} If the options do not fit together.
 */
export async function runServe(options: ServeOptions): Promise<number> {
  const { service, answer, stream, dialect, concurrency, verbose } = options;
  if (stream && answer.kind !== "command") {
    throw new UsageError(`--stream goes with --command, and not with --${answer.kind}`);
  }
  refuseReserved(service);
  if (answer.kind === "command" && !mayRunShell()) {
    throw new UsageError(
      `--command "${answer.command}" needs the permission --allow-run: run deno with --allow-run`,
    );
  }
  const broker = brokers(options) ?? [DEFAULT_ENDPOINT];
  const where = broker.join(", ");
  const handler = handlerFor(answer, stream);
  using stop = stopSignal();
  await using worker = new Worker({
    broker,
    service,
    dialect,
    concurrency,
    // The broker knows best what it takes.
    maxMessageSize: Infinity,
    onRegistered(broker) {
      clearTimeout(patience);
      cliLogger.info(asItIs(`Serving ${JSON.stringify(service)} at ${broker}`), {
        service,
        broker,
      });
    },
  });
  cliLogger.info(asItIs(`Connecting to ${where}`), { service });
  const patience = setTimeout(() => {
    cliLogger.warn(asItIs(`No broker answers at ${where}: it is tried until one does`), {
      service,
    });
  }, PATIENCE);
  try {
    await worker.serve(verbose ? told(handler) : handler, {
      signal: stop.signal,
      onError: verbose ? (error) => tell(`Failed: ${describe(error)}`) : undefined,
    });
  } finally {
    clearTimeout(patience);
  }
  return EXIT.ok;
}

function handlerFor(answer: Answer, stream: boolean): RequestHandler {
  switch (answer.kind) {
    case "echo":
      return ({ frames }) => frames;
    case "reply":
      return () => [...answer.frames];
    case "command":
      return stream
        ? (request) => partsOf(answer.command, request.bytes(), request.signal)
        : (request) => outputOf(answer.command, request.bytes(), request.signal);
  }
}

function told(handler: RequestHandler): RequestHandler {
  return (request) => {
    const { frames } = request;
    const bytes = frames.reduce((sum, { length }) => sum + length, 0);
    tell(
      `Request: ${frames.length === 1 ? "1 frame" : `${frames.length} frames`}, ${bytes} bytes`,
    );
    return handler(request);
  };
}

function describe(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
