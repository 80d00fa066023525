/**
 * Measurements in rounds: each side of a contest is measured once in every round, one after the
 * other, so that what slows the machine for a while slows them all. The order changes from round to
 * round: neither is always the one that comes after the other.
 *
 * @module
 */

import { type Figure, pairwise, summarize, type Summary } from "./figures.ts";
import { BenchError } from "./process.ts";
import type { Figures } from "./shape.ts";

/** One of those that are measured side by side. */
export interface Side {
  /** What tables and JSON call it. */
  name: string;
  /** Measures it once; it ends early, with an error, if the signal aborts. */
  measure(signal: AbortSignal): Promise<Figures>;
}

/** What is measured, and in whom. */
export interface Contest {
  /** The shape of load. */
  shape: string;
  /** The dialect, if that makes a difference. */
  dialect?: string;
  /** What was varied, for shapes that are measured at several points. */
  point?: number;
  /** What each side gives. */
  figures: readonly Figure[];
  /** One or two; ratios are of the first to the second. */
  sides: readonly Side[];
}

/** A figure of all sides, over all rounds. */
export interface ContestFigure extends Figure {
  /** By side; those that did not give it are not there. */
  sides: Record<string, Summary>;
  /** Of the first side to the second, round by round. */
  ratio?: Summary;
}

/** A round of a side that did not end well. */
export interface Failure {
  /** Which, from 1. */
  round: number;
  /** Whose. */
  side: string;
  /** What went wrong. */
  message: string;
}

/** What came of a contest. */
export interface Outcome extends Pick<Contest, "shape" | "dialect" | "point"> {
  /** The figures that were given, in the contest's order. */
  figures: ContestFigure[];
  /** The rounds that did not end well, in the order in which they were measured. */
  failures: Failure[];
}

/** Told before each measurement. */
export type OnMeasure = (round: number, side: Side) => void;

/**
 * Holds a contest.
 *
 * @param contest What is measured.
 * @param rounds How often.
 * @param signal Ends it early.
 * @param onMeasure Told what is measured next.
 * @throws The signal's reason, if it aborts.
 */
export async function hold(
  contest: Contest,
  rounds: number,
  signal: AbortSignal,
  onMeasure: OnMeasure,
): Promise<Outcome> {
  const { shape, dialect, point, sides } = contest;
  const failures: Failure[] = [];
  /** By side, then by round. */
  const given = sides.map((): (Figures | undefined)[] => []);
  for (let round = 0; round < rounds; round++) {
    const order = [...sides.entries()];
    if (round % 2 === 1) order.reverse();
    for (const [i, side] of order) {
      signal.throwIfAborted();
      onMeasure(round, side);
      try {
        given[i]!.push(await side.measure(signal));
      } catch (error) {
        signal.throwIfAborted();
        if (!(error instanceof BenchError)) throw error;
        given[i]!.push(undefined);
        failures.push({ round: round + 1, side: side.name, message: error.message });
      }
    }
  }
  const figures = contest.figures.flatMap((figure): ContestFigure[] => {
    const values = given.map((rounds) => rounds.map((figures) => figures?.[figure.name] ?? NaN));
    const summaries = values.flatMap((each, i): [string, Summary][] => {
      const summary = summarize(each);
      return summary === undefined ? [] : [[sides[i]!.name, summary]];
    });
    if (summaries.length === 0) return [];
    const ratio = values.length > 1 ? pairwise(values[0]!, values[1]!) : undefined;
    return [{ ...figure, sides: Object.fromEntries(summaries), ratio }];
  });
  return { shape, dialect, point, figures, failures };
}
