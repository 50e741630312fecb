// What control registers, CS, SS and RFLAGS amount to: the mode that bytes are decoded in, the rules of page walks, the units that trap
// (SDM Vol. 3A, 2.5, 4.1 and 13.1).
import { Flag } from './flags.ts';
import { Cr0, Cr4, Efer } from './helpers/control-registers.ts';
import { Attr } from './helpers/descriptors.ts';
import { ModeBit, S, SEG, SEG_FIELD, SEGMENT_SIZE, UnitTrap } from './layout.ts';
import type { PagingControls, PagingMode } from './mmu/paging.ts';
import { hasFeature } from './models/features.ts';
import type { CpuModel } from './models/model.ts';
import type { CpuState } from './state.ts';

const CS_AT = S.segments + SEG.cs * SEGMENT_SIZE;
const SS_AT = S.segments + SEG.ss * SEGMENT_SIZE;
/** Bits of CR3 that are the root's address: PAE's table of four entries is aligned to 32 bytes, the others to a page. */
const PAE_ROOT = 0xffffffe0n;
const ROOT = 0xffffffffff000n;
const PCID = 0xfff;
/** Bits 52-62 of entries, which 4-level paging leaves to software. */
const PAE_RESERVED_HIGH = 0x7ff00000;
const USER_CPL = 3;

/** The ModeBit set for S.mode. */
export function modeOf(state: CpuState): number {
  const cr0 = state.get(S.cr0);
  const longActive = (state.get(S.efer) & Efer.LMA) !== 0n;
  const code = state.get32(CS_AT + SEG_FIELD.attributes);
  const long64 = longActive && (code & Attr.long) !== 0;
  let mode = 0;
  if (long64) mode |= ModeBit.long64;
  else if (code & Attr.big) mode |= ModeBit.default32;
  if (cr0 & Cr0.PE) mode |= ModeBit.protected;
  if (longActive) mode |= ModeBit.longActive;
  if (cr0 & Cr0.PG) mode |= ModeBit.paging;
  if (state.get32(S.rflags) & Flag.VM) mode |= ModeBit.v86;
  if (state.cpl === USER_CPL) mode |= ModeBit.user;
  if (!long64 && state.get32(SS_AT + SEG_FIELD.attributes) & Attr.big) mode |= ModeBit.stack32;
  return mode;
}

/** The UnitTrap set for S.unitTrap. */
export function unitTrapsOf(state: CpuState): number {
  const cr0 = state.get(S.cr0);
  const absent = (cr0 & (Cr0.EM | Cr0.TS)) !== 0n;
  let traps = 0;
  if (absent) traps |= UnitTrap.x87 | UnitTrap.mmx | UnitTrap.sse;
  if (!(state.get(S.cr4) & Cr4.OSFXSR)) traps |= UnitTrap.sse;
  if (cr0 & Cr0.TS && cr0 & Cr0.MP) traps |= UnitTrap.wait;
  return traps;
}

/** Sets everything but the root. */
export function setPagingControls(controls: PagingControls, state: CpuState, model: CpuModel): void {
  const cr0 = state.get(S.cr0);
  const cr4 = state.get(S.cr4);
  const efer = state.get(S.efer);
  if (!(cr0 & Cr0.PG)) controls.mode = 'none';
  else if (efer & Efer.LMA) controls.mode = 'long';
  else controls.mode = cr4 & Cr4.PAE ? 'pae' : 'bits32';
  controls.wp = (cr0 & Cr0.WP) !== 0n;
  controls.nxe = (efer & Efer.NXE) !== 0n;
  controls.smep = (cr4 & Cr4.SMEP) !== 0n;
  controls.smap = (cr4 & Cr4.SMAP) !== 0n && !(state.get32(S.rflags) & Flag.AC);
  controls.pse = (cr4 & (Cr4.PSE | Cr4.PAE)) !== 0n;
  controls.pge = (cr4 & Cr4.PGE) !== 0n;
  controls.gigabytePages = hasFeature(model, 'pdpe1gb');
  controls.reservedHigh = 0xfffff & ~((1 << Math.max(0, model.physicalAddressBits - 32)) - 1);
  if (controls.mode === 'pae') controls.reservedHigh |= PAE_RESERVED_HIGH;
}

/** The page-table root in CR3, by the paging mode; 0 without paging. */
export function rootOf(state: CpuState, controls: PagingControls): bigint {
  if (controls.mode === 'none') return 0n;
  return state.get(S.cr3) & (controls.mode === 'pae' ? PAE_ROOT : ROOT);
}

const PAGING_MODES: readonly PagingMode[] = ['none', 'bits32', 'pae', 'long'];

/** What the tables' rights amount to, as a number: translations found under other rules do not count. 1 is user code, as for a PV guest. */
export function accessRules(controls: PagingControls, user: boolean, alignment: boolean): number {
  const { wp, nxe, smep, smap, pse } = controls;
  const supervisor = user ? 1 : (wp ? 2 : 0) | (smep ? 4 : 0) | (smap ? 8 : 0);
  return (
    supervisor | (nxe ? 16 : 0) | (pse ? 32 : 0) | (PAGING_MODES.indexOf(controls.mode) << 6) | (alignment ? 256 : 0)
  );
}

/** Accesses that are not aligned fault (SDM Vol. 3A, 6.15, #AC). Not so for PV guests. */
export function checksAlignment(state: CpuState): boolean {
  if (state.cpl !== USER_CPL || !(state.get32(S.rflags) & Flag.AC)) return false;
  return (state.get(S.cr0) & Cr0.AM) !== 0n && !state.get32(S.pv);
}

/** The process-context identifier in CR3; 0 where there are none. */
export function pcidOf(state: CpuState): number {
  return state.get(S.cr4) & Cr4.PCIDE ? state.get32(S.cr3) & PCID : 0;
}

/** What CS adds to RIP. */
export function codeBaseOf(state: CpuState): bigint {
  return state.get32(S.mode) & ModeBit.long64 ? 0n : state.get(CS_AT + SEG_FIELD.base);
}
