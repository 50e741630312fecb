// A linked program as a static executable, ELF64 or ELF32: no section headers, a segment each for code, data, and notes
// (System V ABI, "ELF Header", "Program Header", "Note Section"; the Intel386 and AMD64 supplements for e_machine).
import type { Image } from './link.ts';

export interface ElfNote {
  name: string;
  type: number;
  descriptor: Uint8Array;
}

export interface ElfOptions {
  /** The file's class, and with it the machine: i386 or x86-64. */
  bits: 32 | 64;
  entry: bigint;
  /** What to subtract from addresses to get load (physical) addresses: what a kernel's p_paddr has. Default 0. */
  physicalOffset?: bigint;
  notes?: readonly ElfNote[];
}

/** What differs between the classes. Program header fields: type, flags, offset, vaddr, paddr, filesz, memsz, align. */
const CLASSES = {
  32: {
    elfClass: 1,
    machine: 3,
    header: 52,
    programHeader: 32,
    sectionHeader: 40,
    fields: [0, 24, 4, 8, 12, 16, 20, 28],
  },
  64: {
    elfClass: 2,
    machine: 62,
    header: 64,
    programHeader: 56,
    sectionHeader: 64,
    fields: [0, 4, 8, 16, 24, 32, 40, 48],
  },
} as const;
const PAGE = 4096;
const PT_LOAD = 1;
const PT_NOTE = 4;
const PT_GNU_STACK = 0x6474e551;
const R = 4;
const W = 2;
const X = 1;
const ET_EXEC = 2;

/** The image's sections must be page-aligned and its base too; file offsets equal addresses modulo a page. */
export function elfExecutable(image: Image, options: ElfOptions): Uint8Array {
  const { elfClass, machine, header, programHeader, sectionHeader, fields } = CLASSES[options.bits];
  const notes = encodeNotes(options.notes ?? []);
  const { text, data, bss } = image.sections;
  const segments: Array<{ type: number; flags: number; offset: number; at: bigint; fileSize: number; size: number }> =
    [];
  const hasData = bss.end > text.end;
  const count = 2 + (hasData ? 1 : 0) + (notes.length > 0 ? 1 : 0);
  const start = alignUp(header + count * programHeader + notes.length, PAGE);
  segments.push({ type: PT_LOAD, flags: R | X, offset: start, at: image.base, fileSize: text.end, size: text.end });
  if (hasData) {
    const from = data.end > data.start ? data.start : bss.start;
    segments.push({
      type: PT_LOAD,
      flags: R | W,
      offset: start + from,
      at: image.base + BigInt(from),
      fileSize: Math.max(0, data.end - from),
      size: bss.end - from,
    });
  }
  if (notes.length > 0) {
    const offset = header + count * programHeader;
    segments.push({ type: PT_NOTE, flags: R, offset, at: 0n, fileSize: notes.length, size: notes.length });
  }
  segments.push({ type: PT_GNU_STACK, flags: R | W, offset: 0, at: 0n, fileSize: 0, size: 0 });

  const file = new Uint8Array(start + image.bytes.length);
  const view = new DataView(file.buffer);
  const word = options.bits / 8;
  const putWord = (at: number, value: bigint) =>
    word === 8 ? view.setBigUint64(at, value, true) : view.setUint32(at, Number(BigInt.asUintN(32, value)), true);
  file.set([0x7f, 0x45, 0x4c, 0x46, elfClass, 1, 1, 0]); // ELF, its class, little-endian, version 1, System V
  view.setUint16(16, ET_EXEC, true);
  view.setUint16(18, machine, true);
  view.setUint32(20, 1, true);
  putWord(24, options.entry);
  putWord(24 + word, BigInt(header));
  const sizes = 24 + 3 * word + 4; // behind entry, the two tables' offsets and the flags
  view.setUint16(sizes, header, true);
  view.setUint16(sizes + 2, programHeader, true);
  view.setUint16(sizes + 4, segments.length, true);
  view.setUint16(sizes + 6, sectionHeader, true); // of which there are none
  segments.forEach((s, i) => {
    const at = header + i * programHeader;
    const load = s.type === PT_LOAD;
    const [type, flags, ...words] = fields;
    view.setUint32(at + type, s.type, true);
    view.setUint32(at + flags, s.flags, true);
    [
      BigInt(s.offset),
      s.at,
      load ? s.at - (options.physicalOffset ?? 0n) : s.at,
      BigInt(s.fileSize),
      BigInt(s.size),
      load ? BigInt(PAGE) : s.type === PT_NOTE ? 4n : 16n,
    ].forEach((value, n) => {
      putWord(at + words[n], value);
    });
  });
  file.set(notes, header + count * programHeader);
  file.set(image.bytes, start);
  return file;
}

const alignUp = (n: number, to: number) => Math.ceil(n / to) * to;

function encodeNotes(notes: readonly ElfNote[]): Uint8Array {
  const chunks = notes.map(note => {
    const name = new TextEncoder().encode(`${note.name}\0`);
    const body = 12 + alignUp(name.length, 4);
    const chunk = new Uint8Array(body + alignUp(note.descriptor.length, 4));
    const view = new DataView(chunk.buffer);
    view.setUint32(0, name.length, true);
    view.setUint32(4, note.descriptor.length, true);
    view.setUint32(8, note.type, true);
    chunk.set(name, 12);
    chunk.set(note.descriptor, body);
    return chunk;
  });
  const out = new Uint8Array(chunks.reduce((n, c) => n + c.length, 0));
  let at = 0;
  for (const chunk of chunks) {
    out.set(chunk, at);
    at += chunk.length;
  }
  return out;
}
