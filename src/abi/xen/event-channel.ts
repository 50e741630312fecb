// xen/include/public/event_channel.h
import { bytes, struct, u8, u16, u32, u64, union } from '../struct.ts';

export const EVTCHNOP = {
  bind_interdomain: 0, bind_virq: 1, bind_pirq: 2, close: 3, send: 4, status: 5, alloc_unbound: 6, bind_ipi: 7, bind_vcpu: 8,
  unmask: 9, reset: 10, init_control: 11, expand_array: 12, set_priority: 13, reset_cont: 14,
} as const; // biome-ignore format: a table

/** EVTCHNSTAT_*. */
export const EVTCHNSTAT = { closed: 0, unbound: 1, interdomain: 2, pirq: 3, virq: 4, ipi: 5 } as const;

export const evtchnAllocUnbound = struct('evtchn_alloc_unbound', { dom: u16, remoteDom: u16, port: u32 });
export const evtchnBindInterdomain = struct('evtchn_bind_interdomain', {
  remoteDom: u16,
  remotePort: u32,
  localPort: u32,
});
export const evtchnBindVirq = struct('evtchn_bind_virq', { virq: u32, vcpu: u32, port: u32 });
export const evtchnBindPirq = struct('evtchn_bind_pirq', { pirq: u32, flags: u32, port: u32 });
export const evtchnBindIpi = struct('evtchn_bind_ipi', { vcpu: u32, port: u32 });
export const evtchnClose = struct('evtchn_close', { port: u32 });
export const evtchnSend = struct('evtchn_send', { port: u32 });
export const evtchnStatus = struct('evtchn_status', {
  dom: u16,
  port: u32,
  status: u32,
  vcpu: u32,
  u: union('u', {
    unbound: struct('unbound', { dom: u16 }),
    interdomain: struct('interdomain', { dom: u16, port: u32 }),
    pirq: u32,
    virq: u32,
  }),
});
export const evtchnBindVcpu = struct('evtchn_bind_vcpu', { port: u32, vcpu: u32 });
export const evtchnUnmask = struct('evtchn_unmask', { port: u32 });
export const evtchnReset = struct('evtchn_reset', { dom: u16 });
export const evtchnInitControl = struct('evtchn_init_control', {
  controlGfn: u64,
  offset: u32,
  vcpu: u32,
  linkBits: u8,
  pad: bytes(7),
});
export const evtchnExpandArray = struct('evtchn_expand_array', { arrayGfn: u64 });
export const evtchnSetPriority = struct('evtchn_set_priority', { port: u32, priority: u32 });
