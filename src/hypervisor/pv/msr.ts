// Model-specific registers as a PV guest's kernel may read and write them. Source: xen/arch/x86/msr.c (guest_rdmsr, guest_wrmsr), then
// xen/arch/x86/pv/emul-priv-op.c (read_msr, write_msr), cpu/mcheck/vmce.c, cpu/vpmu*.c with the vPMU off.
import { S } from '../../cpu/layout.ts';
import type { Vcpu } from '../vcpu.ts';
import { fsBase, gsBase, inactiveGsBase, setFsBase, setGsBase, setInactiveGsBase } from './address-space.ts';
import { pvHasFeature } from './cpuid.ts';
import { isCanonical } from './selectors.ts';

const Msr = {
  TSC: 0x10,
  PLATFORM_ID: 0x17,
  APIC_BASE: 0x1b,
  UCODE_WRITE: 0x79,
  UCODE_REV: 0x8b,
  PLATFORM_INFO: 0xce,
  MPERF: 0xe7,
  APERF: 0xe8,
  MISC_FEATURES_ENABLES: 0x140,
  MCG_CAP: 0x179,
  MCG_STATUS: 0x17a,
  MCG_CTL: 0x17b,
  PERF_STATUS: 0x198,
  PERF_CTL: 0x199,
  THERM_CONTROL: 0x19a,
  THERM_STATUS: 0x19c,
  MISC_ENABLE: 0x1a0,
  ENERGY_PERF_BIAS: 0x1b0,
  PAT: 0x277,
  PERF_CAPABILITIES: 0x345,
  MCG_EXT_CTL: 0x4d0,
  EFER: 0xc0000080,
  FS_BASE: 0xc0000100,
  GS_BASE: 0xc0000101,
  KERNEL_GS_BASE: 0xc0000102,
  TSC_AUX: 0xc0000103,
  K7_EVNTSEL0: 0xc0010000,
  K7_PERFCTR3: 0xc0010007,
  HWCR: 0xc0010015,
  NB_CFG: 0xc001001f,
  FIDVID_CTL: 0xc0010041,
  FIDVID_STATUS: 0xc0010042,
  PSTATE_LIMIT: 0xc0010061,
  PSTATE_CTRL: 0xc0010062,
  PSTATE_STATUS: 0xc0010063,
  PSTATE_DEF0: 0xc0010064,
  PSTATE_DEF7: 0xc001006b,
  FAM10H_MMIO_CONF_BASE: 0xc0010058,
  PATCH_LOADER: 0xc0010020,
  AMD64_DE_CFG: 0xc0011029,
} as const;

/** WB WT UC- UC WC WP UC UC: Xen's page attribute table, which guests cannot change. */
const XEN_PAT = 0x0000050100070406n;
const APIC_BASE = 0xfee00800n;
const APIC_BASE_BSP = 0x100n;
/** No machine check banks but the two that Xen's virtual MCE has; MCG_CTL_P and MCG_SER_P. */
const VMCE_BANKS = 2;
const VMCE_CAP: Record<'AuthenticAMD' | 'GenuineIntel', bigint> = {
  AuthenticAMD: BigInt(VMCE_BANKS),
  GenuineIntel: BigInt(VMCE_BANKS) | (1n << 24n),
};
const DE_CFG_LFENCE_SERIALISES = 2n;
const MISC_ENABLE_FAST_STRING = 1n;
/** EFER as the guest sees it: SCE LME LMA NX. */
const EFER_SEEN = 0xd01n;

const within = (index: number, first: number, last: number): boolean => index >= first && index <= last;

