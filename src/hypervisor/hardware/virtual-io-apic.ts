// The I/O APIC of a domain that drives the machine and has no pirqs: a chip of its own with as many pins as the machine's, each bound to the
// machine's interrupt of that number once the domain unmasks it. A level stays with the domain until it has said EOI, and then the machine's
// goes on. Source: xen/arch/x86/hvm/vioapic.c (vioapic_hwdom_map_gsi), xen/drivers/passthrough/x86/hvm.c (hvm_dpci_eoi).
import type { AccessSize, RegisterSpace } from '../../machine/chip.ts';
import type { InterruptBus } from '../../machine/interrupts/interrupt-bus.ts';
import { IoApic } from '../../machine/interrupts/io-apic.ts';
import { XenError } from '../errors.ts';
import type { HostIrqs } from './host-irqs.ts';

const SELECT = 0x00;
const WINDOW = 0x10;
const FIRST_ENTRY = 0x10;
const Entry = { vector: 0xff, activeLow: 1 << 13, level: 1 << 15, masked: 1 << 16 } as const;

export class VirtualIoApic implements RegisterSpace {
  private readonly irqs: HostIrqs;
  private readonly chip: IoApic;
  private select = 0;
  /** Low halves of the entries as the domain has written them. */
  private readonly entries: number[];
  private readonly bound = new Set<number>();
  /** Levels that have not been ended. */
  private readonly asserted = new Set<number>();

  /** @param bus the domain's own */
  constructor(irqs: HostIrqs, bus: InterruptBus) {
    this.irqs = irqs;
    this.entries = Array.from({ length: irqs.gsis }, () => Entry.masked);
    // Before the chip hears of it: it then finds the pin as the machine's line is.
    bus.onEoi(vector => this.ended(vector));
    this.chip = new IoApic({ bus, pins: irqs.gsis, version: 0x11, heedsPolarity: false });
  }

  read(offset: number, size: AccessSize): number {
    return this.chip.read(offset, size);
  }

  write(offset: number, size: AccessSize, value: number): void {
    if (offset === SELECT) this.select = value & 0xff;
    const pin = (this.select - FIRST_ENTRY) >> 1;
    const isLow = offset === WINDOW && this.select >= FIRST_ENTRY && !(this.select & 1) && pin < this.entries.length;
    if (isLow) {
      this.entries[pin] = value;
    }
    this.chip.write(offset, size, value);
    if (isLow && !(value & Entry.masked)) this.bind(pin);
  }

  /** The first setting of a pin decides what the machine's own is set to, as it does for pirqs. */
  private bind(pin: number): void {
    if (this.bound.has(pin)) return;
    const entry = this.entries[pin];
    try {
      if (!this.irqs.has(pin)) this.irqs.setUpGsi(pin, (entry & Entry.level) !== 0, (entry & Entry.activeLow) !== 0);
      this.irqs.bind(pin, () => this.arrived(pin));
      this.bound.add(pin);
    } catch (error) {
      // Xen's own, or no vector is left: the pin stays silent.
      if (!(error instanceof XenError)) throw error;
    }
  }

  private arrived(pin: number): void {
    this.asserted.add(pin);
    this.drive(pin);
    if (this.irqs.isLevel(pin)) return;
    this.asserted.delete(pin);
    this.drive(pin);
  }

  private ended(vector: number): void {
    for (const pin of [...this.asserted]) {
      if ((this.entries[pin] & Entry.vector) !== vector) continue;
      this.asserted.delete(pin);
      this.drive(pin);
      // It comes again at once where the device still wants it.
      this.irqs.end(pin);
    }
  }

  private drive(pin: number): void {
    this.chip.input(pin, this.asserted.has(pin));
  }
}
