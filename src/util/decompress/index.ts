// Decompression by magic number: every format in which Linux kernels and packages are compressed. Start reading here.

import { concatBytes, hasBytesAt } from '../bytes.ts';
import { bzip2 } from './bzip2.ts';
import { DecompressError } from './error.ts';
import { gzip } from './gzip.ts';
import { lz4 } from './lz4.ts';
import { lzma } from './lzma.ts';
import { lzo } from './lzo.ts';
import { xz } from './xz.ts';
import { zstd } from './zstd.ts';

export { DecompressError } from './error.ts';

export type Compression = 'gzip' | 'bzip2' | 'lzma' | 'xz' | 'lzo' | 'lz4' | 'zstd';

/** More than any kernel or initramfs; a bound so that a hostile file cannot take all memory. */
const DEFAULT_MAX_SIZE = 1 << 30;

interface Format {
  readonly name: Compression;
  readonly magic: readonly number[];
  readonly decode: (bytes: Uint8Array) => Generator<Uint8Array, void>;
}

// The magics are those of Linux's lib/decompress.c and Xen's xen/common/decompress.c.
const FORMATS: readonly Format[] = [
  { name: 'gzip', magic: [0x1f, 0x8b], decode: gzip },
  { name: 'bzip2', magic: [0x42, 0x5a, 0x68], decode: bzip2 },
  { name: 'lzma', magic: [0x5d, 0x00, 0x00], decode: lzma },
  { name: 'xz', magic: [0xfd, 0x37, 0x7a, 0x58, 0x5a, 0x00], decode: xz },
  { name: 'lzo', magic: [0x89, 0x4c, 0x5a, 0x4f], decode: lzo },
  { name: 'lz4', magic: [0x02, 0x21, 0x4c, 0x18], decode: lz4 },
  { name: 'zstd', magic: [0x28, 0xb5, 0x2f, 0xfd], decode: zstd },
];

/** The format that the first bytes announce, or null. */
export function detectCompression(bytes: Uint8Array): Compression | null {
  return formatOf(bytes)?.name ?? null;
}

/**
 * Decompresses piece by piece, so that a large archive never has to stand in memory whole.
 * Throws DecompressError, here for an unknown format, from the iteration for anything wrong in the data.
 */
export function decompressPieces(bytes: Uint8Array): Generator<Uint8Array, void> {
  const format = formatOf(bytes);
  if (format === undefined) throw new DecompressError('decompress', 'the data is in no known compressed format');
  return format.decode(bytes);
}

export interface DecompressOptions {
  /** The most bytes the output may have; 1 GiB unless given. */
  readonly maxSize?: number;
  /** The output's size where it is known: it is then written in place, which halves the memory that this takes. */
  readonly size?: number;
}

/** Decompresses the whole; the format is known by its magic number. Rejects with DecompressError. */
export async function decompress(bytes: Uint8Array, options: DecompressOptions = {}): Promise<Uint8Array> {
  const maxSize = Math.min(options.maxSize ?? DEFAULT_MAX_SIZE, options.size ?? Number.POSITIVE_INFINITY);
  const whole = options.size === undefined ? null : new Uint8Array(maxSize);
  const pieces: Uint8Array[] = [];
  let size = 0;
  for (const piece of decompressPieces(bytes)) {
    if (size + piece.length > maxSize) {
      throw new DecompressError(detectCompression(bytes) ?? 'decompress', `the output is larger than ${maxSize} bytes`);
    }
    if (whole === null) pieces.push(piece);
    else whole.set(piece, size);
    size += piece.length;
  }
  return whole === null ? concatBytes(pieces) : whole.subarray(0, size);
}

function formatOf(bytes: Uint8Array): Format | undefined {
  return FORMATS.find(format => hasBytesAt(bytes, 0, format.magic));
}
