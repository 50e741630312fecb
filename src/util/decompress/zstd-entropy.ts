// zstd's two entropy coders (RFC 8878 section 4): tables of Finite State Entropy and of Huffman codes, as they are described in
// a frame, and the bit stream read backward from which both decode.

import { DecompressError } from './error.ts';

const MAX_HUFFMAN_BITS = 11;
const MAX_WEIGHT_LOG = 6;
/** Zero bytes in front of a backward stream, so that reading past its start reads zeros. */
const PAD = 8;

export const corrupted = (what: string) => new DecompressError('zstd', `the data is corrupted (${what})`);

/** Bits read from the end of a byte range toward its start (section 4.1). */
export class BackwardBits {
  private scratch = new Uint8Array(PAD);
  /** How many bits are unread; negative once more were read than there are. */
  left = 0;

  /** Starts at the last set bit of the range, which marks where the bits end. */
  start(bytes: Uint8Array, from: number, to: number): void {
    const length = to - from;
    const last = length > 0 ? bytes[to - 1] : 0;
    if (last === 0) throw corrupted('a bit stream');
    if (this.scratch.length < length + PAD + 4) this.scratch = new Uint8Array(length * 2 + PAD + 4);
    this.scratch.set(bytes.subarray(from, to), PAD);
    this.left = length * 8 - 8 + (31 - Math.clz32(last));
  }

  /** The next `count` bits, at most 25, without going on. */
  peek(count: number): number {
    const bit = this.left - count + PAD * 8;
    const s = this.scratch;
    const i = bit >> 3;
    return ((s[i] | (s[i + 1] << 8) | (s[i + 2] << 16) | (s[i + 3] << 24)) >>> (bit & 7)) & ((1 << count) - 1);
  }

  read(count: number): number {
    const value = this.peek(count);
    this.left -= count;
    // Far past the start there are no zero bytes any more, and no valid data comes here.
    if (this.left < -32) throw corrupted('a bit stream');
    return value;
  }

  /** As read(), for up to 31 bits. */
  readLong(count: number): number {
    if (count <= 25) return this.read(count);
    const high = this.read(count - 16);
    return (high << 16) | this.read(16);
  }
}

/** A decoding table: for each state the symbol, the bits to read, and what to add to them for the next state. */
export interface FseTable {
  readonly log: number;
  readonly symbols: Uint8Array;
  readonly bits: Uint8Array;
  readonly bases: Uint16Array;
}

/** Makes a table of 2^log states from normalized counts; -1 is a probability of less than one (section 4.1.1). */
export function makeFseTable(counts: ArrayLike<number>, log: number): FseTable {
  const size = 1 << log;
  const symbols = new Uint8Array(size);
  const next = new Uint16Array(counts.length);
  let high = size - 1;
  for (let symbol = 0; symbol < counts.length; symbol++) {
    if (counts[symbol] === -1) {
      symbols[high--] = symbol;
      next[symbol] = 1;
    } else {
      next[symbol] = counts[symbol];
    }
  }
  const step = (size >> 1) + (size >> 3) + 3;
  let at = 0;
  for (let symbol = 0; symbol < counts.length; symbol++) {
    for (let i = 0; i < counts[symbol]; i++) {
      symbols[at] = symbol;
      do at = (at + step) & (size - 1);
      while (at > high);
    }
  }
  const bits = new Uint8Array(size);
  const bases = new Uint16Array(size);
  for (let state = 0; state < size; state++) {
    const n = next[symbols[state]]++;
    bits[state] = log - (31 - Math.clz32(n));
    bases[state] = (n << bits[state]) - size;
  }
  return { log, symbols, bits, bases };
}

/** A table that always gives one symbol and reads no bits. */
export function makeRleTable(symbol: number): FseTable {
  return { log: 0, symbols: Uint8Array.of(symbol), bits: new Uint8Array(1), bases: new Uint16Array(1) };
}

