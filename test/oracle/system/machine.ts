// The machine that system cases run on: 128 KiB of memory with page tables, descriptor tables, stacks and code pages, and states to
// start from. Everything is plain data, the same for KVM and for domzero's processor. Exception handlers and the rest of all
// code pages are HLT, so that whatever happens next stops at once.
import { Prng } from '../prng.ts';
import { attributes, base, F, FIELD_COUNT, limit, msr, type SegmentName, type State, selector } from './fields.ts';

export const MEMORY_SIZE = 0x20000;
const HLT = 0xf4;

/** Physical addresses, mapped identically. */
export const At = {
  ivt: 0,
  gdt: 0x1000,
  idt: 0x2000,
  tss: 0x3000,
  ldt: 0x3800,
  handlers: 0x4000,
  stack0: 0x5000,
  stackIst: 0x6000,
  stack3: 0x7000,
  code0: 0x8000,
  code3: 0x9000,
  data0: 0xa000, // two pages, supervisor
  data3: 0xc000, // two pages, user
  pml4: 0x10000,
  pdpt: 0x11000,
  pd: 0x12000,
  pt: 0x13000, // maps the first 2 MiB
  ptTest: 0x14000, // maps linear 0x200000: for paging cases
  idt32: 0x15000,
  tss32: 0x16000,
  pdptPae: 0x17000,
  pdPae: 0x18000,
  pd32: 0x19000,
  pt32: 0x1a000,
} as const;

/** Linear address that ptTest maps. */
export const TEST_LINEAR = 0x200000n;
/** The whole low half again, as kernels have it. */
export const HIGH_ALIAS = 0xffff_8000_0000_0000n;

export const CODE_OFFSET = 0x400;
export const STACK_TOP = 0xff0;

/** GDT selectors. RPL 3 is set in those of user segments. */
export const Sel = {
  code64: 0x08,
  data: 0x10,
  userCode32: 0x1b,
  userData: 0x23,
  userCode64: 0x2b,
  code32: 0x30,
  readOnly: 0x38,
  tss: 0x40,
  ldt: 0x50,
  absentData: 0x60,
  expandDown: 0x68,
  conforming64: 0x70,
  executeOnly: 0x78,
  callGate: 0x80,
  freeTss: 0x90,
  absentCode64: 0xa0,
  badCode: 0xa8,
  freshData: 0xb0,
  freshCode64: 0xb8,
  absentGate: 0xc0,
  callGate0: 0xd0,
  code16: 0xe0,
  conformingUser: 0xeb,
  data1: 0xf1,
} as const;

export const GDT_LIMIT = 0x107;

const segment = (base: number, limit: number, attributes: number): bigint =>
  BigInt(limit & 0xffff) |
  (BigInt(base & 0xffffff) << 16n) |
  (BigInt(attributes & 0xff) << 40n) |
  (BigInt((limit >> 16) & 15) << 48n) |
  (BigInt((attributes >> 12) & 15) << 52n) |
  (BigInt((base >> 24) & 0xff) << 56n);

/** A 64-bit gate: IDT entry or call gate. */
export function gate64(offset: bigint, selector: number, type: number, ist = 0): [bigint, bigint] {
  const low =
    (offset & 0xffffn) |
    (BigInt(selector) << 16n) |
    (BigInt(ist) << 32n) |
    (BigInt(type) << 40n) |
    (((offset >> 16n) & 0xffffn) << 48n);
  return [low, (offset >> 32n) & 0xffffffffn];
}

export function gate32(offset: number, selector: number, type: number, count = 0): bigint {
  return (
    BigInt(offset & 0xffff) |
    (BigInt(selector) << 16n) |
    (BigInt(count) << 32n) |
    (BigInt(type) << 40n) |
    (BigInt(offset >>> 16) << 48n)
  );
}

const P = 1n;
const W = 2n;
const U = 4n;
const A = 0x20n;
const D = 0x40n;

