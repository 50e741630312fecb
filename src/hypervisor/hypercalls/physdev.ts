// physdev_op (33): xen/include/public/physdev.h. What only the control domain may do is refused to others first; physdev-hardware.ts does it.
import type { Type } from '../../abi/struct.ts';
import * as abi from '../../abi/xen/physdev.ts';
import { MAP_PIRQ_TYPE, PHYSDEVOP, XENIRQSTAT } from '../../abi/xen/physdev.ts';
import type { Domain } from '../domain.ts';
import { XenError } from '../errors.ts';
import { NR_GSIS } from '../events/pirq.ts';
import type { Vcpu } from '../vcpu.ts';
import { type Handler, inout, input, op, type SubOperation, subops, u32Arg } from './copy.ts';
import { requirePrivileged } from './permissions.ts';
import * as hardware from './physdev-hardware.ts';
import { hvmPhysdevOp } from './physdev-hvm.ts';

/** Bytes that Xen checks of an I/O bitmap's address, however few ports it covers. */
const IO_BITMAP_BYTES = 8192;
const PORTS = 65536;

/** An operation of the control domain: the argument is read, then everybody else is refused. */
function privileged<T>(
  struct: Type<T>,
  act: (domain: Domain, argument: T) => void,
  check?: (argument: T) => void,
): SubOperation {
  return (vcpu, pointer) => {
    const argument = vcpu.guest.readStruct(pointer, struct);
    check?.(argument);
    requirePrivileged(vcpu.domain);
    act(vcpu.domain, argument);
  };
}

/** Told for Xen's own bookkeeping, of which there is none here. */
const noted = (): void => {};

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
    domain.events.pirqs.end(a.irq);
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
  map_pirq: op(inout(abi.physdevMapPirq), ({ domain }, a) => {
    const target = domain.hypervisor.resolve(domain, a.domid);
    requirePrivileged(domain);
    return hardware.mapPirq(target, a);
  }),
  unmap_pirq: op(input(abi.physdevUnmapPirq), ({ domain }, a) => {
    const target = domain.hypervisor.resolve(domain, a.domid);
    requirePrivileged(domain);
    hardware.unmapPirq(target, a.pirq);
  }),
  apic_read: op(inout(abi.physdevApic), ({ domain }, a) => {
    requirePrivileged(domain);
    return hardware.readApic(domain, a);
  }),
  apic_write: privileged(abi.physdevApic, hardware.writeApic),
  alloc_irq_vector: op(inout(abi.physdevIrq), ({ domain }, a) => {
    requirePrivileged(domain);
    return { vector: a.irq }; // a number that nobody uses: Xen chooses vectors itself
  }),
  manage_pci_add: privileged(abi.physdevManagePci, (domain, a) => hardware.reportDevice(domain, a.bus, a.devfn)),
  manage_pci_remove: privileged(abi.physdevManagePci, noted),
  manage_pci_add_ext: privileged(
    abi.physdevManagePciExt,
    (domain, a) => hardware.reportDevice(domain, a.bus, a.devfn),
    a => {
      if (a.isExtfn > 1 || a.isVirtfn > 1) throw new XenError('EINVAL');
    },
  ),
  pci_device_add: privileged(abi.physdevPciDeviceAdd, (domain, a) => hardware.reportDevice(domain, a.bus, a.devfn)),
  pci_device_remove: privileged(abi.physdevPciDevice, noted),
  prepare_msix: privileged(abi.physdevPciDevice, noted),
  release_msix: privileged(abi.physdevPciDevice, noted),
  restore_msi: restoreMsi,
  restore_msi_ext: restoreMsi,
  // Here the right comes first.
  pci_mmcfg_reserved: ({ domain, guest }, pointer) => {
    requirePrivileged(domain);
    guest.readStruct(pointer, abi.physdevPciMmcfgReserved);
  },
  setup_gsi: privileged(abi.physdevSetupGsi, hardware.setUpGsi, a => {
    if (a.gsi < 0 || a.gsi >= NR_GSIS) throw new XenError('EINVAL');
  }),
  /** A USB debug port, of which Xen's console makes no use here. */
  dbgp_op: ({ domain }) => {
    requirePrivileged(domain);
    throw new XenError('EOPNOTSUPP');
  },
});

/** What an HVM domain that drives the machine has of it: PCI is trapped, interrupts are its I/O APIC's (hvm_physdev_op). */
const OF_PVH_CONTROL = new Set<number>([
  PHYSDEVOP.pci_mmcfg_reserved,
  PHYSDEVOP.pci_device_add,
  PHYSDEVOP.pci_device_remove,
  PHYSDEVOP.dbgp_op,
]);

export const physdevOp: Handler = (vcpu, args) => {
  const { domain } = vcpu;
  const isOwn = domain.isPv || (domain.drivesHardware && OF_PVH_CONTROL.has(u32Arg(args[0])));
  return (isOwn ? operations : hvmPhysdevOp)(vcpu, args);
};

function pointsAtOwn(vcpu: Vcpu, address: bigint, length: number): boolean {
  try {
    vcpu.guest.check(address, length);
    return true;
  } catch (error) {
    if (error instanceof XenError) return false;
    throw error;
  }
}
