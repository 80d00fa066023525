// @ts-check
/// <reference no-default-lib="true" />
/// <reference lib="esnext" />
/// <reference lib="dom" />
/// <reference lib="dom.iterable" />

// Tables.

import { byId, element, whole } from "./format.js";

/** How many rows are shown. */
const ROWS = 200;

/**
 * @template T
 * @typedef {{ title: string, value: (row: T) => string | number, show?: (row: T) => string,
 *   mark?: (row: T) => string }} Column
 */

/**
 * A table that is sorted by the column whose head was pressed. Its rows are kept from one drawing
 * to the next, and with them the focus.
 * @template T
 */
export class Table {
  /** @type {Map<string, HTMLElement>} */
  #lines = new Map();
  /** @type {T[]} */
  #rows = [];
  #total = 0;
  #body = element("tbody");
  #rest = element("tr", {}, element("td", { class: "none", colspan: "99" }));
  /** @type {HTMLElement[]} */
  #heads;

  /**
   * @param {string} id
   * @param {string} caption
   * @param {Column<T>[]} columns
   * @param {(row: T) => string} key Tells rows apart.
   * @param {[column: number, descending: boolean]} order
   * @param {(row: T) => void} [onPress] Called when the first cell of a row is pressed.
   */
  constructor(id, caption, columns, key, order, onPress) {
    this.columns = columns;
    this.key = key;
    /** @type {[column: number, descending: boolean]} */
    this.order = order;
    this.onPress = onPress;
    this.#heads = columns.map(({ title }, i) => {
      const button = element("button", { type: "button" }, title);
      button.addEventListener("click", () => {
        const [column, descending] = this.order;
        this.order = [i, column === i ? !descending : i !== 0];
        this.draw(this.#rows, this.#total);
      });
      return element("th", { scope: "col" }, button);
    });
    byId(id).append(
      element("caption", { class: "hidden" }, caption),
      element("thead", {}, element("tr", {}, ...this.#heads)),
      this.#body,
    );
    this.draw([], 0);
  }

  /** @param {T[]} rows @param {number} total How many there are, these and others. */
  draw(rows, total) {
    this.#rows = rows;
    this.#total = total;
    const [column, descending] = this.order;
    for (const [i, head] of this.#heads.entries()) {
      if (i !== column) head.removeAttribute("aria-sort");
      else head.setAttribute("aria-sort", descending ? "descending" : "ascending");
    }
    const value = this.columns[column]?.value ?? this.key, sign = descending ? -1 : 1;
    const sorted = rows.toSorted((one, other) => {
      const a = value(one), b = value(other);
      return a < b ? -sign : a > b ? sign : this.key(one) < this.key(other) ? -1 : 1;
    }).slice(0, ROWS);
    const focused = /** @type {HTMLElement | null} */ (document.activeElement);
    const before = this.#lines;
    this.#lines = new Map(sorted.map((row) => [this.key(row), this.#line(row, before)]));
    const lines = [...this.#lines.values()];
    for (const [i, line] of lines.entries()) {
      if (this.#body.children[i] !== line) {
        this.#body.insertBefore(line, this.#body.children[i] ?? null);
      }
    }
    for (const [key, line] of before) if (!this.#lines.has(key)) line.remove();
    // What has been moved has lost it.
    if (focused?.isConnected) focused.focus({ preventScroll: true });
    const omitted = total - lines.length;
    if (omitted === 0 && total > 0) return this.#rest.remove();
    /** @type {HTMLElement} */ (this.#rest.firstElementChild).textContent = total === 0
      ? "None"
      : `${whole.format(omitted)} more are not shown`;
    this.#body.append(this.#rest);
  }

  /** @param {T} row @param {Map<string, HTMLElement>} before */
  #line(row, before) {
    const line = before.get(this.key(row)) ?? this.#newLine(row);
    for (const [i, { value, show, mark }] of this.columns.entries()) {
      const cell = /** @type {HTMLElement} */ (line.children[i]);
      const text = show?.(row) ?? String(value(row));
      const place = cell.firstElementChild ?? cell;
      if (place.textContent !== text) place.textContent = text;
      if (typeof value(row) === "string") cell.title = text;
      cell.className = mark?.(row) ?? "";
    }
    return line;
  }

  /** @param {T} row */
  #newLine(row) {
    const cells = this.columns.map(() => element("td"));
    if (this.onPress !== undefined) {
      const button = element("button", { type: "button", class: "name" });
      button.addEventListener("click", () => this.onPress?.(row));
      cells[0]?.append(button);
    }
    return element("tr", {}, ...cells);
  }
}
