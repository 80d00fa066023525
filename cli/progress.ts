/**
 * A bar that tells how far something is, on the last line of a terminal.
 *
 * @module
 */

/** How wide it is. */
const WIDTH = 30;
/** How often it is drawn anew, in ms. */
const INTERVAL = 100;

/** A bar on stderr, if that is a terminal. */
export class Progress implements Disposable {
  readonly #timer: ReturnType<typeof setInterval> | undefined;

  /**
   * Shows it until it is disposed of.
   *
   * @param look Asked now and then for how much is done, from 0 to 1, and what to say beside it.
   */
  constructor(look: () => { done: number; text: string }) {
    if (!Deno.stderr.isTerminal()) return;
    const draw = () => {
      const { done, text } = look();
      const filled = Math.round(WIDTH * Math.min(1, Math.max(0, done)));
      const bar = "█".repeat(filled) + "░".repeat(WIDTH - filled);
      const percent = `${Math.floor(100 * Math.min(1, done))}`.padStart(3);
      show(`\r${clip(`${bar} ${percent} %  ${text}`)}\x1b[K`);
    };
    this.#timer = setInterval(draw, INTERVAL);
  }

  /** Takes it away. */
  [Symbol.dispose](): void {
    if (this.#timer === undefined) return;
    clearInterval(this.#timer);
    show("\r\x1b[K");
  }
}

/** What of a line a terminal has room for: a longer one would be left there with each that follows. */
function clip(line: string): string {
  return line.slice(0, Math.max(0, Deno.consoleSize().columns - 1));
}

function show(text: string): void {
  try {
    Deno.stderr.writeSync(new TextEncoder().encode(text));
  } catch {
    // The terminal was closed.
  }
}
