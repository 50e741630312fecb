// I/O ports of the control domain: the machine's own, but for those that Xen keeps. What it keeps reads as an unprivileged domain's
// (pv/io-ports.ts), PCI's configuration mechanism goes through Xen. Source: xen/arch/x86/dom0_build.c (dom0_setup_permissions),
// xen/arch/x86/pv/emul-priv-op.c (admin_io_okay, guest_io_read, guest_io_write).
import type { AccessSize } from '../../machine/chip.ts';
import type { ConfigAccess } from '../../machine/pci/config-access.ts';
import type { GuestPorts } from '../pv/io-ports.ts';
import type { Machine, PortRange } from './hardware.ts';

/** What of a machine is behind the ports. */
type PortMachine = Pick<Machine, 'bus' | 'ownPorts'> & { readonly pci: ConfigAccess };

const PCI_ADDRESS = 0xcf8;
const PCI_DATA = 0xcfc;
const RTC_INDEX = 0x70;
const RTC_DATA = 0x71;
const CMOS_INDEX = 0x7f;

/** 8259 pair, 8254, its control port, clock: whatever the board, these are Xen's. */
const ALWAYS_OWN: readonly PortRange[] = [
  [0x20, 0x21],
  [0xa0, 0xa1],
  [0x40, 0x43],
  [0x61, 0x61],
  [RTC_INDEX, RTC_DATA],
  [PCI_DATA, PCI_DATA + 3],
];

export class ControlPorts implements GuestPorts {
  private readonly machine: PortMachine;
  private readonly virtual: GuestPorts;
  private readonly own: readonly PortRange[];
  private pciAddress = 0;
  private rtcIndex = 0;

  /** @param virtual what answers at Xen's own ports */
  constructor(machine: PortMachine, virtual: GuestPorts) {
    this.machine = machine;
    this.virtual = virtual;
    this.own = [...ALWAYS_OWN, ...machine.ownPorts];
  }

  read(port: number, size: number): number {
    if (port === PCI_ADDRESS && size === 4) return this.pciAddress;
    if (!this.isOwn(port, size)) return this.machine.bus.portRead(port, size);
    if (this.isPciData(port, size)) return this.config(port, size);
    if (port === RTC_DATA && size === 1) return this.clock().read;
    return this.virtual.read(port, size);
  }

  write(port: number, size: number, value: number): void {
    if (port === PCI_ADDRESS && size === 4) this.pciAddress = value >>> 0;
    else if (!this.isOwn(port, size)) this.machine.bus.portWrite(port, size, value);
    else if (this.isPciData(port, size)) this.config(port, size, value);
    else if (port === RTC_DATA && size === 1) this.clock(value);
    else {
      if (port === RTC_INDEX && size === 1) this.rtcIndex = value & CMOS_INDEX;
      this.virtual.write(port, size, value);
    }
  }

  private isOwn(port: number, size: number): boolean {
    return this.own.some(([first, last]) => port <= last && port + size > first);
  }

  private isPciData(port: number, size: number): boolean {
    return port >= PCI_DATA && port + size <= PCI_DATA + 4;
  }

  /** The register that the latched address names; what is not enabled floats. */
  private config(port: number, size: number, value?: number): number {
    const { pciAddress, machine } = this;
    const enabled = (pciAddress & 0x8000_0000) !== 0;
    const place = [(pciAddress >>> 16) & 0xff, (pciAddress >>> 8) & 0xff, (pciAddress & 0xfc) + (port & 3)] as const;
    if (value === undefined) return enabled ? machine.pci.readConfig(...place, size as AccessSize) : 0xffffffff;
    if (enabled) machine.pci.writeConfig(...place, size as AccessSize, value);
    return 0;
  }

  /** The clock's register of the index that this domain has latched; Xen's own use of the chip is not disturbed. */
  private clock(value?: number): { read: number } {
    const { bus } = this.machine;
    bus.portWrite(RTC_INDEX, 1, this.rtcIndex);
    if (value === undefined) return { read: bus.portRead(RTC_DATA, 1) };
    bus.portWrite(RTC_DATA, 1, value);
    return { read: 0 };
  }
}
