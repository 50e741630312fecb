// Where a case's code and data stand, natively and on replay: the same linear addresses over the same small backing memory.
// Two readable and writable pages with nothing mapped behind them, a read-only page, two code pages filled with INT3; each once
// below 4 GiB and once high up in the lower canonical half. Descriptors: what Linux's GDT holds, and an LDT of our own.
import { Prng } from './prng.ts';

export const DATA = 0x1000_0000n;
export const HIGH_DATA = 0x7e00_1000_0000n;
export const CODE = 0x2000_0000n;
export const HIGH_CODE = 0x7e00_2000_0000n;

export const DATA_SIZE = 0x2000;
/** Offset of the read-only page from DATA (a page between is not mapped), and its offset in the backing memory. */
export const READ_ONLY = 0x3000;
export const READ_ONLY_BACKING = 0x2000;
export const CODE_BACKING = 0x3000;
export const CODE_SIZE = 0x2000;
export const BACKING_SIZE = 0x5000;

export interface Region {
  address: bigint;
  size: number;
  /** Offset in the backing memory. */
  offset: number;
  writable: boolean;
  executable: boolean;
}

/** Offsets in the backing memory differ from those in the linear regions only for the read-only page. */
export const REGIONS: readonly Region[] = [DATA, HIGH_DATA].flatMap((data, i) => [
  { address: data, size: DATA_SIZE, offset: 0, writable: true, executable: false },
  { address: data + BigInt(READ_ONLY), size: 0x1000, offset: READ_ONLY_BACKING, writable: false, executable: false },
  {
    address: i === 0 ? CODE : HIGH_CODE,
    size: CODE_SIZE,
    offset: CODE_BACKING,
    writable: false,
    executable: true,
  },
]);

/** The backing memory before a case's patches. */
export function backgroundMemory(): Uint8Array {
  const bytes = new Uint8Array(BACKING_SIZE);
  const prng = new Prng(0x0ddba11);
  for (let i = 0; i < CODE_BACKING; i++) bytes[i] = prng.u32() >>> 24;
  bytes.fill(0xcc, CODE_BACKING);
  return bytes;
}

/** FS and GS bases in 64-bit mode; the LDT's first two segments have the low parts. */
export const FS_BASE = DATA + 0x40n;
export const GS_BASE = HIGH_DATA + 0x80n;

/** Linux's selectors for user code and data. */
export const USER_CS32 = 0x23;
export const USER_DS = 0x2b;
export const USER_CS64 = 0x33;

/** A descriptor as the architecture stores it; `attributes` = descriptor bits 40-47 in 0-7, bits 52-55 in 12-15; limit not scaled. */
export interface Descriptor {
  base: number;
  limit: number;
  attributes: number;
}

/** GDT entries that user-mode code can meet under Linux, by index. All others up to 15 are absent or system descriptors. */
export const GDT: Readonly<Record<number, Descriptor>> = {
  1: { base: 0, limit: 0xfffff, attributes: 0xc09b },
  2: { base: 0, limit: 0xfffff, attributes: 0xa09b },
  3: { base: 0, limit: 0xfffff, attributes: 0xc093 },
  4: { base: 0, limit: 0xfffff, attributes: 0xc0fb },
  5: { base: 0, limit: 0xfffff, attributes: 0xc0f3 },
  6: { base: 0, limit: 0xfffff, attributes: 0xa0fb },
};
export const GDT_LIMIT = 0x7f;

const low = (address: bigint): number => Number(address);

/** The LDT's entries by index; all have DPL 3. Names as indices in Ldt. */
export const LDT: readonly Descriptor[] = [
  { base: low(DATA) + 0x40, limit: 0xfffff, attributes: 0xc0f3 }, // fs: writable data, flat size
  { base: low(DATA) + 0x80, limit: 0x17ff, attributes: 0x40f3 }, // gs: writable data of 0x1800 bytes
  { base: low(DATA), limit: 0xfffff, attributes: 0xc0f1 }, // read-only data
  { base: low(DATA), limit: 0xfffff, attributes: 0xc073 }, // not present
  { base: 0, limit: 0xfffff, attributes: 0xc0f9 }, // execute-only code, 32-bit
  { base: 0, limit: 0xfffff, attributes: 0xc0fb }, // readable code, 32-bit
  { base: low(DATA), limit: 0x0fff, attributes: 0x40f7 }, // expand-down data: offsets above 0xfff
  { base: low(CODE), limit: 0xffff, attributes: 0x00fb }, // readable code, 16-bit
  { base: 0, limit: 0xfffff, attributes: 0xc07f }, // conforming code, not present (Linux lets no other be made)
  { base: low(DATA), limit: 0xffff, attributes: 0x00f3 }, // data with 16-bit stack pointer
];
export const Ldt = {
  fs: 0x07,
  gs: 0x0f,
  readOnly: 0x17,
  notPresent: 0x1f,
  executeOnly: 0x27,
  code32: 0x2f,
  expandDown: 0x37,
  code16: 0x3f,
  conforming: 0x47,
  stack16: 0x4f,
} as const;

/** Offset in the backing memory of a linear address, or -1 where nothing is mapped. */
export function backingOffset(linear: bigint): number {
  for (const r of REGIONS)
    if (linear >= r.address && linear < r.address + BigInt(r.size)) return r.offset + Number(linear - r.address);
  return -1;
}
