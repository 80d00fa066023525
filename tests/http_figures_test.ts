import assert from "node:assert/strict";
import { Broker, type BrokerEvent, type Histogram, type ServiceStats } from "../broker.ts";
import { Exposition } from "../http/exposition.ts";
import { quantile, Rates } from "../http/rates.ts";
import { RecentEvents } from "../http/recent_events.ts";
import { stateOf } from "../http/service_state.ts";
import { ServiceTotals } from "../http/service_totals.ts";
import { eventually } from "./http_stage.ts";
import { RawSocket } from "./raw.ts";

const STATS = new Broker().stats();

function histogram(...counts: number[]): Histogram {
  const count = counts.reduce((sum, each) => sum + each, 0);
  return { bounds: [0.001, 0.002, 0.004], counts, sum: count / 1_000, count };
}

function service(name: string, figures: Partial<ServiceStats> = {}): ServiceStats {
  return {
    name,
    workers: 1,
    waiting: 1,
    credit: 1,
    inFlight: 0,
    queued: 0,
    queuedBytes: 0,
    accepted: 0,
    answered: 0,
    errors: 0,
    expired: 0,
    dropped: 0,
    refused: 0,
    recovered: 0,
    partials: 0,
    workersLost: 0,
    wait: histogram(0, 0, 0, 0),
    serviceTime: histogram(0, 0, 0, 0),
    ...figures,
  };
}

Deno.test("`quantile` is as near as the bounds tell", () => {
  assert.equal(quantile(histogram(0, 0, 0, 0), 0.5), null);
  assert.equal(quantile(histogram(10, 0, 0, 0), 0.5), 0.0005);
  assert.equal(quantile(histogram(0, 10, 0, 0), 1), 0.002);
  assert.equal(quantile(histogram(5, 0, 5, 0), 0.75), 0.003);
  assert.equal(quantile(histogram(0, 0, 0, 3), 0.5), 0.004);
});

Deno.test("`Rates` tells what has happened since the last look", () => {
  const rates = new Rates(0);
  rates.look(1_000, STATS, [service("echo")]);
  const { sample, services } = rates.look(
    3_000,
    { ...STATS, accepted: 9, answered: 8, errors: 2 },
    [
      service("echo", { accepted: 9, answered: 8, errors: 2, serviceTime: histogram(0, 8, 0, 0) }),
      service("new", { accepted: 1, expired: 1 }),
    ],
  );
  assert.partialDeepStrictEqual(sample, { answered: 3, failed: 1, p50: 1.5, wait99: null });
  assert.deepEqual(
    services.map(({ name, answered, failed, p50 }) => [name, answered, failed, p50]),
    [["echo", 3, 1, 1.5], ["new", 0, 0.5, null]],
  );
});

Deno.test("`Rates` tells a service's state and latency of ten seconds, its rates of the last look", () => {
  const rates = new Rates(0);
  const look = (now: number, figures: Partial<ServiceStats>) =>
    rates.look(now, STATS, [service("slow", { accepted: 9, ...figures })]).services[0]!;
  look(1_000, {});
  const bad = { expired: 2, workersLost: 3, serviceTime: histogram(0, 8, 0, 0) };
  assert.partialDeepStrictEqual(look(2_000, bad), {
    state: "expiring, losing workers",
    failed: 2,
    p50: 1.5,
    lost: 3,
  });
  assert.partialDeepStrictEqual(look(11_000, bad), {
    state: "expiring, losing workers",
    failed: 0,
    p50: 1.5,
  });
  assert.partialDeepStrictEqual(look(12_000, bad), { state: "ok", rank: 0, p50: null, lost: 3 });
});

Deno.test("`Rates` tells how many workers were lost since the last look", () => {
  const rates = new Rates(0);
  const { workers } = STATS;
  const lost = (gone: number) => {
    const left = { ...workers.left, gone, disconnect: 7 };
    return rates.look(1_000, { ...STATS, workers: { ...workers, left } }, []).sample.lost;
  };
  assert.deepEqual([lost(2), lost(2), lost(5)], [2, 0, 3]);
});

