/**
 * Finds libzmq and opens it, once, at its first use.
 *
 * The package zeromq on npm ships libzmq built into its Node addon, for each platform, and the
 * addon exports the C functions. Importing the package's package.json makes the package part of
 * the module graph, so that Deno fetches it for whoever imports us, and runs none of its code;
 * its folder is then known without a permission. Opening the file takes `--allow-ffi`.
 *
 * @module
 */

// JSR rewrites bare specifiers in imports only: `import.meta.resolve` below needs the whole one.
// deno-lint-ignore no-import-prefix
import zeromq from "npm:zeromq@^6.8.0/package.json" with { type: "json" };
import { MdpError, ZmqError } from "../errors.ts";
import { ERRNO, type Symbols, symbols } from "./symbols.ts";

/** The oldest libzmq that has all that is used here: it tells when a handshake has succeeded. */
const OLDEST = [4, 3, 0] as const;

/**
 * The builds in zeromq's `build` folder, best first. 127 is linked against glibc 2.25, the
 * others there want 2.38, which Debian 12 does not have. Which C library a machine has cannot
 * be asked without a permission; the wrong build fails to open, so both are tried.
 */
const BUILDS: Readonly<Record<string, readonly string[]>> = {
  "linux-x86_64": ["linux/x64/node/glibc-127-Release", "linux/x64/node/musl-127-Release"],
  "linux-aarch64": ["linux/arm64/node/glibc-127-Release", "linux/arm64/node/musl-127-Release"],
  "darwin-x86_64": ["darwin/x64/node/libc-115-Release"],
  "darwin-aarch64": ["darwin/arm64/node/libc-115-Release"],
};

/** Where the compile task puts the one build that the executable carries. */
const EMBEDDED = "./embedded/libzmq.node";

export interface Library {
  /** The C functions. */
  readonly symbols: Symbols;
  /** What was opened: a path, or a name that the system's loader found. */
  readonly path: string;
  /** libzmq's version, e.g. `"4.3.5"`. */
  readonly version: string;
  /** Whether the draft API is in it, and with it `ZMQ_ROUTER_NOTIFY`. */
  readonly draft: boolean;
}

let library: Library | undefined;

/**
 * libzmq, opened at the first call.
 *
 * @throws {MdpError} If the platform has no build, `MAJORTOMO_LIBZMQ` names no usable library,
 * or the permission is missing. The message says what to do.
 */
export function libzmq(): Library {
  return library ??= open();
}

function open(): Library {
  const named = fromEnvironment();
  const candidates = named === undefined ? shipped() : [named];
  const failures: string[] = [];
  for (const path of candidates) {
    let opened: Deno.DynamicLibrary<typeof symbols>;
    try {
      opened = Deno.dlopen(path, symbols);
    } catch (error) {
      if (error instanceof Deno.errors.NotCapable) {
        throw new MdpError(
          "Opening libzmq needs the permission --allow-ffi: run deno with --allow-ffi",
        );
      }
      failures.push(reason(error));
      continue;
    }
    // By it libzmq begins to count its peers, and it does not care for a seed: each process would give
    // the same identities, in the same order.
    opened.symbols.srand(crypto.getRandomValues(new Uint32Array(1))[0]!);
    return checked(opened.symbols, path);
  }
  throw new MdpError(
    named === undefined
      ? `Cannot open libzmq of npm:zeromq ${zeromq.version} (${failures.join("; ")}): ` +
        "set MAJORTOMO_LIBZMQ to the path of a libzmq.so, and allow it with " +
        "--allow-env=MAJORTOMO_LIBZMQ"
      : `Cannot open MAJORTOMO_LIBZMQ="${named}" (${failures.join("; ")}): ` +
        "it must be the path of a libzmq 4.3 or later for this platform",
  );
}

/**
 * Whether it may be opened as things are: without it a program at a terminal has Deno ask its user.
 *
 * @throws {MdpError} If there is no libzmq for this platform.
 */
export function mayOpen(): boolean {
  const named = fromEnvironment();
  // The permission may be for a file alone.
  return (named === undefined ? shipped() : [named]).some((path) =>
    Deno.permissions.querySync({ name: "ffi", path }).state === "granted"
  );
}

