// Who may do what to whom: the checks that Xen's default security policy makes (xen/include/xsm/dummy.h), in one place.
import type { Domain, DomId } from '../domain.ts';
import { XenError } from '../errors.ts';

/** The control domain's operations: EPERM for everyone else. */
export function requirePrivileged(caller: Domain): void {
  if (!caller.isPrivileged) throw new XenError('EPERM');
}

/** What a domain may do to itself, and the control domain to anyone. */
export function requireTarget(caller: Domain, target: Domain): void {
  if (caller !== target) requirePrivileged(caller);
}

/** A domain that a guest named, that the caller may act on as on itself: ESRCH, EPERM. */
export function resolveTarget(caller: Domain, id: DomId): Domain {
  const target = caller.hypervisor.resolve(caller, id);
  requireTarget(caller, target);
  return target;
}
