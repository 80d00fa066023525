/**
 * A place for a broker to come back to.
 *
 * @module
 */

/** An endpoint on loopback whose port is free now. */
export function availableEndpoint(): string {
  using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  return `tcp://127.0.0.1:${listener.addr.port}`;
}
