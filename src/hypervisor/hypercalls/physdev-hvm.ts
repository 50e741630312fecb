// physdev_op of HVM domains: interrupts of their own emulated platform as events. Source: xen/arch/x86/hvm/hypercall.c (hvm_physdev_op),
// xen/arch/x86/physdev.c.
import * as abi from '../../abi/xen/physdev.ts';
import { MAP_PIRQ_TYPE, PHYSDEVOP, XENIRQSTAT } from '../../abi/xen/physdev.ts';
import type { Domain } from '../domain.ts';
import { XenError } from '../errors.ts';
import { NR_PIRQS } from '../events/pirq.ts';
import type { HvmPirqs } from '../hvm/pirqs.ts';
import { type Handler, inout, input, op, subops } from './copy.ts';

/** A domain's own alone: those of others are passed through, which there is not. Throws ESRCH, EPERM. */
function ownPirqs(domain: Domain, domid: number): HvmPirqs {
  if (domain.hypervisor.resolve(domain, domid) !== domain) throw new XenError('EPERM');
  return domain.hvm!.pirqs;
}

const operations = subops(PHYSDEVOP, {
  map_pirq: op(inout(abi.physdevMapPirq), ({ domain }, a) => {
    const pirqs = ownPirqs(domain, a.domid);
    // an event that drove a line that is an event would not end
    if (!domain.hvm!.upcalls.useVectors || a.type !== MAP_PIRQ_TYPE.gsi) throw new XenError('EINVAL');
    return { pirq: pirqs.map(a.index, a.pirq) };
  }),
  unmap_pirq: op(input(abi.physdevUnmapPirq), ({ domain }, a) => {
    ownPirqs(domain, a.domid).unmap(a.pirq);
  }),
  eoi: op(input(abi.physdevEoi), ({ domain }, a) => {
    domain.hvm!.pirqs.end(a.irq);
  }),
  irq_status_query: op(inout(abi.physdevIrqStatusQuery), ({ domain }, a) => {
    if (a.irq >= NR_PIRQS || !domain.hvm!.pirqs.isMapped(a.irq)) throw new XenError('EINVAL');
    return { flags: XENIRQSTAT.needs_eoi };
  }),
  get_free_pirq: op(inout(abi.physdevGetFreePirq), ({ domain }, a) => ({
    pirq: domain.hvm!.pirqs.reserve(a.type === MAP_PIRQ_TYPE.gsi),
  })),
});

/** Domains whose interrupts cannot be events have none of this. */
export const hvmPhysdevOp: Handler = (vcpu, args) => {
  if (!vcpu.domain.hvm?.pirqs.areOffered) throw new XenError('ENOSYS');
  return operations(vcpu, args);
};
