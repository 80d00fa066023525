// The rules of routing against histories that chance makes up. A failure prints its seed and the
// shortest history that shows it, step by step.

import assert from "node:assert/strict";
import fc from "fast-check";
import { type Id, MULTIPLEXED, RFC } from "../codec.ts";
import type { Request, RequestTerms, Routing, Worker } from "../routing.ts";
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

/** How often a request may be given to workers. */
const MAX_ATTEMPTS = 2;
/** How many requests of a client may wait. */
const MAX_CLIENT_QUEUE = 4;

/** What is known of a request beside routing: what must come of it, and what may not. */
interface Asked {
  readonly client: string;
  /** What its client knows it by; 0 in RFC 18. */
  readonly id: Id;
  readonly once: boolean;
  attempts: number;
  /** How many PARTIALs its workers have sent, and how many its client got. */
  sent: number;
  got: number;
  answered: boolean;
}

/** Plays a history and holds the promises after every step. */
class Model {
  readonly harness = new Harness({
    maxQueue: 6,
    maxTotalQueue: 9,
    maxClientQueue: MAX_CLIENT_QUEUE,
    maxAttempts: MAX_ATTEMPTS,
  });
  readonly #asked = new Map<string, Asked>();
  /** Multiplexed requests that may be answered, as CLIENT/ID. */
  readonly #open = new Set<string>();
  /** Clients that could not be sent to at some time: they may have missed something. */
  readonly #deaf = new Set<string>();
  /** What was last dispatched for the first time, by client and service. */
  readonly #order = new Map<string, number>();
  /** How often others were served while a client waits, by service, waiting and served client. */
  readonly #overtaken = new Map<string, number>();

  constructor() {
    this.harness.onDispatch = (worker, request) => this.#dispatched(worker, request);
  }

  /** Whether the step can be done now: what cannot would only make histories longer. */
  allows(step: Step): boolean {
    const { routing } = this.harness;
    switch (step.do) {
      case "partial":
      case "final":
      case "error": {
        const known = routing.workers.get(WORKERS[step.worker]!);
        if (known === undefined || known.holding === 0) return false;
        return known.dialect === MULTIPLEXED || step.do !== "error";
      }
      case "wrong answer":
        return routing.workers.get(WORKERS[step.worker]!)?.held.first?.client !==
          CLIENTS[step.client];
      default:
        return true;
    }
  }

