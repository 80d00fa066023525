import assert from "node:assert/strict";
import { type Manner, reactor, setSyncWait } from "../zmq/reactor.ts";
import { Socket } from "../zmq/socket.ts";
import { POLLIN, POLLOUT } from "../zmq/symbols.ts";
import { output } from "./program.ts";
import { assertFrames, bytes, RawSocket } from "./raw.ts";
import { soon } from "./worker_stage.ts";

const pause = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));

/** Longer than a turn waits by itself: the reactor sleeps after it. */
const ASLEEP = 20;

/** A ROUTER that sends everything back. */
function echo(): RawSocket {
  const router = RawSocket.router();
  const { socket } = router;
  socket.watch(() => {
    for (let frames; (frames = socket.receiveBytes()) !== undefined;) socket.send(frames);
  });
  return router;
}

async function pingPong(rounds: number, between: (round: number) => Promise<unknown> | undefined) {
  await using router = echo();
  await using dealer = RawSocket.dealer(router.endpoint);
  for (let round = 0; round < rounds; round++) {
    dealer.send(`${round}`);
    await dealer.expect(`${round}`);
    await between(round);
  }
}

Deno.test("`reactor` misses no reply when messages are sent while it sleeps", async () => {
  // Pauses of all kinds: none, of a turn, about as long as a turn waits, and longer.
  const pauses = [0, undefined, 1, undefined, 2, undefined, undefined, undefined, undefined, 3];
  await pingPong(1_000, (round) => {
    const ms = pauses[round % pauses.length];
    return ms === undefined ? undefined : pause(ms);
  });
});

Deno.test("`reactor` misses no reply when it never waits synchronously", async () => {
  const before = reactor.syncWait;
  reactor.syncWait = 0;
  try {
    await pingPong(300, (round) => round % 50 === 0 ? pause(ASLEEP) : undefined);
  } finally {
    reactor.syncWait = before;
  }
});

Deno.test("`reactor.syncWait` takes 0 to 100 whole milliseconds", () => {
  assert.equal(reactor.syncWait, 1);
  for (const wrong of [-1, 0.5, 101, NaN, Infinity]) {
    assert.throws(() => reactor.syncWait = wrong, {
      name: "RangeError",
      message: `The synchronous wait is a whole number of milliseconds from 0 to 100, got ${wrong}`,
    });
  }
  assert.equal(reactor.syncWait, 1);
});

/**
 * A peer in another process, since a send of this one would wake the reactor: 20 ms after a "go"
 * it sends so many messages, and ends with the first empty one.
 */
function remote(endpoint: string, messages: number): Promise<string> {
  return output(`
    import { Socket } from "./zmq/socket.ts";
    const socket = new Socket("PAIR", { linger: 0 });
    socket.connect("${endpoint}");
    socket.watch(() => {
      for (let frames; (frames = socket.receiveBytes()) !== undefined;) {
        const text = new TextDecoder().decode(frames[0]);
        if (text === "") return socket.close();
        if (text !== "go") continue;
        setTimeout(() => {
          for (let i = 0; i < ${messages}; i++) socket.send([new TextEncoder().encode("" + i)]);
        }, 20);
      }
    });
  `);
}

/** Collects what comes, for a test of whether it is found. */
function collect(socket: Socket, wanted: number, manner: Manner = "plain") {
  const seen: Uint8Array[] = [];
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  const timer = setTimeout(() => reject(new Error(`${seen.length} of ${wanted} came`)), 10_000);
  const check = () => seen.length >= wanted && resolve(clearTimeout(timer));
  socket.watch(
    () => {
      for (let frames; (frames = socket.receiveBytes()) !== undefined;) seen.push(...frames);
      check();
    },
    POLLIN,
    manner,
  );
  return { seen, complete: promise };
}

async function sendWhenConnected(socket: Socket, text: string): Promise<void> {
  while (socket.send([bytes(text)]) !== "sent") await pause(1);
}

