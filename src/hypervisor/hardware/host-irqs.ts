// The machine's interrupts in Xen's hands: every source has a vector of its own, through the I/O APIC or by message, and whoever it is
// bound to is told when it comes. Source: xen/arch/x86/irq.c, io_apic.c, msi.c.
import type { BusAgent, InterruptBus } from '../../machine/interrupts/interrupt-bus.ts';
import { Delivery, type InterruptMessage } from '../../machine/interrupts/interrupt-message.ts';
import type { IoApic } from '../../machine/interrupts/io-apic.ts';
import { XenError } from '../errors.ts';

/** Where a message-signalled interrupt's address and data are programmed. */
export interface MessageSource {
  program(address: number, data: number): void;
  mask(masked: boolean): void;
  /** The interrupt is given up. */
  disable(): void;
}

interface HostIrq {
  readonly vector: number;
  /** null: a GSI. */
  readonly source: MessageSource | null;
  level: boolean;
  activeLow: boolean;
  onInterrupt: (() => void) | null;
}

/** Vectors that Xen gives to devices: FIRST_DYNAMIC_VECTOR to LAST_DYNAMIC_VECTOR. */
const FIRST_VECTOR = 0x20;
const LAST_VECTOR = 0xdf;
const MSI_ADDRESS = 0xfee0_0000;
/** The 82093AA's registers. */
const SELECT = 0x00;
const WINDOW = 0x10;
const FIRST_ENTRY = 0x10;
const ENTRY = { activeLow: 1 << 13, level: 1 << 15, masked: 1 << 16 } as const;

export class HostIrqs implements BusAgent {
  readonly acceptsVectors = true;
  readonly processorPriority = 0;
  /** Interrupt numbers: GSIs first, then messages. */
  private readonly irqs = new Map<number, HostIrq>();
  private readonly byVector = new Map<number, number>();
  private readonly bus: InterruptBus;
  private readonly ioApic: IoApic;
  private readonly own: readonly number[];

  /** @param own GSIs that nobody else may bind */
  constructor(bus: InterruptBus, ioApic: IoApic, own: readonly number[] = []) {
    this.own = own;
    this.bus = bus;
    this.ioApic = ioApic;
    bus.attach(this);
  }

  get gsis(): number {
    return this.ioApic.pins;
  }

  isMeant(): boolean {
    return true;
  }

  lint(): void {}

  accept(message: InterruptMessage): boolean {
    if (message.delivery !== Delivery.fixed && message.delivery !== Delivery.lowestPriority) return false;
    const number = this.byVector.get(message.vector);
    const irq = number === undefined ? undefined : this.irqs.get(number);
    if (irq?.onInterrupt) irq.onInterrupt();
    // nobody will ever end it, and it may come again
    else if (message.level) this.bus.endOfInterrupt(message.vector);
    return true;
  }

  /** PHYSDEVOP_setup_gsi. The first to set a GSI up decides; it stays masked until it is bound. Throws EEXIST, ENOSPC. */
  setUpGsi(gsi: number, level: boolean, activeLow: boolean): void {
    if (this.irqs.has(gsi)) throw new XenError('EEXIST');
    const irq: HostIrq = { vector: this.freeVector(), source: null, level, activeLow, onInterrupt: null };
    this.add(gsi, irq);
    this.route(gsi, irq);
  }

  /** A new message-signalled interrupt. Gives its number; throws ENOSPC. */
  addMessage(source: MessageSource): number {
    let number = this.gsis;
    while (this.irqs.has(number)) number++;
    const irq: HostIrq = { vector: this.freeVector(), source, level: false, activeLow: false, onInterrupt: null };
    this.add(number, irq);
    source.mask(true);
    source.program(MSI_ADDRESS, irq.vector);
    return number;
  }

  removeMessage(number: number): void {
    const irq = this.irqs.get(number);
    if (!irq?.source) return;
    irq.source.disable();
    this.irqs.delete(number);
    this.byVector.delete(irq.vector);
  }

  has(number: number): boolean {
    return this.irqs.has(number);
  }

  /** Somebody takes it: Xen, or whoever it is bound to. */
  isInUse(number: number): boolean {
    return this.own.includes(number) || (this.irqs.get(number)?.onInterrupt ?? null) !== null;
  }

  /** Interrupts that come again until their device has been served: they wait for end(). */
  isLevel(number: number): boolean {
    return this.irqs.get(number)?.level ?? false;
  }

  /** From now on `onInterrupt` is called for it. Throws EBUSY where somebody else has it, EINVAL where there is none. */
  bind(number: number, onInterrupt: () => void): void {
    const irq = this.irqs.get(number);
    if (!irq) throw new XenError('EINVAL');
    if (this.isInUse(number)) throw new XenError('EBUSY');
    irq.onInterrupt = onInterrupt;
    this.unmask(number, irq, true);
  }

  unbind(number: number): void {
    const irq = this.irqs.get(number);
    if (!irq?.onInterrupt) return;
    this.unmask(number, irq, false);
    irq.onInterrupt = null;
    if (irq.level) this.bus.endOfInterrupt(irq.vector);
  }

  /** A level-triggered interrupt has been served. */
  end(number: number): void {
    const irq = this.irqs.get(number);
    if (irq?.level) this.bus.endOfInterrupt(irq.vector);
  }

  /** A register of the I/O APIC, as PHYSDEVOP_apic_read gives it. */
  readIoApic(index: number): number {
    this.ioApic.write(SELECT, 4, index);
    return this.ioApic.read(WINDOW, 4);
  }

  private add(number: number, irq: HostIrq): void {
    this.irqs.set(number, irq);
    this.byVector.set(irq.vector, number);
  }

  private freeVector(): number {
    for (let vector = FIRST_VECTOR; vector <= LAST_VECTOR; vector++) if (!this.byVector.has(vector)) return vector;
    throw new XenError('ENOSPC');
  }

  private unmask(number: number, irq: HostIrq, on: boolean): void {
    if (irq.source) irq.source.mask(!on);
    else this.route(number, irq, !on);
  }

  private route(gsi: number, irq: HostIrq, masked = true): void {
    const low =
      irq.vector | (irq.activeLow ? ENTRY.activeLow : 0) | (irq.level ? ENTRY.level : 0) | (masked ? ENTRY.masked : 0);
    this.writeIoApic(FIRST_ENTRY + 2 * gsi + 1, 0);
    this.writeIoApic(FIRST_ENTRY + 2 * gsi, low);
  }

  private writeIoApic(index: number, value: number): void {
    this.ioApic.write(SELECT, 4, index);
    this.ioApic.write(WINDOW, 4, value);
  }
}
