import assert from "node:assert/strict";
import { Outbox } from "../outbox.ts";
import { Frame } from "../zmtp/frame.ts";
import { Router } from "../zmtp/router.ts";
import { RawSocket, show } from "./raw.ts";

/** A ROUTER, and peers of the names that are given, connected. */
async function router(...names: string[]) {
  const socket = new Router({ linger: 0, maxMessageSize: 2 ** 20, sendHighWaterMark: 1_000 });
  const endpoint = socket.bind("tcp://127.0.0.1:*");
  const peers = new Map<string, RawSocket>();
  for (const name of names) {
    const peer = RawSocket.dealer(endpoint, {
      routingId: new TextEncoder().encode(name),
    });
    peer.send("hello");
    peers.set(name, peer);
  }
  for (let heard = 0; heard < names.length;) {
    const message = socket.receive();
    if (message !== undefined) heard++;
    else await new Promise((resolve) => setTimeout(resolve, 1));
  }
  return {
    socket,
    peer: (name: string) => peers.get(name)!,
    [Symbol.dispose]() {
      for (const peer of peers.values()) peer.close();
      socket.close();
    },
  };
}

Deno.test("`Outbox.flush` sends everything in order, and is empty then", async () => {
  using stage = await router("a", "b");
  const outbox = new Outbox<void>(), text = (text: string) => new TextEncoder().encode(text);
  outbox.put("a", [], [text("1"), text("x")], "control", undefined);
  outbox.put("b", [], [text("2")], "control", undefined);
  outbox.put("a", [], [text("3")], "control", undefined);
  assert.equal(outbox.length, 3);
  assert.deepEqual(outbox.flush(stage.socket), []);
  assert.equal(outbox.length, 0);
  assert.deepEqual(show(await stage.peer("a").receive()), ["1", "x"]);
  assert.deepEqual(show(await stage.peer("a").receive()), ["3"]);
  assert.deepEqual(show(await stage.peer("b").receive()), ["2"]);
});

Deno.test("`Outbox.flush` sends a message that is an envelope alone, and one with frames behind it", async () => {
  using stage = await router("a");
  const outbox = new Outbox<void>(), text = (text: string) => new TextEncoder().encode(text);
  const envelope = ["1", "", "3"].map(text);
  outbox.put("a", envelope, [], "control", undefined);
  outbox.put(
    "a",
    envelope,
    [outbox.identity("b"), text(""), new Uint8Array([0xff])],
    "control",
    undefined,
  );
  outbox.put("a", [], [text("4")], "control", undefined);
  const before = { ...stage.socket.traffic };
  assert.deepEqual(outbox.flush(stage.socket), []);
  assert.deepEqual(show(await stage.peer("a").receive()), ["1", "<>", "3"]);
  assert.deepEqual(show(await stage.peer("a").receive()), ["1", "<>", "3", "b", "<>", "<ff>"]);
  assert.deepEqual(show(await stage.peer("a").receive()), ["4"]);
  const { messagesOut, bytesOut } = stage.socket.traffic;
  assert.deepEqual([messagesOut - before.messagesOut, bytesOut - before.bytesOut], [3, 7]);
});

Deno.test("`Outbox.flush` says what could not be sent, in order, and lets go of all messages", async () => {
  using stage = await router("a");
  const outbox = new Outbox<void>(), message = Frame.of(new Uint8Array(100));
  outbox.put("nobody", [], [message], "control", undefined);
  outbox.put("no one", [], [new Uint8Array([66])], "notice", undefined);
  outbox.put("a", [], [new Uint8Array([65])], "control", undefined);
  outbox.put("nobody", [], [new Uint8Array([67])], "notice", undefined);
  const unsent = { request: undefined, why: "unreachable" } as const;
  assert.deepEqual(outbox.flush(stage.socket), [
    { peer: "nobody", what: "control", ...unsent },
    { peer: "no one", what: "notice", ...unsent },
    { peer: "nobody", what: "notice", ...unsent },
  ]);
  assert.throws(() => message.release(), /released twice/);
  assert.deepEqual(show(await stage.peer("a").receive()), ["A"]);
});

Deno.test("`Outbox` sends to a peer that it forgot, too, and what was put in before", async () => {
  using stage = await router("a");
  const outbox = new Outbox<void>();
  outbox.put("a", [], [new Uint8Array([65])], "control", undefined);
  outbox.forget("a");
  outbox.put("a", [], [new Uint8Array([66])], "control", undefined);
  assert.deepEqual(outbox.flush(stage.socket), []);
  assert.deepEqual(show(await stage.peer("a").receive()), ["A"]);
  assert.deepEqual(show(await stage.peer("a").receive()), ["B"]);
});

Deno.test("`Outbox.control` gives each message memory of its own until it is sent", () => {
  const outbox = new Outbox<void>(), seen = new Set<Uint8Array>();
  for (let i = 0; i < 3_000; i++) {
    const control = outbox.control();
    const [bytes] = control;
    assert.equal(bytes.length, 20);
    assert.ok(!seen.has(bytes), `memory of message ${i} is another's`);
    seen.add(bytes);
    outbox.put("a", control, [], "control", undefined);
  }
});

Deno.test("`Outbox.withdraw` takes back the requests for a peer, and nothing else", async () => {
  using stage = await router("a", "b");
  const outbox = new Outbox<void>(), text = (text: string) => new TextEncoder().encode(text);
  const requests = [1, 2, 3, 4].map((number) => ({ number }) as never);
  const put = (name: string, what: "request" | "final", label: string, request: never) =>
    outbox.put(name, [], [text(label)], what, request);
  put("a", "request", "1", requests[0]!);
  put("a", "final", "for a", requests[1]!);
  put("b", "request", "for b", requests[1]!);
  const body = Frame.of(text("x"));
  outbox.put("a", [], [body], "request", requests[2]!);
  put("a", "request", "4", requests[3]!);
  assert.deepEqual(outbox.withdraw("a"), [requests[0], requests[2], requests[3]]);
  assert.throws(() => body.release(), { name: "StateError" });
  assert.deepEqual(outbox.withdraw("a"), []);
  assert.deepEqual(outbox.withdraw("nobody"), []);
  put("a", "final", "and this", requests[1]!);
  assert.deepEqual(outbox.flush(stage.socket), []);
  assert.deepEqual(show(await stage.peer("a").receive()), ["for a"]);
  assert.deepEqual(show(await stage.peer("a").receive()), ["and this"]);
  assert.deepEqual(show(await stage.peer("b").receive()), ["for b"]);
  // One for whom nothing is left is due no more, until there is something again.
  put("a", "request", "5", requests[0]!);
  outbox.withdraw("a");
  put("a", "final", "6", requests[1]!);
  assert.deepEqual(outbox.flush(stage.socket), []);
  assert.deepEqual(show(await stage.peer("a").receive()), ["6"]);
  assert.equal(stage.peer("a").unread.length, 0);
});
