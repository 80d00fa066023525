// The chaos of `deno task chaos`, short and with few processes: .ci/run has a minute of it.

import assert from "node:assert/strict";
import { areAllThere } from "./chaos/run.ts";

Deno.test("every promise is kept while processes are killed, frozen and fed garbage for 4 seconds", async () => {
  const { code, stdout } = await new Deno.Command(Deno.execPath(), {
    args: [
      "run",
      "-A",
      new URL("./chaos/main.ts", import.meta.url).pathname,
      ..."--seconds 4 --workers 6 --steady 2 --vanishing 1 --clients 5".split(" "),
    ],
    stderr: "inherit",
  }).output();
  const report = new TextDecoder().decode(stdout);
  assert.equal(code, 0, report);
  assert.match(report, /chaos for 4 s, seed \d+\n[^]*\nall promises were kept\n$/);
});

Deno.test("the chaos takes each worker that finds out its dialect for one or for four, and no other number", () => {
  const are = (rfc: number, majortomo: number, multiplexed: number) =>
    areAllThere(20, { registered: { rfc, majortomo, multiplexed } });
  assert.ok(are(20, 20, 10), "all were answered");
  assert.ok(are(24, 20, 9), "one was not");
  assert.ok(are(40, 20, 5), "none was");
  assert.ok(!are(24, 20, 10), "a process of RFC 18 too many");
  assert.ok(!are(20, 24, 10), "a process of majortomo's too many");
  assert.ok(!are(20, 20, 11), "a multiplexed one too many");
  assert.ok(!are(19, 20, 10), "a registration is missing");
  assert.ok(!are(23, 20, 9), "one of four is missing");
  assert.ok(!are(44, 20, 4), "one that insists speaks RFC 18");
});
