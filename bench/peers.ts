/**
 * The same work over another messaging system, side by side with ours: what a user of Deno could
 * take instead.
 *
 * @module
 */

import type { DialectName } from "../codec.ts";
import type { Contest } from "./contest.ts";
import type { Measured } from "./load/job.ts";
import type { NatsClientJob } from "./load/nats_client.ts";
import type { NatsWorkerJob } from "./load/nats_worker.ts";
import { asFigures, limit, SMALL, times, withOurs } from "./loading.ts";
import { BROKER_CPU, CLIENT_CPU, type Figures, P50, P99, RATE, WORKER_CPU } from "./shape.ts";
import { freePort, type Settings, Stage } from "./stage.ts";

/** Requests in flight. */
const IN_FLIGHT = [1, 256, 1_024];
/** Where Debian puts servers, which is not in every user's PATH. */
const SERVERS = ["/usr/sbin", "/usr/local/sbin"];

/**
 * The contests with NATS.
 *
 * @param dialects What ours speak.
 * @param settings What the user has set.
 * @param server The path of `nats-server`.
 */
export function natsContests(
  dialects: readonly DialectName[],
  settings: Settings,
  server: string,
): Contest[] {
  return dialects.flatMap((dialect) =>
    IN_FLIGHT.map((inFlight): Contest => ({
      shape: "peers",
      dialect,
      point: inFlight,
      figures: [RATE, P50, P99, BROKER_CPU, CLIENT_CPU, WORKER_CPU],
      sides: [
        {
          name: "ours",
          async measure(signal) {
            await using stage = new Stage({ dialect, settings, signal });
            // As a user would have it: as many at the worker as there are on the way, with RFC 18
            // as many as sockets are worth it.
            const concurrency = dialect === "multiplexed" ? inFlight : Math.min(inFlight, 64);
            return asFigures(await withOurs(stage, inFlight, { concurrency }));
          },
        },
        {
          name: "nats",
          async measure(signal) {
            await using stage = new Stage({ dialect, settings, signal });
            return await withNats(stage, server, inFlight);
          },
        },
      ],
    }))
  );
}

async function withNats(stage: Stage, path: string, inFlight: number): Promise<Figures> {
  const port = freePort();
  const server = stage.run("nats-server", [path, "-a", "127.0.0.1", "-p", String(port)]);
  await stage.reach(port, server);
  const worker = stage.load(
    "nats_worker.ts",
    { port, limit: limit(stage) } satisfies NatsWorkerJob,
  );
  await stage.hear(worker);
  const client = stage.load(
    "nats_client.ts",
    {
      port,
      inFlight,
      bytes: SMALL,
      ...times(stage),
      watched: { broker: server.pid, worker: worker.pid },
    } satisfies NatsClientJob,
  );
  return asFigures(await stage.hear<Measured>(client));
}

/** The bits of a file's mode by which somebody may run it. */
const EXECUTABLE = 0o111;

/** Where a program is: in PATH, or where servers are. `undefined` if it is nowhere. */
export function find(program: string): string | undefined {
  const folders = [...(Deno.env.get("PATH") ?? "").split(":"), ...SERVERS];
  return folders.filter((folder) => folder !== "").map((folder) => `${folder}/${program}`)
    .find((path) => {
      try {
        const { isFile, mode } = Deno.statSync(path);
        return isFile && ((mode ?? EXECUTABLE) & EXECUTABLE) !== 0;
      } catch {
        return false;
      }
    });
}

/** What a program says of its version; `undefined` if it cannot be started. */
export async function versionOf(program: string): Promise<string | undefined> {
  try {
    const { stdout } = await new Deno.Command(program, { args: ["--version"] }).output();
    return new TextDecoder().decode(stdout).trim();
  } catch {
    return undefined;
  }
}
