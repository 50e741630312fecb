// xen/include/public/sysctl.h (interface 0x15): operations on the host as a whole.
import { array, handle64, struct, u8, u16, u32, u64Aligned } from '../struct.ts';

export const SYSCTL = {
  readconsole: 1, tbuf_op: 2, physinfo: 3, sched_id: 4, perfc_op: 5, getdomaininfolist: 6, debug_keys: 7, getcpuinfo: 8, availheap: 9,
  get_pmstat: 10, cpu_hotplug: 11, pm_op: 12, page_offline_op: 14, lockprof_op: 15, cputopoinfo: 16, numainfo: 17, cpupool_op: 18,
  scheduler_op: 19, coverage_op: 20, psr_cmt_op: 21, pcitopoinfo: 22, psr_alloc: 23, get_cpu_levelling_caps: 25, get_cpu_featureset: 26,
  livepatch_op: 27, set_parameter: 28, get_cpu_policy: 29,
} as const; // biome-ignore format: a table

/** struct xen_sysctl is cmd, interface_version, and here a union. */
export const SYSCTL_UNION = 8n;
/** XEN_SYSCTL_PHYSCAP_*. */
export const PHYSCAP = { hvm: 1, pv: 2, directio: 4, hap: 8, shadow: 16, iommuHapPtShare: 32, vmtrace: 64, vpmu: 128, gnttabV1: 256, gnttabV2: 512 } as const; // biome-ignore format: a table
/** XEN_SYSCTL_CPUPOOL_OP_*. */
export const CPUPOOL = { create: 1, destroy: 2, info: 3, addcpu: 4, rmcpu: 5, movedomain: 6, freeinfo: 7 } as const;
/** XEN_SCHEDULER_CREDIT2. */
export const SCHEDULER_CREDIT2 = 6;

export const xenctlBitmap = struct('xenctl_bitmap', { bitmap: handle64, nrBits: u32 });
export const readconsole = struct('xen_sysctl_readconsole', {
  clear: u8,
  incremental: u8,
  pad0: u8,
  pad1: u8,
  index: u32,
  buffer: handle64,
  count: u32,
});
export const physinfo = struct('xen_sysctl_physinfo', {
  threadsPerCore: u32,
  coresPerSocket: u32,
  nrCpus: u32,
  maxCpuId: u32,
  nrNodes: u32,
  maxNodeId: u32,
  cpuKhz: u32,
  capabilities: u32,
  archCapabilities: u32,
  pad: u32,
  totalPages: u64Aligned,
  freePages: u64Aligned,
  scrubPages: u64Aligned,
  outstandingPages: u64Aligned,
  maxMfn: u64Aligned,
  hwCap: array(u32, 8),
});
export const schedId = struct('xen_sysctl_sched_id', { schedId: u32 });
export const getdomaininfolist = struct('xen_sysctl_getdomaininfolist', {
  firstDomain: u16,
  maxDomains: u32,
  buffer: handle64,
  numDomains: u32,
});
export const debugKeys = struct('xen_sysctl_debug_keys', { keys: handle64, nrKeys: u32 });
export const cputopo = struct('xen_sysctl_cputopo', { core: u32, socket: u32, node: u32 });
export const cputopoinfo = struct('xen_sysctl_cputopoinfo', { numCpus: u32, cputopo: handle64 });
export const meminfo = struct('xen_sysctl_meminfo', { memsize: u64Aligned, memfree: u64Aligned });
export const numainfo = struct('xen_sysctl_numainfo', { numNodes: u32, meminfo: handle64, distance: handle64 });
export const cpupoolOp = struct('xen_sysctl_cpupool_op', {
  op: u32,
  cpupoolId: u32,
  schedId: u32,
  domid: u32,
  cpu: u32,
  nDom: u32,
  cpumap: xenctlBitmap,
});
export const cpuLevellingCaps = struct('xen_sysctl_cpu_levelling_caps', { caps: u32 });
export const pcitopoinfo = struct('xen_sysctl_pcitopoinfo', { numDevs: u32, devs: handle64, nodes: handle64 });
/** XEN_INVALID_NODE_ID: nobody knows where it is; XEN_INVALID_DEV: there is no such device. */
export const NO_NODE = 0xffffffff;
export const NO_DEVICE = 0xfffffffe;
/** XEN_SYSCTL_SCHEDOP_*. */
export const SCHEDULER_COMMAND = { putinfo: 0, getinfo: 1 } as const;