/** Has messages come while the reactor sleeps, and takes the first of them before it can. */
async function receiveFromOutside(rounds: number, manner?: Manner): Promise<void> {
  await using socket = new Socket("PAIR", { linger: 0 });
  const peer = remote(socket.bind("tcp://127.0.0.1:*"), 2);
  for (let round = 0; round < rounds; round++) {
    const { seen, complete } = collect(socket, 2, manner);
    await sendWhenConnected(socket, "go");
    await pause(10);
    // The reactor sleeps, and what wakes it is taken before it can: that may swallow the edge.
    while (seen.length === 0) seen.push(...socket.receiveBytes() ?? []);
    await complete;
    assertFrames(seen, ["0", "1"]);
  }
  socket.send([bytes("")]);
  await peer;
}

Deno.test("`reactor` finds what came while a socket was received from outside its handler", async () => {
  await receiveFromOutside(30);
});

Deno.test("`reactor` finds what came while a socket was sent to outside its handler", async () => {
  await using socket = new Socket("PAIR", { linger: 0 });
  const peer = remote(socket.bind("tcp://127.0.0.1:*"), 1);
  for (let round = 0; round < 15; round++) {
    const { seen, complete } = collect(socket, 1);
    await sendWhenConnected(socket, "go");
    await pause(10);
    for (const end = performance.now() + 20; performance.now() < end;) {
      assert.equal(socket.send([bytes("noise")]), "sent");
      for (const next = performance.now() + 0.1; performance.now() < next;);
    }
    await complete;
    assertFrames(seen, ["0"]);
  }
  socket.send([bytes("")]);
  await peer;
});

Deno.test("`reactor` waits for a socket that is added while it sleeps", async () => {
  await using other = RawSocket.router();
  await pause(ASLEEP);
  await using socket = new Socket("PAIR", { linger: 0 });
  const peer = remote(socket.bind("tcp://127.0.0.1:*"), 1);
  await sendWhenConnected(socket, "go");
  await pause(10);
  const { complete } = collect(socket, 1);
  await complete;
  assert.equal(other.unread.length, 0);
  socket.send([bytes("")]);
  await peer;
});

Deno.test("`reactor` serves 100 sockets", async () => {
  await using router = echo();
  const dealers = Array.from({ length: 100 }, () => RawSocket.dealer(router.endpoint));
  for (let round = 0; round < 3; round++) {
    dealers.forEach((dealer, i) => dealer.send(`${i}`, `${round}`));
    await Promise.all(dealers.map((dealer, i) => dealer.expect(`${i}`, `${round}`)));
    await pause(round * ASLEEP);
  }
  await Promise.all(dealers.map((dealer) => dealer.close()));
});

Deno.test("`reactor` calls no handler of a socket that the one before it has closed", async () => {
  await using router = RawSocket.router();
  const dealers = Array.from({ length: 2 }, () => {
    const dealer = new Socket("DEALER", { linger: 0 });
    dealer.connect(router.endpoint);
    dealer.send([bytes("here")]);
    return dealer;
  });
  const ids = [(await router.receive())[0]!, (await router.receive())[0]!];
  const handled = new Set<Socket>();
  const closed = Promise.withResolvers<void>();
  // Both are ready when the first turn comes.
  for (const id of ids) router.send(id, "x");
  for (let ready = 0; ready < 2;) {
    await pause(1);
    ready = dealers.filter((dealer) => dealer.receiveBytes() !== undefined).length + ready;
  }
  for (const id of ids) router.send(id, "y");
  await pause(ASLEEP);
  for (const dealer of dealers) {
    dealer.watch(() => {
      handled.add(dealer);
      const other = dealers.find((one) => one !== dealer)!;
      closed.resolve(Promise.all([dealer.close(), other.close()]).then(() => {}));
    });
  }
  await closed.promise;
  await pause(ASLEEP);
  assert.equal(handled.size, 1);
});

