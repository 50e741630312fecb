// Zstandard (RFC 8878): frames of blocks, each of literals and of sequences that copy literals and matches. Dictionaries are
// not supported. Own, since the library at hand neither checks errors while streaming nor bounds its output.

import { viewOf } from '../bytes.ts';
import { DecompressError } from './error.ts';
import { Window } from './window.ts';
import { Xxh64 } from './xxh64.ts';
import {
  BackwardBits,
  corrupted,
  decodeHuffman,
  type FseTable,
  type HuffmanTable,
  makeFseTable,
  makeRleTable,
  readFseTable,
  readHuffmanTable,
} from './zstd-entropy.ts';

const MAGIC = 0xfd2fb528;
const SKIPPABLE = 0x184d2a50;
const MAX_BLOCK = 1 << 17;

// Literal length codes, match length codes (section 3.1.1.3.2.1.1): baseline, then extra bits.
const LENGTH_BASE = [...range(16), 16, 18, 20, 22, 24, 28, 32, 40, 48, 64, ...powers(7, 16)];
const LENGTH_BITS = [...new Array(16).fill(0), 1, 1, 1, 1, 2, 2, 3, 3, 4, 6, ...range(10, 7)];
const MATCH_BASE = [...range(32, 3), 35, 37, 39, 41, 43, 47, 51, 59, 67, 83, 99, ...powers(7, 16).map(n => n + 3)];
const MATCH_BITS = [...new Array(32).fill(0), 1, 1, 1, 1, 2, 2, 3, 3, 4, 4, 5, ...range(10, 7)];

// Section 3.1.1.3.2.2: distributions used where a block gives none.
const DEFAULT_LENGTHS = makeFseTable(
  [4, 3, ...repeat(2, 11), 1, 1, 1, ...repeat(2, 9), 3, 2, ...repeat(1, 5), ...repeat(-1, 4)],
  6,
);
const DEFAULT_MATCHES = makeFseTable([1, 4, 3, ...repeat(2, 6), ...repeat(1, 37), ...repeat(-1, 7)], 6);
const DEFAULT_OFFSETS = makeFseTable([...repeat(1, 6), 2, 2, 2, ...repeat(1, 15), ...repeat(-1, 5)], 5);

/** Decompresses piece by piece; frames that follow each other are one output. */
export function* zstd(bytes: Uint8Array): Generator<Uint8Array, void> {
  const view = viewOf(bytes);
  let at = 0;
  while (at < bytes.length) {
    if (at + 8 > bytes.length) throw truncated();
    const magic = view.getUint32(at, true);
    if ((magic & 0xfffffff0) === SKIPPABLE) {
      at += 8 + view.getUint32(at + 4, true);
      if (at > bytes.length) throw truncated();
    } else if (magic === MAGIC) {
      at = yield* frame(bytes, at + 4);
    } else {
      throw corrupted('no frame stands where one should');
    }
  }
}

function* frame(bytes: Uint8Array, start: number): Generator<Uint8Array, number> {
  const header = readFrameHeader(bytes, start);
  const window = new Window('zstd', header.window, bytes.length - start);
  const blocks = new BlockDecoder(bytes, window, Math.min(header.window, MAX_BLOCK));
  const hash = header.checksum ? new Xxh64() : null;
  let size = 0;
  let at = header.at;
  for (let last = false; !last; ) {
    if (at + 3 > bytes.length) throw truncated();
    const head = bytes[at] | (bytes[at + 1] << 8) | (bytes[at + 2] << 16);
    last = (head & 1) !== 0;
    at = blocks.decode((head >> 1) & 3, head >> 3, at + 3);
    const piece = window.take();
    size += piece.length;
    hash?.add(piece);
    if (header.size !== null && size > header.size) throw corrupted('size of a frame');
    if (piece.length > 0) yield piece;
  }
  if (header.size !== null && size !== header.size) throw corrupted('size of a frame');
  if (hash !== null) {
    if (at + 4 > bytes.length) throw truncated();
    if (viewOf(bytes).getUint32(at, true) !== hash.finish()) throw corrupted('checksum of a frame');
    at += 4;
  }
  return at;
}

