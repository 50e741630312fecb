// ELF files, 32 and 64 bit, little-endian (System V gABI, "Object Files" and "Program Loading"): headers, segments, sections,
// notes. Addresses are bigint, since a kernel's are at the top of 64 bits; offsets and sizes are numbers.

import { cString, hasBytesAt, viewOf } from '../util/bytes.ts';

export const EM_386 = 3;
export const EM_X86_64 = 62;
export const PT_LOAD = 1;
export const PT_NOTE = 4;
export const PF_X = 1;
export const PF_W = 2;
export const PF_R = 4;
export const SHT_SYMTAB = 2;
export const SHT_NOTE = 7;
export const SHT_NOBITS = 8;

const MAGIC = [0x7f, 0x45, 0x4c, 0x46];
const LITTLE_ENDIAN = 1;
/** Longer names of symbols and sections are cut; kernels allow 512 bytes. */
const MAX_NAME = 1024;
/** Sections may overlap, so that a broken file could hold any number of notes. */
const MAX_NOTE_AREAS = 64;

export interface ElfSegment {
  readonly type: number;
  readonly flags: number;
  readonly offset: number;
  readonly vaddr: bigint;
  readonly paddr: bigint;
  readonly fileSize: number;
  readonly memorySize: number;
  readonly align: bigint;
  /** The bytes from the file, a view; what lies between fileSize and memorySize is zero in memory. */
  readonly data: Uint8Array;
}

export interface ElfSection {
  readonly name: string;
  readonly type: number;
  readonly flags: bigint;
  readonly address: bigint;
  readonly offset: number;
  readonly size: number;
  /** sh_link: the index of a section that belongs to it, such as a symbol table's names. */
  readonly link: number;
  /** A view; empty for SHT_NOBITS. */
  readonly data: Uint8Array;
}

export interface ElfNote {
  readonly owner: string;
  readonly type: number;
  readonly data: Uint8Array;
}

/** The file is no ELF file that can be read; the message is one sentence. */
export class ElfError extends Error {
  constructor(problem: string) {
    super(problem);
    this.name = 'ElfError';
  }
}

export interface ElfFile {
  readonly bytes: Uint8Array;
  readonly bits: 32 | 64;
  /** ET_REL 1, ET_EXEC 2, ET_DYN 3. */
  readonly type: number;
  readonly machine: number;
  readonly entry: bigint;
  readonly segments: readonly ElfSegment[];
  /** Empty where the section table is missing or cut off: nothing that is loaded depends on it. */
  readonly sections: readonly ElfSection[];
}

export function isElf(bytes: Uint8Array): boolean {
  return hasBytesAt(bytes, 0, MAGIC);
}

/** Reads the headers. Throws ElfError where the file is none, or a segment lies outside it. */
export function readElf(bytes: Uint8Array): ElfFile {
  if (!isElf(bytes)) throw new ElfError('not an ELF file');
  const wide = bytes[4] === 2;
  if (bytes.length < (wide ? 64 : 52)) throw new ElfError('the ELF file is truncated');
  if (bytes[4] !== 1 && bytes[4] !== 2) throw new ElfError('the ELF file is of no known class');
  if (bytes[5] !== LITTLE_ENDIAN) throw new ElfError('the ELF file is big-endian');
  const f = new Fields(bytes, wide);
  const entry = f.address(24);
  const [phoff, shoff] = wide ? [f.offset(32), f.offset(40)] : [f.offset(28), f.offset(32)];
  const counts = wide ? 54 : 42;
  const segments: ElfSegment[] = [];
  const [phentsize, phnum] = [f.u16(counts), f.u16(counts + 2)];
  if (phnum > 0 && phentsize < (wide ? 56 : 32)) throw new ElfError('the ELF file is corrupted (program headers)');
  for (let i = 0; i < phnum; i++) segments.push(readSegment(f, phoff + i * phentsize));
  // A note lies in what is loaded as well; more overlap than that is no real file, and would take forever to search.
  const used = segments.reduce((sum, segment) => sum + segment.data.length, 0);
  if (used > 4 * bytes.length) throw new ElfError('the ELF file is corrupted (its segments overlap)');
  return {
    bytes,
    bits: wide ? 64 : 32,
    type: f.u16(16),
    machine: f.u16(18),
    entry,
    segments,
    sections: readSections(f, shoff, f.u16(counts + 4), f.u16(counts + 6), f.u16(counts + 8)),
  };
}

function readSegment(f: Fields, at: number): ElfSegment {
  if (at + (f.wide ? 56 : 32) > f.bytes.length) throw new ElfError('the ELF file is truncated (program headers)');
  const type = f.u32(at);
  const offset = f.offset(at + (f.wide ? 8 : 4));
  const fileSize = f.offset(at + (f.wide ? 32 : 16));
  const memorySize = f.offset(at + (f.wide ? 40 : 20));
  if ((type === PT_LOAD || type === PT_NOTE) && offset + fileSize > f.bytes.length) {
    throw new ElfError('the ELF file is truncated (a segment ends after the file)');
  }
  if (type === PT_LOAD && fileSize > memorySize) throw new ElfError('the ELF file is corrupted (size of a segment)');
  return {
    type,
    flags: f.u32(at + (f.wide ? 4 : 24)),
    offset,
    vaddr: f.address(at + (f.wide ? 16 : 8)),
    paddr: f.address(at + (f.wide ? 24 : 12)),
    fileSize,
    memorySize,
    align: f.address(at + (f.wide ? 48 : 28)),
    data: f.bytes.subarray(offset, offset + fileSize),
  };
}

