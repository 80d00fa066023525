import { libzmq } from "../zmq/library.ts";

/** Has the next errors of libzmq be told as these, as if something had come in between. */
export function tellErrors(...errors: number[]): Disposable {
  const symbols = libzmq().symbols as { zmq_errno: () => number };
  const { zmq_errno } = symbols;
  symbols.zmq_errno = () => errors.shift() ?? zmq_errno();
  return { [Symbol.dispose]: () => symbols.zmq_errno = zmq_errno };
}
