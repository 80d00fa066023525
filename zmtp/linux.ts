/**
 * The part of Linux's C library that is used here, as one table for `Deno.dlopen`, and its
 * structures. Each parameter carries the name that it has in the manual.
 *
 * What returns a `ssize_t` is taken as 32 bits, as no more than that is asked for; sizes are passed in
 * structures, never as arguments: see `zmq/symbols.ts`.
 *
 * @module
 */

import { libzmq } from "../zmq/library.ts";

const pointer = "pointer", buffer = "buffer", int = "i32";

const table = {
  accept4: {
    parameters: [/* sockfd */ int, /* addr */ buffer, /* addrlen */ buffer, /* flags */ int],
    result: int,
  },
  bind: { parameters: [/* sockfd */ int, /* addr */ buffer, /* addrlen */ "u32"], result: int },
  close: { parameters: [/* fd */ int], result: int },
  connect: { parameters: [/* sockfd */ int, /* addr */ buffer, /* addrlen */ "u32"], result: int },
  epoll_create1: { parameters: [/* flags */ int], result: int },
  epoll_ctl: {
    parameters: [/* epfd */ int, /* op */ int, /* fd */ int, /* event */ buffer],
    result: int,
  },
  epoll_wait: {
    parameters: [/* epfd */ int, /* events */ pointer, /* maxevents */ int, /* timeout */ int],
    result: int,
  },
  getsockname: {
    parameters: [/* sockfd */ int, /* addr */ buffer, /* addrlen */ buffer],
    result: int,
  },
  getsockopt: {
    parameters: [
      /* sockfd */ int,
      /* level */ int,
      /* optname */ int,
      /* optval */ buffer,
      /* optlen */ buffer,
    ],
    result: int,
  },
  inet_ntop: {
    parameters: [/* af */ int, /* src */ buffer, /* dst */ buffer, /* size */ "u32"],
    result: pointer,
  },
  inet_pton: { parameters: [/* af */ int, /* src */ buffer, /* dst */ buffer], result: int },
  listen: { parameters: [/* sockfd */ int, /* backlog */ int], result: int },
  open: { parameters: [/* pathname */ buffer, /* flags */ int], result: int },
  recvmsg: { parameters: [/* sockfd */ int, /* msg */ pointer, /* flags */ int], result: int },
  sendmsg: { parameters: [/* sockfd */ int, /* msg */ pointer, /* flags */ int], result: int },
  setsockopt: {
    parameters: [
      /* sockfd */ int,
      /* level */ int,
      /* optname */ int,
      /* optval */ buffer,
      /* optlen */ "u32",
    ],
    result: int,
  },
  shutdown: { parameters: [/* sockfd */ int, /* how */ int], result: int },
  socket: { parameters: [/* domain */ int, /* type */ int, /* protocol */ int], result: int },
  unlink: { parameters: [/* pathname */ buffer], result: int },
} as const satisfies Deno.ForeignLibraryInterface;

/** The C library's functions, opened. */
export type Linux = Deno.DynamicLibrary<typeof table>["symbols"];

let opened: Linux | undefined;

/** Whether there is all that is used here. */
export const IS_LINUX: boolean = Deno.build.os === "linux" &&
  (Deno.build.arch === "x86_64" || Deno.build.arch === "aarch64");

/** The C library's functions. They are found through libzmq's handle, whatever the library is called. */
export function linux(): Linux {
  return opened ??= Deno.dlopen(libzmq().path, table).symbols;
}

export const AF_UNIX = 1, AF_INET = 2, AF_INET6 = 10;
export const SOCK_STREAM = 1, SOCK_NONBLOCK = 0o4000, SOCK_CLOEXEC = 0o2000000;
export const SOL_SOCKET = 1, SO_REUSEADDR = 2, SO_PEERCRED = 17;
export const IPPROTO_TCP = 6, TCP_NODELAY = 1, IPPROTO_IPV6 = 41, IPV6_V6ONLY = 26;
export const EPOLL_CLOEXEC = 0o2000000;
export const EPOLL_CTL_ADD = 1, EPOLL_CTL_DEL = 2, EPOLL_CTL_MOD = 3;
export const EPOLLIN = 1, EPOLLOUT = 4;
export const MSG_DONTWAIT = 0x40, MSG_NOSIGNAL = 0x4000;
export const O_NONBLOCK = 0o4000, O_CLOEXEC = 0o2000000;
export const SHUT_WR = 1, SHUT_RDWR = 2;

/** struct epoll_event: 32 bits of events, 64 of data; in one piece on x86-64 alone. */
export const EPOLL_EVENT = Deno.build.arch === "x86_64" ? 12 : 16;
export const EPOLL_DATA_AT = EPOLL_EVENT - 8;

/** struct iovec: an address, a size. */
const IOVEC = 16;
/** struct msghdr: name, its length, the iovecs, how many they are, control data, its length, flags. */
const MSGHDR = 56, IOV_AT = 16, IOVLEN_AT = 24;

/** A `struct msghdr` with its `struct iovec`s: what sendmsg(2) and recvmsg(2) are told. */
export class Vectors {
  /** Of the `msghdr`. */
  readonly pointer: Deno.PointerObject;
  readonly #header: DataView<ArrayBuffer>;
  readonly #vectors: DataView<ArrayBuffer>;
  /** The same, for what is of 32 bits. */
  readonly #words: Uint32Array<ArrayBuffer>;
  #count = 0;

  /** @param most How many pieces of memory it may tell of. */
  constructor(readonly most: number) {
    this.#vectors = new DataView(new ArrayBuffer(most * IOVEC));
    this.#words = new Uint32Array(this.#vectors.buffer);
    this.#header = new DataView(new ArrayBuffer(MSGHDR));
    this.#header.setBigUint64(IOV_AT, addressOf(this.#vectors), true);
    this.pointer = Deno.UnsafePointer.create(addressOf(this.#header))!;
  }

  /** How many pieces it tells of. */
  get count(): number {
    return this.#count;
  }

  /** Has it tell of none. */
  clear(): void {
    this.#tellOf(0);
  }

  /** Has it tell of one piece more. */
  add(address: bigint, size: number): void {
    this.#vectors.setBigUint64(this.#count * IOVEC, address, true);
    this.#words[this.#count * 4 + 2] = size;
    this.#tellOf(this.#count + 1);
  }

  /** Has it tell of the first piece alone, with another size. */
  resize(size: number): void {
    this.#words[2] = size;
    if (this.#count !== 1) this.#tellOf(1);
  }

  #tellOf(count: number): void {
    this.#count = count;
    this.#header.setUint32(IOVLEN_AT, count, true);
  }
}

/** Where the memory of a typed array is. It stays there as long as there is the array. */
export function addressOf(view: ArrayBufferView<ArrayBuffer>): bigint {
  return Deno.UnsafePointer.value(Deno.UnsafePointer.of(view));
}
