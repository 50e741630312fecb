// How a PC's interrupt lines are wired: an ISA line drives the 8259A pair and the I/O APIC, a PCI line its own pin of the I/O APIC and the ISA
// line that the chipset routes it to. ACPI's MADT says the same to the guest: take ISA_OVERRIDES for it.
import type { Line, Saveable } from '../chip.ts';
import type { InterruptBus } from './interrupt-bus.ts';
import { IoApic, type IoApicModel, type IoApicState } from './io-apic.ts';
import { Pic, type PicState } from './pic.ts';
import { SharedLine } from './shared-line.ts';

export interface IsaOverride {
  irq: number;
  /** Pin of the I/O APIC. */
  gsi: number;
  level: boolean;
  activeLow: boolean;
}

/** ISA interrupts that are not rising edges at the pin of their own number: the timer at pin 2, ACPI's and PCI's shared levels. */
export const ISA_OVERRIDES: readonly IsaOverride[] = [
  { irq: 0, gsi: 2, level: false, activeLow: false },
  ...[5, 9, 10, 11].map(irq => ({ irq, gsi: irq, level: true, activeLow: false })),
];

const ISA_LINES = 16;
const CASCADE = 2;
/** PIRQA to PIRQD. */
const PCI_LINKS = 4;
const FIRST_PCI_GSI = 16;

/** A PC chipset's: PIRQA to PIRQD are the pins 16 to 19. These pins are active low. */
export const swizzledGsi = (device: number, pin: number): number => FIRST_PCI_GSI + pciLink(device, pin);

/** Which of PIRQA (0) to PIRQD (3) the pin INTA (0) to INTD (3) of a device on the root bus is. */
export const pciLink = (device: number, pin: number): number => (device + pin) % PCI_LINKS;

export interface IrqWiringOptions {
  bus: InterruptBus;
  ioApic?: Partial<IoApicModel>;
  /** Pin of the I/O APIC for a PCI device's pin. */
  pciGsi?: (device: number, pin: number) => number;
}

export interface IrqWiringState {
  pic: PicState;
  ioApic: IoApicState;
  routes: (number | null)[];
}

/** Load its state after the local APICs', before that of the devices, whose lines are driven anew. */
export class IrqWiring implements Saveable<IrqWiringState> {
  readonly pic: Pic;
  readonly ioApic: IoApic;
  /** Takes a line that goes up from the I/O APIC where it answers true: a hypervisor that makes events of interrupts. */
  divert: ((gsi: number) => boolean) | null = null;
  private readonly asserted = new Set<number>();
  private readonly heedsPolarity: boolean;
  private readonly pciGsi: (device: number, pin: number) => number;
  private readonly isaLines: readonly SharedLine[];
  /** Pins from 16 on. */
  private readonly pciPins = new Map<number, SharedLine>();
  private readonly links: readonly SharedLine[];
  private readonly routes: (number | null)[] = Array.from({ length: PCI_LINKS }, () => null);
  private readonly linkLevels: boolean[] = Array.from({ length: PCI_LINKS }, () => false);
  /** A link's share of each ISA line. */
  private readonly linkDrivers: readonly (readonly Line[])[];

  constructor({ bus, ioApic = {}, pciGsi = swizzledGsi }: IrqWiringOptions) {
    this.ioApic = new IoApic({ bus, ...ioApic });
    this.heedsPolarity = ioApic.heedsPolarity ?? true;
    this.pic = new Pic(level => {
      bus.intr(level);
      this.ioApic.input(0, level);
    });
    bus.acknowledger = this.pic;
    this.pciGsi = pciGsi;
    this.isaLines = Array.from({ length: ISA_LINES }, (_, irq) => {
      const gsi = ISA_OVERRIDES.find(override => override.irq === irq)?.gsi ?? irq;
      return new SharedLine(level => {
        this.pic.input(irq, level);
        if (irq !== CASCADE) this.input(gsi, level);
      });
    });
    this.linkDrivers = Array.from({ length: PCI_LINKS }, () => this.isaLines.map(line => line.driver()));
    this.links = this.linkLevels.map((_, link) => new SharedLine(level => this.linkChanged(link, level)));
    for (let gsi = FIRST_PCI_GSI; gsi < this.ioApic.pins; gsi++) this.input(gsi, false);
  }

  /** One more output on an ISA interrupt line, 0 to 15. */
  isa(irq: number): Line {
    return this.isaLines[irq].driver();
  }

  /** An interrupt pin of a PCI device on the root bus: true asserts it. */
  pci(device: number, pin: number): Line {
    const toApic = this.gsi(this.pciGsi(device, pin));
    const toLink = this.links[pciLink(device, pin)].driver();
    return level => {
      toApic(level);
      toLink(level);
    };
  }

  /** One more output on a pin of the I/O APIC from 16 on, which no ISA line has: true asserts it. */
  gsi(gsi: number): Line {
    let shared = this.pciPins.get(gsi);
    if (!shared) this.pciPins.set(gsi, (shared = new SharedLine(level => this.input(gsi, level))));
    return shared.driver();
  }

  /** A line is asserted, whether or not the I/O APIC was told. */
  isAsserted(gsi: number): boolean {
    return this.asserted.has(gsi);
  }

  /** A line that was diverted is the I/O APIC's from now on. What it has missed it learns if that is a level. */
  handBack(gsi: number): void {
    if (gsi >= FIRST_PCI_GSI && this.isAsserted(gsi)) this.drive(gsi, true);
  }

  private input(gsi: number, asserted: boolean): void {
    if (asserted) this.asserted.add(gsi);
    else this.asserted.delete(gsi);
    if (!asserted || !this.divert?.(gsi)) this.drive(gsi, asserted);
  }

  /** Pins from 16 on are active low, where that is told apart. */
  private drive(gsi: number, asserted: boolean): void {
    const activeLow = this.heedsPolarity && gsi >= FIRST_PCI_GSI;
    this.ioApic.input(gsi, asserted !== activeLow);
  }

  /** The chipset's routing of PIRQA to PIRQD to ISA lines; null: to none. */
  route(link: number, irq: number | null): void {
    const old = this.routes[link];
    if (old === irq) return;
    if (old !== null) this.linkDrivers[link][old](false);
    this.routes[link] = irq;
    this.linkChanged(link, this.linkLevels[link]);
  }

  reset(): void {
    for (let link = 0; link < PCI_LINKS; link++) this.route(link, null);
    this.pic.reset();
    this.ioApic.reset();
  }

  save(): IrqWiringState {
    return { pic: this.pic.save(), ioApic: this.ioApic.save(), routes: [...this.routes] };
  }

  load(state: IrqWiringState): void {
    state.routes.forEach((irq, link) => void this.route(link, irq));
    this.pic.load(state.pic);
    this.ioApic.load(state.ioApic);
  }

  private linkChanged(link: number, level: boolean): void {
    this.linkLevels[link] = level;
    const irq = this.routes[link];
    if (irq !== null) this.linkDrivers[link][irq](level);
  }
}
