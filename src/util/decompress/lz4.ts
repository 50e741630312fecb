// LZ4's legacy frame (lz4_Frame_format.md, "Legacy frame"), which kernels use: a magic number, then blocks of at most 8 MiB,
// each with its compressed size before it. Blocks do not refer to each other (lz4_Block_format.md).

import { DecompressError } from './error.ts';

const MAGIC = 0x184c2102;
const BLOCK = 8 << 20;
/** The most that a block of 8 MiB can take up compressed (lz4.h, LZ4_COMPRESSBOUND). */
const MAX_PACKED = BLOCK + Math.floor(BLOCK / 255) + 16;

/** Decompresses piece by piece. */
export function* lz4(bytes: Uint8Array): Generator<Uint8Array, void> {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  let at = 4;
  while (at < bytes.length) {
    if (at + 4 > bytes.length) throw new DecompressError('lz4', 'the data is truncated');
    const size = view.getUint32(at, true);
    at += 4;
    if (size === MAGIC) continue; // Frames may follow each other.
    if (size === 0 || size > MAX_PACKED) throw new DecompressError('lz4', 'the data is corrupted (size of a block)');
    if (at + size > bytes.length) throw new DecompressError('lz4', 'the data is truncated');
    yield block(bytes, at, at + size);
    at += size;
  }
}

function block(bytes: Uint8Array, start: number, end: number): Uint8Array {
  // The size is not given: start with four times as much as the input and double where that does not do.
  let out = new Uint8Array(Math.min(BLOCK, Math.max(1024, (end - start) * 4)));
  let from = start;
  let to = 0;
  const need = (count: number) => {
    if (count > BLOCK) throw new DecompressError('lz4', 'the data is corrupted (a block of more than 8 MiB)');
    if (count <= out.length) return;
    const larger = new Uint8Array(Math.min(BLOCK, Math.max(count, out.length * 2)));
    larger.set(out.subarray(0, to));
    out = larger;
  };
  const corrupted = () => new DecompressError('lz4', 'the data is corrupted');
  while (from < end) {
    const token = bytes[from++];
    let literals = token >> 4;
    if (literals === 15) {
      let more: number;
      do {
        if (from >= end) throw corrupted();
        more = bytes[from++];
        literals += more;
      } while (more === 255);
    }
    if (from + literals > end) throw corrupted();
    need(to + literals);
    if (literals > 24) out.set(bytes.subarray(from, from + literals), to);
    else for (let i = 0; i < literals; i++) out[to + i] = bytes[from + i];
    from += literals;
    to += literals;
    if (from === end) break; // The last sequence has literals only.
    if (from + 2 > end) throw corrupted();
    const distance = bytes[from] | (bytes[from + 1] << 8);
    from += 2;
    let length = (token & 15) + 4;
    if (length === 19) {
      let more: number;
      do {
        if (from >= end) throw corrupted();
        more = bytes[from++];
        length += more;
      } while (more === 255);
    }
    if (distance === 0 || distance > to) throw corrupted();
    need(to + length);
    const source = to - distance;
    if (distance >= length && length > 24) out.copyWithin(to, source, source + length);
    else for (let i = 0; i < length; i++) out[to + i] = out[source + i];
    to += length;
  }
  return out.subarray(0, to);
}