/** Reads a table's description at `at`; returns the table and the offset after it. */
export function readFseTable(bytes: Uint8Array, at: number, end: number, maxLog: number, maxSymbol: number) {
  let bit = at * 8;
  const peek = (count: number) => {
    const i = bit >> 3;
    const word =
      (i < end ? bytes[i] : 0) | ((i + 1 < end ? bytes[i + 1] : 0) << 8) | ((i + 2 < end ? bytes[i + 2] : 0) << 16);
    return (word >>> (bit & 7)) & ((1 << count) - 1);
  };
  const log = peek(4) + 5;
  bit += 4;
  if (log > maxLog) throw corrupted('an entropy table');
  const counts: number[] = [];
  let remaining = (1 << log) + 1;
  let threshold = 1 << log;
  let width = log + 1;
  while (remaining > 1) {
    if (counts.length > maxSymbol) throw corrupted('an entropy table');
    // Values below `short` take one bit less.
    const short = 2 * threshold - 1 - remaining;
    let count = peek(width - 1);
    if (count < short) {
      bit += width - 1;
    } else {
      count = peek(width);
      if (count >= threshold) count -= short;
      bit += width;
    }
    count--;
    counts.push(count);
    remaining -= Math.abs(count);
    if (count === 0) {
      for (;;) {
        const zeros = peek(2);
        bit += 2;
        for (let i = 0; i < zeros; i++) counts.push(0);
        if (zeros < 3) break;
        if (counts.length > maxSymbol) throw corrupted('an entropy table');
      }
    }
    while (remaining < threshold) {
      width--;
      threshold >>= 1;
    }
  }
  const next = (bit + 7) >> 3;
  if (remaining !== 1 || counts.length > maxSymbol + 1 || next > end) throw corrupted('an entropy table');
  return { table: makeFseTable(counts, log), at: next };
}

/** A decoding table indexed by the next `log` bits: symbol in the low byte, length above. */
export interface HuffmanTable {
  readonly log: number;
  readonly entries: Uint16Array;
}

/** Reads a Huffman tree's description at `at` (section 4.2.1); returns the table and the offset after it. */
export function readHuffmanTable(bytes: Uint8Array, at: number, end: number, bits: BackwardBits) {
  if (at >= end) throw corrupted('a Huffman table');
  const head = bytes[at];
  const start = at + 1;
  const weights = new Uint8Array(256);
  let count: number;
  let next: number;
  if (head >= 128) {
    count = head - 127;
    next = start + ((count + 1) >> 1);
    for (let i = 0; i < count; i++) weights[i] = i & 1 ? bytes[start + (i >> 1)] & 15 : bytes[start + (i >> 1)] >> 4;
  } else {
    next = start + head;
    if (next > end) throw corrupted('a Huffman table');
    count = readWeights(bytes, start, next, weights, bits);
  }
  if (next > end) throw corrupted('a Huffman table');
  return { table: makeHuffmanTable(weights, count), at: next };
}

/** Weights by two FSE states that take turns until the bits run out. */
function readWeights(bytes: Uint8Array, at: number, end: number, weights: Uint8Array, bits: BackwardBits): number {
  const { table, at: dataAt } = readFseTable(bytes, at, end, MAX_WEIGHT_LOG, 255);
  bits.start(bytes, dataAt, end);
  const states = [bits.read(table.log), bits.read(table.log)];
  if (bits.left < 0) throw corrupted('a Huffman table');
  let count = 0;
  for (let turn = 0; ; turn ^= 1) {
    if (count >= 254) throw corrupted('a Huffman table');
    const state = states[turn];
    weights[count++] = table.symbols[state];
    const more = bits.read(table.bits[state]);
    if (bits.left < 0) {
      weights[count++] = table.symbols[states[turn ^ 1]];
      return count;
    }
    states[turn] = table.bases[state] + more;
  }
}

function makeHuffmanTable(weights: Uint8Array, count: number): HuffmanTable {
  let sum = 0;
  for (let i = 0; i < count; i++) {
    if (weights[i] > MAX_HUFFMAN_BITS) throw corrupted('a Huffman table');
    if (weights[i] > 0) sum += 1 << (weights[i] - 1);
  }
  if (sum === 0) throw corrupted('a Huffman table');
  // The last symbol's weight is not written: it fills up to the next power of two.
  const log = 32 - Math.clz32(sum);
  const rest = (1 << log) - sum;
  if (log > MAX_HUFFMAN_BITS || (rest & (rest - 1)) !== 0) throw corrupted('a Huffman table');
  weights[count] = 32 - Math.clz32(rest);
  const entries = new Uint16Array(1 << log);
  let at = 0;
  for (let weight = 1; weight <= log; weight++) {
    const span = 1 << (weight - 1);
    for (let symbol = 0; symbol <= count; symbol++) {
      if (weights[symbol] !== weight) continue;
      entries.fill(symbol | ((log + 1 - weight) << 8), at, at + span);
      at += span;
    }
  }
  return { log, entries };
}

/** Decodes exactly `count` symbols from the backward stream [from, to) into `out` at `at`. */
export function decodeHuffman(
  table: HuffmanTable,
  bits: BackwardBits,
  bytes: Uint8Array,
  from: number,
  to: number,
  out: Uint8Array,
  at: number,
  count: number,
): void {
  bits.start(bytes, from, to);
  const { entries, log } = table;
  for (let i = at, end = at + count; i < end; i++) {
    const entry = entries[bits.peek(log)];
    out[i] = entry & 255;
    bits.left -= entry >> 8;
    if (bits.left < 0) throw corrupted('literals');
  }
  if (bits.left !== 0) throw corrupted('literals');
}
