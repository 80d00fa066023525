import assert from "node:assert/strict";
import { OUTPUT, reference } from "../scripts/reference.ts";

Deno.test("docs/reference.md is what the programs say of themselves", async () => {
  const made = await reference();
  for (const heading of ["## majortomo-broker", "### majortomo-echo worker", "### mdp bench"]) {
    assert.ok(made.includes(`\n${heading}\n`), `there is no "${heading}"`);
  }
  assert.ok(
    await Deno.readTextFile(OUTPUT) === made,
    "docs/reference.md is out of date: run deno task reference",
  );
});
