// bzip2 (the format has no document of its own; J. Tsai's "BZIP2: Format Specification" describes it): blocks of at most
// 900,000 bytes, each run-length coded, sorted by the Burrows-Wheeler transform, moved to front and Huffman coded.

import { DecompressError } from './error.ts';

const BLOCK_MAGIC = [0x314159, 0x265359];
const END_MAGIC = [0x177245, 0x385090];
const MAX_CODE_LENGTH = 20;
const GROUP = 50;
const PIECE = 1 << 20;
const CRC = makeTable();

/** Decompresses piece by piece; streams that follow each other are one output. */
export function* bzip2(bytes: Uint8Array): Generator<Uint8Array, void> {
  const input = new BitReader(bytes);
  do {
    if (input.bits(24) !== 0x425a68) throw corrupted('no stream stands where one should');
    const level = input.bits(8) - 0x30;
    if (level < 1 || level > 9) throw corrupted('header');
    const sorted = new Uint32Array(level * 100_000);
    let combined = 0;
    for (;;) {
      const magic = [input.bits(24), input.bits(24)];
      const crc = (input.bits(16) << 16) | input.bits(16);
      if (magic[0] === END_MAGIC[0] && magic[1] === END_MAGIC[1]) {
        if (crc !== combined) throw corrupted('checksum of the stream');
        break;
      }
      if (magic[0] !== BLOCK_MAGIC[0] || magic[1] !== BLOCK_MAGIC[1]) throw corrupted('header of a block');
      if (input.bits(1) === 1) throw new DecompressError('bzip2', 'randomized blocks (bzip2 0.9.0) are not supported');
      const origin = input.bits(24);
      const count = readBlock(input, sorted);
      if (origin >= count) throw corrupted('a block');
      yield* checked(expandRuns(unsort(sorted, count, origin)), crc);
      combined = ((combined << 1) | (combined >>> 31)) ^ crc;
    }
    input.alignToByte();
  } while (!input.atEnd);
}

/** Huffman and move-to-front decoding into the low bytes of `out`; returns how many there are. */
function readBlock(input: BitReader, out: Uint32Array): number {
  const symbols = readSymbolMap(input);
  const tableCount = input.bits(3);
  const selectorCount = input.bits(15);
  if (tableCount < 2 || tableCount > 6 || selectorCount === 0) throw corrupted('tables of a block');
  const selectors = readSelectors(input, tableCount, selectorCount);
  const alphabet = symbols.length + 2;
  const tables = Array.from({ length: tableCount }, () => readTable(input, alphabet));
  const end = alphabet - 1;
  let count = 0;
  let run = 0;
  let runUnit = 1;
  let left = 0;
  let selector = 0;
  let table = tables[0];
  for (;;) {
    if (left === 0) {
      if (selector >= selectorCount) throw corrupted('a block');
      table = tables[selectors[selector++]];
      left = GROUP;
    }
    left--;
    const symbol = table.read(input);
    if (symbol <= 1) {
      // Runs of the front symbol: a number in bijective base two.
      if (runUnit > out.length) throw corrupted('a block');
      run += runUnit << symbol;
      runUnit <<= 1;
      continue;
    }
    if (run > 0) {
      if (count + run > out.length) throw corrupted('a block');
      out.fill(symbols[0], count, count + run);
      count += run;
      run = 0;
      runUnit = 1;
    }
    if (symbol === end) return count;
    if (count >= out.length) throw corrupted('a block');
    const index = symbol - 1;
    const value = symbols[index];
    symbols.copyWithin(1, 0, index);
    symbols[0] = value;
    out[count++] = value;
  }
}

/** The bytes that occur, in order: two levels of bitmaps. */
function readSymbolMap(input: BitReader): Uint8Array {
  const groups = input.bits(16);
  const symbols: number[] = [];
  for (let i = 0; i < 16; i++) {
    if ((groups & (0x8000 >> i)) === 0) continue;
    const group = input.bits(16);
    for (let j = 0; j < 16; j++) if (group & (0x8000 >> j)) symbols.push(i * 16 + j);
  }
  if (symbols.length === 0) throw corrupted('a block');
  return Uint8Array.from(symbols);
}

/** Which table each group of 50 symbols uses, moved to front. */
function readSelectors(input: BitReader, tableCount: number, count: number): Uint8Array {
  const order = Uint8Array.from({ length: tableCount }, (_, i) => i);
  const selectors = new Uint8Array(count);
  for (let i = 0; i < count; i++) {
    let index = 0;
    while (input.bits(1) === 1) if (++index >= tableCount) throw corrupted('tables of a block');
    const value = order[index];
    order.copyWithin(1, 0, index);
    order[0] = value;
    selectors[i] = value;
  }
  return selectors;
}

/** A canonical Huffman code. */
class HuffmanTable {
  /** Per length: the largest code (left-aligned compares are not needed, codes grow bit by bit), and where its symbols are. */
  private readonly limits = new Int32Array(MAX_CODE_LENGTH + 2).fill(-1);
  private readonly offsets = new Int32Array(MAX_CODE_LENGTH + 2);
  private readonly symbols: Uint16Array;
  private readonly shortest: number;

