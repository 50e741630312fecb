// What a dead domain held of memory goes back: page tables, descriptor tables, pins, and then its frames. A frame that somebody else
// still maps (a grant, a foreign mapping) is free when that ends. Source: xen/arch/x86/domain.c, domain_relinquish_resources().
import type { Domain } from '../domain.ts';
import { dropBases } from './base-pointers.ts';
import { dropGdt, unmapLdt } from './descriptor-tables.ts';
import { PageFlag } from './frame-table.ts';

export function relinquishMemory(domain: Domain): void {
  const { frames, addressSpace } = domain.hypervisor;
  domain.hvm?.physmap.destroy();
  if (domain.isPv) {
    for (const vcpu of domain.vcpus) {
      unmapLdt(vcpu);
      dropGdt(vcpu);
      dropBases(vcpu);
    }
  }
  for (let mfn = 0; mfn < frames.count; mfn++) {
    if (frames.owner[mfn] !== domain.id || !(frames.flags[mfn] & PageFlag.pinned)) continue;
    frames.flags[mfn] &= ~PageFlag.pinned;
    frames.putPageAndType(mfn);
  }
  for (const vcpu of domain.vcpus) {
    const { info } = vcpu;
    if (info.registeredFrame !== -1) frames.putPageAndType(info.registeredFrame);
    info.registeredFrame = -1;
    info.at = 0;
  }
  if (domain.sharedInfoMfn !== 0) frames.freeXen(domain.sharedInfoMfn);
  domain.sharedInfoMfn = 0;
  for (let mfn = 0; mfn < frames.count; mfn++) {
    if (frames.owner[mfn] === domain.id && !(frames.flags[mfn] & PageFlag.xenHeap)) frames.putAllocation(mfn);
  }
  addressSpace.release(domain);
  frames.flushChangedTables();
}

/** Frames that are still the domain's because others hold them. */
export function framesHeldByOthers(domain: Domain): number {
  const { frames } = domain.hypervisor;
  let held = 0;
  for (let mfn = 0; mfn < frames.count; mfn++) if (frames.owner[mfn] === domain.id) held++;
  return held;
}
