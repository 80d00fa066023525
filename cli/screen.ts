/**
 * The whole of a terminal, for a program that draws on it and reads its keys, and that leaves it
 * as it found it however it ends.
 *
 * @module
 */

/** What a program shows while it has the terminal: a screen of its own, no cursor, no wrapping. */
const ENTER = "\x1b[?1049h\x1b[?25l\x1b[?7l\x1b[2J";
const LEAVE = "\x1b[?7h\x1b[?25h\x1b[?1049l";

/** The keys that are more than a character, by what terminals send for them. */
const SEQUENCES: Readonly<Record<string, string>> = {
  "\x1b[A": "up",
  "\x1b[B": "down",
  "\x1b[C": "right",
  "\x1b[D": "left",
  "\x1bOA": "up",
  "\x1bOB": "down",
  "\x1bOC": "right",
  "\x1bOD": "left",
  "\x1b[5~": "page up",
  "\x1b[6~": "page down",
  "\x1b[H": "home",
  "\x1b[F": "end",
  "\x1b": "escape",
  "\x03": "interrupt",
  "\x04": "end of input",
};

/** A terminal that is taken over, from its making until it is disposed of. */
export class Screen implements Disposable {
  #isTaken = true;
  readonly #giveBack = () => this[Symbol.dispose]();

  /** Takes stdin and stdout, which are a terminal. */
  constructor() {
    // Also when the process is ended from elsewhere, as by a second signal, or by a fault.
    globalThis.addEventListener("unload", this.#giveBack);
    globalThis.addEventListener("error", this.#giveBack);
    globalThis.addEventListener("unhandledrejection", this.#giveBack);
    Deno.stdin.setRaw(true);
    put(ENTER);
  }

  /** What it offers; a terminal that does not say is taken for a common one. */
  get size(): { columns: number; rows: number; colors: boolean } {
    const { columns, rows } = Deno.consoleSize();
    return { columns: columns || 80, rows: rows || 24, colors: !Deno.noColor };
  }

  /**
   * Shows lines instead of what there was.
   *
   * @param lines No more than there is room for, none of them too wide.
   */
  draw(lines: readonly string[]): void {
    if (!this.#isTaken) return;
    put(`\x1b[H${lines.map((line) => `${line}\x1b[K`).join("\r\n")}\x1b[J`);
  }

  /**
   * The keys as they are pressed: characters, and the names of others. It ends when the terminal
   * is gone.
   */
  async *keys(): AsyncGenerator<string, void, undefined> {
    const buffer = new Uint8Array(256), decoder = new TextDecoder();
    for (let length; (length = await Deno.stdin.read(buffer)) !== null;) {
      yield* keysOf(decoder.decode(buffer.subarray(0, length), { stream: true }));
    }
  }

  /** Gives the terminal back. */
  [Symbol.dispose](): void {
    if (!this.#isTaken) return;
    this.#isTaken = false;
    globalThis.removeEventListener("unload", this.#giveBack);
    globalThis.removeEventListener("error", this.#giveBack);
    globalThis.removeEventListener("unhandledrejection", this.#giveBack);
    // Each for itself: a terminal that takes no more text can have its modes back even so.
    for (const part of [() => Deno.stdin.setRaw(false), () => put(LEAVE)]) {
      try {
        part();
      } catch {
        // The terminal is gone.
      }
    }
  }
}

/**
 * What keys a terminal has sent.
 *
 * @param text What it sent, at once: a sequence of one key is not cut.
 * @returns Characters, and the names of other keys.
 */
export function keysOf(text: string): string[] {
  // deno-lint-ignore no-control-regex -- keys begin with it
  const keys = text.match(/\x1b(?:\[[0-9;]*[A-Za-z~]|O[A-Za-z])|[\s\S]/gu) ?? [];
  return keys.map((key) => SEQUENCES[key] ?? key);
}

function put(text: string): void {
  const bytes = new TextEncoder().encode(text);
  for (let at = 0; at < bytes.length;) at += Deno.stdout.writeSync(bytes.subarray(at));
}
