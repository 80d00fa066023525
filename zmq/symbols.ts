/**
 * The part of libzmq's C interface that is used here, as one table for `Deno.dlopen`. Each
 * parameter carries the name that it has in zmq.h.
 *
 * A `zmq_msg_t` and a socket are passed as pointers (a call takes 5 ns), our own memory as
 * buffers (11 ns). `size_t` is `usize`, never a 32-bit type: an ABI may leave the upper half of
 * a register undefined.
 *
 * @module
 */

const pointer = "pointer", buffer = "buffer", size_t = "usize", int = "i32";
/** An unsigned int or long: the same in a register, as it is never negative. */
const nfds_t = size_t;

export const symbols = {
  zmq_version: {
    parameters: [/* major */ buffer, /* minor */ buffer, /* patch */ buffer],
    result: "void",
  },
  zmq_errno: { parameters: [], result: int },
  zmq_strerror: { parameters: [/* errnum */ int], result: pointer },
  zmq_has: { parameters: [/* capability */ buffer], result: int },

  zmq_ctx_new: { parameters: [], result: pointer },
  zmq_ctx_set: {
    parameters: [/* context */ pointer, /* option */ int, /* optval */ int],
    result: int,
  },
  zmq_ctx_term: { parameters: [/* context */ pointer], result: int, nonblocking: true },

  zmq_socket: { parameters: [/* context */ pointer, /* type */ int], result: pointer },
  zmq_close: { parameters: [/* s */ pointer], result: int },
  zmq_bind: { parameters: [/* s */ pointer, /* addr */ buffer], result: int },
  zmq_unbind: { parameters: [/* s */ pointer, /* addr */ buffer], result: int },
  zmq_connect: { parameters: [/* s */ pointer, /* addr */ buffer], result: int },
  zmq_socket_monitor: {
    parameters: [/* s */ pointer, /* addr */ buffer, /* events */ int],
    result: int,
  },
  zmq_disconnect: { parameters: [/* s */ pointer, /* addr */ buffer], result: int },
  zmq_setsockopt: {
    parameters: [/* s */ pointer, /* option */ int, /* optval */ buffer, /* optvallen */ size_t],
    result: int,
  },
  zmq_getsockopt: {
    parameters: [/* s */ pointer, /* option */ int, /* optval */ buffer, /* optvallen */ buffer],
    result: int,
  },
  zmq_send: {
    parameters: [/* s */ pointer, /* buf */ buffer, /* len */ size_t, /* flags */ int],
    result: int,
  },
  /** The same from an address. */
  zmq_send_at: {
    name: "zmq_send",
    parameters: [/* s */ pointer, /* buf */ pointer, /* len */ size_t, /* flags */ int],
    result: int,
  },

  zmq_msg_init: { parameters: [/* msg */ pointer], result: int },
  zmq_msg_init_size: { parameters: [/* msg */ pointer, /* size */ size_t], result: int },
  zmq_msg_close: { parameters: [/* msg */ pointer], result: int },
  zmq_msg_data: { parameters: [/* msg */ pointer], result: pointer },
  zmq_msg_size: { parameters: [/* msg */ pointer], result: size_t },
  zmq_msg_more: { parameters: [/* msg */ pointer], result: int },
  zmq_msg_gets: { parameters: [/* msg */ pointer, /* property */ buffer], result: pointer },
  zmq_msg_recv: { parameters: [/* msg */ pointer, /* s */ pointer, /* flags */ int], result: int },
  zmq_msg_send: { parameters: [/* msg */ pointer, /* s */ pointer, /* flags */ int], result: int },

  // The C library's, found through libzmq's handle.
  clock_gettime: { parameters: [/* clock_id */ int, /* tp */ pointer], result: int },
  memcpy: { parameters: [/* dest */ buffer, /* src */ pointer, /* n */ size_t], result: "void" },
  srand: { parameters: [/* seed */ "u32"], result: "void" },
  poll: { parameters: [/* fds */ buffer, /* nfds */ nfds_t, /* timeout */ int], result: int },
  /** The same on a thread of Deno's pool. */
  poll_async: {
    name: "poll",
    parameters: [/* fds */ buffer, /* nfds */ nfds_t, /* timeout */ int],
    result: int,
    nonblocking: true,
  },
} as const satisfies Deno.ForeignLibraryInterface;

