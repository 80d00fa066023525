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
  /** Called once, when there is no more to come, or nobody reads it any longer. */
  ended: () => void;
}

/**
 * The content of an answer that has the parts of a reply.
 *
 * @param first The first part, which has come.
 * @param rest The rest, which is taken no faster than the content is.
 * @param options See {@linkcode PartsOptions}.
 * @returns The content.
 */
export function streamParts(
  first: ReplyPart,
  rest: AsyncGenerator<ReplyPart, void, undefined>,
  { encode, failed, ended }: PartsOptions,
): ReadableStream<Uint8Array<ArrayBuffer>> {
  let next: ReplyPart | undefined = first;
  let over = false;
  // Once: that nobody reads any longer may show while a part is waited for, which then fails.
  const end = () => {
    if (!over) ended();
    over = true;
  };
  return new ReadableStream({
    async pull(controller) {
      try {
        for (;;) {
          const part = next ?? (await rest.next()).value;
          next = undefined;
          if (part === undefined) break;
          const bytes = encode(part);
          if (bytes.length === 0) continue;
          return controller.enqueue(bytes);
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
    },
    async cancel() {
      end();
      await rest.return();
    },
  });
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
