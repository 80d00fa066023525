/**
 * What a load says and hears in each dialect, frame by frame: what a broker has to do with it is
 * MDP, but none of the project's codec is in the way, nor measured with it.
 *
 * @module
 */

import type { DialectName } from "../../codec.ts";
import { Frame, type Port } from "./port.ts";

/**
 * What a message was. `answer` is what a worker's socket gets when it has asked as a client does;
 * `other` is any that does not belong there.
 */
export type Heard =
  | "nothing"
  | "request"
  | "partial"
  | "final"
  | "heartbeat"
  | "error"
  | "answer"
  | "other";

/** One end of a dialect: how it is spoken at a client or a worker. */
export interface ClientWire {
  /** Sends a request; the id is from 1 up. */
  request(port: Port, service: Frame, id: number, body: Frame): void;
  /** Receives a message; the last frame of a reply is then in `body`. */
  receive(port: Port, body: Frame): Heard;
  /**
   * Whether the last PARTIAL or FINAL says that it is the answer to that request: by its id, of 32
   * bits, in the multiplexed dialect, by its service in RFC 18; majortomo's says nothing.
   */
  isAbout(id: number, service: Frame): boolean;
  /** The code of the last `error`, in the dialect that has any. */
  readonly code?: number;
}

/** The other end. */
export interface WorkerWire {
  /** Registers. */
  ready(port: Port, service: Frame, credit: number): void;
  /** Receives a message; a request's body is then in `body`, and what it takes to answer kept. */
  receive(port: Port, body: Frame): Heard;
  /** Answers the request that was received last. */
  reply(port: Port, command: "partial" | "final", body: Frame): void;
  /** Says that it is alive. */
  heartbeat(port: Port): void;
  /** Takes leave. */
  disconnect(port: Port): void;
}

/** The wire of a client's sockets. */
export function clientWire(dialect: DialectName): ClientWire {
  return dialect === "multiplexed" ? multiplexedClient() : plainClient(dialect === "majortomo");
}

/** The wire of a worker's sockets. */
export function workerWire(dialect: DialectName): WorkerWire {
  return dialect === "multiplexed" ? multiplexedWorker() : plainWorker(dialect === "majortomo");
}

const EMPTY = new Frame("");

// ---- the multiplexed dialect ----

const CONTROL = 20, COMMAND = 6, FLAGS = 7, ID = 8, VALUE = 16;

function control(header: string): Frame & { view: DataView } {
  const frame = new Frame(CONTROL);
  frame.bytes.set(new TextEncoder().encode(header));
  return Object.assign(frame, { view: new DataView(frame.bytes.buffer) });
}

function multiplexedClient(): ClientWire {
  const sent = control("MDPCX1"), received = control("MDPCX1");
  sent.bytes[COMMAND] = 1;
  return {
    get code() {
      return received.view.getUint32(VALUE);
    },
    isAbout: (id) => received.view.getUint32(ID + 4) === id && received.view.getUint32(ID) === 0,
    request(port, service, id, body) {
      sent.view.setBigUint64(ID, BigInt(id));
      port.sendMore(sent);
      port.sendMore(service);
      port.send(body);
    },
    receive(port, body) {
      const size = port.receive(received);
      if (size < 0) return "nothing";
      const command = received.bytes[COMMAND];
      if (size === CONTROL && command === 5) return "heartbeat";
      if (size !== CONTROL || received.bytes[FLAGS] !== 0 || command !== 2 && command !== 3) {
        port.skip();
        return size === CONTROL && command === 4 ? "error" : "other";
      }
      port.receive(body);
      return command === 2 ? "partial" : "final";
    },
  };
}

