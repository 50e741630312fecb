// xen/include/public/xen.h: numbers and structs that every guest uses.
import { array, bytes, handle, i8, struct, u8, u16, u32, u64, ulong, union } from '../struct.ts';
import { archSharedInfo, archVcpuInfo } from './arch-x86.ts';

/** __HYPERVISOR_*. */
export const HYPERCALL = {
  set_trap_table: 0, mmu_update: 1, set_gdt: 2, stack_switch: 3, set_callbacks: 4, fpu_taskswitch: 5, sched_op_compat: 6,
  platform_op: 7, set_debugreg: 8, get_debugreg: 9, update_descriptor: 10, memory_op: 12, multicall: 13, update_va_mapping: 14,
  set_timer_op: 15, event_channel_op_compat: 16, xen_version: 17, console_io: 18, physdev_op_compat: 19, grant_table_op: 20,
  vm_assist: 21, update_va_mapping_otherdomain: 22, iret: 23, vcpu_op: 24, set_segment_base: 25, mmuext_op: 26, xsm_op: 27,
  nmi_op: 28, sched_op: 29, callback_op: 30, xenoprof_op: 31, event_channel_op: 32, physdev_op: 33, hvm_op: 34, sysctl: 35,
  domctl: 36, kexec_op: 37, tmem_op: 38, argo_op: 39, xenpmu_op: 40, dm_op: 41, hypfs_op: 42, mca: 48,
} as const; // biome-ignore format: a table

/** MMUEXT_*. */
export const MMUEXT = {
  pin_l1_table: 0, pin_l2_table: 1, pin_l3_table: 2, pin_l4_table: 3, unpin_table: 4, new_baseptr: 5, tlb_flush_local: 6,
  invlpg_local: 7, tlb_flush_multi: 8, invlpg_multi: 9, tlb_flush_all: 10, invlpg_all: 11, flush_cache: 12, set_ldt: 13,
  new_user_baseptr: 15, clear_page: 16, copy_page: 17, flush_cache_global: 18, mark_super: 19, unmark_super: 20,
} as const; // biome-ignore format: a table

/** Low bits of mmu_update.ptr. */
export const MMU = { normalPtUpdate: 0, machphysUpdate: 1, ptUpdatePreserveAd: 2, ptUpdateNoTranslate: 3 } as const;
/** Flags of update_va_mapping. */
export const UVMF = { none: 0, tlbFlush: 1, invlpg: 2, multi: 0, local: 0, all: 4 } as const;
/** VMASST_CMD_*. */
export const VMASST_CMD = { enable: 0, disable: 1 } as const;
/** VMASST_TYPE_*. */
export const VMASST_TYPE = {
  '4gb_segments': 0, '4gb_segments_notify': 1, writable_pagetables: 2, pae_extended_cr3: 3, architectural_iopl: 4,
  runstate_update_flag: 5, m2p_strict: 32,
} as const; // biome-ignore format: a table
/** XENPMU_*: operations of xenpmu_op (xenpmu.h). */
export const XENPMU = {
  mode_get: 0, mode_set: 1, feature_get: 2, feature_set: 3, init: 4, finish: 5, lvtpc_set: 6, flush: 7,
} as const; // biome-ignore format: a table
/** VIRQ_*. */
export const VIRQ = {
  timer: 0, debug: 1, console: 2, domExc: 3, tbuf: 4, debugger: 6, xenoprof: 7, conRing: 8, pcpuState: 9, memEvent: 10, argo: 11,
  enomem: 12, xenpmu: 13, arch0: 16,
} as const; // biome-ignore format: a table

export const LEGACY_MAX_VCPUS = 32;

export const mmuextOp = struct('mmuext_op', {
  cmd: u32,
  arg1: union('arg1', { mfn: ulong, linearAddr: ulong }),
  arg2: union('arg2', { nrEnts: u32, vcpumask: handle, srcMfn: ulong }),
});
export const mmuUpdate = struct('mmu_update', { ptr: u64, val: u64 });
export const multicallEntry = struct('multicall_entry', { op: ulong, result: ulong, args: array(ulong, 6) });

export const vcpuTimeInfo = struct('vcpu_time_info', {
  version: u32,
  pad0: u32,
  tscTimestamp: u64,
  systemTime: u64,
  tscToSystemMul: u32,
  tscShift: i8,
  flags: u8,
  pad1: bytes(2),
});
/** vcpu_time_info.flags: the TSCs of all processors agree. */
export const XEN_PVCLOCK_TSC_STABLE_BIT = 1;

export const vcpuInfo = struct('vcpu_info', {
  evtchnUpcallPending: u8,
  evtchnUpcallMask: u8,
  evtchnPendingSel: ulong,
  arch: archVcpuInfo,
  time: vcpuTimeInfo,
});

export const sharedInfo = struct('shared_info', {
  vcpuInfo: array(vcpuInfo, LEGACY_MAX_VCPUS),
  evtchnPending: array(ulong, { 32: 32, 64: 64 }),
  evtchnMask: array(ulong, { 32: 32, 64: 64 }),
  wcVersion: u32,
  wcSec: u32,
  wcNsec: u32,
  /** 64-bit guests only; 32-bit ones have it in arch. */
  wcSecHi: array(u32, { 32: 0, 64: 1 }),
  arch: archSharedInfo,
});

/** Flags of start_info. */
export const SIF = { privileged: 1, initdomain: 2, multibootMod: 4, modStartPfn: 8, virtP2m4tools: 16 } as const;
export const MAX_GUEST_CMDLINE = 1024;

/** What a PV guest finds at the address in rsi. */
export const startInfo = struct('start_info', {
  magic: bytes(32),
  nrPages: ulong,
  /** Machine address of the shared_info page. */
  sharedInfo: ulong,
  flags: u32,
  storeMfn: ulong,
  storeEvtchn: u32,
  console: union('console', {
    domU: struct('domU', { mfn: ulong, evtchn: u32 }),
    dom0: struct('dom0', { infoOff: u32, infoSize: u32 }),
  }),
  /** Virtual address of the top-level page table. */
  ptBase: ulong,
  nrPtFrames: ulong,
  /** Virtual address of the p2m list. */
  mfnList: ulong,
  /** Virtual address of the initrd, or its frame number (SIF.modStartPfn). */
  modStart: ulong,
  modLen: ulong,
  cmdLine: bytes(MAX_GUEST_CMDLINE),
  firstP2mPfn: ulong,
  nrP2mFrames: ulong,
});

export const dom0VgaConsoleInfo = struct('dom0_vga_console_info', {
  videoType: u8,
  u: union('u', {
    textMode3: struct('text_mode_3', { fontHeight: u16, cursorX: u16, cursorY: u16, rows: u16, columns: u16 }),
    vesaLfb: struct('vesa_lfb', {
      width: u16,
      height: u16,
      bytesPerLine: u16,
      bitsPerPixel: u16,
      lfbBase: u32,
      lfbSize: u32,
      redPos: u8,
      redSize: u8,
      greenPos: u8,
      greenSize: u8,
      bluePos: u8,
      blueSize: u8,
      rsvdPos: u8,
      rsvdSize: u8,
      gblCaps: u32,
      modeAttrs: u16,
      pad: u16,
      extLfbBase: u32,
    }),
  }),
});
