import assert from "node:assert/strict";
import { Client } from "../client.ts";
import { run, start, startBroker } from "./cli.ts";
import { RawSocket } from "./raw.ts";

const example = (name: string) => `examples/${name}.ts`;

Deno.test("examples: the echo pair sends a text to and fro", async () => {
  const { broker, endpoint } = await startBroker();
  await using _ = broker;
  await using worker = start(example("echo_worker"), [endpoint]);

  const client = await run(example("echo_client"), [endpoint, "héllo"]);
  assert.deepEqual(client, { code: 0, stdout: ["héllo"], stderr: [] });

  worker.kill("SIGINT");
  assert.deepEqual(await worker.ended(), {
    code: 0,
    stdout: [],
    stderr: [`Serving "echo" at ${endpoint}, stop with Ctrl-C`],
  });
});

Deno.test("examples: the echo client fails in one line when nobody answers", async () => {
  await using silent = RawSocket.router();
  const { code, stdout, stderr } = await run(example("echo_client"), [silent.endpoint]);
  assert.deepEqual([code, stdout, stderr.length], [1, [], 1]);
  assert.match(
    stderr[0]!,
    /^Service "echo" at "tcp:.*" sent no reply within the timeout of 2000 ms/,
  );
});

Deno.test("examples: the streaming pair sends prime numbers, and how many there are", async () => {
  const { broker, endpoint } = await startBroker();
  await using _ = broker;
  await using worker = start(example("stream_worker"), [endpoint]);

  const client = await run(example("stream_client"), [endpoint, "12"]);
  assert.deepEqual(client, {
    code: 0,
    stdout: ["  2", "  3", "  5", "  7", "  11", "5 prime numbers up to 12"],
    stderr: [],
  });
  const wrong = await run(example("stream_client"), [endpoint, "x"]);
  assert.equal(wrong.code, 0);
  assert.match(wrong.stdout.join("\n"), /^Failed: .*JSON$/);

  worker.kill("SIGTERM");
  assert.equal((await worker.ended()).code, 0);
});

Deno.test("examples: the client pool turns to the second broker when the first is silent", async () => {
  const { broker, endpoint } = await startBroker();
  await using _ = broker;
  await using silent = RawSocket.router();
  await using _worker = start(example("echo_worker"), [endpoint]);

  const pool = await run(example("client_pool"), [silent.endpoint, endpoint]);
  assert.deepEqual([pool.code, pool.stderr], [0, []]);
  assert.match(pool.stdout.join("\n"), /^1000 of 1000 requests were answered in \d+\.\d\d s$/);
  assert.ok(silent.unread.length > 0, "the first broker was not asked");
});

Deno.test("examples: the client pool says that nobody answers before its patience is at an end", async () => {
  await using silent = RawSocket.router();
  const { code, stdout, stderr } = await run(example("client_pool"), [silent.endpoint]);
  assert.deepEqual([code, stdout.length, stderr.length], [1, 1, 1]);
  assert.match(stdout[0]!, /^0 of 1000 requests were answered in \d+\.\d\d s$/);
  assert.match(stderr[0]!, /"echo".* (timeout of 2000|deadline of 10000) ms/);
});

Deno.test("examples: the embedded broker serves its own process and others", async () => {
  await using program = start(example("embedded_broker"), []);
  const [, endpoint] = await program.stderr(/^Listening on (tcp:\S+),/);
  {
    await using client = new Client(endpoint!);
    assert.equal((await client.request("upper", "from outside")).text(), "FROM OUTSIDE");
  }
  program.kill("SIGINT");
  const { code, stdout } = await program.ended();
  assert.deepEqual([code, stdout], [
    0,
    ["HELLO FROM INSIDE", "1 request answered, 1 worker registered"],
  ]);
});

Deno.test("examples: each is run here", async () => {
  const text = await Deno.readTextFile(new URL(import.meta.url));
  for (const { name } of Deno.readDirSync(new URL("../examples/", import.meta.url))) {
    assert.ok(text.includes(`example("${name.replace(/\.ts$/, "")}")`), name);
  }
});
