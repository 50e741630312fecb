// Far JMP and CALL: direct, through call gates and to tasks (SDM Vol. 2A "JMP", "CALL"; Vol. 3A, 5.8).
import { GuestFault, Vector } from '../exits.ts';
import { R, SEG } from '../layout.ts';
import { checkDirectCode, checkedOffset, isLong, requireCodeSize } from './code-targets.ts';
import type { SystemCore, SystemHelper } from './core.ts';
import {
  type Descriptor,
  dpl,
  inLongMode,
  inProtected,
  isCode,
  isConforming,
  isNull,
  isPresent,
  markAccessed,
  readDescriptor,
  readUpperHalf,
  rplOf,
  SystemType,
  selectorFault,
  systemType,
} from './descriptors.ts';
import { fromDescriptor, realSegment, setCode, setNullStack, setRealCode, setSegment } from './segment-registers.ts';
import { currentStack, type Frame, mergePointer, peek, prepareFrame, type Stack } from './stack-frames.ts';
import { innerStack } from './task-state.ts';
import { enterTask, taskOfGate } from './task-switch.ts';

const isCallGate = (type: number, long: boolean): boolean =>
  type === SystemType.callGate || (!long && type === SystemType.callGate16);

function farReal(core: SystemCore, width: bigint, selector: number, offset: bigint, call: boolean): void {
  const { state } = core;
  const segment = realSegment(state, SEG.cs, selector);
  const rip = checkedOffset(core, segment, offset);
  if (call) {
    const old = BigInt(state.readSegment(SEG.cs).selector);
    const frame = prepareFrame(core, currentStack(state), Number(width) / 8, [old, core.nextInstructionRip()]);
    frame.write();
    state.gpr[R.rsp] = frame.pointer;
  }
  state.rip = rip;
  setRealCode(core, segment);
}

/** What a CALL pushes: CS and RIP of the next instruction. */
function returnAddress(core: SystemCore): [cs: bigint, rip: bigint] {
  return [BigInt(core.state.readSegment(SEG.cs).selector), core.nextInstructionRip()];
}

function enterCode(core: SystemCore, code: Descriptor, rip: bigint, cpl: number, frame: Frame | null): void {
  markAccessed(core, code);
  if (frame) {
    frame.write();
    core.state.gpr[R.rsp] = frame.pointer;
  }
  core.state.rip = rip;
  setCode(core, fromDescriptor(code), cpl);
}

function farDirect(core: SystemCore, width: bigint, code: Descriptor, offset: bigint, call: boolean): void {
  const { state } = core;
  checkDirectCode(core, code);
  const frame = call ? prepareFrame(core, currentStack(state), Number(width) / 8, returnAddress(core)) : null;
  enterCode(core, code, checkedOffset(core, code, offset), state.cpl, frame);
}

/** The code segment and offset that a call gate leads to. */
function gateTarget(core: SystemCore, gate: Descriptor): { code: Descriptor; offset: bigint } {
  const { state } = core;
  const long = inLongMode(state);
  const selector = gate.low >>> 16;
  let offset = BigInt(((gate.low & 0xffff) | (gate.high & 0xffff0000)) >>> 0);
  if (systemType(gate) === SystemType.callGate16) offset &= 0xffffn;
  if (long) offset |= readUpperHalf(core, gate) << 32n;
  if (isNull(selector)) throw new GuestFault(Vector.GP, 0);
  const code = readDescriptor(core, selector);
  if (!isCode(code) || dpl(code) > state.cpl) throw selectorFault(Vector.GP, selector);
  if (long && !isLong(core, code)) throw selectorFault(Vector.GP, selector);
  requireCodeSize(core, code);
  return { code, offset };
}

function requireGateAccess(core: SystemCore, d: Descriptor): void {
  if (dpl(d) < core.state.cpl || rplOf(d.selector) > dpl(d)) throw selectorFault(Vector.GP, d.selector);
  if (!isPresent(d)) throw selectorFault(Vector.NP, d.selector);
}

