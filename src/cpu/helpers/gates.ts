// Interrupt, trap and task gates: delivery in protected, virtual-8086 and long mode (SDM Vol. 2A "INT n", Vol. 3A, 6.11 to 6.14).
import { GuestFault, Vector } from '../exits.ts';
import { Flag } from '../flags.ts';
import { R, SEG } from '../layout.ts';
import { checkedOffset, isLong, requireCodeSize } from './code-targets.ts';
import type { SystemCore } from './core.ts';
import {
  type Descriptor,
  dpl,
  inLongMode,
  inV86,
  isCode,
  isConforming,
  isNull,
  isPresent,
  markAccessed,
  readDescriptor,
  readSystem,
  SystemType,
  selectorFault,
} from './descriptors.ts';
import { type Event, isSoftware, pushedFlags } from './interrupts.ts';
import { fromDescriptor, modeChanged, setCode, setNull, setNullStack, setSegment } from './segment-registers.ts';
import { currentStack, type Frame, mergePointer, prepareFrame, type Stack, stackBits } from './stack-frames.ts';
import { innerStack } from './task-state.ts';
import { switchTask, taskOfGate, taskTrap } from './task-switch.ts';

/** Error code bit: the index is the IDT's. */
const IDT = 2;
const CLEARED = BigInt(Flag.TF | Flag.NT | Flag.RF | Flag.VM);
const IF = BigInt(Flag.IF);
const LONG_TYPES: readonly number[] = [SystemType.interruptGate, SystemType.trapGate];
const LEGACY_TYPES: readonly number[] = [
  SystemType.taskGate,
  SystemType.interruptGate16,
  SystemType.trapGate16,
  SystemType.interruptGate,
  SystemType.trapGate,
];

interface Gate {
  type: number;
  selector: number;
  offset: bigint;
  /** Interrupt stack table index, long mode. */
  ist: number;
}

/** EXT of error codes: the event did not come from an instruction that asked for it. */
const extOf = (event: Event): number => (isSoftware(event.source) ? 0 : 1);

/** Reads and checks the vector's gate. */
function gateOf(core: SystemCore, event: Event): Gate {
  const { state } = core;
  const long = inLongMode(state);
  const size = long ? 16 : 8;
  const idtr = state.readSegment(SEG.idtr);
  const code = event.vector * 8 + IDT + extOf(event);
  const at = event.vector * size;
  if (at + size - 1 > idtr.limit) throw new GuestFault(Vector.GP, code);
  const linear = idtr.base + BigInt(at);
  const raw = readSystem(core, linear, 8);
  const low = Number(raw & 0xffffffffn);
  const high = Number(raw >> 32n);
  const type = (high >>> 8) & 0x1f;
  if (!(long ? LONG_TYPES : LEGACY_TYPES).includes(type)) throw new GuestFault(Vector.GP, code);
  if (isSoftware(event.source) && ((high >>> 13) & 3) < state.cpl) throw new GuestFault(Vector.GP, code);
  if (!(high & 0x8000)) throw new GuestFault(Vector.NP, code);
  let offset = BigInt(((low & 0xffff) | (high & 0xffff0000)) >>> 0);
  if (long) offset |= readSystem(core, linear + 8n, 4) << 32n;
  else if (type <= SystemType.trapGate16) offset &= 0xffffn;
  return { type, selector: low >>> 16, offset, ist: high & 7 };
}

/** The handler's code segment, checked. */
function handlerCode(core: SystemCore, gate: Gate, ext: number): Descriptor {
  if (isNull(gate.selector)) throw new GuestFault(Vector.GP, ext);
  const code = readDescriptor(core, gate.selector, Vector.GP, ext);
  if (!isCode(code) || dpl(code) > core.state.cpl) throw selectorFault(Vector.GP, gate.selector, ext);
  if (!isPresent(code)) throw selectorFault(Vector.NP, gate.selector, ext);
  if (inLongMode(core.state) && !isLong(core, code)) throw selectorFault(Vector.GP, gate.selector, ext);
  requireCodeSize(core, code, ext);
  return code;
}

/** The last steps, which cannot fault. */
function enter(core: SystemCore, gate: Gate, code: Descriptor, cpl: number, rip: bigint, frame: Frame): void {
  const { state } = core;
  frame.write();
  const interrupt = (gate.type & 1) === 0;
  state.rflags = state.rflags & ~CLEARED & (interrupt ? ~IF : -1n);
  state.rip = rip;
  setCode(core, fromDescriptor(code), cpl);
}

