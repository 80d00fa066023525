// What clients are told of a request that gets no answer: a multiplexed one an ERROR with its code,
// those of RFC 18 and majortomo nothing at all, since their protocol has no word for it.

import assert from "node:assert/strict";
import type { BrokerOptions, BrokerStats } from "../broker.ts";
import { control } from "./hostile.ts";
import type { RawFrame, RawSocket } from "./raw.ts";
import { C, C_REQUEST, DISCONNECT, fence, PARTIAL, REQUEST, Stage, W } from "./stage.ts";

const ID = "00000000000000a1", OTHER_ID = "00000000000000a2";
const NOWAIT = 2, ONCE = 4;

/** A request for "echo" with the body "x", as each client writes it. */
const ASK = {
  rfc: [C, C_REQUEST, "echo", "x"],
  majortomo: ["", C, [2], "echo", "x"],
  multiplexed: [control("MDPCX1", { command: 1, id: ID }), "echo", "x"],
} satisfies Record<string, RawFrame[]>;
type Dialect = keyof typeof ASK;

/** A part of its reply. */
const PART: Record<Dialect, RawFrame[]> = {
  rfc: [C, [2], "echo", "part"],
  majortomo: ["", C, [3], "part"],
  multiplexed: [control("MDPCX1", { command: 2, id: ID }), "part"],
};

const error = (code: number, message: string, id = ID): RawFrame[] => [
  control("MDPCX1", { command: 4, id, value: code }),
  message,
];

/** A reason for which there is no answer. */
interface Case {
  what: string;
  options: BrokerOptions;
  /** What happens around the request of a client, which it sends itself. */
  cause(stage: Stage, client: RawSocket, ask: RawFrame[], dialect: Dialect): Promise<void>;
  /** How often the broker counts it. */
  count(stats: BrokerStats): number;
  told: RawFrame[];
  /** If it is for some only. */
  dialects?: Dialect[];
  /** What a multiplexed client sends instead. */
  ask?: RawFrame[];
}

/** A worker gets the request, and goes. */
async function loseWorker(stage: Stage, client: RawSocket, ask: RawFrame[], part?: RawFrame) {
  const worker = await stage.worker("w", "echo");
  client.send(...ask);
  await worker.expect(W, REQUEST, "c", "", "x");
  if (part !== undefined) worker.send(W, PARTIAL, "c", "", part);
  worker.send(W, DISCONNECT);
  await fence(worker);
}

const justAsk: Case["cause"] = (_, client, ask) => Promise.resolve(client.send(...ask));

const CASES: Case[] = [
  {
    what: "a full queue",
    options: { maxQueue: 0 },
    cause: justAsk,
    count: ({ refused }) => refused.queueFull,
    told: error(429, "Too many requests are queued"),
  },
  {
    what: "a client's part of the queues that is full",
    options: { maxClientQueue: 0 },
    cause: justAsk,
    count: ({ refused }) => refused.clientQueueFull,
    told: error(429, "Too many requests of this client are queued"),
  },
  {
    what: "a broker that stops",
    options: {},
    async cause(stage, client, ask) {
      const other = stage.peer("other");
      await stage.ask(other, "later", "x");
      stage.broker.close({ drain: 60_000 });
      client.send(...ask);
    },
    count: ({ refused }) => refused.stopping,
    told: error(503, "The broker is stopping"),
  },
  {
    what: "a service that nobody has come to serve",
    options: { requestExpiry: 20 },
    cause: justAsk,
    count: ({ expired }) => expired,
    told: error(504, "No worker"),
  },
  {
    what: "workers that are lost one after the other",
    options: { maxAttempts: 1 },
    cause: (stage, client, ask) => loseWorker(stage, client, ask),
    count: ({ dropped }) => dropped.attempts,
    told: error(502, "Too many workers were lost with the request"),
  },
  {
    what: "a worker that is lost after a part of the reply",
    options: {},
    async cause(stage, client, ask, dialect) {
      await loseWorker(stage, client, ask, "part");
      await client.expect(...PART[dialect]);
    },
    count: ({ dropped }) => dropped.partial,
    told: error(502, "The worker was lost after a part of its reply"),
  },
  {
    what: "a worker that says it failed",
    options: {},
    async cause(stage, client, ask) {
      const worker = stage.peer("w");
      worker.send(control("MDPWX1", { command: 1, id: "0000000000000000", value: 1 }), "echo");
      // The broker's HEARTBEAT says that it is registered.
      await worker.receive();
      client.send(...ask);
      const [head] = await worker.receive();
      const failure = control("MDPWX1", { command: 7, value: 555 });
      failure.set(head!.subarray(8, 16), 8);
      worker.send(failure, "Out of order");
      await fence(worker);
    },
    count: ({ dropped, errors }) => dropped.failed + errors,
    told: error(555, "Out of order"),
  },
  {
    what: "a request that is not to wait",
    options: {},
    cause: justAsk,
    count: ({ refused }) => refused.noWorker,
    told: error(404, "No worker serves this"),
    dialects: ["multiplexed"],
    ask: [control("MDPCX1", { command: 1, flags: NOWAIT, id: ID }), "echo", "x"],
  },
  {
    what: "a time to live that has passed",
    options: {},
    cause: justAsk,
    count: ({ expired }) => expired,
    told: error(504, "Time to live has passed"),
    dialects: ["multiplexed"],
    ask: [control("MDPCX1", { command: 1, id: ID, value: 20 }), "echo", "x"],
  },
  {
    what: "a worker that is lost with a request that is for one alone",
    options: {},
    cause: (stage, client, ask) => loseWorker(stage, client, ask),
    count: ({ dropped }) => dropped.once,
    told: error(502, "The worker was lost with the request"),
    dialects: ["multiplexed"],
    ask: [control("MDPCX1", { command: 1, flags: ONCE, id: ID }), "echo", "x"],
  },
  {
    what: "a request without the name of a service",
    options: {},
    cause: justAsk,
    count: ({ invalid }) => invalid.service,
    told: error(400, "The service name is empty", OTHER_ID),
    dialects: ["multiplexed"],
    ask: [control("MDPCX1", { command: 1, id: OTHER_ID }), "", "x"],
  },
];

for (const { what, options, cause, count, told, ...more } of CASES) {
  for (const dialect of more.dialects ?? ["rfc", "majortomo", "multiplexed"] as const) {
    const isTold = dialect === "multiplexed";
    Deno.test(`${dialect}: a client is told ${isTold ? "of" : "nothing of"} ${what}`, async () => {
      await using stage = new Stage(options);
      const client = stage.peer("c");
      await cause(stage, client, isTold && more.ask || ASK[dialect], dialect);
      await stage.until("it is counted", (stats) => count(stats) === 1);
      if (isTold) await client.expect(...told);
      // The answer to a question is next: nothing else was sent before it.
      await fence(client);
      assert.deepEqual(client.unread, []);
    });
  }
}

Deno.test("every reason that the broker counts for a request without an answer is among these, or is the client's own", async () => {
  await using stage = new Stage();
  const { refused, dropped } = stage.broker.stats();
  // What a client did itself, or that it is told by DISCONNECT, or that it is gone.
  const others = ["duplicate", "clientFull", "cancelled", "clientGone", "stopped"];
  const reasons = [...Object.keys(refused), ...Object.keys(dropped)];
  const source = CASES.map(({ count }) => String(count)).join(" ");
  const missing = reasons.filter((reason) =>
    !others.includes(reason) && !new RegExp(`\\b${reason}\\b`).test(source)
  );
  assert.deepEqual(missing, []);
});
