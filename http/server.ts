/**
 * A broker seen over HTTP: {@linkcode BrokerHttp} serves metrics, health, a live page, and a
 * gateway by which services can be called.
 *
 * @example A broker with a page at http://127.0.0.1:9090/
 * ```ts no-eval
 * import { Broker } from "@majortomo/mdp/broker";
 * import { BrokerHttp } from "@majortomo/mdp/http";
 *
 * await using broker = new Broker();
 * broker.bind();
 * await using http = new BrokerHttp(broker, { port: 9090 });
 * console.log(`See ${http.listen()}`);
 * await broker.run();
 * ```
 *
 * @module
 */

import { getLogger } from "@logtape/logtape";
import type { Broker } from "../broker.ts";
import { Client, type ClientOptions } from "../client.ts";
import { MdpError, StateError } from "../errors.ts";
import { checkOptions } from "../options.ts";
import { VERSION } from "./build.ts";
import { PROMETHEUS_TEXT } from "./exposition.ts";
import { Feed } from "./feed.ts";
import { Gateway, type GatewayOptions } from "./gateway.ts";
import { Health } from "./health.ts";
import { LagMeter } from "./lag.ts";
import { Metrics } from "./metrics.ts";
import { page } from "./page.ts";
import { respond, respondError, respondJson } from "./responses.ts";

export type { ClientOptions, DialectName, DialectOption } from "../client.ts";
export * from "../errors.ts";
export type { GatewayOptions } from "./gateway.ts";

/** Options of {@linkcode BrokerHttp}. */
export interface HttpOptions {
  /**
   * The address to listen at, in brackets or not if it is one of IPv6: `"0.0.0.0"` and `"::"` are all
   * of the machine's. There is no authentication: who reaches it sees all, and with the gateway may
   * call all services.
   * @default {"127.0.0.1"}
   */
  hostname?: string;
  /**
   * The port; 0 is a free one.
   * @default {0}
   */
  port?: number;
  /**
   * Whether services can be called by `POST /services/NAME`, and how.
   * @default {false}
   */
  gateway?: boolean | GatewayOptions;
  /**
   * How to reach the broker, for the gateway and for `/healthz`, which send it requests as others
   * do. With the dialect `"rfc"` workers get no headers, and errors of theirs are a 504; in
   * majortomo's nobody can be asked whether a worker is there, and so no service be called.
   * @default {the first of the broker's endpoints, in the multiplexed dialect}
   */
  client?: ClientOptions;
}

const logger = getLogger(["majortomo", "http"]);

/** How long answers under way have to come to their end at a close, in ms. */
const GRACE = 1_000;
/** How long those that are ended then have to leave, in ms. */
const FAREWELL = 500;
/** How long after it could take no more connections it is tried again, in ms. */
const PAUSE = 1_000;
/** How often it is looked whether the broker still listens, in ms. */
const INTERVAL = 250;
const SERVICES = "/services/";
const CLOSED = "The HTTP side is closed";

/**
 * A broker seen over HTTP. It knows of the broker what any program that embeds one does.
 *
 * - `GET /`: a page that shows what the broker does, as it does it
 * - `GET /metrics`: its figures, for Prometheus
 * - `GET /healthz`, `GET /readyz`: whether it lives, and is ready for clients and workers
 * - `GET /status.json`: its figures in JSON
 * - `GET /events`: what the page shows, as a server-sent stream
 * - `POST /services/NAME`: calls a service, if the gateway is on
 *
 * @example In a server of one's own
 * ```ts no-eval
 * import { Broker } from "@majortomo/mdp/broker";
 * import { BrokerHttp } from "@majortomo/mdp/http";
 *
 * await using broker = new Broker();
 * broker.run();
 * await using http = new BrokerHttp(broker, { gateway: { origins: ["https://example.org"] } });
 * await Deno.serve({ port: 8000 }, http.handle).finished;
 * ```
 */
