/**
 * The spans of a broker: for each request that it accepts one from its arrival to its end, and
 * within it one for each time in the queue and one for each worker that has had it.
 *
 * ```text
 *   request echo            the client's
 *   └ route echo            the broker's: accepted … answered, expired or dropped
 *     ├ queue echo          if it had to wait, or to go back
 *     └ dispatch echo       a worker has it
 *       └ handle echo       the worker's
 * ```
 *
 * @module
 */

import { type Context, type Span, SpanKind, trace, type Tracer } from "@opentelemetry/api";
import { type Content, headersIn } from "./content.ts";
import { hexOf, textOf } from "./names.ts";
import { headersOf } from "./options.ts";
import type { Request, RoutingEvent } from "./routing.ts";
import { activeTracer, carrierOf, contextIn, setFailed, SYSTEM, timestamp } from "./traces.ts";

/** What is known of a request that is not over. */
interface Traced {
  readonly service: string;
  readonly span: Span;
  readonly context: Context;
  /** The frame of headers that it came with. */
  readonly headers: Uint8Array | undefined;
  /** Since when it waits. */
  queuedAt: number;
  /** That a worker has it. */
  dispatch: Span | undefined;
}

/** Makes the spans of a broker's requests. */
export class BrokerTraces {
  readonly #tracer: Tracer;
  readonly #traced = new Map<Request<Content>, Traced>();

  private constructor(tracer: Tracer) {
    this.#tracer = tracer;
  }

  /** `undefined` if nobody takes spans. */
  static start(): BrokerTraces | undefined {
    const tracer = activeTracer();
    return tracer && new BrokerTraces(tracer);
  }

  /** Something has happened. */
  report(event: RoutingEvent<Content>): void {
    switch (event.type) {
      case "request accepted":
        return this.#accept(event.request);
      case "request dispatched":
        return this.#dispatch(event.request);
      case "request recovered":
        return this.#recover(event.request);
      case "request answered": {
        const { request, code } = event;
        return this.#end(request, code === undefined ? undefined : [`${code}`, "ERROR"]);
      }
      case "request expired":
      case "request dropped":
        return this.#end(event.request, [event.reason, event.type]);
    }
  }

  /**
   * The headers that a request goes to its worker with: those that it came with, and the context
   * of its dispatch. Headers that are no JSON object are nobody's to write into.
   *
   * @returns `undefined` if they go as they came.
   */
  headersFor(request: Request<Content>): Uint8Array | undefined {
    const traced = this.#traced.get(request);
    if (traced?.dispatch === undefined) return undefined;
    const given = traced.headers === undefined ? {} : objectIn(traced.headers);
    if (given === undefined) return undefined;
    const carrier = carrierOf(trace.setSpan(traced.context, traced.dispatch));
    return new TextEncoder().encode(JSON.stringify({ ...given, ...carrier }));
  }

  #accept(request: Request<Content>): void {
    const { arrivedAt, client, body, number } = request;
    const service = textOf(request.service.name);
    const headers = headersIn(body)?.bytes();
    const parent = contextIn(headersOf(headers));
    const span = this.#tracer.startSpan(`route ${service}`, {
      kind: SpanKind.SERVER,
      startTime: timestamp(arrivedAt),
      attributes: {
        "rpc.system": SYSTEM,
        "rpc.service": service,
        "mdp.client": hexOf(client),
        "mdp.request": number,
      },
    }, parent);
    this.#traced.set(request, {
      service,
      span,
      context: trace.setSpan(parent, span),
      headers,
      queuedAt: arrivedAt,
      dispatch: undefined,
    });
  }

  #dispatch(request: Request<Content>): void {
    const traced = this.#traced.get(request);
    if (traced === undefined) return;
    const { service, context } = traced, { worker, attempts, dispatchedAt } = request;
    // The message did not get to the worker that had it before.
    if (traced.dispatch !== undefined) this.#takeBack(traced, "not delivered", dispatchedAt);
    if (traced.queuedAt < dispatchedAt) this.#queued(traced).end(timestamp(dispatchedAt));
    traced.dispatch = this.#tracer.startSpan(`dispatch ${service}`, {
      kind: SpanKind.CLIENT,
      startTime: timestamp(dispatchedAt),
      attributes: { "mdp.worker": hexOf(worker!.identity), "mdp.attempt": attempts },
    }, context);
  }

  #recover(request: Request<Content>): void {
    const traced = this.#traced.get(request);
    if (traced !== undefined) this.#takeBack(traced, "worker lost", performance.now());
  }

  /** The worker has it no longer, and has not answered. */
  #takeBack(traced: Traced, why: string, now: number): void {
    const { dispatch } = traced;
    traced.dispatch = undefined;
    traced.queuedAt = now;
    if (dispatch === undefined) return;
    setFailed(dispatch, why, "The worker did not answer");
    dispatch.end(timestamp(now));
  }

  #end(request: Request<Content>, failure: [type: string, message: string] | undefined): void {
    const traced = this.#traced.get(request);
    // It was answered, before it was found that its client does not take it.
    if (traced === undefined) return;
    this.#traced.delete(request);
    const now = performance.now();
    const last = traced.dispatch ?? this.#queued(traced);
    for (const span of [last, traced.span]) {
      if (failure !== undefined) setFailed(span, ...failure);
      span.end(timestamp(now));
    }
  }

  /** That it waited. */
  #queued({ service, context, queuedAt }: Traced): Span {
    return this.#tracer.startSpan(`queue ${service}`, { startTime: timestamp(queuedAt) }, context);
  }
}

function objectIn(frame: Uint8Array): object | undefined {
  try {
    const value = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(frame));
    return typeof value === "object" && value !== null && !Array.isArray(value) ? value : undefined;
  } catch {
    return undefined;
  }
}
