// RFLAGS under privilege rules: CLI STI POPF PUSHF CLAC STAC (SDM Vol. 2; IOPL: Vol. 1, 3.4.3).
import { GuestFault, Vector } from '../exits.ts';
import { Flag } from '../flags.ts';
import { ModeBit, S } from '../layout.ts';
import type { SystemCore, SystemHelper } from './core.ts';
import { inProtected, inV86 } from './descriptors.ts';
import { holdOffInterrupts } from './shadow.ts';
import { hasVirtualFlag, imageWithVif, interruptFlag, ioplOf, requireV86Flags, vifOf } from './virtual-interrupts.ts';

const IF = BigInt(Flag.IF);
const VIF = BigInt(Flag.VIF);
const VIP = BigInt(Flag.VIP);
const RF = BigInt(Flag.RF);
const AC = BigInt(Flag.AC);
const TF = BigInt(Flag.TF);
const IOPL = BigInt(Flag.IOPL);
const ALWAYS = BigInt(Flag.CF | Flag.PF | Flag.AF | Flag.ZF | Flag.SF | Flag.TF | Flag.DF | Flag.OF | Flag.NT);
const WITH_32_BITS = BigInt(Flag.AC | Flag.ID | Flag.RF);

/** POPF: the operand size and what was popped. SP is the caller's business. */
const popf: SystemHelper = (core, width, popped) => {
  const { state } = core;
  requireV86Flags(core, width);
  const old = state.rflags;
  let mask = ALWAYS;
  let value = popped & ~RF;
  if (width !== 16n) mask |= WITH_32_BITS;
  if (inProtected(state)) {
    if (state.cpl <= ioplOf(old)) mask |= IF;
    if (state.cpl === 0) mask |= IOPL;
  } else if (hasVirtualFlag(core)) {
    value |= vifOf(old, popped);
    mask |= VIF;
  } else mask |= inV86(state) ? IF : IF | IOPL;
  state.rflags = (old & ~mask) | (value & mask);
  const changed = old ^ state.get(S.rflags);
  if (changed & (AC | TF)) core.modeChanged();
  else if (changed & IF) core.flagsChanged();
};

/** CLAC and STAC: only the kernel may. */
function setAc(core: SystemCore, on: boolean): void {
  const { state } = core;
  if (state.cpl !== 0 || state.get32(S.mode) & ModeBit.v86) throw new GuestFault(Vector.UD);
  const flags = state.get(S.rflags);
  state.set(S.rflags, on ? flags | AC : flags & ~AC);
  core.modeChanged();
}

export const systemFlagHelpers: Record<string, SystemHelper> = {
  popf,
  /** RFLAGS but for the arithmetic flags, as PUSHF pushes it outside 64-bit mode. */
  pushedFlags: (core, width) => {
    requireV86Flags(core, width);
    const flags = core.state.get(S.rflags);
    return hasVirtualFlag(core) ? imageWithVif(flags) : flags;
  },
  cli: core => {
    const flag = interruptFlag(core);
    core.state.set(S.rflags, core.state.get(S.rflags) & ~flag);
  },
  sti: core => {
    const { state } = core;
    const flags = state.get(S.rflags);
    if (interruptFlag(core) === VIF) {
      if (flags & VIP) throw new GuestFault(Vector.GP, 0);
      state.set(S.rflags, flags | VIF);
      return;
    }
    if (!(flags & IF) && !state.get32(S.pv)) holdOffInterrupts(core);
    state.set(S.rflags, flags | IF);
    if (!(flags & IF)) core.flagsChanged();
  },
  clac: core => setAc(core, false),
  stac: core => setAc(core, true),
};
