import assert from "node:assert/strict";
import {
  DisconnectedError,
  MdpError,
  ProtocolError,
  ServiceError,
  StateError,
  TimeoutError,
  ZmqError,
} from "../errors.ts";
import * as codec from "../codec.ts";

const ERRORS = {
  MdpError: new MdpError("words"),
  ProtocolError: new ProtocolError("header", "words"),
  TimeoutError: new TimeoutError("words"),
  StateError: new StateError("words"),
  DisconnectedError: new DisconnectedError("words"),
  ServiceError: new ServiceError(500, "words"),
  ZmqError: new ZmqError("EAGAIN", "zmq_send", "words"),
};

for (const [name, error] of Object.entries(ERRORS)) {
  Deno.test(`\`${name}\` is an \`MdpError\` and carries its name and message`, () => {
    assert.ok(error instanceof MdpError);
    assert.ok(error instanceof Error);
    assert.equal(error.name, name);
    assert.equal(error.constructor.name, name);
    assert.equal(String(error), `${name}: words`);
    assert.match(error.stack ?? "", /errors_test\.ts/);
  });
}

Deno.test("`MdpError` keeps the cause that it is given", () => {
  const cause = new Error("deeper");
  assert.equal(new TimeoutError("words", { cause }).cause, cause);
});

Deno.test("`ProtocolError` says which rule was broken", () => {
  assert.equal(ERRORS.ProtocolError.kind, "header");
  assert.equal(codec.ProtocolError, ProtocolError, "the codec's is the same class");
});

Deno.test("`ZmqError` says which call failed, and how", () => {
  assert.equal(ERRORS.ZmqError.code, "EAGAIN");
  assert.equal(ERRORS.ZmqError.call, "zmq_send");
});

Deno.test("`ServiceError` carries a code and, if there are any, details", () => {
  const details = new Uint8Array([1, 2]);
  assert.equal(new ServiceError(404, "words").code, 404);
  assert.equal(new ServiceError(404, "words").details, undefined);
  assert.equal(new ServiceError(599, "words", details).details, details);
});

for (const code of [399, 600, 0, -500, 500.5, NaN, Infinity, "500" as unknown as number]) {
  Deno.test(`\`ServiceError\` refuses the code ${JSON.stringify(code) ?? code} (${code})`, () => {
    assert.throws(() => new ServiceError(code, "words"), {
      name: "RangeError",
      message: `A service error's code is a whole number from 400 to 599, got ${code}`,
    });
  });
}

Deno.test("`ServiceError` refuses details that are no bytes", () => {
  assert.throws(() => new ServiceError(422, "words", "more" as never), {
    name: "TypeError",
    message: 'A service error\'s details are a Uint8Array, got "more"',
  });
});
