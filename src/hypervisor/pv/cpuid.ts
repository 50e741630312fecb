// What CPUID tells a PV guest: the processor's own leaves through Xen's PV feature masks, and Xen's leaves at 0x40000000.
// Source: xen/include/public/arch-x86/cpufeatureset.h (features marked 'A'), xen/arch/x86/cpuid.c (guest_cpuid).
import type { CpuModel } from '../../cpu/models/model.ts';
import {
  bits,
  type CpuidResult,
  policyLeaf,
  type VisibleFeatures,
  xsaveCompactSize,
  xsaveSize,
} from '../cpuid/policy.ts';
import { XEN_BASE, XEN_MAX_LEAF, xenLeaf } from '../cpuid/xen-leaves.ts';

/** What of the vCPU shows in CPUID. */
export interface CpuidContext {
  /** CR4.OSXSAVE as the guest sees it, or forced on for its kernel (see emulate.ts). */
  osxsave: boolean;
  xcr0: bigint;
  tscKHz: number;
  /** It cannot migrate, so it may know that the TSC is invariant: the domain that drives the machine. */
  invariantTsc?: boolean;
  /** The host's highest machine frame number. */
  maxMfn: number;
}

const VISIBLE: VisibleFeatures = {
  // FPU DE TSC MSR PAE MCE CX8 APIC SEP MCA CMOV PAT CLFLUSH ACPI MMX FXSR SSE SSE2 SS HTT
  leaf1d: bits(0, 2, 4, 5, 6, 7, 8, 9, 11, 14, 15, 16, 19, 22, 23, 24, 25, 26, 27, 28),
  // SSE3 PCLMULQDQ SSSE3 FMA CX16 SSE4_1 SSE4_2 MOVBE POPCNT AESNI XSAVE AVX F16C RDRAND HYPERVISOR
  leaf1c: bits(0, 1, 9, 12, 13, 19, 20, 22, 23, 25, 26, 28, 29, 30, 31),
  // SYSCALL NX MMXEXT FFXSR RDTSCP LM 3DNOWEXT 3DNOW
  e1d: bits(11, 20, 22, 25, 27, 29, 30, 31),
  // LAHF_LM CMP_LEGACY ABM SSE4A MISALIGNSSE 3DNOWPREFETCH XOP FMA4 TBM DBEXT
  e1c: bits(0, 1, 5, 6, 7, 8, 11, 16, 21, 26),
  // XSAVEOPT XSAVEC XGETBV1
  xstate: bits(0, 1, 2),
  // FSGSBASE BMI1 AVX2 BMI2 ERMS AVX512F AVX512DQ RDSEED ADX AVX512_IFMA CLFLUSHOPT CLWB PF ER CD SHA AVX512BW AVX512VL
  leaf7b: bits(0, 3, 5, 8, 9, 16, 17, 18, 19, 21, 23, 24, 26, 27, 28, 29, 30, 31),
  // PREFETCHWT1 AVX512_VBMI VBMI2 GFNI VAES VPCLMULQDQ VNNI BITALG VPOPCNTDQ RDPID
  leaf7c: bits(0, 1, 6, 8, 9, 10, 11, 12, 14, 22),
  // 4VNNIW 4FMAPS FSRM MD_CLEAR SERIALIZE AVX512_FP16
  leaf7d: bits(2, 3, 4, 10, 14, 23),
  // AVX_VNNI AVX512_BF16 FZRM FSRS FSRCS
  leaf71a: bits(4, 5, 10, 11, 12),
  // CLZERO RSTR_FP_ERR_PTRS IBPB
  e8b: bits(0, 2, 12),
  // HYPERVISOR; SYSCALL, NX and LM, without which a 64-bit guest could not run
  always: { leaf1c: bits(31), leaf1d: 0, e1d: bits(11, 20, 29) },
};

const OSXSAVE = 1 << 27;
/** Advanced power management, of which guests see nothing. */
const POWER = 0x80000007;
const INVARIANT_TSC = 1 << 8;

/** Features that decide about control registers and instructions. */
const FEATURES = {
  xsave: { leaf: 1, register: 'ecx', bit: 26 },
  fsgsbase: { leaf: 7, register: 'ebx', bit: 0 },
  rdtscp: { leaf: 0x80000001, register: 'edx', bit: 27 },
  dbext: { leaf: 0x80000001, register: 'ecx', bit: 26 },
} as const;
export type PvFeature = keyof typeof FEATURES;

/** True where PV guests on this model have the feature. */
export function pvHasFeature(model: CpuModel, feature: PvFeature): boolean {
  const { leaf, register, bit } = FEATURES[feature];
  return ((policyLeaf(model, VISIBLE, leaf, 0)[register] >>> bit) & 1) === 1;
}

/** One leaf as a PV guest's CPUID gives it. */
export function pvCpuid(model: CpuModel, context: CpuidContext, leaf: number, subleaf: number): CpuidResult {
  leaf >>>= 0;
  if (leaf >= XEN_BASE && leaf <= XEN_MAX_LEAF) return xenLeaf({ ...context, hvm: null }, leaf, subleaf >>> 0);
  const result = { ...policyLeaf(model, VISIBLE, leaf, subleaf >>> 0) };
  if (leaf === 1) {
    // The initial APIC id: PV guests have none, so it is 0 for every vCPU.
    result.ebx = (result.ebx & 0x00ffffff) >>> 0;
    if (context.osxsave && result.ecx & (1 << 26)) result.ecx = (result.ecx | OSXSAVE) >>> 0;
  } else if (leaf === 0xd && subleaf === 0) {
    result.ebx = xsaveSize(model, context.xcr0);
  } else if (leaf === 0xd && subleaf === 1 && result.eax & 2) {
    result.ebx = xsaveCompactSize(model, context.xcr0);
  } else if (leaf === POWER && context.invariantTsc) {
    result.edx = (model.leaves.find(row => row.leaf === POWER)?.edx ?? 0) & INVARIANT_TSC;
  }
  return result;
}
