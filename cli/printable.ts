/**
 * Text of others as a terminal can be given it: whatever its bytes, it moves no cursor and sets
 * no colours.
 *
 * @module
 */

/**
 * A frame on one line: text as it is but for its control characters, and of what is no text the
 * ASCII.
 *
 * @param frame The frame.
 * @returns The line.
 */
export function printable(frame: Uint8Array): string {
  const text = asText(frame);
  return text === undefined ? ascii(frame) : printableText(text);
}

/**
 * A frame as {@linkcode printable}, but with the line breaks that a text has.
 *
 * @param frame The frame.
 * @returns One line or several, without a line break at the end.
 */
export function printableLines(frame: Uint8Array): string {
  const text = asText(frame);
  if (text === undefined) return ascii(frame);
  return text.replace(/\r?\n$/, "").split(/\r?\n/).map(printableText).join("\n");
}

/**
 * A text on one line.
 *
 * @param text The text.
 * @returns It, with its control characters escaped.
 */
export function printableText(text: string): string {
  return text.replace(/(?!\t)[\p{Cc}\u2028-\u202e\u2066-\u2069]/gu, escape);
}

/**
 * A frame as text.
 *
 * @param frame The frame.
 * @returns The text; `undefined` if it is not UTF-8.
 */
export function asText(frame: Uint8Array): string | undefined {
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(frame);
  } catch {
    return undefined;
  }
}

function ascii(frame: Uint8Array): string {
  return Array.from(frame, (byte) => String.fromCharCode(byte)).join("")
    .replace(/[^ -~\t]/g, escape);
}

function escape(character: string): string {
  if (character === "\n") return "\\n";
  if (character === "\r") return "\\r";
  const hex = character.charCodeAt(0).toString(16);
  return hex.length <= 2 ? `\\x${hex.padStart(2, "0")}` : `\\u${hex.padStart(4, "0")}`;
}
