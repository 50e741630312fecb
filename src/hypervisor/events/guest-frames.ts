// Frames that a guest hands to the hypervisor for good (control blocks, event arrays, vcpu_info): held with a page reference and a
// writable type reference, so that they can become neither page tables nor another's.
import type { Mfn } from '../../cpu/memory.ts';
import type { Domain } from '../domain.ts';
import { XenError } from '../errors.ts';
import { PageType } from '../memory/frame-table.ts';
import { ownFrame } from '../memory/own-frame.ts';

/** Takes both references on a frame of the domain's own, by its own number. Throws EINVAL. */
export function claimWritableFrame(domain: Domain, gfn: bigint): Mfn {
  const { frames } = domain.hypervisor;
  const mfn = ownFrame(domain, gfn);
  if (mfn === null || !frames.getPage(mfn, domain.id)) throw new XenError('EINVAL');
  if (frames.tryGetPageType(mfn, PageType.writable)) return mfn;
  frames.putPage(mfn);
  throw new XenError('EINVAL');
}

export function releaseWritableFrame(domain: Domain, mfn: Mfn): void {
  const { frames } = domain.hypervisor;
  frames.putPageType(mfn);
  frames.putPage(mfn);
}
