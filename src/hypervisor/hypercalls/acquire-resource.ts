// XENMEM_acquire_resource: frames that Xen keeps for a domain, for the tools that look after it. Of the kinds there are grant tables; without a
// device model there are no ioreq servers. Source: xen/common/memory.c (acquire_resource), xen/common/grant_table.c (gnttab_acquire_resource).
import { type Of, ulong } from '../../abi/struct.ts';
import { RESOURCE, RESOURCE_GRANT_TABLE, xenMemAcquireResource } from '../../abi/xen/memory.ts';
import type { Mfn } from '../../cpu/memory.ts';
import type { Domain } from '../domain.ts';
import { DOMID_SELF } from '../domain-ids.ts';
import { XenError } from '../errors.ts';
import { statusFramesFor } from '../grants/shared-entries.ts';
import type { Vcpu } from '../vcpu.ts';
import { requirePrivileged } from './permissions.ts';

type Request = Of<typeof xenMemAcquireResource>;
const LIMIT = 1n << 32n;
/** Frames of one call must be countable in a command beside the operation. */
const MOST_FRAMES = 0xffffffff >>> 6;

/** How many frames a resource has, and each of them; null where there is no such resource. */
function resourceOf({ grants }: Domain, { type, id }: Request): { frames: number; at(index: number): Mfn } | null {
  if (type !== RESOURCE.grantTable) return null;
  if (id === RESOURCE_GRANT_TABLE.shared) return { frames: grants.maxFrames, at: i => grants.sharedFrameAt(i) };
  if (id !== RESOURCE_GRANT_TABLE.status) return null;
  return { frames: statusFramesFor(grants.maxFrames), at: i => grants.statusFrameAt(i) };
}

/** Without a list the number of frames is told. With one, a PV caller gets machine frames, another has them mapped at the frames it lists. */
export function acquireResource(vcpu: Vcpu, pointer: bigint): void {
  const { domain: caller, guest } = vcpu;
  if (!caller.isPv && !caller.isPrivileged) throw new XenError('EACCES');
  const a = guest.readStruct(pointer, xenMemAcquireResource);
  if (a.pad !== 0 || a.frame + BigInt(a.nrFrames) >= LIMIT) throw new XenError('EINVAL');
  const target = caller.hypervisor.domains.get(a.domid);
  if (a.domid === DOMID_SELF || target === caller) throw new XenError('EPERM');
  if (!target) throw new XenError('ESRCH');
  requirePrivileged(caller);
  const resource = resourceOf(target, a);
  if (!resource) throw new XenError('EINVAL');
  if (a.frameList === 0n) {
    if (a.nrFrames !== 0) throw new XenError('EINVAL');
    guest.updateStruct(pointer, xenMemAcquireResource, { nrFrames: resource.frames });
    return;
  }
  const first = Number(a.frame);
  if (a.nrFrames === 0 || a.nrFrames > MOST_FRAMES || first + a.nrFrames > resource.frames)
    throw new XenError('EINVAL');
  if (a.id === RESOURCE_GRANT_TABLE.status && target.grants.version !== 2) throw new XenError('EINVAL');
  guest.checkArray(a.frameList, ulong.size(vcpu.abiWidth), a.nrFrames);
  for (let i = 0; i < a.nrFrames; i++) {
    const mfn = resource.at(first + i);
    if (caller.isPv) guest.writeElement(a.frameList, ulong, i, BigInt(mfn));
    else caller.hvm!.physmap.addForeign(Number(guest.readElement(a.frameList, ulong, i)), target, mfn);
  }
}
