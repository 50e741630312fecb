/** Who may do what with a node. Source: docs/misc/xenstore.txt, SET_PERMS; the rules are xenstored's. */
import type { XsAccess } from '../../protocols/xenstore.ts';
import type { NodePermission } from './tree.ts';

export const MAY_READ = 1;
export const MAY_WRITE = 2;
export const OWNS = 4;

const BITS: Record<XsAccess, number> = { n: 0, r: MAY_READ, w: MAY_WRITE, b: MAY_READ | MAY_WRITE };

/** Somebody who asks: a domain, perhaps one that acts for another (SET_TARGET: a device model's stub domain). */
export interface Requester {
  readonly domid: number;
  readonly privileged: boolean;
  readonly target: { readonly domid: number } | null;
}

/** The MAY_ and OWNS bits that `who` has under a permission list; nobody (the store itself) has all. */
export function accessBits(who: Requester | null, perms: readonly NodePermission[]): number {
  const owner = perms[0]!;
  const targetDomid = who?.target?.domid;
  if (who === null || who.privileged || owner.domid === who.domid || owner.domid === targetDomid) {
    return MAY_READ | MAY_WRITE | OWNS;
  }
  for (let i = 1; i < perms.length; i++) {
    const entry = perms[i]!;
    if (!entry.ignored && (entry.domid === who.domid || entry.domid === targetDomid)) return BITS[entry.access];
  }
  return BITS[owner.access];
}
