/**
 * What the broker's rules cost, without sockets: `deno task bench:micro`.
 *
 * @module
 */

import { type Dialect, type Id, MULTIPLEXED, RFC } from "../codec.ts";
import { resolveBrokerOptions } from "../options.ts";
import { type Request, Routing, type Shell } from "../routing.ts";

/** A shell that sends nothing, and remembers which request went out last. */
class Silent implements Shell<string> {
  last: Request<string> | undefined;
  dispatch(_: unknown, request: Request<string>) {
    this.last = request;
    return "sent" as const;
  }
  readonly control = () => "sent" as const;
  readonly cancel = () => "sent" as const;
  readonly reply = () => "sent" as const;
  readonly fail = () => "sent" as const;
  readonly error = () => "sent" as const;
  readonly controlClient = () => "sent" as const;
  readonly answer = () => "sent" as const;
  readonly read = (body: string) => body;
  readonly size = (body: string) => body.length;
  readonly discard = () => {};
  readonly detach = () => {};
  readonly report = () => {};
}

/** A broker's rules with peers that speak one dialect. */
class Rules {
  readonly dialect: Dialect;
  readonly shell = new Silent();
  readonly routing: Routing<string>;
  now = 0;
  #id = 0;

  constructor(dialect: Dialect) {
    this.dialect = dialect;
    this.routing = new Routing(this.shell, {
      ...resolveBrokerOptions(),
      maxQueue: Infinity,
      maxTotalQueue: Infinity,
    });
  }

  join(worker: string, service: string, credit: number): void {
    this.routing.ready(worker, this.dialect, service, credit, this.now);
  }

  request(service = "echo"): void {
    const id = this.dialect === MULTIPLEXED ? ++this.#id : undefined;
    this.routing.request("\0abcd", service, { dialect: this.dialect, id }, "body", this.now);
  }

  /** Answers what was dispatched last. */
  final(): void {
    const { worker, client, token } = this.shell.last!;
    const key: string | Id = this.dialect === MULTIPLEXED ? token : client;
    this.routing.reply(worker!.identity, this.dialect, "final", key, "body", this.now);
  }
}

const ID = (i: number) => `\0${String.fromCharCode(i >> 16, (i >> 8) & 255, i & 255)}w`;

for (const dialect of [RFC, MULTIPLEXED]) {
  const credit = dialect === MULTIPLEXED ? 256 : 1;
  const { name } = dialect;

  const idle = new Rules(dialect);
  for (let i = 0; i < 64; i++) idle.join(ID(i), "echo", credit);
  Deno.bench(`request and reply, 64 workers, ${name}`, { group: "request" }, () => {
    idle.request();
    idle.final();
  });

  const crowd = new Rules(dialect);
  for (let i = 0; i < 64; i++) crowd.join(ID(i), "echo", credit);
  for (let i = 0; i < 10_000; i++) crowd.join(ID(1_000 + i), `idle-${i % 1_000}`, credit);
  Deno.bench(`the same beside 10,000 idle workers, ${name}`, { group: "request" }, () => {
    crowd.request();
    crowd.final();
  });

  for (const waiting of [1_000, 1_000_000]) {
    let rules: Rules | undefined;
    Deno.bench(
      `request and reply behind ${waiting} queued, ${name}`,
      { group: "backlog" },
      () => {
        // Made at the first call: not for a bench that is filtered out.
        rules ??= backlog(dialect, waiting);
        rules.request();
        rules.final();
      },
    );
  }

  Deno.bench(`heartbeat of a worker, ${name}`, { group: "heartbeat" }, () => {
    crowd.routing.heartbeat(ID(1_000), dialect, crowd.now);
  });
  Deno.bench(`a millisecond passes for 10,000 workers, ${name}`, { group: "time" }, () => {
    crowd.now += 1;
    // Workers that are never heard from would be purged.
    if (crowd.now % 5_000 === 0) {
      for (let i = 0; i < 10_000; i++) crowd.routing.heartbeat(ID(1_000 + i), dialect, crowd.now);
      for (let i = 0; i < 64; i++) crowd.routing.heartbeat(ID(i), dialect, crowd.now);
    }
    crowd.routing.elapse(crowd.now);
  });
}

/** Rules with one busy worker and so many requests that wait for it. */
function backlog(dialect: Dialect, waiting: number): Rules {
  const rules = new Rules(dialect);
  rules.join(ID(0), "echo", 1);
  for (let i = 0; i <= waiting; i++) rules.request();
  return rules;
}