Deno.test("`Rates` tells nothing of what was before it began to look", () => {
  const { workers } = STATS;
  const stats = {
    ...STATS,
    accepted: 9,
    answered: 9,
    errors: 9,
    workers: { ...workers, left: { ...workers.left, gone: 3 } },
  };
  const services = [service("old", { accepted: 9, answered: 9, errors: 9, workersLost: 3 })];
  const { sample, services: [old] } = new Rates(0, stats, services).look(1_000, stats, services);
  assert.partialDeepStrictEqual(sample, { answered: 0, failed: 0, lost: 0 });
  assert.partialDeepStrictEqual(old, { state: "ok", failed: 0, lost: 3 });
});

Deno.test("`stateOf` names all that is wrong, and ranks by the worst of it", () => {
  const state = (figures: Partial<ServiceStats>) => stateOf(service("echo", figures));
  const ranked = [
    state({}),
    state({ workers: 2, waiting: 0, queued: 1 }),
    state({ errors: 1 }),
    state({ workersLost: 1 }),
    state({ workersLost: 1, errors: 5 }),
    state({ dropped: 1 }),
    state({ expired: 1, dropped: 1 }),
    state({ refused: 1, workers: 1, waiting: 0, queued: 5 }),
    state({ workers: 0, waiting: 0, queued: 1 }),
  ];
  assert.deepEqual(ranked.map(({ words }) => words), [
    "ok",
    "all busy",
    "failing",
    "losing workers",
    "losing workers, failing",
    "dropping",
    "expiring, dropping",
    "refusing, all busy",
    "no workers",
  ]);
  const ranks = ranked.map(({ rank }) => rank);
  assert.deepEqual(ranks, ranks.toSorted((a, b) => a - b));
  // None of its workers has room, but nobody waits.
  assert.equal(state({ waiting: 0 }).words, "ok");
});

Deno.test("`Rates` begins anew with a service that was forgotten and has come again", () => {
  const rates = new Rates(0);
  rates.look(1_000, STATS, [service("echo", { accepted: 100, answered: 100 })]);
  const { services } = rates.look(2_000, STATS, [service("echo", { accepted: 2, answered: 2 })]);
  assert.equal(services[0]!.answered, 2);
});

/** The counts of each series that `divide` gives. */
function accepted(services: readonly ServiceStats[]): Record<string, number> {
  return Object.fromEntries(services.map(({ name, accepted }) => [name, accepted]));
}

Deno.test("`ServiceTotals` adds up to what the broker counted, whoever is forgotten", () => {
  const totals = new ServiceTotals();
  const divide = (all: number, ...services: ServiceStats[]) =>
    accepted(totals.divide({ ...STATS, accepted: all }, services));
  assert.deepEqual(divide(0), { other: 0 });
  assert.deepEqual(
    divide(12, service("a", { accepted: 7 }), service("b", { accepted: 5 })),
    { a: 7, b: 5, other: 0 },
  );
  // Two more for a before it was forgotten.
  assert.deepEqual(divide(14, service("b", { accepted: 5 })), { b: 5, other: 2 });
  // It has come again, and counts from one.
  const again = divide(15, service("b", { accepted: 5 }), service("a", { accepted: 1 }));
  assert.deepEqual(again, { a: 1, b: 5, other: 2 });
  assert.deepEqual(divide(15), { other: 2 });
});

/** What the counters of services show, by the names of their series without the service's. */
const SHOWN: Record<string, (service: ServiceStats) => number> = {
  answered: ({ answered, errors }) => answered - errors,
  error: ({ errors }) => errors,
  expired: ({ expired }) => expired,
  accepted: ({ accepted }) => accepted,
};

