import assert from "node:assert/strict";
import type { Id } from "../codec.ts";
import { Holdings } from "../worker_holdings.ts";
import { tokenOf, WorkerRequest } from "../worker_request.ts";

function request(token: Id): WorkerRequest {
  return new WorkerRequest({
    service: "s",
    token,
    frames: [],
    send: () => undefined,
    abandon: () => {},
  });
}

Deno.test("`Holdings` finds what it holds, by whatever token, and no other request of that token", () => {
  const holdings = new Holdings(() => {});
  const tokens: Id[] = [1, 2 ** 40, 2n ** 63n, ...Array.from({ length: 100 }, (_, i) => 7 * i + 2)];
  const requests = tokens.map(request);
  for (const one of requests) holdings.add(one, undefined);
  assert.equal(holdings.size, tokens.length);
  tokens.forEach((token, i) => assert.equal(holdings.find(token), requests[i]));
  assert.equal(holdings.find(3), undefined);
  assert.equal(holdings.has(requests[0]!), true);
  assert.equal(holdings.has(request(tokens[0]!)), false);
  holdings.delete(requests[0]!);
  assert.equal(holdings.find(tokens[0]!), undefined);
  assert.equal(holdings.size, tokens.length - 1);
});

Deno.test("`Holdings.clear` gives what was held in the order in which it came", () => {
  const holdings = new Holdings(() => {});
  const tokens: Id[] = [50, 3, 2n ** 60n, 99, 1, 1024, 8, 77, 4, 12];
  for (const token of tokens) holdings.add(request(token), performance.now() + 60_000);
  assert.deepEqual(holdings.clear().map(tokenOf), tokens);
  assert.equal(holdings.size, 0);
  assert.deepEqual(holdings.clear(), []);
});
