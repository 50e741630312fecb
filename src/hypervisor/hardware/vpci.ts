// vPCI: the machine's PCI functions as a domain without pirqs drives them. Configuration space is the function's own, but for MSI and MSI-X, whose
// messages are the domain's on one side and Xen's on the other. Source: xen/drivers/vpci/vpci.c, header.c.
import type { AccessSize, RegisterSpace } from '../../machine/chip.ts';
import type { InterruptBus } from '../../machine/interrupts/interrupt-bus.ts';
import { PciCapability } from '../../machine/pci/config-space.ts';
import type { Hardware } from './hardware.ts';
import { capabilityOf, MSIX, msiSource, msixSource, type PciAddress } from './message-sources.ts';
import { PassedMessage } from './passed-message.ts';
import { type VirtualCapability, VirtualMsi } from './virtual-msi.ts';
import { VirtualMsix } from './virtual-msix.ts';

const COMMAND = 0x04;
const COMMAND_MEMORY = 2;
const BAR0 = 0x10;
const BARS_END = 0x28;
const BAR_64 = 4;
const TABLE_BIR = 7;

interface Table {
  readonly start: number;
  readonly end: number;
  readonly space: RegisterSpace;
}

export class Vpci {
  private readonly hardware: Hardware;
  private readonly interrupts: InterruptBus;
  /** Capabilities by bus and function, found when the function is first accessed. */
  private readonly functions = new Map<number, readonly VirtualCapability[]>();
  /** Where MSI-X tables are now; null: to be found. */
  private tables: Table[] | null = null;

  /** @param interrupts the domain's own bus */
  constructor(hardware: Hardware, interrupts: InterruptBus) {
    this.hardware = hardware;
    this.interrupts = interrupts;
  }

  readConfig(bus: number, devfn: number, offset: number, size: AccessSize): number {
    const { pci } = this.hardware;
    const capability = this.capabilityAt(bus, devfn, offset);
    if (!capability) return pci.readConfig(bus, devfn, offset, size);
    const word = this.readWord(bus, devfn, offset & ~3, capability);
    return (word >>> (8 * (offset & 3))) & (size === 4 ? 0xffffffff : 2 ** (8 * size) - 1);
  }

  writeConfig(bus: number, devfn: number, offset: number, size: AccessSize, value: number): void {
    const { pci } = this.hardware;
    const capability = this.capabilityAt(bus, devfn, offset);
    if (!capability) {
      pci.writeConfig(bus, devfn, offset, size, value);
      if (offset < BARS_END) this.tables = null;
      return;
    }
    const at = offset & ~3;
    const shift = 8 * (offset & 3);
    const mask = ((size === 4 ? 0xffffffff : 2 ** (8 * size) - 1) << shift) >>> 0;
    const word = (this.readWord(bus, devfn, at, capability) & ~mask) | ((value << shift) & mask);
    const passed = capability.write(at - capability.at, word >>> 0);
    if (passed !== null) pci.writeConfig(bus, devfn, at, 4, passed >>> 0);
    if (capability instanceof VirtualMsix) capability.update();
  }

  /** The MSI-X table at a physical address, and where it begins; or nothing. */
  tableAt(address: number): Table | undefined {
    this.tables ??= this.findTables();
    return this.tables.find(({ start, end }) => address >= start && address < end);
  }

  private readWord(bus: number, devfn: number, at: number, capability: VirtualCapability): number {
    return capability.read(at - capability.at, this.hardware.pci.readConfig(bus, devfn, at, 4));
  }

  private capabilityAt(bus: number, devfn: number, offset: number): VirtualCapability | undefined {
    return this.capabilitiesOf(bus, devfn).find(({ at, length }) => offset >= at && offset < at + length);
  }

  private capabilitiesOf(bus: number, devfn: number): readonly VirtualCapability[] {
    const key = (bus << 8) | devfn;
    let found = this.functions.get(key);
    if (!found) {
      found = this.findCapabilities({ pci: this.hardware.pci, bus, devfn });
      // Of what is not there nothing is kept: a guest can ask for 65536 functions.
      if (found.length > 0) this.functions.set(key, found);
    }
    return found;
  }

  private findCapabilities(place: PciAddress): VirtualCapability[] {
    const { irqs, bus } = this.hardware;
    const control = (at: number): number => place.pci.readConfig(place.bus, place.devfn, at + 2, 2);
    const passed = (source: ConstructorParameters<typeof PassedMessage>[2]) =>
      new PassedMessage(irqs, this.interrupts, source);
    const found: VirtualCapability[] = [];
    const msi = capabilityOf(place, PciCapability.msi);
    if (msi !== null)
      found.push(
        new VirtualMsi(
          msi,
          control(msi),
          passed(() => msiSource(place)),
        ),
      );
    const msix = capabilityOf(place, PciCapability.msix);
    if (msix !== null) {
      const table = (entry: number) => passed(() => msixSource(place, bus, entry, this.tableAddress(place, msix)));
      found.push(new VirtualMsix(msix, control(msix), table));
    }
    return found;
  }

  /** Where a function's table stands by its registers. */
  private tableAddress({ pci, bus, devfn }: PciAddress, msix: number): number {
    const where = pci.readConfig(bus, devfn, msix + MSIX.table, 4);
    const bar = BAR0 + 4 * (where & TABLE_BIR);
    const low = pci.readConfig(bus, devfn, bar, 4);
    const high = low & BAR_64 ? pci.readConfig(bus, devfn, bar + 4, 4) : 0;
    return high * 2 ** 32 + ((low & ~0xf) >>> 0) + ((where & ~TABLE_BIR) >>> 0);
  }

  private findTables(): Table[] {
    const { pci } = this.hardware;
    const tables: Table[] = [];
    for (let devfn = 0; devfn < 256; devfn++) {
      const place = { pci, bus: 0, devfn };
      for (const capability of this.capabilitiesOf(0, devfn)) {
        if (!(capability instanceof VirtualMsix)) continue;
        if (!(pci.readConfig(0, devfn, COMMAND, 2) & COMMAND_MEMORY)) continue;
        const start = this.tableAddress(place, capability.at);
        tables.push({ start, end: start + capability.tableBytes, space: capability.table });
      }
    }
    return tables;
  }
}
