// @ts-check
/// <reference no-default-lib="true" />
/// <reference lib="esnext" />
/// <reference lib="dom" />
/// <reference lib="dom.iterable" />

// Charts, by uPlot, which is there as a global.

import { byId, element, rate, short } from "./format.js";

/**
 * @typedef {{ time: number, answered: number, failed: number, inFlight: number, queued: number,
 *   workers: number, lost: number, wait99: number | null, p50: number | null, p99: number | null }} Sample
 */

/** The samples that are drawn, the oldest first. @type {Sample[]} */
export const samples = [];

/**
 * @type {{ id: string, title: string, logarithmic?: boolean,
 *   series: [label: string, key: "answered" | "failed" | "wait99" | "p50" | "p99" | "queued" | "inFlight", colour: string][] }[]}
 */
const CHARTS = [
  {
    id: "chart-rate",
    title: "Requests a second",
    series: [["answered", "answered", "--first"], ["failed", "failed", "--second"]],
  },
  {
    id: "chart-latency",
    title: "Latency in ms",
    // One request that took a minute is not to make lines on the ground of all others.
    logarithmic: true,
    series: [
      ["service p50", "p50", "--third"],
      ["service p99", "p99", "--first"],
      ["wait p99", "wait99", "--second"],
    ],
  },
  {
    id: "chart-load",
    title: "Requests waiting and in flight",
    series: [["waiting", "queued", "--second"], ["in flight", "inFlight", "--first"]],
  },
];
/** @type {any} */
const UPlot = /** @type {any} */ (globalThis).uPlot;
/** @type {any[]} */
let plots = [];

function chartData(/** @type {typeof CHARTS[number]} */ { series, logarithmic }) {
  return [
    samples.map(({ time }) => time / 1_000),
    ...series.map(([, key]) =>
      samples.map((sample) => logarithmic ? sample[key] || null : sample[key])
    ),
  ];
}

/**
 * From where to where a chart goes; on a logarithmic one between powers of ten.
 *
 * @param {boolean | undefined} logarithmic
 * @returns {(plot: any, least: number | null, most: number | null) => [number, number]}
 */
function rangeOf(logarithmic) {
  if (!logarithmic) return (_, __, most) => [0, Math.max((most ?? 0) * 1.1, 1)];
  return (_, least, most) => {
    const from = Math.floor(Math.log10(least ?? 1)), to = Math.ceil(Math.log10(most ?? 100));
    return [10 ** from, 10 ** Math.max(to, from + 1)];
  };
}

/**
 * Where a logarithmic axis has its lines.
 *
 * @param {any} _plot
 * @param {number} _axis
 * @param {number} from
 * @param {number} to
 */
function powersOfTen(_plot, _axis, from, to) {
  const first = Math.round(Math.log10(from)), last = Math.round(Math.log10(to));
  return Array.from({ length: last - first + 1 }, (_, i) => 10 ** (first + i));
}

export function makeCharts() {
  for (const plot of plots) plot.destroy();
  const style = getComputedStyle(document.body);
  // What a canvas is given must be a colour, and the styles have formulas of two.
  const probe = document.body.appendChild(element("i"));
  const colour = (/** @type {string} */ name) => {
    probe.style.color = `var(${name})`;
    return getComputedStyle(probe).color;
  };
  plots = CHARTS.map((chart) => {
    const place = byId(chart.id);
    const axis = {
      stroke: colour("--faint"),
      grid: { stroke: colour("--line"), width: 1 },
      ticks: { stroke: colour("--line"), width: 1 },
      font: `11px ${style.fontFamily}`,
    };
    const plot = new UPlot(
      {
        width: place.clientWidth,
        height: 150,
        cursor: { y: false, sync: { key: "all" } },
        scales: {
          y: { distr: chart.logarithmic ? 3 : 1, range: rangeOf(chart.logarithmic) },
        },
        axes: [{
          ...axis,
          space: 70,
          values: (/** @type {any} */ _, /** @type {number[]} */ times) =>
            times.map((time) => new Date(time * 1_000).toLocaleTimeString("en-GB")),
        }, {
          ...axis,
          size: 48,
          splits: chart.logarithmic ? powersOfTen : undefined,
          // Those that there is no room for are null on a logarithmic axis.
          values: (/** @type {any} */ _, /** @type {(number | null)[]} */ values) =>
            values.map((it) => it === null ? "" : short.format(it)),
        }],
        series: [
          { label: "time" },
          ...chart.series.map(([label, , name]) => ({
            label,
            stroke: colour(name),
            width: 1.5,
            points: { show: false },
            spanGaps: false,
            value: (/** @type {any} */ _, /** @type {number | null} */ value) =>
              value === null || value === undefined ? "–" : rate(value),
          })),
        ],
      },
      chartData(chart),
      place,
    );
    plot.root.querySelector("canvas").setAttribute("role", "img");
    return plot;
  });
  probe.remove();
  drawCharts();
}

export function drawCharts() {
  for (const [i, chart] of CHARTS.entries()) {
    const plot = plots[i];
    plot.setData(chartData(chart));
    // Where nobody points at a moment, the legend tells of now.
    if (plot.cursor.idx === null || plot.cursor.left < 0) {
      plot.setLegend({ idx: samples.length - 1 });
    }
    const now = samples.at(-1);
    const values = chart.series.map(([label, key]) => `${label} ${now?.[key] ?? "none"}`);
    plots[i].root.querySelector("canvas").setAttribute(
      "aria-label",
      `${chart.title}: ${values.join(", ")}`,
    );
  }
}

new ResizeObserver(() => {
  for (const [i, { id }] of CHARTS.entries()) {
    plots[i].setSize({ width: byId(id).clientWidth, height: 150 });
  }
}).observe(byId("charts"));
