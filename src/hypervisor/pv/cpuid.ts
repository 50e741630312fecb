// What CPUID tells a PV guest: the processor's own leaves through Xen's PV feature masks, and Xen's leaves at 0x40000000.
// Source: xen/include/public/arch-x86/cpufeatureset.h (features marked 'A'), xen/arch/x86/cpuid.c (recalculate_cpuid_policy, guest_cpuid),
// xen/include/public/arch-x86/cpuid.h.
import type { CpuidLeaf, CpuModel } from '../../cpu/models/model.ts';
import { XEN_VERSION } from '../hypervisor.ts';

export interface CpuidResult {
  eax: number;
  ebx: number;
  ecx: number;
  edx: number;
}

/** What of the vCPU shows in CPUID. */
export interface CpuidContext {
  /** CR4.OSXSAVE as the guest sees it, or forced on for its kernel (see emulate.ts). */
  osxsave: boolean;
  xcr0: bigint;
  tscKHz: number;
  /** The host's highest machine frame number. */
  maxMfn: number;
}

const bits = (...list: number[]): number => list.reduce((mask, bit) => mask | (1 << bit), 0) >>> 0;

/** Features that a PV guest may see, by the word of the feature set that they stand in. */
const VISIBLE = {
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
} as const;

/** Features of leaf 1 EDX that AMD's leaf 0x80000001 EDX repeats. */
const COMMON_1D = 0x0183f3ff;
const OSXSAVE = 1 << 27;
const HYPERVISOR = 1 << 31;

const MAX_BASIC = 0xd;
const MAX_EXTENDED = { AuthenticAMD: 0x80000021, GenuineIntel: 0x80000008 } as const;
const XEN_BASE = 0x40000000;
const XEN_MAX_LEAF = XEN_BASE + 5;

const EMPTY: CpuidResult = { eax: 0, ebx: 0, ecx: 0, edx: 0 };

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
  return ((policyLeaf(model, leaf, 0)[register] >>> bit) & 1) === 1;
}

/** One leaf as a PV guest's CPUID gives it. */
export function pvCpuid(model: CpuModel, context: CpuidContext, leaf: number, subleaf: number): CpuidResult {
  leaf >>>= 0;
  if (leaf >= XEN_BASE && leaf <= XEN_MAX_LEAF) return xenLeaf(context, leaf, subleaf >>> 0);
  const result = { ...policyLeaf(model, leaf, subleaf >>> 0) };
  if (leaf === 1) {
    // The initial APIC id: PV guests have none, so it is 0 for every vCPU.
    result.ebx = (result.ebx & 0x00ffffff) >>> 0;
    if (context.osxsave && result.ecx & (1 << 26)) result.ecx = (result.ecx | OSXSAVE) >>> 0;
  } else if (leaf === 0xd && subleaf === 0) {
    result.ebx = xsaveSize(model, context.xcr0);
  } else if (leaf === 0xd && subleaf === 1 && result.eax & 2) {
    result.ebx = xsaveCompactSize(model, context.xcr0);
  }
  return result;
}

function bare(model: CpuModel, leaf: number, subleaf: number): CpuidResult {
  let found: CpuidLeaf | undefined;
  for (const row of model.leaves) {
    if (row.leaf === leaf && (row.subleaf === null || row.subleaf === subleaf)) found = row;
  }
  return found ? { eax: found.eax >>> 0, ebx: found.ebx >>> 0, ecx: found.ecx >>> 0, edx: found.edx >>> 0 } : EMPTY;
}

/** The policy: what does not depend on the vCPU. */
function policyLeaf(model: CpuModel, leaf: number, subleaf: number): CpuidResult {
  const maxBasic = Math.min(bare(model, 0, 0).eax, MAX_BASIC);
  const maxExtended = Math.min(bare(model, 0x80000000, 0).eax, MAX_EXTENDED[model.vendor]);
  if (leaf <= maxBasic) return basicLeaf(model, leaf, subleaf, maxBasic);
  if (leaf >= 0x80000000 && leaf <= maxExtended) return extendedLeaf(model, leaf, maxExtended);
  // Beyond the last leaf Xen answers with zeroes, whatever the vendor.
  return EMPTY;
}

