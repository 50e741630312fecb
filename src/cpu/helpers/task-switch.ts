// Hardware task switches of protected mode (SDM Vol. 3A, chapter 8; figures 8-2 and 8-10 for the two layouts).
import { GuestFault, Vector } from '../exits.ts';
import { Flag } from '../flags.ts';
import { R, S, SEG } from '../layout.ts';
import { checkedOffset } from './code-targets.ts';
import { Cr0, writeCr3 } from './control-registers.ts';
import type { SystemCore } from './core.ts';
import {
  type Descriptor,
  dpl,
  isCode,
  isConforming,
  isNull,
  isPresent,
  markAccessed,
  markBusy,
  readDescriptor,
  rplOf,
  SUPERVISOR_READ,
  SUPERVISOR_WRITE,
  SystemType,
  selectorFault,
  systemType,
} from './descriptors.ts';
import { fromDescriptor, modeChanged, realSegment, setCode, setSegment } from './segment-registers.ts';
import { checkedData, checkedStack } from './segments.ts';

/** How a task is entered: a CALL or an event nests it, IRET goes back. */
export type TaskEntry = 'jump' | 'call' | 'iret' | 'event';

const NT = BigInt(Flag.NT);
const VM = BigInt(Flag.VM);

/** The debug exception of a task whose TSS has T set, before its first instruction (Vol. 3B, 18.3.1.5). */
export const taskTrap = (): GuestFault => new GuestFault(Vector.DB, null, DR6_BT);
const DR6_BT = 1n << 15n;
/** In the 32-bit TSS alone. */
const TRAP_FLAG = 0x64;

/** Offsets in a TSS; the 16-bit one has neither CR3 nor FS and GS. */
interface Layout {
  size: 2 | 4;
  bytes: number;
  cr3: number | null;
  ip: number;
  flags: number;
  registers: number;
  segments: number;
  segmentCount: number;
  ldt: number;
}
const WIDE: Layout = {
  size: 4,
  bytes: 104,
  cr3: 0x1c,
  ip: 0x20,
  flags: 0x24,
  registers: 0x28,
  segments: 0x48,
  segmentCount: 6,
  ldt: 0x60,
};
const NARROW: Layout = {
  size: 2,
  bytes: 44,
  cr3: null,
  ip: 0x0e,
  flags: 0x10,
  registers: 0x12,
  segments: 0x22,
  segmentCount: 4,
  ldt: 0x2a,
};
/** Selectors stand in TSS order: ES CS SS DS FS GS, which is SEG's. */

const isWide = (type: number): boolean => (type & ~2) === SystemType.tss;
const layoutOf = (attributes: number): Layout => (isWide(attributes & 15) ? WIDE : NARROW);

/** The TSS descriptor that a task gate leads to. @param ext 1 for events from outside the program */
export function taskOfGate(core: SystemCore, gate: Descriptor, ext = 0): Descriptor {
  const selector = gate.low >>> 16;
  if (selector & 4 || isNull(selector)) throw selectorFault(Vector.GP, selector, ext);
  const tss = readDescriptor(core, selector, Vector.GP, ext);
  const type = systemType(tss);
  if (type !== SystemType.tss && type !== SystemType.tss16) throw selectorFault(Vector.GP, selector, ext);
  if (!isPresent(tss)) throw selectorFault(Vector.NP, selector, ext);
  return tss;
}

/** IRET with NT set: back to the task that the current TSS links to. */
export function returnFromTask(core: SystemCore): void {
  const tr = core.state.readSegment(SEG.tr);
  const link = new Uint8Array(2);
  core.readLinear(tr.base, link, SUPERVISOR_READ);
  const selector = link[0] | (link[1] << 8);
  if (selector & 4 || isNull(selector)) throw selectorFault(Vector.TS, selector);
  const tss = readDescriptor(core, selector, Vector.TS);
  const type = systemType(tss);
  if (type !== SystemType.busyTss && type !== SystemType.busyTss16) throw selectorFault(Vector.TS, selector);
  if (!isPresent(tss)) throw selectorFault(Vector.NP, selector);
  enterTask(core, tss, 'iret');
}

