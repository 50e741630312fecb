// Small things done with byte arrays in more than one room.

const latin1 = new TextDecoder('latin1');

/** One array with the contents of all parts, in order. */
export function concatBytes(parts: readonly Uint8Array[]): Uint8Array {
  let length = 0;
  for (const part of parts) length += part.length;
  const all = new Uint8Array(length);
  let at = 0;
  for (const part of parts) {
    all.set(part, at);
    at += part.length;
  }
  return all;
}

/** A DataView over exactly these bytes (a Uint8Array may be a part of its buffer). */
export function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

/** Whether `prefix` stands at `at`. */
export function hasBytesAt(bytes: Uint8Array, at: number, prefix: ArrayLike<number>): boolean {
  if (at < 0 || at + prefix.length > bytes.length) return false;
  for (let i = 0; i < prefix.length; i++) if (bytes[at + i] !== prefix[i]) return false;
  return true;
}

/** The first place at or after `from` where `needle` stands, or -1. */
export function indexOfBytes(bytes: Uint8Array, needle: Uint8Array, from = 0): number {
  if (needle.length === 0) return from;
  for (let at = bytes.indexOf(needle[0], from); at >= 0; at = bytes.indexOf(needle[0], at + 1)) {
    if (hasBytesAt(bytes, at, needle)) return at;
  }
  return -1;
}

/** The text from `at` up to a NUL, at most `limit` bytes, each byte one character. */
export function cString(bytes: Uint8Array, at: number, limit = Number.POSITIVE_INFINITY): string {
  const end = Math.min(bytes.length, at + limit);
  let stop = at;
  while (stop < end && bytes[stop] !== 0) stop++;
  return latin1.decode(bytes.subarray(at, stop));
}

/** Lower-case hexadecimal, two digits a byte. */
export function toHex(bytes: Uint8Array): string {
  let text = '';
  for (const byte of bytes) text += byte.toString(16).padStart(2, '0');
  return text;
}
