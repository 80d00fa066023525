import assert from "node:assert/strict";

const ROOT = new URL("../", import.meta.url);
const read = (path: string) => Deno.readTextFile(new URL(path, ROOT));

/** The version of Deno that all is tested with: what dvm, setup-deno and .ci/run read. */
const PINNED = (await read(".dvmrc")).trim();

/** Texts that name a version of Deno to be run. */
function texts(): string[] {
  const docs = [...Deno.readDirSync(new URL("docs/", ROOT))].map(({ name }) => `docs/${name}`);
  return ["README.md", ".ci/run", ...docs.filter((path) => path.endsWith(".md"))];
}

Deno.test(".dvmrc pins one version of Deno", () => {
  assert.match(PINNED, /^\d+\.\d+\.\d+$/);
});

Deno.test("README has the commands that need nothing but Node, with the pinned Deno", async () => {
  const readme = await read("README.md");
  for (const task of ["broker", "test"]) {
    const command = `npx -y deno@${PINNED} task ${task}`;
    assert.ok(readme.includes(command), `README.md does not have "${command}"`);
  }
});

Deno.test("no text names another version of Deno than the pinned one", async () => {
  for (const path of texts()) {
    for (const [, version] of (await read(path)).matchAll(/\bdeno@v?(\d+\.\d+\.\d+)/g)) {
      assert.equal(version, PINNED, `in ${path}`);
    }
  }
});

Deno.test("deno.lock names no host, so that any registry can be used", async () => {
  const lock = await read("deno.lock");
  assert.doesNotMatch(lock, /https?:/);
});
