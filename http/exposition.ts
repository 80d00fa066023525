/**
 * Figures in the text that Prometheus reads. OpenTelemetry's serializer writes it; its instruments
 * are left out, since the broker has counted already, and none of them can be given a histogram.
 *
 * @module
 */

import { PrometheusSerializer } from "@opentelemetry/exporter-prometheus";
import { emptyResource } from "@opentelemetry/resources";
import {
  AggregationTemporality,
  DataPointType,
  InstrumentType,
  type MetricData,
} from "@opentelemetry/sdk-metrics";
import type { Histogram } from "../broker.ts";

/** What the text is, as HTTP names it. */
export const PROMETHEUS_TEXT = "text/plain; version=0.0.4; charset=utf-8";

/** The labels of a figure. */
export type Labels = Readonly<Record<string, string>>;

/** What is measured at each setting of the labels. */
export type Points<T> = readonly (readonly [labels: Labels, value: T])[];

/**
 * About how many lines are written in one go. The library takes some 1.3 µs for each, so that whoever
 * sends requests meanwhile waits for 2 ms at most, however much there is to write.
 */
const LINES = 1_000;
/** The clock is the scraper's. */
const NO_TIME: [number, number] = [0, 0];
const SERIALIZER = new PrometheusSerializer(undefined, false, undefined, true, true);

/** Metrics, each with all its points, as they are added. */
export class Exposition {
  readonly #parts: MetricData[] = [];

  /**
   * Adds what only grows.
   *
   * @param name Its name, with its unit, and without the `_total` that is put behind it.
   * @param help What it counts, for people.
   * @param points What was counted: a number, or one at each setting of the labels.
   */
  counter(name: string, help: string, points: number | Points<number>): void {
    const metric = {
      ...described(name, help),
      dataPointType: DataPointType.SUM,
      isMonotonic: true,
    };
    this.#add(metric, dataPoints(points), 1);
  }

  /**
   * Adds what goes up and down.
   *
   * @param name Its name, with its unit.
   * @param help What it is, for people.
   * @param points What it is now: a number, or one at each setting of the labels.
   */
  gauge(name: string, help: string, points: number | Points<number>): void {
    const metric = { ...described(name, help), dataPointType: DataPointType.GAUGE };
    this.#add(metric, dataPoints(points), 1);
  }

  /**
   * Adds how durations are distributed.
   *
   * @param name Its name, with its unit: seconds.
   * @param help What it measures, for people.
   * @param points What was measured, at each setting of the labels.
   */
  histogram(name: string, help: string, points: Points<Histogram>): void {
    const metric = { ...described(name, help), dataPointType: DataPointType.HISTOGRAM };
    const dataPoints = points.map(([labels, { bounds, counts, sum, count }]) =>
      point(labels, { buckets: { boundaries: [...bounds], counts }, sum, count })
    );
    // The buckets, the sum and the count.
    this.#add(metric, dataPoints, (points[0]?.[1].counts.length ?? 0) + 2);
  }

  /**
   * The text of all, written bit by bit: other things have their turns meanwhile.
   *
   * @returns It. The figures are those that were added, whatever has changed since.
   */
  async text(): Promise<string> {
    const texts: string[] = [];
    let name: string | undefined;
    for (const part of this.#parts) {
      if (texts.length > 0) await new Promise((resolve) => setImmediate(resolve));
      const text = SERIALIZER.serialize({
        resource: emptyResource(),
        scopeMetrics: [{ scope: { name: "majortomo" }, metrics: [part] }],
      });
      // What a metric is stands once, before all its points.
      texts.push(part.descriptor.name === name ? text.replace(/^(#.*\n)+/, "") : text);
      name = part.descriptor.name;
    }
    return texts.join("");
  }

  /** Adds a metric in parts of not too many lines, each with some of its points. */
  #add<T>(
    metric: Omit<MetricData, "dataPoints">,
    points: readonly ReturnType<typeof point<T>>[],
    linesEach: number,
  ): void {
    const most = Math.ceil(LINES / linesEach);
    for (let from = 0; from === 0 || from < points.length; from += most) {
      this.#parts.push({ ...metric, dataPoints: points.slice(from, from + most) } as MetricData);
    }
  }
}

function described(name: string, description: string) {
  return {
    descriptor: {
      name,
      description,
      // It stands in the name, as Prometheus has it.
      unit: "",
      type: InstrumentType.OBSERVABLE_GAUGE,
      valueType: 1,
      advice: {},
    },
    aggregationTemporality: AggregationTemporality.CUMULATIVE,
  };
}

function dataPoints(points: number | Points<number>) {
  if (typeof points === "number") return [point({}, points)];
  return points.map(([labels, value]) => point(labels, value));
}

function point<T>(attributes: Labels, value: T) {
  return { startTime: NO_TIME, endTime: NO_TIME, attributes: { ...attributes }, value };
}
