import assert from "node:assert/strict";
import stringWidth from "string-width";
import { quantile, since } from "../cli/histogram.ts";
import { keysOf } from "../cli/screen.ts";
import { cut, table } from "../cli/table.ts";
import { type Look, type Row, rowsOf, sortRows } from "../cli/top_model.ts";
import { render, type View } from "../cli/top_view.ts";
import { startBroker } from "./cli.ts";
import { MdpStage } from "./mdp.ts";
import { hasTerminals, Terminal } from "./terminal.ts";

/** What the terminal is told at first and at last. */
const ENTER = "\x1b[?1049h\x1b[?25l\x1b[?7l", LEAVE = "\x1b[?7h\x1b[?25h\x1b[?1049l";

/** `mdp top` in a terminal, between two looks at how that is set. */
function top(endpoint: string, folder: string, ...args: string[]): Terminal {
  const command = [
    "deno run --no-prompt --allow-ffi cli/mdp.ts top --interval 200ms -b",
    endpoint,
    ...args,
  ].join(" ");
  return new Terminal(
    `stty -g > ${folder}/before; sh -c 'echo $$ > ${folder}/pid; exec ${command}'; code=$?;` +
      ` stty -g > ${folder}/after; exit $code`,
    { NO_COLOR: "1", PATH: `${deno()}:${Deno.env.get("PATH")}` },
  );
}

/** Where deno is. */
function deno(): string {
  return Deno.execPath().replace(/\/[^/]*$/, "");
}

/** That the terminal is as it was, and shows what it showed. */
async function assertUntouched(folder: string, shown: string): Promise<void> {
  assert.equal(
    await Deno.readTextFile(`${folder}/after`),
    await Deno.readTextFile(`${folder}/before`),
  );
  assert.equal(shown.split(ENTER).length, 2, "it takes a screen of its own, once");
  assert.equal(shown.split(LEAVE).length, 2, "it gives that back, once");
  assert.ok(shown.endsWith(LEAVE), Deno.inspect(shown.slice(-100)));
}

/** A test in a terminal, if there are any. */
function terminalTest(name: string, test: (stage: MdpStage, folder: string) => Promise<void>) {
  Deno.test({
    name,
    ignore: !hasTerminals,
    async fn() {
      const folder = await Deno.makeTempDir();
      try {
        await using stage = await MdpStage.start();
        await test(stage, folder);
      } finally {
        await Deno.remove(folder, { recursive: true });
      }
    },
  });
}

