/**
 * The broker's rules without sockets, for benches of what they cost.
 *
 * @module
 */

import { type Dialect, type Id, MULTIPLEXED } from "../codec.ts";
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
export class Rules {
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

/** The identity of a worker. */
export const ID = (i: number) => `\0${String.fromCharCode(i >> 16, (i >> 8) & 255, i & 255)}w`;