  constructor(lengths: Uint8Array) {
    this.symbols = new Uint16Array(lengths.length);
    this.shortest = Math.min(...lengths);
    let at = 0;
    let code = 0;
    for (let length = this.shortest; length <= MAX_CODE_LENGTH; length++) {
      this.offsets[length] = at - code;
      for (let symbol = 0; symbol < lengths.length; symbol++) {
        if (lengths[symbol] !== length) continue;
        this.symbols[at++] = symbol;
        code++;
      }
      this.limits[length] = code - 1;
      code <<= 1;
    }
  }

  read(input: BitReader): number {
    let length = this.shortest;
    let code = input.bits(length);
    while (code > this.limits[length]) {
      if (++length > MAX_CODE_LENGTH) throw corrupted('a block');
      code = (code << 1) | input.bits(1);
    }
    const at = code + this.offsets[length];
    if (at < 0 || at >= this.symbols.length) throw corrupted('a block');
    return this.symbols[at];
  }
}

/** Code lengths, each as steps up or down from the one before. */
function readTable(input: BitReader, alphabet: number): HuffmanTable {
  const lengths = new Uint8Array(alphabet);
  let length = input.bits(5);
  for (let i = 0; i < alphabet; i++) {
    for (;;) {
      if (length < 1 || length > MAX_CODE_LENGTH) throw corrupted('tables of a block');
      if (input.bits(1) === 0) break;
      length += input.bits(1) === 0 ? 1 : -1;
    }
    lengths[i] = length;
  }
  return new HuffmanTable(lengths);
}

/** The inverse Burrows-Wheeler transform: links each byte to its successor in the upper 24 bits, then follows the links. */
function unsort(sorted: Uint32Array, count: number, origin: number): Uint8Array {
  const starts = new Int32Array(257);
  for (let i = 0; i < count; i++) starts[(sorted[i] & 255) + 1]++;
  for (let i = 1; i < 257; i++) starts[i] += starts[i - 1];
  for (let i = 0; i < count; i++) sorted[starts[sorted[i] & 255]++] |= i << 8;
  const out = new Uint8Array(count);
  let at = sorted[origin] >>> 8;
  for (let i = 0; i < count; i++) {
    const link = sorted[at];
    out[i] = link & 255;
    at = link >>> 8;
  }
  return out;
}

/** Undoes the first run-length coding: four equal bytes are followed by how many more there are. */
function* expandRuns(block: Uint8Array): Generator<Uint8Array, void> {
  let out = new Uint8Array(PIECE + 256);
  let to = 0;
  let repeats = 0;
  let last = -1;
  for (let i = 0; i < block.length; i++) {
    const byte = block[i];
    if (repeats === 4) {
      out.fill(last, to, to + byte);
      to += byte;
      repeats = 0;
      last = -1;
    } else {
      out[to++] = byte;
      repeats = byte === last ? repeats + 1 : 1;
      last = byte;
    }
    if (to >= PIECE) {
      yield out.subarray(0, to);
      out = new Uint8Array(PIECE + 256);
      to = 0;
    }
  }
  yield out.subarray(0, to);
}

function* checked(pieces: Iterable<Uint8Array>, expected: number): Generator<Uint8Array, void> {
  let crc = -1;
  for (const piece of pieces) {
    for (let i = 0; i < piece.length; i++) crc = (crc << 8) ^ CRC[(crc >>> 24) ^ piece[i]];
    if (piece.length > 0) yield piece;
  }
  if (~crc !== expected) throw corrupted('checksum of a block');
}

/** CRC-32 with the bits in the other order than elsewhere: most significant first. */
function makeTable(): Int32Array {
  const table = new Int32Array(256);
  for (let n = 0; n < 256; n++) {
    let c = n << 24;
    for (let k = 0; k < 8; k++) c = c < 0 ? (c << 1) ^ 0x04c11db7 : c << 1;
    table[n] = c;
  }
  return table;
}

/** Bits from the most significant of each byte down. */
class BitReader {
  private readonly bytes: Uint8Array;
  private at = 0;
  private held = 0;
  private heldBits = 0;

  constructor(bytes: Uint8Array) {
    this.bytes = bytes;
  }

  /** At most 24 bits. */
  bits(count: number): number {
    while (this.heldBits < count) {
      if (this.at >= this.bytes.length) throw new DecompressError('bzip2', 'the data is truncated');
      this.held = (this.held << 8) | this.bytes[this.at++];
      this.heldBits += 8;
    }
    this.heldBits -= count;
    return (this.held >>> this.heldBits) & ((1 << count) - 1);
  }

  alignToByte(): void {
    this.heldBits -= this.heldBits % 8;
  }

  get atEnd(): boolean {
    return this.at >= this.bytes.length && this.heldBits === 0;
  }
}

const corrupted = (what: string) => new DecompressError('bzip2', `the data is corrupted (${what})`);
