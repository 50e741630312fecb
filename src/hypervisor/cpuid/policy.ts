// What a guest of either kind may see of the processor's own CPUID leaves: Xen's policy, which does not depend on the vCPU.
// Source: xen/arch/x86/cpu-policy.c (recalculate_cpuid_policy, recalculate_misc); which features: xen/include/public/arch-x86/cpufeatureset.h.
import type { CpuidLeaf, CpuModel } from '../../cpu/models/model.ts';

export interface CpuidResult {
  eax: number;
  ebx: number;
  ecx: number;
  edx: number;
}

export const bits = (...list: number[]): number => list.reduce((mask, bit) => mask | (1 << bit), 0) >>> 0;

/** Features that guests of a kind may see, by the word of the feature set that they stand in. */
export interface VisibleFeatures {
  /** Leaf 1. */
  leaf1d: number;
  leaf1c: number;
  /** Leaf 0x80000001. */
  e1d: number;
  e1c: number;
  /** Leaf 0xd subleaf 1, EAX. */
  xstate: number;
  /** Leaf 7. */
  leaf7b: number;
  leaf7c: number;
  leaf7d: number;
  /** Leaf 7 subleaf 1, EAX. */
  leaf71a: number;
  /** Leaf 0x80000008, EBX. */
  e8b: number;
  /** What Xen has for them whatever the processor has, in leaf 1 ECX and EDX and leaf 0x80000001 EDX. */
  always: { leaf1c: number; leaf1d: number; e1d: number };
}

/** Features of leaf 1 EDX that AMD's leaf 0x80000001 EDX repeats. */
const COMMON_1D = 0x0183f3ff;

const MAX_BASIC = 0xd;
const MAX_EXTENDED = { AuthenticAMD: 0x80000021, GenuineIntel: 0x80000008 } as const;

export const EMPTY: CpuidResult = { eax: 0, ebx: 0, ecx: 0, edx: 0 };

function bare(model: CpuModel, leaf: number, subleaf: number): CpuidResult {
  let found: CpuidLeaf | undefined;
  for (const row of model.leaves) {
    if (row.leaf === leaf && (row.subleaf === null || row.subleaf === subleaf)) found = row;
  }
  return found ? { eax: found.eax >>> 0, ebx: found.ebx >>> 0, ecx: found.ecx >>> 0, edx: found.edx >>> 0 } : EMPTY;
}

/** The policy's leaf. */
export function policyLeaf(model: CpuModel, visible: VisibleFeatures, leaf: number, subleaf: number): CpuidResult {
  const maxBasic = Math.min(bare(model, 0, 0).eax, MAX_BASIC);
  const maxExtended = Math.min(bare(model, 0x80000000, 0).eax, MAX_EXTENDED[model.vendor]);
  if (leaf <= maxBasic) return basicLeaf(model, visible, leaf, subleaf, maxBasic);
  if (leaf >= 0x80000000 && leaf <= maxExtended) return extendedLeaf(model, visible, leaf, maxExtended);
  // Beyond the last leaf Xen answers with zeroes, whatever the vendor.
  return EMPTY;
}

function basicLeaf(
  model: CpuModel,
  visible: VisibleFeatures,
  leaf: number,
  subleaf: number,
  maxBasic: number,
): CpuidResult {
  const raw = bare(model, leaf, subleaf);
  switch (leaf) {
    case 0:
      return { ...raw, eax: maxBasic };
    case 1:
      return {
        eax: raw.eax & 0x0fff0fff,
        ebx: raw.ebx,
        ecx: ((raw.ecx & visible.leaf1c) | visible.always.leaf1c) >>> 0,
        edx: ((raw.edx & visible.leaf1d) | visible.always.leaf1d) >>> 0,
      };
    case 2:
      return model.vendor === 'GenuineIntel' ? raw : EMPTY;
    case 4:
      return model.vendor === 'GenuineIntel' ? raw : EMPTY;
    case 7: {
      if (subleaf === 0) {
        const max = Math.min(raw.eax, 1);
        const { leaf7b, leaf7c, leaf7d } = visible;
        return {
          eax: max,
          ebx: (raw.ebx & leaf7b) >>> 0,
          ecx: (raw.ecx & leaf7c) >>> 0,
          edx: (raw.edx & leaf7d) >>> 0,
        };
      }
      if (subleaf === 1 && bare(model, 7, 0).eax >= 1) return { ...EMPTY, eax: raw.eax & visible.leaf71a };
      return EMPTY;
    }
    case 0xd:
      if ((bare(model, 1, 0).ecx & (1 << 26)) === 0) return EMPTY;
      if (subleaf === 0) return raw;
      if (subleaf === 1) return { ...EMPTY, eax: raw.eax & visible.xstate };
      return subleaf < 63 && (bare(model, 0xd, 0).eax >>> subleaf) & 1 ? raw : EMPTY;
    default:
      // Serial number, MONITOR, power, direct cache access, performance counters, topology: not for guests.
      return EMPTY;
  }
}

function extendedLeaf(model: CpuModel, visible: VisibleFeatures, leaf: number, maxExtended: number): CpuidResult {
  const raw = bare(model, leaf, 0);
  const amd = model.vendor === 'AuthenticAMD';
  switch (leaf) {
    case 0x80000000:
      return amd ? { ...raw, eax: maxExtended } : { ...EMPTY, eax: maxExtended };
    case 0x80000001: {
      const common = amd ? bare(model, 1, 0).edx & visible.leaf1d & COMMON_1D : 0;
      return {
        eax: amd ? raw.eax & 0x0fff0fff : 0,
        ebx: amd ? raw.ebx : 0,
        ecx: (raw.ecx & visible.e1c) >>> 0,
        edx: ((raw.edx & visible.e1d) | visible.always.e1d | common) >>> 0,
      };
    }
    case 0x80000002:
    case 0x80000003:
    case 0x80000004:
      return raw;
    case 0x80000005:
      return amd ? raw : EMPTY;
    case 0x80000006:
      return amd ? raw : { ...EMPTY, ecx: raw.ecx };
    case 0x80000008:
      return { eax: raw.eax & 0xffff, ebx: (raw.ebx & visible.e8b) >>> 0, ecx: amd ? raw.ecx & 0x0003f0ff : 0, edx: 0 };
    case 0x8000001a:
      return amd ? raw : EMPTY;
    default:
      return EMPTY;
  }
}

/** Size of the standard XSAVE area for the components that are enabled. */
export function xsaveSize(model: CpuModel, xcr0: bigint): number {
  let size = 576;
  for (let i = 2; i < 63; i++) {
    if (!((xcr0 >> BigInt(i)) & 1n)) continue;
    const component = bare(model, 0xd, i);
    size = Math.max(size, component.eax + component.ebx);
  }
  return size;
}

/** The same for the compacted format. */
export function xsaveCompactSize(model: CpuModel, xcr0: bigint): number {
  let size = 576;
  for (let i = 2; i < 63; i++) {
    if (!((xcr0 >> BigInt(i)) & 1n)) continue;
    const component = bare(model, 0xd, i);
    if (component.ecx & 2) size = (size + 63) & ~63;
    size += component.eax;
  }
  return size;
}
