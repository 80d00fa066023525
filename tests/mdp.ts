/**
 * Runs `mdp` as a user does, against a broker that is a program, too.
 *
 * @module
 */

import { Client } from "../client.ts";
import { type Ended, type Program, start, startBroker, type Surroundings } from "./cli.ts";

const PERMISSIONS = ["--allow-env=MDP_BROKER", "--allow-read", "--allow-run"];

/** The hint at the end of what is said of wrong usage. */
export const HINT = " (try mdp --help)";

/** Starts `mdp`. */
export function startMdp(args: readonly string[], surroundings: Surroundings = {}): Program {
  return start("cli/mdp.ts", args, PERMISSIONS, surroundings);
}

/** Runs `mdp` to its end. */
export async function mdp(args: readonly string[], surroundings?: Surroundings): Promise<Ended> {
  await using program = startMdp(args, surroundings);
  return await program.ended();
}

/** A broker, and ways to run `mdp` with it. */
export class MdpStage implements AsyncDisposable {
  readonly endpoint: string;
  readonly #programs: Program[];

  private constructor(broker: Program, endpoint: string) {
    this.#programs = [broker];
    this.endpoint = endpoint;
  }

  /** Starts the broker. */
  static async start(): Promise<MdpStage> {
    const { broker, endpoint } = await startBroker();
    return new MdpStage(broker, endpoint);
  }

  /** The broker. */
  get broker(): Program {
    return this.#programs[0]!;
  }

  /** Runs `mdp` to its end. */
  run(args: readonly string[], input?: string | Uint8Array): Promise<Ended> {
    return mdp(args, { input, env: { MDP_BROKER: this.endpoint } });
  }

  /** Starts `mdp`. */
  begin(args: readonly string[]): Program {
    const program = startMdp(args, { env: { MDP_BROKER: this.endpoint } });
    this.#programs.push(program);
    return program;
  }

  /** Starts a worker, and waits until the broker knows its service. */
  async serve(service: string, ...args: string[]): Promise<Program> {
    const program = this.begin(["serve", service, ...args]);
    await program.stderr(/^Serving /);
    await using client = new Client(this.endpoint);
    while ((await client.request("mmi.service", service)).text() !== "200") {
      // It is on its way.
    }
    return program;
  }

  /** Ends all that was started. */
  async [Symbol.asyncDispose](): Promise<void> {
    for (const program of this.#programs.toReversed()) await program[Symbol.asyncDispose]();
  }
}
