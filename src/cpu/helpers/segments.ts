// Data and stack segments: loading their registers (SDM Vol. 2B "MOV", "POP", "LDS") and checking what is addressed through them
// outside 64-bit mode (Vol. 3A, 5.3 and 5.4; 3.4.2 for 64-bit mode's null selectors).
import { GuestFault, Vector } from '../exits.ts';
import { Flag } from '../flags.ts';
import { S, SEG, SEG_FIELD } from '../layout.ts';
import type { CpuState } from '../state.ts';
import type { SystemCore, SystemHelper } from './core.ts';
import { dr7At } from './debug-registers.ts';
import {
  Attr,
  type Descriptor,
  dpl,
  inLong64,
  inProtected,
  isCanonical,
  isCode,
  isConforming,
  isNull,
  isPresent,
  isReadable,
  isWritableData,
  markAccessed,
  readDescriptor,
  rplOf,
  selectorFault,
} from './descriptors.ts';
import {
  fieldAt,
  fromDescriptor,
  realSegment,
  setBase,
  setNull,
  setNullStack,
  setSegment,
} from './segment-registers.ts';
import { holdOffTraps } from './shadow.ts';

const CR4_FSGSBASE = 1n << 16n;
const FLAT = 0xffffffff;
const DR7_ENABLES = 0xff;

/** The descriptor of SS for ring `cpl`, checked; faults are `vector`, or #SS where it is absent. */
export function checkedStack(
  core: SystemCore,
  selector: number,
  cpl: number,
  vector: number = Vector.GP,
  ext = 0,
): Descriptor {
  const d = readDescriptor(core, selector, vector, ext);
  if (rplOf(selector) !== cpl || !isWritableData(d) || dpl(d) !== cpl) throw selectorFault(vector, selector, ext);
  if (!isPresent(d)) throw selectorFault(Vector.SS, selector, ext);
  return d;
}

/** The descriptor of DS, ES, FS or GS, checked for ring `cpl`. */
export function checkedData(
  core: SystemCore,
  selector: number,
  cpl: number,
  vector: number = Vector.GP,
  ext = 0,
): Descriptor {
  const d = readDescriptor(core, selector, vector, ext);
  if (!isReadable(d)) throw selectorFault(vector, selector, ext);
  if (!(isCode(d) && isConforming(d)) && Math.max(rplOf(selector), cpl) > dpl(d))
    throw selectorFault(vector, selector, ext);
  if (!isPresent(d)) throw selectorFault(Vector.NP, selector, ext);
  return d;
}

/** MOV Sreg and relatives: index as in SEG, selector. */
const loadSegment: SystemHelper = (core, indexValue, selectorValue) => {
  const { state } = core;
  const index = Number(indexValue);
  const selector = Number(selectorValue & 0xffffn);
  if (index === SEG.cs || index > SEG.gs) throw new GuestFault(Vector.UD);
  if (!inProtected(state)) {
    setSegment(state, index, realSegment(state, index, selector));
  } else if (index !== SEG.ss) {
    if (isNull(selector)) setNull(core, index, selector);
    else {
      const d = checkedData(core, selector, state.cpl);
      markAccessed(core, d);
      setSegment(state, index, fromDescriptor(d));
    }
    return;
  } else if (isNull(selector)) {
    const { cpl } = state;
    if (!inLong64(state) || cpl === 3 || rplOf(selector) !== cpl) throw new GuestFault(Vector.GP, 0);
    setNullStack(core, selector);
  } else {
    const d = checkedStack(core, selector, state.cpl);
    markAccessed(core, d);
    setSegment(state, SEG.ss, fromDescriptor(d));
  }
  if (index === SEG.ss) {
    core.modeChanged(); // the stack's width
    if (!state.get32(S.pv) || awaitsTraps(state)) holdOffTraps(core);
  }
};

/** Single steps or breakpoints may trap: all that there is to hold off for a PV guest, whose interrupts are the hypervisor's business. */
function awaitsTraps(state: CpuState): boolean {
  return (state.get32(S.rflags) & Flag.TF) !== 0 || (state.get32(dr7At) & DR7_ENABLES) !== 0;
}

/** True where [offset, offset + size) lies within a segment outside 64-bit mode. */
export function withinLimit(segment: { limit: number; attributes: number }, offset: number, size: number): boolean {
  const { limit, attributes } = segment;
  const last = offset + size - 1;
  if ((attributes & (Attr.code | Attr.conforming)) === Attr.conforming) {
    return offset > limit && last <= (attributes & Attr.big ? FLAT : 0xffff);
  }
  // an access that wraps around the whole address space does not fault
  return last <= limit || limit === FLAT;
}

/**
 * Linear address of an access outside 64-bit mode, with the checks of type, limit and null selectors.
 * @param sizeAndWrite size in bytes << 1 | 1 for a write
 */
const segment: SystemHelper = (core, indexValue, offset, sizeAndWrite) => {
  const { state } = core;
  const index = Number(indexValue);
  const attributes = state.get32(fieldAt(index, SEG_FIELD.attributes));
  const limit = state.get32(fieldAt(index, SEG_FIELD.limit));
  const size = Number(sizeAndWrite >> 1n);
  const vector = index === SEG.ss ? Vector.SS : Vector.GP;
  if (inProtected(state)) {
    if (!(attributes & Attr.present)) throw new GuestFault(vector, 0);
    if (sizeAndWrite & 1n) {
      if ((attributes & (Attr.code | Attr.writable)) !== Attr.writable) throw new GuestFault(Vector.GP, 0);
    } else if ((attributes & (Attr.code | Attr.writable)) === Attr.code) throw new GuestFault(Vector.GP, 0);
  }
  if (!withinLimit({ limit, attributes }, Number(offset & 0xffffffffn), size)) throw new GuestFault(vector, 0);
  return BigInt.asUintN(32, state.get(fieldAt(index, SEG_FIELD.base)) + offset);
};

const checkFsgsbase: SystemHelper = ({ state }) => {
  if (!(state.get(S.cr4) & CR4_FSGSBASE)) throw new GuestFault(Vector.UD);
};

export const segmentHelpers: Record<string, SystemHelper> = {
  loadSegment,
  segment,
  checkFsgsbase,
  /** WRFSBASE, WRGSBASE: index as in SEG. */
  writeBase: (core, index, value) => {
    checkFsgsbase(core);
    if (!isCanonical(value)) throw new GuestFault(Vector.GP, 0);
    setBase(core.state, Number(index), value);
  },
  swapgs: ({ state }) => {
    const base = state.get(fieldAt(SEG.gs, SEG_FIELD.base));
    setBase(state, SEG.gs, state.get(S.kernelGsBase));
    state.set(S.kernelGsBase, base);
  },
};
