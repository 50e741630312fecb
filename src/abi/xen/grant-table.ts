// xen/include/public/grant_table.h
import { handle, i16, struct, u16, u32, u64, ulong, union } from '../struct.ts';

export const GNTTABOP = {
  map_grant_ref: 0, unmap_grant_ref: 1, setup_table: 2, dump_table: 3, transfer: 4, copy: 5, query_size: 6, unmap_and_replace: 7,
  set_version: 8, get_status_frames: 9, get_version: 10, swap_grant_ref: 11, cache_flush: 12,
} as const; // biome-ignore format: a table

/** GNTST_*: status of one operation. */
export const GNTST = {
  okay: 0, general_error: -1, bad_domain: -2, bad_gntref: -3, bad_handle: -4, bad_virt_addr: -5, bad_dev_addr: -6, no_device_space: -7,
  permission_denied: -8, bad_page: -9, bad_copy_arg: -10, address_too_big: -11, eagain: -12, no_space: -13,
} as const; // biome-ignore format: a table

/** GTF_*: flags of a grant entry. */
export const GTF = {
  invalid: 0, permit_access: 1, accept_transfer: 2, transitive: 3, type_mask: 3,
  readonly: 1 << 2, reading: 1 << 3, writing: 1 << 4, PWT: 1 << 5, PCD: 1 << 6, PAT: 1 << 7, sub_page: 1 << 8,
} as const; // biome-ignore format: a table

/** GNTMAP_*: flags of map_grant_ref. */
export const GNTMAP = {
  device_map: 1,
  host_map: 2,
  readonly: 4,
  application_map: 8,
  contains_pte: 16,
  can_fail: 32,
} as const;
/** Bits 16-18 of the flags go to the AVAIL bits of the page-table entry. */
export const GNTMAP_GUEST_AVAIL_SHIFT = 16;

export const GNTCOPY = { source_gref: 1, dest_gref: 2 } as const;

export const GNTTAB_CACHE = { clean: 1, inval: 2, source_gref: 1 << 31 } as const;

export const gnttabMapGrantRef = struct('gnttab_map_grant_ref', {
  hostAddr: u64,
  flags: u32,
  ref: u32,
  dom: u16,
  status: i16,
  handle: u32,
  devBusAddr: u64,
});
export const gnttabUnmapGrantRef = struct('gnttab_unmap_grant_ref', {
  hostAddr: u64,
  devBusAddr: u64,
  handle: u32,
  status: i16,
});
export const gnttabUnmapAndReplace = struct('gnttab_unmap_and_replace', {
  hostAddr: u64,
  newAddr: u64,
  handle: u32,
  status: i16,
});
export const gnttabSetupTable = struct('gnttab_setup_table', {
  dom: u16,
  nrFrames: u32,
  status: i16,
  frameList: handle,
});
export const gnttabTransfer = struct('gnttab_transfer', { mfn: ulong, domid: u16, ref: u32, status: i16 });
export const gnttabCopyPtr = struct('gnttab_copy_ptr', {
  u: union('u', { ref: u32, gmfn: ulong }),
  domid: u16,
  offset: u16,
});
export const gnttabCopy = struct('gnttab_copy', {
  source: gnttabCopyPtr,
  dest: gnttabCopyPtr,
  len: u16,
  flags: u16,
  status: i16,
});
export const gnttabQuerySize = struct('gnttab_query_size', { dom: u16, nrFrames: u32, maxNrFrames: u32, status: i16 });
export const gnttabSetVersion = struct('gnttab_set_version', { version: u32 });
export const gnttabGetVersion = struct('gnttab_get_version', { dom: u16, pad: u16, version: u32 });
export const gnttabGetStatusFrames = struct('gnttab_get_status_frames', {
  nrFrames: u32,
  dom: u16,
  status: i16,
  frameList: handle,
});
export const gnttabSwapGrantRef = struct('gnttab_swap_grant_ref', { refA: u32, refB: u32, status: i16 });
export const gnttabCacheFlush = struct('gnttab_cache_flush', {
  /** dev_bus_addr, or a grant reference in its low half. */
  a: u64,
  offset: u16,
  length: u16,
  op: u32,
});
