import assert from "node:assert/strict";
import fc from "fast-check";
import { type Id, MULTIPLEXED } from "../codec.ts";
import type { Request, Worker } from "../routing.ts";
import { type Body, Harness, OPTIONS } from "./routing_shell.ts";

/** One step of a history. Numbers pick among the peers there are. */
type Step =
  | { do: "request"; client: number; service: number }
  | {
    do: "ask";
    client: number;
    service: number;
    id: number;
    timeToLive: number;
    noWait: boolean;
    once: boolean;
  }
  | { do: "cancel"; client: number; id: number }
  | { do: "client heartbeat" | "client disconnect"; client: number }
  | { do: "ready"; worker: number; service: number }
  | { do: "offer"; worker: number; service: number; credit: number }
  | { do: "credit"; worker: number; credit: number }
  | { do: "partial" | "final" | "error"; worker: number; which: number }
  | { do: "heartbeat" | "disconnect" | "gone" | "invalid"; worker: number }
  | { do: "wrong answer"; worker: number; client: number }
  | { do: "client gone"; client: number }
  | { do: "block" | "unblock"; peer: number; full: boolean }
  | { do: "pass"; time: number };

const CLIENTS = ["\0c00", "\0c01", "c2", "c3"];
const WORKERS = ["\0w00", "\0w01", "w2", "w3", "w4"];
const SERVICES = ["a", "b"];

const client = fc.nat(CLIENTS.length - 1), worker = fc.nat(WORKERS.length - 1);
const service = fc.nat(SERVICES.length - 1);
const peer = fc.nat(CLIENTS.length + WORKERS.length - 1);
const act = <D extends Step["do"]>(name: D) => fc.constant(name);
const step: fc.Arbitrary<Step> = fc.oneof(
  { weight: 6, arbitrary: fc.record({ do: act("request"), client, service }) },
  {
    weight: 8,
    arbitrary: fc.record({
      do: act("ask"),
      client,
      service,
      id: fc.integer({ min: 1, max: 6 }),
      timeToLive: fc.constantFrom(0, 0, 0, 50, 700),
      noWait: fc.boolean(),
      once: fc.boolean(),
    }),
  },
  {
    weight: 2,
    arbitrary: fc.record({ do: act("cancel"), client, id: fc.integer({ min: 1, max: 6 }) }),
  },
  {
    weight: 1,
    arbitrary: fc.record({
      do: fc.constantFrom("client heartbeat" as const, "client disconnect" as const),
      client,
    }),
  },
  { weight: 4, arbitrary: fc.record({ do: act("ready"), worker, service }) },
  {
    weight: 4,
    arbitrary: fc.record({
      do: act("offer"),
      worker,
      service,
      credit: fc.integer({ min: 1, max: 3 }),
    }),
  },
  {
    weight: 2,
    arbitrary: fc.record({ do: act("credit"), worker, credit: fc.integer({ min: 0, max: 4 }) }),
  },
  { weight: 9, arbitrary: fc.record({ do: act("final"), worker, which: fc.nat(3) }) },
  {
    weight: 2,
    arbitrary: fc.record({
      do: fc.constantFrom("partial" as const, "error" as const),
      worker,
      which: fc.nat(3),
    }),
  },
  {
    weight: 2,
    arbitrary: fc.record({
      do: fc.constantFrom(
        "heartbeat" as const,
        "disconnect" as const,
        "gone" as const,
        "invalid" as const,
      ),
      worker,
    }),
  },
  { weight: 1, arbitrary: fc.record({ do: act("wrong answer"), worker, client }) },
  { weight: 1, arbitrary: fc.record({ do: act("client gone"), client }) },
  {
    weight: 1,
    arbitrary: fc.record({
      do: fc.constantFrom("block" as const, "unblock" as const),
      peer,
      full: fc.boolean(),
    }),
  },
  {
    weight: 3,
    arbitrary: fc.record({ do: act("pass"), time: fc.constantFrom(1, 60, 110, 450, 1_100, 9_500) }),
  },
);

