import assert from "node:assert/strict";
import fc from "fast-check";
import { MAJORTOMO, RFC } from "../codec.ts";
import {
  backoffPause,
  bodyFrames,
  type BrokerOptions,
  checkOptions,
  type ClientOptions,
  DEFAULT_ENDPOINT,
  FRAME_COST,
  resolveBrokerOptions,
  resolveClientOptions,
  resolveDrain,
  resolveRequestOptions,
  resolveWorkerOptions,
  serviceName,
  type WorkerOptions,
} from "../options.ts";
import { MSG_SIZE } from "../zmq/symbols.ts";
import { assertFrames, bytes } from "./raw.ts";

const MIB = 2 ** 20;

const broker = (options: Record<string, unknown> = {}) =>
  resolveBrokerOptions(options as BrokerOptions);
const client = (options: Record<string, unknown> = {}) =>
  resolveClientOptions(options as ClientOptions);
const worker = (options: Record<string, unknown> = {}) =>
  resolveWorkerOptions({ service: "echo", ...options } as WorkerOptions);

Deno.test("`resolveBrokerOptions` fills in the defaults", () => {
  assert.deepEqual(resolveBrokerOptions(), {
    bind: [DEFAULT_ENDPOINT],
    heartbeatInterval: 2_500,
    heartbeatTimeout: 10_000,
    busyWorkerTimeout: 900_000,
    requestExpiry: 60_000,
    maxAttempts: 3,
    maxQueue: 100_000,
    maxQueueBytes: 256 * MIB,
    maxTotalQueue: 1_000_000,
    maxTotalQueueBytes: 1024 * MIB,
    maxClientQueue: Infinity,
    maxClientQueueBytes: Infinity,
    maxMessageSize: 128 * MIB,
    sendHighWaterMark: 100_000,
    transport: "auto",
    drain: 0,
    linger: 500,
  });
});

Deno.test("`resolveClientOptions` fills in the defaults", () => {
  assert.deepEqual(resolveClientOptions(), {
    brokers: [DEFAULT_ENDPOINT],
    dialect: RFC,
    multiplexed: "ask",
    heartbeatInterval: 2_500,
    heartbeatTimeout: 10_000,
    timeout: 30_000,
    deadline: Infinity,
    retries: 0,
    backoff: 100,
    maxBackoff: 5_000,
    maxInFlight: 256,
    linger: 2_000,
    maxMessageSize: 128 * MIB,
  });
});

Deno.test("`resolveWorkerOptions` fills in the defaults", () => {
  assert.deepEqual(resolveWorkerOptions({ service: "echo" }), {
    brokers: [DEFAULT_ENDPOINT],
    service: bytes("echo"),
    dialect: RFC,
    multiplexed: "ask",
    heartbeatInterval: 2_500,
    heartbeatTimeout: 10_000,
    concurrency: 1,
    backoff: 100,
    maxBackoff: 5_000,
    drain: 5_000,
    linger: 2_500,
    maxMessageSize: 128 * MIB,
  });
});

Deno.test("`resolve…Options` takes `undefined` for an option left out", () => {
  const keys = [...Object.keys(broker()), ...Object.keys(client()), ...Object.keys(worker())];
  const nothing = Object.fromEntries([...keys, "broker"].map((key) => [key, undefined]));
  assert.deepEqual(broker(nothing), broker());
  assert.deepEqual(client(nothing), client());
  assert.deepEqual(worker({ ...nothing, service: "echo" }), worker());
});