/** Interrupt vectors with gates of their own, beyond the 32 exceptions (DPL 0 interrupt gates to their handlers). */
export const Int = {
  trapUser: 0x80,
  interruptUserIst: 0x81,
  absent: 0x82,
  nullSelector: 0x83,
  userCode: 0x84,
  conforming: 0x85,
  dataSegment: 0x86,
  notCanonical: 0x87,
  badIst: 0x88,
  wrongType: 0x89,
  code32: 0x8a,
  kernelOnly: 0x8b,
} as const;

function fillGdt(view: DataView): void {
  const set = (selector: number, ...values: bigint[]): void => {
    values.forEach((v, i) => {
      view.setBigUint64(At.gdt + (selector & ~7) + i * 8, v, true);
    });
  };
  const system = (base: number, limit: number, type: number): [bigint, bigint] => [segment(base, limit, type), 0n];
  set(Sel.code64, segment(0, 0xfffff, 0xa09b));
  set(Sel.data, segment(0, 0xfffff, 0xc093));
  set(Sel.userCode32, segment(0, 0xfffff, 0xc0fb));
  set(Sel.userData, segment(0, 0xfffff, 0xc0f3));
  set(Sel.userCode64, segment(0, 0xfffff, 0xa0fb));
  set(Sel.code32, segment(0, 0xfffff, 0xc09b));
  set(Sel.readOnly, segment(0, 0xfffff, 0xc091));
  set(Sel.tss, ...system(At.tss, 0x67, 0x8b));
  set(Sel.ldt, ...system(At.ldt, 0x2f, 0x82));
  set(Sel.absentData, segment(0, 0xfffff, 0xc013));
  set(Sel.expandDown, segment(At.data0, 0xfff, 0x4097));
  set(Sel.conforming64, segment(0, 0xfffff, 0xa09f));
  set(Sel.executeOnly, segment(0, 0xfffff, 0xa099));
  set(Sel.callGate, ...gate64(BigInt(At.code0 + 0x800), Sel.code64, 0xec));
  set(Sel.freeTss, ...system(At.tss, 0x67, 0x89));
  set(Sel.absentCode64, segment(0, 0xfffff, 0xa01b));
  set(Sel.badCode, segment(0, 0xfffff, 0xe09b));
  set(Sel.freshData, segment(0x1234, 0x7ff, 0x4092));
  set(Sel.freshCode64, segment(0, 0xfffff, 0xa09a));
  set(Sel.absentGate, ...gate64(BigInt(At.code0 + 0x800), Sel.code64, 0x6c));
  set(Sel.callGate0, ...gate64(BigInt(At.code0 + 0x800), Sel.code64, 0x8c));
  set(Sel.code16, segment(0, 0xffff, 0x009b));
  set(Sel.conformingUser, segment(0, 0xfffff, 0xa0ff));
  set(Sel.data1, segment(0, 0xfffff, 0xc0b3));
}

/** LDT selectors: 0x07, 0x0f, ... */
function fillLdt(view: DataView): void {
  [
    segment(At.data3, 0xfff, 0x40f3),
    segment(0, 0xfffff, 0xa0fb),
    segment(At.data0, 0x7ff, 0x4093),
    0n,
    0n,
    segment(0, 0xfffff, 0xc073),
  ].forEach((v, i) => {
    view.setBigUint64(At.ldt + i * 8, v, true);
  });
}

function fillIdt(view: DataView): void {
  const set = (vector: number, gate: [bigint, bigint]): void => {
    view.setBigUint64(At.idt + vector * 16, gate[0], true);
    view.setBigUint64(At.idt + vector * 16 + 8, gate[1], true);
  };
  const handler = (vector: number): bigint => BigInt(At.handlers + vector * 16);
  for (let v = 0; v < 256; v++) set(v, gate64(handler(v), Sel.code64, 0x8e));
  set(3, gate64(handler(3), Sel.code64, 0xee));
  set(4, gate64(handler(4), Sel.code64, 0xee));
  set(8, gate64(handler(8), Sel.code64, 0x8e, 3));
  set(Int.trapUser, gate64(handler(Int.trapUser), Sel.code64, 0xef));
  set(Int.interruptUserIst, gate64(handler(Int.interruptUserIst), Sel.code64, 0xee, 1));
  set(Int.absent, gate64(handler(Int.absent), Sel.code64, 0x6e));
  set(Int.nullSelector, gate64(handler(Int.nullSelector), 0, 0xee));
  set(Int.userCode, gate64(handler(Int.userCode), Sel.userCode64, 0xee));
  set(Int.conforming, gate64(handler(Int.conforming), Sel.conforming64, 0xee));
  set(Int.dataSegment, gate64(handler(Int.dataSegment), Sel.data, 0xee));
  set(Int.notCanonical, gate64(0x8000_0000_0000n, Sel.code64, 0xee));
  set(Int.badIst, gate64(handler(Int.badIst), Sel.code64, 0xee, 2));
  set(Int.wrongType, gate64(handler(Int.wrongType), Sel.code64, 0xe6));
  set(Int.code32, gate64(handler(Int.code32), Sel.code32, 0xee));
}

