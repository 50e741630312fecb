// physdev_op (33): xen/include/public/physdev.h, as a domain without devices has it. What only dom0 may do is refused first.
import type { Type } from '../../abi/struct.ts';
import * as abi from '../../abi/xen/physdev.ts';
import { MAP_PIRQ_TYPE, PHYSDEVOP, XENIRQSTAT } from '../../abi/xen/physdev.ts';
import { XenError } from '../errors.ts';
import { NR_GSIS } from '../events/pirq.ts';
import type { Vcpu } from '../vcpu.ts';
import { type Handler, inout, input, op, type SubOperation, subops } from './copy.ts';
import { notBuilt } from './not-built.ts';
import { requirePrivileged } from './permissions.ts';

/** Bytes that Xen checks of an I/O bitmap's address, however few ports it covers. */
const IO_BITMAP_BYTES = 8192;
const PORTS = 65536;

/** An operation of the control domain: the argument is read, then everybody else is refused. */
function privileged<T>(name: keyof typeof PHYSDEVOP, struct: Type<T>, check?: (argument: T) => void): SubOperation {
  return (vcpu, pointer) => {
    const argument = vcpu.guest.readStruct(pointer, struct);
    check?.(argument);
    requirePrivileged(vcpu.domain);
    notBuilt(vcpu.domain, `PHYSDEVOP_${name}`);
  };
}

const eoiFrame: SubOperation = ({ domain, guest }, pointer) => {
  domain.events.pirqs.registerEoiFrame(guest.readStruct(pointer, abi.physdevPirqEoiGmfn).gmfn);
};

/** MSI state of a device: this host has none to restore. */
const restoreMsi: SubOperation = ({ guest }, pointer) => {
  guest.readStruct(pointer, abi.physdevRestoreMsi);
  throw new XenError('ENODEV');
};

const operations = subops(PHYSDEVOP, {
  irq_unmask_notify: () => 0,
  irq_status_query: op(inout(abi.physdevIrqStatusQuery), ({ domain }, a) => {
    if (a.irq >= domain.events.pirqs.count) throw new XenError('EINVAL');
    return { flags: XENIRQSTAT.needs_eoi };
  }),
  eoi: op(input(abi.physdevEoi), ({ domain }, a) => {
    if (!domain.events.pirqs.isAllocated(a.irq)) throw new XenError('EINVAL');
  }),
  pirq_eoi_gmfn_v1: eoiFrame,
  pirq_eoi_gmfn_v2: eoiFrame,
  set_iopl: op(input(abi.physdevSetIopl), (vcpu, a) => {
    if (a.iopl > 3) throw new XenError('EINVAL');
    vcpu.pv.iopl = a.iopl;
  }),
  set_iobitmap: op(input(abi.physdevSetIobitmap), (vcpu, a) => {
    if (!pointsAtOwn(vcpu, a.bitmap, IO_BITMAP_BYTES) || a.nrPorts > PORTS) throw new XenError('EINVAL');
    vcpu.pv.ioBitmap = a.bitmap;
    vcpu.pv.ioBitmapPorts = a.nrPorts;
  }),
  get_free_pirq: op(inout(abi.physdevGetFreePirq), ({ domain }, a) => ({
    pirq: domain.events.pirqs.allocate(a.type === MAP_PIRQ_TYPE.gsi),
  })),
  map_pirq: op(input(abi.physdevMapPirq), ({ domain }, a) => {
    domain.hypervisor.resolve(domain, a.domid);
    requirePrivileged(domain);
    notBuilt(domain, 'PHYSDEVOP_map_pirq');
  }),
  unmap_pirq: op(input(abi.physdevUnmapPirq), ({ domain }, a) => {
    domain.hypervisor.resolve(domain, a.domid);
    requirePrivileged(domain);
    notBuilt(domain, 'PHYSDEVOP_unmap_pirq');
  }),
  apic_read: privileged('apic_read', abi.physdevApic),
  apic_write: privileged('apic_write', abi.physdevApic),
  alloc_irq_vector: op(inout(abi.physdevIrq), ({ domain }, a) => {
    requirePrivileged(domain);
    return { vector: a.irq }; // a number that nobody uses: Xen chooses vectors itself
  }),
  manage_pci_add: privileged('manage_pci_add', abi.physdevManagePci),
  manage_pci_remove: privileged('manage_pci_remove', abi.physdevManagePci),
  manage_pci_add_ext: privileged('manage_pci_add_ext', abi.physdevManagePciExt, a => {
    if (a.isExtfn > 1 || a.isVirtfn > 1) throw new XenError('EINVAL');
  }),
  pci_device_add: privileged('pci_device_add', abi.physdevPciDeviceAdd),
  pci_device_remove: privileged('pci_device_remove', abi.physdevPciDevice),
  prepare_msix: privileged('prepare_msix', abi.physdevPciDevice),
  release_msix: privileged('release_msix', abi.physdevPciDevice),
  restore_msi: restoreMsi,
  restore_msi_ext: restoreMsi,
  pci_mmcfg_reserved: ({ domain }) => {
    requirePrivileged(domain);
    notBuilt(domain, 'PHYSDEVOP_pci_mmcfg_reserved');
  },
  setup_gsi: privileged('setup_gsi', abi.physdevSetupGsi, a => {
    if (a.gsi < 0 || a.gsi >= NR_GSIS) throw new XenError('EINVAL');
  }),
  dbgp_op: ({ domain }) => {
    requirePrivileged(domain);
    notBuilt(domain, 'PHYSDEVOP_dbgp_op');
  },
});

/** HVM guests whose physical interrupts are not event channels have none of this. */
export const physdevOp: Handler = (vcpu, args) => {
  if (!vcpu.domain.isPv) throw new XenError('ENOSYS');
  return operations(vcpu, args);
};
physdevOp.operationOf = args => operations.operationOf?.(args) ?? null;

function pointsAtOwn(vcpu: Vcpu, address: bigint, length: number): boolean {
  try {
    vcpu.guest.check(address, length);
    return true;
  } catch (error) {
    if (error instanceof XenError) return false;
    throw error;
  }
}
