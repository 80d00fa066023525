/**
 * What it costs a broker to count: all that is counted of one request and its answer, so that it
 * can be held against the time of the whole, some 4 µs.
 *
 * @module
 */

import { Times } from "../routing_times.ts";

const REQUESTS = 1_000;

const waits = new Times(), works = new Times();
const traffic = { messagesIn: 0, bytesIn: 0, messagesOut: 0, bytesOut: 0 };
const commands = { request: 0, final: 0 };
const counters = { dispatched: 0, answered: 0 };
const service = { accepted: 0, answered: 0 };

Deno.bench(`${REQUESTS} requests counted`, () => {
  for (let i = 0; i < REQUESTS; i++) {
    traffic.messagesIn++;
    traffic.bytesIn += 150 + i;
    commands.request++;
    service.accepted++;
    counters.dispatched++;
    waits.add(i / 100);
    traffic.messagesOut++;
    traffic.bytesOut += 150 + i;
    traffic.messagesIn++;
    traffic.bytesIn += 150 + i;
    commands.final++;
    works.add(i / 10);
    counters.answered++;
    service.answered++;
    traffic.messagesOut++;
    traffic.bytesOut += 150 + i;
  }
});
