// Hypercalls of the first Xen 3.0 interface, which 32-bit kernels of the 2.6.18 family still make: sched_op_compat (6),
// event_channel_op_compat (16), physdev_op_compat (19). Source: the "compat" notes in public/sched.h, event_channel.h, physdev.h.

import { u32 } from '../../abi/struct.ts';
import { EVTCHNOP } from '../../abi/xen/event-channel.ts';
import { PHYSDEVOP } from '../../abi/xen/physdev.ts';
import { SCHEDOP } from '../../abi/xen/sched.ts';
import { XenError } from '../errors.ts';
import { type Handler, u32Arg } from './copy.ts';
import { eventChannelOp } from './event-channel.ts';
import { physdevOp } from './physdev.ts';
import { block } from './sched-op.ts';

/** Arguments are passed in registers. */
export const schedOpCompat: Handler = (vcpu, args) => {
  switch (u32Arg(args[0])) {
    case SCHEDOP.yield:
      vcpu.mustYield = true;
      return;
    case SCHEDOP.block:
      block(vcpu);
      return;
    case SCHEDOP.shutdown:
      vcpu.domain.shutDown(u32Arg(args[1]) & 0xff);
      return;
    default:
      throw new XenError('ENOSYS');
  }
};

const EVENT_OPERATIONS = new Set<number>([
  EVTCHNOP.bind_interdomain, EVTCHNOP.bind_virq, EVTCHNOP.bind_pirq, EVTCHNOP.close, EVTCHNOP.send, EVTCHNOP.status,
  EVTCHNOP.alloc_unbound, EVTCHNOP.bind_ipi, EVTCHNOP.bind_vcpu, EVTCHNOP.unmask,
]); // biome-ignore format: a table

/** One struct: the command, then the operation's own struct, all of 32-bit fields. */
export const eventChannelOpCompat: Handler = (vcpu, args) => {
  const cmd = vcpu.guest.readStruct(args[0], u32);
  if (!EVENT_OPERATIONS.has(cmd)) throw new XenError('ENOSYS');
  return eventChannelOp(vcpu, [BigInt(cmd), args[0] + 4n]);
};

const PHYSDEV_OPERATIONS = new Set<number>([
  PHYSDEVOP.irq_unmask_notify, PHYSDEVOP.irq_status_query, PHYSDEVOP.set_iopl, PHYSDEVOP.set_iobitmap, PHYSDEVOP.apic_read,
  PHYSDEVOP.apic_write, PHYSDEVOP.alloc_irq_vector,
]); // biome-ignore format: a table

/** As above; the union holds a pointer, so on 64 bits it stands at 8. */
export const physdevOpCompat: Handler = (vcpu, args) => {
  const cmd = vcpu.guest.readStruct(args[0], u32);
  if (!PHYSDEV_OPERATIONS.has(cmd)) throw new XenError('ENOSYS');
  return physdevOp(vcpu, [BigInt(cmd), args[0] + BigInt(vcpu.abiWidth / 8)]);
};
