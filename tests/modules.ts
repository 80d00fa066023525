/**
 * The repository's modules and what they import, for tests of how they hang together.
 *
 * @module
 */

import manifest from "../deno.json" with { type: "json" };

const ROOT = new URL("../", import.meta.url);

/** What is not published: it may import what is, and not the other way. */
const OUTSIDE = ["tests/", "bench/", "scripts/", "examples/", ".ci/", "dist/", "zmq/embedded/"];

/** A module, by what a reader of it sees. */
export interface Module {
  /** From the repository, e.g. `"zmq/socket.ts"`. */
  path: string;
  /** Its text without comments. */
  code: string;
  /** What it imports: paths as above, and specifiers of packages as they are written. */
  imports: string[];
}

/** The modules that a user of the package may come to load, by path. */
export async function publishedModules(): Promise<Map<string, Module>> {
  const modules = new Map<string, Module>();
  for await (const path of files("")) modules.set(path, await read(path));
  return modules;
}

/** The modules that the package's exports name. */
export function exported(): string[] {
  return Object.values(manifest.exports).map((path) => path.replace(/^\.\//, ""));
}

async function* files(folder: string): AsyncGenerator<string> {
  for await (const entry of Deno.readDir(new URL(folder || "./", ROOT))) {
    const path = folder + entry.name;
    if (entry.isDirectory) {
      if (!entry.name.startsWith(".") && !OUTSIDE.includes(`${path}/`)) yield* files(`${path}/`);
    } else if (path.endsWith(".ts")) yield path;
  }
}

async function read(path: string): Promise<Module> {
  const code = withoutComments(await Deno.readTextFile(new URL(path, ROOT)));
  const specifiers = code.matchAll(/\b(?:from|import)\s*\(?\s*"([^"]+)"/g);
  const imports = [...new Set([...specifiers].map(([, specifier]) => specifier!))];
  return {
    path,
    code,
    imports: imports.map((specifier) =>
      specifier.startsWith(".")
        ? new URL(specifier, new URL(path, ROOT)).href.slice(ROOT.href.length)
        : specifier
    ),
  };
}

/** Strings and templates stay: `//` in them begins no comment. */
function withoutComments(text: string): string {
  const pieces = /("(?:\\.|[^"\\\n])*"|`(?:\\.|[^`\\])*`)|\/\*[\s\S]*?\*\/|\/\/[^\n]*/g;
  return text.replace(pieces, (_, quoted: string | undefined) => quoted ?? " ");
}
