/**
 * What the codec costs: `deno task bench:micro`.
 *
 * @module
 */

import {
  type Command,
  decodeAtBroker,
  decodeAtClient,
  decodeAtWorker,
  encode,
  type Id,
  MAJORTOMO,
  MULTIPLEXED,
  RFC,
} from "../codec.ts";

const utf8 = new TextEncoder();
const service = utf8.encode("echo"), body = [new Uint8Array(32)];
const client = new Uint8Array([0, 1, 2, 3, 4]);
const id: Id = 123_456_789, token: Id = 987_654_321;
/** Where a program that sends at once has its control frames written. */
const control = new Uint8Array(20);

/** Takes what is made: V8 may leave out work whose result nobody can see. */
const made: unknown[] = [undefined];

for (const dialect of [RFC, MAJORTOMO, MULTIPLEXED]) {
  const multiplexed = dialect === MULTIPLEXED;
  const request: Command = multiplexed
    ? { side: "client", command: "request", dialect, id, timeToLive: 0, service, body }
    : { side: "client", command: "request", dialect, service, body };
  const work: Command = multiplexed
    ? { side: "worker", command: "request", dialect, token, timeToLive: 0, body }
    : { side: "worker", command: "request", dialect, client, body };
  const answer: Command = multiplexed
    ? { side: "worker", command: "final", dialect, token, body }
    : { side: "worker", command: "final", dialect, client, body };
  const reply: Command = multiplexed
    ? { side: "client", command: "final", dialect, id, body }
    : { side: "client", command: "final", dialect, service, body };
  const heartbeat: Command = { side: "worker", command: "heartbeat", dialect };

  const { name } = dialect;
  for (const [what, command] of Object.entries({ request, work, answer, reply, heartbeat })) {
    Deno.bench(`encode ${what}, ${name}`, { group: `encode ${what}` }, () => {
      made[0] = encode(command, control);
    });
  }
  // Encoded without `control`: each has a control frame of its own.
  const received = {
    request: encode(request),
    answer: encode(answer),
    heartbeat: encode(heartbeat),
  };
  for (const [what, frames] of Object.entries(received)) {
    Deno.bench(`decode ${what} at the broker, ${name}`, { group: `decode ${what}` }, () => {
      made[0] = decodeAtBroker(frames);
    });
  }
  const atClient = encode(reply), atWorker = encode(work);
  Deno.bench(`decode reply at the client, ${name}`, { group: "decode reply" }, () => {
    made[0] = decodeAtClient(atClient, dialect);
  });
  Deno.bench(`decode work at the worker, ${name}`, { group: "decode work" }, () => {
    made[0] = decodeAtWorker(atWorker, dialect);
  });
}