/** How much all series of each counter grow together, as Prometheus reckons it, from scrape to scrape. */
class Increases {
  readonly sums: Record<string, number> = {};
  #last = new Map<string, ServiceStats>();

  take(services: readonly ServiceStats[]): void {
    for (const service of services) {
      for (const [counter, of] of Object.entries(SHOWN)) {
        const last = this.#last.get(service.name), now = of(service);
        const before = last === undefined ? 0 : of(last);
        // What has shrunk has begun with 0 again.
        const grown = now < before ? now : now - before;
        this.sums[counter] = (this.sums[counter] ?? 0) + grown;
        if (service.name === "other") assert.ok(now >= before, `${counter} of others has shrunk`);
      }
    }
    this.#last = new Map(services.map((service) => [service.name, service]));
  }
}

Deno.test("`ServiceTotals` shows increases that add up, whatever comes back between two looks", () => {
  const totals = new ServiceTotals(), increases = new Increases();
  const life = { accepted: 0, answered: 0, errors: 0, expired: 0 };
  const all = { ...life };
  let now = { ...life };
  const count = (more: Partial<typeof life>) => {
    for (const [name, by] of Object.entries(more) as [keyof typeof life, number][]) {
      now[name] += by;
      all[name] += by;
    }
  };
  const begin = () => now = { ...life };
  const look = (...others: ServiceStats[]) =>
    increases.take(totals.divide({ ...STATS, ...all }, [service("a", now), ...others]));
  count({ accepted: 5, answered: 5, errors: 5 });
  look();
  count({ accepted: 2, answered: 2, errors: 1 });
  begin();
  // More than before of some, less of others.
  count({ accepted: 8, answered: 8, errors: 0 });
  look();
  begin();
  count({ accepted: 20, answered: 12, errors: 12, expired: 8 });
  look();
  begin();
  count({ accepted: 1, answered: 1 });
  increases.take(totals.divide({ ...STATS, ...all }, []));
  begin();
  count({ accepted: 30, expired: 30 });
  look();
  const { answered, errors, ...same } = all;
  assert.deepEqual(increases.sums, { ...same, answered: answered - errors, error: errors });
});

Deno.test("`ServiceTotals` has others not shrink when one of them is told apart", () => {
  const totals = new ServiceTotals(), increases = new Increases();
  const many = Array.from({ length: 1_002 }, (_, i) => service(`s${i}`, { accepted: 7 }));
  const look = (services: readonly ServiceStats[]) => {
    const divided = totals.divide({ ...STATS, accepted: 7 * 1_002 }, services);
    increases.take(divided);
    return accepted(divided);
  };
  assert.equal(look(many).other, 14);
  const { other, s1000 } = look(many.slice(1));
  assert.deepEqual([other, s1000], [14, 7]);
});

Deno.test("`ServiceTotals` tells 1000 services apart, which go on being told apart", () => {
  const totals = new ServiceTotals();
  const many = Array.from(
    { length: 1_001 },
    (_, i) => service(`s${i}`, { accepted: 1, queued: 2 }),
  );
  const divide = (services: readonly ServiceStats[]) =>
    totals.divide({ ...STATS, accepted: 1_001 }, services);
  const first = divide(many);
  assert.equal(first.length, 1_001);
  assert.partialDeepStrictEqual(first.at(-1), {
    name: "other",
    accepted: 1,
    queued: 2,
    workers: 1,
  });
  const reversed = divide(many.toReversed());
  assert.deepEqual(accepted(reversed), accepted(first));
});

Deno.test("`ServiceTotals` has names in one series only, of bounded length", () => {
  const totals = new ServiceTotals();
  const names = ["other", "same", "same", "x".repeat(201), "x".repeat(200)];
  const services = names.map((name) => service(name, { accepted: 1 }));
  assert.deepEqual(
    accepted(totals.divide({ ...STATS, accepted: 5 }, services)),
    { same: 1, ["x".repeat(200)]: 1, other: 3 },
  );
});