function deliverLong(core: SystemCore, event: Event, gate: Gate, code: Descriptor): void {
  const { state } = core;
  const ext = extOf(event);
  const inwards = !isConforming(code) && dpl(code) < state.cpl;
  const cpl = inwards ? dpl(code) : state.cpl;
  const base: Stack =
    inwards || gate.ist
      ? innerStack(core, cpl, gate.ist, ext).stack
      : { ...currentStack(state), bits: 64, cpl, code: ext };
  const rip = checkedOffset(core, code, gate.offset, ext);
  const values = [
    BigInt(state.readSegment(SEG.ss).selector),
    state.gpr[R.rsp],
    pushedFlags(core, event),
    BigInt(state.readSegment(SEG.cs).selector),
    event.returnRip,
  ];
  if (event.code !== null) values.push(BigInt(event.code));
  const frame = prepareFrame(core, { ...base, pointer: base.pointer & ~15n }, 8, values);
  markAccessed(core, code);
  enter(core, gate, code, cpl, rip, frame);
  if (inwards) setNullStack(core, cpl);
  state.gpr[R.rsp] = frame.pointer;
}

function deliverLegacy(core: SystemCore, event: Event, gate: Gate, code: Descriptor): void {
  const { state } = core;
  const ext = extOf(event);
  const size = gate.type <= SystemType.trapGate16 ? 2 : 4;
  const v86 = inV86(state);
  const inwards = !isConforming(code) && dpl(code) < state.cpl;
  // virtual-8086 mode is left for ring 0 only
  if (v86 && (!inwards || dpl(code) !== 0)) throw selectorFault(Vector.GP, gate.selector, ext);
  const cpl = inwards ? dpl(code) : state.cpl;
  const inner = inwards ? innerStack(core, cpl, 0, ext) : null;
  const selector = (index: number): bigint => BigInt(state.readSegment(index).selector);
  const values: bigint[] = [];
  if (v86) values.push(selector(SEG.gs), selector(SEG.fs), selector(SEG.ds), selector(SEG.es));
  if (inner) values.push(selector(SEG.ss), state.gpr[R.rsp]);
  values.push(pushedFlags(core, event), selector(SEG.cs), event.returnRip);
  if (event.code !== null) values.push(BigInt(event.code));
  const stack = inner ? inner.stack : { ...currentStack(state), code: ext };
  const frame = prepareFrame(core, stack, size, values);
  const rip = checkedOffset(core, code, gate.offset, ext);
  if (inner?.descriptor) markAccessed(core, inner.descriptor);
  markAccessed(core, code);
  enter(core, gate, code, cpl, rip, frame);
  if (inner?.descriptor) setSegment(state, SEG.ss, fromDescriptor(inner.descriptor));
  if (v86) for (const index of [SEG.gs, SEG.fs, SEG.ds, SEG.es]) setNull(core, index, 0);
  state.gpr[R.rsp] = inner ? mergePointer(stack.bits, state.gpr[R.rsp], frame.pointer) : frame.pointer;
  modeChanged(core);
}

/** To the task of a task gate; an error code goes on the new task's stack. */
function deliverToTask(core: SystemCore, event: Event, gate: Gate): void {
  const ext = extOf(event);
  const task = taskOfGate(core, { low: gate.selector << 16 } as Descriptor, ext);
  const traps = switchTask(core, task, 'event', event.returnRip, ext);
  if (event.code !== null) pushCode(core, task, event.code, ext);
  if (traps) throw taskTrap();
}

function pushCode(core: SystemCore, task: Descriptor, code: number, ext: number): void {
  const { state } = core;
  const size = (task.attributes & 15 & ~2) === SystemType.tss ? 4 : 2;
  const attributes = state.readSegment(SEG.ss).attributes;
  const stack: Stack = { ...currentStack(state), bits: stackBits(state, attributes), code: ext };
  const frame = prepareFrame(core, stack, size, [BigInt(code)]);
  frame.write();
  state.gpr[R.rsp] = frame.pointer;
}

/** Delivers through the IDT of protected, virtual-8086 or long mode. Throws GuestFault; nothing has changed then. */
export function deliverProtected(core: SystemCore, event: Event): void {
  const gate = gateOf(core, event);
  if (gate.type === SystemType.taskGate) {
    deliverToTask(core, event, gate);
    return;
  }
  const code = handlerCode(core, gate, extOf(event));
  if (inLongMode(core.state)) deliverLong(core, event, gate, code);
  else deliverLegacy(core, event, gate, code);
}
