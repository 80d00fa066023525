// @ts-check
/// <reference no-default-lib="true" />
/// <reference lib="esnext" />
/// <reference lib="dom" />
/// <reference lib="dom.iterable" />

// The live page's program. It shows what the stream of events beside it tells, and nothing of what
// is told is ever taken for markup.

import { drawCharts, makeCharts, samples } from "./charts.js";
import { byId, bytes, count, duration, element, rate, whole } from "./format.js";
import { Table } from "./table.js";

/**
 * @typedef {import("./charts.js").Sample} Sample
 * @typedef {{ name: string, state: string, rank: number, answered: number, failed: number,
 *   workers: number, lost: number, waiting: number, credit: number, inFlight: number, queued: number, queuedBytes: number, wait99: number | null,
 *   p50: number | null, p99: number | null }} Service
 * @typedef {{ identity: string, service: string, address?: string, dialect: string, credit: number,
 *   inFlight: number, registered: number, heard: number }} Worker
 * @typedef {{ id: number, time: number, type: string, service?: string, reason?: string,
 *   worker?: string, client?: string, ofClient?: number, count: number }} Happening
 * @typedef {{ state: string, endpoints: string[] }} State
 * @typedef {State & { version: string, history: Sample[], events: Happening[] }} Hello
 * @typedef {State & { sample: Sample, memory: number, lag: number, services: Service[],
 *   workers: Worker[], events: Happening[],
 *   stats: { services: number, uptime: number, workers: { registered: number } } }} Update
 */

/** How much is shown: five minutes of samples, and so many events. */
const SAMPLES = 300, EVENTS = 200;
/** How long the broker may be silent, in ms, before it is held for gone. */
const SILENCE = 5_000;
/** How long to wait before the stream is asked for again, in ms. */
const RETRY = 1_000;

// ---- state ----

/** @type {Update | undefined} */
let latest;
/** @type {Map<number, Happening>} */
let happenings = new Map();
let heardAt = performance.now();

// ---- colours ----

const THEMES = ["auto", "light", "dark"];

/** @param {string} theme */
function setTheme(theme) {
  if (theme === "auto") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = theme;
  const button = byId("theme");
  const name = `${theme[0]?.toUpperCase()}${theme.slice(1)}`;
  button.textContent = name;
  button.setAttribute("aria-label", `${name} colours`);
  button.dataset.theme = theme;
  makeCharts();
}

/** The page may be shown where nothing can be kept. @param {string} [theme] */
function kept(theme) {
  try {
    if (theme !== undefined) localStorage.setItem("theme", theme);
    return localStorage.getItem("theme") ?? "auto";
  } catch {
    return theme ?? "auto";
  }
}

// ---- tiles and tables ----

function drawTiles() {
  if (latest === undefined) return;
  const { sample, stats, memory, lag } = latest;
  const lost = samples.reduce((sum, { lost }) => sum + lost, 0);
  const minutes = Math.max(1, Math.round(samples.length / 60));
  /** @type {[label: string, value: string, className?: string, more?: string][]} */
  const tiles = [
    ["Requests / s", rate(sample.answered)],
    ["Failed / s", rate(sample.failed), sample.failed > 0 ? "bad" : ""],
    ["In flight", count(sample.inFlight)],
    ["Waiting", count(sample.queued), sample.queued > 0 ? "warn" : ""],
    [
      "Workers",
      count(stats.workers.registered),
      "",
      lost > 0 ? `${count(lost)} lost in ${minutes} min` : "",
    ],
    ["Services", count(stats.services)],
    ["Service p99", duration(sample.p99)],
    ["Loop lag", duration(lag), lag > 250 ? "warn" : ""],
    ["Memory", bytes(memory)],
    ["Up", duration(stats.uptime)],
  ];
  byId("tiles").replaceChildren(
    ...tiles.map(([label, value, className = "", more = ""]) => {
      const figure = element("dd", { class: className }, value);
      if (more !== "") figure.append(element("small", { class: "bad" }, more));
      return element("div", {}, element("dt", {}, label), figure);
    }),
  );
}

