// Whose frames a memory hypercall is about: the FD argument. Source: xen/arch/x86/mm.c get_pg_owner(), xen/include/xsm/dummy.h.

import type { Domain } from '../domain.ts';
import { DOMID_IO, DOMID_SELF, DOMID_XEN } from '../domain-ids.ts';
import { XenError } from '../errors.ts';

/** The owner that a guest named: a domain, or one of the two owners that are no domains. */
export interface PageOwner {
  id: number;
  /** Null for DOMID_IO and DOMID_XEN. */
  domain: Domain | null;
  /** May the caller use this owner's frames? DOMID_IO's are checked one by one. */
  permitted: boolean;
}

/** Throws ESRCH. */
export function pageOwner(caller: Domain, id: number): PageOwner {
  if (id === DOMID_SELF || id === caller.id) return { id: caller.id, domain: caller, permitted: true };
  if (id === DOMID_IO) return { id, domain: null, permitted: true };
  if (id === DOMID_XEN) return { id, domain: null, permitted: caller.isPrivileged };
  const domain = caller.hypervisor.domains.get(id);
  if (!domain) throw new XenError('ESRCH');
  return { id, domain, permitted: caller.isPrivileged };
}
