// xen/include/public/vcpu.h
import { array, handle, i32, struct, u32, u64, union } from '../struct.ts';

export const VCPUOP = {
  initialise: 0, up: 1, down: 2, is_up: 3, get_runstate_info: 4, register_runstate_memory_area: 5, set_periodic_timer: 6,
  stop_periodic_timer: 7, set_singleshot_timer: 8, stop_singleshot_timer: 9, register_vcpu_info: 10, send_nmi: 11, get_physid: 12,
  register_vcpu_time_memory_area: 13,
} as const; // biome-ignore format: a table

export const vcpuRunstateInfo = struct('vcpu_runstate_info', { state: i32, stateEntryTime: u64, time: array(u64, 4) });
/** A union of a handle and a 64-bit address: eight bytes in both ABIs, of which a 32-bit guest's handle is the low half. */
export const vcpuRegisterArea = struct('vcpu_register_runstate_memory_area', {
  addr: union('addr', { h: handle, p: u64 }),
});
export const vcpuSetPeriodicTimer = struct('vcpu_set_periodic_timer', { periodNs: u64 });
export const vcpuSetSingleshotTimer = struct('vcpu_set_singleshot_timer', { timeoutAbsNs: u64, flags: u32 });
export const vcpuRegisterVcpuInfo = struct('vcpu_register_vcpu_info', { mfn: u64, offset: u32, rsvd: u32 });
export const vcpuGetPhysid = struct('vcpu_get_physid', { physId: u64 });