Deno.test("`resolve…Options` takes what is given", () => {
  assert.deepEqual(broker({ bind: "ipc:///run/mdp" }).bind, ["ipc:///run/mdp"]);
  const several = ["tcp://*:5555", "tcp://[::1]:*", "ipc://@abstract"];
  assert.deepEqual(broker({ bind: several }).bind, several);
  const twice = ["tcp://a:1", "tcp://a:1", "ipc://b"];
  assert.deepEqual(client(twice as never).brokers, ["tcp://a:1", "ipc://b"]);
  assert.equal(client({ broker: twice }).retries, 1);
  assert.deepEqual(broker({ bind: ["tcp://*:*", "tcp://*:*"] }).bind.length, 2);
  const others = ["tcp://eth0:0;host:5555", "tcp://[::1]:1", "ipc:///run/mdp", "inproc://x"];
  assert.deepEqual(client({ broker: others }).brokers, others);
  assert.deepEqual(worker({ broker: others }).brokers, others);
  assert.equal(client({ dialect: "majortomo" }).dialect, MAJORTOMO);
  assert.equal(worker({ dialect: "rfc" }).dialect, RFC);
  assert.equal(client({ timeout: 0 }).timeout, 0);
  assert.equal(client({ timeout: Infinity }).timeout, Infinity);
  assert.equal(client({ timeout: 0.5 }).timeout, 0.5);
  assert.equal(broker({ maxQueue: 0 }).maxQueue, 0);
  assert.equal(broker({ maxMessageSize: Infinity }).maxMessageSize, Infinity);
});

Deno.test("`resolve…Options` makes a list of its own of several endpoints", () => {
  const bind = ["tcp://*:5555"];
  const resolved = broker({ bind });
  bind.push("tcp://*:5556");
  assert.deepEqual(resolved.bind, ["tcp://*:5555"]);
});

Deno.test("`resolveWorkerOptions` makes bytes of its own of a service in bytes", () => {
  const service = bytes("echo");
  const resolved = worker({ service });
  service[0] = 0;
  assert.deepEqual(resolved.service, bytes("echo"));
});

Deno.test("`resolveBrokerOptions` takes a `requestExpiry` of 0 for none", () => {
  assert.equal(broker({ requestExpiry: 0 }).requestExpiry, Infinity);
  assert.equal(broker({ requestExpiry: Infinity }).requestExpiry, Infinity);
});

Deno.test("`resolve…Options` lets defaults follow the options that bound them", () => {
  assert.equal(broker({ heartbeatInterval: 5_000 }).heartbeatTimeout, 20_000);
  assert.equal(worker({ heartbeatInterval: 5_000 }).heartbeatTimeout, 20_000);
  assert.equal(worker({ heartbeatInterval: 40 }).heartbeatTimeout, 10_000);
  assert.equal(client({ backoff: 60_000 }).maxBackoff, 60_000);
  assert.equal(broker({ heartbeatInterval: 2 ** 31 - 1 }).heartbeatTimeout, 2 ** 31 - 1);
});

Deno.test("`resolveClientOptions` retries once for each further broker", () => {
  assert.equal(client({ broker: ["tcp://a:1", "tcp://b:1", "tcp://c:1"] }).retries, 2);
  assert.equal(client({ broker: ["tcp://a:1", "tcp://b:1"], retries: 0 }).retries, 0);
});

type Resolve = (options: Record<string, unknown>) => unknown;
type Wrong = [resolve: Resolve, options: Record<string, unknown>, error: string, message: string];