/** @type {Table<Service>} */
const services = new Table(
  "services",
  "Services",
  [
    { title: "Service", value: ({ name }) => name },
    {
      title: "State",
      // What is equally well is in the order of its requests.
      value: ({ rank, answered }) => rank * 1e9 + answered,
      show: ({ state }) => state,
      mark: ({ rank }) => rank > 1 ? "bad" : rank > 0 ? "warn" : "",
    },
    {
      title: "Requests / s",
      value: ({ answered }) => answered,
      show: ({ answered }) => rate(answered),
    },
    {
      title: "Failed / s",
      value: ({ failed }) => failed,
      show: ({ failed }) => rate(failed),
      mark: ({ failed }) => failed > 0 ? "bad" : "",
    },
    { title: "p50", value: ({ p50 }) => p50 ?? -1, show: ({ p50 }) => duration(p50) },
    { title: "p99", value: ({ p99 }) => p99 ?? -1, show: ({ p99 }) => duration(p99) },
    {
      title: "Wait p99",
      value: ({ wait99 }) => wait99 ?? -1,
      show: ({ wait99 }) => duration(wait99),
    },
    {
      title: "In flight",
      value: ({ inFlight }) => inFlight,
      show: ({ inFlight }) => count(inFlight),
    },
    {
      title: "Waiting",
      value: ({ queued }) => queued,
      show: ({ queued, queuedBytes }) =>
        queued > 0 ? `${count(queued)} (${bytes(queuedBytes)})` : "0",
      mark: ({ queued }) => queued > 0 ? "warn" : "",
    },
    {
      title: "Workers",
      value: ({ workers }) => workers,
      show: ({ workers, waiting, lost }) =>
        `${count(workers)} (${count(waiting)} free${lost > 0 ? `, ${count(lost)} lost` : ""})`,
      mark: ({ workers }) => workers === 0 ? "bad" : "",
    },
  ],
  ({ name }) => name,
  [1, true],
  ({ name }) => search(name),
);

/** @param {Worker} worker */
function stateOf({ inFlight, credit }) {
  return inFlight === 0 ? "waiting" : inFlight >= credit ? "busy" : "working";
}

/** @type {Table<Worker>} */
const workers = new Table(
  "workers",
  "Workers",
  [
    { title: "Worker", value: ({ identity }) => identity },
    { title: "Service", value: ({ service }) => service },
    { title: "State", value: stateOf },
    {
      title: "In flight",
      value: ({ inFlight }) => inFlight,
      show: ({ inFlight, credit }) => `${count(inFlight)} of ${count(credit)}`,
    },
    { title: "Address", value: ({ address }) => address ?? "–" },
    { title: "Dialect", value: ({ dialect }) => dialect },
    { title: "Heard", value: ({ heard }) => heard, show: ({ heard }) => `${duration(heard)} ago` },
    {
      title: "Joined",
      value: ({ registered }) => registered,
      show: ({ registered }) => `${duration(registered)} ago`,
    },
  ],
  ({ identity }) => identity,
  [7, false],
);

// ---- what is searched for ----

/** @param {string} text */
function search(text) {
  byId("search").value = byId("search").value === text ? "" : text;
  drawFound();
}

function drawFound() {
  const wanted = byId("search").value.trim().toLowerCase();
  const has = (/** @type {(string | undefined)[]} */ ...texts) =>
    texts.some((text) => text?.toLowerCase().includes(wanted));
  const foundServices = latest?.services.filter(({ name, state }) => has(name, state)) ?? [];
  const foundWorkers =
    latest?.workers.filter((it) => has(it.identity, it.service, it.address, stateOf(it))) ??
      [];
  const all = wanted === "" ? latest?.stats : undefined;
  services.draw(foundServices, all?.services ?? foundServices.length);
  workers.draw(foundWorkers, all?.workers.registered ?? foundWorkers.length);
  const found = [...happenings.values()]
    .filter((it) => has(it.type, it.service, it.reason, it.worker, it.client))
    .sort((a, b) => b.time - a.time);
  byId("events").replaceChildren(...found.slice(0, EVENTS).map(happeningLine));
  byId("no-events").hidden = found.length > 0;
  byId("no-events").textContent = happenings.size > 0 ? "None" : "Nothing has happened yet.";
}