export class BrokerHttp implements AsyncDisposable {
  readonly #broker: Broker;
  readonly #hostname: string;
  readonly #port: number;
  readonly #clientOptions: ClientOptions;
  readonly #lag = new LagMeter();
  readonly #gateway: Gateway | undefined;
  readonly #health: Health;
  readonly #metrics: Metrics;
  readonly #feed: Feed;
  readonly #views: Readonly<Record<string, () => Response | Promise<Response>>> = {
    "/": () => page(),
    "/metrics": async () => respond(await this.#metrics.write(), PROMETHEUS_TEXT),
    "/healthz": () => this.#health.live(),
    "/readyz": () => this.#health.ready(),
    "/status.json": () => respondJson(this.#feed.status()),
    "/events": () => this.#feed.open(),
  };
  /** For the gateway's calls, and for `/healthz`, whose question does not wait for theirs. */
  readonly #clients: { gateway?: Client; health?: Client } = {};
  #server: Deno.HttpServer<Deno.NetAddr> | undefined;
  /** The pause before it is tried to listen again. */
  #retry: ReturnType<typeof setTimeout> | undefined;
  /** Looks whether the broker still listens, for the gateway. */
  readonly #watch: ReturnType<typeof setInterval> | undefined;
  #closing: Promise<void> | undefined;

  /**
   * Nothing is listened at yet; but from now on the broker is looked at, once a second.
   *
   * @param broker The broker, which may be bound and run before or after.
   * @param options See {@linkcode HttpOptions}.
   * @throws {TypeError} If the broker is none, or an option has the wrong type,
   * {@linkcode RangeError} if it is out of range.
   */
  constructor(broker: Broker, options: HttpOptions = {}) {
    if (typeof broker?.stats !== "function") {
      throw new TypeError(`broker must be a Broker, got ${Deno.inspect(broker, { depth: 0 })}`);
    }
    checkOptions("The options of the HTTP side", options, {
      hostname: true,
      port: true,
      gateway: true,
      client: true,
    });
    const { port = 0, gateway = false, client = {} } = options;
    if (typeof options.hostname !== "string" && options.hostname !== undefined) {
      throw new TypeError(`hostname must be a string, got ${options.hostname}`);
    }
    // In brackets it is as in a URL.
    const hostname = (options.hostname ?? "127.0.0.1").replace(/^\[(.*)\]$/, "$1");
    if (hostname === "") throw new TypeError("hostname must not be empty");
    if (typeof port !== "number") throw new TypeError(`port must be a number, got ${port}`);
    if (!Number.isInteger(port) || port < 0 || port > 65_535) {
      throw new RangeError(`port must be a whole number from 0 to 65535, got ${port}`);
    }
    if (typeof gateway !== "boolean" && (typeof gateway !== "object" || gateway === null)) {
      throw new TypeError(`gateway must be true, false or options, got ${gateway}`);
    }
    if (typeof gateway === "object") {
      checkOptions("The gateway's options", gateway, {
        timeout: true,
        maxContentSize: true,
        maxBacklog: true,
        origins: true,
      });
    }
    if (typeof client !== "object" || client === null || Array.isArray(client)) {
      throw new TypeError(`client must be options, got ${Deno.inspect(client)}`);
    }
    // Wrong ones are told now, and not to whoever calls a service first. Nothing is connected.
    new Client(client).close();
    this.#broker = broker;
    this.#hostname = hostname;
    this.#port = port;
    this.#clientOptions = client;
    if (gateway !== false) {
      const calls = this.#gateway = new Gateway({
        client: () => this.#reach("gateway"),
        maxMessageSize: broker.maxMessageSize,
        hasHeaders: client.dialect !== "rfc",
      }, gateway === true ? {} : gateway);
      this.#watch = setInterval(() => {
        // Calls were made, so it did listen, and it never does again.
        if (this.#clients.gateway !== undefined && !broker.isBound) {
          calls.end("The broker has stopped");
        }
      }, INTERVAL);
      Deno.unrefTimer(this.#watch);
    }
    this.#health = new Health(broker, () => this.#reach("health"));
    this.#metrics = new Metrics(broker, this.#lag, this.#gateway);
    this.#feed = new Feed(broker, this.#lag);
    this.#lag.start();
  }

  /**
   * Listens, and answers from now on.
   *
   * @returns The address, e.g. `"http://127.0.0.1:9090/"`.
   * @throws {MdpError} If it cannot listen there, or `--allow-net` is missing.
   * @throws {StateError} If it does already, or is closed.
   */
  listen(): string {
    if (this.#closing !== undefined) throw new StateError(CLOSED);
    if (this.#server !== undefined) throw new StateError("The HTTP side listens already");
    const port = this.#port, address = this.#address(port);
    if (!this.#mayListen(port)) {
      throw new MdpError(
        `Listening on "http://${address}" needs the permission --allow-net: run deno with ` +
          `--allow-net=${address}`,
      );
    }
    try {
      this.#serve(port);
    } catch (error) {
      const { message } = error as Error;
      throw new MdpError(`Cannot listen on "http://${address}": ${message}`, { cause: error });
    }
    return `http://${this.#address(this.#server!.addr.port)}/`;
  }

  /** Host and port, as a URL has them. */
  #address(port: number): string {
    const hostname = this.#hostname;
    return `${hostname.includes(":") ? `[${hostname}]` : hostname}:${port}`;
  }

  /** Whether it is permitted. Asked before, as at a terminal Deno would prompt, and all wait. */
  #mayListen(port: number): boolean {
    const host = this.#address(port);
    return Deno.permissions.querySync({ name: "net", host }).state === "granted";
  }

  #serve(port: number): void {
    const hostname = this.#hostname;
    const server = Deno.serve({ hostname, port, onListen: () => {}, onError }, this.handle);
    this.#server = server;
    // One connection that it cannot take ends it, mostly as there are no descriptors.
    server.finished.catch((error: Error) => this.#serveAgain(server.addr.port, error));
  }

  #serveAgain(port: number, error: Error): void {
    if (this.#closing !== undefined) return;
    clearTimeout(this.#retry);
    const reason = reasonOf(error);
    // Where only port 0 is permitted it is another free one from now on.
    const next = [port, this.#port].find((it) => this.#mayListen(it));
    if (next === undefined) {
      return logger.error(
        "Cannot take connections by HTTP at port {port}: {reason}. It is not tried again, as " +
          "--allow-net does not permit it",
        { port, reason },
      );
    }
    logger.error("Cannot take connections by HTTP at port {port}: {reason}. It is tried again", {
      port,
      reason,
    });
    this.#retry = setTimeout(() => {
      try {
        this.#serve(next);
      } catch (error) {
        return this.#serveAgain(port, error as Error);
      }
      const url = `http://${this.#address(this.#server!.addr.port)}/`;
      // What is still in want of descriptors fails before.
      this.#retry = setTimeout(
        () => logger.warn("Takes connections by HTTP again, on {url}", { url }),
        PAUSE,
      );
    }, PAUSE);
  }

  /**
   * Answers a request: to be called by a server of one's own, for all requests or those for a
   * folder, from whose path the folder's name has been taken.
   *
   * @param request The request.
   * @returns The answer.
   */
  readonly handle = async (request: Request): Promise<Response> => {
    if (this.#closing !== undefined) return respondError(503, CLOSED);
    const url = URL.parse(request.url);
    if (url === null) return respondError(400, `The request is for no URL: ${request.url}`);
    const { pathname } = url;
    if (pathname.startsWith(SERVICES)) {
      if (this.#gateway !== undefined) {
        return await this.#gateway.handle(request, pathname.slice(SERVICES.length));
      }
      return respondError(404, "The gateway is off: start the broker with --gateway");
    }
    if (!Object.hasOwn(this.#views, pathname)) {
      const paths = Object.keys(this.#views).join(", ");
      return respondError(404, `There is no ${pathname} here, only ${paths}`);
    }
    if (request.method !== "GET" && request.method !== "HEAD") {
      const message = `Expected GET, but got ${request.method}`;
      return respondError(405, message, { allow: "GET, HEAD" });
    }
    // Whoever serves leaves out the body for HEAD, and tells how long it would be.
    return await this.#views[pathname]!();
  };

  /**
   * Stops to listen and to look at the broker; the broker goes on. Answers under way have a second
   * to come to their end.
   *
   * @returns A promise of the end, the same for each call.
   */
  close(): Promise<void> {
    return this.#closing ??= this.#close();
  }

  /** `close()`, for `await using`. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  async #close(): Promise<void> {
    this.#lag.stop();
    this.#feed.close();
    clearInterval(this.#watch);
    clearTimeout(this.#retry);
    if (this.#server !== undefined) {
      const timer = setTimeout(() => this.#gateway?.end(CLOSED), GRACE);
      let last;
      // Not by its signal, which is an error that nobody can catch once it shuts down (Deno 2.9). And
      // who sends a request bit by bit does not keep it.
      await Promise.race([
        // It may have failed, and is over then.
        this.#server.shutdown().catch(() => {}),
        new Promise((resolve) => last = setTimeout(resolve, GRACE + FAREWELL)),
      ]);
      clearTimeout(timer);
      clearTimeout(last);
    }
    this.#gateway?.end(CLOSED);
    await Promise.all([this.#clients.gateway?.close(), this.#clients.health?.close()]);
  }

  /** A client, made when it is needed first: by then the broker's endpoints are known. */
  #reach(who: "gateway" | "health"): Client {
    if (!this.#broker.isBound) throw new StateError("The broker does not listen");
    const [broker] = this.#broker.endpoints.toSorted((a, b) => distance(a) - distance(b));
    return this.#clients[who] ??= new Client({
      broker: reachable(broker!),
      dialect: "multiplexed",
      maxInFlight: 10_000,
      maxMessageSize: this.#broker.maxMessageSize,
      ...this.#clientOptions,
    });
  }
}

/** Of several ways to the broker in the same process the shortest is taken. */
function distance(endpoint: string): number {
  return ["inproc:", "ipc:"].findIndex((scheme) => endpoint.startsWith(scheme)) >>> 0;
}

/** Where to connect to what listens at all addresses. */
function reachable(endpoint: string): string {
  return endpoint.replace("//0.0.0.0:", "//127.0.0.1:").replace("//[::]:", "//[::1]:");
}

/** Why no connection can be taken, in words. */
function reasonOf({ message }: Error): string {
  if (/\(os error 24\)/.test(message)) {
    return "the process may have no more open files (EMFILE), see ulimit -n";
  }
  return message.replace(/^Error: /, "");
}

function onError(error: unknown): Response {
  return respondError(500, `Majortomo ${VERSION} has failed: ${(error as Error).message}`);
}