const INT_MAX = 2 ** 31 - 1;
const WRONG: Wrong[] = [
  [broker, { bind: 5555 }, "TypeError", endpointMessage("bind", "5555")],
  [broker, { bind: "" }, "TypeError", endpointMessage("bind", '""')],
  [broker, { bind: "127.0.0.1:5555" }, "TypeError", endpointMessage("bind", '"127.0.0.1:5555"')],
  [client, { broker: "http://x" }, "TypeError", endpointMessage("broker", '"http://x"')],
  [worker, { broker: "tcp://" }, "TypeError", endpointMessage("broker", '"tcp://"')],
  [client, { broker: null }, "TypeError", endpointMessage("broker", "null")],
  [client, { broker: ["tcp://a:1", 7] }, "TypeError", endpointMessage("broker", "7")],
  [
    client,
    { broker: "tcp://a\0b:1" },
    "TypeError",
    endpointMessage("broker", '"tcp://a\\u0000b:1"'),
  ],
  ...["tcp://a", "tcp://*", "tcp://a:", "tcp://:1", "tcp://*:1x", "tcp://a:-1", "tcp://a: 1"].map((
    bind,
  ): Wrong => [broker, { bind }, "TypeError", endpointMessage("bind", JSON.stringify(bind))]),
  ...["tcp://a", "tcp://*:1", "tcp://a:*", "tcp://a:0", "tcp://a:1x"].map((
    url,
  ): Wrong => [client, { broker: url }, "TypeError", endpointMessage("broker", `"${url}"`)]),
  [broker, { bind: [] }, "TypeError", "bind names at least one endpoint, got none"],
  [client, { broker: [] }, "TypeError", "broker names at least one endpoint, got none"],
  [
    broker,
    { bind: "tcp://*:65536" },
    "RangeError",
    'bind has a port of at most 65535, got "tcp://*:65536"',
  ],
  [
    client,
    { dialect: "mdp" },
    "TypeError",
    'dialect is "auto", "multiplexed", "rfc" or "majortomo", got "mdp"',
  ],
  [
    worker,
    { dialect: 2 },
    "TypeError",
    'dialect is "auto", "multiplexed", "rfc" or "majortomo", got 2',
  ],
  [
    client,
    { dialect: "toString" },
    "TypeError",
    'dialect is "auto", "multiplexed", "rfc" or "majortomo", got "toString"',
  ],
  [client, { timeout: -1 }, "RangeError", "timeout is at least 0 milliseconds, got -1"],
  [client, { timeout: NaN }, "RangeError", "timeout is at least 0 milliseconds, got NaN"],
  [client, { timeout: "5" }, "TypeError", 'timeout is a number of milliseconds, got "5"'],
  [client, { timeout: null }, "TypeError", "timeout is a number of milliseconds, got null"],
  [client, { timeout: 5n }, "TypeError", "timeout is a number of milliseconds, got 5n"],
  [client, { deadline: -5 }, "RangeError", "deadline is at least 0 milliseconds, got -5"],
  [client, { retries: 1.5 }, "RangeError", "retries is a whole number of at least 0, got 1.5"],
  [client, { retries: -1 }, "RangeError", "retries is a whole number of at least 0, got -1"],
  [client, { retries: true }, "TypeError", "retries is a number, got true"],
  [client, { maxInFlight: 0 }, "RangeError", "maxInFlight is a whole number of at least 1, got 0"],
  [
    client,
    { backoff: 200, maxBackoff: 100 },
    "RangeError",
    "maxBackoff must be at least backoff (200), got 100",
  ],
  [
    client,
    { linger: Infinity },
    "RangeError",
    `linger is from 0 to ${INT_MAX} milliseconds, got Infinity`,
  ],
  [
    worker,
    { concurrency: 65_536 },
    "RangeError",
    "concurrency is a whole number from 1 to 65535, got 65536",
  ],
  [
    worker,
    { heartbeatInterval: 0 },
    "RangeError",
    `heartbeatInterval is from 1 to ${INT_MAX} milliseconds, got 0`,
  ],
  [
    broker,
    { heartbeatInterval: 100, heartbeatTimeout: 50 },
    "RangeError",
    "heartbeatTimeout must be at least heartbeatInterval (100), got 50",
  ],
  [broker, { maxAttempts: 0 }, "RangeError", "maxAttempts is a whole number of at least 1, got 0"],
  [broker, { maxQueue: -1 }, "RangeError", "maxQueue is a whole number of at least 0, got -1"],
  [
    broker,
    { maxQueueBytes: 2 ** 53 },
    "RangeError",
    "maxQueueBytes is a whole number of at least 0, got 9007199254740992",
  ],
  [
    broker,
    { sendHighWaterMark: Infinity },
    "RangeError",
    `sendHighWaterMark is a whole number from 1 to ${INT_MAX}, got Infinity`,
  ],
  [
    broker,
    { maxMessageSize: 0 },
    "RangeError",
    "maxMessageSize is a whole number of at least 1, got 0",
  ],
  [worker, { service: "" }, "TypeError", "A service name has at least one byte, got none"],
  [
    worker,
    { service: "mmi.mine" },
    "RangeError",
    'service is one that a worker can serve, but those that begin with "mmi." are the broker\'s ' +
    'own, got "mmi.mine"',
  ],
  [worker, { service: 5 }, "TypeError", "A service name is a string or a Uint8Array, got 5"],
  [
    worker,
    { service: undefined },
    "TypeError",
    "A service name is a string or a Uint8Array, got undefined",
  ],
  [
    client,
    { brokers: ["tcp://a:1"] },
    "TypeError",
    'A client\'s options have no "brokers", only broker, dialect, timeout, deadline, retries, ' +
    "backoff, maxBackoff, maxInFlight, heartbeatInterval, heartbeatTimeout, linger, " +
    "maxMessageSize",
  ],
  [
    worker,
    { concurency: 4 },
    "TypeError",
    'A worker\'s options have no "concurency", only broker, service, dialect, heartbeatInterval, ' +
    "heartbeatTimeout, concurrency, backoff, maxBackoff, drain, linger, maxMessageSize, " +
    "onRegistered",
  ],
  [
    broker,
    { maxQue: 5 },
    "TypeError",
    'A broker\'s options have no "maxQue", only bind, heartbeatInterval, heartbeatTimeout, ' +
    "busyWorkerTimeout, requestExpiry, maxAttempts, maxQueue, maxQueueBytes, maxTotalQueue, " +
    "maxTotalQueueBytes, maxClientQueue, maxClientQueueBytes, maxMessageSize, " +
    "sendHighWaterMark, drain, linger, transport",
  ],
];

