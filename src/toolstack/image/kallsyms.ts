// The symbol table that a Linux kernel carries in its read-only data (scripts/kallsyms.c, kernel/kallsyms.c), found without
// any symbol to start from: names are compressed by a table of 256 tokens whose shape gives itself away, and every other
// part is checked against the rest. Layouts of 4.x to 7.x: addresses whole, relative to a base, or relative to themselves,
// before the names (until 6.3) or after the token index.

import { type ElfFile, PT_LOAD } from '../../abi/elf.ts';
import { indexOfBytes, viewOf } from '../../util/bytes.ts';

const MAX_SYMBOLS = 1 << 22;
/** The code of "0". */
const DIGIT = 0x30;
/** How far before the token table the names may start. */
const MAX_NAMES = 64 << 20;
/** How many places and names are looked at before giving up: real kernels take a hundredth, made-up ones could take forever. */
const MAX_WORK = 1 << 28;

export interface Kallsyms {
  /** Ascending. */
  readonly addresses: BigUint64Array;
  /** The name of symbol `index`, without its type letter. */
  name(index: number): string;
  /** The type letter as `nm` prints it. */
  type(index: number): string;
}

/** Finds and decodes the table; null where the kernel has none, or one of an unknown layout. */
export function findKallsyms(elf: ElfFile): Kallsyms | null {
  for (const segment of elf.segments) {
    if (segment.type !== PT_LOAD) continue;
    const area: Area = {
      bytes: segment.data,
      view: viewOf(segment.data),
      address: segment.vaddr,
      word: elf.bits === 64 ? 8 : 4,
      work: 0,
    };
    for (const tokens of findTokenTables(area)) {
      const names = findNames(area, tokens);
      const addresses = names === null ? null : findAddresses(area, tokens, names);
      if (names !== null && addresses !== null) return new DecodedKallsyms(area, tokens, names, addresses);
    }
  }
  return null;
}

/** A segment's bytes and where they are in the kernel's memory; `word` is the size of a pointer, to which all is aligned. */
interface Area {
  readonly bytes: Uint8Array;
  readonly view: DataView;
  readonly address: bigint;
  readonly word: 4 | 8;
  /** Steps taken so far. */
  work: number;
}

interface Tokens {
  /** kallsyms_token_table. */
  readonly start: number;
  /** After kallsyms_token_index. */
  readonly end: number;
  readonly text: readonly string[];
}

interface Names {
  /** kallsyms_num_syms. */
  readonly countAt: number;
  /** The offset of each symbol's compressed name (its bytes, after the length). */
  readonly offsets: Uint32Array;
  readonly lengths: Uint16Array;
}

/** Digits stand for themselves, so the table contains "0\0" to "9\0" in a row; the index after it has to agree with it. */
function* findTokenTables(area: Area): Generator<Tokens, void> {
  const { bytes } = area;
  const digits = new TextEncoder().encode('0\x001\x002\x003\x004\x005\x006\x007\x008\x009\x00');
  for (let digit = indexOfBytes(bytes, digits); digit >= 0; digit = indexOfBytes(bytes, digits, digit + 1)) {
    let end = digit;
    for (let token = DIGIT; token < 256 && (token === DIGIT || end > 0); token++) end = bytes.indexOf(0, end) + 1;
    if (end === 0) continue;
    for (const index of new Set([align(end, 2), align(end, 4), align(end, 8)])) {
      const tokens = readTokens(area, digit, index);
      if (tokens !== null) yield tokens;
    }
  }
}

/** The table whose "0" is at `digit`, if the index at `index` fits it. */
function readTokens({ bytes, view }: Area, digit: number, index: number): Tokens | null {
  if (index + 512 > bytes.length) return null;
  const start = digit - view.getUint16(index + 2 * DIGIT, true);
  if (start < 0) return null;
  const text: string[] = [];
  for (let token = 0, at = start; token < 256; token++) {
    if (view.getUint16(index + 2 * token, true) !== at - start) return null;
    const stop = bytes.indexOf(0, at);
    text.push(String.fromCharCode(...bytes.subarray(at, Math.min(stop, at + 1024))));
    at = stop + 1;
  }
  return { start, end: index + 512, text };
}

/** The count of symbols, the names after it, and the markers after those (the offset of every 256th name) confirm each other. */
function findNames(area: Area, tokens: Tokens): Names | null {
  const { view, word } = area;
  // Only these bytes can begin a name: codes of tokens that begin with a type letter of nm.
  const begins = Uint8Array.from(tokens.text, text => Number(/^[AaBbDdGgRrSsTtVvWw]/.test(text)));
  for (let at = (tokens.start & ~3) - 4; at >= Math.max(0, tokens.start - MAX_NAMES); at -= 4) {
    if (++area.work > MAX_WORK) return null;
    const count = view.getUint32(at, true);
    if (count < 256 || count > MAX_SYMBOLS) continue;
    // In recent kernels each part has its own alignment only, before, all had a pointer's.
    for (const start of new Set([at + 4, align(at + 4, word)])) {
      // A name takes two bytes at least.
      if (start + 2 * count > tokens.start || !startsWithNames(area, begins, start)) continue;
      const names = readNames(area, at, start, count, tokens.start);
      if (names !== null) return names;
    }
  }
  return null;
}

/** A cheap first look at sixteen names. */
function startsWithNames({ bytes }: Area, begins: Uint8Array, start: number): boolean {
  let at = start;
  for (let i = 0; i < 16; i++) {
    let length = bytes[at++];
    if (length >= 128) length = (length & 127) | (bytes[at++] << 7);
    if (length === 0 || begins[bytes[at]] !== 1) return false;
    at += length;
  }
  return true;
}

