import assert from "node:assert/strict";
import fc from "fast-check";
import { Deadlines, type Due } from "../deadlines.ts";
import { type Linked, List } from "../list.ts";

interface Item extends Due, Linked<Item> {
  name: string;
}

function item(name: string): Item {
  const nowhere = { day: undefined, dueBefore: undefined, dueAfter: undefined };
  return { name, ...nowhere, previous: undefined, next: undefined };
}

/** All that is due, in the order in which it is taken. */
function takeAll(deadlines: Deadlines<Item>, now: number): string[] {
  const names: string[] = [];
  for (let due; (due = deadlines.take(now)) !== undefined;) names.push(due.name);
  return names;
}

Deno.test("`Deadlines` takes items when they are due, the earliest first", () => {
  const deadlines = new Deadlines<Item>();
  const times = { e: 50, a: 10, d: 40, b: 20, c: 30 };
  for (const [name, at] of Object.entries(times)) deadlines.schedule(item(name), at);
  assert.equal(deadlines.next(), 10);
  assert.deepEqual(takeAll(deadlines, 9), []);
  assert.deepEqual(takeAll(deadlines, 10), ["a"]);
  assert.deepEqual(takeAll(deadlines, 39), ["b", "c"]);
  assert.deepEqual(takeAll(deadlines, 1_000), ["d", "e"]);
  assert.equal(deadlines.next(), Infinity);
  assert.equal(deadlines.take(Infinity), undefined);
});

Deno.test("`Deadlines.next` is Infinity when there is nothing", () => {
  assert.equal(new Deadlines().next(), Infinity);
  assert.equal(new Deadlines().take(Number.MAX_VALUE), undefined);
});

Deno.test("`Deadlines` never takes an item too early when its time has a fraction", () => {
  const deadlines = new Deadlines<Item>();
  deadlines.schedule(item("a"), 10.2);
  assert.deepEqual(takeAll(deadlines, 10.1), []);
  assert.equal(deadlines.next(), 11);
  assert.deepEqual(takeAll(deadlines, 11), ["a"]);
});

Deno.test("`Deadlines.schedule` moves an item that is in already, earlier and later", () => {
  const deadlines = new Deadlines<Item>();
  const a = item("a"), b = item("b");
  deadlines.schedule(a, 10);
  deadlines.schedule(b, 20);
  deadlines.schedule(a, 30);
  assert.equal(deadlines.next(), 20);
  deadlines.schedule(a, 5);
  assert.equal(deadlines.next(), 5);
  deadlines.schedule(a, 5);
  assert.deepEqual(takeAll(deadlines, 100), ["a", "b"]);
});

Deno.test("`Deadlines.cancel` takes an item out, once or twice, and it can come back", () => {
  const deadlines = new Deadlines<Item>();
  const a = item("a");
  deadlines.cancel(a);
  deadlines.schedule(a, 10);
  deadlines.cancel(a);
  deadlines.cancel(a);
  assert.equal(deadlines.next(), Infinity);
  deadlines.schedule(a, 10);
  assert.deepEqual(takeAll(deadlines, 10), ["a"]);
  assert.equal(a.day, undefined);
});

Deno.test("`Deadlines.take` leaves the rest of a day when an item is scheduled while it is taken", () => {
  const deadlines = new Deadlines<Item>();
  for (const name of ["a", "b", "c"]) deadlines.schedule(item(name), 10);
  const first = deadlines.take(10)!;
  deadlines.schedule(first, 10);
  assert.deepEqual(takeAll(deadlines, 10).sort(), ["a", "b", "c"]);
});

Deno.test("`Deadlines` keeps an item that is due never", () => {
  const deadlines = new Deadlines<Item>();
  const a = item("a");
  deadlines.schedule(a, Infinity);
  assert.equal(deadlines.next(), Infinity);
  assert.deepEqual(takeAll(deadlines, Number.MAX_VALUE), []);
  deadlines.schedule(a, 1);
  assert.deepEqual(takeAll(deadlines, 1), ["a"]);
});

Deno.test("`Deadlines` agrees with a sorted list over random histories", () => {
  const step = fc.oneof(
    fc.record({ do: fc.constant("schedule" as const), item: fc.nat(9), at: fc.nat(30) }),
    fc.record({ do: fc.constant("cancel" as const), item: fc.nat(9), at: fc.constant(0) }),
    fc.record({ do: fc.constant("take" as const), item: fc.constant(0), at: fc.nat(30) }),
  );
  fc.assert(fc.property(fc.array(step, { maxLength: 80, size: "max" }), (steps) => {
    const items = Array.from({ length: 10 }, (_, i) => item(`${i}`));
    const deadlines = new Deadlines<Item>();
    const model = new Map<string, number>();
    const earliest = () => Math.min(Infinity, ...model.values());
    for (const { do: act, item, at } of steps) {
      if (act === "schedule") {
        deadlines.schedule(items[item]!, at);
        model.set(items[item]!.name, at);
      } else if (act === "cancel") {
        deadlines.cancel(items[item]!);
        model.delete(items[item]!.name);
      } else {
        const due = earliest();
        const taken = deadlines.take(at);
        assert.equal(taken !== undefined, due <= at);
        if (taken !== undefined) {
          assert.equal(model.get(taken.name), due, `${taken.name} is among those due first`);
          model.delete(taken.name);
        }
      }
      assert.equal(deadlines.next(), earliest());
    }
  }));
});

