import assert from "node:assert/strict";
import { parseConfig } from "../cli/config.ts";
import { resolveBrokerOptions } from "../options.ts";
import { start } from "./cli.ts";
import { isInstalled } from "./program.ts";

const ROOT = new URL("../", import.meta.url);
const OPERATIONS = await Deno.readTextFile(new URL("docs/operations.md", ROOT));
const UNIT = await Deno.readTextFile(new URL("deploy/majortomo.service", ROOT));

/** The file that docs/operations.md shows. */
const [, FILE] = /```yaml\n([\s\S]*?)```/.exec(OPERATIONS)!;

Deno.test("docs/operations.md: the configuration file is right, names all options, and has the defaults", () => {
  const { settings, logging } = parseConfig(FILE!, "broker.yaml");
  const { bindUrl, drain, ...rest } = settings;
  assert.equal(bindUrl?.length, 2);
  assert.ok(drain! > 0);
  const { bind: _, drain: __, linger: ___, sendHighWaterMark: ____, ...others } =
    resolveBrokerOptions();
  const defaults = Object.entries(others).filter(([, value]) => value !== Infinity);
  assert.deepEqual(rest, Object.fromEntries(defaults));
  // What has no bound by default cannot be said, but is shown.
  const shown = parseConfig(FILE!.replaceAll("# max-", "max-"), "broker.yaml").settings;
  for (const name of Object.keys(others)) assert.ok(Object.hasOwn(shown, name), name);
  assert.equal(logging.sinks?.length, 2);
});

Deno.test("deploy/majortomo.service: gives the broker longer to stop than the file says that it drains", () => {
  const [, patience] = /^TimeoutStopSec=(\d+)$/m.exec(UNIT)!;
  assert.ok(Number(patience) * 1_000 > parseConfig(FILE!, "broker.yaml").settings.drain!);
});

Deno.test("deploy/majortomo.service: starts the broker with options that it has", async () => {
  const [, command] = /^ExecStart=(.*)$/m.exec(UNIT)!;
  const [program, ...args] = command!.split(" ");
  assert.match(program!, /\/majortomo-broker$/);
  const path = await Deno.makeTempFile({ suffix: ".yaml" });
  try {
    await Deno.writeTextFile(path, "bind-url: tcp://127.0.0.1:*\n");
    const given = args.map((arg) => arg === "/etc/majortomo/broker.yaml" ? path : arg);
    assert.ok(given.includes(path));
    await using broker = start("cli/broker.ts", given, ["--allow-read"]);
    await broker.stderr(/Listening on/);
    // As ExecReload does.
    if (Deno.build.os !== "windows") {
      broker.kill("SIGHUP");
      await broker.stderr(/again/);
    }
    broker.kill("SIGTERM");
    assert.equal((await broker.ended()).code, 0);
  } finally {
    await Deno.remove(path);
  }
});

Deno.test({
  name: "deploy/majortomo.service: systemd takes it",
  ignore: !isInstalled("systemd-analyze"),
  async fn() {
    const folder = await Deno.makeTempDir();
    try {
      // It looks for the program.
      const path = `${folder}/majortomo.service`;
      await Deno.writeTextFile(path, UNIT.replace("/usr/local/bin/majortomo-broker", "/bin/true"));
      const { code, stderr } = await new Deno.Command("systemd-analyze", { args: ["verify", path] })
        .output();
      assert.deepEqual([code, new TextDecoder().decode(stderr)], [0, ""]);
    } finally {
      await Deno.remove(folder, { recursive: true });
    }
  },
});