Deno.test("`reactor` takes new sockets, and lets go of others, while it sleeps", async () => {
  await using router = echo();
  const sockets: RawSocket[] = [];
  for (let i = 0; i < 30; i++) {
    if (i % 3 === 0) await pause(ASLEEP);
    const dealer = RawSocket.dealer(router.endpoint);
    sockets.push(dealer);
    dealer.send(`${i}`);
    await dealer.expect(`${i}`);
    if (i % 2 === 0) await sockets.shift()!.close();
  }
  await Promise.all(sockets.map((socket) => socket.close()));
});

Deno.test("`Socket.close` is done at once while the reactor sleeps", async () => {
  await using other = RawSocket.router();
  const socket = new Socket("ROUTER", { linger: 0 });
  socket.bind("tcp://127.0.0.1:*");
  socket.watch(() => {});
  await pause(ASLEEP);
  const start = performance.now();
  await socket.close();
  const took = performance.now() - start;
  assert.ok(took < 1_000, `it took ${took.toFixed()} ms`);
  assert.equal(other.socket.isClosed, false);
});

Deno.test("`Socket.watch` tells of room to send when asked to, and of both", async () => {
  await using router = RawSocket.router();
  await using dealer = new Socket("DEALER", { linger: 0 });
  dealer.connect(router.endpoint);
  const events = async (interest: number, wanted: number) => {
    const { promise, resolve } = Promise.withResolvers<void>();
    dealer.watch((events) => {
      assert.equal(events & ~interest, 0, "nothing that was not asked for");
      if (events === wanted) resolve();
    }, interest);
    await promise;
    dealer.watch(() => {}, 0);
  };
  await events(POLLOUT, POLLOUT);
  dealer.send([bytes("hello")]);
  const [id] = await router.receive();
  router.send(id!, "reply");
  await events(POLLIN, POLLIN);
  await events(POLLIN | POLLOUT, POLLIN | POLLOUT);
  assertFrames(dealer.receiveBytes()!, ["reply"]);
});

Deno.test("`Socket.watch` with no interest calls nobody", async () => {
  await using router = RawSocket.router();
  await using dealer = new Socket("DEALER", { linger: 0 });
  dealer.connect(router.endpoint);
  let calls = 0;
  dealer.watch(() => calls++, 0);
  dealer.send([bytes("hello")]);
  const [id] = await router.receive();
  router.send(id!, "reply");
  await pause(ASLEEP);
  assert.equal(calls, 0);
  const called = new Promise<void>((resolve) => dealer.watch(() => resolve()));
  await called;
});

Deno.test("`reactor` lets timers run while sockets have traffic all the time", async () => {
  await using router = echo();
  await using dealer = new Socket("DEALER", { linger: 0 });
  dealer.connect(router.endpoint);
  let messages = 0, ticks = 0;
  dealer.watch(() => {
    for (let i = 0; i < 100; i++) {
      if (dealer.receiveBytes() === undefined) break;
      messages++;
      dealer.send([bytes("again")]);
    }
  });
  for (let i = 0; i < 100; i++) dealer.send([bytes("first")]);
  const timer = setInterval(() => ticks++, 1);
  await pause(400);
  clearInterval(timer);
  assert.ok(messages > 1_000, `only ${messages} messages: the sockets had little to do`);
  assert.ok(ticks >= 20, `the timer ticked ${ticks} times only, with ${messages} messages`);
});

// ---- what only a whole process shows ----

Deno.test("`Socket.watch` keeps the process alive, and `close` ends it", async () => {
  const text = await output(`
    import { Socket } from "./zmq/socket.ts";
    const socket = new Socket("ROUTER");
    socket.bind("tcp://127.0.0.1:*");
    socket.watch(() => {});
    const timer = setTimeout(() => {
      console.log("alive");
      socket.close();
    }, 300);
    // The timer alone does not keep it alive.
    Deno.unrefTimer(timer);
  `);
  assert.equal(text, "alive");
});

Deno.test("a process ends by itself when a socket was never watched nor closed", async () => {
  await output(`
    import { Socket } from "./zmq/socket.ts";
    new Socket("DEALER").connect("tcp://127.0.0.1:1");
  `);
});