/** The value, or null where reading gives #GP(0). The vCPU is the loaded one. */
export function readMsr(vcpu: Vcpu, index: number): bigint | null {
  const { cpu } = vcpu;
  const { hypervisor } = vcpu.domain;
  const { model } = hypervisor.processor;
  const amd = model.vendor === 'AuthenticAMD';
  switch (index) {
    case Msr.TSC:
      return BigInt.asUintN(64, hypervisor.processor.cycles() + cpu.get(S.tscOffset));
    case Msr.APIC_BASE:
      return APIC_BASE | (vcpu.id === 0 ? APIC_BASE_BSP : 0n);
    case Msr.FS_BASE:
      return fsBase(cpu);
    case Msr.GS_BASE:
      return gsBase(cpu);
    case Msr.KERNEL_GS_BASE:
      return inactiveGsBase(cpu);
    case Msr.TSC_AUX:
      return pvHasFeature(model, 'rdtscp') ? cpu.get(S.tscAux) : null;
    case Msr.EFER:
      return EFER_SEEN;
    case Msr.PAT:
      return XEN_PAT;
    case Msr.MCG_CAP:
      return VMCE_CAP[model.vendor];
    // No CPUID faulting: neither the ability nor the switch.
    case Msr.PLATFORM_INFO:
    case Msr.MISC_FEATURES_ENABLES:
    case Msr.MCG_STATUS:
    case Msr.PERF_CAPABILITIES:
    case Msr.UCODE_REV:
      return 0n;
    case Msr.MCG_CTL:
      return (1n << 64n) - 1n;
    case Msr.PLATFORM_ID:
      return amd ? null : 0n;
    case Msr.PERF_STATUS:
    case Msr.PERF_CTL:
    case Msr.THERM_STATUS:
      return amd ? null : 0n;
    case Msr.MISC_ENABLE:
      return amd ? null : MISC_ENABLE_FAST_STRING;
    case Msr.AMD64_DE_CFG:
      return amd ? DE_CFG_LFENCE_SERIALISES : null;
    case Msr.HWCR:
    case Msr.NB_CFG:
    case Msr.FIDVID_CTL:
    case Msr.FIDVID_STATUS:
      return amd ? 0n : null;
  }
  if (within(index, Msr.PSTATE_LIMIT, Msr.PSTATE_DEF7)) return amd ? 0n : null;
  if (within(index, Msr.K7_EVNTSEL0, Msr.K7_PERFCTR3)) return amd ? 0n : null;
  if (within(index, 0x400, 0x400 + VMCE_BANKS * 4 - 1)) return (index & 3) === 0 ? (1n << 64n) - 1n : 0n;
  if (within(index, 0x400, 0x47f)) return 0n;
  if (within(index, 0x280, 0x29f)) return amd ? null : 0n;
  return null;
}

/** False where writing gives #GP(0). */
export function writeMsr(vcpu: Vcpu, index: number, value: bigint): boolean {
  const { cpu } = vcpu;
  const { model } = vcpu.domain.hypervisor.processor;
  const amd = model.vendor === 'AuthenticAMD';
  switch (index) {
    case Msr.FS_BASE:
      if (!isCanonical(value)) return false;
      setFsBase(cpu, value);
      return true;
    case Msr.GS_BASE:
      if (!isCanonical(value)) return false;
      setGsBase(cpu, value);
      return true;
    case Msr.KERNEL_GS_BASE:
      if (!isCanonical(value)) return false;
      setInactiveGsBase(cpu, value);
      return true;
    case Msr.TSC_AUX:
      if (!pvHasFeature(model, 'rdtscp') || value >> 32n) return false;
      cpu.set(S.tscAux, value);
      return true;
    case Msr.EFER:
      return value === EFER_SEEN;
    case Msr.MISC_FEATURES_ENABLES:
      return value === 0n;
    // Accepted and without effect: what kernels write on their way up, and what only the hardware domain could change.
    case Msr.UCODE_WRITE:
    case Msr.UCODE_REV:
      return true;
    case Msr.MCG_STATUS:
    case Msr.MCG_CTL:
      return true;
    case Msr.HWCR:
    case Msr.PSTATE_STATUS:
    case Msr.PSTATE_CTRL:
    case Msr.NB_CFG:
    case Msr.FAM10H_MMIO_CONF_BASE:
    case Msr.PATCH_LOADER:
    case Msr.AMD64_DE_CFG:
      return amd;
    case Msr.MPERF:
    case Msr.APERF:
    case Msr.PERF_CTL:
    case Msr.THERM_CONTROL:
    case Msr.ENERGY_PERF_BIAS:
    case Msr.MISC_ENABLE:
      return !amd;
  }
  if (within(index, Msr.K7_EVNTSEL0, Msr.K7_PERFCTR3)) return amd;
  if (within(index, 0x400, 0x47f)) return true;
  if (within(index, 0x280, 0x29f)) return !amd;
  return false;
}
