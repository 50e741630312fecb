// Physical interrupts of an HVM domain: numbers (pirqs) that stand for interrupts of its own emulated platform. A line or a message that
// a number stands for becomes an event and does not reach the I/O APIC or a local APIC.
// Source: xen/arch/x86/irq.c (map_domain_emuirq_pirq), physdev.c, hvm/irq.c (assert_gsi, hvm_inject_msi); QEMU's hw/pci/msi.c (xen_is_pirq_msi).
import type { InterruptBus } from '../../machine/interrupts/interrupt-bus.ts';
import type { IrqWiring } from '../../machine/interrupts/irq-wiring.ts';
import type { PciBus } from '../../machine/pci/bus.ts';
import { XenError } from '../errors.ts';
import { findFreePirq, NR_PIRQS, type PirqBindings } from '../events/pirq.ts';

/** Stands for a message instead of a line. */
const MESSAGE = -3;
/** Lines that are edges, whatever drives them. */
const NR_ISA_IRQS = 16;
/** An interrupt message's vector, and its destination (SDM Vol. 3A, 11.11). */
const MSI_VECTOR = 0xff;
const namesPirq = (data: number): boolean => (data & MSI_VECTOR) === 0;
const destinationOf = (address: number): number => (address >>> 12) & 0xff;

interface Pirq {
  /** A GSI, MESSAGE, or null. */
  emulated: number | null;
  /** PHYSDEVOP_get_free_pirq has given it away. */
  isReserved: boolean;
  /** It is bound: sends the event. */
  raise: (() => void) | null;
}

export class HvmPirqs implements PirqBindings {
  private wiring: IrqWiring | null = null;
  private readonly pirqs = new Map<number, Pirq>();
  private readonly ofEmulated = new Map<number, number>();

  /** Interrupts of this platform can be events from now on. */
  connect(wiring: IrqWiring, interrupts: InterruptBus, pci: PciBus): void {
    this.wiring = wiring;
    wiring.divert = gsi => this.takesLine(gsi);
    interrupts.divert = (address, data) => this.takesMessage(address, data);
    pci.ignoresMask = namesPirq;
  }

  /** XENFEAT_hvm_pirqs: without it (PVH) there are no numbers to be had, though events can be bound to some. */
  get areOffered(): boolean {
    return this.wiring !== null;
  }

  /** EVTCHNOP_bind_pirq: any number there is, whether or not it stands for something yet. Throws EINVAL, EEXIST. */
  bind(number: number, raise: () => void): void {
    if (number >= NR_PIRQS) throw new XenError('EINVAL');
    const pirq = this.get(number);
    if (pirq.raise) throw new XenError('EEXIST');
    pirq.raise = raise;
  }

  unbind(number: number): void {
    const pirq = this.pirqs.get(number);
    if (!pirq) return;
    pirq.raise = null;
    this.forget(number, pirq);
  }

  destroy(): void {
    this.pirqs.clear();
    this.ofEmulated.clear();
  }

  /** PHYSDEVOP_get_free_pirq. Throws ENOSPC. */
  reserve(gsi: boolean): number {
    const number = this.findFree(gsi);
    if (number === null) throw new XenError('ENOSPC');
    this.get(number).isReserved = true;
    return number;
  }

  /** PHYSDEVOP_map_pirq of a line: gives the number. What stands for something else stays, without an error. Throws EINVAL. */
  map(gsi: number, asked: number): number {
    if (gsi < 0 || gsi >= (this.wiring?.ioApic.pins ?? 0)) throw new XenError('EINVAL');
    const number = asked < 0 ? this.findFree(true) : asked;
    if (number === null) throw new XenError('EINVAL');
    this.standFor(number, gsi);
    return number;
  }

  /** PHYSDEVOP_unmap_pirq: nothing happens to a number that stands for nothing. */
  unmap(number: number): void {
    const pirq = this.pirqs.get(number);
    if (!pirq || pirq.emulated === null) return;
    const { emulated } = pirq;
    pirq.emulated = null;
    this.ofEmulated.delete(emulated);
    this.forget(number, pirq);
    if (emulated !== MESSAGE) this.wiring?.handBack(emulated);
  }

  /** PHYSDEVOP_eoi: a line that is a level and still there comes again. Throws EINVAL for a number that nothing is known of. */
  end(number: number): void {
    const pirq = this.pirqs.get(number);
    if (!pirq) throw new XenError('EINVAL');
    const { emulated } = pirq;
    if (emulated !== null && emulated >= NR_ISA_IRQS && this.wiring?.isAsserted(emulated)) pirq.raise?.();
  }

  /** PHYSDEVOP_irq_status_query: it stands for something. */
  isMapped(number: number): boolean {
    return (this.pirqs.get(number)?.emulated ?? null) !== null;
  }

  /** A line went up. True: it is an event, sent where it is bound, and nothing for the I/O APIC. */
  private takesLine(gsi: number): boolean {
    const number = this.ofEmulated.get(gsi);
    const pirq = number === undefined ? undefined : this.pirqs.get(number);
    if (pirq?.emulated == null) return false;
    pirq.raise?.();
    return true;
  }

  /** A device sends a message. True: it names a number instead of a vector and a processor. */
  private takesMessage(address: number, data: number): boolean {
    if (!namesPirq(data)) return false;
    const number = destinationOf(address);
    if (number === 0 || number >= NR_PIRQS) return true;
    const known = this.pirqs.get(number)?.emulated ?? null;
    if (known === null) this.standFor(number, MESSAGE);
    else if (known !== MESSAGE) return true;
    this.pirqs.get(number)?.raise?.();
    return true;
  }

  private standFor(number: number, emulated: number): void {
    if (number >= NR_PIRQS) throw new XenError('EINVAL');
    const current = this.pirqs.get(number)?.emulated ?? emulated;
    const other = this.ofEmulated.get(emulated) ?? number;
    if (current !== emulated || other !== number) return;
    this.get(number).emulated = emulated;
    this.ofEmulated.set(emulated, number);
  }

  private get(number: number): Pirq {
    let pirq = this.pirqs.get(number);
    if (!pirq) this.pirqs.set(number, (pirq = { emulated: null, isReserved: false, raise: null }));
    return pirq;
  }

  private forget(number: number, { emulated, isReserved, raise }: Pirq): void {
    if (emulated === null && !isReserved && !raise) this.pirqs.delete(number);
  }

  private findFree(gsi: boolean): number | null {
    return findFreePirq(gsi, NR_PIRQS, number => {
      const pirq = this.pirqs.get(number);
      return !pirq || (pirq.emulated === null && !pirq.isReserved);
    });
  }
}
