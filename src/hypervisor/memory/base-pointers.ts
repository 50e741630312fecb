// A vCPU's top-level tables: taking a new kernel or user table, and letting them go. Source: xen/arch/x86/mm.c, new_guest_cr3(),
// MMUEXT_NEW_USER_BASEPTR, vcpu_destroy_pagetables().
import { VmAssist } from '../domain.ts';
import { selectAddressSpace } from '../pv/address-space.ts';
import type { Vcpu } from '../vcpu.ts';
import { unmapLdt } from './descriptor-tables.ts';
import { flushVcpu } from './flush.ts';
import { PageType } from './frame-table.ts';

/** Makes `mfn` the kernel's top-level table, validating it if it is none yet. 0 or -errno. The vCPU is the loaded one. */
export function setKernelBase(vcpu: Vcpu, mfn: number): number {
  const { domain, pv } = vcpu;
  const { frames, addressSpace } = domain.hypervisor;
  const old = pv.guestTable;
  if (old !== mfn) {
    const rc = frames.getPageAndType(mfn, domain.id, PageType.l4);
    if (rc !== 0) return rc;
    unmapLdt(vcpu); // its pages may be others in the new address space
    if (!domain.hasVmAssist(VmAssist.m2pStrict)) addressSpace.showM2p(mfn, true);
    pv.guestTable = mfn;
    selectAddressSpace(vcpu);
    if (old !== 0) frames.putPageAndType(old);
  }
  flushVcpu(vcpu); // loading CR3 empties the TLB, even with the value that it has
  return 0;
}

/** MOV to CR3, with the frame number as the guest gave it: false where it is refused. */
export function newKernelBase(vcpu: Vcpu, mfn: bigint): boolean {
  return setKernelBase(vcpu, Number(mfn)) === 0;
}

/** Makes `mfn` the table of user mode; 0 = none. 0 or -errno. */
export function setUserBase(vcpu: Vcpu, mfn: number): number {
  const { domain, pv } = vcpu;
  const { frames, addressSpace, processor } = domain.hypervisor;
  const old = pv.guestTableUser;
  if (old === mfn) return 0;
  if (mfn !== 0) {
    const rc = frames.getPageAndType(mfn, domain.id, PageType.l4);
    if (rc !== 0) return rc;
    if (domain.hasVmAssist(VmAssist.m2pStrict)) addressSpace.showM2p(mfn, false);
    processor.flushChanged(); // what was known of it may be older than its last use
  }
  pv.guestTableUser = mfn;
  if (old !== 0) frames.putPageAndType(old);
  return 0;
}

/** Lets a vCPU's tables go, when its domain is destroyed or it is given a new context. */
export function dropBases(vcpu: Vcpu): void {
  const { pv } = vcpu;
  const { frames } = vcpu.domain.hypervisor;
  const { guestTable, guestTableUser } = pv;
  pv.guestTable = 0;
  pv.guestTableUser = 0;
  if (guestTable !== 0) frames.putPageAndType(guestTable);
  if (guestTableUser !== 0) frames.putPageAndType(guestTableUser);
}
