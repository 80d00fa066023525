/**
 * The live page: one document, with its styles and scripts in it. It asks for nothing but the
 * stream of events beside it.
 *
 * @module
 */

import uPlotStyles from "uplot/dist/uPlot.min.css" with { type: "text" };
import uPlot from "uplot/dist/uPlot.iife.min.js" with { type: "text" };
import chartsModule from "./page/charts.js" with { type: "text" };
import formatModule from "./page/format.js" with { type: "text" };
import document from "./page/index.html" with { type: "text" };
import styles from "./page/page.css" with { type: "text" };
import pageModule from "./page/page.js" with { type: "text" };
import tableModule from "./page/table.js" with { type: "text" };
import { respond } from "./responses.ts";

/**
 * The page's modules as one, since they cannot import each other from within a document: each
 * after those that it imports, and with no name twice.
 */
const script = [formatModule, tableModule, chartsModule, pageModule].join("\n")
  .replace(/^import [^;]*;$/gm, "")
  .replace(/^export /gm, "");

/** What stands in the document where something is to be put in. */
const PLACES: Readonly<Record<string, string>> = {
  "<!-- styles -->": `<style>${uPlotStyles}\n${styles}</style>`,
  "<!-- scripts -->": `<script>${uPlot}</script>\n<script type="module">${script}</script>`,
};

let made: Promise<{ html: string; policy: string }> | undefined;

/**
 * The page.
 *
 * @returns It as an answer to a browser, which is told to run and fetch nothing else.
 */
export async function page(): Promise<Response> {
  const { html, policy } = await (made ??= make());
  return respond(html, "text/html; charset=utf-8", {
    headers: { "content-security-policy": policy },
  });
}

async function make(): Promise<{ html: string; policy: string }> {
  const html = document.replace(/<!-- \w+ -->/g, (place) => PLACES[place]!);
  const scripts = await Promise.all([uPlot, script].map(async (text) => {
    const hash = await crypto.subtle.digest("SHA-256", new TextEncoder().encode(text));
    return `'sha256-${new Uint8Array(hash).toBase64()}'`;
  }));
  const policy = [
    "default-src 'none'",
    `script-src ${scripts.join(" ")}`,
    "style-src 'unsafe-inline'",
    "img-src data:",
    "connect-src 'self'",
    "base-uri 'none'",
    "form-action 'none'",
    "frame-ancestors 'self'",
  ].join("; ");
  return { html, policy };
}
