// lzop files, as kernels use them: a header, then blocks with sizes and checksums before each, compressed by LZO1X
// (lzop's format as in its conf.h and lzop.c; the instruction encoding: Linux, Documentation/staging/lzo.rst).

import { viewOf } from '../bytes.ts';
import { crc32 } from '../crc.ts';
import { DecompressError } from './error.ts';

const MAGIC_LENGTH = 9;
const VERSION_WITH_LEVEL = 0x0940;
const MAX_BLOCK = 64 << 20;

const F_ADLER32_D = 1;
const F_ADLER32_C = 2;
const F_H_EXTRA_FIELD = 0x40;
const F_CRC32_D = 0x100;
const F_CRC32_C = 0x200;
const F_MULTIPART = 0x400;
const F_H_FILTER = 0x800;

/** Decompresses piece by piece. Bytes after the end mark are not looked at. */
export function* lzo(bytes: Uint8Array): Generator<Uint8Array, void> {
  const input = new Reader(bytes);
  const flags = readHeader(input);
  for (;;) {
    const size = input.u32();
    if (size === 0) return;
    const packed = input.u32();
    if (size > MAX_BLOCK || packed > size) throw corrupted('size of a block');
    const adler = flags & F_ADLER32_D ? input.u32() : null;
    const crc = flags & F_CRC32_D ? input.u32() : null;
    // Checksums of the compressed bytes stand there only where the block is compressed.
    if (packed < size) input.skip((flags & F_ADLER32_C ? 4 : 0) + (flags & F_CRC32_C ? 4 : 0));
    const data = input.take(packed);
    const block = packed === size ? data : lzo1x(data, size);
    if (adler !== null && adler32(block) !== adler) throw corrupted('checksum of a block');
    if (crc !== null && crc32(block) !== crc) throw corrupted('checksum of a block');
    yield block;
  }
}

/** Reads the header and returns its flags. */
function readHeader(input: Reader): number {
  input.skip(MAGIC_LENGTH);
  const version = input.u16();
  input.skip(2); // the library's version
  if (version >= VERSION_WITH_LEVEL) input.skip(2); // the version needed to extract
  const method = input.u8();
  if (method < 1 || method > 3) throw new DecompressError('lzo', `method ${method} is not supported (only LZO1X)`);
  if (version >= VERSION_WITH_LEVEL) input.skip(1);
  const flags = input.u32();
  if (flags & (F_H_FILTER | F_MULTIPART))
    throw new DecompressError('lzo', 'filters and multi-part files are not supported');
  input.skip(version >= VERSION_WITH_LEVEL ? 12 : 8); // mode and time
  input.skip(input.u8()); // name
  input.skip(4); // checksum of the header
  if (flags & F_H_EXTRA_FIELD) input.skip(input.u32() + 4);
  return flags;
}

/** One LZO1X block of known uncompressed size. */
function lzo1x(input: Uint8Array, size: number): Uint8Array {
  const out = new Uint8Array(size);
  const end = input.length;
  let from = 0;
  let to = 0;
  /** What the last instruction copied as literals: 0 to 3 after a match, 4 for a run of its own. */
  let state = 0;

  const literals = (count: number) => {
    if (from + count > end || to + count > size) throw corrupted('a block');
    for (let i = 0; i < count; i++) out[to + i] = input[from + i];
    from += count;
    to += count;
  };
  /** Zero bytes count 255 each, the byte that ends them counts itself. */
  const extended = (base: number) => {
    let count = base;
    for (; from < end; count += 255) if (input[from++] !== 0) return count + input[from - 1];
    throw corrupted('a block');
  };

  if (end > 0 && input[0] > 17) {
    from = 1;
    const count = input[0] - 17;
    literals(count);
    state = Math.min(count, 4);
  }
  while (from < end) {
    const op = input[from++];
    let length: number;
    let distance: number;
    let next: number;
    if (op >= 64) {
      if (from >= end) throw corrupted('a block');
      length = op >= 128 ? 5 + ((op >> 5) & 3) : 3 + ((op >> 5) & 1);
      distance = (input[from++] << 3) + ((op >> 2) & 7) + 1;
      next = op & 3;
    } else if (op >= 16) {
      const mask = op >= 32 ? 31 : 7;
      length = (op & mask) === 0 ? extended(2 + mask) : 2 + (op & mask);
      if (from + 2 > end) throw corrupted('a block');
      const word = input[from] | (input[from + 1] << 8);
      from += 2;
      next = word & 3;
      distance = (word >> 2) + (op >= 32 ? 1 : 16384 + ((op & 8) << 11));
      if (op < 32 && distance === 16384) {
        if (to !== size || from !== end) throw corrupted('a block');
        return out;
      }
    } else if (state === 0) {
      literals(op === 0 ? extended(18) : 3 + op);
      state = 4;
      continue;
    } else {
      if (from >= end) throw corrupted('a block');
      length = state === 4 ? 3 : 2;
      distance = (input[from++] << 2) + (op >> 2) + (state === 4 ? 2049 : 1);
      next = op & 3;
    }
    if (distance > to || to + length > size) throw corrupted('a block');
    const source = to - distance;
    if (distance >= length && length > 24) out.copyWithin(to, source, source + length);
    else for (let i = 0; i < length; i++) out[to + i] = out[source + i];
    to += length;
    literals(next);
    state = next;
  }
  throw corrupted('a block');
}

function adler32(bytes: Uint8Array): number {
  let [a, b] = [1, 0];
  for (let at = 0; at < bytes.length; ) {
    // 3800 additions stay far below 2^31.
    for (const end = Math.min(at + 3800, bytes.length); at < end; at++) {
      a += bytes[at];
      b += a;
    }
    a %= 65521;
    b %= 65521;
  }
  return ((b << 16) | a) >>> 0;
}

/** Big-endian fields. */
class Reader {
  private readonly bytes: Uint8Array;
  private readonly view: DataView;
  private at = 0;

  constructor(bytes: Uint8Array) {
    this.bytes = bytes;
    this.view = viewOf(bytes);
  }

  take(count: number): Uint8Array {
    if (this.at + count > this.bytes.length) throw new DecompressError('lzo', 'the data is truncated');
    this.at += count;
    return this.bytes.subarray(this.at - count, this.at);
  }

  skip(count: number): void {
    this.take(count);
  }

  u8(): number {
    return this.take(1)[0];
  }

  u16(): number {
    this.skip(2);
    return this.view.getUint16(this.at - 2);
  }

  u32(): number {
    this.skip(4);
    return this.view.getUint32(this.at - 4);
  }
}

const corrupted = (what: string) => new DecompressError('lzo', `the data is corrupted (${what})`);
