import assert from "node:assert/strict";
import { Complaints } from "../complaints.ts";

/** How many complaints of a kind are let through in a second. */
const BURST = 5;

/** Complains so often at a time, and tells what came of each. */
function complain(complaints: Complaints, kind: string, now: number, times: number) {
  return Array.from({ length: times }, () => complaints.admit(kind, now));
}

Deno.test("`Complaints.admit` lets the first few through, and the rest not", () => {
  const complaints = new Complaints();
  const told = complain(complaints, "invalid header", 1_000, BURST + 3);
  assert.deepEqual(told, [0, 0, 0, 0, 0, undefined, undefined, undefined]);
});

Deno.test("`Complaints.admit` tells how many were left out with the next that is let through", () => {
  const complaints = new Complaints();
  complain(complaints, "invalid header", 0, BURST + 7);
  assert.equal(complaints.admit("invalid header", 999), undefined);
  assert.equal(complaints.admit("invalid header", 1_000), 8);
  assert.equal(complaints.admit("invalid header", 1_001), 0, "each is told of once");
});

Deno.test("`Complaints.admit` lets a few through each second of a flood, however long", () => {
  const complaints = new Complaints();
  let admitted = 0, omitted = 0;
  for (let now = 0; now < 10_000; now++) {
    const told = complaints.admit("invalid header", now);
    if (told === undefined) continue;
    admitted++;
    omitted += told;
  }
  assert.equal(admitted, 10 * BURST);
  complaints.admit("invalid header", 20_000);
  assert.equal(admitted + omitted, 9 * 1_000 + BURST, "all but the last second's are told of");
});

Deno.test("`Complaints.admit` counts each kind by itself", () => {
  const complaints = new Complaints();
  complain(complaints, "a", 0, BURST + 1);
  assert.equal(complaints.admit("a", 0), undefined);
  assert.equal(complaints.admit("b", 0), 0);
});

Deno.test("`Complaints.admit` stays bounded when kinds without number come at once", () => {
  const complaints = new Complaints();
  const admitted = Array.from({ length: 20_000 }, (_, i) => complaints.admit(`peer ${i}`, 0))
    .filter((told) => told !== undefined);
  assert.ok(admitted.length < 2_000, `${admitted.length} were let through`);
  // Old kinds have made room for new ones.
  assert.equal(complaints.admit("peer 0", 2_000), 0);
});

Deno.test("`Complaints.admit` is cheap for kinds without number", () => {
  const complaints = new Complaints();
  const start = performance.now();
  for (let i = 0; i < 50_000; i++) complaints.admit(`peer ${i}`, 0);
  const took = performance.now() - start;
  assert.ok(took < 500, `50,000 complaints took ${took.toFixed()} ms`);
});

Deno.test("`Complaints.admit` counts each peer by itself, and one that floods does not silence another", () => {
  const complaints = new Complaints();
  const told = Array.from({ length: 1_000 }, () => complaints.admit("invalid", 0, "loud"));
  assert.equal(told.filter((omitted) => omitted !== undefined).length, BURST);
  assert.equal(complaints.admit("invalid", 1, "quiet"), 0);
  assert.equal(complaints.admit("invalid", 1_000, "loud"), 1_000 - BURST);
});

Deno.test("`Complaints.admit` bounds what is told of all peers together, and counts the rest", () => {
  const complaints = new Complaints();
  const flood = (now: number) =>
    Array.from({ length: 1_000 }, (_, i) => complaints.admit("invalid", now, `peer ${i}`))
      .filter((omitted) => omitted !== undefined);
  const first = flood(0);
  assert.equal(first.length, 50);
  const second = flood(1_000);
  assert.equal(second[0], 1_000 - first.length);
  assert.equal(second.slice(1).reduce((sum, omitted) => sum + omitted), 0);
});

Deno.test("`Complaints.admit` forgets peers, and not how many were left out about them", () => {
  const complaints = new Complaints();
  for (let peer = 0; peer < 40; peer++) {
    for (let i = 0; i < BURST + 2; i++) complaints.admit("invalid", 0, `early ${peer}`);
  }
  let told = 0;
  for (let now = 2_000, i = 0; now < 12_000; now++, i++) {
    told += complaints.admit("invalid", now, `late ${i}`) ?? 0;
  }
  assert.ok(told >= 80, `${told} were told of`);
});

/** Complains so often about each peer, and tells what is logged. */
function logged(
  complaints: Complaints,
  now: number,
  peers: readonly string[],
  times = 1,
): string[] {
  const lines: string[] = [];
  for (const peer of peers) {
    for (let i = 0; i < times; i++) {
      complaints.log(
        "gone",
        now,
        (template, properties) => {
          lines.push(template.replace(/\{(\w+)\}/g, (_, name) => `${properties[name]}`));
        },
        "{peer} {i}",
        () => ({ peer, i }),
        peer,
      );
    }
  }
  return lines;
}

const crowd = Array.from({ length: 60 }, (_, i) => `peer ${i}`);

Deno.test("`Complaints.rest` tells what was left out when its second is over, once", () => {
  const complaints = new Complaints(), lines = logged(complaints, 0, crowd);
  assert.equal(lines.length, 50);
  const rest = (now: number) => [complaints.rest(now), ...lines.splice(50)];
  assert.deepEqual(rest(999), [true], "it may come yet with another");
  assert.deepEqual(rest(1_000), [false, "peer 50 0 (9 more like it were left out)"]);
  assert.deepEqual(rest(2_000), [false]);
  assert.deepEqual(logged(complaints, 2_000, ["peer 0"]), ["peer 0 0"]);
});

Deno.test("`Complaints.rest` tells of one that was left out as if it had not been", () => {
  const complaints = new Complaints(), lines = logged(complaints, 0, ["loud"], BURST + 1);
  complaints.rest(1_000);
  assert.deepEqual(lines.slice(BURST), ["loud 5"]);
});

Deno.test("`Complaints.rest` tells of all peers in one line, and it is one of those that pass", () => {
  const complaints = new Complaints(), lines = logged(complaints, 0, ["a", "b", "c"], BURST + 10);
  complaints.rest(1_000);
  assert.deepEqual(lines.slice(3 * BURST), ["a 5 (29 more like it were left out)"]);
  assert.equal(logged(complaints, 1_001, ["a"], BURST).length, BURST - 1);
});

Deno.test("`Complaints.rest` keeps nothing that was told already", () => {
  const complaints = new Complaints(), lines = logged(complaints, 0, ["loud"], BURST + 10);
  assert.deepEqual(logged(complaints, 1_000, ["loud"]), ["loud 0 (10 more like it were left out)"]);
  assert.equal(complaints.rest(Infinity), false);
  assert.equal(lines.length, BURST);
});