Deno.test("`Deadlines` does not keep what was cancelled until its time", () => {
  const deadlines = new Deadlines<Item>();
  const stays = item("stays"), goes = item("goes");
  deadlines.schedule(stays, 1_500_000);
  // As requests do that are answered long before they would expire.
  const start = performance.now();
  for (let now = 0; now < 500_000; now++) {
    deadlines.schedule(goes, now + 900_000);
    deadlines.cancel(goes);
  }
  const middle = performance.now();
  assert.equal(deadlines.next(), 1_500_000);
  // To go through what there was would take longer than to put it in.
  const took = performance.now() - middle, putting = middle - start;
  assert.ok(took < putting / 4, `it took ${took.toFixed()} ms, and to put in ${putting.toFixed()}`);
  assert.deepEqual(takeAll(deadlines, 1_500_000), ["stays"]);
});

Deno.test("`Deadlines` keeps its order when it has thrown emptied days away", () => {
  const deadlines = new Deadlines<Item>();
  const items = Array.from({ length: 1_000 }, (_, i) => item(`${i}`));
  // 7 has no factor in common with 1,000: each time once, in no order.
  items.forEach((one, i) => deadlines.schedule(one, i * 7 % 1_000));
  for (const one of items) if (one.day!.at % 10 !== 3) deadlines.cancel(one);
  deadlines.schedule(items[0]!, 4);
  const taken: number[] = [];
  for (let due; (due = deadlines.take(2_000)) !== undefined;) {
    taken.push(Number(due.name) * 7 % 1_000);
  }
  assert.deepEqual(taken, [3, 0, ...Array.from({ length: 99 }, (_, i) => 13 + 10 * i)]);
});

/** The list's items from the head, after checking the links both ways. */
function names(list: List<Item>): string {
  const seen: Item[] = [];
  for (let at = list.first; at !== undefined; at = at.next) {
    assert.equal(at.previous, seen.at(-1));
    seen.push(at);
  }
  return seen.map(({ name }) => name).join("");
}

Deno.test("`List` is a queue", () => {
  const list = new List<Item>();
  assert.equal(list.first, undefined);
  assert.equal(list.shift(), undefined);
  for (const name of "abc") list.push(item(name));
  assert.equal(names(list), "abc");
  assert.equal(list.shift()?.name, "a");
  assert.equal(list.shift()?.name, "b");
  assert.equal(list.shift()?.name, "c");
  assert.equal(list.shift(), undefined);
  list.push(item("d"));
  assert.equal(names(list), "d");
});

Deno.test("`List.unshift` puts an item before all others, also when there are none", () => {
  const list = new List<Item>();
  for (const name of "cba") list.unshift(item(name));
  list.push(item("d"));
  assert.equal(names(list), "abcd");
});

Deno.test("`List.remove` takes items from head, middle and tail, and the last one", () => {
  const list = new List<Item>();
  const [a, b, c, d] = [item("a"), item("b"), item("c"), item("d")];
  for (const one of [a, b, c, d]) list.push(one);
  list.remove(b);
  assert.equal(names(list), "acd");
  list.remove(d);
  assert.equal(names(list), "ac");
  list.push(b);
  list.remove(a);
  assert.equal(names(list), "cb");
  list.remove(c);
  list.remove(b);
  assert.equal(names(list), "");
  assert.ok(
    [a, b, c, d].every(({ previous, next }) => previous === undefined && next === undefined),
  );
});

Deno.test("`List` agrees with an array over random histories", () => {
  const step = fc.record({
    do: fc.constantFrom("push", "unshift", "insert", "remove", "shift"),
    item: fc.nat(7),
    place: fc.nat(8),
  });
  fc.assert(fc.property(fc.array(step, { maxLength: 60, size: "max" }), (steps) => {
    const items = Array.from({ length: 8 }, (_, i) => item(`${i}`));
    const list = new List<Item>();
    const model: Item[] = [];
    for (const { do: act, item, place } of steps) {
      const one = items[item]!, at = model.indexOf(one);
      if (act === "shift") assert.equal(list.shift(), model.shift());
      else if (act === "remove" && at >= 0) list.remove(model.splice(at, 1)[0]!);
      else if (act === "push" && at < 0) model.push(one), list.push(one);
      else if (act === "unshift" && at < 0) model.unshift(one), list.unshift(one);
      else if (act === "insert" && at < 0) {
        list.insert(one, model[place]);
        model.splice(place, 0, one);
      }
      assert.equal(names(list), model.map(({ name }) => name).join(""));
    }
  }));
});