function readFrameHeader(bytes: Uint8Array, start: number) {
  const descriptor = bytes[start];
  const single = (descriptor & 0x20) !== 0;
  if (descriptor & 0x08) throw corrupted('header of a frame');
  const dictionaryBytes = [0, 1, 2, 4][descriptor & 3];
  const sizeBytes = [single ? 1 : 0, 2, 4, 8][descriptor >> 6];
  const dictionaryAt = start + (single ? 1 : 2);
  const sizeAt = dictionaryAt + dictionaryBytes;
  const at = sizeAt + sizeBytes;
  if (at > bytes.length) throw truncated();
  if (little(bytes, dictionaryAt, dictionaryBytes) !== 0) {
    throw new DecompressError('zstd', 'data that needs a dictionary is not supported');
  }
  const size = sizeBytes === 0 ? null : little(bytes, sizeAt, sizeBytes) + (sizeBytes === 2 ? 256 : 0);
  const exponent = 2 ** (10 + (bytes[start + 1] >> 3));
  const window = single ? (size ?? 0) : exponent + (exponent / 8) * (bytes[start + 1] & 7);
  return { at, size, window, checksum: (descriptor & 4) !== 0 };
}

/** What blocks of one frame share: the window, the tables that a block may use again, the last three offsets. */
class BlockDecoder {
  private readonly bytes: Uint8Array;
  private readonly window: Window;
  private readonly maxBlock: number;
  private readonly bits = new BackwardBits();
  private readonly literals = new Uint8Array(MAX_BLOCK);
  private literalCount = 0;
  private huffman: HuffmanTable | null = null;
  private lengths: FseTable | null = null;
  private offsets: FseTable | null = null;
  private matches: FseTable | null = null;
  private readonly recent = [1, 4, 8];

  constructor(bytes: Uint8Array, window: Window, maxBlock: number) {
    this.bytes = bytes;
    this.window = window;
    this.maxBlock = maxBlock;
  }

  /** Decodes one block into the window; returns the offset after it. */
  decode(type: number, size: number, at: number): number {
    const { bytes, window } = this;
    if (type === 3 || size > this.maxBlock) throw corrupted('header of a block');
    const end = at + (type === 1 ? 1 : size);
    if (end > bytes.length) throw truncated();
    if (type === 2) {
      this.sequences(this.readLiterals(at, end), end);
    } else {
      window.reserve(size);
      if (type === 0) window.buffer.set(bytes.subarray(at, end), window.at);
      else window.buffer.fill(bytes[at], window.at, window.at + size);
      window.at += size;
    }
    return end;
  }

  /** Section 3.1.1.3.1; returns the offset after the literals. */
  private readLiterals(start: number, end: number): number {
    const { bytes, literals } = this;
    if (start >= end) throw corrupted('literals');
    const type = bytes[start] & 3;
    const format = (bytes[start] >> 2) & 3;
    if (type <= 1) {
      const headerBytes = [1, 2, 1, 3][format];
      const count = little(bytes, start, headerBytes) >> (format & 1 ? 4 : 3);
      const at = start + headerBytes;
      const packed = type === 0 ? count : 1;
      if (count > this.maxBlock || at + packed > end) throw corrupted('literals');
      if (type === 0) literals.set(bytes.subarray(at, at + count));
      else literals.fill(bytes[at], 0, count);
      this.literalCount = count;
      return at + packed;
    }
    const [headerBytes, sizeBits] = [
      [3, 10],
      [3, 10],
      [4, 14],
      [5, 18],
    ][format];
    const fields = Math.floor(little(bytes, start, headerBytes) / 16);
    const count = fields % 2 ** sizeBits;
    const packed = Math.floor(fields / 2 ** sizeBits);
    let at = start + headerBytes;
    const next = at + packed;
    if (count > this.maxBlock || next > end) throw corrupted('literals');
    if (type === 2) ({ table: this.huffman, at } = readHuffmanTable(bytes, at, next, this.bits));
    if (this.huffman === null) throw corrupted('literals');
    if (format === 0) decodeHuffman(this.huffman, this.bits, bytes, at, next, literals, 0, count);
    else this.fourStreams(this.huffman, at, next, count);
    this.literalCount = count;
    return next;
  }

  private fourStreams(table: HuffmanTable, at: number, end: number, count: number): void {
    const { bytes } = this;
    const each = (count + 3) >> 2;
    if (at + 6 > end || each * 3 > count) throw corrupted('literals');
    let from = at + 6;
    for (let i = 0; i < 4; i++) {
      const to = i < 3 ? from + little(bytes, at + 2 * i, 2) : end;
      if (to > end) throw corrupted('literals');
      decodeHuffman(table, this.bits, bytes, from, to, this.literals, each * i, i < 3 ? each : count - each * 3);
      from = to;
    }
  }