function fillPageTables(view: DataView): void {
  const entry = (table: number, index: number, value: bigint): void =>
    view.setBigUint64(table + index * 8, value, true);
  const all = P | W | U | A;
  for (const index of [0, 256]) entry(At.pml4, index, BigInt(At.pdpt) | all);
  entry(At.pdpt, 0, BigInt(At.pd) | all);
  entry(At.pd, 0, BigInt(At.pt) | all);
  entry(At.pd, 1, BigInt(At.ptTest) | all);
  entry(At.pd, 3, 0xe3n); // a large page: the first 2 MiB again at 6 MiB, supervisor
  for (let page = 0; page < MEMORY_SIZE / 4096; page++) {
    const address = page * 4096;
    const user = [At.stack3, At.code3, At.data3, At.data3 + 0x1000].some(a => a === address);
    entry(At.pt, page, BigInt(address) | P | W | A | D | (user ? U : 0n));
  }
  // PAE: the same page directory; 32-bit paging has tables of its own
  entry(At.pdptPae, 0, BigInt(At.pd) | P);
  for (let page = 0; page < MEMORY_SIZE / 4096; page++) {
    const low = Number(view.getBigUint64(At.pt + page * 8, true) & 0xffffffffn);
    view.setUint32(At.pt32 + page * 4, low, true);
  }
  view.setUint32(At.pd32, At.pt32 | Number(all), true);
}

function fillTss(view: DataView): void {
  const q = (offset: number, value: number | bigint): void => view.setBigUint64(At.tss + offset, BigInt(value), true);
  q(4, At.stack0 + STACK_TOP);
  q(12, At.stack0 + 0x800);
  q(0x24, At.stackIst + 0x3f0); // IST1
  q(0x2c, 0x8000_0000_0000n); // IST2: not canonical
  q(0x34, At.stackIst + 0xbf0); // IST3: for #DF
  view.setUint16(At.tss + 0x66, 0x68, true); // no I/O bitmap
}

export function machineMemory(): Uint8Array {
  const bytes = new Uint8Array(MEMORY_SIZE);
  const view = new DataView(bytes.buffer);
  const prng = new Prng(0x5e77);
  for (let i = At.data0; i < At.data3 + 0x2000; i++) bytes[i] = prng.u32();
  for (const page of [At.handlers, At.code0, At.code3]) bytes.fill(HLT, page, page + 0x1000);
  fillGdt(view);
  fillLdt(view);
  fillIdt(view);
  fillTss(view);
  fillPageTables(view);
  return bytes;
}

const CR0 = { PE: 1n, MP: 2n, ET: 0x10n, NE: 0x20n, WP: 0x10000n, AM: 0x40000n, PG: 0x80000000n };
const CR4 = { PAE: 0x20n, PGE: 0x80n, OSFXSR: 0x200n, OSXMMEXCPT: 0x400n, FSGSBASE: 0x10000n, OSXSAVE: 0x40000n };
export const EFER = { SCE: 1n, LME: 0x100n, LMA: 0x400n, NXE: 0x800n };

function load(state: State, s: SegmentName, sel: number, b: number, l: number, a: number): void {
  state[selector(s)] = BigInt(sel);
  state[base(s)] = BigInt(b);
  state[limit(s)] = BigInt(l);
  state[attributes(s)] = BigInt(a);
}

const FLAT = 0xffffffff;

