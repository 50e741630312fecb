// SYSCALL, SYSRET, SYSENTER, SYSEXIT (SDM Vol. 2B; AMD APM Vol. 3). The vendors differ: AMD has SYSCALL outside 64-bit mode and no
// SYSENTER in long mode; Intel refuses a return address that is not canonical at ring 0.
import { Exit, GuestFault, Vector } from '../exits.ts';
import { Flag } from '../flags.ts';
import { R, S, SEG } from '../layout.ts';
import type { SystemCore, SystemHelper } from './core.ts';
import { inLong64, inLongMode, inProtected, inV86, isCanonical } from './descriptors.ts';
import { setCode, setSegment } from './segment-registers.ts';

const EFER_SCE = 1n;
const FLAT = 0xffffffff;
const RF = BigInt(Flag.RF);
const IF = BigInt(Flag.IF);
const TF = BigInt(Flag.TF);
const VM = BigInt(Flag.VM);
/** Attributes that these instructions give without reading a descriptor; DPL is added. */
const CODE64 = 0xa09b;
const CODE32 = 0xc09b;
const DATA = 0xc093;
/** What RFLAGS keeps of R11 in SYSRET: all but RF, VM and what does not exist. */
const SYSRET_FLAGS = 0x3c7fd7n;

const isAmd = (core: SystemCore): boolean => core.model.vendor === 'AuthenticAMD';

function flatSegments(core: SystemCore, selector: number, stack: number, cpl: number, code: number): void {
  const dpl = cpl << 5;
  core.state.writeSegment(SEG.ss, { selector: stack, base: 0n, limit: FLAT, attributes: DATA | dpl });
  setCode(core, { selector, base: 0n, limit: FLAT, attributes: code | dpl }, cpl);
}

const starSelector = (star: bigint, shift: bigint): number => Number((star >> shift) & 0xffffn);

const syscall: SystemHelper = core => {
  const { state } = core;
  const amd = isAmd(core);
  if (!inProtected(state) && !amd) throw new GuestFault(Vector.UD);
  if (!inLong64(state) && !amd) throw new GuestFault(Vector.UD);
  if (state.get32(S.pv)) {
    if (!core.systemCallTaken()) core.exit(Exit.syscall);
    return;
  }
  if (!(state.get(S.efer) & EFER_SCE) || !inProtected(state)) throw new GuestFault(Vector.UD);
  const next = core.nextInstructionRip();
  const star = state.get(S.star);
  const selector = starSelector(star, 32n) & 0xfffc;
  if (inLongMode(state)) {
    const flags = state.rflags;
    const target = state.get(inLong64(state) ? S.lstar : S.cstar);
    state.gpr[R.rcx] = next;
    state.gpr[R.r11] = flags & ~RF;
    state.rip = target;
    state.rflags = flags & ~(state.get(S.sfmask) & 0xffffffffn) & ~RF;
    if (!(state.rflags & TF)) core.suppressStep();
    flatSegments(core, selector, (selector + 8) & 0xffff, 0, CODE64);
    return;
  }
  state.gpr[R.rcx] = next;
  state.rip = star & 0xffffffffn;
  state.set(S.rflags, state.get(S.rflags) & ~(IF | RF | VM));
  flatSegments(core, selector, (selector + 8) & 0xffff, 0, CODE32);
};

/** @param width 64: to 64-bit code, else to compatibility (or protected) mode */
const sysret: SystemHelper = (core, width) => {
  const { state } = core;
  const amd = isAmd(core);
  if (!(state.get(S.efer) & EFER_SCE) || !inProtected(state) || (!inLong64(state) && !amd))
    throw new GuestFault(Vector.UD);
  if (state.cpl !== 0) throw new GuestFault(Vector.GP, 0);
  const wide = width === 64n;
  const target = wide ? state.gpr[R.rcx] : state.gpr[R.rcx] & 0xffffffffn;
  // AMD's processors return and fault in user mode
  if (wide && !amd && !isCanonical(target)) throw new GuestFault(Vector.GP, 0);
  const base = starSelector(state.get(S.star), 48n);
  const selector = ((wide ? base + 16 : base) | 3) & 0xffff;
  const stack = (base + 8) & 0xffff;
  if (inLong64(state)) state.rflags = state.gpr[R.r11] & SYSRET_FLAGS;
  else state.set(S.rflags, state.get(S.rflags) | IF);
  state.rip = target;
  if (amd) {
    // SS keeps base, limit and attributes: only its selector is loaded
    const ss = state.readSegment(SEG.ss);
    const attributes = wide ? CODE64 : CODE32;
    setCode(core, { selector, base: 0n, limit: FLAT, attributes: attributes | 0x60 }, 3);
    setSegment(state, SEG.ss, { ...ss, selector: stack });
    return;
  }
  flatSegments(core, selector, stack | 3, 3, wide ? CODE64 : CODE32);
};

const sysenter: SystemHelper = core => {
  const { state } = core;
  if (!inProtected(state) && !inV86(state)) throw new GuestFault(Vector.GP, 0);
  if (isAmd(core) && inLongMode(state)) throw new GuestFault(Vector.UD);
  if (state.get32(S.pv)) {
    core.exit(Exit.sysenter);
    return;
  }
  const selector = Number(state.get(S.sysenterCs) & 0xfffcn);
  if (selector === 0) throw new GuestFault(Vector.GP, 0);
  const long = inLongMode(state);
  const mask = long ? 0xffffffffffffffffn : 0xffffffffn;
  state.set(S.rflags, state.get(S.rflags) & ~(VM | IF | RF));
  state.gpr[R.rsp] = state.get(S.sysenterEsp) & mask;
  state.rip = state.get(S.sysenterEip) & mask;
  flatSegments(core, selector, (selector + 8) & 0xffff, 0, long ? CODE64 : CODE32);
};

/** @param width 64: to 64-bit code */
const sysexit: SystemHelper = (core, width) => {
  const { state } = core;
  if (isAmd(core) && inLongMode(state)) throw new GuestFault(Vector.UD);
  const base = Number(state.get(S.sysenterCs) & 0xfffcn);
  if (!inProtected(state) || state.cpl !== 0 || base === 0) throw new GuestFault(Vector.GP, 0);
  const wide = width === 64n;
  const [rcx, rdx] = [state.gpr[R.rcx], state.gpr[R.rdx]];
  if (wide && !(isCanonical(rcx) && isCanonical(rdx))) throw new GuestFault(Vector.GP, 0);
  const mask = wide ? 0xffffffffffffffffn : 0xffffffffn;
  state.gpr[R.rsp] = rcx & mask;
  state.rip = rdx & mask;
  const selector = (base + (wide ? 32 : 16)) & 0xffff;
  flatSegments(core, selector | 3, ((selector + 8) & 0xffff) | 3, 3, wide ? CODE64 : CODE32);
};

export const systemCallHelpers: Record<string, SystemHelper> = { syscall, sysret, sysenter, sysexit };
