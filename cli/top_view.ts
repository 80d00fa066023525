/**
 * How `mdp top` looks: the lines of its screen, made of values.
 *
 * @module
 */

import { SLOW } from "../http/service_state.ts";
import { printableText } from "./printable.ts";
import { cut, pad } from "./table.ts";
import { type Row, type SortKey, sortRows } from "./top_model.ts";
import { showAge, showBytes, showCount, showRate, showTime } from "./units.ts";

/** All that is to be shown. */
export interface View {
  /** Where the broker is, and what it says of itself, if it does. */
  endpoint: string;
  broker: string;
  rows: readonly Row[];
  /** Services that the broker has not told. */
  leftOut: number;
  /** Workers that left without a word since the broker began, and when one did last, if one did. */
  workersLost: number;
  lastLost: number | undefined;
  sort: SortKey;
  descending: boolean;
  /** How many rows are above the screen. */
  scroll: number;
  isPaused: boolean;
  isHelp: boolean;
  /** Why there are no new figures, and for how long, in ms. */
  trouble: { message: string; since: number } | undefined;
}

/** What the screen offers. */
export interface Size {
  columns: number;
  rows: number;
  /** Whether it shows colours. */
  colors: boolean;
}

interface Column {
  key: SortKey;
  title: string;
  /** Whether it stands at the left, as text does. */
  isText?: boolean;
  cell: (row: Row) => string;
}

/** The columns, from left to right; those that there is no room for are left out at the right. */
export const COLUMNS: readonly Column[] = [
  { key: "name", title: "SERVICE", isText: true, cell: ({ name }) => printableText(name) },
  { key: "rank", title: "STATE", isText: true, cell: ({ state }) => state },
  { key: "rate", title: "REQ/S", cell: ({ rate }) => showRate(rate) },
  { key: "errorRate", title: "ERR/S", cell: ({ errorRate }) => showRate(errorRate) },
  { key: "lossRate", title: "LOST/S", cell: ({ lossRate }) => showRate(lossRate) },
  { key: "queued", title: "QUEUED", cell: ({ queued }) => showCount(queued) },
  { key: "workers", title: "WORKERS", cell: ({ workers }) => showCount(workers) },
  { key: "lost", title: "GONE", cell: ({ lost }) => showCount(lost) },
  { key: "full", title: "FULL", cell: ({ full }) => showCount(full) },
  { key: "inFlight", title: "IN FLIGHT", cell: ({ inFlight }) => showCount(inFlight) },
  { key: "timeP50", title: "p50", cell: ({ timeP50 }) => showTime(timeP50) },
  { key: "timeP99", title: "p99", cell: ({ timeP99 }) => showTime(timeP99) },
  { key: "waitP99", title: "WAIT p99", cell: ({ waitP99 }) => showTime(waitP99) },
];

const HELP = [
  "STATE      what has been the matter in the last ten seconds, the worst first:",
  "           no workers: requests wait for one; refusing: the queue is full, or",
  "           nobody serves it; expiring: requests were too late; dropping: they",
  "           were cancelled, or lost with workers; losing workers; failing:",
  "           errors; all busy: requests wait, and no worker has room",
  "LOST/S     requests refused, expired or dropped, a second",
  "GONE       workers that left and did not say so, since the service is known",
  "FULL       workers that have no room for a request",
  "IN FLIGHT  requests that workers hold",
  "QUEUED     requests that wait for a worker",
  "p50, p99   half of the requests, and 99 of 100, were with their worker no",
  "           longer than this",
  "WAIT p99   99 of 100 requests were in the queue no longer than this",
  "",
  "Times are of the last ten seconds, rates of the time since the look before.",
  "Red: something is wrong. Yellow: it is only busy.",
];
const KEYS = "q quit   ←→ sort by   r reverse   ↑↓ scroll   space pause   ? help";
/** How much of the screen is no table: two lines above, an empty one, the titles and the keys. */
const FRAME = 5;
/** How narrow the names may become. */
const LEAST_NAME = 12;
/** How narrow states may become, of which the worst is told first. */
const LEAST_STATE = 22;

/**
 * How many rows there is room for.
 *
 * @param size The screen.
 */
export function pageOf({ rows }: Size): number {
  return Math.max(1, rows - FRAME);
}

