import assert from "node:assert/strict";
import { Brokers } from "../failover.ts";

Deno.test("`Brokers` begins with the first, and after the last comes the first", () => {
  const brokers = new Brokers(["a", "b", "c"]);
  assert.equal(brokers.current, "a");
  assert.deepEqual(["a", "b", "c"].map((broker) => brokers.after(broker)), ["b", "c", "a"]);
});

Deno.test("`Brokers` leaves one that is silent, and only if it is the one in use", () => {
  const brokers = new Brokers(["a", "b", "c"]);
  for (let i = 0; i < 2; i++) {
    brokers.silent("a"); // The second time, another was chosen since.
    assert.equal(brokers.current, "b");
  }
  brokers.silent("b");
  brokers.silent("c");
  assert.equal(brokers.current, "a");
});

Deno.test("`Brokers` uses the one that answered", () => {
  const brokers = new Brokers(["a", "b", "c"]);
  brokers.answered("c");
  assert.equal(brokers.current, "c");
  brokers.silent("a");
  assert.equal(brokers.current, "c");
});