Deno.test("`RecentEvents` tells many of the same at once as one", async () => {
  await using broker = new Broker({ bind: "tcp://127.0.0.1:*", maxQueue: 0 });
  const [endpoint] = broker.bind();
  using recent = new RecentEvents(broker);
  await using client = RawSocket.dealer(endpoint!);
  for (let i = 0; i < 100; i++) client.send("MDPC02", [1], "a", "hello");
  client.send("MDPC02", [1], "b", "hello");
  await eventually(() => broker.stats().refused.queueFull === 101, "all are refused");
  const shown = recent.all.map((
    { type, service, reason, count },
  ) => [type, service, reason, count]);
  assert.deepEqual(shown, [
    ["request refused", "a", "queueFull", 100],
    ["request refused", "b", "queueFull", 1],
  ]);
  assert.equal(recent.takeChanged().length, 2);
  assert.equal(recent.takeChanged().length, 0);

  for (let i = 0; i < 300; i++) client.send("MDPC02", [1], `s${i}`, "hello");
  await eventually(() => broker.stats().refused.queueFull === 401, "all are refused");
  assert.equal(recent.all.length, 200);
  assert.equal(recent.all.at(-1)!.service, "s299");
});

Deno.test("`Exposition` lets others have their turns, and is the same as if written at once", async () => {
  const out = new Exposition();
  const names = Array.from({ length: 2_500 }, (_, i) => `s${i}`);
  out.gauge("before", "One", 1);
  out.counter("requests", "Requests", names.map((service, i) => [{ service }, i]));
  out.histogram(
    "time_seconds",
    "Time",
    names.slice(0, 500).map((service) => [{ service }, histogram(1, 2, 3, 4)]),
  );
  let turns = 0;
  const turn = () => {
    turns++;
    immediate = setImmediate(turn);
  };
  let immediate = setImmediate(turn);
  const lines = (await out.text()).split("\n");
  clearImmediate(immediate);
  assert.deepEqual(lines.slice(0, 3), ["# HELP before One", "# TYPE before gauge", "before 1"]);
  assert.deepEqual(lines.slice(3, 5), [
    "# HELP requests_total Requests",
    "# TYPE requests_total counter",
  ]);
  assert.deepEqual(
    lines.slice(5, 2_505),
    names.map((service, i) => `requests_total{service="${service}"} ${i}`),
  );
  assert.equal(lines.filter((line) => line.startsWith("#")).length, 6);
  assert.equal(lines.filter((line) => line.startsWith("time_seconds_bucket{")).length, 500 * 4);
  assert.equal(lines.filter((line) => line === "").length, 1, "the end of the last line");
  // Three parts of the requests, and three of the times.
  assert.ok(turns >= 6, `others had ${turns} turns`);
});

Deno.test("`RecentEvents` tells which client an event was about most often", () => {
  let tell: ((event: BrokerEvent) => void) | undefined;
  const broker = {
    on(listener: typeof tell) {
      tell = listener;
      return { [Symbol.dispose]() {} };
    },
  } as unknown as Broker;
  using recent = new RecentEvents(broker);
  const refused = (client: string) =>
    tell!({ type: "request refused", time: 1, client, service: "echo", reason: "queueFull" });
  refused("victim");
  assert.partialDeepStrictEqual(recent.all, [{ client: "victim", ofClient: 1, count: 1 }]);
  for (let i = 0; i < 9; i++) refused("flood");
  refused("victim");
  assert.partialDeepStrictEqual(recent.all, [{ client: "flood", ofClient: 9, count: 11 }]);
  // Not all that there are are remembered, but those that came first go on being counted.
  for (let i = 0; i < 1_000; i++) refused(`other ${i}`);
  refused("flood");
  assert.partialDeepStrictEqual(recent.all, [{ client: "flood", ofClient: 10, count: 1_012 }]);
});
