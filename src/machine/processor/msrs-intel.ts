// Intel's model-specific registers as a server processor of the Skylake generation has them and kernels read them (SDM Vol. 4, tables 2-2,
// 2-39 and 2-50).
import type { CpuModel } from '../../cpu/models/model.ts';
import type { MsrRow } from './msr-table.ts';

const BUS_KHZ = 100_000;
/** Fast strings; no branch trace store and no precise events; MWAIT is added. */
const MISC_ENABLE = 0x1801n;
const MISC_ENABLE_MONITOR = 1n << 18n;
const MISC_ENABLE_SPEEDSTEP = 1n << 16n;
const FEATURE_CONTROL_LOCKED = 1n;
/** Deepest package state C0/C1, locked by firmware. */
const PACKAGE_C_STATES_LOCKED = 0x8000n;
/** 36 degrees under the limit, valid; the limit itself is 100 degrees. */
const THERMAL_READOUT = 0x88240000n;
const TEMPERATURE_TARGET = 0x640000n;
const CPUID_MONITOR = 1 << 3;
const MISC_FEATURE_PREFETCHERS = 0xfn;
/** LBR and BTF, and what to do with them in interrupts. */
const DEBUG_CONTROL = 0xdfc3n;

export function intelRows(model: CpuModel, microcode: number): MsrRow[] {
  const ratio = BigInt(Math.round(model.frequencyKHz / BUS_KHZ));
  const features = model.leaves.find(({ leaf }) => leaf === 1)?.ecx ?? 0;
  const monitor = features & CPUID_MONITOR ? MISC_ENABLE_MONITOR : 0n;
  return [
    { index: 0x17, reset: 0n }, // PLATFORM_ID
    { index: 0x3a, reset: FEATURE_CONTROL_LOCKED }, // FEATURE_CONTROL
    { index: 0x79, reset: 0n, writable: (1n << 64n) - 1n, command: true }, // BIOS_UPDT_TRIG: no update is newer
    { index: 0x8b, reset: BigInt(microcode) << 32n, writable: 0xffffffffn, others: 'keep', command: true }, // BIOS_SIGN_ID
    { index: 0xce, reset: (ratio << 40n) | (ratio << 8n) }, // PLATFORM_INFO
    { index: 0xe2, reset: PACKAGE_C_STATES_LOCKED, writable: 0x7e000000n, others: 'keep' }, // PKG_CST_CONFIG_CONTROL
    { index: 0x198, reset: ratio << 8n }, // PERF_STATUS
    { index: 0x199, reset: ratio << 8n, writable: 0x1_0000_ffffn }, // PERF_CTL
    { index: 0x19a, reset: 0n, writable: 0x1fn }, // CLOCK_MODULATION
    { index: 0x19b, reset: 0n, writable: 0x1ffff17n, others: 'keep' }, // THERM_INTERRUPT
    { index: 0x19c, reset: THERMAL_READOUT, writable: 0xaaan, others: 'keep', command: true }, // THERM_STATUS
    { index: 0x1a0, reset: MISC_ENABLE | monitor, writable: 1n | MISC_ENABLE_SPEEDSTEP, others: 'keep' }, // MISC_ENABLE
    { index: 0x1a2, reset: TEMPERATURE_TARGET, writable: 0x3f000000n }, // TEMPERATURE_TARGET
    { index: 0x1a4, reset: 0n, writable: MISC_FEATURE_PREFETCHERS }, // MISC_FEATURE_CONTROL
    { index: 0x1ad, reset: ratio * 0x0101010101010101n }, // TURBO_RATIO_LIMIT
    { index: 0x1b0, reset: 6n, writable: 0xfn }, // ENERGY_PERF_BIAS: normal
    { index: 0x1b1, reset: THERMAL_READOUT & 0x7fffffffn, writable: 0xaaan, others: 'keep', command: true }, // PACKAGE_THERM_STATUS
    { index: 0x1b2, reset: 0n, writable: 0x1ffff17n, others: 'keep' }, // PACKAGE_THERM_INTERRUPT
    { index: 0x1c8, reset: 0n, writable: 0x3ffn }, // LBR_SELECT
    { index: 0x1c9, reset: 0n }, // LASTBRANCH_TOS
    { index: 0x1d9, reset: 0n, writable: DEBUG_CONTROL }, // DEBUGCTL
    { index: 0x1fc, reset: 0n, writable: 0x2n, others: 'keep' }, // POWER_CTL
  ];
}
