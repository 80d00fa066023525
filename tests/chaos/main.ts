/**
 * Breaks things for real and looks whether the promises of `docs/reliability.md` hold. It prints
 * what it did, and exits with 1 if a promise was broken.
 *
 * ```sh
 * deno task chaos --seconds 60 --seed 7
 * deno task chaos --ffi
 * deno task chaos --measure
 * ```
 *
 * @module
 */

import { object } from "@optique/core/constructs";
import { message, text } from "@optique/core/message";
import { withDefault } from "@optique/core/modifiers";
import { flag, option } from "@optique/core/primitives";
import { integer } from "@optique/core/valueparser";
import { ANY_OPTIONS, parseArguments, type Program, runProgram } from "../../cli/command_line.ts";
import { EXIT } from "../../cli/exit_codes.ts";
import { anySeed } from "../random.ts";
import { Child } from "./child.ts";
import { type Kept, measureFlood, median } from "./flood.ts";
import { measureKills } from "./kills.ts";
import { runChaos } from "./run.ts";

/** How many workers are killed to be measured. */
const KILLS = 200;

const PROGRAM: Program = {
  name: "chaos",
  brief: message`Breaks a broker, workers and clients for real, and looks whether they keep what \
is promised.`,
  usage: [ANY_OPTIONS],
  footer: message`The same seed has the same chance; what comes of it depends on the machine too.`,
};

const number = (name: `--${string}`, least: number, otherwise: number, what: string) =>
  withDefault(
    option(name, integer({ metavar: "NUMBER", min: least }), {
      description: message`${text(what)} Default: ${text(String(otherwise))}.`,
    }),
    otherwise,
  );

const OPTIONS = object({
  seconds: number("--seconds", 1, 60, "How long things are broken."),
  seed: withDefault(
    option("--seed", integer({ metavar: "NUMBER", min: 0 }), {
      description: message`What chance begins with. Default: another one each time.`,
    }),
    anySeed,
  ),
  workers: number("--workers", 1, 20, "How many processes of workers."),
  steady: number("--steady", 1, 5, "How many processes of clients that are to be answered."),
  vanishing: number("--vanishing", 0, 2, "How many processes of clients that are killed."),
  clients: number("--clients", 1, 8, "How many clients in each of both."),
  ffi: withDefault(
    flag("--ffi", {
      description: message`Wear down the calls of libzmq instead: 100,000 sockets, 5 million \
messages, 100,000 waits that are given up.`,
    }),
    false,
  ),
  measure: withDefault(
    flag("--measure", {
      description: message`Measure instead: how soon a killed worker's request is at another, and \
what a pair keeps of its rate while others flood.`,
    }),
    false,
  ),
});

async function main(args: readonly string[]): Promise<number> {
  return await runProgram("chaos", async () => {
    const options = parseArguments(OPTIONS, PROGRAM, args);
    if (options === undefined) return EXIT.ok;
    const { seconds, seed, ffi } = options;
    if (options.measure) {
      await measure();
      return EXIT.ok;
    }
    console.log(`${ffi ? "libzmq worn down" : `chaos for ${seconds} s`}, seed ${seed}`);
    const broken = ffi ? await wearDown(seed) : await runChaos({ ...options, log: console.log });
    for (const promise of broken.slice(0, 50)) console.log(`broken: ${promise}`);
    if (broken.length > 50) console.log(`broken: ${broken.length - 50} more`);
    console.log(broken.length === 0 ? "all promises were kept" : `to repeat: --seed ${seed}`);
    return broken.length === 0 ? EXIT.ok : EXIT.failure;
  });
}

/** Has a process of its own wear down what calls libzmq. @returns What was broken. */
async function wearDown(seed: number): Promise<string[]> {
  await using child = new Child("./ffi.ts", ["100000", "5000000", "100000", String(seed)]);
  let broken = ["The process ended before its work was done"];
  for (let line; (line = await child.line(600_000)) !== undefined;) {
    if (line.startsWith("{")) broken = JSON.parse(line).broken;
    else console.log(line);
  }
  return broken;
}

async function measure(): Promise<void> {
  const times = await measureKills(KILLS);
  const at = (share: number) => times[Math.ceil(share * times.length) - 1]!.toFixed(1);
  console.log(
    `SIGKILL of a busy worker to its request at another, ${times.length} times: ` +
      `p50 ${at(0.5)} ms, p99 ${at(0.99)} ms, most ${at(1)} ms`,
  );
  const { undisturbed, kept } = await measureFlood();
  console.log(`a pair undisturbed: ${undisturbed.toFixed()} requests/s; it keeps`);
  for (const [flood, rounds] of Object.entries(kept)) {
    const share = (of: (kept: Kept) => number) => {
      const all = rounds.map((each) => 100 * of(each));
      return `${median(all).toFixed()} % (${Math.min(...all).toFixed()} to ${
        Math.max(...all).toFixed()
      })`;
    };
    console.log(
      `beside a flood of ${flood}: ${share(({ here }) => here)}, ` +
        `beside the same to another broker: ${share(({ elsewhere }) => elsewhere)}`,
    );
  }
}

if (import.meta.main) Deno.exit(await main(Deno.args));