Deno.test({
  name: "`reactor` makes no wake-ups when nothing happens",
  // Counted in /proc, which takes all permissions.
  ignore: Deno.build.os !== "linux",
  async fn() {
    const text = await output(
      `
      import { Socket } from "./zmq/socket.ts";
      function switches() {
        let sum = 0;
        for (const { name } of Deno.readDirSync("/proc/self/task")) {
          const status = Deno.readTextFileSync("/proc/self/task/" + name + "/status");
          sum += Number(/^voluntary_ctxt_switches:\\s*(\\d+)/m.exec(status)[1]);
        }
        return sum;
      }
      const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
      const router = new Socket("ROUTER", { linger: 0 });
      const dealer = new Socket("DEALER", { linger: 0 });
      dealer.connect(router.bind("tcp://127.0.0.1:*"));
      router.watch(() => router.receiveBytes());
      dealer.watch(() => dealer.receiveBytes());
      dealer.send([new Uint8Array(1)]);
      await pause(200);
      const before = switches();
      await pause(500);
      console.log(switches() - before);
      await Promise.all([router.close(), dealer.close()]);
    `,
      { flags: ["-A"] },
    );
    // One that looked every millisecond would show 500 and more.
    assert.ok(Number(text) < 100, `the threads slept and woke ${text} times in 500 ms`);
  },
});

Deno.test("`setSyncWait` sets how long a turn may block, and refuses what is no such time", () => {
  const before = reactor.syncWait;
  setSyncWait(0);
  assert.equal(reactor.syncWait, 0);
  setSyncWait(before);
  assert.throws(() => setSyncWait(0.5), RangeError);
  assert.throws(() => setSyncWait(101), RangeError);
});

/** Two sockets that send each other a message for ever, which takes no promise. */
function perpetual(manner: "plain" | "complete", onTurn: () => void) {
  const a = new Socket("PAIR", { linger: 0 }), b = new Socket("PAIR", { linger: 0 });
  b.connect(a.bind("tcp://127.0.0.1:*"));
  for (const socket of [a, b]) {
    socket.watch(
      () => {
        onTurn();
        while (socket.receiveBytes() !== undefined) socket.send([bytes("on")]);
      },
      POLLIN,
      manner,
    );
  }
  // It is connected: the other has no peer yet that a message could wait for.
  b.send([bytes("on")]);
  return { [Symbol.asyncDispose]: async () => void await Promise.all([a.close(), b.close()]) };
}

Deno.test("`reactor` has turns in a row where handlers are complete, and leaves others theirs", async () => {
  let turns = 0, most = 0, before = 0;
  const seen = Promise.withResolvers<void>();
  await using _ = perpetual("complete", () => turns++);
  const look = () => {
    most = Math.max(most, turns - before);
    before = turns;
    if (turns > 1_000) seen.resolve();
    else setImmediate(look);
  };
  look();
  await seen.promise;
  assert.ok(most > 1, "one turn of the event loop has several of the reactor");
});

Deno.test("`reactor` lets promises run between turns where a handler is not complete", async () => {
  let calls = 0, promised = 0, behind = 0;
  const seen = Promise.withResolvers<void>();
  await using _ = perpetual("plain", () => {
    behind = Math.max(behind, calls - promised);
    if (++calls > 1_000) seen.resolve();
    Promise.resolve().then(() => promised++);
  });
  await seen.promise;
  // A turn calls each of the two twice at most: as it was used, and as its descriptor fired.
  assert.ok(behind < 4, `a promise had to wait for ${behind} calls`);
});

/** Sends itself a message for ever, by a peer that is not watched; counts how it is called. */
class Lonely extends Socket {
  asked = 0;
  blocked = 0;
  readonly #peer = new Socket("PAIR", { linger: 0 });

  constructor() {
    super("PAIR", { linger: 0 });
    this.#peer.connect(this.bind("tcp://127.0.0.1:*"));
    this.#peer.send([bytes("on")]);
  }

  serve(): void {
    while (this.receiveBytes() !== undefined) this.#peer.send([bytes("on")]);
  }

  override ready(events: number): void {
    this.asked++;
    super.ready(events);
  }

