// event_channel_op (32): xen/include/public/event_channel.h. The rules stand in events/event-channels.ts.
import type { Of } from '../../abi/struct.ts';
import * as abi from '../../abi/xen/event-channel.ts';
import { EVTCHNOP, EVTCHNSTAT } from '../../abi/xen/event-channel.ts';
import type { Domain } from '../domain.ts';
import { XenError } from '../errors.ts';
import type { Channel } from '../events/channel.ts';
import { LINK_BITS } from '../events/fifo.ts';
import { DOMID_SELF } from '../hypervisor.ts';
import { inout, input, op, subops } from './copy.ts';
import { requireTarget, resolveTarget } from './permissions.ts';

export const eventChannelOp = subops(EVTCHNOP, {
  alloc_unbound: op(inout(abi.evtchnAllocUnbound), ({ domain }, a) => {
    const target = resolveTarget(domain, a.dom);
    return { port: target.events.allocUnbound(a.remoteDom === DOMID_SELF ? domain.id : a.remoteDom) };
  }),
  bind_interdomain: op(inout(abi.evtchnBindInterdomain), ({ domain }, a) => ({
    localPort: domain.events.bindInterdomain(domain.hypervisor.resolve(domain, a.remoteDom), a.remotePort),
  })),
  bind_virq: op(inout(abi.evtchnBindVirq), ({ domain }, a) => ({ port: domain.events.bindVirq(a.virq, a.vcpu) })),
  bind_ipi: op(inout(abi.evtchnBindIpi), ({ domain }, a) => ({ port: domain.events.bindIpi(a.vcpu) })),
  bind_pirq: op(inout(abi.evtchnBindPirq), ({ domain }, a) => ({ port: domain.events.bindPirq(a.pirq) })),
  close: op(input(abi.evtchnClose), ({ domain }, a) => domain.events.close(a.port)),
  send: op(input(abi.evtchnSend), ({ domain }, a) => domain.events.send(a.port)),
  status: op(inout(abi.evtchnStatus), ({ domain }, a) => {
    const target = domain.hypervisor.resolve(domain, a.dom);
    const channel = target.events.channelAt(a.port);
    if (!channel) throw new XenError('EINVAL');
    requireTarget(domain, target);
    return { ...statusOf(channel), vcpu: channel.vcpu };
  }),
  bind_vcpu: op(input(abi.evtchnBindVcpu), ({ domain }, a) => domain.events.bindVcpu(a.port, a.vcpu)),
  unmask: op(input(abi.evtchnUnmask), ({ domain }, a) => domain.events.unmask(a.port)),
  reset: op(input(abi.evtchnReset), ({ domain }, a) => reset(domain, a.dom)),
  reset_cont: op(input(abi.evtchnReset), ({ domain }, a) => reset(domain, a.dom)),
  init_control: op(inout(abi.evtchnInitControl), ({ domain }, a) => {
    domain.events.initControl(a.vcpu, a.controlGfn, a.offset);
    return { linkBits: LINK_BITS };
  }),
  expand_array: op(input(abi.evtchnExpandArray), ({ domain }, a) => domain.events.expandArray(a.arrayGfn)),
  set_priority: op(input(abi.evtchnSetPriority), ({ domain }, a) => domain.events.setPriority(a.port, a.priority)),
});

type Status = Of<typeof abi.evtchnStatus>;
/** The members of the union that this status has; the others stay as the guest left them. */
const member = (value: Partial<Status['u']>): Status['u'] => value as Status['u'];

function statusOf(channel: Channel): Partial<Status> {
  switch (channel.state) {
    case 'free':
    case 'reserved':
      return { status: EVTCHNSTAT.closed };
    case 'unbound':
      return { status: EVTCHNSTAT.unbound, u: member({ unbound: { dom: channel.remoteDomain } }) };
    case 'interdomain':
      return {
        status: EVTCHNSTAT.interdomain,
        u: member({ interdomain: { dom: channel.remoteDomain, port: channel.remotePort } }),
      };
    case 'pirq':
      return { status: EVTCHNSTAT.pirq, u: member({ pirq: channel.irq }) };
    case 'virq':
      return { status: EVTCHNSTAT.virq, u: member({ virq: channel.irq }) };
    case 'ipi':
      return { status: EVTCHNSTAT.ipi };
  }
}

function reset(caller: Domain, id: number): void {
  const target = resolveTarget(caller, id);
  // Another domain must not run meanwhile.
  if (target !== caller && target.pauseCount === 0) throw new XenError('EINVAL');
  target.events.reset();
}
