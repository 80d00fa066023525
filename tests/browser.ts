/**
 * A real browser for tests of pages: Debian's chromium, where it is installed.
 *
 * @module
 */

import { type Browser, chromium, type Page } from "playwright-core";

const NAMES = ["chromium", "chromium-browser", "google-chrome"];

/** The browser's program; `undefined` if there is none. */
export const CHROMIUM: string | undefined = (Deno.env.get("PATH") ?? "").split(":")
  .flatMap((folder) => NAMES.map((name) => `${folder}/${name}`))
  .find((path) => {
    try {
      return Deno.statSync(path).isFile;
    } catch {
      return false;
    }
  });

/** A page in a browser of its own, and what went wrong in it. */
export class Visit implements AsyncDisposable {
  /** The page. */
  readonly page: Page;
  /** What the page has said on its console that it should not have, and errors of its scripts. */
  readonly errors: string[] = [];
  readonly #browser: Browser;

  private constructor(browser: Browser, page: Page) {
    this.#browser = browser;
    this.page = page;
    page.on("console", (message) => {
      if (["error", "warning"].includes(message.type())) this.errors.push(message.text());
    });
    page.on("pageerror", (error) => this.errors.push(String(error)));
  }

  /** Opens a page. */
  static async to(url: string, options: Parameters<Browser["newPage"]>[0] = {}): Promise<Visit> {
    const browser = await chromium.launch({
      executablePath: CHROMIUM,
      // The tests may be root's, and run where there is little shared memory.
      args: ["--no-sandbox", "--disable-dev-shm-usage"],
    });
    // Its policy forbids what tests run in the page.
    const page = await browser.newPage({ ...options, bypassCSP: false });
    const visit = new Visit(browser, page);
    await page.goto(url);
    return visit;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#browser.close();
  }
}
