/**
 * Names as they are shown to people, of which a peer may make some as long as it likes.
 *
 * @module
 */

/** How many characters are shown. */
const LONGEST = 200;
/** Of how many characters at most it is told what a longer name is. */
const LOOKED_AT = 2_000;

/**
 * The name of a service as it is shown. One that is too long ends after 200 characters, with a mark
 * that tells it from others that begin the same.
 *
 * @param name The name.
 * @returns It, or its beginning and a mark, as `aaaa…1f2e3d4c`.
 */
export function shortName(name: string): string {
  if (name.length <= LONGEST) return name;
  let mark = name.length;
  // Backwards, as what counts up mostly stands at the end.
  const step = Math.ceil(name.length / LOOKED_AT);
  for (let i = name.length - 1; i >= 0; i -= step) {
    mark = Math.imul(mark, 31) + name.charCodeAt(i) | 0;
  }
  const shown = [name.slice(0, LONGEST).toWellFormed(), (mark >>> 0).toString(16).padStart(8, "0")];
  // Joined, it is a string of its own: a template's would keep all of the name in memory.
  return shown.join("…");
}
