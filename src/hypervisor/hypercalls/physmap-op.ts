// XENMEM_add_to_physmap, _add_to_physmap_batch, _remove_from_physmap: what stands where in an HVM domain's physical address space.
// Source: xen/common/memory.c; xen/arch/x86/mm.c (xenmem_add_to_physmap_one), mm/p2m.c (p2m_add_foreign).
import type { Of } from '../../abi/struct.ts';
import { i32, ulong } from '../../abi/struct.ts';
import * as abi from '../../abi/xen/memory.ts';
import { XENMAPIDX_GRANT_TABLE_STATUS, XENMAPSPACE, XENMEM } from '../../abi/xen/memory.ts';
import type { Mfn } from '../../cpu/memory.ts';
import { NOT_RAM } from '../../cpu/physical-map.ts';
import type { Domain, DomId } from '../domain.ts';
import { DOMID_SELF } from '../domain-ids.ts';
import { XenError } from '../errors.ts';
import type { HvmDomain } from '../hvm/hvm-domain.ts';
import type { Vcpu } from '../vcpu.ts';
import { continueWith } from './continuation.ts';
import type { Nothing } from './copy.ts';
import { requirePrivileged, requireTarget } from './permissions.ts';

/** Entries that one call handles before others get their turn. */
const ENTRIES_AT_ONCE = 4096;
const EXTENT_SHIFT = 6;
/** Where a call that was cut goes on is said in 16 bits. */
const MAX_SIZE = 0xffff;
/** Largest frame number whose address still has 64 bits; no physmap has any near it. */
const INVALID_GFN = { 32: 0xffffffffn, 64: (1n << 64n) - 1n } as const;

/** The checks that come before any work: ESRCH, EACCES, EPERM. */
function translatedTarget(caller: Domain, id: DomId, space: number): { target: Domain; hvm: HvmDomain } {
  const target = caller.hypervisor.resolve(caller, id);
  if (!target.hvm) throw new XenError('EACCES');
  if (space === XENMAPSPACE.devMmio && (!caller.isPrivileged || target !== caller)) throw new XenError('EACCES');
  requireTarget(caller, target);
  return { target, hvm: target.hvm };
}

/** Grant frames come into being when they are first asked for. */
function grantFrame({ grants }: Domain, index: bigint): Mfn {
  if (grants.version === 2 && index & XENMAPIDX_GRANT_TABLE_STATUS) {
    return grants.statusFrameAt(Number(index & ~XENMAPIDX_GRANT_TABLE_STATUS));
  }
  return grants.sharedFrameAt(Number(index));
}

/** One guest frame of a domain, by space and index; `foreignId` for pages of another domain's. Throws XenError. */
function addOne(caller: Domain, target: Domain, space: number, index: bigint, gfn: number, foreignId: DomId): void {
  const { physmap } = target.hvm!;
  const { m2p } = target.hypervisor;
  let mfn: Mfn = NOT_RAM;
  switch (space) {
    case XENMAPSPACE.sharedInfo:
      if (index === 0n) mfn = target.sharedInfoMfn;
      break;
    case XENMAPSPACE.grantTable:
      mfn = grantFrame(target, index);
      break;
    case XENMAPSPACE.gmfn:
      mfn = physmap.ramAt(Number(index));
      if (mfn !== NOT_RAM && m2p.get(mfn) !== index) throw new XenError('EXDEV');
      break;
    case XENMAPSPACE.gmfnForeign:
      addForeign(caller, target, index, gfn, foreignId);
      return;
  }
  if (mfn === NOT_RAM) throw new XenError('EINVAL');
  if (physmap.mfnOf(gfn) !== mfn) physmap.vacate(gfn);
  physmap.add(gfn, mfn);
}

function addForeign(caller: Domain, target: Domain, index: bigint, gfn: number, foreignId: DomId): void {
  // Nobody but the control domain can be trusted to give such pages back.
  if (!target.isPrivileged) throw new XenError('EPERM');
  if (foreignId === DOMID_SELF || foreignId === target.id) throw new XenError('EINVAL');
  const owner = target.hypervisor.domains.get(foreignId);
  if (!owner) throw new XenError('ESRCH');
  requirePrivileged(caller);
  const { frames } = target.hypervisor;
  const mfn = owner.hvm
    ? owner.hvm.physmap.ramAt(Number(index))
    : frames.isRam(Number(index))
      ? Number(index)
      : NOT_RAM;
  if (mfn === NOT_RAM) throw new XenError('EINVAL');
  target.hvm!.physmap.addForeign(gfn, owner, mfn);
}