  /** Sections 3.1.1.3.2 and 3.1.1.4: reads the sequences and executes each at once. */
  private sequences(start: number, end: number): void {
    const { bytes, window, bits, literals, literalCount, recent } = this;
    window.reserve(this.maxBlock);
    const limit = window.at + this.maxBlock;
    let at = start;
    if (at >= end) throw corrupted('sequences');
    let count = bytes[at++];
    if (count === 255) {
      count = little(bytes, at, 2) + 0x7f00;
      at += 2;
    } else if (count >= 128) {
      count = ((count - 128) << 8) + bytes[at++];
    }
    if (count === 0) {
      if (at !== end) throw corrupted('sequences');
      window.append(literals.subarray(0, literalCount));
      return;
    }
    if (at >= end) throw corrupted('sequences');
    const modes = bytes[at++];
    if (modes & 3) throw corrupted('sequences');
    const table = (mode: number, previous: FseTable | null, standard: FseTable, maxLog: number, maxSymbol: number) => {
      if (mode === 0) return standard;
      if (mode === 3) {
        if (previous === null) throw corrupted('sequences');
        return previous;
      }
      if (mode === 1) {
        if (at >= end || bytes[at] > maxSymbol) throw corrupted('sequences');
        return makeRleTable(bytes[at++]);
      }
      const read = readFseTable(bytes, at, end, maxLog, maxSymbol);
      at = read.at;
      return read.table;
    };
    const ll = (this.lengths = table(modes >> 6, this.lengths, DEFAULT_LENGTHS, 9, 35));
    const of = (this.offsets = table((modes >> 4) & 3, this.offsets, DEFAULT_OFFSETS, 8, 31));
    const ml = (this.matches = table((modes >> 2) & 3, this.matches, DEFAULT_MATCHES, 9, 52));
    bits.start(bytes, at, end);
    let llState = bits.read(ll.log);
    let ofState = bits.read(of.log);
    let mlState = bits.read(ml.log);
    let [recent1, recent2, recent3] = recent;
    let literal = 0;
    for (let i = count; ; ) {
      const llCode = ll.symbols[llState];
      const ofCode = of.symbols[ofState];
      const mlCode = ml.symbols[mlState];
      const ofValue = ofCode === 0 ? 1 : 2 ** ofCode + bits.readLong(ofCode);
      const matchLength = MATCH_BASE[mlCode] + bits.read(MATCH_BITS[mlCode]);
      const literalLength = LENGTH_BASE[llCode] + bits.read(LENGTH_BITS[llCode]);
      let offset: number;
      if (ofValue > 3) {
        offset = ofValue - 3;
        recent3 = recent2;
        recent2 = recent1;
        recent1 = offset;
      } else {
        // Values 1 to 3 name recent offsets; without literals before it, the next one each.
        const which = literalLength === 0 ? ofValue + 1 : ofValue;
        offset = which === 1 ? recent1 : which === 2 ? recent2 : which === 3 ? recent3 : recent1 - 1;
        if (which > 2) recent3 = recent2;
        if (which > 1) recent2 = recent1;
        recent1 = offset;
      }
      if (literal + literalLength > literalCount || window.at + literalLength + matchLength > limit) {
        throw corrupted('sequences');
      }
      const buffer = window.buffer;
      let to = window.at;
      for (const stop = literal + literalLength; literal < stop; ) buffer[to++] = literals[literal++];
      window.at = to;
      if (!window.copy(offset, matchLength)) throw corrupted('sequences');
      if (--i === 0) break;
      llState = ll.bases[llState] + bits.read(ll.bits[llState]);
      mlState = ml.bases[mlState] + bits.read(ml.bits[mlState]);
      ofState = of.bases[ofState] + bits.read(of.bits[ofState]);
    }
    if (bits.left !== 0) throw corrupted('sequences');
    recent[0] = recent1;
    recent[1] = recent2;
    recent[2] = recent3;
    if (window.at + literalCount - literal > limit) throw corrupted('sequences');
    window.append(literals.subarray(literal, literalCount));
  }
}

/** A little-endian number; the caller checked that it is inside. */
function little(bytes: Uint8Array, at: number, count: number): number {
  let value = 0;
  for (let i = count - 1; i >= 0; i--) value = value * 256 + (bytes[at + i] ?? 0);
  return value;
}

function range(count: number, from = 0): number[] {
  return Array.from({ length: count }, (_, i) => from + i);
}

function powers(from: number, to: number): number[] {
  return range(to - from + 1, from).map(n => 2 ** n);
}

function repeat(value: number, count: number): number[] {
  return new Array<number>(count).fill(value);
}

const truncated = () => new DecompressError('zstd', 'the data is truncated');
