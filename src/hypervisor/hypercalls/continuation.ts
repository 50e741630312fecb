// Cutting a batch short: Xen's hypercall continuations. A guest may ask for any amount of work; it gets it in pieces.
import type { Vcpu } from '../vcpu.ts';

/**
 * Ends a hypercall that has done as much as one may do at a time: the guest will make it again with these arguments. Interrupts and
 * other vCPUs get their turn in between.
 */
export function continueWith(vcpu: Vcpu, args: bigint[]): bigint {
  vcpu.continuation = args;
  return 0n;
}
