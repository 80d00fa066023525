/**
 * `mdp top`: a live view of a broker's services.
 *
 * @module
 */

import { object } from "@optique/core/constructs";
import { message } from "@optique/core/message";
import { withDefault } from "@optique/core/modifiers";
import { command, constant, option } from "@optique/core/primitives";
import type { Client } from "../client.ts";
import { MdpError } from "../errors.ts";
import { DEFAULT_ENDPOINT } from "../options.ts";
import { UsageError } from "./command_line.ts";
import { EXIT } from "./exit_codes.ts";
import { configureLogging } from "./logging.ts";
import { ask } from "./mdp_ask.ts";
import { brokers, type Common, connect, examples, NAME, usage } from "./mdp_options.ts";
import { Screen } from "./screen.ts";
import { stopSignal } from "./signals.ts";
import { type Look, rowsOf } from "./top_model.ts";
import { COLUMNS, pageOf, render, type View } from "./top_view.ts";
import { showAge } from "./units.ts";
import { duration } from "./values.ts";

const TIMEOUT = 5_000;
/** How long the time is, in ms, that states and times are of. */
const WINDOW = 10_000;
/** What shells know an end by SIGINT by, which Ctrl-C would send if the keys were not ours. */
const INTERRUPTED = 130;
/** Further signals that end it, as the terminal is not to be left behind as it is. */
const SIGNALS = [["SIGHUP", 129], ["SIGQUIT", 131]] as const;

/** The command. */
export const TOP = command(
  "top",
  object({
    action: constant("top"),
    interval: withDefault(
      option("-i", "--interval", duration(100), {
        description: message`Look so often. Default: 1.`,
      }),
      1_000,
    ),
  }),
  {
    brief: message`Watch the services live.`,
    description: message`Shows the services with their workers, queues, rates and times until q \
is pressed. ← and → choose the column to sort by, r reverses the order, ↑ and ↓ scroll, the space \
bar pauses, ? explains. At first what is wrong comes first. It needs a terminal.`,
    footer: examples("mdp top", "mdp top --interval 5"),
    usageLine: usage(),
  },
);

/**
 * Shows the services until it is told to end.
 *
 * @param options What the command line says.
 * @returns The exit code.
 * @throws {MdpError} If the broker does not answer at first; later that is shown.
 * @throws {UsageError} If there is no terminal.
 */
export async function runTop(options: Common & { interval: number }): Promise<number> {
  if (!Deno.stdin.isTerminal() || !Deno.stdout.isTerminal()) {
    throw new UsageError("top needs a terminal: use mdp services without one");
  }
  // On this terminal it would be in the way.
  if (Deno.stderr.isTerminal()) configureLogging(NAME, { level: "fatal", format: "text" });
  await using client = connect(options, TIMEOUT);
  const first = await look(client);
  using stop = stopSignal();
  const ended = Promise.withResolvers<number>();
  stop.signal.addEventListener("abort", () => ended.resolve(stop.exitCode!));

  // Before the screen is taken and until it is given back: by default these signals would end the
  // process with the terminal as it is then.
  using _ends = listen(SIGNALS.map(([name, code]) => [name, () => ended.resolve(code)]));
  using screen = new Screen();
  const top = new Top(screen, (brokers(options) ?? [DEFAULT_ENDPOINT]).join(" "), first);
  using _resizes = listen([["SIGWINCH", () => top.draw()]]);
  const watching = setInterval(() => void top.update(client), options.interval);
  try {
    return await Promise.race([ended.promise, keys(screen, top)]);
  } finally {
    clearInterval(watching);
  }
}

/** Listens to signals until it is disposed of. */
function listen(listeners: readonly (readonly [Deno.Signal, () => void])[]): Disposable {
  for (const [name, listener] of listeners) Deno.addSignalListener(name, listener);
  return {
    [Symbol.dispose]() {
      for (const [name, listener] of listeners) Deno.removeSignalListener(name, listener);
    },
  };
}

async function keys(screen: Screen, top: Top): Promise<number> {
  for await (const key of screen.keys()) {
    if (key === "q" || key === "Q" || key === "end of input") return EXIT.ok;
    if (key === "interrupt") return INTERRUPTED;
    top.press(key);
  }
  return EXIT.ok;
}