function endpointMessage(name: string, got: string): string {
  return `${name} is an endpoint such as "tcp://127.0.0.1:5555" or "ipc:///run/mdp", got ${got}`;
}

for (const [resolve, options, name, message] of WRONG) {
  const whose = resolve === broker ? "Broker" : resolve === client ? "Client" : "Worker";
  const given = Deno.inspect(options, { breakLength: Infinity });
  Deno.test(`\`resolve${whose}Options\` throws ${name} for ${given}`, () => {
    assert.throws(() => resolve(options), { name, message });
  });
}

Deno.test("`checkOptions` wants names that there are, but not of what is inherited", () => {
  const names = { signal: true } as const;
  const check = (options: unknown) => () => checkOptions("They", options as object, names);
  for (const fine of [{}, { signal: 1 }, { other: undefined }, new AbortController()]) {
    check(fine)();
  }
  check(Object.create({ other: 1 }))();
  check(Object.assign(Object.create(null), { signal: 1 }))();
  assert.throws(check({ singal: "x" }), {
    name: "TypeError",
    message: 'They have no "singal", only signal',
  });
  for (const wrong of [null, 5, "signal", ["signal"], AbortSignal.abort(), new Map()]) {
    assert.throws(check(wrong), { name: "TypeError", message: /^They are an object, got / });
  }
});

Deno.test("`resolveRequestOptions` takes the client's where the call says nothing", () => {
  const defaults = { timeout: 1, deadline: 2, retries: 3 };
  assert.deepEqual(resolveRequestOptions({}, defaults), defaults);
  assert.deepEqual(resolveRequestOptions({ timeout: 9 }, defaults), { ...defaults, timeout: 9 });
});

Deno.test("`resolveDrain` checks what a stop is told", () => {
  assert.equal(resolveDrain(undefined, 7), 7);
  assert.equal(resolveDrain(0, 7), 0);
  assert.throws(() => resolveDrain(-1, 7), {
    name: "RangeError",
    message: "drain is at least 0 milliseconds, got -1",
  });
});

