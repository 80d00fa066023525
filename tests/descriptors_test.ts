// A broker that may open no more files: it serves the peers that it has, says why it takes no more,
// and takes more again when it can.

import assert from "node:assert/strict";
import { Client } from "../client.ts";
import { Worker } from "../worker.ts";
import { Program } from "./cli.ts";

/** How many files the broker may have open. Some forty are its own. */
const FILES = 96;
/** When the runtime has all that it needs, in ms after the start. */
const SETTLED = 3_000;

Deno.test({
  name: "the broker serves on, and says why, when it may have no more open files",
  // Limited with the shell's ulimit.
  ignore: Deno.build.os === "windows",
  async fn() {
    const limited = `ulimit -n ${FILES}; exec "$0" "$@"`;
    await using program = new Program("sh", [
      ...["-c", limited, Deno.execPath(), "run", "--quiet", "--no-prompt", "--allow-ffi"],
      ...["cli/broker.ts", "-b", "tcp://127.0.0.1:*"],
    ], { NO_COLOR: "1" });
    const [, endpoint] = await program.stderr(/Listening on (tcp:[^"\s]+)/);
    const broker = endpoint!;
    await using worker = new Worker({ broker, service: "echo", dialect: "rfc" });
    worker.serve((request) => request.text());
    await using client = new Client({ broker, dialect: "multiplexed", timeout: 20_000 });
    // Deno 2.9.6 itself opens a file once in its first seconds, and aborts if it cannot.
    for (const end = performance.now() + SETTLED; performance.now() < end;) {
      assert.equal((await client.request("echo", "before")).text(), "before");
    }

    const port = Number(new URL(broker.replace("tcp:", "http:")).port);
    const crowd = await Promise.all(
      Array.from({ length: FILES }, () => Deno.connect({ hostname: "127.0.0.1", port })),
    );
    const complaint =
      /Cannot take a new connection at .*: the process may have no more open files \(EMFILE\), see ulimit -n/;
    await program.stderr(complaint);
    // It lasts, and is told again, at a bounded rate.
    await program.stderr(complaint);
    for (let i = 0; i < 20; i++) {
      assert.equal((await client.request("echo", `${i}`)).text(), `${i}`);
    }

    for (const connection of crowd) connection.close();
    await using late = new Client({ broker, dialect: "multiplexed", timeout: 20_000 });
    assert.equal((await late.request("echo", "after")).text(), "after");
    program.kill("SIGTERM");
    const { code, stderr } = await program.ended();
    assert.equal(code, 0);
    assert.ok(stderr.length < 20, `${stderr.length} lines: ${stderr.slice(0, 20).join("\n")}`);
  },
});

for (const permission of ["--allow-net=127.0.0.1", "--allow-net=127.0.0.1:0"]) {
  Deno.test({
    name:
      "the broker outlives that it can take no more connections by HTTP, and takes some again " +
      `with ${permission}`,
    ignore: Deno.build.os === "windows",
    async fn() {
      const limited = 'ulimit -n 160; exec "$0" "$@"';
      await using program = new Program("sh", [
        ...["-c", limited, Deno.execPath(), "run", "--quiet", "--no-prompt"],
        ...["--allow-ffi", permission],
        ...["cli/broker.ts", "-b", "tcp://127.0.0.1:*", "--http", "0"],
      ], { NO_COLOR: "1" });
      const [, broker] = await program.stderr(/Listening on (tcp:[^"\s]+)/);
      const [, , port] = await program.stderr(/Listening on (http:\/\/127\.0\.0\.1:(\d+)\/)/);
      await using client = new Client({ broker: broker!, dialect: "multiplexed", timeout: 20_000 });
      for (const end = performance.now() + SETTLED; performance.now() < end;) {
        await client.request("mmi.ping");
      }
      const crowd: Deno.Conn[] = [];
      for (let i = 0; i < 160; i++) {
        const address = { hostname: "127.0.0.1", port: Number(port) };
        const connection = await Deno.connect(address).catch(() => undefined);
        // It does not listen any more.
        if (connection === undefined) break;
        crowd.push(connection);
        await connection.write(new TextEncoder().encode("GET / HTTP/1.1\r\n")).catch(() => {});
      }
      await program.stderr(
        /Cannot take connections by HTTP at port \d+: the process .* \(EMFILE\), see ulimit -n\. It is tried again/,
      );
      assert.match((await client.request("mmi.ping")).text(), /"version"/);
      for (const connection of crowd) connection.close();
      // At the same port, if it may.
      const again = /Takes connections by HTTP again, on (http:\/\/127\.0\.0\.1:(\d+)\/)/;
      const [, url, now] = await program.stderr(again);
      if (!permission.endsWith(":0")) assert.equal(now, port);
      const response = await fetch(`${url}readyz`);
      await response.body?.cancel();
      assert.equal(response.status, 200);
      program.kill("SIGTERM");
      assert.equal((await program.ended()).code, 0);
    },
  });
}
