// A domain's physical interrupts: numbers (pirqs) that stand for interrupts of the machine and are bound to event channels. Domains without
// devices can ask about numbers and reserve some, but never bind one. Source: xen/include/public/physdev.h; xen/arch/x86/irq.c.
import type { Mfn } from '../../cpu/memory.ts';
import type { Domain } from '../domain.ts';
import { XenError } from '../errors.ts';
import type { HostIrqs } from '../hardware/host-irqs.ts';
import { claimWritableFrame, releaseWritableFrame } from './guest-frames.ts';

/** GSIs of the machine: one I/O APIC. */
export const NR_GSIS = 24;
const NR_ISA_IRQS = 16;
/** What a domain gets beyond the GSIs: an unprivileged one, and the one that drives the hardware. */
const EXTRA_PIRQS = 32;
const EXTRA_PIRQS_HARDWARE = 256;
/** Numbers of a domain that does not drive the hardware. */
export const NR_PIRQS = NR_GSIS + EXTRA_PIRQS;

/** What event channels ask of a domain's physical interrupts, whatever these stand for. */
export interface PirqBindings {
  /** EVTCHNOP_bind_pirq: `raise` is called for every interrupt. */
  bind(pirq: number, raise: () => void): void;
  unbind(pirq: number): void;
  destroy(): void;
}

/** A number that is free: a GSI's where asked for and there is one, otherwise from the top; null: none is left. */
export function findFreePirq(gsi: boolean, count: number, isFree: (pirq: number) => boolean): number | null {
  for (let pirq = NR_ISA_IRQS; gsi && pirq < NR_GSIS; pirq++) if (isFree(pirq)) return pirq;
  for (let pirq = count - 1; pirq >= NR_GSIS; pirq--) if (isFree(pirq)) return pirq;
  return null;
}

interface Pirq {
  /** The machine's interrupt; null: the number is only reserved. */
  readonly irq: number | null;
  isBound: boolean;
  /** It has come, and the guest has not said EOI yet. */
  inFlight: boolean;
}

export class PhysicalIrqs implements PirqBindings {
  /** Numbers that exist for the domain. */
  readonly count: number;
  private readonly pirqs = new Map<number, Pirq>();
  /** The page in which the guest reads which interrupts need an EOI; -1 = none. */
  private eoiFrame: Mfn = -1;
  private readonly domain: Domain;

  constructor(domain: Domain) {
    this.domain = domain;
    this.count = domain.drivesHardware ? NR_GSIS + EXTRA_PIRQS_HARDWARE : NR_PIRQS;
  }

  isAllocated(pirq: number): boolean {
    return this.pirqs.has(pirq);
  }

  /** PHYSDEVOP_get_free_pirq. Throws ENOSPC. */
  allocate(gsi: boolean): number {
    const pirq = this.findFree(gsi);
    this.pirqs.set(pirq, { irq: null, isBound: false, inFlight: false });
    return pirq;
  }

  /**
   * Makes a number stand for an interrupt of the machine: the one asked for, or where that is negative the one that it has or a free one. Gives
   * the number; throws EINVAL for one that does not exist, EEXIST where number or interrupt is taken otherwise, ENOSPC.
   */
  map(asked: number, irq: number): number {
    const current = this.numberOf(irq);
    if (asked < 0 && current !== null) return current;
    if (current !== null && current !== asked) throw new XenError('EEXIST');
    if (asked >= this.count) throw new XenError('EINVAL');
    const pirq = asked >= 0 ? asked : this.findFree(false);
    const known = this.pirqs.get(pirq);
    if (known && known.irq !== null && known.irq !== irq) throw new XenError('EEXIST');
    if (known?.irq !== irq) this.pirqs.set(pirq, { irq, isBound: false, inFlight: false });
    return pirq;
  }

  /** Gives the interrupt that it stood for, or null. Throws EINVAL for a number that stands for nothing, EBUSY for a bound one. */
  unmap(pirq: number): number | null {
    const known = this.pirqs.get(pirq);
    if (!known) throw new XenError('EINVAL');
    if (known.isBound) throw new XenError('EBUSY');
    this.pirqs.delete(pirq);
    return known.irq;
  }

  /** EVTCHNOP_bind_pirq: `raise` is called for every interrupt. Throws EINVAL for numbers that do not exist, EPERM or what the machine says. */
  bind(pirq: number, raise: () => void): void {
    if (pirq >= this.count) throw new XenError('EINVAL');
    const known = this.pirqs.get(pirq);
    const irqs = this.hostIrqs;
    if (!irqs || !known || known.irq === null) throw new XenError(irqs ? 'EINVAL' : 'EPERM');
    if (known.isBound) throw new XenError('EEXIST');
    const { irq } = known;
    irqs.bind(irq, () => {
      known.inFlight = irqs.isLevel(irq);
      raise();
    });
    known.isBound = true;
    this.showEoi(pirq, irqs.isLevel(irq));
  }

  unbind(pirq: number): void {
    const known = this.pirqs.get(pirq);
    if (!known?.isBound || known.irq === null) return;
    known.isBound = known.inFlight = false;
    this.hostIrqs?.unbind(known.irq);
    this.showEoi(pirq, false);
  }

  /** PHYSDEVOP_eoi. Throws EINVAL for a number that the domain does not have. */
  end(pirq: number): void {
    const known = this.pirqs.get(pirq);
    if (!known) throw new XenError('EINVAL');
    if (!known.inFlight || known.irq === null) return;
    known.inFlight = false;
    this.hostIrqs?.end(known.irq);
  }

  /** PHYSDEVOP_pirq_eoi_gmfn_*: once a domain, then EBUSY. */
  registerEoiFrame(gmfn: bigint): void {
    const mfn = claimWritableFrame(this.domain, gmfn);
    if (this.eoiFrame !== -1) {
      releaseWritableFrame(this.domain, mfn);
      throw new XenError('EBUSY');
    }
    this.eoiFrame = mfn;
    for (const [pirq, { irq, isBound }] of this.pirqs) {
      if (isBound && irq !== null) this.showEoi(pirq, this.hostIrqs?.isLevel(irq) ?? false);
    }
  }

  destroy(): void {
    for (const pirq of this.pirqs.keys()) this.unbind(pirq);
    if (this.eoiFrame !== -1) releaseWritableFrame(this.domain, this.eoiFrame);
    this.eoiFrame = -1;
    this.pirqs.clear();
  }

  private get hostIrqs(): HostIrqs | null {
    return this.domain.drivesHardware ? (this.domain.hypervisor.hardware?.irqs ?? null) : null;
  }

  private numberOf(irq: number): number | null {
    for (const [pirq, known] of this.pirqs) if (known.irq === irq) return pirq;
    return null;
  }

  private findFree(gsi: boolean): number {
    const free = findFreePirq(gsi, this.count, pirq => !this.pirqs.has(pirq));
    if (free === null) throw new XenError('ENOSPC');
    return free;
  }

  /** The bit that tells the guest whether the interrupt needs PHYSDEVOP_eoi. */
  private showEoi(pirq: number, needed: boolean): void {
    if (this.eoiFrame === -1) return;
    const { memory } = this.domain.hypervisor;
    const at = memory.frameOffset(this.eoiFrame) + (pirq >> 3);
    if (needed) memory.u8[at] |= 1 << (pirq & 7);
    else memory.u8[at] &= ~(1 << (pirq & 7));
  }
}
