import assert from "node:assert/strict";
import fc from "fast-check";
import { joined } from "../cli/warm_up_peer.ts";
import { Frame } from "../zmtp/frame.ts";
import { Listener } from "../zmtp/listener.ts";
import { Router, type RouterOptions } from "../zmtp/router.ts";
import { command, GREETING } from "../zmtp/wire.ts";
import { run } from "./program.ts";
import { bytes, IPV6, type RawFrame, RawSocket, show } from "./raw.ts";

const LINUX = Listener.canListen("tcp://127.0.0.1:1");
const ascii = (text: string) => [...new TextEncoder().encode(text)];

function test(name: string, fn: () => Promise<void>): void {
  Deno.test({ name, ignore: !LINUX, fn });
}

/** A ROUTER with what it has received. */
class Stage {
  readonly router: Router;
  readonly endpoint: string;
  readonly received: { sender: string; frames: Uint8Array[] }[] = [];
  readonly #came: (() => void)[] = [];

  constructor(options: Partial<RouterOptions> = {}, endpoint = "tcp://127.0.0.1:*") {
    this.router = new Router({
      maxMessageSize: 2 ** 22,
      sendHighWaterMark: 1_000,
      linger: 0,
      ...options,
    });
    this.endpoint = this.router.bind(endpoint);
    this.router.watch(() => {
      for (let frames; (frames = this.router.receive()) !== undefined;) {
        if (frames.length === 1 && frames[0]!.size === 0) this.router.free(this.router.sender);
        this.received.push({
          sender: this.router.sender,
          frames: frames.map((frame) => {
            const content = frame.bytes();
            frame.release();
            return content;
          }),
        });
        for (const came of this.#came.splice(0)) came();
      }
    }, () => {});
  }

  /** The next message. */
  async next(): Promise<{ sender: string; frames: Uint8Array[] }> {
    const until = performance.now() + 10_000;
    while (this.received.length === 0) {
      assert.ok(performance.now() < until, "no message came within 10 s");
      await Promise.race([
        new Promise<void>((resolve) => this.#came.push(resolve)),
        new Promise((resolve) => setTimeout(resolve, 100)),
      ]);
    }
    return this.received.shift()!;
  }

  async expect(...frames: RawFrame[]): Promise<string> {
    const { sender, frames: actual } = await this.next();
    assert.deepEqual(show(actual), show(frames));
    return sender;
  }

  send(name: string, ...frames: RawFrame[]): void {
    assert.equal(this.router.sendTo(name, [], frames.map(bytes)), "sent");
    this.router.flush();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.router.close();
  }
}

/** A peer that writes its bytes itself. */
class Bytes {
  #rest = new Uint8Array(0);

  constructor(readonly connection: Deno.Conn) {}

  static async connect(endpoint: string): Promise<Bytes> {
    const { hostname, port } = new URL(endpoint.replace("tcp", "http"));
    return new Bytes(await Deno.connect({ hostname, port: Number(port) }));
  }

  /** One that has shaken hands. */
  static async greeted(endpoint: string, ready = READY): Promise<Bytes> {
    const peer = await Bytes.connect(endpoint);
    await peer.write([...GREETING, ...ready]);
    assert.equal((await peer.read(64))![10], 3);
    const [flags, size] = (await peer.read(2))!;
    assert.equal(flags, 4);
    await peer.read(size!);
    return peer;
  }

  async write(data: Uint8Array | readonly number[]): Promise<void> {
    let rest = new Uint8Array(data);
    while (rest.length > 0) rest = rest.subarray(await this.connection.write(rest));
  }

  /** So many bytes, or `undefined` at the end. */
  async read(count: number): Promise<Uint8Array | undefined> {
    const parts = [this.#rest];
    for (let length = this.#rest.length; length < count;) {
      const more = new Uint8Array(65_536);
      const read = await this.connection.read(more).catch(() => null);
      if (read === null) return undefined;
      parts.push(more.subarray(0, read));
      length += read;
    }
    const whole = joined(parts);
    this.#rest = whole.slice(count);
    return whole.slice(0, count);
  }

  [Symbol.dispose](): void {
    this.connection.close();
  }
}

const TYPE = [11, ...ascii("Socket-Type"), 0, 0, 0, 6, ...ascii("DEALER")];
const READY = [...command("READY", TYPE)];

/** A message on the wire. */
function wire(frames: readonly Uint8Array[]): Uint8Array<ArrayBuffer> {
  return joined(frames.flatMap((frame, i) => {
    const more = i + 1 < frames.length ? 1 : 0;
    const head = new Uint8Array(frame.length < 256 ? 2 : 9);
    head[0] = frame.length < 256 ? more : 2 | more;
    if (frame.length < 256) head[1] = frame.length;
    else new DataView(head.buffer).setUint32(5, frame.length);
    return [head, frame];
  }));
}

function pattern(size: number): Uint8Array {
  return Uint8Array.from({ length: size }, (_, i) => i % 251 ^ size);
}

test("`Router` takes a greeting, READY and messages that come byte by byte", async () => {
  await using stage = new Stage();
  using peer = await Bytes.connect(stage.endpoint);
  const all = [...GREETING, ...READY, ...wire([bytes("one"), bytes("")]), ...wire([bytes("two")])];
  for (const byte of all) await peer.write([byte]);
  await stage.expect("one", "");
  await stage.expect("two");
});

test("`Router` takes messages whole that are cut anywhere", async () => {
  await using stage = new Stage();
  using peer = await Bytes.greeted(stage.endpoint);
  const message = wire([bytes("MDPC02"), [1], pattern(300), bytes(""), pattern(20)].map(bytes));
  for (let cut = 1; cut < message.length; cut++) {
    await peer.write(message.subarray(0, cut));
    await peer.write(message.subarray(cut));
    await stage.expect("MDPC02", [1], pattern(300), "", pattern(20));
  }
});

test("`Router` takes any messages in any pieces, and gives them back as they are", async () => {
  await using stage = new Stage();
  const frame = fc.oneof(
    fc.integer({ min: 0, max: 60 }),
    fc.constantFrom(255, 256, 4_095, 4_096, 8_191, 8_192, 8_193, 16_384, 65_536, 100_000),
  );
  const message = fc.array(frame, { minLength: 1, maxLength: 6, size: "max" });
  const messages = fc.array(message, { minLength: 1, maxLength: 12, size: "max" });
  const cuts = fc.array(fc.integer({ min: 1, max: 30_000 }), {
    minLength: 1,
    maxLength: 20,
    size: "max",
  });
  await fc.assert(
    fc.asyncProperty(messages, cuts, async (sizes, cuts) => {
      using peer = await Bytes.greeted(stage.endpoint);
      const sent = sizes.map((message) => message.map(pattern));
      const all = joined(sent.map(wire));
      const writing = (async () => {
        for (let at = 0, i = 0; at < all.length; i++) {
          const size = cuts[i % cuts.length]! + all.length / 1_000 | 0;
          await peer.write(all.subarray(at, at + size));
          at += size;
        }
      })();
      const reading = peer.read(all.length);
      for (const frames of sent) {
        const { sender, frames: came } = await stage.next();
        assert.equal(came.length, frames.length);
        for (const [i, frame] of frames.entries()) assert.ok(equal(came[i]!, frame));
        const held = came.map((frame) => Frame.of(frame));
        assert.equal(
          stage.router.sendTo(
            sender,
            held.length > 1 ? [came[0]!] : [],
            held.length > 1 ? held.slice(1) : held,
          ),
          "sent",
        );
        held.forEach((frame) => frame.release());
        if (frames.length % 2 === 0) stage.router.flush();
      }
      stage.router.flush();
      await writing;
      assert.ok(equal((await reading)!, all), "what came back is something else");
      peer.connection.closeWrite();
      await stage.expect("");
    }),
    { numRuns: 40 },
  );
});

function equal(a: Uint8Array, b: Uint8Array): boolean {
  return a.length === b.length && a.every((byte, i) => byte === b[i]);
}

test("`Router` takes a message of thousands of frames", async () => {
  await using stage = new Stage();
  using peer = await Bytes.greeted(stage.endpoint);
  const frames = Array.from({ length: 3_000 }, (_, i) => pattern(i % 40));
  await peer.write(wire(frames));
  await stage.expect(...frames);
});

for (
  const [what, sent] of [
    ["no greeting", ascii("GET / HTTP/1.1\r\n\r\n")],
    ["ZMTP 2", [...GREETING.slice(0, 10), 1]],
    ["CURVE", [...GREETING.slice(0, 12), ...ascii("CURVE"), ...new Array(47).fill(0)]],
    ["a message before READY", [...GREETING, 0, 1, 65]],
    ["another type of socket", [
      ...GREETING,
      ...command("READY", [11, ...ascii("Socket-Type"), 0, 0, 0, 3, ...ascii("SUB")]),
    ]],
    ["an identity that begins with 0", [
      ...GREETING,
      ...command("READY", [...TYPE, 8, ...ascii("Identity"), 0, 0, 0, 5, 0, 1, 2, 3, 4]),
    ]],
    ["ERROR", [...GREETING, ...READY, ...command("ERROR", [0])]],
    ["a command without name", [...GREETING, ...READY, 4, 0]],
    ["a READY of 2^32 bytes and some", [
      ...GREETING,
      ...[6, 0, 0, 0, 1, 0, 0, 0, READY.length - 2, ...READY.slice(2)],
    ]],
    ["flags that there are not", [...GREETING, ...READY, 8, 0]],
    ["a command that has more", [...GREETING, ...READY, 5, 2, 1, 88]],
    ["a command of 5,000 bytes", [...GREETING, ...READY, 6, 0, 0, 0, 0, 0, 0, 0x13, 0x88]],
    ["a frame of 4 MiB and 1", [...GREETING, ...READY, 2, 0, 0, 0, 0, 0, 0x40, 0, 1]],
    ["a frame of 2^56", [...GREETING, ...READY, 2, 1, 0, 0, 0, 0, 0, 0, 0]],
    ["a frame of 2^64 - 1", [...GREETING, ...READY, 2, ...new Array(8).fill(255)]],
  ] as const
) {
  test(`\`Router\` cuts a peer off that sends ${what}, and serves others`, async () => {
    await using stage = new Stage();
    await using other = RawSocket.dealer(stage.endpoint);
    using peer = await Bytes.connect(stage.endpoint);
    await peer.write(sent as number[]);
    // It has said what it says, and then there is no more.
    assert.equal(await peer.read(1_000), undefined);
    other.send("still here");
    for (let next = await stage.next(); show(next.frames)[0] !== "still here";) {
      next = await stage.next();
    }
  });
}

test("`Router` cuts a peer off whose message has no end, and gives its memory back", async () => {
  await using stage = new Stage({ maxMessageSize: 100_000 });
  using peer = await Bytes.greeted(stage.endpoint);
  const frame = new Uint8Array([3, 0, 0, 0, 0, 0, 0, 0x75, 0x30, ...new Uint8Array(30_000)]);
  const writing = (async () => {
    for (let i = 0; i < 100; i++) await peer.write(frame);
  })().catch(() => {});
  assert.equal(await peer.read(1), undefined);
  await writing;
  await stage.expect("");
});

test("`Router` answers a PING between the frames of a message", async () => {
  await using stage = new Stage();
  using peer = await Bytes.greeted(stage.endpoint);
  const ping = command("PING", [0, 0, 7]);
  await peer.write([1, 1, 65, ...ping, 1, 1, 66, ...ping, ...ping, 0, 1, 67]);
  await stage.expect("A", "B", "C");
  const pongs = [4, 6, 4, ...ascii("PONG"), 7];
  assert.deepEqual([...(await peer.read(24))!], [...pongs, ...pongs, ...pongs]);
});

test("`Router` ends a connection whose peer said in a PING that silence is to end it", async () => {
  await using stage = new Stage();
  using peer = await Bytes.greeted(stage.endpoint);
  // What comes in time has it live, until the next PING says so again.
  await peer.write([...command("PING", [0, 3]), ...wire([bytes("a")])]);
  await peer.write(wire([bytes("a")]));
  await stage.expect("a");
  await stage.expect("a");
  await new Promise((resolve) => setTimeout(resolve, 400));
  await peer.write([...wire([bytes("b")]), ...command("PING", [0, 1])]);
  await stage.expect("b");
  await stage.expect("");
});

test("`Router` has a peer that sends without end wait for others", async () => {
  await using stage = new Stage();
  using flooding = await Bytes.greeted(stage.endpoint);
  using other = await Bytes.greeted(stage.endpoint);
  // All is there before the first message is received.
  await Promise.all([flooding.write(new Uint8Array(60_000)), other.write(wire([bytes("now")]))]);
  let before = 0;
  while (show((await stage.next()).frames)[0] !== "now") before++;
  assert.ok(before < 10_000, `${before} messages came before it`);
});

test("`Router` answers a PING between messages, and ignores other commands", async () => {
  await using stage = new Stage();
  using peer = await Bytes.greeted(stage.endpoint);
  await peer.write([...wire([bytes("a")]), ...command("PING", [0, 9, 1, 2]), ...command("X", [])]);
  await peer.write(wire([bytes("b")]));
  await stage.expect("a");
  await stage.expect("b");
  assert.deepEqual([...(await peer.read(9))!], [4, 7, 4, ...ascii("PONG"), 1, 2]);
});

test("`Router` tells that a connection is gone after all that came by it", async () => {
  await using stage = new Stage();
  using peer = await Bytes.greeted(stage.endpoint);
  for (let i = 0; i < 100; i++) await peer.write(wire([bytes(`${i}`), pattern(1_000)]));
  peer.connection.closeWrite();
  let sender = "";
  for (let i = 0; i < 100; i++) sender = await stage.expect(`${i}`, pattern(1_000));
  assert.equal(await stage.expect(""), sender);
  assert.equal(stage.router.sendTo(sender, [], [bytes("x")]), "unreachable");
});

test("`Router` tells all that came of a peer that sent more than its turn and is gone", async () => {
  await using stage = new Stage();
  using peer = await Bytes.greeted(stage.endpoint);
  const count = 3_000;
  await peer.write(joined(Array.from({ length: count }, (_, i) => wire([bytes(`${i}`)]))));
  peer.connection.closeWrite();
  for (let i = 0; i < count; i++) await stage.expect(`${i}`);
  await stage.expect("");
});

test("`Router` has each peer its own name, or the one that it chose", async () => {
  await using stage = new Stage();
  await using chosen = RawSocket.dealer(stage.endpoint, { routingId: bytes("me\xff") });
  await using first = RawSocket.dealer(stage.endpoint);
  await using second = RawSocket.dealer(stage.endpoint);
  chosen.send("chosen");
  assert.equal(await stage.expect("chosen"), "me\xc3\xbf");
  first.send("first");
  const names = [await stage.expect("first")];
  second.send("second");
  names.push(await stage.expect("second"));
  assert.notEqual(names[0], names[1]);
  for (const name of names) assert.match(name, /^\0[^]{4}$/);
  stage.send(names[1]!, "to the second");
  await second.expect("to the second");
  assert.equal(stage.router.addressOf(names[0]!), "127.0.0.1");
});

test("`Router` does not answer a peer whose name another has until that one is gone", async () => {
  await using stage = new Stage();
  const routingId = bytes("same");
  const first = RawSocket.dealer(stage.endpoint, { routingId });
  first.send("first");
  await stage.expect("first");
  await using second = RawSocket.dealer(stage.endpoint, { routingId });
  second.send("second");
  await using other = RawSocket.dealer(stage.endpoint);
  other.send("other");
  await stage.expect("other");
  stage.send("same", "for the first");
  await first.expect("for the first");
  await first.close();
  assert.equal(await stage.expect(""), "same");
  assert.equal(await stage.expect("second"), "same");
  stage.send("same", "for the second");
  await second.expect("for the second");
});

test("`Router` keeps what a peer does not take, up to the high-water mark, in order", async () => {
  await using stage = new Stage({ sendHighWaterMark: 50 });
  using peer = await Bytes.greeted(stage.endpoint);
  await peer.write(wire([bytes("here")]));
  const name = await stage.expect("here");
  const body = pattern(300_000);
  let sent = 0;
  for (;; sent++) {
    assert.ok(sent < 1_000, "it is never full");
    const frame = Frame.of(body);
    const result = stage.router.sendTo(name, [bytes(`${sent}`)], [frame, bytes("end")]);
    frame.release();
    stage.router.flush();
    if (result === "full") break;
    assert.equal(result, "sent");
  }
  assert.ok(sent >= 50);
  // Others do not wait for it.
  await using other = RawSocket.dealer(stage.endpoint);
  other.send("hello");
  stage.send(await stage.expect("hello"), "world");
  await other.expect("world");
  for (let i = 0; i < sent; i++) {
    const message = wire([bytes(`${i}`), body, bytes("end")]);
    assert.ok(equal((await peer.read(message.length))!, message), `message ${i}`);
  }
  stage.send(name, "and more");
  assert.deepEqual(await peer.read(10), wire([bytes("and more")]));
});

for (const linger of [0, 20_000]) {
  test(`\`Router.close\` ${linger === 0 ? "waits for nobody" : "waits for who is slow"} when linger is ${linger}`, async () => {
    await using stage = new Stage({ linger });
    using peer = await Bytes.greeted(stage.endpoint);
    await peer.write(wire([bytes("here")]));
    const name = await stage.expect("here");
    const message = wire([pattern(1_000_000)]);
    for (let i = 0; i < 20; i++) stage.send(name, pattern(1_000_000));
    const closing = stage.router.close();
    if (linger === 0) await closing;
    let whole = 0;
    for (let next; (next = await peer.read(message.length)) !== undefined; whole++) {
      assert.ok(equal(next, message));
    }
    await closing;
    if (linger === 0) assert.ok(whole < 20);
    else assert.equal(whole, 20);
  });
}

test("`Router.close` ends after the linger when a peer never reads, and its endpoint is free", async () => {
  const stage = new Stage({ linger: 50 });
  using peer = await Bytes.greeted(stage.endpoint);
  await peer.write(wire([bytes("here")]));
  const name = await stage.expect("here");
  for (let i = 0; i < 20; i++) stage.send(name, pattern(1_000_000));
  await stage.router.close();
  await using next = new Stage({}, stage.endpoint);
  assert.equal(next.endpoint, stage.endpoint);
});

test("`Router` sends to nobody else what was for a peer that is gone", async () => {
  await using stage = new Stage();
  using peer = await Bytes.greeted(stage.endpoint);
  await peer.write(wire([bytes("here")]));
  const name = await stage.expect("here");
  assert.equal(stage.router.sendTo(name, [], [bytes("for the first")]), "sent");
  // It is cut off before that is sent, and its descriptor is the next one's.
  await peer.write([8]);
  await stage.expect("");
  using next = await Bytes.greeted(stage.endpoint);
  await next.write(wire([bytes("next")]));
  stage.send(await stage.expect("next"), "for the next");
  assert.deepEqual(await next.read(14), wire([bytes("for the next")]));
});

test("`Router` throws a StateError after `close`", async () => {
  const { router } = new Stage();
  await Promise.all([router.close(), router.close()]);
  for (
    const use of [
      () => router.receive(),
      () => router.sendTo("x", [], [bytes("x")]),
      () => router.bind("tcp://127.0.0.1:*"),
      () => router.watch(() => {}, () => {}),
    ]
  ) assert.throws(use, { name: "StateError", message: "The ROUTER socket is closed" });
});

test("`Router` gives all descriptors back", async () => {
  const count = () => [...Deno.readDirSync("/proc/self/fd")].length;
  const round = async () => {
    await using stage = new Stage();
    using peer = await Bytes.greeted(stage.endpoint);
    using other = await Bytes.greeted(stage.endpoint);
    await peer.write(wire([bytes("x")]));
    await stage.expect("x");
    other.connection.closeWrite();
    await stage.expect("");
  };
  await round();
  const before = count();
  for (let i = 0; i < 20; i++) await round();
  assert.ok(count() <= before + 10, `${before} descriptors, then ${count()}`);
});

test("`Router` tells when it cannot accept, and accepts when it can again", async () => {
  const text = `
    import { Router } from "./zmtp/router.ts";
    import { Socket } from "./zmq/socket.ts";
    const router = new Router({ maxMessageSize: 100, sendHighWaterMark: 10, linger: 0 });
    const endpoint = router.bind("tcp://127.0.0.1:*");
    const heard = [];
    const { promise, resolve } = Promise.withResolvers();
    let files = [];
    router.watch(() => {
      for (let frames; (frames = router.receive()) !== undefined;) {
        console.log(new TextDecoder().decode(frames[0].bytes()));
        resolve();
      }
    }, (at, code) => {
      if (heard.length === 0) console.log(at === endpoint, code);
      heard.push(code);
      for (const file of files.splice(0)) file.close();
    });
    const socket = new Socket("DEALER", { linger: 0 });
    // All that there is but for the connecting end.
    try {
      for (;;) files.push(Deno.openSync("/dev/null"));
    } catch { files.pop().close(); }
    socket.connect(endpoint);
    socket.send([new TextEncoder().encode("in")]);
    await promise;
    socket.close();
    router.close();
  `;
  const { stdout, stderr } = await run(text, {
    flags: ["--allow-all"],
    under: ["sh", "-c", 'ulimit -n 100; exec "$@"', "sh"],
  });
  assert.deepEqual({ stdout, stderr }, { stdout: "true EMFILE\nin\n", stderr: "" });
});

// ---- endpoints ----

for (
  const [endpoint, can] of [
    ["tcp://127.0.0.1:5555", true],
    ["tcp://*:*", true],
    ["tcp://*:0", true],
    ["tcp://[::1]:1", true],
    ["tcp://[::]:*", true],
    ["ipc:///tmp/x", true],
    ["ipc://@abstract", true],
    ["ipc://*", false],
    ["tcp://eth0:1", false],
    ["tcp://localhost:1", false],
    ["tcp://1.2.3:1", false],
    ["tcp://127.0.0.1:65536", false],
    ["tcp://*:65536", false],
    ["ipc://@", false],
    ["tcp://256.0.0.1:1", false],
    ["tcp://[fe80::1%eth0]:1", false],
    ["tcp://[1]:1", false],
    ["inproc://x", false],
  ] as const
) {
  test(`\`Listener.canListen\` is ${can} for ${endpoint}`, async () => {
    assert.equal(Listener.canListen(endpoint), can);
    await Promise.resolve();
  });
}

function folder(): { path: string } & Disposable {
  const path = Deno.makeTempDirSync({ prefix: "mdp" });
  return { path, [Symbol.dispose]: () => Deno.removeSync(path, { recursive: true }) };
}

test("`Router` is reached at paths, abstract ones, and by IPv6, and tells who is there", async () => {
  using directory = folder();
  const endpoints: [string, RegExp][] = [
    [`ipc://${directory.path}/x`, new RegExp(`^localhost:\\d+:\\d+:${Deno.pid}$`)],
    [`ipc://@mdp-${crypto.randomUUID()}`, new RegExp(`^localhost:\\d+:\\d+:${Deno.pid}$`)],
    ...(IPV6 ? [["tcp://[::1]:*", /^::1$/] as [string, RegExp]] : []),
  ];
  for (const [at, address] of endpoints) {
    await using stage = new Stage({}, at);
    if (IPV6 && at.includes("[")) assert.match(stage.endpoint, /^tcp:\/\/\[::1\]:[1-9]\d*$/);
    else assert.equal(stage.endpoint, at);
    await using peer = RawSocket.dealer(stage.endpoint, { ipv6: 1 });
    peer.send("hello");
    const name = await stage.expect("hello");
    assert.match(stage.router.addressOf(name)!, address);
    stage.send(name, "world");
    await peer.expect("world");
  }
  assert.deepEqual([...Deno.readDirSync(directory.path)], []);
});

test("`Router.bind` says why it cannot", async () => {
  using directory = folder();
  await using stage = new Stage();
  await using atPath = new Stage({}, `ipc://${directory.path}/taken`);
  Deno.writeTextFileSync(`${directory.path}/file`, "mine");
  for (
    const [endpoint, code, why] of [
      [stage.endpoint, "EADDRINUSE", "Address already in use"],
      [atPath.endpoint, "EADDRINUSE", "Address already in use"],
      [`ipc://${directory.path}/file`, "EADDRINUSE", "Address already in use"],
      ["ipc:///no/such/folder/x", "ENOENT", "No such file or directory"],
      [`ipc:///tmp/${"x".repeat(110)}`, "ENAMETOOLONG", "File name too long"],
      ["tcp://203.0.113.1:*", "EADDRNOTAVAIL", "Cannot assign requested address"],
    ] as const
  ) {
    assert.throws(() => stage.router.bind(endpoint), {
      name: "ZmqError",
      code,
      call: "zmq_bind",
      message: `zmq_bind failed for "${endpoint}": ${why} (${code})`,
    });
  }
  assert.equal(Deno.readTextFileSync(`${directory.path}/file`), "mine");
  await using peer = RawSocket.dealer(atPath.endpoint);
  peer.send("still there");
  await atPath.expect("still there");
});

test("`Router.bind` takes the path over that a process has left when it was killed", async () => {
  using directory = folder();
  const endpoint = `ipc://${directory.path}/x`;
  const { code } = await run(
    `import { Router } from "./zmtp/router.ts";
    new Router({ maxMessageSize: 1, sendHighWaterMark: 1, linger: 0 }).bind("${endpoint}");
    Deno.kill(Deno.pid, "SIGKILL");`,
    { flags: ["--allow-all"] },
  );
  assert.notEqual(code, 0);
  assert.ok(Deno.lstatSync(`${directory.path}/x`).isSocket);
  await using stage = new Stage({}, endpoint);
  await using peer = RawSocket.dealer(endpoint);
  peer.send("hello");
  await stage.expect("hello");
});
