/**
 * OpenTelemetry: what the spans of clients, brokers and workers have in common. Spans are made
 * with whatever tracer provider the process has, e.g. Deno's own with `OTEL_DENO=true`; where
 * there is none, nothing is made and nothing is sent.
 *
 * The context of a span crosses in the headers of the multiplexed dialect, as W3C `traceparent`.
 *
 * @module
 */

import {
  type Context,
  context,
  propagation,
  ProxyTracerProvider,
  ROOT_CONTEXT,
  type Span,
  SpanStatusCode,
  trace,
  type Tracer,
} from "@opentelemetry/api";
import manifest from "./deno.json" with { type: "json" };

/** The system that the spans' attributes name, as `rpc.system`. */
export const SYSTEM = "mdp";

/** The tracer of this package, if the process has a tracer provider by now. */
export function activeTracer(): Tracer | undefined {
  const provider = trace.getTracerProvider();
  const { name, version } = manifest;
  // What stands for one that may come would make spans that go nowhere.
  return provider instanceof ProxyTracerProvider
    ? provider.getDelegateTracer(name, version)
    : provider.getTracer(name, version);
}

/** The headers in which the context of a span crosses to others. */
export function carrierOf(own: Context): Record<string, string> {
  const carrier: Record<string, string> = {};
  propagation.inject(own, carrier);
  return carrier;
}

/** The context that came in headers; that of nothing if none did. */
export function contextIn(headers: Readonly<Record<string, string>>): Context {
  return propagation.extract(ROOT_CONTEXT, headers);
}

/**
 * What something is a part of that was asked for with headers: what is traced here already, as where
 * a server makes spans, or else what the headers say.
 *
 * @returns `undefined` if it is part of nothing.
 */
export function callerIn(headers: Readonly<Record<string, string>>): Context | undefined {
  return [context.active(), contextIn(headers)].find((it) => trace.getSpan(it) !== undefined);
}

/** Does something as a part of that, so that spans that are made by it belong to it. */
export function doWithin<T>(caller: Context | undefined, does: () => T): T {
  return caller === undefined ? does() : context.with(caller, does);
}

/** By how much the clock may be off, in ms, before it is held for set, or the machine for suspended. */
const STEP = 50;
/** When `performance.now()` was 0, by the clock as it is set now. */
let origin = performance.timeOrigin;

/** A time of `performance.now()` as spans have it. */
export function timestamp(milliseconds: number): number {
  const now = Date.now() - performance.now();
  if (Math.abs(now - origin) > STEP) origin = now;
  return origin + milliseconds;
}

/** Says that what a span is about has failed. */
export function setFailed(span: Span, type: string, message: string): void {
  span.setAttribute("error.type", type);
  span.setStatus({ code: SpanStatusCode.ERROR, message });
}