function readSections(f: Fields, table: number, entrySize: number, count: number, nameIndex: number): ElfSection[] {
  if (entrySize < (f.wide ? 64 : 40) || table === 0 || table + entrySize * count > f.bytes.length) return [];
  const raw = Array.from({ length: count }, (_, i) => {
    const at = table + i * entrySize;
    const type = f.u32(at + 4);
    const offset = f.offset(at + (f.wide ? 24 : 16));
    const size = f.offset(at + (f.wide ? 32 : 20));
    return {
      nameAt: f.u32(at),
      type,
      flags: f.address(at + 8),
      address: f.address(at + (f.wide ? 16 : 12)),
      offset,
      size,
      link: f.u32(at + (f.wide ? 40 : 24)),
      data: type === SHT_NOBITS ? new Uint8Array(0) : f.bytes.subarray(offset, offset + size),
    };
  });
  const names = raw[nameIndex]?.data ?? new Uint8Array(0);
  return raw.map(({ nameAt, ...section }) => ({ name: cString(names, nameAt, MAX_NAME), ...section }));
}

/** The notes of all PT_NOTE segments, or of the SHT_NOTE sections where there is no such segment. */
export function elfNotes(elf: ElfFile): ElfNote[] {
  const segments = elf.segments.filter(s => s.type === PT_NOTE).map(s => s.data);
  const areas = segments.length > 0 ? segments : elf.sections.filter(s => s.type === SHT_NOTE).map(s => s.data);
  return areas.slice(0, MAX_NOTE_AREAS).flatMap(readNotes);
}

/** Notes as they stand one after another; a broken one ends the list. */
export function readNotes(area: Uint8Array): ElfNote[] {
  const view = viewOf(area);
  const notes: ElfNote[] = [];
  let at = 0;
  while (at + 12 <= area.length) {
    const nameSize = view.getUint32(at, true);
    const dataSize = view.getUint32(at + 4, true);
    const dataAt = at + 12 + align4(nameSize);
    if (dataAt + dataSize > area.length) break;
    notes.push({
      owner: cString(area, at + 12, nameSize),
      type: view.getUint32(at + 8, true),
      data: area.subarray(dataAt, dataAt + dataSize),
    });
    at = dataAt + align4(dataSize);
  }
  return notes;
}

export interface ElfSymbol {
  readonly name: string;
  readonly value: bigint;
  readonly size: bigint;
  /** STT_NOTYPE 0, STT_OBJECT 1, STT_FUNC 2, … */
  readonly type: number;
  /** The index of its section; 0 where it is undefined here. */
  readonly section: number;
}

/** The symbols of the SHT_SYMTAB section (a file has at most one), in the file's order. */
export function elfSymbols(elf: ElfFile): ElfSymbol[] {
  const wide = elf.bits === 64;
  const entry = wide ? 24 : 16;
  const table = elf.sections.find(section => section.type === SHT_SYMTAB);
  if (table === undefined) return [];
  const names = elf.sections[table.link]?.data ?? new Uint8Array(0);
  const f = new Fields(table.data, wide);
  return Array.from({ length: Math.floor(table.data.length / entry) }, (_, i) => {
    const at = i * entry;
    return {
      name: cString(names, f.u32(at), MAX_NAME),
      value: f.address(at + (wide ? 8 : 4)),
      size: f.address(at + (wide ? 16 : 8)),
      type: table.data[at + (wide ? 4 : 12)] & 15,
      section: f.u16(at + (wide ? 6 : 14)),
    };
  });
}

/** The loaded bytes at a virtual address (a view to the end of the segment's file part), or null. */
export function bytesAtVirtual(elf: ElfFile, address: bigint): Uint8Array | null {
  for (const segment of elf.segments) {
    if (segment.type !== PT_LOAD) continue;
    const offset = address - segment.vaddr;
    if (offset >= 0n && offset < BigInt(segment.fileSize)) return segment.data.subarray(Number(offset));
  }
  return null;
}

class Fields {
  readonly bytes: Uint8Array;
  readonly wide: boolean;
  private readonly view: DataView;

  constructor(bytes: Uint8Array, wide: boolean) {
    this.bytes = bytes;
    this.wide = wide;
    this.view = viewOf(bytes);
  }

  u16(at: number): number {
    return this.view.getUint16(at, true);
  }

  u32(at: number): number {
    return this.view.getUint32(at, true);
  }

  /** A word of the file's class. */
  address(at: number): bigint {
    return this.wide ? this.view.getBigUint64(at, true) : BigInt(this.view.getUint32(at, true));
  }

  /** A word that is an offset or a size in the file. */
  offset(at: number): number {
    const value = this.address(at);
    return value > BigInt(Number.MAX_SAFE_INTEGER) ? Number.MAX_SAFE_INTEGER : Number(value);
  }
}

const align4 = (n: number) => Math.ceil(n / 4) * 4;
