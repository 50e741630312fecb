// xen/include/public/hvm/: hvm_op.h, params.h, hvm_vcpu.h, start_info.h.
import { array, bytes, struct, u8, u16, u32, u64, union } from '../struct.ts';

export const HVMOP = {
  set_param: 0, get_param: 1, flush_tlbs: 5, pagetable_dying: 9, get_time: 10, xentrace: 11, get_mem_type: 15,
  set_evtchn_upcall_vector: 23, guest_request_vm_event: 24, altp2m: 25,
} as const; // biome-ignore format: a table

/** HVM_PARAM_*. */
export const HVM_PARAM = {
  callback_irq: 0, store_pfn: 1, store_evtchn: 2, pae_enabled: 4, ioreq_pfn: 5, bufioreq_pfn: 6, viridian: 9, timer_mode: 10,
  hpet_enabled: 11, ident_pt: 12, dm_domain: 13, acpi_s_state: 14, vm86_tss: 15, vpt_align: 16, console_pfn: 17, console_evtchn: 18,
  acpi_ioports_location: 19, memory_event_cr0: 20, memory_event_cr3: 21, memory_event_cr4: 22, memory_event_int3: 23, nestedhvm: 24,
  memory_event_single_step: 25, bufioreq_evtchn: 26, paging_ring_pfn: 27, monitor_ring_pfn: 28, sharing_ring_pfn: 29,
  memory_event_msr: 30, triple_fault_reason: 31, ioreq_server_pfn: 32, nr_ioreq_server_pages: 33, vm_generation_id_addr: 34,
  altp2m: 35, x87_fip_width: 36, vm86_tss_sized: 37, mca_cap: 38,
} as const; // biome-ignore format: a table
export const HVM_NR_PARAMS = 39;

/** HVM_PARAM_CALLBACK_TYPE_*, in bits 56-63 of HVM_PARAM_CALLBACK_IRQ. */
export const CALLBACK_TYPE = { gsi: 0, pciIntx: 1, vector: 2 } as const;

/** TRACE_EXTRA_MAX words. */
const TRACE_EXTRA = 28;

/** HVMMEM_*. */
export const HVMMEM = { ramRw: 0, ramRo: 1, mmioDm: 2 } as const;

export const xenHvmParam = struct('xen_hvm_param', { domid: u16, pad: u16, index: u32, value: u64 });
export const xenHvmPagetableDying = struct('xen_hvm_pagetable_dying', {
  domid: u16,
  pad: array(u16, 3),
  gpa: u64,
});
export const xenHvmGetTime = struct('xen_hvm_get_time', { now: u64 });
export const xenHvmGetMemType = struct('xen_hvm_get_mem_type', {
  domid: u16,
  memType: u16,
  pad: array(u16, 2),
  pfn: u64,
});
export const xenHvmXentrace = struct('xen_hvm_xentrace', { event: u16, extraBytes: u16, extra: bytes(TRACE_EXTRA) });
export const xenHvmEvtchnUpcallVector = struct('xen_hvm_evtchn_upcall_vector', { vcpu: u32, vector: u8 });

/** VCPU_HVM_MODE_*. */
export const VCPU_HVM_MODE = { bits32: 0, bits64: 1 } as const;

const vcpuHvmX8632 = struct('vcpu_hvm_x86_32', {
  eax: u32, ecx: u32, edx: u32, ebx: u32, esp: u32, ebp: u32, esi: u32, edi: u32, eip: u32, eflags: u32,
  cr0: u32, cr3: u32, cr4: u32, pad1: u32,
  efer: u64,
  csBase: u32, dsBase: u32, ssBase: u32, esBase: u32, trBase: u32,
  csLimit: u32, dsLimit: u32, ssLimit: u32, esLimit: u32, trLimit: u32,
  csAr: u16, dsAr: u16, ssAr: u16, esAr: u16, trAr: u16, pad2: array(u16, 3),
}); // biome-ignore format: a register file
const vcpuHvmX8664 = struct('vcpu_hvm_x86_64', {
  rax: u64, rcx: u64, rdx: u64, rbx: u64, rsp: u64, rbp: u64, rsi: u64, rdi: u64, rip: u64, rflags: u64,
  cr0: u64, cr3: u64, cr4: u64, efer: u64,
}); // biome-ignore format: a register file
export const vcpuHvmContext = struct('vcpu_hvm_context', {
  mode: u32,
  pad: u32,
  cpuRegs: union('cpu_regs', { x8632: vcpuHvmX8632, x8664: vcpuHvmX8664 }),
});

/** XEN_HVM_START_MAGIC_VALUE. */
export const HVM_START_MAGIC = 0x336ec578;
export const hvmStartInfo = struct('hvm_start_info', {
  magic: u32, version: u32, flags: u32, nrModules: u32, modlistPaddr: u64, cmdlinePaddr: u64, rsdpPaddr: u64, memmapPaddr: u64,
  memmapEntries: u32, reserved: u32,
}); // biome-ignore format: a struct
export const hvmModlistEntry = struct('hvm_modlist_entry', { paddr: u64, size: u64, cmdlinePaddr: u64, reserved: u64 });
export const hvmMemmapTableEntry = struct('hvm_memmap_table_entry', { addr: u64, size: u64, type: u32, reserved: u32 });
