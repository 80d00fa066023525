/**
 * Durations as people write them.
 *
 * @module
 */

const UNITS: Readonly<Record<string, number>> = { ms: 1, s: 1_000, m: 60_000, h: 3_600_000 };

/** What {@linkcode parseDuration} reads, in words. */
export const DURATION_FORMS =
  "seconds such as 2.5, or a number with its unit such as 500ms, 3s, 2m or 1h";

/**
 * Reads a duration: seconds (`2.5`), or a number with its unit (`500ms`, `3s`, `2m`, `1h`).
 *
 * @param text The text.
 * @returns The duration in ms, to the microsecond; `undefined` if the text is none.
 */
export function parseDuration(text: string): number | undefined {
  const [, number, unit = "s"] = /^(\d+\.?\d*|\.\d+) ?(ms|s|m|h)?$/.exec(text.trim()) ?? [];
  if (number === undefined) return undefined;
  // In whole microseconds, so that 1.1 seconds are 1100 ms and not 1100.0000000000002.
  return Math.round(Number(number) * UNITS[unit]! * 1_000) / 1_000;
}
