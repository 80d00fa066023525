/**
 * How a client or worker finds out whether its broker speaks the multiplexed dialect: it asks in
 * RFC 18's, which every broker can take, and which some do not answer.
 *
 * @module
 */

import { type CommandAtClient, encode, RFC } from "./codec.ts";

const SERVICE = new TextEncoder().encode("mmi.multiplexed");
const YES = "200";

/** How long the answer is waited for once the connection stands, in ms. */
export const PATIENCE = 1_000;

/** What is said of a broker that nothing has come from at all, though the connection stands. */
export const MAYBE_MAJORTOMO =
  `: it may speak majortomo's dialect (dialect: "majortomo", --dialect majortomo)`;

/** The frames of the question. */
export function question(): Uint8Array[] {
  return encode({
    side: "client",
    command: "request",
    dialect: RFC,
    service: SERVICE,
    body: [new Uint8Array(0)],
  });
}

/** Whether a broker says by this that it does. */
export function isYes(answer: CommandAtClient): boolean {
  return answer.command === "final" && answer.body.length === 1 &&
    new TextDecoder().decode(answer.body[0]) === YES;
}
