import assert from "node:assert/strict";
import axe from "axe-core/axe.min.js" with { type: "text" };
import type { Page } from "playwright-core";
import { Client } from "../client.ts";
import { CHROMIUM, Visit } from "./browser.ts";
import { startBroker } from "./cli.ts";
import { HttpStage } from "./http_stage.ts";

/** Only a failing test waits so long, in ms. */
const PATIENCE = 30_000;

/** A test that needs a browser. */
function pageTest(name: string, fn: () => Promise<void>): void {
  const ignore = CHROMIUM === undefined;
  Deno.test({ name: `${name}${ignore ? " (ignored: no chromium)" : ""}`, ignore, fn });
}

/** Waits until this is somewhere in an element. */
async function shows(page: Page, selector: string, text: string | RegExp): Promise<void> {
  await page.locator(selector).filter({ hasText: text }).first().waitFor({ timeout: PATIENCE });
}

/** What axe finds that keeps people out. */
async function faults(page: Page): Promise<string[]> {
  await page.evaluate(axe);
  const { violations } = await page.evaluate("axe.run()") as {
    violations: { id: string; impact: string; nodes: { html: string; failureSummary: string }[] }[];
  };
  return violations.filter(({ impact }) => ["serious", "critical"].includes(impact))
    .map(({ id, nodes }) => `${id}: ${nodes[0]!.html} ${nodes[0]!.failureSummary}`);
}

pageTest(
  "the page shows a worker that has just joined, its rate under load, and its end",
  async () => {
    await using stage = new HttpStage();
    await using visit = await Visit.to(stage.url);
    const { page, errors } = visit;
    await shows(page, "#state", "Running");
    await shows(page, "#workers", "None");

    const worker = await stage.worker("echo", (request) => request.frames);
    const { identity } = stage.broker.workers()[0]!;
    await shows(page, "#workers tbody tr", identity);
    await shows(page, "#services tbody tr", "echo");
    await shows(page, "#events li", "worker joined · service echo");

    await using client = new Client(stage.endpoint);
    let loading = true;
    const load = (async () => {
      while (loading) {
        await client.request("echo", "hello");
        await new Promise((resolve) => setTimeout(resolve, 1));
      }
    })();
    const rate = page.locator("#services tbody tr").filter({ hasText: "echo" }).locator("td").nth(
      2,
    );
    const begin = performance.now();
    while (Number((await rate.textContent())!.replaceAll(",", "")) < 10) {
      assert.ok(performance.now() - begin < PATIENCE, "no rate is shown");
      await page.waitForTimeout(100);
    }
    const label = await page.locator("#chart-rate canvas").getAttribute("aria-label");
    assert.match(label!, /^Requests a second: answered [1-9]/);
    loading = false;
    await load;

    await worker.close();
    await shows(page, "#workers", "None");
    await shows(page, "#events li", "worker left · service echo · disconnect");
    assert.deepEqual(errors, []);
  },
);

pageTest(
  "the page says that the broker is gone, and comes back by itself when it does",
  async () => {
    const begin = async (port: string) => {
      const { broker } = await startBroker(["--http", port], ["--allow-net"]);
      const [, url] = await broker.stderr(/^Listening on (http:.*)$/);
      return { broker, url: url! };
    };
    const first = await begin("0");
    await using _ = first.broker;
    await using visit = await Visit.to(first.url);
    const { page } = visit;
    await shows(page, "#state", "Running");
    assert.equal(await page.locator("#gone").isVisible(), false);

    first.broker.kill("SIGKILL");
    await first.broker.ended();
    await shows(page, "#gone", /The broker is gone, or cannot be reached, since/);
    await shows(page, "#state", "Gone");
    assert.match(await page.title(), /Gone/);

    const second = await begin(new URL(first.url).port);
    await using __ = second.broker;
    await shows(page, "#state", "Running");
    await page.locator("#gone").waitFor({ state: "hidden", timeout: PATIENCE });
  },
);

