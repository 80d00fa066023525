/**
 * A TCP proxy that breaks connections the ways networks do: late, slow, stuck, cut, half-closed, or
 * with garbage before the first word. It goes between a peer and what it connects to.
 *
 * @module
 */

/** How many bytes are read from a connection at a time. */
const READ = 65_536;

/** What a {@linkcode FaultProxy} does to all that passes. */
export interface Faults {
  /** How long each piece is held back, in ms. */
  delay: number;
  /** How many bytes go on at a time, each such piece with the delay of its own. */
  piece: number;
  /** Sent to whoever connects, before anything else. */
  greeting: Uint8Array<ArrayBuffer> | undefined;
  /** Whether new connections are closed at once. */
  refuse: boolean;
}

/** A connection through the proxy: both of its halves. */
class Passage {
  readonly #peer: Deno.TcpConn;
  readonly #target: Deno.TcpConn;
  readonly #proxy: FaultProxy;
  readonly over: Promise<void>;

  constructor(proxy: FaultProxy, peer: Deno.TcpConn, target: Deno.TcpConn) {
    this.#proxy = proxy;
    this.#peer = peer;
    this.#target = target;
    peer.setNoDelay();
    target.setNoDelay();
    this.over = Promise.all([this.#pass(peer, target), this.#pass(target, peer)])
      .then(() => this.cut());
  }

  /** Ends both halves at once. */
  cut(): void {
    for (const connection of [this.#peer, this.#target]) {
      try {
        connection.close();
      } catch {
        // It is closed.
      }
    }
  }

  /** Says to one end that nothing more comes; what it sends still passes. */
  async halfClose(end: "peer" | "target"): Promise<void> {
    await (end === "peer" ? this.#peer : this.#target).closeWrite().catch(() => {});
  }

  async #pass(from: Deno.TcpConn, to: Deno.TcpConn): Promise<void> {
    const buffer = new Uint8Array(READ);
    try {
      for (let size; (size = await from.read(buffer)) !== null;) {
        for (let at = 0; at < size;) {
          await this.#proxy.flowing;
          const { piece, delay } = this.#proxy.faults;
          if (delay > 0) await new Promise((resolve) => setTimeout(resolve, delay));
          const end = Math.min(size, at + piece);
          for (; at < end;) at += await to.write(buffer.subarray(at, end));
        }
      }
      await to.closeWrite();
    } catch {
      // One of both is gone, so the other is to go too.
      this.cut();
    }
  }
}

/** A proxy on loopback that can be told what to break. */
export class FaultProxy {
  /** What it does to all that passes from now on. */
  readonly faults: Faults = {
    delay: 0,
    piece: Infinity,
    greeting: undefined,
    refuse: false,
  };
  readonly #listener: Deno.TcpListener;
  readonly #port: number;
  readonly #passages = new Set<Passage>();
  readonly #served: Promise<void>;
  #flow: PromiseWithResolvers<void> | undefined;
  #accepted = 0;

  /** Listens on a free port, and connects whoever comes to the endpoint, e.g. a broker's. */
  constructor(endpoint: string) {
    this.#port = Number(endpoint.slice(endpoint.lastIndexOf(":") + 1));
    this.#listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
    this.#served = this.#serve();
  }

  /** Where peers connect to. */
  get endpoint(): string {
    return `tcp://127.0.0.1:${(this.#listener.addr as Deno.NetAddr).port}`;
  }

  /** How many connections have come. */
  get accepted(): number {
    return this.#accepted;
  }

  /** How many stand. */
  get standing(): number {
    return this.#passages.size;
  }

  /** Resolves while nothing is stalled. */
  get flowing(): Promise<void> | undefined {
    return this.#flow?.promise;
  }

  /** Holds all bytes back, in both directions. The connections stand. */
  stall(): void {
    this.#flow ??= Promise.withResolvers();
  }

  /** Lets them go on. */
  resume(): void {
    this.#flow?.resolve();
    this.#flow = undefined;
  }

  /** Cuts all connections. New ones may come. */
  cut(): void {
    for (const passage of this.#passages) passage.cut();
  }

  /** Says to one end of each connection that nothing more comes. */
  async halfClose(end: "peer" | "target"): Promise<void> {
    await Promise.all([...this.#passages].map((passage) => passage.halfClose(end)));
  }

  async #serve(): Promise<void> {
    for await (const peer of this.#listener) {
      this.#accepted++;
      this.#connect(peer).catch(() => peer.close());
    }
  }

  async #connect(peer: Deno.TcpConn): Promise<void> {
    const { greeting, refuse } = this.faults;
    if (refuse) return peer.close();
    if (greeting !== undefined) await peer.write(greeting);
    const target = await Deno.connect({ hostname: "127.0.0.1", port: this.#port });
    const passage = new Passage(this, peer, target);
    this.#passages.add(passage);
    passage.over.then(() => this.#passages.delete(passage));
  }

  /** Cuts all, and listens no more. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#listener.close();
    this.cut();
    this.resume();
    await this.#served;
    await Promise.all([...this.#passages].map(({ over }) => over));
  }
}