/** Plays a history and holds the promises after every step. */
class Model {
  readonly harness = new Harness({ maxQueue: 6, maxTotalQueue: 9, maxAttempts: 2 });
  #serial = 0;
  /** Requests never to be dispatched a second time. */
  readonly #once = new Set<string>();
  /** Dispatches by request. */
  readonly #attempts = new Map<string, number>();
  readonly #finals = new Set<string>();
  /** What was last dispatched for the first time, by client and service. */
  readonly #order = new Map<string, number>();

  constructor() {
    this.harness.onDispatch = (worker, request) => this.#dispatched(worker, request);
  }

  play(step: Step): void {
    const { harness } = this;
    const before = harness.routing.counters.answered;
    switch (step.do) {
      case "request":
        harness.request(CLIENTS[step.client]!, SERVICES[step.service]!, `r${++this.#serial}`);
        break;
      case "ask": {
        const client = CLIENTS[step.client]!, body = [`r${++this.#serial}`];
        if (step.once) this.#once.add(body[0]!);
        harness.held.add(body);
        const terms = { ...step, dialect: MULTIPLEXED };
        harness.routing.request(client, SERVICES[step.service]!, terms, body, harness.now);
        break;
      }
      case "cancel":
        harness.routing.cancel(CLIENTS[step.client]!, step.id, harness.now);
        break;
      case "client heartbeat":
        harness.routing.clientHeartbeat(CLIENTS[step.client]!, harness.now);
        break;
      case "client disconnect":
        harness.routing.clientDisconnect(CLIENTS[step.client]!, harness.now);
        break;
      case "offer":
        harness.offer(WORKERS[step.worker]!, SERVICES[step.service]!, step.credit);
        break;
      case "credit":
        harness.routing.credit(WORKERS[step.worker]!, MULTIPLEXED, step.credit, harness.now);
        break;
      case "invalid":
        harness.routing.invalid(WORKERS[step.worker]!, {}, "why", harness.now);
        break;
      case "ready":
        harness.ready(WORKERS[step.worker]!, SERVICES[step.service]!);
        break;
      case "partial":
      case "final":
      case "error": {
        const worker = WORKERS[step.worker]!;
        const known = harness.routing.workers.get(worker);
        const held = [...known?.held ?? []];
        if (known === undefined || held.length === 0) return;
        const request = held[step.which % held.length]!;
        const key = known.dialect === MULTIPLEXED ? request.token : request.client;
        if (known.dialect !== MULTIPLEXED && step.do === "error") return;
        const id = request.body[0]!;
        const delivered = harness.unsendable.get(request.client) === undefined && !request.over;
        const told = step.do !== "error" || request.dialect === MULTIPLEXED;
        const body = [`${step.do} ${id}`], { routing, now } = harness;
        if (step.do === "error") routing.error(worker, MULTIPLEXED, key as Id, 500, body, now);
        else routing.reply(worker, known.dialect, step.do, key, body, now);
        harness.settle();
        if (step.do === "partial") break;
        assert.equal(harness.routing.counters.answered, before + (delivered && told ? 1 : 0));
        assert.ok(!delivered || !this.#finals.has(id), `${id} is answered twice`);
        if (delivered) this.#finals.add(id);
        break;
      }
      case "wrong answer": {
        const worker = harness.routing.workers.get(WORKERS[step.worker]!);
        if (worker?.held.first?.client === CLIENTS[step.client]) return;
        harness.final(WORKERS[step.worker]!, CLIENTS[step.client]!, "wrong");
        break;
      }
      case "heartbeat":
      case "disconnect":
      case "gone":
        harness[step.do](WORKERS[step.worker]!);
        break;
      case "client gone":
        harness.gone(CLIENTS[step.client]!);
        break;
      case "block":
      case "unblock": {
        const peer = [...CLIENTS, ...WORKERS][step.peer]!;
        if (step.do === "unblock") harness.unsendable.delete(peer);
        else harness.unsendable.set(peer, step.full ? "full" : "unreachable");
        break;
      }
      case "pass":
        harness.pass(step.time);
    }
    this.#check();
  }

  #dispatched(worker: Worker<Body>, request: Request<Body>): void {
    const id = request.body[0]!;
    assert.ok(worker.holding <= worker.credit, `${worker.identity} gets ${id} over its credit`);
    assert.equal(worker.service, request.service, `${id} goes to a worker of another service`);
    assert.ok(!this.#finals.has(id), `${id} is dispatched after its answer`);
    const attempts = (this.#attempts.get(id) ?? 0) + 1;
    this.#attempts.set(id, attempts);
    const most = this.#once.has(id) ? 1 : 2;
    assert.ok(attempts <= most, `${id} is dispatched ${attempts} times`);
    if (attempts > 1) return;
    const key = `${request.client} ${request.service.name}`, number = Number(id.slice(1));
    assert.ok(number > (this.#order.get(key) ?? 0), `${id} overtakes one of its client's`);
    this.#order.set(key, number);
  }

  #check(): void {
    const { harness } = this, { routing } = harness;
    harness.assertNothingLost();
    let queued = 0;
    for (const [name, service] of routing.services) {
      assert.ok(service.workers > 0 || service.queued > 0, `service ${name} is not forgotten`);
      assert.ok(
        service.waiting.first === undefined || service.turns.first === undefined,
        `service ${name} has requests queued and a worker that waits`,
      );
      queued += service.queued;
    }
    assert.equal(queued, routing.queued);
    let held = 0;
    for (const worker of routing.workers.values()) {
      for (const request of worker.held) if (!request.over) held++;
    }
    assert.equal(held, routing.inFlight);
    for (const { requests } of routing.clients.values()) {
      assert.ok(requests.size > 0, "a client without requests is not forgotten");
      for (const request of requests.values()) assert.ok(!request.over);
    }
    assert.ok(routing.queued <= 9 + WORKERS.length * 4, "the queues outgrow their bound");
    assert.ok(routing.nextDeadline() > harness.now, "something is due and was not done");
  }

  /** After the history: everybody leaves, and nothing may be left. */
  end(): void {
    const { harness } = this;
    for (const worker of WORKERS) harness.gone(worker);
    harness.pass(2 * OPTIONS.requestExpiry);
    this.#check();
    assert.equal(harness.routing.services.size, 0);
    assert.equal(harness.routing.queued + harness.routing.inFlight, 0);
    assert.equal(harness.routing.nextDeadline(), Infinity);
  }
}

Deno.test("Routing loses nothing, answers once and keeps the order in every history", () => {
  fc.assert(
    fc.property(fc.array(step, { maxLength: 120, size: "max" }), (history) => {
      const model = new Model();
      for (const step of history) model.play(step);
      model.end();
    }),
    { numRuns: 2_000 },
  );
});

Deno.test("Routing serves clients evenly whatever they queue", () => {
  const backlog = fc.array(fc.nat(CLIENTS.length - 1), {
    minLength: 1,
    maxLength: 60,
    size: "max",
  });
  fc.assert(
    fc.property(backlog, (clients) => {
      const harness = new Harness();
      const left = new Map<string, number>();
      for (const [i, n] of clients.entries()) {
        harness.request(CLIENTS[n]!, "a", `r${i}`);
        left.set(CLIENTS[n]!, (left.get(CLIENTS[n]!) ?? 0) + 1);
      }
      // In each round every client that still has requests is served exactly once.
      let round = new Set<string>();
      harness.onDispatch = (_, { client }) => {
        if (round.has(client)) {
          for (const [other, count] of left) {
            assert.ok(count === 0 || round.has(other), `${other} waits while ${client} is served`);
          }
          round = new Set();
        }
        round.add(client);
        left.set(client, left.get(client)! - 1);
      };
      for (let n = 0; n < clients.length; n++) harness.ready(`w${n}`, "a");
      assert.equal(harness.routing.queued, 0);
    }),
  );
});
