// Xen's own CPUID leaves. Source: xen/include/public/arch-x86/cpuid.h; xen/arch/x86/traps.c, cpuid_hypervisor_leaves().
import { XEN_VERSION } from '../hypervisor.ts';
import { type CpuidResult, EMPTY } from './policy.ts';

export const XEN_BASE = 0x40000000;
export const XEN_MAX_LEAF = XEN_BASE + 5;

/** Bits of leaf 4's EAX: what HVM guests can count on. */
const HVM_FEATURES = {
  /** Grants that are mapped are mapped for devices too. */
  iommuMappings: 1 << 2,
  vcpuId: 1 << 3,
  domid: 1 << 4,
  upcallVector: 1 << 6,
} as const;

/** What of a vCPU shows in the leaves. */
export interface XenLeafContext {
  tscKHz: number;
  /** PV: the host's highest machine frame number. */
  maxMfn: number;
  /** HVM: which vCPU of which domain asks; null for PV. */
  hvm: { vcpu: number; domid: number } | null;
}

function ascii(text: string): number {
  return [...text].reduce((word, character, i) => word | (character.charCodeAt(0) << (8 * i)), 0) >>> 0;
}

export function xenLeaf(context: XenLeafContext, leaf: number, subleaf: number): CpuidResult {
  switch (leaf - XEN_BASE) {
    case 0:
      return { eax: XEN_MAX_LEAF, ebx: ascii('XenV'), ecx: ascii('MMXe'), edx: ascii('nVMM') };
    case 1:
      return { ...EMPTY, eax: ((XEN_VERSION.major << 16) | XEN_VERSION.minor) >>> 0 };
    case 2:
      // One page of hypercalls, its MSR; ECX bit 0: MMU_PT_UPDATE_PRESERVE_AD.
      return { eax: 1, ebx: XEN_BASE, ecx: context.hvm ? 0 : 1, edx: 0 };
    case 3:
      return timeLeaf(context, subleaf);
    case 4:
      return subleaf === 0 && context.hvm ? hvmLeaf(context.hvm) : EMPTY;
    case 5:
      return subleaf === 0 && !context.hvm ? { ...EMPTY, ebx: 12 + (32 - Math.clz32(context.maxMfn)) } : EMPTY;
    default:
      return EMPTY;
  }
}

function timeLeaf(context: XenLeafContext, subleaf: number): CpuidResult {
  switch (subleaf) {
    case 0:
      // EAX: bit 1 the host's TSC is reliable, bit 2 RDTSCP is there. EBX: tsc_mode "default"; EDX: incarnation.
      return { eax: 6, ebx: 0, ecx: context.tscKHz >>> 0, edx: 0 };
    case 2:
      return { ...EMPTY, eax: context.tscKHz >>> 0 };
    default:
      return EMPTY;
  }
}

function hvmLeaf({ vcpu, domid }: { vcpu: number; domid: number }): CpuidResult {
  const { iommuMappings, vcpuId, domid: domidPresent, upcallVector } = HVM_FEATURES;
  return { eax: iommuMappings | vcpuId | domidPresent | upcallVector, ebx: vcpu, ecx: domid, edx: 0 };
}
