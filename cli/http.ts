/**
 * The broker's HTTP side, where it is wanted.
 *
 * @module
 */

import type { Broker } from "../broker.ts";
import type { Settings } from "./broker_options.ts";

/**
 * Serves HTTP, if the options say so.
 *
 * @param broker The broker.
 * @param settings The options.
 * @returns The address, and what ends it; `undefined` if it is not wanted.
 * @throws {MdpError} If it cannot be: the address is taken, or a permission is missing.
 */
export async function serveHttp(
  broker: Broker,
  { http: address, gateway = false, gatewayOrigin: origins }: Settings,
): Promise<{ url: string; close(): Promise<void> } | undefined> {
  if (address === undefined) return undefined;
  // A third of the program, which is not to be loaded for nothing.
  const { BrokerHttp } = await import("../http/server.ts");
  const http = new BrokerHttp(broker, { ...address, gateway: gateway && { origins } });
  try {
    return { url: http.listen(), close: () => http.close() };
  } catch (error) {
    await http.close();
    throw error;
  }
}
