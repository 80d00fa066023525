/**
 * What can be said of what was thrown: that can be anything, and may not even have a text.
 *
 * @module
 */

/**
 * The words of an error.
 *
 * @param error What was thrown.
 * @param otherwise Said of what has none.
 */
export function wordsOf(error: unknown, otherwise: string): string {
  try {
    return (error instanceof Error ? `${error.message}` : String(error)) || otherwise;
  } catch {
    return otherwise;
  }
}
