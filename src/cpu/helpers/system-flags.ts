// RFLAGS under privilege rules: CLI STI POPF PUSHF CLAC STAC (SDM Vol. 2; IOPL: Vol. 1, 3.4.3). VME and PVI are not modelled.
import { GuestFault, Vector } from '../exits.ts';
import { Flag } from '../flags.ts';
import { ModeBit, S } from '../layout.ts';
import type { SystemCore, SystemHelper } from './core.ts';
import { inProtected, inV86 } from './descriptors.ts';
import { ioplOf } from './far-returns.ts';
import { holdOffInterrupts } from './shadow.ts';

const IF = BigInt(Flag.IF);
const AC = BigInt(Flag.AC);
const TF = BigInt(Flag.TF);
const IOPL = BigInt(Flag.IOPL);
const ALWAYS = BigInt(Flag.CF | Flag.PF | Flag.AF | Flag.ZF | Flag.SF | Flag.TF | Flag.DF | Flag.OF | Flag.NT);
const WITH_32_BITS = BigInt(Flag.AC | Flag.ID | Flag.RF);

/** #GP(0) unless IF may be changed here. */
function requireInterruptFlag({ state }: SystemCore): void {
  const iopl = ioplOf(state.get(S.rflags));
  const allowed = inV86(state) ? iopl === 3 : !inProtected(state) || state.cpl <= iopl;
  if (!allowed) throw new GuestFault(Vector.GP, 0);
}

/** #GP(0) in virtual-8086 mode with IOPL below 3. */
function requireV86Iopl({ state }: SystemCore): void {
  if (inV86(state) && ioplOf(state.get(S.rflags)) < 3) throw new GuestFault(Vector.GP, 0);
}

/** POPF: the operand size and what was popped. SP is the caller's business. */
const popf: SystemHelper = (core, width, popped) => {
  const { state } = core;
  requireV86Iopl(core);
  const old = state.rflags;
  let mask = ALWAYS;
  if (width !== 16n) mask |= WITH_32_BITS;
  if (inProtected(state)) {
    if (state.cpl <= ioplOf(old)) mask |= IF;
    if (state.cpl === 0) mask |= IOPL;
  } else mask |= inV86(state) ? IF : IF | IOPL;
  const value = width === 16n ? popped : popped & ~BigInt(Flag.RF);
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
  checkPushf: core => requireV86Iopl(core),
  cli: core => {
    requireInterruptFlag(core);
    core.state.set(S.rflags, core.state.get(S.rflags) & ~IF);
  },
  sti: core => {
    requireInterruptFlag(core);
    const { state } = core;
    const flags = state.get(S.rflags);
    if (!(flags & IF) && !state.get32(S.pv)) holdOffInterrupts(core);
    state.set(S.rflags, flags | IF);
    if (!(flags & IF)) core.flagsChanged();
  },
  clac: core => setAc(core, false),
  stac: core => setAc(core, true),
};
