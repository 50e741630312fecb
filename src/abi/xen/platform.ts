// xen/include/public/platform.h: operations of the domain that drives the machine.
import { bytes, struct, u16, u32, u64 } from '../struct.ts';

export const XENPF = {
  settime32: 17, add_memtype: 31, del_memtype: 32, read_memtype: 33, microcode_update: 35, platform_quirk: 39, get_cpu_version: 48,
  efi_runtime_call: 49, firmware_info: 50, enter_acpi_sleep: 51, change_freq: 52, getidletime: 53, set_processor_pminfo: 54, get_cpuinfo: 55,
  cpu_online: 56, cpu_offline: 57, cpu_hotadd: 58, mem_hotadd: 59, core_parking: 60, resource_op: 61, settime64: 62, get_symbol: 63,
} as const; // biome-ignore format: a table

/** XEN_FW_*. */
export const FIRMWARE = { diskInfo: 1, diskMbrSignature: 2, vbeddcInfo: 3, efiInfo: 4, kbdShiftFlags: 5 } as const;
/** XEN_PCPU_FLAGS_*. */
export const PCPU_FLAGS = { online: 1, invalid: 4 } as const;
/** XEN_PM_*. */
export const PM_INFO = { cx: 0, px: 1, tx: 2, pdc: 3 } as const;

// Each argument stands behind cmd and interface_version in a union: see PLATFORM_UNION.
/** struct xen_platform_op's first fields; `u` follows at PLATFORM_UNION. */
export const PLATFORM_UNION = 8n;

export const settime64 = struct('xenpf_settime64', { secs: u64, nsecs: u32, mbz: u32, systemTime: u64 });
export const settime32 = struct('xenpf_settime32', { secs: u32, nsecs: u32, systemTime: u64 });
export const enterAcpiSleep = struct('xenpf_enter_acpi_sleep', { valA: u16, valB: u16, sleepState: u32, flags: u32 });
export const pcpuInfo = struct('xenpf_pcpuinfo', {
  xenCpuid: u32,
  maxPresent: u32,
  flags: u32,
  apicId: u32,
  acpiId: u32,
});
export const pcpuVersion = struct('xenpf_pcpu_version', {
  xenCpuid: u32,
  maxPresent: u32,
  vendorId: bytes(12),
  family: u32,
  model: u32,
  stepping: u32,
});
/** Of struct xenpf_firmware_info what stands before its union, and the one member that a PC without a BIOS answers. */
export const FIRMWARE_INFO_BYTES = { type: 0, index: 4, kbdShiftFlags: 8 } as const;
