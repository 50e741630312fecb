// xen/include/public/domctl.h (interface 0x15): operations on one domain.
import { bytes, struct, u8, u16, u32, u64Aligned } from '../struct.ts';
import { xenctlBitmap } from './sysctl.ts';

export const DOMCTL = {
  createdomain: 1, destroydomain: 2, pausedomain: 3, unpausedomain: 4, getdomaininfo: 5, setvcpuaffinity: 9, shadow_op: 10, max_mem: 11,
  setvcpucontext: 12, getvcpucontext: 13, getvcpuinfo: 14, max_vcpus: 15, scheduler_op: 16, setdomainhandle: 17, setdebugging: 18,
  getvcpuaffinity: 25, resumedomain: 27, assign_device: 37, test_assign_device: 45, deassign_device: 47, vm_event_op: 56, gettscinfo: 59,
  setnodeaffinity: 68, getnodeaffinity: 69,
} as const; // biome-ignore format: a table

/** struct xen_domctl is cmd, interface_version, domain, and here a union. */
export const DOMCTL_UNION = 16n;
/** XEN_DOMINF_*. */
export const DOMINF = { dying: 1, hvm: 2, shutdown: 4, paused: 8, blocked: 16, running: 32, debugged: 64, xsDomain: 128, hap: 256 } as const; // biome-ignore format: a table
export const DOMINF_SHUTDOWN_SHIFT = 16;
/** XEN_X86_EMU_LAPIC, and all that an HVM domain with a device model has. */
export const EMULATION = { lapic: 1, hvm: 0x3ff } as const;
/** XEN_DOMCTL_SCHEDOP_*. */
export const SCHEDOP = { putinfo: 0, getinfo: 1, putvcpuinfo: 2, getvcpuinfo: 3 } as const;
/** XEN_VCPUAFFINITY_*. */
export const AFFINITY = { hard: 1, soft: 2 } as const;

const archDomainconfig = struct('xen_arch_domainconfig', { emulationFlags: u32, miscFlags: u32 });
export const getdomaininfo = struct('xen_domctl_getdomaininfo', {
  domain: u16,
  pad1: u16,
  flags: u32,
  totPages: u64Aligned,
  maxPages: u64Aligned,
  outstandingPages: u64Aligned,
  shrPages: u64Aligned,
  pagedPages: u64Aligned,
  sharedInfoFrame: u64Aligned,
  cpuTime: u64Aligned,
  nrOnlineVcpus: u32,
  maxVcpuId: u32,
  ssidref: u32,
  handle: bytes(16),
  cpupool: u32,
  gpaddrBits: u8,
  pad2: bytes(7),
  archConfig: archDomainconfig,
});
export const getvcpuinfo = struct('xen_domctl_getvcpuinfo', {
  vcpu: u32,
  online: u8,
  blocked: u8,
  running: u8,
  cpuTime: u64Aligned,
  cpu: u32,
});
export const vcpuaffinity = struct('xen_domctl_vcpuaffinity', {
  vcpu: u32,
  flags: u32,
  cpumapHard: xenctlBitmap,
  cpumapSoft: xenctlBitmap,
});
export const nodeaffinity = struct('xen_domctl_nodeaffinity', { nodemap: xenctlBitmap });
export const tscInfo = struct('xen_domctl_tsc_info', {
  tscMode: u32,
  gtscKhz: u32,
  incarnation: u32,
  pad: u32,
  elapsedNsec: u64Aligned,
});
/** struct xen_domctl_scheduler_op with the union as credit2 has it. */
export const SCHEDULER_OP_BYTES = { schedId: 0, cmd: 4, weight: 8, cap: 10 } as const;