async function look(client: Client): Promise<Look> {
  const [{ services, total }, { workers: { left } }, broker] = await Promise.all([
    ask(client, "mmi.services"),
    ask(client, "mmi.stats"),
    ask(client, "mmi.ping"),
  ]);
  const workersLost = left.gone + left.silent + left.violation + left.full;
  return { at: performance.now(), broker, services, total, workersLost };
}

/** What is on the screen, and what keys do to it. */
class Top {
  readonly #screen: Screen;
  readonly #view: View;
  /** Those of the window, and the last one before it. */
  readonly #looks: Look[];
  #lastGood = performance.now();
  #isLooking = false;

  constructor(screen: Screen, endpoint: string, first: Look) {
    this.#screen = screen;
    this.#looks = [first];
    this.#view = {
      endpoint,
      broker: "",
      rows: [],
      leftOut: 0,
      workersLost: 0,
      lastLost: undefined,
      sort: "rank",
      descending: true,
      scroll: 0,
      isPaused: false,
      isHelp: false,
      trouble: undefined,
    };
    this.#show(first);
    this.draw();
  }

  /** Looks at the broker, unless the last look still goes on. */
  async update(client: Client): Promise<void> {
    if (this.#isLooking || this.#view.isPaused) return;
    this.#isLooking = true;
    try {
      const now = await look(client);
      const looks = this.#looks;
      while (looks.length > 1 && looks[1]!.at <= now.at - WINDOW) looks.shift();
      this.#show(now, looks.at(-1), looks[0]);
      looks.push(now);
      this.#lastGood = performance.now();
      this.#view.trouble = undefined;
    } catch (error) {
      if (!(error instanceof MdpError)) throw error;
      this.#view.trouble = {
        message: error.message,
        since: performance.now() - this.#lastGood,
      };
    } finally {
      this.#isLooking = false;
    }
    this.draw();
  }

  /** Does what a key is for; others do nothing. */
  press(key: string): void {
    const view = this.#view, page = pageOf(this.#screen.size);
    switch (key) {
      case "left":
      case "h":
        this.#sort(-1);
        break;
      case "right":
      case "l":
        this.#sort(1);
        break;
      case "s":
        this.#sort(1);
        break;
      case "r":
        view.descending = !view.descending;
        break;
      case "up":
      case "k":
        view.scroll--;
        break;
      case "down":
      case "j":
        view.scroll++;
        break;
      case "page up":
        view.scroll -= page;
        break;
      case "page down":
        view.scroll += page;
        break;
      case "home":
        view.scroll = 0;
        break;
      case "end":
        view.scroll = view.rows.length;
        break;
      case " ":
      case "p":
        view.isPaused = !view.isPaused;
        break;
      case "?":
        view.isHelp = !view.isHelp;
        break;
      case "escape":
        view.isHelp = false;
        break;
    }
    this.draw();
  }

  /** Draws what there is, as the screen is now. */
  draw(): void {
    const { size } = this.#screen, view = this.#view;
    view.scroll = Math.max(0, Math.min(view.scroll, view.rows.length - pageOf(size)));
    this.#screen.draw(render(view, size));
  }

  #sort(by: 1 | -1): void {
    const at = COLUMNS.findIndex(({ key }) => key === this.#view.sort);
    const { key } = COLUMNS[(at + by + COLUMNS.length) % COLUMNS.length]!;
    this.#view.sort = key;
    this.#view.descending = key !== "name";
  }

  #show(now: Look, before?: Look, first?: Look): void {
    const view = this.#view;
    view.rows = rowsOf(now, before, first);
    if (before !== undefined && now.workersLost > before.workersLost) view.lastLost = now.at;
    // A broker that was started anew counts from the beginning.
    if (now.workersLost < view.workersLost) view.lastLost = undefined;
    view.workersLost = now.workersLost;
    view.leftOut = now.total - now.services.length;
    const { version, uptime, draining } = now.broker;
    view.broker = `majortomo-broker ${version}, up ${showAge(uptime)}${
      draining ? ", draining" : ""
    }`;
  }
}
