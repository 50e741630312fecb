// sysctl (35) and domctl (36): the control domain's. Each looks at the interface version before anything else, since
// tools find out versions by -EACCES; then comes the right to call it.
// Source: xen/include/public/sysctl.h, domctl.h.
import { bytes, struct, u16, u32 } from '../../abi/struct.ts';
import { XenError } from '../errors.ts';
import type { Handler } from './copy.ts';
import { notBuilt } from './not-built.ts';
import { requirePrivileged } from './permissions.ts';

/** Interface versions of Xen 4.17. */
export const XEN_SYSCTL_INTERFACE_VERSION = 0x15;
export const XEN_DOMCTL_INTERFACE_VERSION = 0x15;

/** The heads of the structs; the rest is a union of all operations' arguments, of which the whole is copied in. */
const xenSysctl = struct('xen_sysctl', { cmd: u32, interfaceVersion: u32, u: bytes(128) });
const xenDomctl = struct('xen_domctl', { cmd: u32, interfaceVersion: u32, domain: u16, pad: bytes(6), u: bytes(128) });

const DOMCTL = {
  createdomain: 1,
  getdomaininfo: 5,
  assign_device: 37,
  test_assign_device: 45,
  deassign_device: 47,
  vm_event_op: 56,
} as const;
const DOMID_IO = 0x7ff1;
const DOMID_INVALID = 0x7ff4;

function requireVersion(given: number, ours: number): void {
  if (given !== ours) throw new XenError('EACCES');
}

export const sysctl: Handler = ({ domain, guest }, args) => {
  const { cmd, interfaceVersion } = guest.readStruct(args[0], xenSysctl);
  requireVersion(interfaceVersion, XEN_SYSCTL_INTERFACE_VERSION);
  requirePrivileged(domain);
  notBuilt(domain, `sysctl ${cmd}`);
};

export const domctl: Handler = ({ domain, guest }, args) => {
  const a = guest.readStruct(args[0], xenDomctl);
  requireVersion(a.interfaceVersion, XEN_DOMCTL_INTERFACE_VERSION);
  // The domain must exist before anyone asks whether the caller may; DOMID_SELF is no domain here.
  if (!needsNoDomain(a.cmd, a.domain) && !domain.hypervisor.domains.has(a.domain)) throw new XenError('ESRCH');
  requirePrivileged(domain);
  notBuilt(domain, `domctl ${a.cmd}`);
};

function needsNoDomain(cmd: number, id: number): boolean {
  switch (cmd) {
    case DOMCTL.createdomain:
    case DOMCTL.getdomaininfo:
      return true;
    case DOMCTL.assign_device:
    case DOMCTL.deassign_device:
      return id === DOMID_IO;
    case DOMCTL.test_assign_device:
    case DOMCTL.vm_event_op:
      return id === DOMID_INVALID;
    default:
      return false;
  }
}
