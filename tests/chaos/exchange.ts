/**
 * What clients and workers of the chaos say to each other, so that a reply shows whether it is the
 * right one, whole and in order.
 *
 * @module
 */

import type { Random } from "../random.ts";

/** The services that are served. */
export const SERVICES = ["alpha", "beta", "gamma"] as const;

const text = new TextDecoder();

/** A request of its own: who asks, how many parts before the last are wanted, and ballast. */
export class Exchange {
  /** Who asks, and which of its requests it is. */
  readonly name: string;
  readonly service: string;
  readonly #parts: number;
  readonly #ballast: Uint8Array<ArrayBuffer>;

  /** Makes one up. */
  constructor(name: string, random: Random) {
    this.name = name;
    this.service = random.pick(SERVICES);
    this.#parts = random.chance(0.2) ? random.between(1, 5) : 0;
    this.#ballast = random.bytes(random.chance(0.05) ? 60_000 : 300);
  }

  /** The body of the request. */
  get body(): (string | Uint8Array)[] {
    return [this.name, String(this.#parts), this.#ballast];
  }

  /**
   * What is wrong with a reply.
   *
   * @param parts The bodies of the PARTIALs, then that of the FINAL.
   * @returns Nothing if it is the right one.
   */
  fault(parts: readonly (readonly Uint8Array[])[]): string | undefined {
    const { name, service } = this;
    if (parts.length !== this.#parts + 1) {
      return `${name} got ${parts.length} parts instead of ${this.#parts + 1}`;
    }
    for (const [i, part] of parts.entries()) {
      const last = i === this.#parts;
      const due = `${service} ${name} ${last ? `last ${sum(this.#ballast)}` : i}`;
      const got = part[0] === undefined ? "nothing" : text.decode(part[0]);
      if (got !== due) return `${name} got "${got.slice(0, 100)}" instead of "${due}"`;
      if (!last) continue;
      const ballast = part[1];
      if (part.length !== 2 || !equal(ballast!, this.#ballast)) {
        return `${name} got other bytes than it sent`;
      }
    }
    return undefined;
  }
}

/** The reply of a service to the body of a request: all but the last are PARTIALs. */
export function* replyTo(
  service: string,
  frames: readonly Uint8Array[],
): Generator<(string | Uint8Array)[], (string | Uint8Array)[]> {
  const [name, parts, ballast = new Uint8Array()] = frames;
  const asked = `${service} ${text.decode(name)}`;
  for (let i = 0; i < Number(text.decode(parts)); i++) yield [`${asked} ${i}`];
  return [`${asked} last ${sum(ballast)}`, ballast];
}

/** FNV-1a of bytes. */
function sum(bytes: Uint8Array): number {
  let hash = 0x811c9dc5;
  for (const byte of bytes) hash = Math.imul(hash ^ byte, 0x01000193) >>> 0;
  return hash;
}

function equal(a: Uint8Array, b: Uint8Array): boolean {
  return a.length === b.length && a.every((byte, i) => byte === b[i]);
}