function longMode(): State {
  const s = new BigUint64Array(FIELD_COUNT);
  for (let i = 0; i < 16; i++) s[i] = 0x1111_1111_1111_1111n * BigInt(i);
  s[F.rflags] = 2n;
  s[F.cr0] = CR0.PE | CR0.MP | CR0.ET | CR0.NE | CR0.WP | CR0.AM | CR0.PG;
  s[F.cr3] = BigInt(At.pml4);
  s[F.cr4] = CR4.PAE | CR4.PGE | CR4.OSFXSR | CR4.OSXMMEXCPT | CR4.FSGSBASE | CR4.OSXSAVE;
  s[F.efer] = EFER.SCE | EFER.LME | EFER.LMA | EFER.NXE;
  s[F.gdtrBase] = BigInt(At.gdt);
  s[F.gdtrLimit] = BigInt(GDT_LIMIT);
  s[F.idtrBase] = BigInt(At.idt);
  s[F.idtrLimit] = 0xfffn;
  s[F.dr6] = 0xffff0ff0n;
  s[F.dr7] = 0x400n;
  s[msr('star')] = 0x001b_0008_0000_0000n;
  s[msr('lstar')] = BigInt(At.code0 + 0xc00);
  s[msr('cstar')] = BigInt(At.code0 + 0xd00);
  s[msr('sfmask')] = 0x47700n;
  s[msr('kernelGsBase')] = 0xffff_8000_0000_a000n;
  s[msr('tscAux')] = 7n;
  s[msr('sysenterCs')] = BigInt(Sel.code64);
  s[msr('sysenterEsp')] = BigInt(At.stack0 + 0x600);
  s[msr('sysenterEip')] = BigInt(At.code0 + 0xe00);
  s[msr('pat')] = 0x0007_0406_0007_0406n;
  load(s, 'ldtr', Sel.ldt, At.ldt, 0x2f, 0x82);
  load(s, 'tr', Sel.tss, At.tss, 0x67, 0x8b);
  return s;
}

const RSP = 4;

function kernel64(): State {
  const s = longMode();
  load(s, 'cs', Sel.code64, 0, FLAT, 0xa09b);
  for (const d of ['ss', 'ds', 'es', 'fs', 'gs'] as const) load(s, d, Sel.data, 0, FLAT, 0xc093);
  s[base('fs')] = BigInt(At.data0);
  s[base('gs')] = HIGH_ALIAS + BigInt(At.data0);
  s[F.rip] = BigInt(At.code0 + CODE_OFFSET);
  s[RSP] = BigInt(At.stack0 + 0xc00);
  return s;
}

function user64(): State {
  const s = longMode();
  load(s, 'cs', Sel.userCode64, 0, FLAT, 0xa0fb);
  for (const d of ['ss', 'ds', 'es', 'fs', 'gs'] as const) load(s, d, Sel.userData, 0, FLAT, 0xc0f3);
  s[base('fs')] = BigInt(At.data3);
  s[base('gs')] = BigInt(At.data3 + 0x800);
  s[F.rip] = BigInt(At.code3 + CODE_OFFSET);
  s[F.rflags] = 0x202n;
  s[RSP] = BigInt(At.stack3 + 0xc00);
  return s;
}

function user32(): State {
  const s = user64();
  load(s, 'cs', Sel.userCode32, 0, FLAT, 0xc0fb);
  for (const d of ['fs', 'gs'] as const) s[base(d)] = 0n;
  for (let i = 0; i < 16; i++) s[i] &= i < 8 ? 0xffffffffn : 0n;
  return s;
}

function kernel32(): State {
  const s = kernel64();
  load(s, 'cs', Sel.code32, 0, FLAT, 0xc09b);
  for (const d of ['fs', 'gs'] as const) s[base(d)] = 0n;
  for (let i = 0; i < 16; i++) s[i] &= i < 8 ? 0xffffffffn : 0n;
  return s;
}

/** States to start from: 64-bit kernel and user, compatibility mode user and kernel. */
export const STARTS: Readonly<Record<string, State>> = {
  kernel64: kernel64(),
  user64: user64(),
  user32: user32(),
  kernel32: kernel32(),
};
