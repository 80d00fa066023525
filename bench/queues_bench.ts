/**
 * What the broker's rules cost when requests have queued: `deno task bench:micro`. In a module of its
 * own, as what they hold would be in the way of the others.
 *
 * @module
 */

import { type Dialect, MULTIPLEXED, RFC } from "../codec.ts";
import { ID, Rules } from "./rules.ts";

for (const dialect of [RFC, MULTIPLEXED]) {
  for (const waiting of [1_000, 1_000_000]) {
    // Before anything is timed: after a first call that takes long each is timed by itself.
    const rules = backlog(dialect, waiting);
    Deno.bench(
      `request and reply behind ${waiting} queued, ${dialect.name}`,
      { group: "backlog" },
      () => {
        rules.request();
        rules.final();
      },
    );
  }
}

/** Rules with one busy worker and so many requests that wait for it. */
function backlog(dialect: Dialect, waiting: number): Rules {
  const rules = new Rules(dialect);
  rules.join(ID(0), "echo", 1);
  for (let i = 0; i <= waiting; i++) rules.request();
  return rules;
}