terminalTest(
  "`mdp top` shows services and their rates, obeys keys and leaves the terminal as it was",
  async (stage, folder) => {
    await stage.serve("alpha", "--echo", "--concurrency", "4");
    await stage.serve("beta", "--reply", "x");
    await using terminal = top(stage.endpoint, folder);
    await terminal.until(/majortomo-broker \d+\.\d+\.\d+, up /);
    await terminal.until(/2 services {3}2 workers/);
    await terminal.until(/▼STATE[^]*alpha +ok +0 +0 +0 +0 +1 +0 +0 [^]*beta +ok /);
    const load = stage.begin(["bench", "-s", "alpha", "-W", "0", "-w", "4", "-d", "60"]);
    await terminal.until(/[1-9][\d,.]* requests\/s[^]*alpha +[a-z ]+ +[1-9]/);
    load.kill("SIGTERM");
    await terminal.press("\x1b[C");
    await terminal.until(/▼REQ\/S/);
    await terminal.press("\x1b[D\x1b[Dr");
    await terminal.until(/▼SERVICE/);
    await terminal.press("?");
    await terminal.until(/LOST\/S +requests refused/);
    await terminal.press("? ");
    await terminal.until(/PAUSED/);
    await terminal.press("q");
    const { code, shown } = await terminal.ended();
    assert.equal(code, 0);
    // deno-lint-ignore no-control-regex -- as colours begin with it
    assert.doesNotMatch(shown.slice(shown.indexOf(ENTER)), /\x1b\[\d*m/);
    await assertUntouched(folder, shown);
  },
);

terminalTest(
  "`mdp top` ends with 130 by Ctrl-C and leaves the terminal as it was",
  async (stage, folder) => {
    await using terminal = top(stage.endpoint, folder);
    await terminal.until(/q quit/);
    await terminal.press("\x03");
    const { code, shown } = await terminal.ended();
    assert.equal(code, 130);
    await assertUntouched(folder, shown);
  },
);

for (
  const [signal, expected] of [["SIGINT", 130], ["SIGTERM", 143], ["SIGHUP", 129], [
    "SIGQUIT",
    131,
  ]] as const
) {
  terminalTest(
    `\`mdp top\` ends with ${expected} by ${signal} and leaves the terminal as it was`,
    async (stage, folder) => {
      await using terminal = top(stage.endpoint, folder);
      // From the first moment on: as soon as it has the screen, before anything is drawn.
      // deno-lint-ignore no-control-regex -- the screen is taken by it
      await terminal.until(/\x1b\[\?1049h/);
      Deno.kill(Number(await Deno.readTextFile(`${folder}/pid`)), signal);
      const { code, shown } = await terminal.ended();
      assert.equal(code, expected);
      await assertUntouched(folder, shown);
    },
  );
}

terminalTest(
  "`mdp top` says that the broker is gone, and goes on when it is back",
  async (stage, folder) => {
    await using terminal = top(stage.endpoint, folder, "--timeout", "300ms");
    await terminal.until(/0 services/);
    stage.broker.kill("SIGKILL");
    await terminal.until(/mmi\.\w+".* \(for \d/);
    const { broker } = await startBroker(["-b", stage.endpoint]);
    await using _ = broker;
    await terminal.until(/0 services/);
    await terminal.press("q");
    const { code, shown } = await terminal.ended();
    assert.equal(code, 0);
    await assertUntouched(folder, shown);
  },
);

terminalTest(
  "`mdp top` leaves the terminal alone when there is no broker at first",
  async (stage, folder) => {
    stage.broker.kill("SIGKILL");
    await using terminal = top(stage.endpoint, folder, "--timeout", "300ms");
    const { code, shown } = await terminal.ended();
    assert.equal(code, 1);
    assert.match(shown, /mdp: .*mmi\..*300 ms/);
    assert.ok(!shown.includes(ENTER));
  },
);

terminalTest("the programs do not have Deno ask at a terminal for the permission", async () => {
  for (const program of ["mdp.ts ping", "broker.ts", "echo.ts worker"]) {
    await using terminal = new Terminal(`deno run cli/${program}`, {
      NO_COLOR: "1",
      PATH: `${deno()}:${Deno.env.get("PATH")}`,
    });
    const { code, shown } = await terminal.ended();
    assert.equal(code, 1);
    assert.match(
      shown,
      /^\S+: Opening libzmq needs the permission --allow-ffi: run deno with --allow-ffi\r\n$/,
    );
  }
});

terminalTest(
  "`mdp bench` shows a bar while it runs on a terminal, and takes it away",
  async (stage) => {
    await using terminal = new Terminal(
      `deno run --no-prompt --allow-ffi --allow-read cli/mdp.ts bench -d 1 -b ${stage.endpoint}`,
      { NO_COLOR: "1", PATH: `${deno()}:${Deno.env.get("PATH")}` },
    );
    await terminal.until(/█░+ +\d+ % {2}[\d,]+ requests/);
    // deno-lint-ignore no-control-regex -- the line is cleared by it
    await terminal.until(/\r\x1b\[K[^█]*Load /);
    assert.equal((await terminal.ended()).code, 0);
  },
);

// ---- what it is made of ----

const NO_ROW: Row = {
  name: "",
  state: "ok",
  rank: 0,
  workers: 0,
  lost: 0,
  full: 0,
  inFlight: 0,
  queued: 0,
  queuedBytes: 0,
  rate: 0,
  errorRate: 0,
  lossRate: 0,
  timeP50: NaN,
  timeP99: NaN,
  waitP99: NaN,
};
const VIEW: View = {
  endpoint: "tcp://127.0.0.1:5555",
  broker: "",
  rows: [],
  leftOut: 0,
  workersLost: 0,
  lastLost: undefined,
  sort: "rate",
  descending: true,
  scroll: 0,
  isPaused: false,
  isHelp: false,
  trouble: undefined,
};

Deno.test("`render` fits any screen, whatever the names are", () => {
  const names = ["a", "b".repeat(300), "日本".repeat(100), "\x1b[31mred", "e\u0301".repeat(50)];
  const rows = names.map((name) => ({ ...NO_ROW, name, rate: 1e9, timeP99: 12_345 }));
  for (const columns of [1, 10, 40, 80, 200]) {
    for (const height of [1, 5, 6, 24]) {
      for (const isHelp of [false, true]) {
        const view = { ...VIEW, rows, isHelp };
        const lines = render(view, { columns, rows: height, colors: false });
        assert.ok(lines.length <= height, `${lines.length} lines on ${height}`);
        for (const line of lines) {
          assert.ok(stringWidth(line) <= columns, `"${line}" on ${columns} columns`);
          assert.ok(!line.includes("\x1b"));
        }
      }
    }
  }
});

Deno.test("`render` scrolls, marks the column that is sorted by, and paints what is wrong", () => {
  const rows = Array.from({ length: 50 }, (_, i) => ({ ...NO_ROW, name: `s${i}`, queued: i }));
  const size = { columns: 120, rows: 15, colors: false };
  const view = { ...VIEW, rows, sort: "queued", scroll: 45 } as const;
  const lines = render(view, size);
  assert.match(lines[3]!, /▼QUEUED/);
  // As far down as there are rows.
  assert.deepEqual(
    lines.slice(4, 14).map((line) => line.split(" ")[0]),
    [
      ..."9876543210",
    ].map((i) => `s${i}`),
  );
  const painted = render({
    ...VIEW,
    rows: [
      { ...NO_ROW, name: "fine", workers: 1 },
      { ...NO_ROW, name: "failing", rank: 2 },
      { ...NO_ROW, name: "waiting", rank: 1 },
    ],
    sort: "name",
    descending: false,
  }, { ...size, colors: true }).slice(4, 7);
  assert.deepEqual(
    painted.map((line) => [line.startsWith("\x1b[31m"), line.startsWith("\x1b[33m")]),
    [
      [true, false],
      [false, false],
      [false, true],
    ],
  );
});

Deno.test("`render` leaves out columns that do not fit, and no part of a figure", () => {
  const rows = [{ ...NO_ROW, name: "a", state: "no workers, expiring, dropping", queued: 123_456 }];
  const at = (columns: number) =>
    render({ ...VIEW, rows }, { columns, rows: 10, colors: false })[4]!.trimEnd();
  assert.match(at(200), /^a +no workers, expiring, dropping +0 +0 +0 +123,456 +0 /);
  for (let columns = 20; columns < 200; columns++) {
    assert.match(
      at(columns),
      /^a( +no workers, [a-z, …]+( +0( +0( +0( +123,456( +0)*( +-)*)?)?)?)?)?$/,
    );
  }
});

Deno.test("`rowsOf` tells of a while what is the matter and how long it took, of a moment the rates", () => {
  const none = { bounds: [0.001, 0.002], counts: [0, 0, 0], sum: 0, count: 0 };
  const service = {
    name: "slow",
    workers: 2,
    waiting: 0,
    credit: 2,
    inFlight: 2,
    queued: 3,
    queuedBytes: 3,
    accepted: 10,
    answered: 5,
    errors: 0,
    expired: 0,
    dropped: 0,
    refused: 0,
    recovered: 0,
    partials: 0,
    workersLost: 0,
    wait: none,
    serviceTime: none,
  };
  const look = (at: number, figures: Partial<typeof service>): Look => ({
    at,
    broker: { version: "0", uptime: 0, draining: false, endpoints: [] },
    services: [{ ...service, ...figures }],
    workersLost: 0,
    total: 1,
  });
  const first = look(0, {});
  const later = { expired: 1, serviceTime: { ...none, counts: [0, 4, 0], count: 4 } };
  const before = look(8_000, { ...later, answered: 9 });
  const [row] = rowsOf(look(9_000, { ...later, answered: 9 }), before, first);
  assert.deepEqual(
    [row!.state, row!.rate, row!.lossRate, row!.timeP50],
    ["expiring, all busy", 0, 0, 1.5],
  );
  const [old] = rowsOf(look(9_000, { ...later, queued: 0 }), undefined, undefined);
  assert.deepEqual([old!.state, old!.timeP50], ["ok", 1.5]);
  const [idle] = rowsOf(look(19_000, { ...later, queued: 0 }), before, before);
  assert.deepEqual([idle!.state, idle!.rank], ["ok", 0]);
});

Deno.test("`sortRows` has the worst first, and what is equally well in the order of its requests", () => {
  const rows = [["calm", 0, 1], ["busy", 0, 9], ["down", 64, 0], ["failing", 2, 50]] as const;
  assert.deepEqual(
    sortRows(rows.map(([name, rank, rate]) => ({ ...NO_ROW, name, rank, rate })), "rank", true)
      .map(({ name }) => name),
    ["down", "failing", "busy", "calm"],
  );
});

Deno.test("`sortRows` puts what has no figure last, and what is equal in order of names", () => {
  const rows = [["b", 1], ["a", 1], ["none", NaN], ["c", 2]] as const;
  const sorted = (descending: boolean) =>
    sortRows(rows.map(([name, timeP50]) => ({ ...NO_ROW, name, timeP50 })), "timeP50", descending)
      .map(({ name }) => name);
  assert.deepEqual(sorted(true), ["c", "a", "b", "none"]);
  assert.deepEqual(sorted(false), ["a", "b", "c", "none"]);
});

Deno.test("`quantile` finds times between the bounds, and `since` those that are new", () => {
  const bounds = [0.001, 0.002, 0.004];
  const of = (...counts: number[]) => ({
    bounds,
    counts,
    sum: 0,
    count: counts.reduce((sum, count) => sum + count),
  });
  assert.ok(Number.isNaN(quantile(of(0, 0, 0, 0), 0.5)));
  assert.equal(quantile(of(10, 0, 0, 0), 0.5), 0.5);
  assert.equal(quantile(of(0, 10, 10, 0), 0.5), 2);
  assert.equal(quantile(of(0, 10, 10, 0), 0.75), 3);
  assert.equal(quantile(of(1, 0, 0, 9), 0.99), 4);
  assert.deepEqual(since(of(5, 5, 0, 0), of(1, 5, 0, 0)), { ...of(4, 0, 0, 0) });
  assert.deepEqual(since(of(1, 0, 0, 0), of(1, 5, 0, 0)), of(1, 0, 0, 0));
});

Deno.test("`keysOf` tells keys from characters", () => {
  assert.deepEqual(keysOf("q\x1b[A\x1bOB\x1b[5~ é\x03\x1b"), [
    "q",
    "up",
    "down",
    "page up",
    " ",
    "é",
    "interrupt",
    "escape",
  ]);
});

Deno.test("`table` stands in columns, wide characters included, and `cut` shortens by what is seen", () => {
  const rows = [["a", "1"], ["日本", "22"], ["ccccc", "333"]] as const;
  const lines = table<readonly [string, string]>([
    { title: "NAME", align: "left", cell: ([name]) => name },
    { title: "N", cell: ([, number]) => number },
  ], rows);
  assert.deepEqual(lines, ["NAME     N", "a        1", "日本    22", "ccccc  333"]);
  assert.deepEqual([cut("日本語", 5), cut("abc", 3), cut("abcd", 3), cut("a", 0)], [
    "日本…",
    "abc",
    "ab…",
    "",
  ]);
});
