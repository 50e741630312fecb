// Code and stack segments that Xen loads for a PV guest: the flat ones on entry, and any that the guest returns to by the iret hypercall.
// Checks of the latter: SDM Vol. 2A "IRET" (return to the same privilege level, which is always 3). Flat segments: public xen-x86_64.h.
import { GuestFault, Vector } from '../../cpu/exits.ts';
import { S, SEG, SEG_FIELD, SEGMENT_SIZE } from '../../cpu/layout.ts';
import type { CpuState } from '../../cpu/state.ts';
import type { Vcpu } from '../vcpu.ts';
import {
  FLAT_CODE32_ATTRIBUTES,
  FLAT_CODE64_ATTRIBUTES,
  FLAT_DATA_ATTRIBUTES,
  FLAT_KERNEL_CS,
  FLAT_KERNEL_SS,
  FLAT_USER_CS32,
  gdtVirtStart,
  ldtVirtStart,
} from './selectors.ts';

const CS = S.segments + SEG.cs * SEGMENT_SIZE;
const SS = S.segments + SEG.ss * SEGMENT_SIZE;
const BASE_IGNORED_IN_64 = [SEG.es, SEG.cs, SEG.ss, SEG.ds].map(index => S.segments + index * SEGMENT_SIZE);
const FLAT_LIMIT = 0xffffffff;

// Attribute bits of a descriptor (see SEG_FIELD.attributes).
const TYPE_CODE = 0x08;
const TYPE_CONFORMING = 0x04;
const TYPE_WRITABLE = 0x02;
const TYPE_ACCESSED = 0x01;
const NOT_SYSTEM = 0x10;
const PRESENT = 0x80;
const LONG = 0x2000;
const DEFAULT_BIG = 0x4000;
const GRANULAR = 0x8000;
const dpl = (attributes: number): number => (attributes >> 5) & 3;

function setSegment(
  cpu: CpuState,
  at: number,
  selector: number,
  attributes: number,
  base: bigint,
  limit: number,
): void {
  cpu.view.setUint16(at + SEG_FIELD.selector, selector, true);
  cpu.set32(at + SEG_FIELD.attributes, attributes);
  cpu.set(at + SEG_FIELD.base, base);
  cpu.set32(at + SEG_FIELD.limit, limit);
}

/** Bases that effective addresses add: none but those of FS and GS in 64-bit mode. To be called when CS.L may have changed. */
function syncEffectiveBases(cpu: CpuState): void {
  const long64 = isLong64(cpu);
  for (const at of BASE_IGNORED_IN_64) {
    cpu.set(at + SEG_FIELD.effectiveBase, long64 ? 0n : cpu.get(at + SEG_FIELD.base));
  }
}

/** Whether the vCPU executes 64-bit code (CS.L). */
export function isLong64(cpu: CpuState): boolean {
  return (cpu.get32(CS + SEG_FIELD.attributes) & LONG) !== 0;
}
export function isDefault32(cpu: CpuState): boolean {
  return (cpu.get32(CS + SEG_FIELD.attributes) & DEFAULT_BIG) !== 0;
}

/** CS and SS of the guest's kernel: e033 and e02b. */
export function setFlatSegments(vcpu: Vcpu): void {
  setReturnSegments(vcpu, FLAT_KERNEL_CS);
}

/** The segments that SYSRET gives: e033, or e023 for compatibility mode, and e02b. Also takes over changed RFLAGS. */
export function setReturnSegments(vcpu: Vcpu, cs: typeof FLAT_KERNEL_CS | typeof FLAT_USER_CS32): void {
  const { cpu } = vcpu;
  const { processor } = vcpu.domain.hypervisor;
  const attributes = cs === FLAT_USER_CS32 ? FLAT_CODE32_ATTRIBUTES : FLAT_CODE64_ATTRIBUTES;
  const stays64 = cs === FLAT_KERNEL_CS && isLong64(cpu);
  setSegment(cpu, CS, cs, attributes, 0n, FLAT_LIMIT);
  setSegment(cpu, SS, FLAT_KERNEL_SS, FLAT_DATA_ATTRIBUTES, 0n, FLAT_LIMIT);
  if (stays64) {
    processor.flagsChanged();
    return;
  }
  syncEffectiveBases(cpu);
  processor.modeChanged();
}