function jumpThroughGate(core: SystemCore, gate: Descriptor): void {
  requireGateAccess(core, gate);
  const { code, offset } = gateTarget(core, gate);
  if (!isConforming(code) && dpl(code) !== core.state.cpl) throw selectorFault(Vector.GP, code.selector);
  if (!isPresent(code)) throw selectorFault(Vector.NP, code.selector);
  enterCode(core, code, checkedOffset(core, code, offset), core.state.cpl, null);
}

function callThroughGate(core: SystemCore, gate: Descriptor): void {
  const { state } = core;
  requireGateAccess(core, gate);
  const { code, offset } = gateTarget(core, gate);
  if (!isPresent(code)) throw selectorFault(Vector.NP, code.selector);
  const size = inLongMode(state) ? 8 : systemType(gate) === SystemType.callGate ? 4 : 2;
  if (isConforming(code) || dpl(code) === state.cpl) {
    // the frame has the gate's size, on the stack that the caller has
    const stack = currentStack(state);
    const frame = prepareFrame(core, size === 8 ? { ...stack, bits: 64 } : stack, size, returnAddress(core));
    enterCode(core, code, checkedOffset(core, code, offset), state.cpl, frame);
    return;
  }
  callInwards(core, code, offset, size, size === 8 ? 0 : gate.high & 31);
}

/** To an inner ring: its stack comes from the TSS; SS:RSP, parameters and the return address go there. */
function callInwards(core: SystemCore, code: Descriptor, offset: bigint, size: number, parameters: number): void {
  const { state } = core;
  const cpl = dpl(code);
  const inner = innerStack(core, cpl);
  const old = currentStack(state);
  const oldSs = BigInt(state.readSegment(SEG.ss).selector);
  const copied = Array.from({ length: parameters }, (_, i) => peek(core, old, (parameters - 1 - i) * size, size));
  const stack: Stack = inner.stack;
  const frame = prepareFrame(core, stack, size, [oldSs, state.gpr[R.rsp], ...copied, ...returnAddress(core)]);
  const rip = checkedOffset(core, code, offset);
  if (inner.descriptor) markAccessed(core, inner.descriptor);
  markAccessed(core, code);
  frame.write();
  state.rip = rip;
  setCode(core, fromDescriptor(code), cpl);
  if (inner.descriptor) setSegment(state, SEG.ss, fromDescriptor(inner.descriptor));
  else setNullStack(core, cpl);
  state.gpr[R.rsp] = mergePointer(stack.bits, state.gpr[R.rsp], frame.pointer);
  core.modeChanged();
}

function far(core: SystemCore, width: bigint, selectorValue: bigint, offset: bigint, call: boolean): void {
  const { state } = core;
  const selector = Number(selectorValue & 0xffffn);
  if (!inProtected(state)) {
    farReal(core, width, selector, offset, call);
    return;
  }
  if (isNull(selector)) throw new GuestFault(Vector.GP, 0);
  const d = readDescriptor(core, selector);
  const type = systemType(d);
  const long = inLongMode(state);
  if (isCode(d)) farDirect(core, width, d, offset, call);
  else if (isCallGate(type, long)) (call ? callThroughGate : jumpThroughGate)(core, d);
  else if (long) throw selectorFault(Vector.GP, selector);
  else {
    const gate = type === SystemType.taskGate;
    if (!gate && type !== SystemType.tss && type !== SystemType.tss16) throw selectorFault(Vector.GP, selector);
    requireGateAccess(core, d);
    const task = gate ? taskOfGate(core, d) : d;
    enterTask(core, task, call ? 'call' : 'jump');
  }
}

export const farTransferHelpers: Record<string, SystemHelper> = {
  farJump: (core, width, selector, offset) => far(core, width, selector, offset, false),
  farCall: (core, width, selector, offset) => far(core, width, selector, offset, true),
};
