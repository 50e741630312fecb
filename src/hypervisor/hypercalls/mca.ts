// mca (48): machine checks of the machine, for the control domain's log. This machine has none, and says what its processors are.
// Source: xen/include/public/arch-x86/xen-mca.h; xen/arch/x86/cpu/mcheck/mce.c (do_mca).
import { struct, u32 } from '../../abi/struct.ts';
import * as abi from '../../abi/xen/mca.ts';
import { MC, MC_FLAGS, MC_NODATA, MC_UNION, XEN_MCA_INTERFACE_VERSION } from '../../abi/xen/mca.ts';
import { XenError } from '../errors.ts';
import type { Hypervisor } from '../hypervisor.ts';
import type { Handler } from './copy.ts';
import { cpuSignature } from './cpu-signature.ts';
import { notBuilt } from './not-built.ts';
import { requirePrivileged } from './permissions.ts';
import { type Member, member } from './union-member.ts';

const CACHE_LINE = 64;
/** X86_VENDOR_INTEL and X86_VENDOR_AMD. */
const VENDOR = { GenuineIntel: 0, AuthenticAMD: 2 } as const;
const BRAND_LEAVES = [0x80000002, 0x80000003, 0x80000004];

/** No report waits; an acknowledgement of one is of none that was given. */
const fetch = member(abi.mcFetch, (_vcpu, { flags }) => {
  const urgency = flags & (MC_FLAGS.nonurgent | MC_FLAGS.urgent);
  if (urgency !== MC_FLAGS.nonurgent && urgency !== MC_FLAGS.urgent) throw new XenError('EINVAL');
  return { flags: flags & MC_FLAGS.ack ? 0 : MC_NODATA, fetchId: 0n };
});

function processor({ processor: { model }, hardware }: Hypervisor, id: number) {
  const cores = hardware?.processors ?? 1;
  const leaf = (number: number) => model.leaves.find(row => row.leaf === number);
  const brand = new Uint8Array(64);
  const view = new DataView(brand.buffer);
  BRAND_LEAVES.forEach((number, i) => {
    const row = leaf(number);
    [row?.eax, row?.ebx, row?.ecx, row?.edx].forEach((word, j) => void view.setUint32(i * 16 + j * 4, word ?? 0, true));
  });
  const { family, model: number, stepping } = cpuSignature(model);
  return {
    ...abi.mcLogicalCpu.zero(),
    ...{ mcCpunr: id, mcCoreid: id, mcApicid: id, mcNcores: cores, mcNcoresActive: cores, mcNthreads: 1 },
    ...{
      mcCpuidLevel: leaf(0)?.eax ?? 0,
      mcFamily: family,
      mcVendor: VENDOR[model.vendor],
      mcModel: number,
      mcStep: stepping,
    },
    ...{ mcVendorid: new TextEncoder().encode(model.vendor), mcBrandid: brand, mcCacheAlignment: CACHE_LINE },
  };
}

const physcpuinfo = member(abi.mcPhyscpuinfo, ({ domain: { hypervisor }, guest }, { ncpus, info }) => {
  const present = hypervisor.processors;
  if (info === 0n) return { ncpus: present };
  if (ncpus === 0) throw new XenError('EINVAL');
  const count = Math.min(ncpus, present);
  const rows = Array.from({ length: count }, (_, id) => processor(hypervisor, id));
  guest.writeArray(info, abi.mcLogicalCpu, rows);
  return { ncpus: count };
});

const OPERATIONS = new Map<number, Member>([
  [MC.fetch, fetch],
  [MC.physcpuinfo, physcpuinfo],
]);
const head = struct('xen_mc head', { cmd: u32, interfaceVersion: u32 });

export const mca: Handler = (vcpu, args) => {
  requirePrivileged(vcpu.domain);
  const { cmd, interfaceVersion } = vcpu.guest.readStruct(args[0], head);
  if (interfaceVersion !== XEN_MCA_INTERFACE_VERSION) throw new XenError('EACCES');
  const operation = OPERATIONS.get(cmd);
  if (!operation) return notBuilt(vcpu.domain, `machine check operation ${cmd}`);
  return operation(vcpu, args[0] + MC_UNION, undefined);
};
