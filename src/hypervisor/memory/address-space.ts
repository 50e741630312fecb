// What of Xen stands in a PV guest's address space: the read-only M2P and the per-domain area with every vCPU's GDT and LDT.
// Source: xen/arch/x86/mm.c init_xen_l4_slots(), asm-x86/config.h (PERDOMAIN, GDT_LDT_VCPU_SHIFT).
import { FRAME_SIZE } from '../../cpu/layout.ts';
import type { Mfn } from '../../cpu/memory.ts';
import type { Domain } from '../domain.ts';
import { DOMID_XEN } from '../domain-ids.ts';
import type { Hypervisor } from '../hypervisor.ts';
import { XEN_DESCRIPTORS } from '../pv/selectors.ts';
import type { Vcpu } from '../vcpu.ts';
import { ENTRIES, entry, FIRST_XEN_SLOT, LAST_XEN_SLOT, Pte, PteHigh } from './pte.ts';

export { newKernelBase } from './base-pointers.ts';

export const M2P_VIRT_START = 0xffff_8000_0000_0000n;
/** What XENMEM_machphys_mapping says: room for the M2P of the largest machine. */
export const M2P_VIRT_END = M2P_VIRT_START + (256n << 30n);
export const PERDOMAIN_VIRT_START = 0xffff_8200_0000_0000n;
const PERDOMAIN_SLOT = 260;
/** Pages of a vCPU's part of the per-domain area: 16 of GDT, 16 of LDT. */
const GDT_PAGES = 16;
const VCPU_PAGES = 32;
const VCPUS_PER_L1 = ENTRIES / VCPU_PAGES;
/** The first GDT page that is Xen's. */
const FIRST_RESERVED_PAGE = 14;

const TABLE = Pte.present | Pte.rw | Pte.accessed | Pte.dirty;
const READ_ONLY = Pte.present | Pte.accessed;
const DATA = Pte.present | Pte.rw | Pte.accessed | Pte.dirty;

/** Linear address of a vCPU's GDT; its LDT follows 64 KiB above. */
export function gdtAddress(vcpu: Vcpu): bigint {
  return PERDOMAIN_VIRT_START + BigInt(vcpu.id * VCPU_PAGES * FRAME_SIZE);
}
export function ldtAddress(vcpu: Vcpu): bigint {
  return gdtAddress(vcpu) + BigInt(GDT_PAGES * FRAME_SIZE);
}

export class AddressSpace {
  private readonly hypervisor: Hypervisor;
  private readonly m2pL3: Mfn;
  /** Xen's reserved descriptors, at the start of the page. */
  private readonly xenGdt: Mfn;
  /** What stands in place of GDT pages that the guest has not set. */
  private readonly zero: Mfn;
  /** An address space with nothing in it, for the processor while no guest's tables are to be used. */
  readonly idleRoot: Mfn;

  constructor(hypervisor: Hypervisor) {
    this.hypervisor = hypervisor;
    this.m2pL3 = this.mapM2p();
    this.zero = this.table();
    this.idleRoot = this.table();
    this.xenGdt = this.table();
    const { view } = hypervisor.memory;
    const gdt = hypervisor.memory.frameOffset(this.xenGdt);
    for (const [selector, descriptor] of XEN_DESCRIPTORS) {
      view.setBigUint64(gdt + (selector & (FRAME_SIZE - 1) & ~7), descriptor, true);
    }
  }

  private table(): Mfn {
    return this.hypervisor.frames.allocateXen(DOMID_XEN, false);
  }

  private write(table: Mfn, slot: number, mfn: Mfn, flags: number, high = 0): void {
    const at = this.hypervisor.frames.words(table) + slot * 2;
    const e = entry(mfn, flags);
    this.hypervisor.memory.u32[at] = e.low;
    this.hypervisor.memory.u32[at + 1] = e.high | high;
  }

  private clear(table: Mfn, slot: number): void {
    const at = this.hypervisor.frames.words(table) + slot * 2;
    this.hypervisor.memory.u32.fill(0, at, at + 2);
  }

  /** The tables under the M2P's L4 entry: readable by the guest, and nothing more. */
  private mapM2p(): Mfn {
    const { m2p } = this.hypervisor;
    const l3 = this.table();
    const l2 = this.table();
    this.write(l3, 0, l2, TABLE | Pte.user);
    for (let first = 0; first < m2p.frames; first += ENTRIES) {
      const l1 = this.table();
      this.write(l2, first / ENTRIES, l1, TABLE | Pte.user);
      const n = Math.min(ENTRIES, m2p.frames - first);
      for (let i = 0; i < n; i++) {
        this.write(l1, i, m2p.firstMfn + first + i, READ_ONLY | Pte.user, PteHigh.noExecute);
      }
    }
    return l3;
  }

