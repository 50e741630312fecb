// physdev_op's operations of the domain that drives the machine: interrupts, the I/O APIC, PCI devices. xen/include/public/physdev.h;
// xen/arch/x86/physdev.c, irq.c (map_domain_pirq), xen/arch/x86/io_apic.c (ioapic_guest_read).
import type { Of } from '../../abi/struct.ts';
import type * as abi from '../../abi/xen/physdev.ts';
import { MAP_PIRQ_TYPE } from '../../abi/xen/physdev.ts';
import type { Domain } from '../domain.ts';
import { XenError } from '../errors.ts';
import type { Hardware } from '../hardware/hardware.ts';
import { msiSource, msixSource } from '../hardware/message-sources.ts';
import { requirePrivileged } from './permissions.ts';

/** DEVFN etc. of what has no capabilities is ENODEV; interrupts of other domains than the caller's own belong to pass-through. */
function hardwareOf(domain: Domain): Hardware {
  requirePrivileged(domain);
  const { hardware } = domain.hypervisor;
  if (!hardware || !domain.drivesHardware) throw new XenError('ENODEV', 'the domain drives no hardware');
  return hardware;
}

/** PHYSDEVOP_setup_gsi: triggering 0 edge, 1 level; polarity 0 high, 1 low. */
export function setUpGsi(domain: Domain, { gsi, triggering, polarity }: Of<typeof abi.physdevSetupGsi>): void {
  const { irqs } = hardwareOf(domain);
  if (gsi < 0 || gsi >= irqs.gsis) throw new XenError('EINVAL');
  // mp_register_gsi(): one that is in use stays as it is, which Linux takes for an answer too
  if (irqs.isInUse(gsi)) throw new XenError('EEXIST');
  // Xen takes the setting of the first; setting it up again is no error
  if (!irqs.has(gsi)) irqs.setUpGsi(gsi, triggering !== 0, polarity !== 0);
}

/** PHYSDEVOP_map_pirq. */
export function mapPirq(domain: Domain, a: Of<typeof abi.physdevMapPirq>): { pirq: number } {
  const { irqs } = hardwareOf(domain);
  const { pirqs } = domain.events;
  switch (a.type) {
    case MAP_PIRQ_TYPE.gsi: {
      if (a.index < 0 || a.index >= irqs.gsis) throw new XenError('EINVAL');
      // ISA interrupts are there from the start: rising edges
      if (!irqs.has(a.index)) irqs.setUpGsi(a.index, false, false);
      return { pirq: pirqs.map(a.pirq, a.index) };
    }
    case MAP_PIRQ_TYPE.msi:
    case MAP_PIRQ_TYPE.msi_seg:
      return { pirq: mapMessage(domain, a) };
    default:
      throw new XenError('EINVAL');
  }
}

function mapMessage(domain: Domain, a: Of<typeof abi.physdevMapPirq>): number {
  const { irqs, pci, bus } = hardwareOf(domain);
  const place = { pci, bus: a.bus & 0xff, devfn: a.devfn & 0xff };
  const isTable = a.tableBase !== 0n;
  const source = isTable ? msixSource(place, bus, a.entryNr, Number(a.tableBase)) : msiSource(place);
  const irq = irqs.addMessage(source);
  try {
    return domain.events.pirqs.map(a.pirq, irq);
  } catch (error) {
    irqs.removeMessage(irq);
    throw error;
  }
}

/** PHYSDEVOP_unmap_pirq. */
export function unmapPirq(domain: Domain, pirq: number): void {
  const { irqs } = hardwareOf(domain);
  const irq = domain.events.pirqs.unmap(pirq);
  if (irq !== null) irqs.removeMessage(irq);
}

/** PHYSDEVOP_apic_read: a register of the I/O APIC that stands at this address. */
export function readApic(domain: Domain, a: Of<typeof abi.physdevApic>): { value: number } {
  const { irqs, ioApicAddress } = hardwareOf(domain);
  if (Number(a.apicPhysbase) !== ioApicAddress) throw new XenError('EINVAL');
  return { value: irqs.readIoApic(a.reg) };
}

/** PHYSDEVOP_apic_write: Xen has set up what there is to set up. */
export function writeApic(domain: Domain, a: Of<typeof abi.physdevApic>): void {
  const { ioApicAddress } = hardwareOf(domain);
  if (Number(a.apicPhysbase) !== ioApicAddress) throw new XenError('EINVAL');
}

/** A device that the domain has found, or one that it has lost. */
export function reportDevice(domain: Domain, bus: number, devfn: number): void {
  const { pci } = hardwareOf(domain);
  if (pci.readConfig(bus, devfn, 0, 2) === 0xffff) throw new XenError('ENODEV');
}