function readNames(area: Area, countAt: number, start: number, count: number, limit: number): Names | null {
  const { bytes, view } = area;
  area.work += count;
  const offsets = new Uint32Array(count);
  const lengths = new Uint16Array(count);
  const marks: number[] = [];
  let at = start;
  for (let i = 0; i < count; i++) {
    if ((i & 255) === 0) marks.push(at - start);
    let length = bytes[at++];
    // Two bytes since 6.1, seven bits each; before, no name was that long.
    if (length >= 128) length = (length & 127) | (bytes[at++] << 7);
    offsets[i] = at;
    lengths[i] = length;
    at += length;
    if (length === 0 || at > limit) return null;
  }
  // Markers are 32-bit; pointer-sized before 4.20.
  for (const size of [4, 8]) {
    for (const markers of new Set([align(at, 4), align(at, 8)])) {
      if (markers + marks.length * size > limit) continue;
      const fit = marks.every((mark, i) => view.getUint32(markers + i * size, true) === mark);
      if (fit) return { countAt, offsets, lengths };
    }
  }
  return null;
}

/** Tries every place and meaning of the addresses; only the right one gives ascending addresses of a kernel. */
function findAddresses(area: Area, tokens: Tokens, names: Names): BigUint64Array | null {
  const { word } = area;
  const count = names.offsets.length;
  const size = 4 * count;
  const before = names.countAt - (names.countAt % word);
  const after = align(tokens.end, word);
  const candidates = [
    () => relativeToBase(area, before - word - align(size, word), before - word, count),
    () => relativeToBase(area, after, align(after + size, word), count),
    () => relativeToSelf(area, align(tokens.end, 4), count),
    () => whole(area, before - word * count, count),
    () => whole(area, after, count),
  ];
  for (const read of candidates) {
    const addresses = read();
    if (addresses !== null && plausible(addresses, area)) return addresses;
  }
  return null;
}

/** CONFIG_KALLSYMS_BASE_RELATIVE: 32-bit offsets; with absolute per-CPU symbols, negative ones count down from the base. */
function relativeToBase(area: Area, offsetsAt: number, baseAt: number, count: number): BigUint64Array | null {
  if (!inside(area, offsetsAt, baseAt + area.word)) return null;
  const base = word(area, baseAt);
  const { view } = area;
  const unsigned = Array.from({ length: count }, (_, i) => view.getUint32(offsetsAt + 4 * i, true));
  if (isAscending(unsigned)) return BigUint64Array.from(unsigned, offset => base + BigInt(offset));
  return BigUint64Array.from(unsigned, offset => {
    const signed = offset | 0;
    return signed >= 0 ? BigInt(signed) : base - 1n - BigInt(signed);
  });
}

/** Without it: each address in full. */
function whole(area: Area, at: number, count: number): BigUint64Array | null {
  if (!inside(area, at, at + area.word * count)) return null;
  return BigUint64Array.from({ length: count }, (_, i) => word(area, at + area.word * i));
}

/** Offsets that count from where they stand themselves. */
function relativeToSelf(area: Area, at: number, count: number): BigUint64Array | null {
  if (!inside(area, at, at + 4 * count)) return null;
  const { view, address } = area;
  return BigUint64Array.from({ length: count }, (_, i) => {
    const own = at + 4 * i;
    return BigInt.asUintN(64, address + BigInt(own + view.getInt32(own, true)));
  });
}

/** Ascending, and a good part of them in the segment's neighbourhood (per-CPU symbols count from 0). */
function plausible(addresses: BigUint64Array, area: Area): boolean {
  const [low, high] = [area.address - 0x40000000n, area.address + 0x40000000n];
  let near = 0;
  for (let i = 0; i < addresses.length; i++) {
    if (i > 0 && addresses[i] < addresses[i - 1]) return false;
    if (addresses[i] >= low && addresses[i] <= high) near++;
  }
  return near > addresses.length / 2;
}

function isAscending(values: readonly number[]): boolean {
  for (let i = 1; i < values.length; i++) if (values[i] < values[i - 1]) return false;
  return true;
}

function word(area: Area, at: number): bigint {
  return area.word === 8 ? area.view.getBigUint64(at, true) : BigInt(area.view.getUint32(at, true));
}

const inside = (area: Area, start: number, end: number) => start >= 0 && end <= area.bytes.length;
const align = (at: number, to: number) => Math.ceil(at / to) * to;

class DecodedKallsyms implements Kallsyms {
  readonly addresses: BigUint64Array;
  /** A copy of the names alone, so that the table does not keep the whole kernel in memory. */
  private readonly bytes: Uint8Array;
  private readonly start: number;
  private readonly tokens: Tokens;
  private readonly names: Names;

  constructor(area: Area, tokens: Tokens, names: Names, addresses: BigUint64Array) {
    const last = names.offsets.length - 1;
    this.start = names.offsets[0];
    this.bytes = area.bytes.slice(this.start, names.offsets[last] + names.lengths[last]);
    this.tokens = tokens;
    this.names = names;
    this.addresses = addresses;
  }

  name(index: number): string {
    return this.expand(index).slice(1);
  }

  type(index: number): string {
    return this.expand(index).slice(0, 1);
  }

  private expand(index: number): string {
    const start = this.names.offsets[index] - this.start;
    let text = '';
    for (let at = start; at < start + this.names.lengths[index]; at++) text += this.tokens.text[this.bytes[at]];
    return text;
  }
}