function basicLeaf(model: CpuModel, leaf: number, subleaf: number, maxBasic: number): CpuidResult {
  const raw = bare(model, leaf, subleaf);
  switch (leaf) {
    case 0:
      return { ...raw, eax: maxBasic };
    case 1:
      return {
        eax: raw.eax & 0x0fff0fff,
        ebx: raw.ebx,
        ecx: ((raw.ecx & VISIBLE.leaf1c) | HYPERVISOR) >>> 0,
        edx: (raw.edx & VISIBLE.leaf1d) >>> 0,
      };
    case 2:
      return model.vendor === 'GenuineIntel' ? raw : EMPTY;
    case 4:
      return model.vendor === 'GenuineIntel' ? raw : EMPTY;
    case 7: {
      if (subleaf === 0) {
        const max = Math.min(raw.eax, 1);
        const { leaf7b, leaf7c, leaf7d } = VISIBLE;
        return {
          eax: max,
          ebx: (raw.ebx & leaf7b) >>> 0,
          ecx: (raw.ecx & leaf7c) >>> 0,
          edx: (raw.edx & leaf7d) >>> 0,
        };
      }
      if (subleaf === 1 && bare(model, 7, 0).eax >= 1) return { ...EMPTY, eax: raw.eax & VISIBLE.leaf71a };
      return EMPTY;
    }
    case 0xd:
      if ((bare(model, 1, 0).ecx & (1 << 26)) === 0) return EMPTY;
      if (subleaf === 0) return raw;
      if (subleaf === 1) return { ...EMPTY, eax: raw.eax & VISIBLE.xstate };
      return subleaf < 63 && (bare(model, 0xd, 0).eax >>> subleaf) & 1 ? raw : EMPTY;
    default:
      // Serial number, MONITOR, power, direct cache access, performance counters, topology: not for PV guests.
      return EMPTY;
  }
}

function extendedLeaf(model: CpuModel, leaf: number, maxExtended: number): CpuidResult {
  const raw = bare(model, leaf, 0);
  const amd = model.vendor === 'AuthenticAMD';
  switch (leaf) {
    case 0x80000000:
      return amd ? { ...raw, eax: maxExtended } : { ...EMPTY, eax: maxExtended };
    case 0x80000001: {
      // SYSCALL, NX and LM are always there: a 64-bit guest could not run without.
      const common = amd ? bare(model, 1, 0).edx & VISIBLE.leaf1d & COMMON_1D : 0;
      return {
        eax: amd ? raw.eax & 0x0fff0fff : 0,
        ebx: amd ? raw.ebx : 0,
        ecx: (raw.ecx & VISIBLE.e1c) >>> 0,
        edx: ((raw.edx & VISIBLE.e1d) | bits(11, 20, 29) | common) >>> 0,
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
      return { eax: raw.eax & 0xffff, ebx: (raw.ebx & VISIBLE.e8b) >>> 0, ecx: amd ? raw.ecx & 0x0003f0ff : 0, edx: 0 };
    case 0x8000001a:
      return amd ? raw : EMPTY;
    default:
      return EMPTY;
  }
}

/** Size of the standard XSAVE area for the components that are enabled. */
function xsaveSize(model: CpuModel, xcr0: bigint): number {
  let size = 576;
  for (let i = 2; i < 63; i++) {
    if (!((xcr0 >> BigInt(i)) & 1n)) continue;
    const component = bare(model, 0xd, i);
    size = Math.max(size, component.eax + component.ebx);
  }
  return size;
}

function xsaveCompactSize(model: CpuModel, xcr0: bigint): number {
  let size = 576;
  for (let i = 2; i < 63; i++) {
    if (!((xcr0 >> BigInt(i)) & 1n)) continue;
    const component = bare(model, 0xd, i);
    if (component.ecx & 2) size = (size + 63) & ~63;
    size += component.eax;
  }
  return size;
}

function ascii(text: string): number {
  return [...text].reduce((word, character, i) => word | (character.charCodeAt(0) << (8 * i)), 0) >>> 0;
}

function xenLeaf(context: CpuidContext, leaf: number, subleaf: number): CpuidResult {
  switch (leaf - XEN_BASE) {
    case 0:
      return { eax: XEN_MAX_LEAF, ebx: ascii('XenV'), ecx: ascii('MMXe'), edx: ascii('nVMM') };
    case 1:
      return { ...EMPTY, eax: ((XEN_VERSION.major << 16) | XEN_VERSION.minor) >>> 0 };
    case 2:
      // One page of hypercalls, its MSR; ECX bit 0: MMU_PT_UPDATE_PRESERVE_AD.
      return { eax: 1, ebx: XEN_BASE, ecx: 1, edx: 0 };
    case 3:
      return timeLeaf(context, subleaf);
    case 5:
      return subleaf === 0 ? { ...EMPTY, ebx: 12 + (32 - Math.clz32(context.maxMfn)) } : EMPTY;
    default:
      return EMPTY;
  }
}

function timeLeaf(context: CpuidContext, subleaf: number): CpuidResult {
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
