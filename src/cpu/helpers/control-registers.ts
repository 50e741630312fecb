// CR0, CR3, CR4, CR8, EFER and XCR0: reserved bits, mode transitions, what they flush (SDM Vol. 3A, 2.5, 4.1.2, 9.8.5; Vol. 2B "MOV").
import { GuestFault, Vector } from '../exits.ts';
import { S, SEG } from '../layout.ts';
import { hasFeature } from '../models/features.ts';
import type { CpuModel } from '../models/model.ts';
import type { SystemCore, SystemHelper } from './core.ts';
import { Attr, inLong64, inLongMode, SystemType } from './descriptors.ts';
import { modeChanged } from './segment-registers.ts';

export const Cr0 = {
  PE: 1n, MP: 2n, EM: 4n, TS: 8n, ET: 0x10n, NE: 0x20n, WP: 1n << 16n, AM: 1n << 18n, NW: 1n << 29n, CD: 1n << 30n, PG: 1n << 31n,
} as const; // biome-ignore format: a table
export const Cr4 = {
  VME: 1n, PVI: 2n, TSD: 4n, DE: 8n, PSE: 0x10n, PAE: 0x20n, MCE: 0x40n, PGE: 0x80n, PCE: 0x100n, OSFXSR: 0x200n, OSXMMEXCPT: 0x400n,
  UMIP: 0x800n, FSGSBASE: 1n << 16n, PCIDE: 1n << 17n, OSXSAVE: 1n << 18n, SMEP: 1n << 20n, SMAP: 1n << 21n,
} as const; // biome-ignore format: a table
export const Efer = { SCE: 1n, LME: 0x100n, LMA: 0x400n, NXE: 0x800n, SVME: 0x1000n, FFXSR: 0x4000n } as const;

const { PE, PG, ET, NW, CD } = Cr0;
const CR0_DEFINED = PE | Cr0.MP | Cr0.EM | Cr0.TS | ET | Cr0.NE | Cr0.WP | Cr0.AM | NW | CD | PG;
/** A change of these makes translations void: rights may have changed, not only tables. */
const CR0_FLUSH = PE | Cr0.WP | PG;
const CR4_ALWAYS = 0x7ffn;
const CR4_BY_FEATURE: readonly (readonly [bigint, string])[] = [
  [Cr4.UMIP, 'umip'],
  [Cr4.FSGSBASE, 'fsgsbase'],
  [Cr4.PCIDE, 'pcid'],
  [Cr4.OSXSAVE, 'xsave'],
  [Cr4.SMEP, 'smep'],
  [Cr4.SMAP, 'smap'],
];
const CR4_FLUSH = Cr4.PSE | Cr4.PAE | Cr4.PGE | Cr4.PCIDE | Cr4.SMEP | Cr4.SMAP;
/** Paging modes whose top entries are loaded and checked with the register. */
const CR4_PDPTE = Cr4.PSE | Cr4.PAE | Cr4.PGE | Cr4.SMEP;
const CR3_NO_FLUSH = 1n << 63n;
const CR3_PCID = 0xfffn;
/** CPUID leaf 80000001 EDX: fast FXSAVE. */
const CPUID_FFXSR = 1 << 25;
const LMSW_BITS = PE | Cr0.MP | Cr0.EM | Cr0.TS;

const fault = (): GuestFault => new GuestFault(Vector.GP, 0);

const featuresOf = new WeakMap<CpuModel, (name: string) => boolean>();
function has(model: CpuModel, name: string): boolean {
  let test = featuresOf.get(model);
  if (!test) featuresOf.set(model, (test = hasFeature(model)));
  return test(name);
}

function cr4Defined(model: CpuModel): bigint {
  return CR4_BY_FEATURE.reduce((mask, [bit, feature]) => (has(model, feature) ? mask | bit : mask), CR4_ALWAYS);
}

/** Physical address bits that a table may not have. */
const beyondPhysical = (model: CpuModel): bigint =>
  ~((1n << BigInt(model.physicalAddressBits)) - 1n) & 0xffffffffffffffffn;

/** The four top entries of PAE paging: present ones must not have reserved bits. */
function checkPdptes(core: SystemCore, cr3: bigint): void {
  const { memory, model } = core;
  const reserved = beyondPhysical(model) | 0x1e6n;
  const at = Number(cr3 & 0xffffffe0n);
  for (let i = 0; i < 4; i++) {
    const host = core.physical(at + i * 8);
    if (host < 0) return;
    const entry = memory.view.getBigUint64(host, true);
    if (entry & 1n && entry & reserved) throw fault();
  }
}

const usesPae = (cr0: bigint, cr4: bigint, efer: bigint): boolean =>
  !!(cr0 & PG && cr4 & Cr4.PAE && !(efer & Efer.LMA));

/** MOV CR0 and LMSW. */
export function writeCr0(core: SystemCore, written: bigint): void {
  const { state } = core;
  if (written >> 32n) throw fault();
  const value = (written & CR0_DEFINED) | ET;
  const old = state.get(S.cr0);
  const cr4 = state.get(S.cr4);
  let efer = state.get(S.efer);
  if ((value & PG && !(value & PE)) || (value & NW && !(value & CD))) throw fault();
  if (value & PG && !(old & PG) && efer & Efer.LME) {
    const tr = state.readSegment(SEG.tr);
    const is16 = (tr.attributes & 15 & ~2) === SystemType.tss16 && (tr.attributes & Attr.present) !== 0;
    if (!(cr4 & Cr4.PAE) || state.readSegment(SEG.cs).attributes & Attr.long || is16) throw fault();
    efer |= Efer.LMA;
  }
  if (!(value & PG) && old & PG) {
    if (inLong64(state) || cr4 & Cr4.PCIDE) throw fault();
    efer &= ~Efer.LMA;
  }
  if (usesPae(value, cr4, efer) && (value ^ old) & (PG | CD | NW)) checkPdptes(core, state.get(S.cr3));
  state.set(S.cr0, value);
  state.set(S.efer, efer);
  if ((value ^ old) & CR0_FLUSH) core.flushAll();
  modeChanged(core);
}