function multiplexedWorker(): WorkerWire {
  const said = control("MDPWX1"), received = control("MDPWX1");
  return {
    ready(port, service, credit) {
      said.bytes[COMMAND] = 1;
      said.view.setUint32(VALUE, credit);
      port.sendMore(said);
      port.send(service);
      said.view.setUint32(VALUE, 0);
    },
    receive(port, body) {
      const size = port.receive(received);
      if (size < 0) return "nothing";
      const command = received.bytes[COMMAND];
      if (size === CONTROL && command === 5) return "heartbeat";
      if (size !== CONTROL || command !== 2) {
        port.skip();
        return size === ENVELOPE ? "answer" : "other";
      }
      received.view.setUint32(VALUE, 0);
      port.receive(body);
      return "request";
    },
    reply(port, command, body) {
      received.bytes[COMMAND] = command === "partial" ? 3 : 4;
      port.sendMore(received);
      port.send(body);
    },
    heartbeat(port) {
      said.bytes[COMMAND] = 5;
      port.send(said);
    },
    disconnect(port) {
      said.bytes[COMMAND] = 6;
      port.send(said);
    },
  };
}

// ---- RFC 18, and majortomo's ----

const CLIENT = new Frame("MDPC02"), WORKER = new Frame("MDPW02");
const COMMANDS = Array.from({ length: 7 }, (_, i) => new Frame([i]));
const ENVELOPE = 6;

/** Receives the first frames of a message, down to the command. -1: there is none; 0: no MDP. */
function receiveCommand(port: Port, delimiter: boolean, scratch: Frame, header: Frame): number {
  const size = port.receive(header);
  if (size < 0) return -1;
  if ((delimiter ? size === 0 && port.receive(header) : size) !== ENVELOPE) return 0;
  return port.receive(scratch) === 1 ? scratch.bytes[0]! : 0;
}

function plainClient(majortomo: boolean): ClientWire {
  const scratch = new Frame(256), header = new Frame(ENVELOPE);
  const shift = majortomo ? 1 : 0;
  const isService = ({ bytes, size }: Frame) => {
    if (scratch.size !== size) return false;
    for (let i = 0; i < size; i++) if (scratch.bytes[i] !== bytes[i]) return false;
    return true;
  };
  return {
    isAbout: (_, service) => majortomo || isService(service),
    request(port, service, _, body) {
      if (majortomo) port.sendMore(EMPTY);
      port.sendMore(CLIENT);
      port.sendMore(COMMANDS[1 + shift]!);
      port.sendMore(service);
      port.send(body);
    },
    receive(port, body) {
      const command = receiveCommand(port, majortomo, scratch, header);
      if (command < 0) return "nothing";
      if (command !== 2 + shift && command !== 3 + shift) {
        port.skip();
        return "other";
      }
      if (!majortomo) port.receive(scratch);
      port.receive(body);
      return command === 2 + shift ? "partial" : "final";
    },
  };
}

function plainWorker(majortomo: boolean): WorkerWire {
  const scratch = new Frame(256), header = new Frame(ENVELOPE), address = new Frame(256);
  function say(port: Port, command: number): void {
    if (majortomo) port.sendMore(EMPTY);
    port.sendMore(WORKER);
    if (command >= 5) port.send(COMMANDS[command]!);
    else port.sendMore(COMMANDS[command]!);
  }
  return {
    ready(port, service) {
      say(port, 1);
      port.send(service);
    },
    receive(port, body) {
      const command = receiveCommand(port, majortomo, scratch, header);
      if (command < 0) return "nothing";
      const isAnswer = header.bytes[3] === CLIENT.bytes[3];
      if (command === 5) return "heartbeat";
      if (command !== 2 || isAnswer) {
        port.skip();
        return isAnswer ? "answer" : "other";
      }
      port.receive(address);
      port.receive(scratch);
      port.receive(body);
      return "request";
    },
    reply(port, command, body) {
      say(port, command === "partial" ? 3 : 4);
      port.sendMore(address);
      port.sendMore(EMPTY);
      port.send(body);
    },
    heartbeat: (port) => say(port, 5),
    disconnect: (port) => say(port, 6),
  };
}
