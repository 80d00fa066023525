/**
 * Plots of what was measured, as SVG.
 *
 * @module
 */

import * as echarts from "echarts";
import type { Outcome } from "./contest.ts";

const WIDTH = 720, HEIGHT = 400;

/** What is plotted: a figure over what was varied, a line for each dialect. */
interface Plot {
  /** The file, without its ending. */
  name: string;
  /** The shape whose outcomes are plotted. */
  shape: string;
  title: string;
  x: string;
  y: string;
  /** Figures, each a line, with what they are called. */
  figures: readonly string[];
  /** What of the y axis is shown. */
  scale: "value" | "log";
}

const PLOTS: readonly Plot[] = [
  {
    name: "throughput",
    shape: "growth",
    title: "Throughput and the number of registered workers",
    x: "idle workers beside those at work",
    y: "requests/s",
    figures: ["requests"],
    scale: "value",
  },
  {
    name: "latency",
    shape: "load",
    title: "Latency and offered load",
    x: "requests/s offered",
    y: "latency (ms)",
    figures: ["p50", "p99"],
    scale: "log",
  },
];

/** Dashes tell the figures apart, colours the dialects. */
const DASHES = ["solid", "dashed"] as const;
const COLORS: Readonly<Record<string, string>> = {
  rfc: "#3a6ea5",
  multiplexed: "#c8553d",
  majortomo: "#6b8f3c",
};

/**
 * Writes the plots for which there are outcomes.
 *
 * @param folder Where to.
 * @param outcomes All that was measured.
 * @returns The files.
 */
export function writePlots(folder: string, outcomes: readonly Outcome[]): string[] {
  return PLOTS.flatMap((plot) => {
    const svg = render(plot, outcomes.filter(({ shape }) => shape === plot.shape));
    if (svg === undefined) return [];
    const path = `${folder.replace(/\/$/, "")}/${plot.name}.svg`;
    Deno.writeTextFileSync(path, svg);
    return [path];
  });
}

function render(plot: Plot, outcomes: readonly Outcome[]): string | undefined {
  const dialects = [...new Set(outcomes.map(({ dialect = "" }) => dialect))];
  const series = dialects.flatMap((dialect) =>
    plot.figures.map((figure, i) => ({
      type: "line" as const,
      name: plot.figures.length > 1 ? `${dialect}, ${figure}` : dialect,
      symbolSize: 6,
      color: COLORS[dialect],
      lineStyle: { type: DASHES[i] },
      data: outcomes.filter((outcome) => outcome.dialect === dialect).flatMap((outcome) => {
        const summary = outcome.figures.find(({ name }) => name === figure)?.sides.broker;
        return summary === undefined ? [] : [[outcome.point!, summary.median]];
      }),
    }))
  );
  if (series.every(({ data }) => data.length === 0)) return undefined;
  const chart = echarts.init(null, null, {
    renderer: "svg",
    ssr: true,
    width: WIDTH,
    height: HEIGHT,
  });
  chart.setOption({
    animation: false,
    // Readable on a dark page too.
    backgroundColor: "#ffffff",
    textStyle: { fontFamily: "sans-serif" },
    title: { text: plot.title, left: "center", top: 8, textStyle: { fontSize: 15 } },
    legend: { top: 34 },
    grid: { left: 80, right: 30, top: 70, bottom: 55 },
    xAxis: {
      type: "log",
      name: plot.x,
      nameLocation: "middle",
      nameGap: 32,
      axisLabel: { formatter: thousands },
    },
    yAxis: {
      type: plot.scale,
      name: plot.y,
      nameLocation: "middle",
      nameGap: 58,
      axisLabel: { formatter: thousands },
    },
    series,
  });
  const svg = chart.renderToSVGString();
  chart.dispose();
  return `${svg.trim()}\n`;
}

function thousands(value: number): string {
  return value.toLocaleString("en-US");
}
