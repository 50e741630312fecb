// Virtual interrupt flag: what CR4.VME does for virtual-8086 mode and CR4.PVI for ring 3, where IOPL keeps IF from them
// (SDM Vol. 3A, 21.3 and 21.4, tables 21-2 and 21-3; Vol. 2 "CLI", "STI", "PUSHF", "POPF", "IRET", "INT n").
import { GuestFault, Vector } from '../exits.ts';
import { Flag } from '../flags.ts';
import { S, SEG } from '../layout.ts';
import { Cr4 } from './control-registers.ts';
import type { SystemCore } from './core.ts';
import { inProtected, inV86, readSystem, SystemType } from './descriptors.ts';

const IF = BigInt(Flag.IF);
const VIF = BigInt(Flag.VIF);
const VIP = BigInt(Flag.VIP);
const TF = BigInt(Flag.TF);
const IOPL = BigInt(Flag.IOPL);
/** From VIF to where IF stands. */
const VIF_OVER_IF = 10n;
const USER_CPL = 3;
/** Offset in the TSS of the offset of the I/O bitmap, which the bitmap of redirections stands right below. */
const IO_BITMAP = 102n;
const REDIRECTIONS = 32n;

export const ioplOf = (rflags: bigint): number => Number((rflags & IOPL) >> 12n);

/** Virtual-8086 code whose interrupt flag is VIF: CR4.VME is on and IOPL is below 3. */
export function hasVirtualFlag({ state }: SystemCore): boolean {
  return inV86(state) && ioplOf(state.get(S.rflags)) < 3 && (state.get(S.cr4) & Cr4.VME) !== 0n;
}

/** Virtual-8086 code that may have neither flag, by PUSHF, POPF, IRET and INT n: #GP(0). Operands of 32 bits never get VIF. */
export function requireV86Flags(core: SystemCore, width: bigint): void {
  const { state } = core;
  if (!inV86(state) || ioplOf(state.get(S.rflags)) === 3) return;
  if (width !== 16n || !hasVirtualFlag(core)) throw new GuestFault(Vector.GP, 0);
}

/** The flag that CLI and STI change here: IF or VIF. Throws #GP(0) where it is neither. */
export function interruptFlag(core: SystemCore): bigint {
  const { state } = core;
  const iopl = ioplOf(state.get(S.rflags));
  if (inV86(state) ? iopl === 3 : !inProtected(state) || state.cpl <= iopl) return IF;
  const pvi = !inV86(state) && state.cpl === USER_CPL && (state.get(S.cr4) & Cr4.PVI) !== 0n;
  if (!pvi && !hasVirtualFlag(core)) throw new GuestFault(Vector.GP, 0);
  return VIF;
}

/** RFLAGS as virtual-8086 code with a virtual flag sees it on its stack: VIF for IF, and IOPL 3. */
export function imageWithVif(rflags: bigint): bigint {
  return (rflags & ~IF) | ((rflags & VIF) >> VIF_OVER_IF) | IOPL;
}

/** VIF as such code pops it. Throws #GP(0) where an interrupt waits for it (VIP), or for TF. */
export function vifOf(rflags: bigint, popped: bigint): bigint {
  if (popped & TF || (popped & IF && rflags & VIP)) throw new GuestFault(Vector.GP, 0);
  return (popped & IF) << VIF_OVER_IF;
}

/** INT n of virtual-8086 code goes to its own vector table: CR4.VME is on and the task's bitmap has a 0 for it. */
export function redirectsInterrupt(core: SystemCore, vector: number): boolean {
  const { state } = core;
  if (!inV86(state) || !(state.get(S.cr4) & Cr4.VME)) return false;
  const tr = state.readSegment(SEG.tr);
  if ((tr.attributes & 15 & ~2) !== SystemType.tss || tr.limit < Number(IO_BITMAP) + 1) return false;
  const at = readSystem(core, tr.base + IO_BITMAP, 2) - REDIRECTIONS + BigInt(vector >> 3);
  // two bytes are read, as of the I/O bitmap
  if (at < 0n || Number(at) + 1 > tr.limit) throw new GuestFault(Vector.GP, 0);
  return ((Number(readSystem(core, tr.base + at, 2)) >> (vector & 7)) & 1) === 0;
}
