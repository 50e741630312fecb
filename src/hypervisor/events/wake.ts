// How an event reaches a vCPU: the upcall flag in its vcpu_info, and the end of SCHEDOP_block and SCHEDOP_poll.
import type { Domain } from '../domain.ts';
import type { Vcpu } from '../vcpu.ts';
import type { Port } from './channel.ts';

/** Vcpu.pollPort while it polls several ports. */
export const POLL_ANY = -1;

/** Ends the vCPU's block or poll, if it is in one. */
export function unblock(vcpu: Vcpu): void {
  if (!vcpu.isBlocked) return;
  vcpu.isBlocked = false;
  vcpu.pollPort = 0;
  vcpu.time.unblocked();
  vcpu.domain.hypervisor.tracer?.scheduling(vcpu, 'wake');
}

/**
 * Tells the vCPU that some event is pending for it. Wakes it even while it masks upcalls: it finds nothing to deliver and its kernel
 * goes on after the block, as on Xen.
 */
export function markEventsPending(vcpu: Vcpu): void {
  if (vcpu.info.upcallPending) return;
  vcpu.info.upcallPending = true;
  vcpu.domain.hvm?.upcalls.raised(vcpu);
  unblock(vcpu);
}

/** Wakes the vCPUs that SCHEDOP_poll for this port. */
export function wakePollers(domain: Domain, port: Port): void {
  for (const vcpu of domain.vcpus) {
    if (vcpu.pollPort === POLL_ANY || vcpu.pollPort === port) unblock(vcpu);
  }
}
