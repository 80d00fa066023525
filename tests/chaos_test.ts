// The chaos of `deno task chaos`, short and with few processes: .ci/run has a minute of it.

import assert from "node:assert/strict";

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
