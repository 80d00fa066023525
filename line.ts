/**
 * A connection to a broker that carries one request at a time. RFC 18 has no request ids: what
 * comes back belongs to what was asked last, so nothing may be asked before the FINAL is there,
 * and a connection whose reply is still due must not be used for anything else.
 *
 * @module
 */

import { getLogger, type Logger } from "@logtape/logtape";
import { decodeAtClient, encode, type ReplyCommand } from "./codec.ts";
import { Connection } from "./connection.ts";
import { ProtocolError, type ServiceError } from "./errors.ts";
import type { RequestOptions, ResolvedClientOptions } from "./options.ts";
import { ReplyPart } from "./reply.ts";

/** A request on its way out. */
export interface Outgoing {
  /** The name of the service. */
  readonly service: Uint8Array;
  /** The body, at least one frame. */
  readonly body: readonly Uint8Array[];
  /** The headers as they are sent, if there are any. */
  readonly headers?: Uint8Array;
  /** What the caller said about it. */
  readonly options: RequestOptions;
}

/** Who gets the reply to a request. None of it may throw. */
export interface Receiver {
  /** Called with each part in order. After the FINAL nothing more is called. */
  onPart(part: ReplyPart): void;
  /** Called if the reply fails. Nothing more is called then. */
  onError(error: Error): void;
  /**
   * Called if no reply comes any more, through no fault of the request: it may be sent again.
   * Nothing more is called then.
   *
   * @param why What became of the connection, e.g. "was lost".
   * @param refusal If the broker has refused it: what the call fails with if it is not sent again.
   */
  onVoid(why: string, refusal?: ServiceError): void;
}

/** A connection that carries one request at a time. */
export interface Line {
  /** Where the broker is. */
  readonly endpoint: string;
  /** Sends a request. None may be open. */
  ask(request: Outgoing, receiver: Receiver): void;
  /** Hands on what has come already, without waiting for the event loop. */
  poll(): void;
  /** Ends the connection; what was sent may take so long, in ms, to leave. */
  close(linger: number): Promise<void>;
}

/** What a {@linkcode DealerLine} tells its owner. */
export interface LineEvents {
  /** Called after a message came that nobody had asked for. It was dropped. */
  onStray?(line: Line): void;
  /**
   * Called when the connection is gone, after the receiver of an open reply was told. If it is
   * not given, nobody is told of that: to watch a connection costs another socket.
   */
  onLost?(line: Line): void;
}

/** How soon a connection is made anew, in ms: that it is about to be tells that the old one is gone. */
const RECONNECT = 10;

const logger: Logger = getLogger(["majortomo", "client"]);

/** A {@linkcode Line} over a DEALER socket. */
export class DealerLine implements Line {
  readonly endpoint: string;
  readonly #connection: Connection<ReplyCommand>;
  readonly #options: ResolvedClientOptions;
  readonly #events: LineEvents;
  #open: { readonly request: Outgoing; readonly receiver: Receiver } | undefined;
  /** How many messages have come. */
  #received = 0;

  /**
   * Connects, in the background.
   *
   * @throws {ZmqError} If libzmq refuses the endpoint, or another socket (`EMFILE`).
   */
  constructor(
    endpoint: string,
    options: ResolvedClientOptions,
    events: LineEvents = {},
  ) {
    this.endpoint = endpoint;
    this.#options = options;
    this.#events = events;
    this.#connection = new Connection({
      endpoint,
      linger: options.linger,
      maxMessageSize: options.maxMessageSize,
      // There are no other commands in a dialect without ids.
      decode: (frames) => decodeAtClient(frames, options.dialect) as ReplyCommand,
      reconnectInterval: RECONNECT,
      onCommand: (command) => this.#handle(command),
      onInvalid: (error) => this.#refuse(error),
      onMonitor: events.onLost && ((event) => {
        if (event === "disconnected") this.#lose();
      }),
    });
    logger.debug("Connecting to the broker at {endpoint}", { endpoint });
  }

  ask(request: Outgoing, receiver: Receiver): void {
    this.#open = { request, receiver };
    const { service, body } = request;
    const { dialect } = this.#options;
    this.#connection.send(encode({ side: "client", command: "request", dialect, service, body }));
  }

  poll(): void {
    this.#connection.poll();
  }

  /**
   * Has it told when nothing more comes than what has come by then.
   *
   * @param onGone Called once or more. Must not throw.
   * @throws {StateError} If it was called before, or there is an `onLost`.
   * @throws {ZmqError} `EMFILE` if the process may have no more sockets.
   */
  watchEnd(onGone: () => void): void {
    this.#connection.watchEnd(onGone);
  }

  close(linger: number): Promise<void> {
    this.#open = undefined;
    return this.#connection.close(linger);
  }

  #lose(): void {
    // What came before the end is still there to be read.
    for (let before = -1; before !== this.#received;) {
      before = this.#received;
      this.poll();
    }
    if (this.#connection.isClosed) return;
    const open = this.#open;
    this.#open = undefined;
    open?.receiver.onVoid("was lost");
    this.#events.onLost!(this);
  }

  #handle(command: ReplyCommand): void {
    this.#received++;
    if (this.#open === undefined) return this.#drop(`a ${command.command.toUpperCase()}`);
    const { request, receiver } = this.#open;
    if (command.service !== undefined && !equal(command.service, request.service)) {
      return this.#refuse(
        new ProtocolError("service", `The reply names service ${quote(command.service)}`),
      );
    }
    if (command.command === "final") this.#open = undefined;
    receiver.onPart(new ReplyPart(command.command, command.body));
  }

  #refuse(error: ProtocolError): void {
    this.#received++;
    if (this.#open === undefined) return this.#drop("an invalid message");
    const { request, receiver } = this.#open;
    this.#open = undefined;
    receiver.onError(
      new ProtocolError(
        error.kind,
        `Invalid reply from the broker at ${quote(this.endpoint)} to a request for service ${
          quote(request.service)
        }: ${error.message}`,
      ),
    );
  }

  #drop(what: string): void {
    const { endpoint } = this;
    logger.debug("Dropped {what} from {endpoint} that answers no request", { what, endpoint });
    this.#events.onStray?.(this);
  }
}

function equal(a: Uint8Array, b: Uint8Array): boolean {
  return a.length === b.length && a.every((byte, i) => byte === b[i]);
}

/** How many characters of a name go into a message. */
const SHOWN = 128;

/** A name for an error message: quoted, escaped, and not endless. */
export function quote(name: string | Uint8Array): string {
  const text = typeof name === "string" ? name : new TextDecoder().decode(name);
  return JSON.stringify(text.length > SHOWN ? `${text.slice(0, SHOWN)}…` : text);
}