  #ask(client: string, service: string, terms: RequestTerms): void {
    const { harness } = this, name = `r${this.#asked.size + 1}`;
    const id = terms.id ?? 0, once = terms.once ?? false;
    this.#asked.set(name, { client, id, once, attempts: 0, sent: 0, got: 0, answered: false });
    if (id !== 0) this.#open.add(`${client}/${id}`);
    const body = [name];
    harness.held.add(body);
    const { counters } = harness.routing;
    const { refused: { clientQueueFull }, dispatched } = counters, before = this.#queuedOf(client);
    harness.routing.request(client, service, terms, body, harness.now);
    const refused = counters.refused.clientQueueFull - clientQueueFull;
    if (refused > 0) assert.ok(before >= MAX_CLIENT_QUEUE, `${name} is refused, ${before} wait`);
    else if (counters.dispatched === dispatched && this.#queuedOf(client) > before) {
      assert.ok(before < MAX_CLIENT_QUEUE, `${name} is queued, though ${before} wait`);
    }
  }

  #queuedOf(client: string): number {
    let queued = 0;
    for (const { queues } of this.harness.routing.services.values()) {
      queued += [...queues.get(client)?.requests ?? []].length;
    }
    return queued;
  }

  play(step: Step): void {
    const { harness } = this;
    switch (step.do) {
      case "request":
        this.#ask(CLIENTS[step.client]!, SERVICES[step.service]!, { dialect: RFC });
        break;
      case "ask":
        this.#ask(CLIENTS[step.client]!, SERVICES[step.service]!, {
          ...step,
          dialect: MULTIPLEXED,
        });
        break;
      case "cancel":
        harness.routing.cancel(CLIENTS[step.client]!, step.id, harness.now);
        this.#open.delete(`${CLIENTS[step.client]}/${step.id}`);
        break;
      case "client heartbeat":
        harness.routing.clientHeartbeat(CLIENTS[step.client]!, harness.now);
        break;
      case "client disconnect":
        harness.routing.clientDisconnect(CLIENTS[step.client]!, harness.now);
        this.#close(CLIENTS[step.client]!);
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
        const worker = WORKERS[step.worker]!, { routing, now } = harness;
        const { held, holding, dialect } = routing.workers.get(worker)!;
        const request = [...held][step.which % holding]!;
        const key = dialect === MULTIPLEXED ? request.token : request.client;
        const name = request.body[0]!, asked = this.#asked.get(name)!;
        const number = step.do === "partial" ? ` ${++asked.sent}` : "";
        const body = [`${step.do} ${name}${number}`];
        harness.held.add(body);
        if (step.do === "error") routing.error(worker, MULTIPLEXED, key as Id, 500, body, now);
        else routing.reply(worker, dialect, step.do, key, body, now);
        harness.settle();
        const holds = [...routing.workers.get(worker)?.held ?? []].includes(request);
        assert.ok(step.do === "partial" || !holds, `${worker} still holds ${name} after its end`);
        break;
      }
      case "wrong answer":
        harness.final(WORKERS[step.worker]!, CLIENTS[step.client]!, "wrong");
        break;
      case "heartbeat":
      case "disconnect":
      case "gone":
        harness[step.do](WORKERS[step.worker]!);
        break;
      case "client gone":
        harness.gone(CLIENTS[step.client]!);
        this.#close(CLIENTS[step.client]!);
        break;
      case "block":
      case "unblock": {
        const peer = [...CLIENTS, ...WORKERS][step.peer]!;
        if (step.do === "unblock") harness.unsendable.delete(peer);
        else {
          harness.unsendable.set(peer, step.full ? "full" : "unreachable");
          this.#deaf.add(peer);
        }
        break;
      }
      case "pass":
        harness.pass(step.time);
    }
    harness.settle();
    this.#check();
  }

  /** The client wants no answers to what it has asked. */
  #close(client: string): void {
    for (const open of this.#open) if (open.startsWith(`${client}/`)) this.#open.delete(open);
  }

  #dispatched(worker: Worker<Body>, request: Request<Body>): void {
    const { client, service } = request;
    const name = request.body[0]!, asked = this.#asked.get(name)!;
    assert.ok(worker.holding <= worker.credit, `${worker.identity} gets ${name} over its credit`);
    assert.equal(worker.service, service, `${name} goes to a worker of another service`);
    assert.ok(!asked.answered, `${name} is dispatched after its answer`);
    assert.equal(asked.sent, 0, `${name} is dispatched again after a part of its reply`);
    assert.ok(request.expiresAt > this.harness.now, `${name} is dispatched after its time`);
    const most = asked.once ? 1 : MAX_ATTEMPTS;
    assert.ok(++asked.attempts <= most, `${name} is dispatched ${asked.attempts} times`);
    for (const other of service.queues.keys()) {
      const key = `${service.name} ${other} ${client}`;
      if (asked.attempts > 1) break;
      if (other === client) continue;
      const times = (this.#overtaken.get(key) ?? 0) + 1;
      const lost = this.harness.events.some(({ type }) => type === "worker left");
      assert.ok(times <= 1 || lost, `${client} is served ${times} times while ${other} waits`);
      this.#overtaken.set(key, times);
    }
    this.#waitNoLonger(service.name, client);
    if (asked.attempts > 1) return;
    const key = `${client} ${service.name}`, number = Number(name.slice(1));
    assert.ok(number > (this.#order.get(key) ?? 0), `${name} overtakes one of its client's`);
    this.#order.set(key, number);
  }

  /** The client was served, or wants nothing any more: whoever is served next overtakes nobody. */
  #waitNoLonger(service: string, client: string): void {
    for (const served of CLIENTS) this.#overtaken.delete(`${service} ${client} ${served}`);
  }

  /** What clients got: replies to what they asked, once, whole and in order, or an error. */
  #checkSent(): void {
    for (const line of this.harness.take()) {
      const [, peer, command, rest] = /^(.*?) < (\S+) ?(.*)$/s.exec(line)!;
      if (!CLIENTS.includes(peer!)) continue;
      if (command === "DISCONNECT") this.#close(peer!);
      const [, id = "0", kind, name, number] =
        /^(?:(\d+) (?:500 )?)?(partial|final|error) (r\d+)(?: (\d+))?$/.exec(rest!) ?? [];
      if (name === undefined) {
        // An ERROR of the broker's own.
        if (command === "ERROR") this.#ended(`${peer}/${rest!.split(" ")[0]}`, line);
        continue;
      }
      const asked = this.#asked.get(name)!;
      assert.equal(kind!.toUpperCase(), command, line);
      assert.deepEqual([asked.client, String(asked.id)], [peer, id], `${line} is not who asked`);
      assert.ok(!asked.answered, `${line} comes after the answer`);
      if (kind === "partial") {
        assert.equal(Number(number), ++asked.got, `${line} is not the next part`);
        continue;
      }
      assert.equal(asked.got, asked.sent, `${line} comes without all parts`);
      asked.answered = true;
      if (asked.id !== 0) this.#ended(`${peer}/${id}`, line);
    }
  }

  #ended(request: string, line: string): void {
    assert.ok(this.#open.delete(request), `${line}: nothing is due for ${request}`);
  }

  #check(): void {
    this.#checkSent();
    const { harness } = this, { routing } = harness;
    harness.assertNothingLost();
    // What a lost worker held comes first again, and its client with it.
    const lost = harness.events.splice(0).filter((event) => event.type === "worker left");
    let queued = 0;
    for (const name of SERVICES) {
      for (const client of CLIENTS) {
        if (lost.some(({ worker }) => worker.service.name === name)) {
          this.#waitNoLonger(name, client);
        }
        if (!routing.services.get(name)?.queues.has(client)) this.#waitNoLonger(name, client);
      }
    }
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
    // What is recovered is queued beyond the bound: no more than workers can hold.
    assert.ok(routing.queued <= 9 + WORKERS.length * 4, "the queues outgrow their bound");
    assert.ok(routing.clients.size <= CLIENTS.length && routing.services.size <= SERVICES.length);
    // An error about a request that was dropped is no answer, and not counted as one.
    const answered = [...this.#asked.values()].filter((asked) => asked.answered).length;
    assert.equal(routing.counters.answered, answered, "not all that counts as answered was");
    assert.ok(routing.nextDeadline() > harness.now, "something is due and was not done");
  }

  /** After the history: everybody leaves, and nothing may be left. */
  end(): void {
    const { harness } = this;
    for (const worker of WORKERS) harness.gone(worker);
    harness.pass(2 * OPTIONS.requestExpiry);
    this.#check();
    const unanswered = [...this.#open].filter((open) => !this.#deaf.has(open.split("/")[0]!));
    assert.deepEqual(unanswered, [], "multiplexed requests without an end");
    assert.equal(harness.routing.services.size, 0);
    assert.equal(harness.routing.queued + harness.routing.inFlight, 0);
    assert.equal(harness.routing.nextDeadline(), Infinity);
  }
}

