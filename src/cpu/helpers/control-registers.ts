// CR0, CR3, CR4, CR8, EFER and XCR0: reserved bits, mode transitions, what they flush (SDM Vol. 3A, 2.5, 4.1.2, 9.8.5; Vol. 2B "MOV").
import { GuestFault, Vector } from '../exits.ts';
import { S, SEG } from '../layout.ts';
import { hasFeature } from '../models/features.ts';
import type { CpuModel } from '../models/model.ts';
import type { SystemCore, SystemHelper } from './core.ts';
import { Attr, inLong64, inLongMode, SystemType } from './descriptors.ts';
import { beyondPhysical, readPdptes, setPdptes } from './pdptes.ts';
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
/** Bits that are there on every processor of these kinds. */
const CR4_ALWAYS: bigint = Cr4.PCE;
const CR4_BY_FEATURE: readonly (readonly [bigint, string])[] = [
  [Cr4.VME | Cr4.PVI, 'vme'],
  [Cr4.TSD, 'tsc'],
  [Cr4.DE, 'de'],
  [Cr4.PSE, 'pse'],
  [Cr4.PAE, 'pae'],
  [Cr4.MCE, 'mce'],
  [Cr4.PGE, 'pge'],
  [Cr4.OSFXSR, 'fxsr'],
  [Cr4.OSXMMEXCPT, 'sse'],
  [Cr4.UMIP, 'umip'],
  [Cr4.FSGSBASE, 'fsgsbase'],
  [Cr4.PCIDE, 'pcid'],
  [Cr4.OSXSAVE, 'xsave'],
  [Cr4.SMEP, 'smep'],
  [Cr4.SMAP, 'smap'],
];
const CR4_FLUSH = Cr4.PSE | Cr4.PAE | Cr4.PGE | Cr4.PCIDE | Cr4.SMEP | Cr4.SMAP;
/** A change of these loads the top entries of PAE paging again. */
const CR4_PDPTE = Cr4.PSE | Cr4.PAE | Cr4.PGE | Cr4.SMEP;
const CR3_NO_FLUSH = 1n << 63n;
const CR3_PCID = 0xfffn;
const LMSW_BITS = PE | Cr0.MP | Cr0.EM | Cr0.TS;

const fault = (): GuestFault => new GuestFault(Vector.GP, 0);

/** Bits of CR4 that the model has. */
export function cr4Defined(model: CpuModel): bigint {
  return CR4_BY_FEATURE.reduce((mask, [bit, feature]) => (hasFeature(model, feature) ? mask | bit : mask), CR4_ALWAYS);
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
  if (usesPae(value, cr4, efer) && (value ^ old) & (PG | CD | NW)) setPdptes(state, readPdptes(core, state.get(S.cr3)));
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
  if (usesPae(state.get(S.cr0), state.get(S.cr4), state.get(S.efer))) setPdptes(state, readPdptes(core, value));
  state.set(S.cr3, value);
  core.modeChanged();
  if (!(pcid && written & CR3_NO_FLUSH)) core.flushContext();
}

export function writeCr4(core: SystemCore, value: bigint): void {
  const { state, model } = core;
  const old = state.get(S.cr4);
  const long = inLongMode(state);
  if (value & ~cr4Defined(model)) throw fault();
  if (long && !(value & Cr4.PAE)) throw fault();
  if (value & ~old & Cr4.PCIDE && (!long || state.get(S.cr3) & CR3_PCID)) throw fault();
  if (usesPae(state.get(S.cr0), value, state.get(S.efer)) && (value ^ old) & CR4_PDPTE)
    setPdptes(state, readPdptes(core, state.get(S.cr3)));
  state.set(S.cr4, value);
  if ((value ^ old) & CR4_FLUSH) core.flushAll();
  core.modeChanged();
}

/** WRMSR of IA32_EFER: LMA is read-only, LME cannot change while paging is on. */
export function writeEfer(core: SystemCore, value: bigint): void {
  const { state, model } = core;
  const old = state.get(S.efer);
  let defined = Efer.LMA;
  if (hasFeature(model, 'syscall')) defined |= Efer.SCE;
  if (hasFeature(model, 'lm')) defined |= Efer.LME;
  if (hasFeature(model, 'nx')) defined |= Efer.NXE;
  if (hasFeature(model, 'fxsr_opt')) defined |= Efer.FFXSR;
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
