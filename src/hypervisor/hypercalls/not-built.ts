// What genuine Xen would do for the control domain and this hypervisor does not do yet: said in the log, refused as unknown.
import type { Domain } from '../domain.ts';
import { XenError } from '../errors.ts';

/** Logs the sentence and throws ENOSYS. */
export function notBuilt(domain: Domain, what: string): never {
  domain.hypervisor.log(`(XEN) d${domain.id}: ${what} is not built yet`);
  throw new XenError('ENOSYS', what);
}

/** An operation that is not in the table of its hypercall. Of those that this version of Xen has not either nothing is said. */
export function noOperation(domain: Domain, hypercall: string, name: string | undefined): never {
  if (name === undefined) throw new XenError('ENOSYS');
  notBuilt(domain, `${hypercall} ${name}`);
}
