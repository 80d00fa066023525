/**
 * Builds the broker as one executable for this platform, `dist/majortomo-broker`, with the one
 * build of libzmq in it that is opened here: the package's, or what `MAJORTOMO_LIBZMQ` names.
 *
 * ```sh
 * deno task compile            # or: deno task compile path/to/output
 * ```
 *
 * `deno compile` appends the program to a runtime of Deno's, `denort`, which it downloads. Where
 * it cannot, `DENORT_BIN` names one.
 *
 * @module
 */

import { resolve } from "node:path";
// As library.ts has it, which must find the same one.
// deno-lint-ignore no-import-prefix
import zeromq from "npm:zeromq@^6.8.0/package.json" with { type: "json" };
import manifest from "../deno.json" with { type: "json" };
import { libzmq } from "../zmq/library.ts";
import { BROKER_V8_FLAGS } from "./v8_flags.ts";

const ROOT = new URL("../", import.meta.url);
const MANIFEST = new URL("zmq/embedded/package.json", ROOT);
const WORK = new URL("dist/compile/", ROOT);

/**
 * Builds the executable.
 *
 * @param output Its absolute path.
 * @returns Whether that was possible; if not, the reason is on stderr.
 */
export async function compile(output: string): Promise<boolean> {
  await Deno.mkdir(new URL(".", MANIFEST), { recursive: true });
  await Deno.mkdir(WORK, { recursive: true });
  await Deno.copyFile(libzmq().path, new URL("libzmq.node", MANIFEST));
  // All that library.ts imports of npm:zeromq. It stands in for the package, whose 39 MB of
  // builds for all platforms would be embedded otherwise.
  await Deno.writeTextFile(MANIFEST, JSON.stringify({ version: zeromq.version }));
  const config = {
    imports: { ...manifest.imports, "npm:zeromq@^6.8.0/package.json": MANIFEST.href },
    compilerOptions: manifest.compilerOptions,
    nodeModulesDir: manifest.nodeModulesDir,
    unstable: manifest.unstable,
  };
  await Deno.writeTextFile(new URL("deno.json", WORK), JSON.stringify(config));
  // A copy, since the project's has npm:zeromq in it and would lose it.
  await Deno.copyFile(new URL("deno.lock", ROOT), new URL("deno.lock", WORK));

  const { success, stderr } = await new Deno.Command(Deno.execPath(), {
    args: [
      "compile",
      "--quiet",
      "--no-check",
      "--exclude-unused-npm",
      `--config=${path(WORK)}deno.json`,
      `--lock=${path(WORK)}deno.lock`,
      "--allow-ffi",
      "--allow-read",
      "--allow-write",
      "--allow-env=MAJORTOMO_LIBZMQ",
      // For --http alone.
      "--allow-net",
      "--include=zmq/embedded/libzmq.node",
      `--v8-flags=${BROKER_V8_FLAGS}`,
      `--output=${output}`,
      "cli/broker.ts",
    ],
    cwd: path(ROOT),
    stderr: "piped",
  }).output();
  if (success) return true;
  await Deno.stderr.write(stderr);
  if (/denort|base binary/.test(new TextDecoder().decode(stderr))) {
    const { version: { deno }, build: { target } } = Deno;
    console.error(
      `compile: Deno's runtime for executables could not be had: where it cannot be downloaded, ` +
        `set DENORT_BIN to the path of denort ${deno} for ${target}`,
    );
  }
  return false;
}

/** The path of the executable unless another is given. */
export const OUTPUT = path(new URL("dist/majortomo-broker", ROOT));

function path(url: URL): string {
  return decodeURIComponent(url.pathname);
}

if (import.meta.main) {
  const output = resolve(Deno.args[0] ?? OUTPUT);
  if (!await compile(output)) Deno.exit(1);
  const { size } = await Deno.stat(output);
  console.log(`${output} (${(size / 1e6).toFixed(1)} MB, libzmq ${libzmq().version})`);
}
