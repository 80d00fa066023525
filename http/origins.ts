/**
 * Which web pages may call services: a page of any site can have its reader's browser send
 * requests to where the reader can reach the gateway.
 *
 * @module
 */

/** The headers that a page of another origin may send and read. */
const REQUEST_HEADERS = "content-type, x-timeout, traceparent, tracestate";

/** The origins that may call services besides the gateway's own. */
export class Origins {
  readonly #allowed: ReadonlySet<string>;

  /**
   * @param allowed Origins, e.g. `"https://example.org"`; `"*"` is any.
   * @throws {TypeError} If it is no list, or one is no origin.
   */
  constructor(allowed: readonly string[]) {
    if (!Array.isArray(allowed)) {
      throw new TypeError(`origins must be a list, got ${Deno.inspect(allowed)}`);
    }
    const wrong = allowed.find((origin) => !isOrigin(origin));
    if (wrong !== undefined) {
      throw new TypeError(
        `An origin is one such as "https://example.org", or "*", got ${Deno.inspect(wrong)}`,
      );
    }
    this.#allowed = new Set(allowed);
  }

  /**
   * Whether whoever sent a request may have it answered.
   *
   * @param request The request.
   * @returns What `Access-Control-Allow-Origin` is to say: empty if nothing, as nobody else asks;
   * `undefined` if the request is to be refused.
   */
  allow(request: Request): string | undefined {
    const origin = request.headers.get("origin");
    // Programs send none, and browsers always do with a POST.
    if (origin === null) return "";
    if (this.#allowed.has("*")) return "*";
    if (this.#allowed.has(origin)) return origin;
    // By its own name any site can point at an address that is not its own (DNS rebinding), and
    // then be of the same origin; by a number or as localhost it cannot.
    const { host, hostname } = new URL(URL.canParse(origin) ? origin : "null:");
    const isAddress = /^(localhost|[\d.]+|\[[\da-f:.]+\])$/.test(hostname);
    return isAddress && host === request.headers.get("host") ? "" : undefined;
  }

  /**
   * What an answer says about them.
   *
   * @param allowed What `allow()` has returned.
   * @param preflight Whether the answer is to a browser's question before the request.
   * @returns The headers.
   */
  headers(allowed: string, preflight: boolean): Record<string, string> {
    if (allowed === "") return {};
    return {
      "access-control-allow-origin": allowed,
      vary: "origin",
      ...(preflight
        ? {
          "access-control-allow-methods": "POST",
          "access-control-allow-headers": REQUEST_HEADERS,
          "access-control-max-age": "600",
        }
        : {}),
    };
  }
}

/**
 * Whether a text is an origin as browsers send it, such as `https://example.org`, or `*` for any.
 *
 * @param text The text.
 * @returns Whether it is.
 */
export function isOrigin(text: string): boolean {
  return text === "*" ||
    /^https?:/.test(text) && URL.canParse(text) && new URL(text).origin === text;
}
