/**
 * What runs, for those who look at it from outside.
 *
 * @module
 */

import manifest from "../deno.json" with { type: "json" };

/** The package's version. */
export const VERSION: string = manifest.version;

/** What runs, by name. */
export function buildInfo(): Record<string, string> {
  const { version: { deno, v8 }, build: { target, standalone } } = Deno;
  return { version: VERSION, deno, v8, target, standalone: String(standalone) };
}
