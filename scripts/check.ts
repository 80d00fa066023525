/**
 * Everything that is checked without running it: one line for each step, and for one that failed
 * what it said. Exits with 1 if any did.
 *
 * ```sh
 * deno task check
 * ```
 *
 * @module
 */

import manifest from "../deno.json" with { type: "json" };

const ROOT = new URL("../", import.meta.url);
const exported = Object.values(manifest.exports);

/** What is checked, and by which command of deno's. */
const STEPS: [step: string, args: string[]][] = [
  ["format", ["fmt", "--check"]],
  ["lint", ["lint"]],
  ["types of all modules, and that deno.lock is whole", ["check", "--frozen", "."]],
  ["types of the examples in the documentation", ["check", "--doc-only", ".", ...markdown()]],
  ["documentation of all that is exported", ["doc", "--lint", ...exported]],
  // Of the whole package, among the rest that no exported type is left to be inferred.
  ["publishing", ["publish", "--dry-run", "--allow-dirty"]],
];

/** README and the documents, whose code blocks are examples too. */
function markdown(): string[] {
  const names = (folder: string) =>
    [...Deno.readDirSync(new URL(folder, ROOT))]
      .filter(({ isFile, name }) => isFile && name.endsWith(".md"))
      .map(({ name }) => `${folder}${name}`);
  return [...names("./"), ...names("./docs/")];
}

async function succeeds(args: string[]): Promise<boolean> {
  const { success, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
    args,
    cwd: ROOT,
    stdin: "null",
  }).output();
  if (!success) {
    await Deno.stderr.write(stdout);
    await Deno.stderr.write(stderr);
  }
  return success;
}

const failed: string[] = [];
for (const [step, args] of STEPS) {
  const start = performance.now();
  const success = await succeeds(args);
  const seconds = ((performance.now() - start) / 1_000).toFixed(1);
  console.log(`${success ? "ok" : "FAILED"}: ${step} (${seconds} s)`);
  if (!success) failed.push(step);
}
if (failed.length > 0) {
  console.error(`check: failed: ${failed.join("; ")}`);
  Deno.exit(1);
}
