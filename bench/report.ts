/**
 * What a bench prints: a table as the outcomes come, or JSON at the end.
 *
 * @module
 */

import { libzmq } from "../zmq/library.ts";
import type { Outcome, Side } from "./contest.ts";
import { show } from "./figures.ts";

/** The widths of the columns before the numbers. */
const SHAPE = 18, DIALECT = 12, FIGURE = 15, UNIT = 12;
const NUMBER = 12;

/** The table's head. */
export function heading(sides: readonly Pick<Side, "name">[]): string {
  const numbers = sides.length > 1
    ? [...sides.map(({ name }) => name), "ratio", "low", "high"]
    : ["median", "low", "high"];
  return line("shape", "dialect", "figure", "unit", numbers);
}

/**
 * The table's lines about an outcome: a figure each, then what went wrong.
 *
 * @param outcome The outcome.
 * @param sides The names of the table's columns.
 */
export function rows(
  { shape, dialect = "-", point, figures, failures }: Outcome,
  sides: readonly Pick<Side, "name">[],
): string[] {
  const name = point === undefined ? shape : `${shape} ${point}`;
  const lines = figures.map(({ name: figure, unit, sides: given, ratio }, i) => {
    const cell = (value: number | undefined) => value === undefined ? "-" : show(value);
    const first = given[sides[0]!.name];
    const numbers = sides.length > 1
      ? [...sides.map(({ name }) => given[name]?.median), ratio?.median, ratio?.low, ratio?.high]
      : [first?.median, first?.low, first?.high];
    return line(i === 0 ? name : "", i === 0 ? dialect : "", figure, unit, numbers.map(cell));
  });
  const kinds = new Map<string, number>();
  for (const { side, message } of failures) {
    const failure = sides.length > 1 ? `${side}: ${message}` : message;
    kinds.set(failure, (kinds.get(failure) ?? 0) + 1);
  }
  for (const [failure, times] of kinds) {
    const often = times > 1 ? ` (${times} times)` : "";
    lines.push(`${name.padEnd(SHAPE)}${dialect.padEnd(DIALECT)}FAILED: ${failure}${often}`);
  }
  return lines;
}

function line(shape: string, dialect: string, figure: string, unit: string, numbers: string[]) {
  const head = shape.padEnd(SHAPE) + dialect.padEnd(DIALECT) + figure.padEnd(FIGURE) +
    unit.padEnd(UNIT);
  return (head + numbers.map((number) => number.padStart(NUMBER)).join("")).trimEnd();
}

/**
 * All outcomes in one object: what `--json` prints.
 *
 * @param outcomes All that was measured.
 * @param settings What the user has set.
 * @param skipped Why something that was asked for was not measured.
 * @param versions Of what else was measured.
 */
export function report(
  outcomes: readonly Outcome[],
  settings: object,
  skipped: readonly string[],
  versions: Readonly<Record<string, string | undefined>>,
): object {
  return {
    machine: {
      cores: navigator.hardwareConcurrency,
      target: Deno.build.target,
      system: Deno.osRelease(),
      deno: Deno.version.deno,
      libzmq: libzmq().version,
      ...versions,
    },
    settings,
    skipped,
    results: outcomes,
  };
}
