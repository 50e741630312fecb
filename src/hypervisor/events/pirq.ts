// Physical interrupts as a domain without devices sees them: numbers that it can ask about but never bind.
// Source: xen/include/public/physdev.h; xen/arch/x86/irq.c for how numbers are given out.
import type { Mfn } from '../../cpu/memory.ts';
import type { Domain } from '../domain.ts';
import { XenError } from '../errors.ts';
import { claimWritableFrame, releaseWritableFrame } from './guest-frames.ts';

/** GSIs of the machine: one I/O APIC. */
export const NR_GSIS = 24;
const NR_ISA_IRQS = 16;
/** What an unprivileged domain gets beyond the GSIs. */
const EXTRA_PIRQS = 32;

export class PhysicalIrqs {
  /** Numbers that exist for the domain. */
  readonly count = NR_GSIS + EXTRA_PIRQS;
  /** Numbers that PHYSDEVOP_get_free_pirq has given out. */
  private readonly allocated = new Set<number>();
  /** The page in which the guest reads which interrupts need an EOI; -1 = none. */
  private eoiFrame: Mfn = -1;
  private readonly domain: Domain;

  constructor(domain: Domain) {
    this.domain = domain;
  }

  isAllocated(pirq: number): boolean {
    return this.allocated.has(pirq);
  }

  /** A free number: a GSI's where asked for and there is one, otherwise from the top. Throws ENOSPC. */
  allocate(gsi: boolean): number {
    for (let pirq = NR_ISA_IRQS; gsi && pirq < NR_GSIS; pirq++) if (this.take(pirq)) return pirq;
    for (let pirq = this.count - 1; pirq >= NR_GSIS; pirq--) if (this.take(pirq)) return pirq;
    throw new XenError('ENOSPC');
  }

  /** PHYSDEVOP_pirq_eoi_gmfn_*: once a domain, then EBUSY. No interrupt is ever marked in it, since none is bound. */
  registerEoiFrame(gmfn: bigint): void {
    const mfn = claimWritableFrame(this.domain, gmfn);
    if (this.eoiFrame !== -1) {
      releaseWritableFrame(this.domain, mfn);
      throw new XenError('EBUSY');
    }
    this.eoiFrame = mfn;
  }

  destroy(): void {
    if (this.eoiFrame !== -1) releaseWritableFrame(this.domain, this.eoiFrame);
    this.eoiFrame = -1;
    this.allocated.clear();
  }

  private take(pirq: number): boolean {
    if (this.allocated.has(pirq)) return false;
    this.allocated.add(pirq);
    return true;
  }
}
