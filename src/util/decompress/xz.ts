// The .xz file format (version 1.1.0, tukaani.org/xz): streams of blocks, each LZMA2 data perhaps behind the x86 branch
// filter, with CRC-32 or CRC-64 checks. SHA-256 checks are stepped over: no kernel or package uses them.

import { hasBytesAt, viewOf } from '../bytes.ts';
import { Crc64, crc32 } from '../crc.ts';
import { X86Filter } from './bcj-x86.ts';
import { DecompressError } from './error.ts';
import { lzma2 } from './lzma2.ts';

const MAGIC = [0xfd, 0x37, 0x7a, 0x58, 0x5a, 0x00];
const STREAM_HEADER = 12;
const FILTER_X86 = 4;
const FILTER_LZMA2 = 0x21;
const CHECK_CRC32 = 1;
const CHECK_CRC64 = 4;
/** Sizes of the checks 0 to 15. */
const CHECK_SIZE = [0, 4, 4, 4, 8, 8, 8, 16, 16, 16, 32, 32, 32, 64, 64, 64];

interface BlockHeader {
  /** The offset after the header. */
  readonly data: number;
  readonly dictionary: number;
  readonly x86Start: number | null;
  readonly packedSize: number | null;
  readonly unpackedSize: number | null;
}

/** Decompresses piece by piece. Every checksum and size that the file gives is compared. */
export function* xz(bytes: Uint8Array): Generator<Uint8Array, void> {
  let at = 0;
  do {
    at = yield* stream(bytes, at);
    while (at < bytes.length && hasBytesAt(bytes, at, [0, 0, 0, 0])) at += 4;
  } while (at < bytes.length);
}

function* stream(bytes: Uint8Array, start: number): Generator<Uint8Array, number> {
  const view = viewOf(bytes);
  if (start + STREAM_HEADER > bytes.length) throw truncated();
  if (!hasBytesAt(bytes, start, MAGIC)) throw new DecompressError('xz', 'no xz stream stands where one should');
  if (crc32(bytes.subarray(start + 6, start + 8)) !== view.getUint32(start + 8, true)) throw corrupted('header');
  const check = bytes[start + 7] & 15;
  const blocks: [unpadded: number, unpacked: number][] = [];
  let at = start + STREAM_HEADER;
  for (;;) {
    if (at >= bytes.length) throw truncated();
    if (bytes[at] === 0) break;
    const header = readBlockHeader(bytes, at);
    const sum = new RunningCheck(check);
    const data = lzma2(bytes, header.data, header.dictionary);
    const end = yield* checked(header.x86Start === null ? data : filtered(data, header.x86Start), sum);
    if (header.packedSize !== null && header.packedSize !== end - header.data) throw corrupted('size of a block');
    if (header.unpackedSize !== null && header.unpackedSize !== sum.length) throw corrupted('size of a block');
    const unpadded = end - at + CHECK_SIZE[check];
    const checkAt = header.data + align4(end - header.data);
    if (checkAt + CHECK_SIZE[check] > bytes.length) throw truncated();
    if (!sum.matches(view, checkAt)) throw corrupted('checksum of a block');
    blocks.push([unpadded, sum.length]);
    at = checkAt + CHECK_SIZE[check];
  }
  return readIndex(bytes, at, start, blocks);
}

/** Checks the index and the stream's footer against what was read; returns the offset after them. */
function readIndex(bytes: Uint8Array, at: number, start: number, blocks: readonly [number, number][]): number {
  const numbers = new NumberReader(bytes, at + 1, bytes.length);
  if (numbers.next() !== blocks.length) throw corrupted('index');
  for (const [unpadded, unpacked] of blocks) {
    if (numbers.next() !== unpadded || numbers.next() !== unpacked) throw corrupted('index');
  }
  const end = at + align4(numbers.at - at);
  if (end + 16 > bytes.length) throw truncated();
  const view = viewOf(bytes);
  if (crc32(bytes.subarray(at, end)) !== view.getUint32(end, true)) throw corrupted('index');
  const footer = end + 4;
  const valid =
    hasBytesAt(bytes, footer + 10, [0x59, 0x5a]) &&
    crc32(bytes.subarray(footer + 4, footer + 10)) === view.getUint32(footer, true) &&
    hasBytesAt(bytes, footer + 8, bytes.subarray(start + 6, start + 8));
  if (!valid) throw corrupted('footer');
  return footer + 12;
}