/** Only the selectors, for a frame that reports why they could not be loaded. */
export function setSelectors(cpu: CpuState, cs: number, ss: number): void {
  cpu.view.setUint16(CS + SEG_FIELD.selector, cs, true);
  cpu.view.setUint16(SS + SEG_FIELD.selector, ss, true);
}

/**
 * Loads CS and SS as IRET to CPL 3 does, RPL being 3. Throws GuestFault where a descriptor does not allow it; then nothing has changed.
 */
export function loadReturnSegments(vcpu: Vcpu, cs: number, ss: number): void {
  if (ss === FLAT_KERNEL_SS && (cs === FLAT_KERNEL_CS || cs === FLAT_USER_CS32)) {
    setReturnSegments(vcpu, cs);
    return;
  }
  const { cpu } = vcpu;
  if ((cs & ~3) === 0) throw new GuestFault(Vector.GP, 0);
  const csFault = (vector: number): GuestFault => new GuestFault(vector, cs & ~3);
  const code = readDescriptor(vcpu, cs);
  if (!(code.attributes & NOT_SYSTEM) || !(code.attributes & TYPE_CODE)) throw csFault(Vector.GP);
  const privilege = dpl(code.attributes);
  if (code.attributes & TYPE_CONFORMING ? privilege > 3 : privilege !== 3) throw csFault(Vector.GP);
  if ((code.attributes & (LONG | DEFAULT_BIG)) === (LONG | DEFAULT_BIG)) throw csFault(Vector.GP);
  if (!(code.attributes & PRESENT)) throw csFault(Vector.NP);

  // A null SS is for rings 0 to 2 of 64-bit mode only.
  if ((ss & ~3) === 0) throw new GuestFault(Vector.GP, 0);
  const data = readDescriptor(vcpu, ss);
  const usable = NOT_SYSTEM | TYPE_WRITABLE;
  if ((data.attributes & (usable | TYPE_CODE)) !== usable || dpl(data.attributes) !== 3) {
    throw new GuestFault(Vector.GP, ss & ~3);
  }
  if (!(data.attributes & PRESENT)) throw new GuestFault(Vector.SS, ss & ~3);

  setSegment(cpu, CS, cs, code.attributes | TYPE_ACCESSED, code.base, code.limit);
  setSegment(cpu, SS, ss, data.attributes | TYPE_ACCESSED, data.base, data.limit);
  syncEffectiveBases(cpu);
  vcpu.domain.hypervisor.processor.modeChanged();
}

interface Descriptor {
  base: bigint;
  limit: number;
  attributes: number;
}

/** A descriptor through the linear tables that the processor itself uses. Faults as a segment load does. */
function readDescriptor(vcpu: Vcpu, selector: number): Descriptor {
  const { cpu } = vcpu;
  const local = (selector & 4) !== 0;
  const register = cpu.readSegment(local ? SEG.ldtr : SEG.gdtr);
  const at = selector & ~7;
  const outside = at + 7 > register.limit || (local && !(register.attributes & PRESENT));
  if (outside) throw new GuestFault(Vector.GP, selector & ~3);
  const base = local ? ldtVirtStart(vcpu.id) : gdtVirtStart(vcpu.id);
  const raw = new Uint8Array(8);
  vcpu.domain.hypervisor.processor.readLinear(base + BigInt(at), raw, { write: false, user: false });
  const low = raw[0] | (raw[1] << 8);
  const attributes = raw[5] | ((raw[6] & 0xf0) << 8);
  const limit = ((raw[6] & 0x0f) << 16) | low;
  return {
    base: BigInt((raw[2] | (raw[3] << 8) | (raw[4] << 16) | (raw[7] << 24)) >>> 0),
    limit: attributes & GRANULAR ? ((limit << 12) | 0xfff) >>> 0 : limit,
    attributes,
  };
}
