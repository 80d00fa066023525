/**
 * Measures the broker, the client and the worker under load: `deno task bench --help`.
 *
 * Each measurement has a fresh broker, which is a process of its own, as is the load on it.
 *
 * @module
 */

import { runProgram, UsageError } from "../cli/command_line.ts";
import { EXIT } from "../cli/exit_codes.ts";
import { print, printJson, tell } from "../cli/output.ts";
import { Progress } from "../cli/progress.ts";
import { stopSignal } from "../cli/signals.ts";
import type { DialectName } from "../codec.ts";
import { type Contest, hold, type Outcome, type Side } from "./contest.ts";
import { NAME, type Options, parseOptions } from "./options.ts";
import { find, natsContests, versionOf } from "./peers.ts";
import { writePlots } from "./plot.ts";
import { BenchError } from "./process.ts";
import { heading, report, rows } from "./report.ts";
import { SHAPES } from "./shapes.ts";
import type { Shape } from "./shape.ts";
import { Stage } from "./stage.ts";

/**
 * Runs the bench.
 *
 * @param args The command line's arguments.
 * @returns The exit code: 1 if anything could not be measured.
 */
export function main(args: readonly string[]): Promise<number> {
  return runProgram(NAME, async () => {
    const options = parseOptions(args);
    if (options === undefined) return EXIT.ok;
    if (Deno.build.os !== "linux") {
      tell(`${NAME}: The bench needs Linux: it reads CPU and memory from /proc`);
      return EXIT.failure;
    }
    if (options.plot !== undefined) await checkFolder(options.plot);
    const { contests, skipped, server } = chosen(options);
    for (const line of skipped) tell(`${NAME}: ${line}`);
    // Its terminal was closed: what it has started would go on.
    using stop = stopSignal(["SIGHUP", 129]);
    try {
      const outcomes = await measure(contests, options, stop.signal);
      if (options.json) {
        const natsServer = server === undefined ? undefined : await versionOf(server);
        printJson(report(outcomes, options, skipped, { natsServer }));
      }
      if (options.plot !== undefined) await plot(options.plot, outcomes);
      return outcomes.some(({ failures }) => failures.length > 0) ? EXIT.failure : EXIT.ok;
    } catch (error) {
      if (stop.signal.aborted) return stop.exitCode!;
      if (!(error instanceof BenchError)) throw error;
      tell(`${NAME}: ${error.message}`);
      return EXIT.failure;
    }
  });
}

async function plot(folder: string, outcomes: readonly Outcome[]): Promise<void> {
  let paths;
  try {
    paths = writePlots(folder, outcomes);
  } catch (error) {
    // It could be written to before anything was measured.
    const why = error instanceof Error ? error.message : String(error);
    throw new BenchError(`Cannot write the plots to "${folder}": ${why}`);
  }
  // As the checks of the project want files to be.
  await new Deno.Command(Deno.execPath(), { args: ["fmt", "--quiet", ...paths] }).output();
  for (const path of paths) tell(`Wrote ${path}`);
}

/** Before anything is measured: that takes long. */
async function checkFolder(path: string): Promise<void> {
  try {
    await Deno.remove(await Deno.makeTempFile({ dir: path }));
  } catch {
    throw new UsageError(
      `--plot is a folder that exists and may be written to, but got "${path}"`,
    );
  }
}

async function measure(
  contests: readonly Contest[],
  { rounds, json }: Options,
  signal: AbortSignal,
): Promise<Outcome[]> {
  const outcomes: Outcome[] = [];
  const total = contests.reduce((sum, { sides }) => sum + rounds * sides.length, 0);
  let begun = 0;
  let columns = "";
  for (const contest of contests) {
    const { shape, point, dialect, sides } = contest;
    let text = "";
    {
      using _ = new Progress(() => ({ done: (begun - 1) / total, text }));
      outcomes.push(
        await hold(contest, rounds, signal, (round, { name }) => {
          begun++;
          const what = [shape, point, dialect, name].filter((part) => part !== undefined);
          text = `${what.join(" ")}, round ${round + 1}`;
        }),
      );
    }
    if (json) continue;
    const head = heading(sides);
    if (head !== columns) print(columns = head);
    print(...rows(outcomes.at(-1)!, sides));
  }
  return outcomes;
}

/** What is to be measured, and why something that was asked for is not; `nats-server`'s path. */
function chosen(
  options: Options,
): { contests: Contest[]; skipped: string[]; server?: string } {
  const { only, peers, plot } = options;
  // All that there are plots of, unless some of those are named.
  const allPlots = plot !== undefined &&
    !SHAPES.some(({ name, isPlotted }) => isPlotted && only.includes(name));
  const isChosen = ({ name, onRequest, isPlotted }: Shape) =>
    only.includes(name) || allPlots && isPlotted ||
    only.length === 0 && !peers && plot === undefined && !onRequest;
  const contests = SHAPES.filter(isChosen).flatMap((shape) => contestsOf(shape, options));
  if (!peers) return { contests, skipped: [] };
  const server = find("nats-server");
  if (server === undefined) {
    const skipped = 'Skipped nats: there is no program "nats-server" (Debian has it in a package ' +
      "of that name)";
    return { contests, skipped: [skipped] };
  }
  const dialects = options.dialects.length > 0 ? options.dialects : ["multiplexed"] as const;
  return {
    contests: [...contests, ...natsContests(dialects, options, server)],
    skipped: [],
    server,
  };
}

function contestsOf(shape: Shape, options: Options): Contest[] {
  const { name, figures, points } = shape;
  const asked = options.dialects.length > 0 ? options.dialects : shape.dialects;
  // A shape without dialects is measured once, and speaks nothing.
  const dialects: (DialectName | undefined)[] = shape.dialects.length > 0
    ? [...asked]
    : [undefined];
  return dialects.flatMap((dialect) =>
    (points?.(dialect ?? "rfc") ?? [undefined]).map((point): Contest => ({
      shape: name,
      dialect,
      point,
      figures,
      sides: sides(shape, dialect ?? "rfc", point, options),
    }))
  );
}

function sides(
  shape: Shape,
  dialect: DialectName,
  point: number | undefined,
  settings: Options,
): Side[] {
  const side = (name: string, command: string | undefined): Side => ({
    name,
    async measure(signal) {
      await using stage = new Stage({ dialect, settings, command, signal });
      return await shape.measure(stage, point ?? 0);
    },
  });
  const { broker, against } = settings;
  return [
    side("broker", broker),
    ...against === undefined ? [] : [side("against", against)],
  ];
}

if (import.meta.main) Deno.exit(await main(Deno.args));
