/**
 * Has the code of a broker run for a moment before it is needed, so that V8 has compiled what
 * runs for each message when the first ones come. Without it they take ten times as long, and the
 * first half second of load has a tail of 5 ms where there is one of 2 ms afterwards.
 *
 * @module
 */

import { Broker } from "./broker.ts";
import {
  type ClientControlCommand,
  type Command,
  type Dialect,
  encode,
  MULTIPLEXED,
  RFC,
} from "./codec.ts";
import { type Frame, Socket } from "./zmq/socket.ts";

/** How many requests of each dialect pass. */
const REQUESTS = 3_200;
/** How many at a time, so that whoever comes meanwhile waits for a millisecond. */
const WINDOW = 32;
const SERVICE = "warm-up", BODY = new Uint8Array(32);

/** Resolves when it is done, or the signal aborts; takes some 0.15 s in slices of about 1 ms. */
export async function warmUp(signal?: AbortSignal): Promise<void> {
  const endpoint = `inproc://warm-up-${crypto.randomUUID()}`;
  const broker = new Broker({ bind: endpoint });
  broker.bind();
  for (const dialect of [MULTIPLEXED, RFC]) {
    const t = performance.now();
    const credit = dialect === MULTIPLEXED ? WINDOW : 1;
    const connect = () => {
      const socket = new Socket("DEALER");
      socket.connect(endpoint);
      return socket;
    };
    const workers = Array.from({ length: WINDOW / credit }, connect), client = connect();
    const send = (socket: Socket, command: Command<Frame>) => socket.send(encode<Frame>(command));
    for (const worker of workers) {
      send(worker, { side: "worker", command: "ready", dialect, service: SERVICE, credit });
    }
    for (let done = 0; done < REQUESTS && !signal?.aborted; done += WINDOW) {
      for (let i = 1; i <= WINDOW; i++) {
        send(client, {
          side: "client",
          command: "request",
          dialect,
          service: SERVICE,
          id: done + i,
          body: [BODY],
        });
      }
      for (let answered = 0; answered < WINDOW;) {
        await new Promise((resolve) => setImmediate(resolve));
        for (const worker of workers) {
          for (let frames; (frames = worker.receiveBytes()) !== undefined;) {
            // Everything but the control frame, or the envelope and the address, comes back as it is.
            if (dialect === MULTIPLEXED) {
              if (frames[0]![6] !== 2) {
                continue;
              }
              frames[0]![6] = 4;
              frames[0]!.fill(0, 16);
            } else {
              if (frames[1]![0] !== 2) continue;
              frames[1]![0] = 4;
            }
            worker.send(frames);
          }
        }
        for (; client.receiveBytes() !== undefined; answered++);
      }
    }
    console.error(performance.now() - t);
    for (const worker of workers) {
      send(worker, { side: "worker", command: "disconnect", dialect });
      worker.close();
    }
    client.close();
  }
  await broker.close();
}
