// What CPUID tells an HVM guest: the processor's own leaves through Xen's HVM feature masks, and Xen's leaves at 0x40000000. There is no
// other hypervisor's interface.
// Source: xen/include/public/arch-x86/cpufeatureset.h (features marked 'A', 'S' and 'H'), xen/arch/x86/cpuid.c (guest_cpuid).
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
export interface HvmCpuidContext {
  vcpu: number;
  domid: number;
  apicId: number;
  /** IA32_APIC_BASE: the local APIC is there. */
  apicEnabled: boolean;
  /** CR4.OSXSAVE and CR4.PKE. */
  osxsave: boolean;
  ospke: boolean;
  /** EFER.LMA. */
  longMode: boolean;
  xcr0: bigint;
  tscKHz: number;
}

const APIC = bits(9);
const X2APIC = bits(21);
const OSXSAVE = bits(27);
const SYSCALL = bits(11);

const VISIBLE: VisibleFeatures = {
  // FPU VME DE PSE TSC MSR PAE MCE CX8 APIC SEP MTRR PGE MCA CMOV PAT PSE36 CLFLUSH ACPI MMX FXSR SSE SSE2 SS HTT
  leaf1d: bits(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 11, 12, 13, 14, 15, 16, 17, 19, 22, 23, 24, 25, 26, 27, 28),
  // SSE3 PCLMULQDQ SSSE3 FMA CX16 PCID SSE4_1 SSE4_2 X2APIC MOVBE POPCNT TSC_DEADLINE AESNI XSAVE AVX F16C RDRAND HYPERVISOR
  leaf1c: bits(0, 1, 9, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 28, 29, 30, 31),
  // SYSCALL NX MMXEXT FFXSR PAGE1GB RDTSCP LM 3DNOWEXT 3DNOW
  e1d: bits(11, 20, 22, 25, 26, 27, 29, 30, 31),
  // LAHF_LM CMP_LEGACY CR8_LEGACY ABM SSE4A MISALIGNSSE 3DNOWPREFETCH XOP FMA4 TBM DBEXT
  e1c: bits(0, 1, 4, 5, 6, 7, 8, 11, 16, 21, 26),
  // XSAVEOPT XSAVEC XGETBV1 XSAVES
  xstate: bits(0, 1, 2, 3),
  // FSGSBASE TSC_ADJUST BMI1 AVX2 SMEP BMI2 ERMS INVPCID RTM AVX512F AVX512DQ RDSEED ADX SMAP AVX512_IFMA CLFLUSHOPT CLWB PF ER CD SHA
  // AVX512BW AVX512VL
  leaf7b: bits(0, 1, 3, 5, 7, 8, 9, 10, 11, 16, 17, 18, 19, 20, 21, 23, 24, 26, 27, 28, 29, 30, 31),
  // PREFETCHWT1 AVX512_VBMI UMIP PKU VBMI2 GFNI VAES VPCLMULQDQ VNNI BITALG VPOPCNTDQ RDPID CLDEMOTE
  leaf7c: bits(0, 1, 2, 3, 6, 8, 9, 10, 11, 12, 14, 22, 25),
  // 4VNNIW 4FMAPS FSRM MD_CLEAR SERIALIZE; mitigations' controls as PV guests have them
  leaf7d: bits(2, 3, 4, 10, 14),
  // AVX_VNNI AVX512_BF16 FZRM FSRS FSRCS
  leaf71a: bits(4, 5, 10, 11, 12),
  // CLZERO RSTR_FP_ERR_PTRS IBPB
  e8b: bits(0, 2, 12),
  // HYPERVISOR, and a local APIC with x2APIC, which Xen emulates itself
  always: { leaf1c: bits(31) | X2APIC, leaf1d: APIC, e1d: 0 },
};

/** One leaf as an HVM guest's CPUID gives it. */
export function hvmCpuid(model: CpuModel, context: HvmCpuidContext, leaf: number, subleaf: number): CpuidResult {
  const { vcpu, domid, tscKHz, apicId } = context;
  leaf >>>= 0;
  subleaf >>>= 0;
  if (leaf >= XEN_BASE && leaf <= XEN_MAX_LEAF) {
    return xenLeaf({ tscKHz, maxMfn: 0, hvm: { vcpu, domid } }, leaf, subleaf);
  }
  const result = { ...policyLeaf(model, VISIBLE, leaf, subleaf) };
  switch (leaf) {
    case 1:
      result.ebx = ((result.ebx & 0x00ffffff) | (apicId << 24)) >>> 0;
      if (context.osxsave && result.ecx & bits(26)) result.ecx = (result.ecx | OSXSAVE) >>> 0;
      if (!context.apicEnabled) result.edx = (result.edx & ~APIC) >>> 0;
      break;
    case 7:
      if (subleaf === 0 && context.ospke) result.ecx = (result.ecx | bits(4)) >>> 0;
      break;
    case 0xb:
      // No levels of topology, but the x2APIC id.
      result.ecx = subleaf & 0xff;
      result.edx = apicId;
      break;
    case 0xd:
      if (subleaf === 0) result.ebx = xsaveSize(model, context.xcr0);
      else if (subleaf === 1 && result.eax & 2) result.ebx = xsaveCompactSize(model, context.xcr0);
      break;
    case 0x80000001:
      if (model.vendor === 'GenuineIntel' && !context.longMode) result.edx = (result.edx & ~SYSCALL) >>> 0;
      else if (model.vendor === 'AuthenticAMD' && !context.apicEnabled) result.edx = (result.edx & ~APIC) >>> 0;
      break;
  }
  return result;
}