function readBlockHeader(bytes: Uint8Array, at: number): BlockHeader {
  const size = (bytes[at] + 1) * 4;
  if (at + size > bytes.length) throw truncated();
  const crcAt = at + size - 4;
  if (crc32(bytes.subarray(at, crcAt)) !== viewOf(bytes).getUint32(crcAt, true)) throw corrupted('header of a block');
  const flags = bytes[at + 1];
  if (flags & 0x3c) throw new DecompressError('xz', 'a block has options that are not known');
  const numbers = new NumberReader(bytes, at + 2, crcAt);
  const packedSize = flags & 0x40 ? numbers.next() : null;
  const unpackedSize = flags & 0x80 ? numbers.next() : null;
  const filters = (flags & 3) + 1;
  let dictionary = 0;
  let x86Start: number | null = null;
  for (let i = 0; i < filters; i++) {
    const id = numbers.next();
    const length = numbers.next();
    const properties = numbers.at;
    numbers.skip(length);
    const last = i === filters - 1;
    if (id === FILTER_LZMA2 && last && length === 1) {
      dictionary = dictionarySize(bytes[properties]);
    } else if (id === FILTER_X86 && !last && x86Start === null && (length === 0 || length === 4)) {
      x86Start = length === 4 ? viewOf(bytes).getUint32(properties, true) : 0;
    } else {
      throw new DecompressError(
        'xz',
        `filter 0x${id.toString(16)} is not supported here (only LZMA2, and x86 before it)`,
      );
    }
  }
  return { data: at + size, dictionary, x86Start, packedSize, unpackedSize };
}

function dictionarySize(bits: number): number {
  if (bits > 40) throw corrupted('header of a block');
  return bits === 40 ? 2 ** 32 - 1 : (2 | (bits & 1)) * 2 ** ((bits >> 1) + 11);
}

/** Passes pieces on and adds each to the check. */
function* checked(pieces: Generator<Uint8Array, number>, sum: RunningCheck): Generator<Uint8Array, number> {
  for (;;) {
    const next = pieces.next();
    if (next.done) return next.value;
    sum.add(next.value);
    yield next.value;
  }
}

/** Passes pieces through the x86 filter, which needs up to four bytes of what follows. */
function* filtered(pieces: Generator<Uint8Array, number>, start: number): Generator<Uint8Array, number> {
  const filter = new X86Filter(start);
  let rest = new Uint8Array(0);
  for (;;) {
    const next = pieces.next();
    if (next.done) {
      if (rest.length > 0) yield rest;
      return next.value;
    }
    const joined = new Uint8Array(rest.length + next.value.length);
    joined.set(rest);
    joined.set(next.value, rest.length);
    const final = filter.run(joined);
    rest = joined.slice(final);
    if (final > 0) yield joined.subarray(0, final);
  }
}

/** The check over a block's uncompressed bytes. */
class RunningCheck {
  length = 0;
  private readonly kind: number;
  private crc32 = 0;
  private readonly crc64 = new Crc64();

  constructor(kind: number) {
    this.kind = kind;
  }

  add(piece: Uint8Array): void {
    this.length += piece.length;
    if (this.kind === CHECK_CRC32) this.crc32 = crc32(piece, this.crc32);
    else if (this.kind === CHECK_CRC64) this.crc64.add(piece);
  }

  matches(view: DataView, at: number): boolean {
    if (this.kind === CHECK_CRC32) return view.getUint32(at, true) === this.crc32;
    if (this.kind !== CHECK_CRC64) return true;
    return view.getInt32(at, true) === this.crc64.low && view.getInt32(at + 4, true) === this.crc64.high;
  }
}

/** Reads the format's numbers: seven bits a byte, the last byte without bit 7. */
class NumberReader {
  at: number;
  private readonly bytes: Uint8Array;
  private readonly end: number;

  constructor(bytes: Uint8Array, at: number, end: number) {
    this.bytes = bytes;
    this.at = at;
    this.end = end;
  }

  next(): number {
    let value = 0;
    for (let i = 0; i < 9; i++) {
      if (this.at >= this.end) throw truncated();
      const byte = this.bytes[this.at++];
      value += (byte & 0x7f) * 2 ** (7 * i);
      if (byte < 0x80) return value;
    }
    throw corrupted('header');
  }

  skip(count: number): void {
    if (this.at + count > this.end) throw corrupted('header of a block');
    this.at += count;
  }
}

const align4 = (n: number) => Math.ceil(n / 4) * 4;
const truncated = () => new DecompressError('xz', 'the data is truncated');
const corrupted = (what: string) => new DecompressError('xz', `the data is corrupted (${what})`);
