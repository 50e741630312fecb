// Writing segment registers whose descriptors have been checked: hidden parts, effective bases, CPL.
import { ModeBit, S, SEG, SEG_FIELD, SEGMENT_SIZE } from '../layout.ts';
import { hasFeature } from '../models/features.ts';
import type { CpuState, SegmentRegister } from '../state.ts';
import type { SystemCore } from './core.ts';
import { type Descriptor, dpl, isCode, isConforming, isNull, isSystem } from './descriptors.ts';

const FIRST_BASE_KEPT_IN_64 = SEG.fs;

export const fieldAt = (index: number, field: number): number => S.segments + index * SEGMENT_SIZE + field;

/** What a segment's base adds to effective addresses: nothing for ES, CS, SS and DS in 64-bit mode. */
function syncEffectiveBase(state: CpuState, index: number, long64: boolean): void {
  const base = state.get(fieldAt(index, SEG_FIELD.base));
  state.set(fieldAt(index, SEG_FIELD.effectiveBase), long64 && index < FIRST_BASE_KEPT_IN_64 ? 0n : base);
}

/** Loads a register other than CS. */
export function setSegment(state: CpuState, index: number, segment: SegmentRegister): void {
  state.writeSegment(index, segment);
  syncEffectiveBase(state, index, (state.get32(S.mode) & ModeBit.long64) !== 0);
}

/** The base alone (WRFSBASE, SWAPGS, MSRs). */
export function setBase(state: CpuState, index: number, base: bigint): void {
  state.set(fieldAt(index, SEG_FIELD.base), base);
  state.set(fieldAt(index, SEG_FIELD.effectiveBase), base);
}

/** Loads CS with CPL; the mode and all effective bases follow. RPL of the selector becomes CPL. */
export function setCode(core: SystemCore, segment: SegmentRegister, cpl: number): void {
  const { state } = core;
  state.writeSegment(SEG.cs, { ...segment, selector: (segment.selector & 0xfffc) | cpl });
  state.set32(S.cpl, cpl);
  modeChanged(core);
}

/** In real and virtual-8086 mode the low bits of CS are no RPL, and CPL stays. */
export function setRealCode(core: SystemCore, segment: SegmentRegister): void {
  core.state.writeSegment(SEG.cs, segment);
  modeChanged(core);
}

/** After CS.L, CR0, EFER or RFLAGS.VM may have changed. */
export function modeChanged(core: SystemCore): void {
  core.modeChanged();
  const long64 = (core.state.get32(S.mode) & ModeBit.long64) !== 0;
  for (let index: number = SEG.es; index <= SEG.gs; index++) syncEffectiveBase(core.state, index, long64);
}

function clearsBase(core: SystemCore): boolean {
  if (core.model.vendor === 'GenuineIntel') return true;
  return hasFeature(core.model, 'null_sel_clr_base');
}

/** A null selector makes the register unusable. AMD's processors without the feature keep base and limit. */
export function setNull(core: SystemCore, index: number, selector: number): void {
  const { state } = core;
  const { base, limit } = clearsBase(core) ? { base: 0n, limit: 0 } : state.readSegment(index);
  setSegment(state, index, { selector, base, limit, attributes: 0 });
}

/** Null SS of 64-bit mode: nothing but its selector counts. */
export function setNullStack(core: SystemCore, selector: number): void {
  setSegment(core.state, SEG.ss, { selector, base: 0n, limit: 0, attributes: 0 });
}

/** Returning to an outer ring: data segments that it may not have become null (SDM Vol. 3A, 5.8.6). */
export function dropPrivilegedData(core: SystemCore): void {
  const { state } = core;
  for (const index of [SEG.es, SEG.ds, SEG.fs, SEG.gs]) {
    const segment = state.readSegment(index);
    if (isNull(segment.selector)) continue;
    const conforming = isCode(segment) && isConforming(segment);
    if (isSystem(segment) || (!conforming && dpl(segment) < state.cpl)) setNull(core, index, 0);
  }
}

/** Real and virtual-8086 mode: the selector is the paragraph. */
export function realSegment(state: CpuState, index: number, selector: number): SegmentRegister {
  const base = BigInt(selector) << 4n;
  if (state.get32(S.mode) & ModeBit.v86) return { selector, base, limit: 0xffff, attributes: 0xf3 };
  // limit, B and G of protected mode stay ("unreal" mode)
  const old = state.readSegment(index);
  return { selector, base, limit: old.limit, attributes: (old.attributes & 0xf000) | 0x93 };
}

/** The register's content for a descriptor. */
export function fromDescriptor(d: Descriptor, selector: number = d.selector): SegmentRegister {
  return { selector, base: d.base, limit: d.limit, attributes: d.attributes };
}