/** The library that the environment names, where we are allowed to look and it does. */
function fromEnvironment(): string | undefined {
  const query = { name: "env", variable: "MAJORTOMO_LIBZMQ" } as const;
  // Asked first, since `Deno.env.get` would prompt at a terminal for a permission nobody needs.
  if (Deno.permissions.querySync(query).state !== "granted") return undefined;
  return Deno.env.get("MAJORTOMO_LIBZMQ") || undefined;
}

/** Paths of the builds that come with us, best first. */
function shipped(): string[] {
  if (Deno.build.standalone) return [filePath(new URL(EMBEDDED, import.meta.url))];
  const platform = `${Deno.build.os}-${Deno.build.arch}`;
  const builds = BUILDS[platform];
  if (builds === undefined) {
    throw new MdpError(
      `npm:zeromq ships no libzmq with its C functions for ${platform}: set MAJORTOMO_LIBZMQ ` +
        "to the path of a libzmq 4.3 or later, and allow it with --allow-env=MAJORTOMO_LIBZMQ",
    );
  }
  const manifest = import.meta.resolve("npm:zeromq@^6.8.0/package.json");
  return builds.map((build) => filePath(new URL(`build/${build}/addon.node`, manifest)));
}

function filePath(url: URL): string {
  return decodeURIComponent(url.pathname);
}

/** Deno's message without the advice that does not apply, on one line. */
function reason(error: unknown): string {
  const text = error instanceof Error ? error.message : String(error);
  return text.replace(/^Could not open library: /, "").replace(/\s+/g, " ").trim();
}

function checked(symbols: Symbols, path: string): Library {
  const parts = new Int32Array(3);
  const part = (index: number) => bytesOf(parts.subarray(index, index + 1));
  symbols.zmq_version(part(0), part(1), part(2));
  const numbers = [...parts];
  const version = numbers.join(".");
  const at = numbers.findIndex((n, i) => n !== OLDEST[i]);
  if (at >= 0 && numbers[at]! < OLDEST[at]!) {
    throw new MdpError(
      `libzmq ${version} at "${path}" is too old: ${OLDEST.join(".")} or later is needed`,
    );
  }
  return { symbols, path, version, draft: symbols.zmq_has(cString("draft")) === 1 };
}

/** The memory of a typed array, as the FFI takes it. */
export function bytesOf(view: ArrayBufferView<ArrayBuffer>): Uint8Array<ArrayBuffer> {
  return new Uint8Array(view.buffer, view.byteOffset, view.byteLength);
}

/** A zero-terminated string in UTF-8. */
export function cString(text: string): Uint8Array<ArrayBuffer> {
  return new TextEncoder().encode(text + "\0");
}

/**
 * The name of the error that the last call of libzmq on this thread ended with. V8 and Deno may do
 * something on this thread before it is asked, as collect garbage, and leave an error of their own
 * in its place: so what a call cannot end with is not its error. See {@linkcode isTold}.
 */
export function errorCode(): string {
  const errno = libzmq().symbols.zmq_errno();
  return ERRNO.get(errno) ?? `E${errno}`;
}

/** What zmq.h says that sending and receiving can end with. */
const TOLD: ReadonlySet<string> = new Set([
  "EAGAIN",
  "EFAULT",
  "EFSM",
  "EHOSTUNREACH",
  "EINTR",
  "EINVAL",
  "ENOTSOCK",
  "ENOTSUP",
  "ETERM",
]);

/**
 * Whether a call to send or receive can have ended with this error. If not, it is another's;
 * as nothing was done the call can be made again.
 */
export function isTold(code: string): boolean {
  return TOLD.has(code);
}

/**
 * The error for a call that failed just now; to be made before anything else calls libzmq.
 *
 * @param call The C function.
 * @param about What it was about, e.g. an endpoint in quotes.
 */
export function lastError(call: string, about: string): ZmqError {
  const { symbols } = libzmq();
  const errno = symbols.zmq_errno();
  const text = symbols.zmq_strerror(errno);
  const code = ERRNO.get(errno) ?? `E${errno}`;
  const words = text === null ? "unknown error" : new Deno.UnsafePointerView(text).getCString();
  return new ZmqError(code, call, `${call} failed for ${about}: ${words} (${code})`);
}
