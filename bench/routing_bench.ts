/**
 * What the broker's rules cost, without sockets: `deno task bench:micro`.
 *
 * @module
 */

import { MULTIPLEXED, RFC } from "../codec.ts";
import { ID, Rules } from "./rules.ts";

for (const dialect of [RFC, MULTIPLEXED]) {
  const credit = dialect === MULTIPLEXED ? 256 : 1;
  const { name } = dialect;

  const idle = new Rules(dialect);
  for (let i = 0; i < 64; i++) idle.join(ID(i), "echo", credit);
  Deno.bench(`request and reply, 64 workers, ${name}`, { group: "request" }, () => {
    idle.request();
    idle.final();
  });

  const crowd = new Rules(dialect);
  for (let i = 0; i < 64; i++) crowd.join(ID(i), "echo", credit);
  for (let i = 0; i < 10_000; i++) crowd.join(ID(1_000 + i), `idle-${i % 1_000}`, credit);
  Deno.bench(`the same beside 10,000 idle workers, ${name}`, { group: "request" }, () => {
    crowd.request();
    crowd.final();
  });

  Deno.bench(`heartbeat of a worker, ${name}`, { group: "heartbeat" }, () => {
    crowd.routing.heartbeat(ID(1_000), dialect, crowd.now);
  });
  Deno.bench(`a millisecond passes for 10,000 workers, ${name}`, { group: "time" }, () => {
    crowd.now += 1;
    // Workers that are never heard from would be purged.
    if (crowd.now % 5_000 === 0) {
      for (let i = 0; i < 10_000; i++) crowd.routing.heartbeat(ID(1_000 + i), dialect, crowd.now);
      for (let i = 0; i < 64; i++) crowd.routing.heartbeat(ID(i), dialect, crowd.now);
    }
    crowd.routing.elapse(crowd.now);
  });
}
