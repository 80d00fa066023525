/**
 * A reply in parts as it comes, for an answer whose content is sent bit by bit.
 *
 * @module
 */

import type { ReplyPart } from "../client.ts";
import { frameInJson } from "./frames.ts";
import { serverSentEvent } from "./responses.ts";

const UTF8 = new TextEncoder();

/** What becomes of the parts of a reply. */
export interface PartsOptions {
  /** The bytes that stand for a part. */
  encode: (part: ReplyPart) => Uint8Array<ArrayBuffer>;
  /** The bytes that say that the reply has failed; without them the content breaks off. */
  failed?: (error: unknown) => Uint8Array<ArrayBuffer>;
  /** How many bytes may wait for whoever reads. */
  maxBacklog: number;
  /** Called once, when there is no more to come, or nobody reads it any longer. */
  ended: () => void;
}

/**
 * The content of an answer that has the parts of a reply.
 *
 * @param first The first part, which has come.
 * @param rest The rest. It is taken as it comes, since nobody can tell a worker to wait; whoever
 * reads too slowly has it break off, and is not paid for with all the memory that there is.
 * @param options See {@linkcode PartsOptions}.
 * @returns The content.
 */
export function streamParts(
  first: ReplyPart,
  rest: AsyncGenerator<ReplyPart, void, undefined>,
  { encode, failed, maxBacklog, ended }: PartsOptions,
): ReadableStream<Uint8Array<ArrayBuffer>> {
  let over = false;
  // Once: that nobody reads any longer may show while a part is waited for, which then fails.
  const end = () => {
    if (!over) ended();
    over = true;
  };
  const pass = async (controller: ReadableStreamDefaultController<Uint8Array<ArrayBuffer>>) => {
    try {
      for (let part: ReplyPart | void = first; part; part = (await rest.next()).value) {
        const bytes = encode(part), backlog = -controller.desiredSize!;
        if (backlog > 0 && backlog + bytes.length > maxBacklog) {
          end();
          controller.error(new Error(`More than ${maxBacklog} bytes of the reply were not read`));
          await rest.return();
          return;
        }
        if (bytes.length > 0) controller.enqueue(bytes);
      }
      end();
      controller.close();
    } catch (error) {
      if (over) return;
      end();
      if (failed === undefined) return controller.error(error);
      controller.enqueue(failed(error));
      controller.close();
    }
  };
  return new ReadableStream<Uint8Array<ArrayBuffer>>({
    start(controller) {
      pass(controller);
    },
    async cancel() {
      end();
      await rest.return();
    },
  }, { highWaterMark: 0, size: ({ byteLength }) => byteLength });
}

/**
 * A part as the bytes of its frames.
 *
 * @param part The part.
 * @returns The bytes, one frame after the other.
 */
export function bytesOf(part: ReplyPart): Uint8Array<ArrayBuffer> {
  return part.bytes() as Uint8Array<ArrayBuffer>;
}

/**
 * A part as a server-sent event: of the type `partial` or `final`, with its frames in JSON.
 *
 * @param part The part.
 * @returns The event's bytes.
 */
export function eventOf(part: ReplyPart): Uint8Array<ArrayBuffer> {
  return UTF8.encode(serverSentEvent(part.type, { frames: part.frames.map(frameInJson) }));
}
