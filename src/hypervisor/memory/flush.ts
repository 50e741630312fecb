// TLB flushes that a PV guest asks for. A vCPU's translations are those of its two top-level tables; all vCPUs share one processor, so
// a remote flush is done at once like a local one.
import type { Domain } from '../domain.ts';
import type { Vcpu } from '../vcpu.ts';
import { isGuestAddress } from './walk.ts';

/**
 * What a guest's flush of a vCPU's TLB comes to. Every change of a page table goes through the hypervisor, which reports it to the
 * processor, so translations that are still right may stay: a vCPU that changes its address space finds them again.
 */
export function flushVcpu(vcpu: Vcpu): void {
  vcpu.domain.hypervisor.processor.flushChanged();
}

export function flushDomain(domain: Domain): void {
  for (const vcpu of domain.vcpus) flushVcpu(vcpu);
}

/** Drops one page's translations everywhere; addresses that are not the guest's are passed over (XSA-279). */
export function invalidate(vcpu: Vcpu, linear: bigint): void {
  if (isGuestAddress(linear)) vcpu.domain.hypervisor.processor.invalidatePage(linear);
}

/** The vCPUs of a bitmap in guest memory: words of the ABI's long, as many as the domain's vCPUs need. Throws EFAULT. */
export function vcpusOfMask(vcpu: Vcpu, pointer: bigint): Vcpu[] {
  const { vcpus } = vcpu.domain;
  const bits = vcpu.abiWidth;
  const chosen: Vcpu[] = [];
  for (let first = 0; first < vcpus.length; first += bits) {
    const raw = vcpu.guest.read(pointer + BigInt(first / 8), bits / 8);
    for (let i = 0; i < bits && first + i < vcpus.length; i++) {
      if (raw[i >> 3] & (1 << (i & 7))) chosen.push(vcpus[first + i]);
    }
  }
  return chosen;
}

const FLUSH_TYPE = 3n;
const FLUSH_TLB = 1n;
const FLUSH_INVLPG = 2n;
const LOCAL = 0n;
const ALL = 4n;

/** UVMF_* flags of update_va_mapping: what to flush in the low two bits, whose TLB in the rest. */
export function flushByFlags(vcpu: Vcpu, linear: bigint, flags: bigint): void {
  const type = flags & FLUSH_TYPE;
  if (type === 0n) return;
  if (type !== FLUSH_TLB && type !== FLUSH_INVLPG) return;
  const target = flags & ~FLUSH_TYPE;
  const vcpus = target === LOCAL ? [vcpu] : target === ALL ? vcpu.domain.vcpus : vcpusOfMask(vcpu, target);
  if (type === FLUSH_TLB) for (const v of vcpus) flushVcpu(v);
  else if (vcpus.length > 0) invalidate(vcpu, linear);
}
