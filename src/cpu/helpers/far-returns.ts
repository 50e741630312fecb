// Far RET and IRET, to the same ring and outwards, and to virtual-8086 mode (SDM Vol. 2A "IRET", Vol. 2B "RET"; Vol. 3A, 5.8.6).
import { GuestFault, Vector } from '../exits.ts';
import { Flag } from '../flags.ts';
import { R, S, SEG } from '../layout.ts';
import { checkedOffset, checkedReturnCode, isLong } from './code-targets.ts';
import type { SystemCore, SystemHelper } from './core.ts';
import {
  Attr,
  type Descriptor,
  inLong64,
  inLongMode,
  inProtected,
  inV86,
  isNull,
  markAccessed,
  rplOf,
} from './descriptors.ts';
import {
  dropPrivilegedData,
  fromDescriptor,
  modeChanged,
  realSegment,
  setCode,
  setNullStack,
  setRealCode,
  setSegment,
} from './segment-registers.ts';
import { checkedStack } from './segments.ts';
import { currentStack, mergePointer, movedPointer, peek, peekMany, type Stack } from './stack-frames.ts';
import { returnFromTask } from './task-switch.ts';
import { hasVirtualFlag, ioplOf, requireV86Flags, vifOf } from './virtual-interrupts.ts';

const NT = BigInt(Flag.NT);
const VM = BigInt(Flag.VM);
const VIF = BigInt(Flag.VIF);
const IOPL = BigInt(Flag.IOPL);
const V86_CPL = 3;

/** SS that a return to ring `cpl` finds on the stack; null is for rings 0 to 2 of 64-bit code. */
function checkedReturnStack(core: SystemCore, selector: number, cpl: number, long64: boolean): Descriptor | null {
  if (!isNull(selector)) return checkedStack(core, selector, cpl);
  if (!long64 || cpl === 3 || rplOf(selector) !== cpl) throw new GuestFault(Vector.GP, 0);
  return null;
}

/** Loads SS:RSP of the ring returned to, CS being loaded already. */
function setReturnStack(core: SystemCore, d: Descriptor | null, selector: number, pointer: bigint): void {
  const { state } = core;
  if (d) setSegment(state, SEG.ss, fromDescriptor(d));
  else setNullStack(core, selector);
  const bits = inLong64(state) ? 64 : d && d.attributes & Attr.big ? 32 : 16;
  state.gpr[R.rsp] = mergePointer(bits, bits === 16 ? state.gpr[R.rsp] & 0xffffffffn : 0n, pointer);
  core.modeChanged();
}

function returnReal(core: SystemCore, size: number, release: number): void {
  const { state } = core;
  const stack = currentStack(state);
  const [ip, cs] = peekMany(core, stack, size, 2);
  const segment = realSegment(state, SEG.cs, Number(cs & 0xffffn));
  const offset = checkedOffset(core, segment, ip);
  state.gpr[R.rsp] = movedPointer(stack, 2 * size + release);
  state.rip = offset;
  setRealCode(core, segment);
}

/** RET far: `release` bytes of parameters are dropped on both stacks. */
function farReturn(core: SystemCore, width: bigint, release: number): void {
  const { state } = core;
  const size = Number(width) / 8;
  if (!inProtected(state)) {
    returnReal(core, size, release);
    return;
  }
  const stack = currentStack(state);
  const [ip, csValue] = peekMany(core, stack, size, 2);
  const selector = Number(csValue & 0xffffn);
  const cpl = rplOf(selector);
  // the outer stack pointer is read before the segment is looked at
  const above: Stack = { ...stack, pointer: stack.pointer + BigInt(2 * size + release) };
  const outer = !isNull(selector) && cpl > state.cpl ? peekMany(core, above, size, 2) : [];
  const code = checkedReturnCode(core, selector);
  if (cpl === state.cpl) {
    const rip = checkedOffset(core, code, ip);
    markAccessed(core, code);
    state.gpr[R.rsp] = movedPointer(stack, 2 * size + release);
    state.rip = rip;
    setCode(core, fromDescriptor(code), cpl);
    return;
  }
  const [sp, ssValue] = outer;
  const ss = Number(ssValue & 0xffffn);
  const data = checkedReturnStack(core, ss, cpl, isLong(core, code));
  const rip = checkedOffset(core, code, ip);
  markAccessed(core, code);
  if (data) markAccessed(core, data);
  state.rip = rip;
  setCode(core, fromDescriptor(code), cpl);
  setReturnStack(core, data, ss, sp + BigInt(release));
  dropPrivilegedData(core);
}

