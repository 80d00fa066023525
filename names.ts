/**
 * How what is bytes on the wire is shown to people and written into JSON: identities and names of
 * services, which a broker has as binary strings, one character a byte.
 *
 * @module
 */

/** An identity in hexadecimal. */
export function hexOf(identity: string): string {
  let shown = "";
  for (let i = 0; i < identity.length; i++) {
    shown += identity.charCodeAt(i).toString(16).padStart(2, "0");
  }
  return shown;
}

/**
 * A name as text: what it is in UTF-8. If it is none, its bytes beyond ASCII and the backslash are
 * escaped as in `\xff`.
 */
export function textOf(name: string): string {
  if (/^[\0-\x7f]*$/.test(name)) return name;
  try {
    return UTF8.decode(bytesOfName(name));
  } catch {
    return name.replace(/[\\\x80-\xff]/g, (char) => `\\x${hexOf(char)}`);
  }
}

/** A name that is bytes, as a binary string. */
export function binaryName(bytes: Uint8Array): string {
  let name = "";
  for (const byte of bytes) name += String.fromCharCode(byte);
  return name;
}

/** A name that is a binary string, as bytes. */
export function bytesOfName(name: string): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(name.length);
  // Not by `Uint8Array.from`, which takes a hundred times as long.
  for (let i = 0; i < name.length; i++) bytes[i] = name.charCodeAt(i);
  return bytes;
}

const UTF8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });
