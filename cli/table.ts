/**
 * Tables of text: columns that stand one below the other.
 *
 * @module
 */

import stringWidth from "string-width";

/** A column of a table whose rows are of some type. */
export interface Column<T> {
  /** What stands above it. */
  title: string;
  /**
   * The side at which its cells are flush.
   * @default {"right", as figures are}
   */
  align?: "left" | "right";
  /** What stands in it, without control characters. */
  cell: (row: T) => string;
}

/**
 * Lays out a table.
 *
 * @param columns Its columns.
 * @param rows Its rows.
 * @returns Its lines, the titles first; none has blanks at its end.
 */
export function table<T>(columns: readonly Column<T>[], rows: readonly T[]): string[] {
  const lines = [
    columns.map(({ title }) => title),
    ...rows.map((row) => columns.map(({ cell }) => cell(row))),
  ];
  const widths = columns.map((_, at) =>
    lines.reduce((most, line) => Math.max(most, stringWidth(line[at]!)), 0)
  );
  return lines.map((line) =>
    line.map((cell, at) => pad(cell, widths[at]!, columns[at]!.align ?? "right"))
      .join("  ").trimEnd()
  );
}

/**
 * Fills a text up with blanks.
 *
 * @param text The text.
 * @param width How many columns of a terminal it is to take.
 * @param align The side at which it stands.
 * @returns It, whole even if it is wider.
 */
export function pad(text: string, width: number, align: "left" | "right"): string {
  const blanks = " ".repeat(Math.max(0, width - stringWidth(text)));
  return align === "left" ? text + blanks : blanks + text;
}

/**
 * Cuts a text to a width.
 *
 * @param text The text, without control characters.
 * @param width How many columns of a terminal it may take.
 * @returns It, or as much as there is room for beside an ellipsis.
 */
export function cut(text: string, width: number): string {
  if (stringWidth(text) <= width) return text;
  let kept = "", used = 0;
  for (const { segment } of new Intl.Segmenter().segment(text)) {
    used += stringWidth(segment);
    if (used > width - 1) break;
    kept += segment;
  }
  return width > 0 ? `${kept}…` : "";
}
