/**
 * Where connections come in: a socket of the system for each endpoint of `tcp://` and `ipc://`.
 *
 * @module
 */

import { ZmqError } from "../errors.ts";
import { bytesOf, cString, errorCode, lastError } from "../zmq/library.ts";
import {
  AF_INET,
  AF_INET6,
  AF_UNIX,
  IPPROTO_IPV6,
  IPPROTO_TCP,
  IPV6_V6ONLY,
  IS_LINUX,
  linux,
  O_CLOEXEC,
  O_NONBLOCK,
  SO_PEERCRED,
  SO_REUSEADDR,
  SOCK_CLOEXEC,
  SOCK_NONBLOCK,
  SOCK_STREAM,
  SOL_SOCKET,
  TCP_NODELAY,
} from "./linux.ts";

/** How many connections may wait to be accepted; the system may allow less. */
const BACKLOG = 1_024;
/** struct sockaddr_in and _in6: family, port, and then what differs. */
const INET = 16, INET6 = 28, PORT_AT = 2, IPV4_AT = 4, IPV6_AT = 8;
/** struct sockaddr_un: family and a path, which ends with a zero. */
const PATH_AT = 2, LONGEST_PATH = 107;
/** The last port that there is. */
const LAST_PORT = 65_535;
/** Room for any struct sockaddr. */
const ANY = 128;
/** Room for an address as text. */
const TEXT = 46;
/** An IPv4 address, an IPv6 address in brackets, or any, and a port, or any that is free. */
const TCP = /^tcp:\/\/(?:(\*)|([\d.]+)|\[([\da-f:.]+)\]):(\d+|\*)$/i;
const IPC = /^ipc:\/\/([^*@].*|@.+)$/s;

const one = bytesOf(new Int32Array([1])), zero = bytesOf(new Int32Array(1));

/** A socket that listens at one endpoint. */
export class Listener {
  /** Of the socket. */
  readonly descriptor: number;
  /** Where it listens, with the port that was chosen. */
  readonly endpoint: string;
  readonly #path: string | undefined;

  private constructor(descriptor: number, endpoint: string, path: string | undefined) {
    this.descriptor = descriptor;
    this.endpoint = endpoint;
    this.#path = path;
  }

  /**
   * Whether one can listen there: at addresses of IP, not at names of network interfaces, and at paths,
   * on Linux.
   */
  static canListen(endpoint: string): boolean {
    if (!IS_LINUX) return false;
    if (IPC.test(endpoint)) return true;
    const parts = TCP.exec(endpoint);
    return parts !== null && inetAddress(parts) !== undefined;
  }

  /**
   * Listens.
   *
   * @throws {ZmqError} As `zmq_bind` would.
   */
  static listen(endpoint: string): Listener {
    const [, path] = IPC.exec(endpoint) ?? [];
    if (path !== undefined) return Listener.#listenAtPath(endpoint, path);
    const address = inetAddress(TCP.exec(endpoint)!)!, family = address[0]!;
    const descriptor = openSocket(family, endpoint);
    const { setsockopt, getsockname } = linux();
    setsockopt(descriptor, SOL_SOCKET, SO_REUSEADDR, one, 4);
    if (family === AF_INET6) setsockopt(descriptor, IPPROTO_IPV6, IPV6_V6ONLY, zero, 4);
    bindTo(descriptor, address, endpoint);
    getsockname(descriptor, address, bytesOf(new Uint32Array([address.length])));
    const port = address[PORT_AT]! << 8 | address[PORT_AT + 1]!, host = textOf(address);
    const shown = family === AF_INET6 ? `[${host}]` : host;
    return new Listener(descriptor, `tcp://${shown}:${port}`, undefined);
  }

  static #listenAtPath(endpoint: string, path: string): Listener {
    const isAbstract = path.startsWith("@"), address = pathAddress(path);
    if (address.length > PATH_AT + LONGEST_PATH + 1) throw failed("ENAMETOOLONG", endpoint);
    if (!isAbstract && isSocket(path) && isLeftOver(address, endpoint)) {
      linux().unlink(cString(path));
    }
    const descriptor = openSocket(AF_UNIX, endpoint);
    bindTo(descriptor, address, endpoint);
    return new Listener(descriptor, endpoint, isAbstract ? undefined : path);
  }

  /** Listens no more. */
  close(): void {
    // In this order: once it is closed, the path may be another's.
    if (this.#path !== undefined) linux().unlink(cString(this.#path));
    linux().close(this.descriptor);
  }

  /**
   * Takes a connection that has come.
   *
   * @returns It, or the name of the error: `EAGAIN` if there is none.
   */
  accept(): { descriptor: number; address: string | undefined } | string {
    const from = new Uint8Array(ANY), length = new Uint32Array([ANY]);
    const flags = SOCK_NONBLOCK | SOCK_CLOEXEC;
    const descriptor = linux().accept4(this.descriptor, from, bytesOf(length), flags);
    if (descriptor < 0) return errorCode();
    if (from[0] === AF_UNIX) return { descriptor, address: credentialsOf(descriptor) };
    linux().setsockopt(descriptor, IPPROTO_TCP, TCP_NODELAY, one, 4);
    return { descriptor, address: textOf(from) };
  }
}

