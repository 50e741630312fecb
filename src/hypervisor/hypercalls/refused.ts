// Hypercalls that a genuine Xen in its usual build answers with one error, or that are the control domain's alone and end at its check.
import { type ErrnoName, XenError } from '../errors.ts';
import { type Handler, u32Arg } from './copy.ts';
import { notBuilt } from './not-built.ts';
import { requirePrivileged } from './permissions.ts';

const always =
  (errno: ErrnoName): Handler =>
  () => {
    throw new XenError(errno);
  };

const controlOnly =
  (name: string): Handler =>
  ({ domain }) => {
    requirePrivileged(domain);
    notBuilt(domain, name);
  };

/** xsm_op (27): no security module. */
export const xsmOp = always('ENOSYS');
/** xenoprof_op (31): built without it. */
export const xenoprofOp = always('ENOSYS');
/** kexec_op (37). */
export const kexecOp = controlOnly('kexec_op');
/** xenpmu_op (40): the virtual PMU is off, as it is by default. */
export const xenpmuOp = always('EOPNOTSUPP');
/** hypfs_op (42). */
export const hypfsOp = controlOnly('hypfs_op');

/** The most buffers that one dm_op has. */
const DM_OP_BUFFERS = 3;

/** dm_op (41): a device model's; it cannot be its own. */
export const dmOp: Handler = ({ domain }, args) => {
  if (u32Arg(args[1]) > DM_OP_BUFFERS) throw new XenError('E2BIG');
  const id = u32Arg(args[0]) & 0xffff;
  if (id === domain.id) throw new XenError('EPERM');
  if (!domain.hypervisor.domains.has(id)) throw new XenError('ESRCH');
  requirePrivileged(domain);
  notBuilt(domain, 'dm_op');
};
