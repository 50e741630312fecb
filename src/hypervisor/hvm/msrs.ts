// Model-specific registers of an HVM vCPU beside those of its local APIC, its memory types and its mitigations: what Xen has for guests of
// a vendor, most of it only there so that kernels that ask get an answer.
// Source: xen/arch/x86/msr.c (guest_rdmsr, guest_wrmsr), hvm/hvm.c, hvm/svm/svm.c, hvm/vmx/vmx.c, cpu/mcheck/vmce.c; the vPMU is off.
import type { CpuModel } from '../../cpu/models/model.ts';
import { microcodeRevision } from '../../machine/processor/microcode.ts';
import { ALL_BITS, type MsrPart, type MsrRow } from '../../machine/processor/msr-table.ts';

/** MISC_ENABLE: fast strings; no branch trace, no precise event sampling. */
const MISC_ENABLE = 0x1801n;
const DE_CFG_LFENCE_SERIALISES = 2n;
/** The firmware keeps thresholds of machine checks to itself. */
const THRESHOLD_LOCKED = 1n << 61n;
const AMD_DEBUGCTL = 0x3fn;
/** LBR and BTF. */
const INTEL_DEBUGCTL = 3n;

const range = (first: number, last: number): number[] => Array.from({ length: last - first + 1 }, (_, i) => first + i);
const constant = (index: number, reset = 0n): MsrRow => ({ index, reset });
/** Writes are accepted and change nothing. */
const ignoring = (index: number, reset = 0n): MsrRow => ({ index, reset, writable: ALL_BITS, command: true });

export function hvmRows(model: CpuModel): MsrRow[] {
  return model.vendor === 'AuthenticAMD' ? amdRows(model) : intelRows(model);
}

function amdRows(model: CpuModel): MsrRow[] {
  return [
    constant(0x2c), // an Intel one that migrated guests may ask for
    ignoring(0x8b, BigInt(microcodeRevision(model))), // PATCH_LEVEL
    { index: 0x1d9, reset: 0n, writable: AMD_DEBUGCTL }, // DebugCtl
    ...range(0x1db, 0x1de).map(index => ({ index, reset: 0n, writable: ALL_BITS })), // last branch and last exception
    ...[0x413, ...range(0xc0000408, 0xc000040a)].map(index => constant(index, THRESHOLD_LOCKED)),
    ...range(0xc0010000, 0xc0010007).map(index => ignoring(index)), // performance counters
    ...range(0xc0010200, 0xc001020b).map(index => ignoring(index)),
    ignoring(0xc0010010), // SYSCFG
    ignoring(0xc0010015), // HWCR
    ignoring(0xc001001a), // TOP_MEM
    ignoring(0xc001001d), // TOP_MEM2
    ignoring(0xc001001f), // NB_CFG
    ignoring(0xc0010020), // PATCH_LOADER
    ignoring(0xc0010114), // VM_CR
    constant(0xc001102c), // EX_CFG
    ignoring(0xc0011029, DE_CFG_LFENCE_SERIALISES), // DE_CFG
  ];
}

function intelRows(model: CpuModel): MsrRow[] {
  return [
    constant(0x17), // PLATFORM_ID
    ignoring(0x79), // BIOS_UPDT_TRIG
    ignoring(0x8b, BigInt(microcodeRevision(model)) << 32n), // BIOS_SIGN_ID
    ...range(0xc1, 0xc8).map(index => ignoring(index)), // performance counters
    constant(0xce), // PLATFORM_INFO: no CPUID faulting
    ...range(0x186, 0x18d).map(index => ignoring(index)), // their event selects
    constant(0x198), // PERF_STATUS
    ignoring(0x199), // PERF_CTL
    ignoring(0x19a), // THERM_CONTROL
    constant(0x19c), // THERM_STATUS
    ignoring(0x1a0, MISC_ENABLE),
    { index: 0x1d9, reset: 0n, writable: INTEL_DEBUGCTL }, // DEBUGCTL
    ...range(0x309, 0x30b).map(index => ignoring(index)), // fixed counters
    constant(0x345), // PERF_CAPABILITIES
    ...range(0x38d, 0x390).map(index => ignoring(index)), // their control and status
    ignoring(0x3f1), // PEBS_ENABLE
    ignoring(0x600), // DS_AREA
  ];
}

const BANKS = 2n;
const MCG = { cap: 0x179, status: 0x17a, control: 0x17b } as const;
const CAP_RECOVERY = 1n << 24n;
const FIRST_BANK = 0x400;
const LAST_BANK = 0x47f;

/** Xen's virtual machine check: two banks that never report anything. */
export function virtualMachineCheck(vendor: CpuModel['vendor']): MsrPart {
  const isBank = (index: number): boolean => index >= FIRST_BANK && index <= LAST_BANK;
  return {
    read(index: number): bigint | null {
      if (index === MCG.cap) return vendor === 'GenuineIntel' ? BANKS | CAP_RECOVERY : BANKS;
      if (index === MCG.status) return 0n;
      if (index === MCG.control) return ALL_BITS;
      if (!isBank(index)) return null;
      const bank = BigInt((index - FIRST_BANK) >> 2);
      return bank < BANKS && (index & 3) === 0 ? ALL_BITS : 0n;
    },
    write: index => index === MCG.status || index === MCG.control || isBank(index),
  };
}
