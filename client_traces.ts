/**
 * The spans of a client: one for each call, from its beginning to its end, with all its attempts.
 *
 * @module
 */

import { context, type Span, SpanKind, trace, type Tracer } from "@opentelemetry/api";
import { ServiceError } from "./errors.ts";
import { wordsOf } from "./thrown.ts";
import { activeTracer, carrierOf, setFailed, SYSTEM } from "./traces.ts";

/** Makes the spans of a client's calls. */
export class ClientTraces {
  readonly #tracer: Tracer;

  private constructor(tracer: Tracer) {
    this.#tracer = tracer;
  }

  /** `undefined` if nobody takes spans. */
  static start(): ClientTraces | undefined {
    const tracer = activeTracer();
    return tracer && new ClientTraces(tracer);
  }

  /** A call begins, as a part of whatever its caller is a part of. */
  begin(service: string): CallTrace {
    const parent = context.active();
    const span = this.#tracer.startSpan(`request ${service}`, {
      kind: SpanKind.CLIENT,
      attributes: { "rpc.system": SYSTEM, "rpc.service": service },
    }, parent);
    return new CallTrace(span, carrierOf(trace.setSpan(parent, span)));
  }
}

/** The span of a call. */
export class CallTrace {
  readonly #span: Span;
  #isOver = false;
  /** What the request's headers are to have. */
  readonly headers: Readonly<Record<string, string>>;

  /** For {@linkcode ClientTraces}. */
  constructor(span: Span, headers: Readonly<Record<string, string>>) {
    this.#span = span;
    this.headers = headers;
  }

  /** It is sent to a broker, maybe again. */
  sent(endpoint: string, attempt: number): void {
    this.#span.setAttributes({ "server.address": endpoint, "mdp.attempts": attempt });
  }

  /** It has failed, if it is not over. */
  fail(error: unknown): void {
    if (this.#isOver) return;
    const isError = error instanceof Error;
    const type = error instanceof ServiceError
      ? `${error.code}`
      : isError
      ? error.name
      : typeof error;
    setFailed(this.#span, type, wordsOf(error, type));
  }

  /** It is over. */
  end(): void {
    this.#isOver = true;
    this.#span.end();
  }
}