/** A path, or an abstract name that begins with `@`, as the system has it. */
export function pathAddress(path: string): Uint8Array<ArrayBuffer> {
  const bytes = new TextEncoder().encode(path), isAbstract = path.startsWith("@");
  // An abstract one has no end but that of the address.
  const address = new Uint8Array(PATH_AT + bytes.length + (isAbstract ? 0 : 1));
  address[0] = AF_UNIX;
  address.set(bytes, PATH_AT);
  if (isAbstract) address[PATH_AT] = 0;
  return address;
}

function openSocket(family: number, endpoint: string): number {
  const { socket } = linux();
  const descriptor = socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (descriptor < 0) throw lastError("zmq_bind", `"${endpoint}"`);
  return descriptor;
}

/** Has it listen at an address, or closes it. */
function bindTo(descriptor: number, address: Uint8Array<ArrayBuffer>, endpoint: string): void {
  const { bind, listen, close } = linux();
  if (bind(descriptor, address, address.length) === 0 && listen(descriptor, BACKLOG) === 0) return;
  const error = lastError("zmq_bind", `"${endpoint}"`);
  close(descriptor);
  throw error;
}

/** Whether a socket is there, and not a file: those alone cannot be opened for this reason. */
function isSocket(path: string): boolean {
  const { open, close } = linux();
  const descriptor = open(cString(path), O_NONBLOCK | O_CLOEXEC);
  if (descriptor < 0) return errorCode() === "ENXIO";
  close(descriptor);
  return false;
}

/**
 * Whether nobody listens at a socket any more: its broker was killed.
 *
 * @throws {ZmqError} `EADDRINUSE` if somebody does.
 */
function isLeftOver(address: Uint8Array<ArrayBuffer>, endpoint: string): boolean {
  const descriptor = openSocket(AF_UNIX, endpoint);
  const result = linux().connect(descriptor, address, address.length);
  const code = result === 0 ? "" : errorCode();
  linux().close(descriptor);
  if (result === 0 || code === "EAGAIN") throw failed("EADDRINUSE", endpoint);
  return code === "ECONNREFUSED";
}

/** The error of a bind that needs no call to fail. */
function failed(code: "EADDRINUSE" | "ENAMETOOLONG", endpoint: string): ZmqError {
  const why = code === "EADDRINUSE" ? "Address already in use" : "File name too long";
  return new ZmqError(code, "zmq_bind", `zmq_bind failed for "${endpoint}": ${why} (${code})`);
}

/** An address of IP, with its port, as the system has it; `undefined` if it is none. */
function inetAddress(
  [, any, ipv4, ipv6, port]: RegExpExecArray,
): Uint8Array<ArrayBuffer> | undefined {
  const family = ipv6 === undefined ? AF_INET : AF_INET6;
  const address = new Uint8Array(ipv6 === undefined ? INET : INET6);
  address[0] = family;
  const number = port === "*" ? 0 : Number(port);
  if (number > LAST_PORT) return undefined;
  address[PORT_AT] = number >> 8;
  address[PORT_AT + 1] = number;
  if (any !== undefined) return address;
  const host = new Uint8Array(16);
  if (linux().inet_pton(family, cString(ipv6 ?? ipv4!), host) !== 1) return undefined;
  address.set(
    ipv6 === undefined ? host.subarray(0, 4) : host,
    ipv6 === undefined ? IPV4_AT : IPV6_AT,
  );
  return address;
}

/** The host of an address of IP. */
function textOf(address: Uint8Array<ArrayBuffer>): string {
  const family = address[0]!, text = new Uint8Array(TEXT);
  const host = address.slice(family === AF_INET6 ? IPV6_AT : IPV4_AT);
  linux().inet_ntop(family, host, text, TEXT);
  return new TextDecoder().decode(text.subarray(0, text.indexOf(0)));
}

/** Who is at the other end by `ipc:`, as libzmq tells it: the ids of user, group and process. */
function credentialsOf(descriptor: number): string | undefined {
  const ids = new Uint32Array(3), length = bytesOf(new Uint32Array([ids.byteLength]));
  const { getsockopt } = linux();
  if (getsockopt(descriptor, SOL_SOCKET, SO_PEERCRED, bytesOf(ids), length) !== 0) return undefined;
  const [process, user, group] = ids;
  return `localhost:${user}:${group}:${process}`;
}