/** libzmq's functions, opened. */
export type Symbols = Deno.DynamicLibrary<typeof symbols>["symbols"];

// zmq.h: what the calls above take and give back.
export const DEALER = 5, ROUTER = 6, PAIR = 0, REQ = 3, REP = 4;
export const DONTWAIT = 1, SNDMORE = 2;
export const POLLIN = 1, POLLOUT = 2;
export const MSG_SIZE = 64;
export const IO_THREADS = 1, MAX_SOCKETS = 2;
export const FD = 14, EVENTS = 15, LAST_ENDPOINT = 32;
export const NOTIFY_DISCONNECT = 2;
export const EVENT_CONNECT_DELAYED = 0x0002, EVENT_CONNECT_RETRIED = 0x0004;
export const EVENT_ACCEPT_FAILED = 0x0040;
export const EVENT_DISCONNECTED = 0x0200, EVENT_HANDSHAKE_SUCCEEDED = 0x1000;

const EHAUSNUMERO = 156384712;

/** Error numbers by name: POSIX's as the platform counts them, and ZeroMQ's own. */
export const ERRNO: ReadonlyMap<number, string> = new Map<number, string>([
  ...(Deno.build.os === "linux"
    ? [
      [1, "EPERM"],
      [2, "ENOENT"],
      [4, "EINTR"],
      [6, "ENXIO"],
      [9, "EBADF"],
      [11, "EAGAIN"],
      [12, "ENOMEM"],
      [13, "EACCES"],
      [14, "EFAULT"],
      [16, "EBUSY"],
      [19, "ENODEV"],
      [20, "ENOTDIR"],
      [22, "EINVAL"],
      [23, "ENFILE"],
      [24, "EMFILE"],
      [30, "EROFS"],
      [32, "EPIPE"],
      [36, "ENAMETOOLONG"],
      [88, "ENOTSOCK"],
      [90, "EMSGSIZE"],
      [93, "EPROTONOSUPPORT"],
      [95, "ENOTSUP"],
      [97, "EAFNOSUPPORT"],
      [98, "EADDRINUSE"],
      [99, "EADDRNOTAVAIL"],
      [100, "ENETDOWN"],
      [101, "ENETUNREACH"],
      [103, "ECONNABORTED"],
      [104, "ECONNRESET"],
      [105, "ENOBUFS"],
      [107, "ENOTCONN"],
      [110, "ETIMEDOUT"],
      [111, "ECONNREFUSED"],
      [113, "EHOSTUNREACH"],
      [115, "EINPROGRESS"],
    ] as const
    : [
      [1, "EPERM"],
      [2, "ENOENT"],
      [4, "EINTR"],
      [6, "ENXIO"],
      [9, "EBADF"],
      [12, "ENOMEM"],
      [13, "EACCES"],
      [14, "EFAULT"],
      [16, "EBUSY"],
      [19, "ENODEV"],
      [20, "ENOTDIR"],
      [22, "EINVAL"],
      [23, "ENFILE"],
      [24, "EMFILE"],
      [30, "EROFS"],
      [32, "EPIPE"],
      [35, "EAGAIN"],
      [36, "EINPROGRESS"],
      [38, "ENOTSOCK"],
      [40, "EMSGSIZE"],
      [43, "EPROTONOSUPPORT"],
      [45, "ENOTSUP"],
      [47, "EAFNOSUPPORT"],
      [48, "EADDRINUSE"],
      [49, "EADDRNOTAVAIL"],
      [50, "ENETDOWN"],
      [51, "ENETUNREACH"],
      [53, "ECONNABORTED"],
      [54, "ECONNRESET"],
      [55, "ENOBUFS"],
      [57, "ENOTCONN"],
      [60, "ETIMEDOUT"],
      [61, "ECONNREFUSED"],
      [63, "ENAMETOOLONG"],
      [65, "EHOSTUNREACH"],
    ] as const),
  [EHAUSNUMERO + 51, "EFSM"],
  [EHAUSNUMERO + 52, "ENOCOMPATPROTO"],
  [EHAUSNUMERO + 53, "ETERM"],
  [EHAUSNUMERO + 54, "EMTHREAD"],
]);
