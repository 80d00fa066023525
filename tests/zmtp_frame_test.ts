import assert from "node:assert/strict";
import fc from "fast-check";
import { Block, Frame } from "../zmtp/frame.ts";

const SIZES = [0, 1, 5, 47, 48, 49, 64, 127, 128, 129, 8_192, 2 ** 20, 2 ** 20 + 1];

function some(size: number): Uint8Array<ArrayBuffer> {
  return Uint8Array.from({ length: size }, (_, i) => i * 31 + size);
}

for (const size of SIZES) {
  Deno.test(`\`Frame\` holds ${size} bytes, and copies, detaches and tells them`, () => {
    const content = some(size), around = new Uint8Array(size + 10);
    around.set(content, 5);
    const frame = Frame.of(around, 5, size);
    around.fill(0);
    const copy = frame.copy();
    copy.detach();
    const text = String.fromCharCode(...content.subarray(0, 100));
    for (const each of [frame, copy]) {
      assert.equal(each.size, size);
      assert.deepEqual(each.bytes(), content);
      const into = new Uint8Array(3);
      assert.equal(each.read(into), size);
      assert.deepEqual([...into], [0, 1, 2].map((i) => content[i] ?? 0));
      const wide = new Uint8Array(size + 4);
      each.write(wide, 2);
      assert.deepEqual([...wide.subarray(2, 2 + size)], [...content]);
      const string = each.toBinaryString();
      assert.equal(string.length, size);
      assert.equal(string.slice(0, 100), text);
    }
    frame.release();
    assert.deepEqual(copy.bytes(), content);
    copy.release();
    assert.throws(() => copy.release(), { name: "StateError", message: /released twice/ });
  });
}

Deno.test("`Frame.in` has the first bytes of a block", () => {
  const block = Block.take(200);
  block.bytes.fill(7);
  using _ = { [Symbol.dispose]: () => frame.release() };
  const frame = Frame.in(block, 150);
  assert.deepEqual(frame.bytes(), new Uint8Array(150).fill(7));
  assert.equal(frame.block, block);
});

Deno.test("`Block.take` gives memory again only when all holders have let go of it", () => {
  const block = Block.take(3_000).hold();
  block.release();
  const other = Block.take(3_000);
  assert.notEqual(other, block);
  block.release();
  assert.equal(Block.take(3_000), block);
  other.release();
  block.release();
});

Deno.test("`Block.release` gives the memory of what is too large to be kept back at once", () => {
  const block = Block.take(2 ** 20 + 1).hold();
  block.release();
  assert.equal(block.bytes.length, 2 ** 20 + 1);
  block.release();
  assert.equal(block.bytes.length, 0);
});

Deno.test("frames keep their content whatever is released, copied and taken beside them", () => {
  const step = fc.oneof(
    fc.record({ do: fc.constant("make" as const), size: fc.constantFrom(...SIZES.slice(0, -2)) }),
    fc.record({ do: fc.constantFrom("copy", "detach", "release"), which: fc.nat() }),
  );
  fc.assert(fc.property(fc.array(step, { maxLength: 200, size: "max" }), (steps) => {
    const held: { frame: Frame; mark: number; size: number }[] = [];
    let marks = 0;
    for (const step of steps) {
      if ("size" in step) {
        const mark = ++marks & 0xff;
        held.push({ frame: Frame.of(new Uint8Array(step.size).fill(mark)), mark, size: step.size });
        continue;
      }
      if (held.length === 0) continue;
      const at = step.which % held.length, one = held[at]!;
      if (step.do === "copy") held.push({ ...one, frame: one.frame.copy() });
      else if (step.do === "detach") one.frame.detach();
      else {
        one.frame.release();
        held.splice(at, 1);
      }
    }
    for (const { frame, mark, size } of held) {
      assert.equal(frame.size, size);
      assert.ok(frame.bytes().every((byte) => byte === mark));
      frame.release();
    }
  }));
});
