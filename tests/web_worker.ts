/**
 * A Web Worker that uses the library, gives all back, and says so.
 *
 * @module
 */

import { Client } from "../client.ts";

const client = new Client("tcp://127.0.0.1:1");
await client.request("nobody", "", { timeout: 20 }).catch(() => {});
await client.close();
(self as unknown as { postMessage(message: string): void }).postMessage("closed");
