import assert from "node:assert/strict";
import { MdpStage } from "./mdp.ts";
import { hasTerminals, Terminal } from "./terminal.ts";

const DENO = Deno.execPath();

/** What `mdp` shows in a terminal. */
async function shown(
  command: string,
  env: Record<string, string>,
  columns = 120,
): Promise<string> {
  await using terminal = new Terminal(
    `stty cols ${columns}; env -u NO_COLOR ${
      Object.entries(env).map((pair) => pair.join("=")).join(" ")
    } ` +
      `${DENO} run --quiet --no-prompt --allow-ffi --allow-read --allow-env=MDP_BROKER cli/mdp.ts ${command}`,
  );
  const { code, shown } = await terminal.ended();
  assert.equal(code, 0, shown);
  return shown;
}

Deno.test({
  name: "`mdp` has colours on a terminal alone, and not there either with NO_COLOR",
  ignore: !hasTerminals,
  async fn(t) {
    await using stage = await MdpStage.start();
    await stage.serve("echo", "--echo");
    const MDP_BROKER = stage.endpoint;
    for (const command of ["services", "workers", "--help", "call --help"]) {
      await t.step(command, async () => {
        const pattern = command.includes("help") ? /Usage/ : /SERVICE/;
        const colored = await shown(command, { MDP_BROKER });
        assert.match(colored, pattern);
        assert.ok(colored.includes("\x1b["), colored);
        const plain = await shown(command, { MDP_BROKER, NO_COLOR: "1" });
        assert.match(plain, pattern);
        assert.ok(!plain.includes("\x1b"), plain);
        const piped = await shown(`${command} | cat`, { MDP_BROKER });
        assert.match(piped, pattern);
        assert.ok(!piped.includes("\x1b"), piped);
      });
    }
  },
});

Deno.test({
  name: "`mdp bench` shows its progress on a terminal alone",
  ignore: !hasTerminals,
  async fn() {
    await using stage = await MdpStage.start();
    const env = { MDP_BROKER: stage.endpoint };
    assert.match(await shown("bench --duration 500ms", env), /\d+ %.*\r/s);
    // Longer lines would not be drawn over.
    const narrow = await shown("bench --duration 500ms", env, 35);
    const bars = [...narrow.matchAll(/\r([█░]+[\d %a-z]*)/g)].map(([, bar]) => bar!.length);
    assert.ok(bars.length > 0);
    assert.ok(Math.max(...bars) < 35, String(bars));
    const piped = await shown("bench --duration 500ms 2>&1 | cat", env);
    assert.match(piped, /Load/);
    assert.doesNotMatch(piped, /\d %/);
    assert.ok(!piped.includes("\x1b"), piped);
  },
});
