// MSI and MSI-X of a PCI function, as Xen programs them for the domain that drives it (PCI Local Bus 3.0, 6.8; xen/arch/x86/msi.c).
import type { PlatformBus } from '../../machine/bus.ts';
import type { PciBus } from '../../machine/pci/bus.ts';
import { PciCapability } from '../../machine/pci/config-space.ts';
import { XenError } from '../errors.ts';
import type { MessageSource } from './host-irqs.ts';

const STATUS = 0x06;
const STATUS_CAPABILITIES = 0x10;
const CAPABILITIES = 0x34;
const MAX_CAPABILITIES = 48;
export const MSI = { control: 2, address: 4, enable: 1, multiple: 0x7e, wide: 0x80, maskable: 0x100 } as const;
export const MSIX = { control: 2, table: 4, enable: 0x8000, tableSize: 0x7ff, entryBytes: 16, masked: 1 } as const;

/** A function's place and its bus, for configuration accesses. */
export interface PciAddress {
  readonly pci: PciBus;
  readonly bus: number;
  readonly devfn: number;
}

/** Offset of a capability; null where the function has none or there is no function. */
export function capabilityOf({ pci, bus, devfn }: PciAddress, id: number): number | null {
  if (pci.readConfig(bus, devfn, 0, 2) === 0xffff) return null;
  if (!(pci.readConfig(bus, devfn, STATUS, 2) & STATUS_CAPABILITIES)) return null;
  let at = pci.readConfig(bus, devfn, CAPABILITIES, 1) & 0xfc;
  for (let i = 0; at !== 0 && i < MAX_CAPABILITIES; i++) {
    if (pci.readConfig(bus, devfn, at, 1) === id) return at;
    at = pci.readConfig(bus, devfn, at + 1, 1) & 0xfc;
  }
  return null;
}

/** The same, and throws ENODEV. */
function findCapability(place: PciAddress, id: number): number {
  const at = capabilityOf(place, id);
  if (at === null) throw new XenError('ENODEV');
  return at;
}

/** The one message of a function's MSI capability. Throws ENODEV. */
export function msiSource(place: PciAddress): MessageSource {
  const { pci, bus, devfn } = place;
  const at = findCapability(place, PciCapability.msi);
  const control = (): number => pci.readConfig(bus, devfn, at + MSI.control, 2);
  const wide = (control() & MSI.wide) !== 0;
  const maskAt = (control() & MSI.maskable) !== 0 ? at + (wide ? 0x10 : 0x0c) : null;
  const enable = (on: boolean): void =>
    pci.writeConfig(bus, devfn, at + MSI.control, 2, on ? control() | MSI.enable : control() & ~MSI.enable);
  return {
    program(address, data) {
      pci.writeConfig(bus, devfn, at + MSI.address, 4, address);
      if (wide) pci.writeConfig(bus, devfn, at + 8, 4, 0);
      pci.writeConfig(bus, devfn, at + (wide ? 0x0c : 8), 2, data);
      enable(true);
    },
    mask(masked) {
      if (maskAt !== null) pci.writeConfig(bus, devfn, maskAt, 4, masked ? 1 : 0);
    },
    disable: () => enable(false),
  };
}

/** An entry of a function's MSI-X table, which stands at a physical address. Throws ENODEV, EINVAL for an entry that there is not. */
export function msixSource(place: PciAddress, memory: PlatformBus, entry: number, table: number): MessageSource {
  const { pci, bus, devfn } = place;
  const at = findCapability(place, PciCapability.msix);
  const control = (): number => pci.readConfig(bus, devfn, at + MSIX.control, 2);
  if (entry > (control() & MSIX.tableSize)) throw new XenError('EINVAL');
  const base = table + entry * MSIX.entryBytes;
  return {
    program(address, data) {
      memory.memory.write(base, 4, address);
      memory.memory.write(base + 4, 4, 0);
      memory.memory.write(base + 8, 4, data);
      pci.writeConfig(bus, devfn, at + MSIX.control, 2, control() | MSIX.enable);
    },
    mask: masked => memory.memory.write(base + 12, 4, masked ? MSIX.masked : 0),
    disable: () => memory.memory.write(base + 12, 4, MSIX.masked),
  };
}