  /** Overwrites Xen's 16 slots of an L4 that becomes a page table of this domain. */
  fillXenSlots(l4: Mfn, domain: Domain): void {
    for (let slot = FIRST_XEN_SLOT; slot <= LAST_XEN_SLOT; slot++) this.clear(l4, slot);
    this.showM2p(l4, true);
    this.write(l4, PERDOMAIN_SLOT, this.perDomainL3(domain), TABLE);
  }

  /** VMASST_TYPE_m2p_strict: user-mode tables have no M2P. */
  showM2p(l4: Mfn, shown: boolean): void {
    if (shown) this.write(l4, FIRST_XEN_SLOT, this.m2pL3, TABLE | Pte.user);
    else this.clear(l4, FIRST_XEN_SLOT);
  }

  private perDomainL3(domain: Domain): Mfn {
    if (domain.perDomainL3 === 0) {
      domain.perDomainL3 = this.table();
      this.write(domain.perDomainL3, 0, this.table(), TABLE);
    }
    return domain.perDomainL3;
  }

  private child(table: Mfn, slot: number): Mfn {
    const low = this.hypervisor.memory.u32[this.hypervisor.frames.words(table) + slot * 2];
    return low & Pte.present ? low >>> 12 : 0;
  }

  /** The L1 table that has a vCPU's 32 pages; made, with its GDT as it is before the guest sets one, when first asked for. */
  private l1For(vcpu: Vcpu): Mfn {
    const l2 = this.child(this.perDomainL3(vcpu.domain), 0);
    const slot = Math.floor(vcpu.id / VCPUS_PER_L1);
    let l1 = this.child(l2, slot);
    if (l1 === 0) {
      l1 = this.table();
      this.write(l2, slot, l1, TABLE);
      for (let v = 0; v < VCPUS_PER_L1; v++) {
        const base = v * VCPU_PAGES;
        for (let page = 0; page < FIRST_RESERVED_PAGE; page++) {
          this.write(l1, base + page, this.zero, READ_ONLY, PteHigh.noExecute);
        }
        this.write(l1, base + FIRST_RESERVED_PAGE, this.xenGdt, DATA, PteHigh.noExecute);
      }
    }
    return l1;
  }

  /** Makes sure that a vCPU has its area, before it runs. */
  prepare(vcpu: Vcpu): void {
    this.l1For(vcpu);
  }

  /** Maps a frame as page 0 to 13 of the vCPU's GDT; null gives it back to Xen's zero page. */
  setGdtPage(vcpu: Vcpu, page: number, mfn: Mfn | null): void {
    const slot = (vcpu.id % VCPUS_PER_L1) * VCPU_PAGES + page;
    if (mfn === null) this.write(this.l1For(vcpu), slot, this.zero, READ_ONLY, PteHigh.noExecute);
    else this.write(this.l1For(vcpu), slot, mfn, DATA, PteHigh.noExecute);
    this.hypervisor.processor.invalidatePage(gdtAddress(vcpu) + BigInt(page * FRAME_SIZE));
  }

  /** Maps a frame as page 0 to 15 of the vCPU's LDT, or unmaps it; returns the frame that was there, or null. */
  setLdtPage(vcpu: Vcpu, page: number, mfn: Mfn | null): Mfn | null {
    const l1 = this.l1For(vcpu);
    const slot = (vcpu.id % VCPUS_PER_L1) * VCPU_PAGES + GDT_PAGES + page;
    const old = this.child(l1, slot);
    if (mfn === null) this.clear(l1, slot);
    else this.write(l1, slot, mfn, DATA, PteHigh.noExecute);
    if (old !== 0 || mfn !== null) {
      this.hypervisor.processor.invalidatePage(ldtAddress(vcpu) + BigInt(page * FRAME_SIZE));
    }
    return old === 0 ? null : old;
  }

  /** The frames that stand in a vCPU's LDT area. */
  ldtFrames(vcpu: Vcpu): Mfn[] {
    const l1 = this.l1For(vcpu);
    const first = (vcpu.id % VCPUS_PER_L1) * VCPU_PAGES + GDT_PAGES;
    return Array.from({ length: VCPU_PAGES - GDT_PAGES }, (_, i) => this.child(l1, first + i)).filter(mfn => mfn !== 0);
  }

  /** Frees a dead domain's per-domain tables. */
  release(domain: Domain): void {
    if (domain.perDomainL3 === 0) return;
    const { frames } = this.hypervisor;
    const l2 = this.child(domain.perDomainL3, 0);
    for (let slot = 0; slot < ENTRIES; slot++) {
      const l1 = this.child(l2, slot);
      if (l1) frames.freeXen(l1);
    }
    frames.freeXen(l2);
    frames.freeXen(domain.perDomainL3);
    domain.perDomainL3 = 0;
  }
}