const BAD = new Set(["request dropped", "request expired", "request refused", "worker refused"]);

/** @param {Happening} happening */
function happeningLine({ time, type, service, reason, worker, client, ofClient, count: times }) {
  const orderly = type === "worker joined" ||
    type === "worker left" && (reason === "disconnect" || reason === "stopped");
  const at = new Date(time);
  const line = element(
    "li",
    {},
    element("time", { datetime: at.toISOString() }, at.toLocaleTimeString("en-GB")),
    element("strong", { class: orderly ? "" : BAD.has(type) ? "bad" : "warn" }, type),
  );
  if (service !== undefined) line.append(" · service ", element("code", {}, service));
  if (reason !== undefined) line.append(` · ${reason}`);
  if (times > 1) line.append(` · ${whole.format(times)} times`);
  if (worker !== undefined) {
    line.append(` · ${times > 1 ? "last of " : ""}worker `, element("code", {}, worker));
  } else if (client !== undefined) {
    line.append(` · ${times === ofClient ? "" : "mostly "}client `, element("code", {}, client));
    if (times !== ofClient) line.append(` (${whole.format(ofClient ?? 0)})`);
  }
  return line;
}

// ---- the stream ----

/** @param {string} state @param {string} text */
function setState(state, text) {
  const place = byId("state");
  if (place.textContent !== text) place.textContent = text;
  place.dataset.state = state;
  document.body.classList.toggle("stale", state === "gone");
  document.title = state === "running" ? "Majortomo" : `Majortomo: ${text}`;
}

/** @param {State} state */
function showState({ state, endpoints }) {
  heardAt = performance.now();
  byId("gone").hidden = true;
  byId("endpoints").textContent = endpoints.join(", ");
  if (state === "running") setState("running", "Running");
  else if (state === "draining") setState("draining", "Draining: takes no new requests");
  else setState("draining", "Not listening");
}

function showGone() {
  if (document.body.classList.contains("stale")) return;
  setState("gone", "Gone");
  const time = new Date().toLocaleTimeString("en-GB");
  byId("gone").textContent =
    `The broker is gone, or cannot be reached, since ${time}. What stands below is old. ` +
    "This page comes back by itself when the broker does.";
  byId("gone").hidden = false;
}

/** @type {EventSource | undefined} */
let source;

function connect() {
  source?.close();
  const own = source = new EventSource("events");
  heardAt = performance.now();
  // The first message may be long under way.
  own.addEventListener("open", () => heardAt = performance.now());
  own.addEventListener("hello", (event) => {
    /** @type {Hello} */
    const hello = JSON.parse(event.data);
    byId("version").textContent = hello.version;
    samples.splice(0, Infinity, ...hello.history);
    happenings = new Map(hello.events.map((it) => [it.id, it]));
    showState(hello);
    drawCharts();
    drawFound();
  });
  own.addEventListener("update", (event) => {
    /** @type {Update} */
    const update = latest = JSON.parse(event.data);
    samples.push(update.sample);
    if (samples.length > SAMPLES) samples.shift();
    for (const it of update.events) happenings.set(it.id, it);
    for (const id of happenings.keys()) if (happenings.size > EVENTS) happenings.delete(id);
    showState(update);
    drawCharts();
    drawTiles();
    drawFound();
  });
  // A browser asks again by itself, but not after every kind of end.
  own.addEventListener("error", () => {
    own.close();
    showGone();
    setTimeout(() => own === source && connect(), RETRY);
  });
}

setInterval(() => {
  if (performance.now() - heardAt < SILENCE) return;
  showGone();
  connect();
}, 1_000);

// ---- keys and buttons ----

byId("search").addEventListener("input", drawFound);
document.addEventListener("keydown", (event) => {
  const field = byId("search");
  if (event.key === "/" && document.activeElement !== field) {
    event.preventDefault();
    field.focus();
  } else if (event.key === "Escape" && document.activeElement === field) search(field.value);
});
byId("theme").addEventListener("click", () => {
  const next = THEMES[(THEMES.indexOf(byId("theme").dataset.theme) + 1) % THEMES.length];
  setTheme(kept(next));
});
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", makeCharts);

setTheme(kept());
connect();
