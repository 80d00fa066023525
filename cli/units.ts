/**
 * Figures with their units, as tables have them.
 *
 * @module
 */

/** What stands in a table where there is no figure. */
export const NONE = "-";

/**
 * A whole number, its thousands apart.
 *
 * @param value The number.
 * @returns E.g. `1,234,567`.
 */
export function showCount(value: number): string {
  return Math.round(value).toLocaleString("en-US");
}

/**
 * A rate.
 *
 * @param perSecond How many a second.
 * @returns E.g. `0`, `0.25`, `12.5`, `1,234`.
 */
export function showRate(perSecond: number): string {
  return perSecond === 0 ? "0" : digits(perSecond);
}

/**
 * A number of bytes.
 *
 * @param bytes The number.
 * @returns E.g. `512 B`, `64.0 KiB`.
 */
export function showBytes(bytes: number): string {
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let value = bytes, unit = 0;
  while (value >= 1_024 && unit < units.length - 1) {
    value /= 1_024;
    unit++;
  }
  return unit === 0 ? `${Math.round(bytes)} B` : `${value.toFixed(1)} ${units[unit]}`;
}

/**
 * A short time.
 *
 * @param milliseconds The time; `NaN` or `undefined` if there is none.
 * @returns Three digits of it, e.g. `45.0 µs`, `1.23 ms`, `12.5 s`.
 */
export function showTime(milliseconds: number | undefined): string {
  if (milliseconds === undefined || Number.isNaN(milliseconds)) return NONE;
  if (!Number.isFinite(milliseconds)) return "∞";
  if (milliseconds === 0) return "0 ms";
  if (milliseconds < 1) return `${digits(milliseconds * 1_000)} µs`;
  if (milliseconds < 1_000) return `${digits(milliseconds)} ms`;
  return milliseconds < 100_000 ? `${digits(milliseconds / 1_000)} s` : showAge(milliseconds);
}

/**
 * A long time.
 *
 * @param milliseconds The time.
 * @returns Its two largest units, e.g. `3d 4h`, `12m 5s`, `0s`.
 */
export function showAge(milliseconds: number): string {
  const seconds = Math.floor(milliseconds / 1_000);
  const parts: [number, string][] = [
    [Math.floor(seconds / 86_400), "d"],
    [Math.floor(seconds / 3_600) % 24, "h"],
    [Math.floor(seconds / 60) % 60, "m"],
    [seconds % 60, "s"],
  ];
  const first = parts.findIndex(([value]) => value > 0);
  if (first < 0) return "0s";
  return parts.slice(first, first + 2).map(([value, unit]) => `${value}${unit}`).join(" ");
}

function digits(value: number): string {
  const after = value >= 100 ? 0 : value >= 10 ? 1 : 2;
  return value.toLocaleString("en-US", {
    minimumFractionDigits: after,
    maximumFractionDigits: after,
  });
}
