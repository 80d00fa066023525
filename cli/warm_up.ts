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
import { IS_LINUX } from "../zmtp/linux.ts";
import { warmUpLogger } from "./logging.ts";
import { joined, onTheWire, WarmUpPeer } from "./warm_up_peer.ts";

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
 * real one. After two it answers 0.85 of the requests/s in the first 300,000 that are multiplexed;
 * after five no more than after three, which are over half a second earlier.
 */
const BROKERS = 3;
/** How long is waited for what must come, in ms. */
const PATIENCE = 2_000;
/** How many workers there are where each takes one request at a time. */
const WORKERS = 8;
/** How many clients, which take turns at them. */
const CLIENTS = 4;
const SHORT = new Uint8Array(32), LONG = new Uint8Array(1024);

/**
 * Runs requests of both sorts of dialects through a broker of its own, in this process.
 *
 * @param signal Ends it at once.
 * @returns A promise of the end, after 0.3 to 1.2 s; other things have their turns meanwhile.
 */
export async function warmUp(signal: AbortSignal): Promise<void> {
  // Nobody wants the spans of some 50,000 requests that nobody has made.
  if (!IS_LINUX || activeTracer() !== undefined) return;
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
  const path = `@majortomo-${crypto.randomUUID()}`;
  await using broker = new Broker({ bind: `ipc://${path}` }, warmUpLogger);
  broker.bind();
  for (const dialect of [MULTIPLEXED, RFC]) {
    using peers = new DisposableStack();
    const connect = () => peers.use(new WarmUpPeer(path));
    const workers = Array.from({ length: dialect === MULTIPLEXED ? 1 : WORKERS }, connect);
    const clients = Array.from({ length: CLIENTS }, connect);
    await pass(dialect, service, clients, workers, signal);
    // Peers go, too.
    peers.dispose();
    const until = performance.now() + PATIENCE;
    while (
      broker.stats().workers.registered > 0 && !signal.aborted && performance.now() < until
    ) await turn();
  }
}

/** Registers the workers, has them answer what the clients ask, and has all but one leave. */
async function pass(
  dialect: Dialect,
  service: string,
  clients: readonly WarmUpPeer[],
  workers: readonly WarmUpPeer[],
  signal: AbortSignal,
): Promise<void> {
  const message = (command: Command) => onTheWire(encode(command));
  const credit = dialect === MULTIPLEXED ? 1024 : 1, name = new TextEncoder().encode(service);
  for (const worker of workers) {
    worker.send(message({ side: "worker", command: "ready", dialect, service: name, credit }));
  }
  const answer = dialect === MULTIPLEXED ? answerControl : answerCommand;
  let id = 0;
  for (const [i, window] of WINDOWS.entries()) {
    // A frame has room for no more than 48 bytes itself.
    const body = [i % 10 === 0 ? LONG : SHORT];
    // What is refused is part of it, too: of anybody, and of a worker that says its credit again.
    clients[0]!.send(onTheWire([SHORT]));
    const heartbeat = encode({ side: "worker", command: "heartbeat", dialect });
    if (dialect === MULTIPLEXED) new DataView(heartbeat[0]!.buffer).setUint32(16, credit);
    workers[0]!.send(onTheWire(heartbeat));
    const request = { side: "client", command: "request", dialect, service: name, body } as const;
    const all: Uint8Array<ArrayBuffer>[][] = clients.map(() => []);
    for (let j = 0; j < window; j++) all[j % CLIENTS]!.push(message({ ...request, id: ++id }));
    clients.forEach((client, c) => client.send(joined(all[c]!)));
    const until = performance.now() + PATIENCE;
    for (let answered = 0; answered < window;) {
      await turn();
      // The broker that is warmed up may accept nobody, as there are no more descriptors.
      if (signal.aborted || performance.now() > until) return;
      for (const worker of workers) {
        const answers = worker.receive(answer);
        if (answers !== undefined) worker.send(answers);
      }
      for (const client of clients) client.receive(() => answered++);
    }
  }
  const disconnect = message({ side: "worker", command: "disconnect", dialect });
  for (const worker of workers.slice(1)) worker.send(disconnect);
}

/** Lets others have theirs. */
function turn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}

const REQUEST = 2, FINAL = 4;

/** Makes a FINAL of a REQUEST: its command has a frame of its own. */
function answerCommand(bytes: Uint8Array, frames: readonly number[]): void {
  const command = frames[1]!;
  if (bytes[command] === REQUEST) bytes[command] = FINAL;
}

/** The same of one whose control frame has the command, and a time to live. */
function answerControl(bytes: Uint8Array, frames: readonly number[]): void {
  const control = frames[0]!;
  if (bytes[control + 6] !== REQUEST) return;
  bytes[control + 6] = FINAL;
  bytes.fill(0, control + 16, control + 20);
}