/** MOV CR3: the bank of the address space becomes current; its translations go unless bit 63 keeps them (PCID). */
export function writeCr3(core: SystemCore, written: bigint): void {
  const { state } = core;
  const long = inLongMode(state);
  const pcid = (state.get(S.cr4) & Cr4.PCIDE) !== 0n;
  const value = pcid ? written & ~CR3_NO_FLUSH : written;
  if (long ? value & beyondPhysical(core.model) : value >> 32n) throw fault();
  if (usesPae(state.get(S.cr0), state.get(S.cr4), state.get(S.efer))) checkPdptes(core, value);
  state.set(S.cr3, value);
  if (!(pcid && written & CR3_NO_FLUSH)) core.flushAddressSpace(value & ~CR3_PCID);
  core.modeChanged();
}

export function writeCr4(core: SystemCore, value: bigint): void {
  const { state, model } = core;
  const old = state.get(S.cr4);
  const long = inLongMode(state);
  if (value & ~cr4Defined(model)) throw fault();
  if (long && !(value & Cr4.PAE)) throw fault();
  if (value & ~old & Cr4.PCIDE && (!long || state.get(S.cr3) & CR3_PCID)) throw fault();
  if (usesPae(state.get(S.cr0), value, state.get(S.efer)) && (value ^ old) & CR4_PDPTE)
    checkPdptes(core, state.get(S.cr3));
  state.set(S.cr4, value);
  if ((value ^ old) & CR4_FLUSH) core.flushAll();
  core.modeChanged();
}

/** WRMSR of IA32_EFER: LMA is read-only, LME cannot change while paging is on. */
export function writeEfer(core: SystemCore, value: bigint): void {
  const { state, model } = core;
  const old = state.get(S.efer);
  let defined = Efer.LMA;
  if (has(model, 'syscall')) defined |= Efer.SCE;
  if (has(model, 'lm')) defined |= Efer.LME;
  if (has(model, 'nx')) defined |= Efer.NXE;
  if (model.leaves.some(l => l.leaf === 0x80000001 && l.edx & CPUID_FFXSR)) defined |= Efer.FFXSR;
  if (value & ~defined) throw fault();
  if ((value ^ old) & Efer.LME && state.get(S.cr0) & PG) throw fault();
  state.set(S.efer, (value & ~Efer.LMA) | (old & Efer.LMA));
  if ((value ^ old) & Efer.NXE) core.flushAll();
  core.modeChanged();
}

/** XSETBV: ECX chooses XCR0; x87 is always on, AVX needs SSE. */
const xsetbv: SystemHelper = core => {
  const { state, model } = core;
  if (!(state.get(S.cr4) & Cr4.OSXSAVE)) throw new GuestFault(Vector.UD);
  if (state.cpl !== 0 || state.gpr[1] & 0xffffffffn) throw fault();
  const value = ((state.gpr[2] & 0xffffffffn) << 32n) | (state.gpr[0] & 0xffffffffn);
  const leaf = model.leaves.find(l => l.leaf === 0xd && l.subleaf === 0);
  const supported = leaf ? (BigInt(leaf.edx >>> 0) << 32n) | BigInt(leaf.eax >>> 0) : 0n;
  if (value & ~supported || !(value & 1n) || (value & 6n) === 4n) throw fault();
  state.set(S.xcr0, value);
};

function readCr(core: SystemCore, number: bigint): bigint {
  const { state } = core;
  switch (number) {
    case 0n:
      return state.get(S.cr0);
    case 2n:
      return state.get(S.cr2);
    case 3n:
      return state.get(S.cr3);
    case 4n:
      return state.get(S.cr4);
    case 8n:
      return state.get(S.cr8);
    default:
      throw new GuestFault(Vector.UD);
  }
}

function writeCr(core: SystemCore, number: bigint, value: bigint): void {
  const { state } = core;
  if (number === 0n) writeCr0(core, value);
  else if (number === 2n) state.set(S.cr2, value);
  else if (number === 3n) writeCr3(core, value);
  else if (number === 4n) writeCr4(core, value);
  else if (number === 8n) {
    if (value >> 4n) throw fault();
    core.requireAlone();
    state.set(S.cr8, value);
    core.onTaskPriority?.(Number(value));
  } else throw new GuestFault(Vector.UD);
}

export const controlRegisterHelpers: Record<string, SystemHelper> = {
  readCr,
  writeCr,
  xsetbv,
  clts: core => {
    core.state.set(S.cr0, core.state.get(S.cr0) & ~Cr0.TS);
    core.modeChanged();
  },
  /** PE can be set but not cleared. */
  lmsw: (core, _width, value) => {
    const old = core.state.get(S.cr0);
    writeCr0(core, (old & ~(LMSW_BITS & ~PE)) | (value & LMSW_BITS));
  },
};