  override readyWithin(milliseconds: number): boolean {
    this.blocked++;
    return super.readyWithin(milliseconds);
  }

  override close(): Promise<void> {
    return Promise.all([this.#peer.close(), super.close()]).then(() => {});
  }
}

Deno.test("`reactor` blocks in the receive of a socket that is the only one that matters", async () => {
  await using socket = new Lonely();
  const seen = Promise.withResolvers<void>();
  let late = 0, sentAt = 0, most = 0;
  const send = () => {
    sentAt = socket.blocked;
    peer.send([bytes("later")]);
  };
  // What can be left for later is there, and has its turns.
  await using later = new Socket("PAIR", { linger: 0 });
  await using peer = new Socket("PAIR", { linger: 0 });
  peer.connect(later.bind("tcp://127.0.0.1:*"));
  later.watch(
    () => {
      while (later.receiveBytes() !== undefined) late++;
      most = Math.max(most, socket.blocked - sentAt);
      if (late > 20 && socket.blocked > 500) seen.resolve();
      else setTimeout(send, 1);
    },
    POLLIN,
    "later",
  );
  socket.watch(() => socket.serve(), POLLIN, "complete");
  send();
  await seen.promise;
  assert.ok(most < 500, `what can be left for later waited for ${most} turns`);
});

Deno.test("`reactor` asks when another socket matters, or one is to be sent by, too", async () => {
  await using socket = new Lonely();
  let calls = 0;
  const enough = Promise.withResolvers<void>();
  const handler = () => {
    socket.serve();
    if (++calls % 200 === 0) enough.resolve();
  };
  socket.watch(handler, POLLIN | POLLOUT);
  await enough.promise;
  assert.equal(socket.blocked, 0);
  await using other = new Socket("PAIR", { linger: 0 });
  other.watch(() => {});
  socket.watch(handler);
  // The turn that is under way may have been arranged before.
  await pause(ASLEEP);
  assert.equal(socket.blocked, 0);
  assert.ok(socket.asked > 0);
});

Deno.test("`reactor` finds what came for later while it was received from outside", async () => {
  await using other = new Socket("PAIR", { linger: 0 });
  await using itsPeer = new Socket("PAIR", { linger: 0 });
  itsPeer.connect(other.bind("tcp://127.0.0.1:*"));
  other.watch(() => other.receiveBytes());
  await receiveFromOutside(10, "later");
});

Deno.test("`reactor` leaves alone the only socket that matters when another's handler closes it", async () => {
  // For each of the turns that it can happen in.
  for (let round = 0; round < 40; round++) {
    const socket = new Lonely();
    const later = new Socket("PAIR", { linger: 0 }), peer = new Socket("PAIR", { linger: 0 });
    peer.connect(later.bind("tcp://127.0.0.1:*"));
    socket.watch(() => socket.serve(), POLLIN, "complete");
    const closed = Promise.withResolvers<void>();
    later.watch(
      () => {
        while (later.receiveBytes() !== undefined);
        if (!socket.isClosed) socket.close().then(closed.resolve);
      },
      POLLIN,
      "later",
    );
    peer.send([bytes("now")]);
    await closed.promise;
    await Promise.all([later.close(), peer.close()]);
  }
});

Deno.test("`reactor` finds that there is room to send while the socket was received from outside", async () => {
  await using socket = new Socket("PAIR", { linger: 0, sendHighWaterMark: 2 });
  await using peer = new Socket("PAIR", { linger: 0, receiveHighWaterMark: 2 });
  peer.connect(socket.bind("inproc://room"));
  for (let round = 0; round < 10; round++) {
    while (socket.send([bytes("x")]) === "sent");
    const { promise, resolve } = Promise.withResolvers<void>();
    socket.watch((events) => events & POLLOUT && resolve(), POLLIN | POLLOUT);
    await pause(ASLEEP);
    while (peer.receiveBytes() !== undefined);
    // That takes the edge.
    assert.equal(socket.receiveBytes(), undefined);
    await soon(promise, "room");
    socket.watch(() => {}, 0);
  }
});