/**
 * Draws the screen.
 *
 * @param view What is to be seen.
 * @param size Where.
 * @returns At most as many lines as the screen has, none wider than it.
 */
export function render(view: View, size: Size): string[] {
  const { columns, rows: height, colors } = size;
  const paint = (code: string, text: string) => colors ? `\x1b[${code}m${text}\x1b[0m` : text;
  const line = (text: string) => cut(text, columns);
  const page = pageOf(size);
  const body = view.isHelp ? HELP.slice(0, page).map(line) : tableOf(view, columns, page, paint);
  const titles = view.isHelp ? "" : body.shift()!;
  const trouble = view.trouble !== undefined
    ? line(`${view.trouble.message} (for ${showAge(view.trouble.since)})`)
    : undefined;
  const top = [
    paint("1", line(`mdp top  ${printableText(view.endpoint)}  ${printableText(view.broker)}`)),
    trouble === undefined ? line(totals(view)) : paint("31", trouble),
    "",
    titles,
  ];
  const filler = Array.from({ length: Math.max(0, page - body.length) }, () => "");
  return [...top, ...body, ...filler, paint("2", line(KEYS))].slice(0, height);
}

function totals({ rows, leftOut, workersLost, lastLost, isPaused }: View): string {
  const sum = (of: (row: Row) => number) => rows.reduce((sum, row) => sum + of(row), 0);
  return [
    isPaused ? "PAUSED" : "",
    `${showCount(rows.length + leftOut)} services`,
    `${showCount(sum(({ workers }) => workers))} workers` +
    (workersLost === 0
      ? ""
      : ` (${showCount(workersLost)} lost${
        lastLost === undefined ? "" : `, ${showAge(performance.now() - lastLost)} ago`
      })`),
    `${showCount(sum(({ inFlight }) => inFlight))} in flight`,
    `${showCount(sum(({ queued }) => queued))} queued ` +
    `(${showBytes(sum(({ queuedBytes }) => queuedBytes))})`,
    `${showRate(sum(({ rate }) => rate))} requests/s`,
    `${showRate(sum(({ errorRate }) => errorRate))} errors/s`,
    `${showRate(sum(({ lossRate }) => lossRate))} lost/s`,
  ].filter((part) => part !== "").join("   ");
}

function tableOf(
  { rows, sort, descending, scroll }: View,
  width: number,
  page: number,
  paint: (code: string, text: string) => string,
): string[] {
  const sorted = sortRows(rows, sort, descending);
  const from = Math.max(0, Math.min(scroll, sorted.length - page));
  const shown = sorted.slice(from, from + page);
  const cells = shown.map((row) => COLUMNS.map(({ cell }) => cell(row)));
  const titles = COLUMNS.map(({ key, title }) =>
    key === sort ? `${descending ? "▼" : "▲"}${title}` : title
  );
  // Room for the mark, so that nothing moves when another column is sorted by.
  const widths = COLUMNS.map(({ title }, at) =>
    Math.max(title.length + 1, ...cells.map((row) => row[at]!.length))
  );
  const [, state] = widths as [number, number];
  widths[1] = Math.min(state, LEAST_STATE);
  const others = widths.slice(1).reduce((sum, each) => sum + each + 2, 0);
  widths[0] = Math.max(LEAST_NAME, Math.min(widths[0]!, width - others));
  widths[1] += Math.max(0, Math.min(state - widths[1]!, width - others - widths[0]!));
  // Half a figure would be another one.
  let columns = 1;
  for (let used = widths[0]!; columns < widths.length; columns++) {
    used += 2 + widths[columns]!;
    if (used > width) break;
  }
  const layOut = (row: readonly string[]) =>
    cut(
      row.slice(0, columns).map((cell, at) =>
        pad(cut(cell, widths[at]!), widths[at]!, COLUMNS[at]!.isText ? "left" : "right")
      ).join("  "),
      width,
    );
  const lines = cells.map((row, at) => {
    const code = colorOf(shown[at]!);
    return code === undefined ? layOut(row) : paint(code, layOut(row));
  });
  return [paint("7", pad(layOut(titles), width, "left")), ...lines];
}

function colorOf({ rank }: Row): string | undefined {
  if (rank > SLOW) return "31";
  return rank > 0 ? "33" : undefined;
}
