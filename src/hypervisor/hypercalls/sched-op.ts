// sched_op (29): xen/include/public/sched.h. Blocking only marks the vCPU; the run loop looks at it after the hypercall.
import { u32 } from '../../abi/struct.ts';
import * as abi from '../../abi/xen/sched.ts';
import { SCHEDOP } from '../../abi/xen/sched.ts';
import { XenError } from '../errors.ts';
import { POLL_ANY } from '../events/wake.ts';
import type { Vcpu } from '../vcpu.ts';
import { input, op, subops } from './copy.ts';
import { requirePrivileged } from './permissions.ts';

/** The most ports that one poll may name. */
const MAX_POLL_PORTS = 128;

export const schedOp = subops(SCHEDOP, {
  yield: vcpu => {
    vcpu.mustYield = true;
    vcpu.domain.hypervisor.tracer?.scheduling(vcpu, 'yield');
  },
  block,
  shutdown: op(input(abi.schedShutdown), ({ domain }, a) => domain.shutDown(a.reason & 0xff)),
  poll: op(input(abi.schedPoll), (vcpu, a) => poll(vcpu, a.ports, a.nrPorts, a.timeout)),
  remote_shutdown: op(input(abi.schedRemoteShutdown), ({ domain }, a) => {
    const target = domain.hypervisor.domains.get(a.domainId); // DOMID_SELF has no meaning here
    if (!target) throw new XenError('ESRCH');
    requirePrivileged(domain);
    target.shutDown(a.reason & 0xff);
  }),
  shutdown_code: op(input(abi.schedShutdown), ({ domain }, a) => {
    domain.shutdownCode ??= a.reason & 0xff;
  }),
  watchdog: op(input(abi.schedWatchdog), ({ domain }, a) => domain.watchdogs.set(a.id, a.timeout)),
  pin_override: (vcpu, pointer) => {
    requirePrivileged(vcpu.domain);
    const { pcpu } = vcpu.guest.readStruct(pointer, abi.schedPinOverride);
    // The host has one processor, number 0; a negative number ends the override.
    if (pcpu > 0) throw new XenError('EINVAL');
  },
});

/** SCHEDOP_block (and sched_op_compat's): lets events in, then sleeps until one is pending. */
export function block(vcpu: Vcpu): void {
  vcpu.info.upcallMask = false;
  if (!vcpu.eventsNeedDelivery) fallAsleep(vcpu);
}

function fallAsleep(vcpu: Vcpu): void {
  vcpu.isBlocked = true;
  vcpu.domain.hypervisor.tracer?.scheduling(vcpu, 'block');
}

function poll(vcpu: Vcpu, ports: bigint, count: number, timeout: bigint): void {
  if (count > MAX_POLL_PORTS) throw new XenError('EINVAL');
  vcpu.guest.check(ports, count * 4);
  if (vcpu.eventsNeedDelivery) return;
  let port = 0;
  for (let i = 0; i < count; i++) {
    port = vcpu.guest.readElement(ports, u32, i);
    if (vcpu.domain.events.poll(port)) return;
  }
  fallAsleep(vcpu);
  vcpu.pollPort = count === 1 && port !== 0 ? port : POLL_ANY;
  if (timeout !== 0n) vcpu.time.setPollTimeout(timeout);
}