pageTest("the page has what is wrong first, in words", async () => {
  await using stage = new HttpStage();
  await stage.worker("fine", (request) => request.frames);
  await stage.worker("failing", () => {
    throw new Error("As always");
  });
  await using client = new Client({ broker: stage.endpoint, dialect: "multiplexed" });
  client.request("nobody", "x", { timeout: Infinity }).catch(() => {});
  let going = true;
  const load = (async () => {
    while (going) {
      await assert.rejects(client.request("failing", "x", { timeout: PATIENCE }));
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
  })();
  await using visit = await Visit.to(stage.url);
  const { page, errors } = visit;
  await shows(page, "#services tbody tr:nth-child(1)", /nobody.*no workers/);
  await shows(page, "#services tbody tr:nth-child(2)", /failing.*failing/);
  await shows(page, "#services tbody tr:nth-child(3)", /fine.*ok/);
  going = false;
  await load;
  assert.deepEqual(errors, []);
});

pageTest("the page shows where a name is cut, and lets none turn the text around it", async () => {
  await using stage = new HttpStage();
  await stage.worker("x".repeat(150), (request) => request.frames);
  await stage.worker("\u202eevil", (request) => request.frames);
  await using visit = await Visit.to(stage.url);
  const { page, errors } = visit;
  await shows(page, "#events li", "evil");
  await shows(page, "#services tbody tr", "xxx");
  const long = await page.evaluate(`(() => {
    const button = [...document.querySelectorAll("#services button.name")]
      .find((it) => it.textContent.startsWith("xxx"));
    const right = (element) => element.getBoundingClientRect().right;
    return {
      isCut: button.scrollWidth > button.clientWidth,
      within: right(button) <= right(button.parentElement),
      textOverflow: getComputedStyle(button).textOverflow,
    };
  })()`);
  assert.deepEqual(long, { isCut: true, within: true, textOverflow: "ellipsis" });
  const [name, after] = await page.evaluate(`(() => {
    const code = [...document.querySelectorAll("#events code")]
      .find((it) => it.textContent.includes("evil"));
    const range = document.createRange();
    range.selectNode(code.nextSibling);
    return [code, range].map((it) => it.getBoundingClientRect().left);
  })()`) as [number, number];
  assert.ok(name < after, "what comes after the name stands after it");
  assert.deepEqual(errors, []);
});

pageTest("the page is searched and sorted from the keyboard", async () => {
  await using stage = new HttpStage();
  for (const name of ["alpha", "beta", "<b>gamma</b>"]) {
    await stage.worker(name, (request) => request.frames);
  }
  await using visit = await Visit.to(stage.url);
  const { page, errors } = visit;
  const names = async () => {
    const cells = page.locator("#services tbody tr td:first-child");
    return await cells.allTextContents();
  };
  await shows(page, "#services", "<b>gamma</b>");
  await page.keyboard.press("/");
  await page.keyboard.type("bet");
  await page.locator("#services tbody tr").filter({ hasText: "alpha" })
    .waitFor({ state: "hidden", timeout: PATIENCE });
  assert.deepEqual(await names(), ["beta"]);
  await shows(page, "#workers tbody tr", "beta");
  await page.keyboard.press("Escape");
  await shows(page, "#services", "alpha");

  const head = page.locator("#services").getByRole("button", { name: "Service", exact: true });
  await head.focus();
  await page.keyboard.press("Enter");
  await page.keyboard.press("Enter");
  assert.deepEqual(await names(), ["beta", "alpha", "<b>gamma</b>"]);
  assert.equal(await page.locator("#services th").first().getAttribute("aria-sort"), "descending");

  const alpha = page.getByRole("button", { name: "alpha" });
  await alpha.focus();
  await page.keyboard.press("Enter");
  assert.equal(await page.locator("#search").inputValue(), "alpha");
  assert.deepEqual(errors, []);
});

pageTest(
  "the page has no serious fault that axe-core finds, dark or light, and fits a phone",
  async () => {
    await using stage = new HttpStage();
    const worker = await stage.worker("echo", (request) => request.frames);
    await stage.worker("upper", (request) => request.text().toUpperCase());
    await worker.close();
    await using visit = await Visit.to(stage.url, {
      viewport: { width: 360, height: 740 },
      colorScheme: "dark",
    });
    const { page, errors } = visit;
    await shows(page, "#services tbody tr", "upper");
    await shows(page, "#tiles", "Memory");
    const background = () => page.evaluate("getComputedStyle(document.body).backgroundColor");
    const dark = await background();
    assert.deepEqual(await faults(page), []);
    assert.equal(await page.evaluate("document.documentElement.scrollWidth"), 360);

    const theme = page.locator("#theme");
    await theme.click();
    assert.equal(await theme.textContent(), "Light");
    assert.notEqual(await background(), dark);
    assert.deepEqual(await faults(page), []);
    await page.reload();
    assert.equal(await theme.textContent(), "Light");
    await theme.click();
    assert.equal(await background(), dark);
    assert.deepEqual(errors, []);
  },
);
