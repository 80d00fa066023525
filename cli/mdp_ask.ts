/**
 * What `mdp` asks a broker about itself: its `mmi.*` services, whose answers are JSON.
 *
 * @module
 */

import type { BrokerStats, PingAnswer, ServicesAnswer, WorkersAnswer } from "../broker.ts";
import type { Client } from "../client.ts";
import { MdpError } from "../errors.ts";

/** What can be asked, and what is answered. */
export interface Questions {
  /** The services, or one by its name. */
  "mmi.services": ServicesAnswer;
  /** The workers, or those of one service. */
  "mmi.workers": WorkersAnswer;
  /** All that is counted. */
  "mmi.stats": BrokerStats;
  /** Whether the broker is there. */
  "mmi.ping": PingAnswer;
}

/** The broker is there, and does not know what it is asked. */
export class UnknownQuestionError extends MdpError {
  /** The name of the class. */
  override name = "UnknownQuestionError";
}

/**
 * Asks a broker.
 *
 * @typeParam Q What is asked.
 * @param client Connected to it.
 * @param question The service, e.g. `mmi.services`.
 * @param about What it is asked about. Default: all.
 * @returns The answer.
 * @throws {UnknownQuestionError} If the broker does not know the service, as those of others and
 * older ones do not.
 * @throws {MdpError} If it does not answer.
 */
export async function ask<Q extends keyof Questions>(
  client: Client,
  question: Q,
  about = "",
): Promise<Questions[Q]> {
  const text = (await client.request(question, about)).text();
  if (/^\d{3}$/.test(text)) {
    throw new UnknownQuestionError(
      `The broker does not know "${question}" (it answers ${text}): it is not this project's, or \
an older one`,
    );
  }
  try {
    return JSON.parse(text) as Questions[Q];
  } catch {
    throw new MdpError(`The broker's answer to "${question}" is no JSON`);
  }
}