Deno.test("`serviceName` takes text as UTF-8 and bytes as they are", () => {
  assert.deepEqual(serviceName("écho"), bytes([0xc3, 0xa9, 0x63, 0x68, 0x6f]));
  const name = bytes([0, 255]);
  assert.equal(serviceName(name), name);
  assert.throws(() => serviceName(new Uint8Array(0)), TypeError);
});

Deno.test("`serviceName` takes as many bytes as a broker does, and refuses more", () => {
  const longest = "é".repeat(32_767) + "x";
  assert.equal(serviceName(longest).length, 65_535);
  assert.throws(() => serviceName(longest + "y"), {
    name: "RangeError",
    message: /^A service name has at most 65535 bytes, got 65536: "éé+…$/,
  });
  assert.throws(() => serviceName(new Uint8Array(65_536)), RangeError);
});

Deno.test("`bodyFrames` makes frames of text, bytes and lists of both", () => {
  assertFrames(bodyFrames("hello"), ["hello"]);
  assertFrames(bodyFrames(bytes([1, 2])), [[1, 2]]);
  assertFrames(bodyFrames(["é", bytes([0]), ""]), [[0xc3, 0xa9], [0], ""]);
  assertFrames(bodyFrames(new Uint8Array([1, 2, 3]).subarray(1, 2)), [[2]]);
});

Deno.test("`bodyFrames` gives one empty frame when there is nothing, since RFC 18 wants one", () => {
  for (const nothing of [undefined, "", new Uint8Array(0), []]) {
    assertFrames(bodyFrames(nothing), [""]);
  }
});

Deno.test("`bodyFrames` throws TypeError for what is no frame", () => {
  for (
    const [body, got] of [[5, "5"], [null, "null"], [["x", undefined], "undefined"], [[[]], "[]"], [
      new Array(2),
      "undefined",
    ]]
  ) {
    assert.throws(() => bodyFrames(body as string), {
      name: "TypeError",
      message: `A body is a string, a Uint8Array or a list of those, got ${got}`,
    });
  }
});

Deno.test("`bodyFrames` counts as a broker does", () => {
  assert.equal(FRAME_COST, MSG_SIZE);
  const headers = new Uint8Array(10);
  for (
    const [body, size] of [["x", 11], [["x", "yz"], 13], [new Array(18).fill("x"), 156]] as const
  ) {
    assert.doesNotThrow(() => bodyFrames(body, size, headers));
    assert.throws(() => bodyFrames(body, size - 1, headers), {
      name: "RangeError",
      message: `The body counts for ${size} bytes, and at most ${
        size - 1
      } are sent (maxMessageSize)`,
    });
  }
});

Deno.test("`bodyFrames` throws TypeError for bytes that were transferred", () => {
  const frame = new Uint8Array([1, 2]);
  structuredClone(frame.buffer, { transfer: [frame.buffer] });
  for (const body of [frame, ["x", frame]]) {
    assert.throws(() => bodyFrames(body), {
      name: "TypeError",
      message: "A frame's bytes were transferred, so that they cannot be sent",
    });
  }
});

Deno.test("`backoffPause` doubles up to the most, less a random half at most", () => {
  const pauses = (random: number) =>
    [0, 1, 2, 3, 4, 100].map((attempt) => backoffPause(attempt, 100, 1_000, random));
  assert.deepEqual(pauses(0), [100, 200, 400, 800, 1_000, 1_000]);
  assert.deepEqual(pauses(0.5), [75, 150, 300, 600, 750, 750]);
  assert.equal(backoffPause(5, 0, 0, 0.9), 0);
  fc.assert(
    fc.property(
      fc.nat(1e6),
      fc.nat(1e6),
      fc.nat(1e6),
      fc.double({ min: 0, max: 1, noNaN: true, maxExcluded: true }),
      (attempt, first, more, random) => {
        const pause = backoffPause(attempt, first, first + more, random);
        assert.ok(pause >= first / 2 && pause <= first + more, `${pause}`);
      },
    ),
  );
});
