/**
 * Has a broker's code run for a moment before it is needed: V8 compiles what runs for each
 * message only once it has run often. In the first 5,000 requests after the start a round trip
 * takes 15 % longer without it, and the tail of the first second of load is 4.4 ms instead of 2.5.
 *
 * V8 throws what it has compiled away when something comes that it has not seen, however late. So
 * what a load has is here: clients that take turns, new names of services, bodies of both kinds,
 * garbage, and peers that go. With garbage alone a broker answered 0.87 of the requests/s over the
 * first 20,000 in RFC 18, and 0.94 over the first 60,000 in the multiplexed dialect.
 * `deno run --v8-flags=--trace-deopt` tells what is thrown away once there is load.
 *
 * @module
 */

import { Broker } from "../broker.ts";
import { type Command, type Dialect, encode, MULTIPLEXED, RFC } from "../codec.ts";
import { ZmqError } from "../errors.ts";
import { activeTracer } from "../traces.ts";
import { reactor } from "../zmq/reactor.ts";
import { type Frame, Socket } from "../zmq/socket.ts";
import { warmUpLogger } from "./logging.ts";

/**
 * How many requests pass at a time. V8 optimizes what has run some 3,000 times, and throws it away
 * when something new happens: the large ones take the broker through more than one batch, and
 * more than one chunk of messages; those after them use the same tokens so often that they are
 * numbers of more than 32 bits, as they are of a broker that has served for some seconds. Whoever
 * comes meanwhile waits for some 2 ms.
 */
const WINDOWS = [
  ...new Array(10).fill(64),
  ...new Array(12).fill(256),
  700,
  700,
  ...new Array(50).fill(8),
];
/**
 * How many brokers, one after the other. To V8 what a broker is made of looks different when it is
 * new: of code that has seen one broker only, half was thrown away when the next one came, the
 * real one, and in its first second of load a request cost 5.8 µs instead of 4.9. After three it
 * answers 0.9 of the requests/s in the first 20,000, after two 0.75; after seven or ten no more.
 */
const BROKERS = 5;
/** How many workers there are where each takes one request at a time. */
const WORKERS = 8;
/** How many clients, which take turns at them. */
const CLIENTS = 4;
const SHORT = new Uint8Array(32), LONG = new Uint8Array(1024), NOTHING = new Uint8Array(0);

/**
 * Runs requests of both sorts of dialects through a broker of its own, in this process.
 *
 * @param signal Ends it at once.
 * @returns A promise of the end, after 0.5 to 2 s; other things have their turns meanwhile.
 */
export async function warmUp(signal: AbortSignal): Promise<void> {
  // Nobody wants the spans of some 50,000 requests that nobody has made.
  if (activeTracer() !== undefined) return;
  const { syncWait } = reactor;
  // Nobody sends while the event loop is blocked, who sends from there.
  reactor.syncWait = 0;
  try {
    for (let i = 0; i < BROKERS && !signal.aborted; i++) await passAll(`warm-up-${i}`, signal);
  } catch (error) {
    // The peers that came first may have taken all the files that there may be. To serve those
    // does not need it.
    if (!(error instanceof ZmqError)) throw error;
  } finally {
    reactor.syncWait = syncWait;
  }
}

async function passAll(service: string, signal: AbortSignal): Promise<void> {
  const endpoint = warmUpEndpoint();
  await using broker = new Broker({ bind: endpoint }, warmUpLogger);
  broker.bind();
  for (const dialect of [MULTIPLEXED, RFC]) {
    using sockets = new DisposableStack();
    const connect = () => {
      const socket = sockets.use(new Socket("DEALER", { linger: 0 }));
      socket.connect(endpoint);
      return socket;
    };
    const workers = Array.from({ length: dialect === MULTIPLEXED ? 1 : WORKERS }, connect);
    const clients = Array.from({ length: CLIENTS }, connect);
    await pass(dialect, service, clients, workers, signal);
    // Peers go, too. Of who says so with nothing the broker thinks that the connection has ended.
    for (const peer of [...clients, ...workers]) peer.send([NOTHING]);
    while (broker.stats().workers.registered > 0 && !signal.aborted) await turn();
  }
}

/** Where nobody else finds it, and with the socket that the broker will have. */
function warmUpEndpoint(): string {
  const name = `majortomo-${crypto.randomUUID()}`;
  return Deno.build.os === "linux" ? `ipc://@${name}` : `inproc://${name}`;
}

/** Registers the workers, has them answer what the clients ask, and has all but one leave. */
async function pass(
  dialect: Dialect,
  service: string,
  clients: readonly Socket[],
  workers: readonly Socket[],
  signal: AbortSignal,
): Promise<void> {
  const send = (socket: Socket, command: Command<Frame>) => socket.send(encode<Frame>(command));
  const credit = dialect === MULTIPLEXED ? 1024 : 1;
  for (const worker of workers) {
    send(worker, { side: "worker", command: "ready", dialect, service, credit });
  }
  let id = 0;
  for (const [i, window] of WINDOWS.entries()) {
    // libzmq keeps no more than 33 bytes in the message itself.
    const body = [i % 10 === 0 ? LONG : SHORT];
    // What is refused is part of it, too: of anybody, and of a worker that says its credit again.
    clients[0]!.send([SHORT]);
    const heartbeat = encode({ side: "worker", command: "heartbeat", dialect });
    if (dialect === MULTIPLEXED) new DataView(heartbeat[0]!.buffer).setUint32(16, credit);
    workers[0]!.send(heartbeat);
    for (let j = 0; j < window; j++) {
      const request = { side: "client", command: "request", dialect, id: ++id } as const;
      send(clients[j % CLIENTS]!, { ...request, service, body });
    }
    for (let answered = 0; answered < window;) {
      await turn();
      if (signal.aborted) return;
      for (const worker of workers) answerAll(worker, dialect);
      for (const client of clients) {
        for (; client.receiveBytes() !== undefined; answered++);
      }
    }
  }
  for (const worker of workers.slice(1)) {
    send(worker, { side: "worker", command: "disconnect", dialect });
  }
}

/** Lets others have theirs. */
function turn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}

/** Makes a FINAL of each REQUEST: the bytes of the command, and of the time to live, differ. */
function answerAll(worker: Socket, dialect: Dialect): void {
  const REQUEST = 2, FINAL = 4;
  const [frame, at] = dialect === MULTIPLEXED ? [0, 6] : [1, 0];
  for (let frames; (frames = worker.receiveBytes()) !== undefined;) {
    if (frames[frame]![at] !== REQUEST) continue;
    frames[frame]![at] = FINAL;
    if (dialect === MULTIPLEXED) frames[frame]!.fill(0, 16);
    worker.send(frames);
  }
}