/** Both ends of a range must be reachable before anything is written. */
function requireRange(core: SystemCore, base: bigint, bytes: number, write: boolean): void {
  const access = write ? SUPERVISOR_WRITE : SUPERVISOR_READ;
  core.translate(base, access);
  core.translate(BigInt.asUintN(32, base + BigInt(bytes - 1)), access);
}

class TaskImage {
  readonly bytes: Uint8Array;
  readonly view: DataView;
  readonly layout: Layout;
  constructor(layout: Layout) {
    this.layout = layout;
    this.bytes = new Uint8Array(layout.bytes);
    this.view = new DataView(this.bytes.buffer);
  }
  get(offset: number): number {
    return this.layout.size === 4 ? this.view.getUint32(offset, true) : this.view.getUint16(offset, true);
  }
  set(offset: number, value: number): void {
    if (this.layout.size === 4) this.view.setUint32(offset, value, true);
    else this.view.setUint16(offset, value, true);
  }
  selector(index: number): number {
    const { segments, segmentCount, size } = this.layout;
    return index < segmentCount ? this.view.getUint16(segments + index * size, true) : 0;
  }
}

/** Saves the running task: from IP to the segments; what stands before and behind them is only read by the processor. */
function saveTask(core: SystemCore, base: bigint, layout: Layout, nextRip: bigint, flags: bigint): void {
  const { state } = core;
  const image = new TaskImage(layout);
  core.readLinear(base, image.bytes, SUPERVISOR_READ);
  image.set(layout.ip, Number(BigInt.asUintN(32, nextRip)));
  image.set(layout.flags, Number(flags & 0xffffffffn));
  for (let i = R.rax; i <= R.rdi; i++)
    image.set(layout.registers + i * layout.size, Number(state.gpr[i] & 0xffffffffn));
  for (let i = 0; i < layout.segmentCount; i++)
    image.view.setUint16(layout.segments + i * layout.size, state.readSegment(i).selector, true);
  const from = layout.ip;
  const to = layout.segments + layout.segmentCount * layout.size;
  core.writeLinear(base + BigInt(from), image.bytes.subarray(from, to), SUPERVISOR_WRITE);
}

/**
 * Switches to the task of a TSS descriptor that has been checked for its entry. Faults before the new state is there belong to the old
 * task; later ones are the new task's, whose RIP stands then.
 * @param nextRip where the old task goes on
 * @returns whether the new task begins with taskTrap()
 */
export function switchTask(core: SystemCore, tss: Descriptor, entry: TaskEntry, nextRip: bigint, ext = 0): boolean {
  const { state } = core;
  const layout = layoutOf(tss.attributes);
  if (tss.limit < layout.bytes - 1) throw selectorFault(Vector.TS, tss.selector, ext);
  const tr = state.readSegment(SEG.tr);
  const oldLayout = layoutOf(tr.attributes);
  requireRange(core, tr.base, oldLayout.bytes, true);
  requireRange(core, tss.base, layout.bytes, true);
  const image = new TaskImage(layout);
  core.readLinear(tss.base, image.bytes, SUPERVISOR_READ);
  const nests = entry === 'call' || entry === 'event';

  const oldFlags = state.rflags;
  saveTask(core, tr.base, oldLayout, nextRip, entry === 'iret' ? oldFlags & ~NT : oldFlags);
  if (!nests && !isNull(tr.selector)) markBusy(core, readDescriptor(core, tr.selector), false);
  if (entry !== 'iret') markBusy(core, tss, true);
  if (nests) {
    const link = new Uint8Array([tr.selector & 0xff, tr.selector >> 8]);
    core.writeLinear(tss.base, link, SUPERVISOR_WRITE);
  }
  setSegment(state, SEG.tr, { ...fromDescriptor(tss), attributes: tss.attributes | 2 });
  state.set(S.cr0, state.get(S.cr0) | Cr0.TS);
  loadTask(core, image, nests, ext);
  return layout === WIDE && (image.bytes[TRAP_FLAG] & 1) !== 0;
}