type AddToPhysmap = Of<typeof abi.xenAddToPhysmap>;

export function addToPhysmap(vcpu: Vcpu, pointer: bigint, start: number): number | bigint | Nothing {
  if (start > MAX_SIZE) throw new XenError('EDOM');
  const a: AddToPhysmap = vcpu.guest.readStruct(pointer, abi.xenAddToPhysmap);
  // Which other domain is not said by this operation.
  if (a.space === XENMAPSPACE.gmfnForeign) throw new XenError('ENOSYS');
  const { target } = translatedTarget(vcpu.domain, a.domid, a.space);
  if (a.gpfn === INVALID_GFN[vcpu.abiWidth]) throw new XenError('EINVAL');
  if (a.space !== XENMAPSPACE.gmfnRange) {
    addOne(vcpu.domain, target, a.space, a.idx, Number(a.gpfn), DOMID_SELF);
    return;
  }
  if (a.size < start) throw new XenError('EILSEQ');
  const size = BigInt(a.size);
  if (a.gpfn + size > INVALID_GFN[64] || a.idx + size > INVALID_GFN[64]) throw new XenError('EOVERFLOW');
  for (let done = start; done < a.size; done++) {
    if (done - start === ENTRIES_AT_ONCE) return goOn(vcpu, XENMEM.add_to_physmap, pointer, done);
    const at = BigInt(done);
    addOne(vcpu.domain, target, XENMAPSPACE.gmfn, a.idx + at, Number(a.gpfn + at), DOMID_SELF);
  }
}

export function addToPhysmapBatch(vcpu: Vcpu, pointer: bigint, start: number): number | bigint | Nothing {
  if (start > MAX_SIZE) throw new XenError('EDOM');
  const { guest, domain } = vcpu;
  const a = guest.readStruct(pointer, abi.xenAddToPhysmapBatch);
  if (a.space === XENMAPSPACE.gmfnRange) throw new XenError('EOPNOTSUPP');
  const { target } = translatedTarget(domain, a.domid, a.space);
  if (a.size < start) throw new XenError('EILSEQ');
  if (a.size === start) {
    if (start !== 0) throw new XenError('EILSEQ');
    return;
  }
  const long = ulong.size(vcpu.abiWidth);
  guest.checkArray(a.idxs, long, a.size);
  guest.checkArray(a.gpfns, long, a.size);
  guest.checkArray(a.errs, i32.size(vcpu.abiWidth), a.size);
  if (a.space === XENMAPSPACE.devMmio && a.u.res0 !== 0) throw new XenError('EOPNOTSUPP');
  for (let i = start; i < a.size; i++) {
    if (i - start === ENTRIES_AT_ONCE) return goOn(vcpu, XENMEM.add_to_physmap_batch, pointer, i);
    const index = guest.readElement(a.idxs, ulong, i);
    const gpfn = guest.readElement(a.gpfns, ulong, i);
    if (gpfn === INVALID_GFN[vcpu.abiWidth]) throw new XenError('EINVAL');
    const rc = resultOf(() => addOne(domain, target, a.space, index, Number(gpfn), a.u.foreignDomid));
    guest.writeElement(a.errs, i32, i, rc);
  }
}

/** An entry's own result: one that fails does not stop the batch. */
function resultOf(act: () => void): number {
  try {
    act();
    return 0;
  } catch (error) {
    if (error instanceof XenError) return -error.number;
    throw error;
  }
}

function goOn(vcpu: Vcpu, command: number, pointer: bigint, done: number): bigint {
  return continueWith(vcpu, [BigInt(command + done * 2 ** EXTENT_SHIFT), pointer]);
}

export function removeFromPhysmap(vcpu: Vcpu, pointer: bigint): void {
  const { domid, gpfn } = vcpu.guest.readStruct(pointer, abi.xenRemoveFromPhysmap);
  const target = vcpu.domain.hypervisor.resolve(vcpu.domain, domid);
  if (!target.hvm) throw new XenError('EACCES');
  requireTarget(vcpu.domain, target);
  target.hvm.physmap.remove(Number(gpfn));
}
