// Lists of buffers, taken as one run of bytes.

/** Bytes of buffers together. */
export const lengthOf = (buffers: readonly Uint8Array[]): number =>
  buffers.reduce((sum, { length }) => sum + length, 0);

/** Views of `length` bytes from `offset` on. */
export function sliceOf(buffers: readonly Uint8Array[], offset: number, length: number): Uint8Array[] {
  const parts: Uint8Array[] = [];
  let skip = offset;
  let left = length;
  for (const buffer of buffers) {
    if (left === 0) break;
    const part = Math.min(buffer.length - skip, left);
    if (part > 0) {
      parts.push(buffer.subarray(skip, skip + part));
      left -= part;
    }
    skip = Math.max(0, skip - buffer.length);
  }
  return parts;
}

/** Copies `bytes` into buffers, from `offset` on, as far as they go. */
export function scatter(buffers: readonly Uint8Array[], offset: number, bytes: Uint8Array): void {
  let from = 0;
  for (const part of sliceOf(buffers, offset, bytes.length)) {
    part.set(bytes.subarray(from, from + part.length));
    from += part.length;
  }
}
