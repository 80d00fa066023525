import assert from "node:assert/strict";
import { exported, publishedModules } from "./modules.ts";

const ROOT = new URL("../", import.meta.url);

/** The files that `deno publish` would send, as it tells them. */
async function published(): Promise<string[]> {
  const { code, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
    // Types are checked by the task `check`.
    args: ["publish", "--dry-run", "--allow-dirty", "--no-check"],
    cwd: ROOT,
    env: { NO_COLOR: "1" },
    stdout: "piped",
    stderr: "piped",
  }).output();
  const text = new TextDecoder().decode(stdout) + new TextDecoder().decode(stderr);
  assert.equal(code, 0, text);
  const lines = text.matchAll(/^\s+(file:\/\/\S+) \([\d.]+\w+\)$/gm);
  return [...lines].map(([, url]) => decodeURIComponent(url!.slice(ROOT.href.length)));
}

Deno.test("`deno publish` sends what users need, and nothing else", async () => {
  const files = await published();
  assert.ok(files.length > 0, "the list of files was not understood");

  const modules = await publishedModules();
  const reachable = new Set<string>();
  const visit = (path: string) => {
    if (!modules.has(path) || reachable.has(path)) return;
    reachable.add(path);
    modules.get(path)!.imports.forEach(visit);
  };
  exported().forEach(visit);
  for (const path of ["deno.json", "LICENSE", "README.md", ...reachable]) {
    assert.ok(files.includes(path), `${path} is missing in:\n${files.join("\n")}`);
  }

  const unneeded = files.filter((path) => path.endsWith(".ts") && !reachable.has(path));
  assert.deepEqual(
    unneeded.filter((path) => !path.startsWith("examples/")),
    [],
    "modules that no export leads to",
  );
  const internal = /^(tests|bench|scripts|dist|\.)/;
  assert.deepEqual(files.filter((path) => internal.test(path)), []);
});
