// A linked program as a static ELF64 executable: no section headers, a segment each for code, data, and notes
// (System V ABI, "ELF Header", "Program Header", "Note Section"; AMD64 supplement for e_machine).
import type { Image } from './link.ts';

export interface ElfNote {
  name: string;
  type: number;
  descriptor: Uint8Array;
}

export interface ElfOptions {
  entry: bigint;
  /** What to subtract from addresses to get load (physical) addresses: what a kernel's p_paddr has. Default 0. */
  physicalOffset?: bigint;
  notes?: readonly ElfNote[];
}

const EHDR = 64;
const PHDR = 56;
const PAGE = 4096;
const PT_LOAD = 1;
const PT_NOTE = 4;
const PT_GNU_STACK = 0x6474e551;
const R = 4;
const W = 2;
const X = 1;
const ET_EXEC = 2;
const EM_X86_64 = 62;

/** The image's sections must be page-aligned and its base too; file offsets equal addresses modulo a page. */
export function elf64(image: Image, options: ElfOptions): Uint8Array {
  const notes = encodeNotes(options.notes ?? []);
  const { text, data, bss } = image.sections;
  const segments: Array<{ type: number; flags: number; offset: number; at: bigint; fileSize: number; size: number }> =
    [];
  const hasData = bss.end > text.end;
  const count = 2 + (hasData ? 1 : 0) + (notes.length > 0 ? 1 : 0);
  const start = alignUp(EHDR + count * PHDR + notes.length, PAGE);
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
    const offset = EHDR + count * PHDR;
    segments.push({ type: PT_NOTE, flags: R, offset, at: 0n, fileSize: notes.length, size: notes.length });
  }
  segments.push({ type: PT_GNU_STACK, flags: R | W, offset: 0, at: 0n, fileSize: 0, size: 0 });

  const file = new Uint8Array(start + image.bytes.length);
  const view = new DataView(file.buffer);
  file.set([0x7f, 0x45, 0x4c, 0x46, 2, 1, 1, 0]); // ELF, 64-bit, little-endian, version 1, System V
  view.setUint16(16, ET_EXEC, true);
  view.setUint16(18, EM_X86_64, true);
  view.setUint32(20, 1, true);
  view.setBigUint64(24, options.entry, true);
  view.setBigUint64(32, BigInt(EHDR), true);
  view.setUint16(52, EHDR, true);
  view.setUint16(54, PHDR, true);
  view.setUint16(56, segments.length, true);
  view.setUint16(58, 64, true); // size of a section header, of which there are none
  segments.forEach((s, i) => {
    const at = EHDR + i * PHDR;
    const load = s.type === PT_LOAD;
    view.setUint32(at, s.type, true);
    view.setUint32(at + 4, s.flags, true);
    view.setBigUint64(at + 8, BigInt(s.offset), true);
    view.setBigUint64(at + 16, s.at, true);
    view.setBigUint64(at + 24, load ? s.at - (options.physicalOffset ?? 0n) : s.at, true);
    view.setBigUint64(at + 32, BigInt(s.fileSize), true);
    view.setBigUint64(at + 40, BigInt(s.size), true);
    view.setBigUint64(at + 48, load ? BigInt(PAGE) : s.type === PT_NOTE ? 4n : 16n, true);
  });
  file.set(notes, EHDR + count * PHDR);
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
