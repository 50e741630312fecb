// xen/include/public/memory.h: XENMEM_*.
import { handle, struct, u16, u32, u64, ulong, union } from '../struct.ts';

export const XENMEM = {
  increase_reservation: 0, decrease_reservation: 1, maximum_ram_page: 2, current_reservation: 3, maximum_reservation: 4,
  machphys_mfn_list: 5, populate_physmap: 6, add_to_physmap: 7, translate_gpfn_list: 8, memory_map: 9, machine_memory_map: 10,
  exchange: 11, machphys_mapping: 12, set_memory_map: 13, maximum_gpfn: 14, remove_from_physmap: 15, set_pod_target: 16,
  get_pod_target: 17, get_sharing_freed_pages: 18, get_sharing_shared_pages: 19, paging_op: 20, access_op: 21, sharing_op: 22,
  add_to_physmap_batch: 23, claim_pages: 24, machphys_compat_mfn_list: 25, get_vnumainfo: 26, reserved_device_memory_map: 27,
  acquire_resource: 28,
} as const; // biome-ignore format: a table

/** XENMEMF_*: bits 0-7 address width, 8-15 node + 1. */
export const XENMEMF = {
  addressBitsMask: 0xff,
  populateOnDemand: 1 << 16,
  exactNodeRequest: 1 << 17,
  vnode: 1 << 18,
} as const;

/** XENMAPSPACE_*. */
export const XENMAPSPACE = { sharedInfo: 0, grantTable: 1, gmfn: 2, gmfnRange: 3, gmfnForeign: 4, devMmio: 5 } as const;

/** XENMAPIDX_grant_table_status: of the grant table's frames, those with status words. */
export const XENMAPIDX_GRANT_TABLE_STATUS = 1n << 31n;

/** Types of memory map entries. */
export const E820 = { ram: 1, reserved: 2, acpi: 3, nvs: 4, unusable: 5 } as const;

export const xenMemoryReservation = struct('xen_memory_reservation', {
  extentStart: handle,
  nrExtents: ulong,
  extentOrder: u32,
  memFlags: u32,
  domid: u16,
});
export const xenMemoryExchange = struct('xen_memory_exchange', {
  in: xenMemoryReservation,
  out: xenMemoryReservation,
  nrExchanged: ulong,
});
export const xenMachphysMfnList = struct('xen_machphys_mfn_list', {
  maxExtents: u32,
  extentStart: handle,
  nrExtents: u32,
});
export const xenMachphysMapping = struct('xen_machphys_mapping', { vStart: ulong, vEnd: ulong, maxMfn: ulong });
export const xenAddToPhysmap = struct('xen_add_to_physmap', {
  domid: u16,
  size: u16,
  space: u32,
  idx: ulong,
  gpfn: ulong,
});
export const xenAddToPhysmapBatch = struct('xen_add_to_physmap_batch', {
  domid: u16,
  space: u16,
  size: u16,
  u: union('u', { foreignDomid: u16, res0: u16 }),
  idxs: handle,
  gpfns: handle,
  errs: handle,
});
export const xenRemoveFromPhysmap = struct('xen_remove_from_physmap', { domid: u16, gpfn: ulong });
export const xenMemoryMap = struct('xen_memory_map', { nrEntries: u32, buffer: handle });
export const xenForeignMemoryMap = struct('xen_foreign_memory_map', { domid: u16, map: xenMemoryMap });
export const xenMemAcquireResource = struct('xen_mem_acquire_resource', {
  domid: u16,
  type: u16,
  id: u32,
  nrFrames: u32,
  pad: u32,
  frame: u64,
  frameList: handle,
});
/** XENMEM_resource_*, and what a grant table consists of. */
export const RESOURCE = { ioreqServer: 0, grantTable: 1, vmtraceBuffer: 2 } as const;
export const RESOURCE_GRANT_TABLE = { shared: 0, status: 1 } as const;
export const xenPodTarget = struct('xen_pod_target', {
  targetPages: u64,
  totPages: u64,
  podCachePages: u64,
  podEntries: u64,
  domid: u16,
});
/** An entry of a memory map's buffer: packed, so 20 bytes in both ABIs. */
export const E820_ENTRY_BYTES = 20;
