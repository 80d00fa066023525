import assert from "node:assert/strict";
import { run } from "./program.ts";
import { libzmq } from "../zmq/library.ts";

/** What Debian's package libzmq5 installs. */
const DEBIANS = `/usr/lib/${Deno.build.arch}-linux-gnu/libzmq.so.5`;
const hasDebians = await Deno.stat(DEBIANS).then(() => true, () => false);

/** Says what was opened, after a message has gone through it. */
const PROGRAM = `
  import { Socket } from "./zmq/socket.ts";
  import { libzmq } from "./zmq/library.ts";
  await using router = new Socket("ROUTER", { linger: 0 });
  await using dealer = new Socket("DEALER", { linger: 0 });
  dealer.connect(router.bind("tcp://127.0.0.1:*"));
  const { promise, resolve } = Promise.withResolvers();
  router.watch(() => {
    const frames = router.receiveBytes();
    if (frames !== undefined) resolve(frames);
  });
  dealer.send([new TextEncoder().encode("hello")]);
  const [, body] = await promise;
  console.log(new TextDecoder().decode(body), libzmq().version, libzmq().path);
`;

/** Says what a ROUTER calls its first peer. */
const IDENTITY = PROGRAM.replace("const [, body]", "const [body]").replace(
  "new TextDecoder().decode(body)",
  "body.toHex()",
);

/** What a program that cannot open libzmq says, as it would show to a user. */
const FAILING = `
  import { libzmq } from "./zmq/library.ts";
  try {
    libzmq();
  } catch (error) {
    console.log(String(error));
  }
`;

Deno.test("`libzmq` opens what npm:zeromq ships", () => {
  const { path, version, draft } = libzmq();
  if (Deno.env.has("MAJORTOMO_LIBZMQ")) return;
  assert.match(path, /zeromq\/6\.\d+\.\d+\/build\/.*\.node$/);
  assert.match(version, /^4\.3\.\d+$/);
  assert.equal(draft, true);
  assert.equal(libzmq(), libzmq(), "it is opened once");
});

Deno.test("`libzmq` gives peers other identities in each process, that they cannot be guessed by", async () => {
  const [one, two] = await Promise.all([run(IDENTITY), run(IDENTITY)]);
  assert.match(one.stdout, /^00[\da-f]{8} /, one.stderr);
  assert.notEqual(one.stdout, two.stdout);
});

Deno.test("`libzmq` needs the permission --allow-ffi and no other", async () => {
  const { code, stdout, stderr } = await run(PROGRAM, { flags: ["--allow-ffi"] });
  assert.equal(stderr, "");
  assert.equal(code, 0);
  assert.match(stdout, /^hello 4\.3\.\d+ \/.*addon\.node\n$/);
});

Deno.test("`libzmq` names the flag when the permission --allow-ffi is missing", async () => {
  const { stdout } = await run(FAILING, { flags: [] });
  assert.equal(
    stdout,
    "MdpError: Opening libzmq needs the permission --allow-ffi: run deno with --allow-ffi\n",
  );
});

Deno.test({
  name: "`libzmq` opens what MAJORTOMO_LIBZMQ names",
  // Debian's package libzmq5 is not installed everywhere; .ci/run sees to it.
  ignore: !hasDebians,
  async fn() {
    const { code, stdout, stderr } = await run(PROGRAM, {
      flags: ["--allow-ffi", "--allow-env=MAJORTOMO_LIBZMQ"],
      env: { MAJORTOMO_LIBZMQ: DEBIANS },
    });
    assert.equal(stderr, "");
    assert.equal(code, 0);
    assert.match(stdout, /^hello 4\.\d+\.\d+ /);
    assert.ok(stdout.endsWith(` ${DEBIANS}\n`), stdout);
  },
});

Deno.test("`libzmq` does not heed MAJORTOMO_LIBZMQ where it may not read it", async () => {
  const { stdout, stderr } = await run(PROGRAM, {
    env: { MAJORTOMO_LIBZMQ: "/does/not/exist.so" },
  });
  assert.equal(stderr, "");
  assert.match(stdout, /^hello /);
});

Deno.test("`libzmq` takes an empty MAJORTOMO_LIBZMQ for none", async () => {
  const { stdout, stderr } = await run(PROGRAM, {
    flags: ["--allow-ffi", "--allow-env=MAJORTOMO_LIBZMQ"],
    env: { MAJORTOMO_LIBZMQ: "" },
  });
  assert.equal(stderr, "");
  assert.match(stdout, /^hello /);
});

for (
  const [what, path, why] of [
    ["there is none", "/does/not/exist.so", "No such file or directory"],
    ["it is no library", new URL("../deno.json", import.meta.url).pathname, "invalid ELF header"],
    ["it is another library", "libc.so.6", "undefined symbol: zmq_"],
  ] as const
) {
  Deno.test({
    name: `\`libzmq\` says what is wrong with MAJORTOMO_LIBZMQ in one line when ${what}`,
    // The reasons are those of Linux's loader.
    ignore: Deno.build.os !== "linux",
    async fn() {
      const { stdout } = await run(FAILING, {
        flags: ["--allow-ffi", "--allow-env=MAJORTOMO_LIBZMQ"],
        env: { MAJORTOMO_LIBZMQ: path },
      });
      assert.ok(stdout.startsWith(`MdpError: Cannot open MAJORTOMO_LIBZMQ="${path}" (`), stdout);
      assert.ok(stdout.includes(why), stdout);
      assert.ok(
        stdout.endsWith("): it must be the path of a libzmq 4.3 or later for this platform\n"),
        stdout,
      );
      assert.equal(stdout.indexOf("\n"), stdout.length - 1);
    },
  });
}