/** A step as fast-check plays and shows it. */
class Command implements fc.Command<Model, Routing<Body>> {
  readonly #step: Step;

  constructor(step: Step) {
    this.#step = step;
  }

  check(model: Readonly<Model>): boolean {
    return model.allows(this.#step);
  }

  run(model: Model): void {
    model.play(this.#step);
  }

  /** E.g. `c2 ask {"service":"a","id":3,"once":true}`. */
  toString(): string {
    const { do: what, ...rest } = this.#step;
    const details: Record<string, unknown> = { ...rest };
    let who = "";
    if ("client" in rest) who = CLIENTS[rest.client]!;
    if ("worker" in rest) who = WORKERS[rest.worker]!;
    if ("peer" in rest) who = [...CLIENTS, ...WORKERS][rest.peer]!;
    if ("service" in rest) details.service = SERVICES[rest.service];
    if ("client" in rest && "worker" in rest) details.client = CLIENTS[rest.client];
    else delete details.client;
    for (const key of ["worker", "peer"]) delete details[key];
    for (const [key, value] of Object.entries(details)) if (value === false) delete details[key];
    return `${who.replace("\0", "0")} ${what} ${JSON.stringify(details)}`.trim();
  }
}

Deno.test("Routing loses nothing, answers once and keeps the order in every history", () => {
  const commands = fc.commands([step.map((step) => new Command(step))], {
    maxCommands: 120,
    size: "max",
  });
  fc.assert(
    fc.property(commands, (history) => {
      const model = new Model();
      fc.modelRun(() => ({ model, real: model.harness.routing }), history);
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
