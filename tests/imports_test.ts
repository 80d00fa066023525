import assert from "node:assert/strict";
import { exported, type Module, publishedModules } from "./modules.ts";

/** From the top. A module imports from its own layer and those below, and never in a circle. */
const LAYERS: [layer: string, modules: RegExp][] = [
  ["programs", /^cli\//],
  ["http", /^http\//],
  ["entry", /^mod\.ts$/],
  ["roles", /^(broker|client|worker|testing)\.ts$/],
  ["parts", /^[a-z_]+\.ts$/],
  ["zmtp", /^zmtp\//],
  ["zmq", /^zmq\//],
  ["errors", /^errors\.ts$/],
];

/** What modules may import at all. */
const ONLY: [modules: RegExp, from: RegExp, why: string][] = [
  [/^zmq\//, /^(zmq\/|errors\.ts$|npm:zeromq@)/, "zmq/ knows nothing of MDP"],
  [/^zmtp\//, /^(zmtp\/|zmq\/|errors\.ts$)/, "zmtp/ knows nothing of MDP"],
  [/^errors\.ts$/, /^$/, "errors stand by themselves"],
  [
    /^http\//,
    /^(http\/.*|(broker|client|errors|durations|options|traces)\.ts|deno\.json|uplot\/.*|@logtape\/logtape|@opentelemetry\/.*|@remix-run\/.*)$/,
    "http/ sees a broker as any program does that embeds one, and only checks options and makes spans " +
    "as all do",
  ],
  [
    /^(broker_codes|commands|codec\w*|routing\w*|liveness|deadlines|list|complaints)\.ts$/,
    /^(broker_codes|commands|codec\w*|routing\w*|liveness|deadlines|list|tokens|ids|complaints|errors)\.ts$/,
    "the core is pure",
  ],
];

/** What may be imported only there. */
const NOWHERE_ELSE: [imported: RegExp, by: RegExp, why: string][] = [
  [/^npm:zeromq@/, /^zmq\/library\.ts$/, "one module finds libzmq"],
  [/^@optique\//, /^cli\//, "a library's user needs no command line"],
  [/^(yaml|valibot)$/, /^cli\//, "a library's user needs no configuration files"],
  [/^(hdr-histogram-js|string-width)$/, /^cli\//, "a library's user needs no tables"],
  [/^http\//, /^(cli|http)\//, "nothing below knows of HTTP"],
  [/^uplot\//, /^http\/page\.ts$/, "a page has charts"],
  [/^@remix-run\//, /^http\/frames\.ts$/, "frames are parts of a form over HTTP only"],
  [/^@opentelemetry\/api$/, /^(\w+_)?traces\.ts$/, "spans are made in one place for each role"],
  [/^@opentelemetry\/(?!api$)/, /^http\/exposition\.ts$/, "one module writes metrics"],
  [/^mod\.ts$/, /^$/, "the entry is for users"],
  [/^(tests|bench|scripts|examples|dist)\//, /^$/, "they are not published"],
  [/^(fast-check|playwright-core|axe-core\/.*)$/, /^$/, "they are for tests"],
  [/^(echarts|@nats-io\/.*)$/, /^$/, "they are for the bench"],
  [/^(https?|jsr|file|data|blob):/, /^$/, "all there is comes from npm by way of deno.json"],
];

/** What the pure modules do not mention. */
const WORLD =
  /\b(Deno|Date|performance|process|console|(?:set|clear)(?:Timeout|Interval|Immediate)|queueMicrotask|fetch|AbortSignal|Math\.random|crypto)\b/;
const PURE =
  /^(broker_codes|commands|codec\w*|routing\w*|liveness|deadlines|list|complaints|zmtp\/wire)\.ts$/;

const modules = await publishedModules();

/** `errors.ts` is among the parts by its name: the last layer that fits is meant. */
function layerOf(path: string): number {
  return LAYERS.findLastIndex(([, pattern]) => pattern.test(path));
}

function violations(check: (module: Module, imported: string) => string | undefined): string[] {
  return [...modules.values()].flatMap((module) =>
    module.imports.flatMap((imported) => {
      const why = check(module, imported);
      return why === undefined ? [] : [`${module.path} imports ${imported}: ${why}`];
    })
  );
}

Deno.test("modules: the scan finds them, and their imports", () => {
  for (const path of exported()) assert.ok(modules.has(path), `${path} of deno.json's exports`);
  assert.ok(modules.get("connection.ts")!.imports.includes("zmq/socket.ts"));
  assert.ok(modules.get("zmq/socket.ts")!.imports.includes("errors.ts"));
  assert.ok(modules.get("routing.ts")!.imports.includes("commands.ts"));
  assert.ok(![...modules.keys()].some((path) => path.startsWith("tests/")));
  const unknown = [...modules.keys()].filter((path) => layerOf(path) < 0);
  assert.deepEqual(unknown, [], "each module is in a layer");
  const missing = violations((_, imported) =>
    imported.endsWith(".ts") && !modules.has(imported) ? "there is no such module" : undefined
  );
  assert.deepEqual(missing, []);
});

Deno.test("modules: imports point one way, from the programs down to errors", () => {
  const upwards = violations((module, imported) => {
    if (!modules.has(imported)) return undefined;
    const from = layerOf(module.path), to = layerOf(imported);
    if (to >= from) return undefined;
    return `${LAYERS[to]![0]} are above ${LAYERS[from]![0]}`;
  });
  assert.deepEqual(upwards, []);
});

Deno.test("modules: nothing imports itself, by whatever way", () => {
  const done = new Set<string>();
  const circles: string[] = [];
  const visit = (path: string, way: string[]) => {
    if (way.includes(path)) circles.push([...way.slice(way.indexOf(path)), path].join(" → "));
    if (way.includes(path) || done.has(path)) return;
    for (const imported of modules.get(path)?.imports ?? []) visit(imported, [...way, path]);
    done.add(path);
  };
  for (const path of modules.keys()) visit(path, []);
  assert.deepEqual(circles, []);
});

for (const [who, from, why] of ONLY) {
  Deno.test(`modules: ${why}`, () => {
    assert.ok([...modules.keys()].some((path) => who.test(path)));
    const others = violations((module, imported) =>
      who.test(module.path) && !from.test(imported)
        ? `it may import ${from.source} only`
        : undefined
    );
    assert.deepEqual(others, []);
  });
}

for (const [what, by, why] of NOWHERE_ELSE) {
  Deno.test(`modules: ${why} (${what.source})`, () => {
    const others = violations((module, imported) =>
      what.test(imported) && !by.test(module.path) ? why : undefined
    );
    assert.deepEqual(others, []);
  });
}

Deno.test("modules: the core mentions no clock, no timer, no socket and no Deno", () => {
  const pure = [...modules.values()].filter(({ path }) => PURE.test(path));
  assert.ok(pure.length >= 5);
  const found = pure.flatMap(({ path, code }) => {
    const mention = WORLD.exec(code);
    return mention === null ? [] : [`${path} mentions ${mention[0]}`];
  });
  assert.deepEqual(found, []);
});
