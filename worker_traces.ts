/**
 * The spans of a worker: one for each request, from when it comes to its end. What a handler does
 * is part of it.
 *
 * @module
 */

import { type Context, context, SpanKind, trace, type Tracer } from "@opentelemetry/api";
import { ServiceError } from "./errors.ts";
import { activeTracer, contextIn, setFailed, SYSTEM } from "./traces.ts";
import { onOver, type WorkerRequest } from "./worker_request.ts";

/** Makes the spans of a worker's requests. */
export class WorkerTraces {
  readonly #tracer: Tracer;
  /** Of the requests that are not over. */
  readonly #contexts = new Map<WorkerRequest, Context>();

  private constructor(tracer: Tracer) {
    this.#tracer = tracer;
  }

  /** `undefined` if nobody takes spans. */
  static start(): WorkerTraces | undefined {
    const tracer = activeTracer();
    return tracer && new WorkerTraces(tracer);
  }

  /** A request has come. */
  begin(request: WorkerRequest): void {
    const { service, headers } = request;
    const parent = contextIn(headers);
    const span = this.#tracer.startSpan(`handle ${service}`, {
      kind: SpanKind.SERVER,
      attributes: { "rpc.system": SYSTEM, "rpc.service": service },
    }, parent);
    this.#contexts.set(request, trace.setSpan(parent, span));
    onOver(request, (error) => {
      this.#contexts.delete(request);
      if (error !== undefined) {
        const type = error instanceof ServiceError ? `${error.code}` : error.name;
        setFailed(span, type, error.message);
      }
      span.end();
    });
  }

  /** Does something for a request, so that spans that are made by it belong to the request's. */
  within<T>(request: WorkerRequest, does: () => T): T {
    const own = this.#contexts.get(request);
    return own === undefined ? does() : context.with(own, does);
  }
}
