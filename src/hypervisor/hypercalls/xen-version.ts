// xen_version (17): xen/include/public/version.h, features.h. Strings fill their buffers to the end with zeros.
import { XENFEAT } from '../../abi/xen/elfnote.ts';
import * as abi from '../../abi/xen/version.ts';
import { XENVER } from '../../abi/xen/version.ts';
import { type Domain, VmAssist } from '../domain.ts';
import { XenError } from '../errors.ts';
import { XEN_VERSION } from '../hypervisor.ts';
import { inout, op, output, type SubOperation, subops } from './copy.ts';

const CAPABILITIES = 'xen-3.0-x86_64 xen-3.0-x86_32p hvm-3.0-x86_32 hvm-3.0-x86_32p hvm-3.0-x86_64 ';
/** What a domain without the right gets instead. */
const DENIED = '<denied>';
/** First address of the hypervisor's own: where a 32-bit guest's memory must end. */
const VIRT_START = { 32: 0xf580_0000n, 64: 0xffff_8000_0000_0000n } as const;
const PAGE_SIZE = 4096;

const text = (string: string): Uint8Array => new TextEncoder().encode(string);

const commandline: SubOperation = ({ domain, guest }, pointer) => {
  guest.write(pointer, domain.isPrivileged ? new Uint8Array(1024) : text(`${DENIED}\0`));
};

const buildId: SubOperation = ({ domain }) => {
  if (!domain.isPrivileged) throw new XenError('EPERM');
  throw new XenError('ENODATA'); // as a Xen that was linked without one
};

export const xenVersion = subops(XENVER, {
  version: () => (XEN_VERSION.major << 16) | XEN_VERSION.minor,
  extraversion: op(output(abi.xenExtraversion), () => ({ text: text(XEN_VERSION.extra) })),
  compile_info: op(output(abi.xenCompileInfo), () => ({
    compiler: text('TypeScript'),
    compileBy: text('domzero'),
    compileDomain: text(''),
    compileDate: text(''),
  })),
  capabilities: op(output(abi.xenCapabilitiesInfo), () => ({ text: text(CAPABILITIES) })),
  changeset: op(output(abi.xenChangesetInfo), () => ({ text: text('') })),
  platform_parameters: op(output(abi.xenPlatformParameters), ({ abiWidth }) => ({ virtStart: VIRT_START[abiWidth] })),
  get_features: op(inout(abi.xenFeatureInfo), ({ domain }, a) => {
    if (a.submapIdx !== 0) throw new XenError('EINVAL');
    return { submap: features(domain) };
  }),
  pagesize: (_vcpu, pointer) => {
    if (pointer !== 0n) throw new XenError('EINVAL');
    return PAGE_SIZE;
  },
  guest_handle: op(output(abi.xenDomainHandle), ({ domain }) => ({
    handle: domain.config.handle ?? new Uint8Array(16),
  })),
  commandline,
  build_id: buildId,
});

/** XENFEAT_* that the domain has, as the first word of the feature map. */
function features(domain: Domain): number {
  const has: number[] = [XENFEAT.memory_op_vnode_supported];
  if (domain.isPv) {
    has.push(XENFEAT.mmu_pt_update_preserve_ad, XENFEAT.highmem_assist, XENFEAT.gnttab_map_avail_bits);
    has.push(XENFEAT.direct_mapped);
    if (domain.hasVmAssist(VmAssist.paeExtendedCr3)) has.push(XENFEAT.pae_pgdir_above_4gb);
  } else {
    has.push(XENFEAT.writable_page_tables, XENFEAT.auto_translated_physmap);
    has.push(XENFEAT.hvm_safe_pvclock, XENFEAT.hvm_callback_vector, XENFEAT.not_direct_mapped);
    if (domain.hvm?.pirqs.areOffered) has.push(XENFEAT.hvm_pirqs);
  }
  if (domain.isPrivileged) has.push(XENFEAT.dom0);
  return has.reduce((map, bit) => map | (1 << bit), 0);
}
