import assert from "node:assert/strict";
import { now } from "../zmq/clock.ts";

Deno.test("`now` is the time of `performance.now`, never behind it, and never goes back", async () => {
  for (let round = 0, last = 0; round < 10; round++) {
    for (let i = 0; i < 1_000; i++) {
      const before = performance.now(), time = now(), after = performance.now();
      assert.ok(time >= before, `${time} is before ${before}`);
      // What it may be ahead by is what the first looks at both were apart.
      assert.ok(time <= after + 1, `${time} is after ${after}`);
      assert.ok(time >= last, `${time} is before ${last}`);
      last = time;
    }
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
});