/** A task switch that an instruction makes. */
export function enterTask(core: SystemCore, tss: Descriptor, entry: Exclude<TaskEntry, 'event'>): void {
  if (switchTask(core, tss, entry, core.nextInstructionRip())) throw taskTrap();
}

/** The new task's registers, then its segments: every fault from here on is its own. */
function loadTask(core: SystemCore, image: TaskImage, nests: boolean, ext: number): void {
  const { state } = core;
  const { layout } = image;
  if (layout.cr3 !== null && state.get(S.cr0) & Cr0.PG) writeCr3(core, BigInt(image.view.getUint32(layout.cr3, true)));
  const flags = BigInt(image.get(layout.flags));
  const narrow = layout.size === 2;
  state.rflags = (narrow ? flags & 0xffffn : flags) | (nests ? NT : 0n);
  for (let i = R.rax; i <= R.rdi; i++) {
    const value = image.get(layout.registers + i * layout.size);
    state.gpr[i] = BigInt(narrow ? (value | 0xffff0000) >>> 0 : value);
  }
  core.restartAt(BigInt(image.get(layout.ip)));
  const v86 = (state.rflags & VM) !== 0n;
  const cs = image.selector(SEG.cs);
  state.set32(S.cpl, v86 ? 3 : rplOf(cs));
  for (let i = 0; i <= SEG.gs; i++) {
    const selector = image.selector(i);
    state.writeSegment(i, { selector, base: 0n, limit: 0, attributes: 0 });
  }
  const ldt = image.view.getUint16(layout.ldt, true);
  state.writeSegment(SEG.ldtr, { selector: ldt, base: 0n, limit: 0, attributes: 0 });
  modeChanged(core);
  loadTaskLdt(core, ldt, ext);
  if (v86) {
    for (let i = 0; i <= SEG.gs; i++) setSegment(state, i, realSegment(state, i, image.selector(i)));
    modeChanged(core);
  } else loadTaskSegments(core, image, ext);
}

function loadTaskLdt(core: SystemCore, selector: number, ext: number): void {
  if (isNull(selector)) return;
  if (selector & 4) throw selectorFault(Vector.TS, selector, ext);
  const d = readDescriptor(core, selector, Vector.TS, ext);
  if (systemType(d) !== SystemType.ldt || !isPresent(d)) throw selectorFault(Vector.TS, selector, ext);
  setSegment(core.state, SEG.ldtr, fromDescriptor(d));
}

function loadTaskSegments(core: SystemCore, image: TaskImage, ext: number): void {
  const { state } = core;
  const { cpl } = state;
  const ss = image.selector(SEG.ss);
  if (isNull(ss)) throw selectorFault(Vector.TS, ss, ext);
  const stack = checkedStack(core, ss, cpl, Vector.TS, ext);
  markAccessed(core, stack);
  setSegment(state, SEG.ss, fromDescriptor(stack));
  const cs = image.selector(SEG.cs);
  if (isNull(cs)) throw selectorFault(Vector.TS, cs, ext);
  const code = readDescriptor(core, cs, Vector.TS, ext);
  const fits = isConforming(code) ? dpl(code) <= cpl : dpl(code) === cpl;
  if (!isCode(code) || !fits) throw selectorFault(Vector.TS, cs, ext);
  if (!isPresent(code)) throw selectorFault(Vector.NP, cs, ext);
  markAccessed(core, code);
  setCode(core, fromDescriptor(code), cpl);
  for (const index of [SEG.ds, SEG.es, SEG.fs, SEG.gs]) {
    const selector = image.selector(index);
    if (isNull(selector)) continue;
    const d = checkedData(core, selector, cpl, Vector.TS, ext);
    markAccessed(core, d);
    setSegment(state, index, fromDescriptor(d));
  }
  checkedOffset(core, code, state.rip, ext);
}
