import assert from "node:assert/strict";
import { parse } from "yaml";
import dashboard from "../deploy/grafana-dashboard.json" with { type: "json" };
import { HttpStage } from "./http_stage.ts";
import { isInstalled } from "./program.ts";

const ROOT = new URL("../", import.meta.url);
const read = (path: string) => Deno.readTextFile(new URL(path, ROOT));
const METRICS = await read("docs/metrics.md");
const ALERTS = await read("deploy/alerts.yml");

/** Debian's program that judges rules, if it is installed. */
const promtool = isInstalled("promtool");

interface Rule {
  alert: string;
  expr: string;
}

const rules: Rule[] = parse(ALERTS).groups.flatMap(({ rules }: { rules: Rule[] }) => rules);

/** The names of metrics in a text, as `# TYPE` has them. */
function named(text: string): string[] {
  const names = text.match(/\b(majortomo|process)_[a-z_]+\b/g) ?? [];
  return [...new Set(names.map((name) => name.replace(/_(bucket|sum|count)$/, "")))].sort();
}

/** Those that the broker serves, with a gateway that was called. */
async function served(): Promise<string[]> {
  await using stage = new HttpStage({ gateway: true });
  await stage.worker("echo", (request) => request.frames);
  await (await fetch(`${stage.url}services/echo`, { method: "POST", body: "" })).body?.cancel();
  const { text } = await stage.get("metrics");
  return [...text.matchAll(/^# TYPE (\S+)/gm)].map(([, name]) => name!).sort();
}

Deno.test("docs/metrics.md explains the metrics that there are, and no others", async () => {
  const rows = METRICS.split("\n").filter((line) => line.startsWith("| `"));
  const documented = rows.map((row) => /^\| `(\w+)/.exec(row)?.[1] ?? "")
    .filter((name) => /^(majortomo|process)_/.test(name));
  assert.deepEqual(documented.sort(), await served());
});

Deno.test("deploy/: alerts and dashboard ask for metrics that there are", async () => {
  const metrics = await served();
  const panels = dashboard.panels.flatMap(({ targets }) => targets.map(({ expr }) => expr));
  for (const expr of [...rules.map(({ expr }) => expr), ...panels]) {
    for (const name of named(expr)) assert.ok(metrics.includes(name), `${name} in ${expr}`);
  }
});

Deno.test("docs/metrics.md and deploy/alerts.yml have the same alerts", () => {
  const mentioned = [...new Set(METRICS.match(/\bMajortomo[A-Z]\w+/g))];
  assert.deepEqual(mentioned.sort(), rules.map(({ alert }) => alert).sort());
});

for (
  const [what, args] of [
    ["is what promtool takes", ["check", "rules", "deploy/alerts.yml"]],
    ["has each alert fire when it should, and not else", ["test", "rules", "tests/alerts.yml"]],
  ] as const
) {
  Deno.test({
    name: `deploy/alerts.yml ${what}`,
    ignore: !promtool,
    async fn() {
      const { success, stdout, stderr } = await new Deno.Command("promtool", {
        args: [...args],
        cwd: ROOT,
      }).output();
      assert.ok(success, new TextDecoder().decode(stdout) + new TextDecoder().decode(stderr));
    },
  });
}

Deno.test("tests/alerts.yml has each alert of deploy/alerts.yml fire", async () => {
  const fired = [...new Set((await read("tests/alerts.yml")).match(/\bMajortomo[A-Z]\w+/g))];
  assert.deepEqual(fired.sort(), rules.map(({ alert }) => alert).sort());
});
