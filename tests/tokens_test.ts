import assert from "node:assert/strict";
import fc from "fast-check";
import { Ids } from "../ids.ts";
import { Tokens } from "../tokens.ts";

interface Item {
  id: number | bigint;
  sibling: Item | undefined;
}

Deno.test("`Tokens` names what was added, until it is deleted", () => {
  const tokens = new Tokens<string>();
  const a = tokens.add("a"), b = tokens.add("b");
  assert.notEqual(a, b);
  assert.equal(tokens.get(a), "a");
  assert.equal(tokens.get(b), "b");
  tokens.delete(a);
  assert.equal(tokens.get(a), undefined);
  assert.equal(tokens.get(b), "b");
});

Deno.test("`Tokens` does not give out a token again soon, and none that is not positive and exact", () => {
  const tokens = new Tokens<number>(), seen = new Set<number>();
  for (let i = 0; i < 10_000; i++) {
    const token = tokens.add(i);
    assert.ok(Number.isSafeInteger(token) && token > 0, String(token));
    assert.ok(!seen.has(token), `${token} again`);
    seen.add(token);
    if (i % 3 > 0) tokens.delete(token);
  }
});

Deno.test("`Tokens.get` finds nothing by a number that was never given out", () => {
  const tokens = new Tokens<string>();
  const token = tokens.add("a");
  for (const wrong of [0, token + 1, token - 1, 2 * token, token + 2 ** 26, 2 ** 53 - 1]) {
    assert.equal(tokens.get(wrong), undefined, String(wrong));
  }
});

Deno.test("`Ids` is as a Map when items come and go", () => {
  const id = fc.oneof(
    fc.integer({ min: 1, max: 40 }),
    fc.integer({ min: 1, max: 40 }).map((n) => n * 2 ** 32),
    fc.integer({ min: 0, max: 40 }).map((n) => 2n ** 63n + BigInt(n)),
  );
  const some = fc.array(id, { maxLength: 300, size: "max" });
  fc.assert(fc.property(fc.integer(), some, (seed, steps) => {
    const ids = new Ids<Item>(seed), model = new Map<Item["id"], Item>();
    for (const id of steps) {
      const known = model.get(id);
      assert.equal(ids.get(id), known);
      if (known === undefined) {
        const item = { id, sibling: undefined };
        ids.add(item);
        model.set(id, item);
      } else {
        ids.delete(known);
        model.delete(id);
      }
      assert.equal(ids.size, model.size);
    }
    assert.deepEqual(new Set(ids.values()), new Set(model.values()));
    ids.clear();
    assert.deepEqual([ids.size, ids.values()], [0, []]);
    for (const item of model.values()) {
      assert.equal(ids.get(item.id), undefined);
      ids.add(item);
    }
    assert.equal(ids.size, model.size);
  }));
});

Deno.test("`Ids` spreads ids whose halves were chosen to meet, whatever the seed", () => {
  for (const seed of [1, 2, 3, 0x12345678, -1]) {
    for (const factor of [0x9e3779b1, 1, 3, 0x85ebca6b]) {
      const ids = new Ids<Item>(seed), items: Item[] = [];
      for (let high = 1; high <= 1_000; high++) {
        // By a hash of (low + high * factor) times a secret all of these would be the same.
        const low = -Math.imul(high, factor) >>> 0;
        const item = { id: BigInt(high) << 32n | BigInt(low), sibling: undefined };
        ids.add(item);
        items.push(item);
      }
      let longest = 0;
      for (const item of items) {
        let length = 0;
        for (let next: Item | undefined = item; next !== undefined; next = next.sibling) length++;
        longest = Math.max(longest, length);
      }
      assert.ok(longest < 30, `${longest} in a bucket with seed ${seed}, factor ${factor}`);
    }
  }
});