/** RFLAGS bits that IRET loads: SDM Vol. 2A "IRET". */
function returnFlags(core: SystemCore, popped: bigint, size: number): bigint {
  const { state } = core;
  const old = state.rflags;
  let mask = BigInt(Flag.CF | Flag.PF | Flag.AF | Flag.ZF | Flag.SF | Flag.TF | Flag.DF | Flag.OF) | NT;
  if (size > 2) mask |= BigInt(Flag.RF | Flag.AC | Flag.ID);
  if (inProtected(state)) {
    if (state.cpl <= ioplOf(old)) mask |= BigInt(Flag.IF);
    if (state.cpl === 0) mask |= IOPL | (size > 2 ? VIF | BigInt(Flag.VIP) : 0n);
  } else if (hasVirtualFlag(core)) {
    mask |= VIF;
    popped |= vifOf(old, popped);
  } else {
    // virtual-8086 mode has IOPL 3 here, which it may not change
    mask |= BigInt(Flag.IF);
    if (!inV86(state)) mask |= IOPL;
  }
  return (old & ~mask) | (popped & mask);
}

function iretReal(core: SystemCore, size: number): void {
  const { state } = core;
  const stack = currentStack(state);
  const [ip, cs, flags] = peekMany(core, stack, size, 3);
  const segment = realSegment(state, SEG.cs, Number(cs & 0xffffn));
  const offset = checkedOffset(core, segment, ip);
  const rflags = returnFlags(core, flags, size);
  state.gpr[R.rsp] = movedPointer(stack, 3 * size);
  state.rip = offset;
  state.rflags = rflags;
  setRealCode(core, segment);
}

/** A frame with VM set: EIP CS EFLAGS ESP SS ES DS FS GS. */
function iretToV86(core: SystemCore): void {
  const { state } = core;
  const [ip, cs, flags, sp, ss, es, ds, fs, gs] = peekMany(core, currentStack(state), 4, 9);
  if (Number(ip) > 0xffff) throw new GuestFault(Vector.GP, 0);
  state.rflags = flags;
  state.set32(S.cpl, V86_CPL);
  modeChanged(core);
  state.rip = ip;
  state.gpr[R.rsp] = sp;
  [es, cs, ss, ds, fs, gs].forEach((selector, index) => {
    setSegment(state, index, realSegment(state, index, Number(selector & 0xffffn)));
  });
  modeChanged(core);
}

function iretProtected(core: SystemCore, size: number): void {
  const { state } = core;
  const stack = currentStack(state);
  const [ip, csValue, flags] = peekMany(core, stack, size, 3);
  if (size === 4 && flags & VM && state.cpl === 0 && !inLongMode(state)) {
    iretToV86(core);
    return;
  }
  const code = checkedReturnCode(core, Number(csValue & 0xffffn));
  const cpl = rplOf(code.selector);
  const rflags = returnFlags(core, flags & ~VM, size);
  if (cpl === state.cpl && !inLong64(state)) {
    const rip = checkedOffset(core, code, ip);
    markAccessed(core, code);
    state.gpr[R.rsp] = movedPointer(stack, 3 * size);
    state.rip = rip;
    state.rflags = rflags;
    setCode(core, fromDescriptor(code), cpl);
    return;
  }
  const outwards = cpl !== state.cpl;
  const sp = peek(core, stack, 3 * size, size);
  const ss = Number(peek(core, stack, 4 * size, size) & 0xffffn);
  const rip = checkedOffset(core, code, ip);
  const data = checkedReturnStack(core, ss, cpl, isLong(core, code));
  markAccessed(core, code);
  if (data) markAccessed(core, data);
  state.rip = rip;
  state.rflags = rflags;
  setCode(core, fromDescriptor(code), cpl);
  setReturnStack(core, data, ss, sp);
  if (outwards) dropPrivilegedData(core);
}

/** IRET, IRETD, IRETQ: the operand size in bits. */
const iret: SystemHelper = (core, width) => {
  const { state } = core;
  const size = Number(width) / 8;
  requireV86Flags(core, width);
  state.set32(S.nmiBlocked, 0); // also where IRET faults
  if (!inProtected(state)) iretReal(core, size);
  else if (state.get(S.rflags) & NT) {
    if (inLongMode(state)) throw new GuestFault(Vector.GP, 0);
    returnFromTask(core);
  } else iretProtected(core, size);
};

export const farReturnHelpers: Record<string, SystemHelper> = {
  iret,
  farReturn: (core, width, release) => farReturn(core, width, Number(release)),
  farReturn0: (core, width) => farReturn(core, width, 0),
};
