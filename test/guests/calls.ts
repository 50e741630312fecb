// Hypercalls that many test guests make.

import type { Type } from '../../src/abi/struct.ts';
import { EVTCHNOP } from '../../src/abi/xen/event-channel.ts';
import { GNTTABOP } from '../../src/abi/xen/grant-table.ts';
import { XENMEM, xenMemoryReservation } from '../../src/abi/xen/memory.ts';
import { PHYSDEVOP } from '../../src/abi/xen/physdev.ts';
import { SCHEDOP } from '../../src/abi/xen/sched.ts';
import { VCPUOP } from '../../src/abi/xen/vcpu.ts';
import { MMUEXT, mmuextOp, mmuUpdate, UVMF } from '../../src/abi/xen/xen.ts';
import { DOMID_SELF } from '../../src/hypervisor/domain-ids.ts';
import { type Computed, type Fields, hypercall, record, type Value } from './value.ts';

/** update_va_mapping. */
export const remap = (va: Value, pte: Value, flags: number = UVMF.invlpg) =>
  hypercall('update_va_mapping', va, pte, flags);
/** One mmu_update of an entry at a machine address. */
export const update = (ptr: Value, val: Value, domain: Value = DOMID_SELF) =>
  hypercall('mmu_update', record(mmuUpdate, { ptr, val }), 1, 0, domain);
/** One mmuext_op on a frame. */
export const mmuext = (cmd: keyof typeof MMUEXT, mfn: Value, domain: Value = DOMID_SELF) =>
  hypercall('mmuext_op', record(mmuextOp, { cmd: MMUEXT[cmd], arg1: { mfn } }), 1, 0, domain);
/** Memory ops on a list of frames, as increase, decrease or populate take it. */
export const reservation = (
  op: 'populate_physmap' | 'decrease_reservation' | 'increase_reservation',
  extents: Value,
  count: Value,
  order = 0,
  memFlags: Value = 0,
) =>
  hypercall(
    'memory_op',
    XENMEM[op],
    record(xenMemoryReservation, {
      extentStart: extents,
      nrExtents: count,
      extentOrder: order,
      memFlags,
      domid: DOMID_SELF,
    }),
  );

/** An event channel operation. */
export const event = (op: keyof typeof EVTCHNOP, type: Type<unknown>, fields: Fields, label?: string): Computed =>
  hypercall('event_channel_op', EVTCHNOP[op], record(type, fields, label));
/** One grant table operation; its status stands in the struct. */
export const grant = (op: keyof typeof GNTTABOP, type: Type<unknown>, fields: Fields, label?: string): Computed =>
  hypercall('grant_table_op', GNTTABOP[op], record(type, fields, label), 1);
export const sched = (op: keyof typeof SCHEDOP, argument: Value = 0): Computed =>
  hypercall('sched_op', SCHEDOP[op], argument);
export const vcpuOp = (op: keyof typeof VCPUOP, vcpu: Value, argument: Value = 0): Computed =>
  hypercall('vcpu_op', VCPUOP[op], vcpu, argument);
export const physdev = (op: keyof typeof PHYSDEVOP, type: Type<unknown>, fields: Fields): Computed =>
  hypercall('physdev_op', PHYSDEVOP[op], record(type, fields));
