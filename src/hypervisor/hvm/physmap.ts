// An HVM domain's physical address space: which machine frame stands at each guest frame, and what the domain may do with it. Every entry
// holds references like an entry of a PV guest's page table: a frame can be reached only while it is the domain's or is lent to it.
// Source of the rules: xen/arch/x86/mm/p2m.c (guest_physmap_add_entry, p2m_add_foreign), xen/common/memory.c (guest_remove_page).
import type { Mfn } from '../../cpu/memory.ts';
import { type Gfn, NOT_RAM, PhysicalMap } from '../../cpu/physical-map.ts';
import type { Domain } from '../domain.ts';
import { XenError } from '../errors.ts';
import { type FrameTable, PageFlag, PageType } from '../memory/frame-table.ts';
import { INVALID_PFN } from '../memory/m2p.ts';

/**
 * What stands at a guest frame. ram: a page of the domain's own, or one that Xen shares with it. grant: another's page that was granted;
 * its references are the grant operation's. foreign: another's page, mapped by right of control. direct: a frame of the machine's that is
 * nobody's RAM (firmware's tables), mapped where it stands for the domain that drives the machine.
 */
export type GfnType = 'none' | 'ram' | 'grant' | 'grantReadOnly' | 'foreign' | 'direct';

/** What is lent, of which the map of frames alone does not say enough. */
interface Lent {
  type: 'grant' | 'grantReadOnly' | 'foreign' | 'direct';
  mfn: Mfn;
}

/** Guest frames that a map has room for at first: 4 GiB, in which Xen's special pages and all devices stand. */
const FIRST_SIZE = 1 << 20;
/** Where room for more of them ends: 64 GiB. Beyond this Xen's own memory for such tables would be used up as well. */
const LARGEST_SIZE = 1 << 24;
const GROWTH = 1 << 18;

export class Physmap {
  /** What the processor translates by. */
  readonly map = new PhysicalMap(FIRST_SIZE);
  /** The highest guest frame that ever was mapped: XENMEM_maximum_gpfn. */
  highest: Gfn = 0;
  private readonly lent = new Map<Gfn, Lent>();
  private readonly domain: Domain;

  constructor(domain: Domain) {
    this.domain = domain;
  }

  private get frames(): FrameTable {
    return this.domain.hypervisor.frames;
  }

  typeOf(gfn: Gfn): GfnType {
    return this.lent.get(gfn)?.type ?? (this.map.get(gfn) === NOT_RAM ? 'none' : 'ram');
  }

  /** The machine frame, whatever the type; NOT_RAM where there is none. */
  mfnOf(gfn: Gfn): Mfn {
    return this.lent.get(gfn)?.mfn ?? this.map.get(gfn);
  }

  /** The machine frame of a page that is the domain's own or that Xen shares with it, of which hypercalls may make use; or NOT_RAM. */
  ramAt(gfn: Gfn): Mfn {
    return this.lent.has(gfn) ? NOT_RAM : this.map.get(gfn);
  }

  /** A frame that devices' addresses lead to although the processor's map does not have it: it may be read, and writes are lost. */
  readOnlyAt(gfn: Gfn): Mfn {
    const lent = this.lent.get(gfn);
    return lent?.type === 'grantReadOnly' ? lent.mfn : NOT_RAM;
  }

  /**
   * Puts a page of the domain's at a guest frame; it goes from where it stood before. What stood here stays the domain's, though nothing
   * leads to it any more. Throws EINVAL over something lent (and the domain crashes), ENOMEM beyond the largest map.
   */
  add(gfn: Gfn, mfn: Mfn): void {
    const { domain, frames } = this;
    this.prepare(gfn);
    if (this.map.get(gfn) === mfn) return;
    const rc = frames.getPageAndType(mfn, domain.id, PageType.writable);
    if (rc !== 0) throw new XenError('EINVAL');
    this.unmap(gfn);
    const before = domain.hypervisor.m2p.get(mfn);
    if (before !== INVALID_PFN && this.ramAt(Number(before)) === mfn) this.unmap(Number(before));
    this.enter(gfn, mfn);
    domain.hypervisor.m2p.set(mfn, BigInt(gfn));
  }

  /** Maps what was granted, as add() does. The references that the grant operation took are the entry's from now on. */
  addGrant(gfn: Gfn, mfn: Mfn, readOnly: boolean): void {
    this.prepare(gfn);
    this.unmap(gfn);
    this.lend(gfn, mfn, readOnly ? 'grantReadOnly' : 'grant');
  }

  /** Ends a grant's mapping; its references are the caller's again. False where it is not what stands there. */
  removeGrant(gfn: Gfn, mfn: Mfn): boolean {
    const lent = this.lent.get(gfn);
    if (!lent || lent.type === 'foreign' || lent.type === 'direct' || lent.mfn !== mfn) return false;
    this.takeBack(gfn, mfn);
    return true;
  }

  /** Maps a page of another domain's by right of control. Throws EINVAL where the page cannot be had, ENXIO over something lent. */
  addForeign(gfn: Gfn, owner: Domain, mfn: Mfn): void {
    this.makeRoom(gfn);
    if (this.frames.getPageAndType(mfn, owner.id, PageType.writable) !== 0) throw new XenError('EINVAL');
    try {
      this.vacate(gfn);
    } catch (error) {
      this.frames.putPageAndType(mfn);
      throw error;
    }
    this.lend(gfn, mfn, 'foreign');
  }

  /** Maps a frame of the machine's at its own number, for the domain's builder. It must be DOMID_IO's, which never goes away. */
  addDirect(mfn: Mfn): void {
    this.makeRoom(mfn);
    this.lend(mfn, mfn, 'direct');
  }

  /** XENMEM_remove_from_physmap: ends a mapping; a page of the domain's own stays its own. Throws ENOENT for holes and for grants. */
  remove(gfn: Gfn): void {
    const lent = this.lent.get(gfn);
    if (lent?.type === 'foreign') {
      this.takeBack(gfn, lent.mfn);
      this.frames.putPageAndType(lent.mfn);
    } else if (lent || !this.unmap(gfn)) {
      throw new XenError('ENOENT');
    }
  }

  /** guest_remove_page(): the page that stands here leaves the domain. ENOENT for a hole, ENXIO where it is not the domain's own. */
  release(gfn: Gfn): void {
    if (this.lent.has(gfn)) throw new XenError('ENXIO');
    const mfn = this.map.get(gfn);
    if (mfn === NOT_RAM) throw new XenError('ENOENT');
    this.unmap(gfn);
    // What Xen itself shares with the domain is not the domain's to give.
    if (!(this.frames.flags[mfn] & PageFlag.xenHeap)) this.frames.putAllocation(mfn);
  }

  /** Frees a guest frame for another mapping: a page of the domain's own is freed, one that Xen shares is only taken from here. */
  vacate(gfn: Gfn): void {
    if (this.typeOf(gfn) !== 'none') this.release(gfn);
  }

  /** The domain goes away: all entries give back what they hold. */
  destroy(): void {
    for (const [gfn, { type, mfn }] of [...this.lent]) {
      this.takeBack(gfn, mfn);
      if (type === 'direct') continue;
      if (type !== 'grantReadOnly') this.frames.putPageType(mfn);
      this.frames.putPage(mfn);
    }
    for (let gfn = 0; gfn <= this.highest && this.map.count > 0; gfn++) this.unmap(gfn);
  }

  /** Anything but something lent may be mapped over. */
  private prepare(gfn: Gfn): void {
    this.makeRoom(gfn);
    const lent = this.lent.get(gfn);
    if (!lent) return;
    if (lent.type === 'direct') throw new XenError('EPERM');
    this.domain.crash(`gfn 0x${gfn.toString(16)} is mapped over while it has another domain's page`, 'p2m.c');
    throw new XenError('EINVAL');
  }

  /** Whether anything can be mapped there at all. */
  hasRoomFor(gfn: Gfn): boolean {
    return gfn < LARGEST_SIZE;
  }

  private makeRoom(gfn: Gfn): void {
    if (gfn < this.map.size) return;
    if (!this.hasRoomFor(gfn)) throw new XenError('ENOMEM', `gfn 0x${gfn.toString(16)} is beyond the largest physmap`);
    this.map.grow(Math.min(LARGEST_SIZE, Math.ceil((gfn + 1) / GROWTH) * GROWTH));
  }

  private enter(gfn: Gfn, mfn: Mfn): void {
    this.map.set(gfn, mfn);
    if (gfn > this.highest) this.highest = gfn;
  }

  private lend(gfn: Gfn, mfn: Mfn, type: Lent['type']): void {
    this.lent.set(gfn, { type, mfn });
    if (type === 'grantReadOnly') this.highest = Math.max(this.highest, gfn);
    else this.enter(gfn, mfn);
  }

  private takeBack(gfn: Gfn, mfn: Mfn): void {
    if (this.lent.get(gfn)?.type !== 'grantReadOnly') this.forget(gfn, mfn);
    this.lent.delete(gfn);
  }

  /** Takes a page of the domain's own from a guest frame; false where none stands there. */
  private unmap(gfn: Gfn): boolean {
    const mfn = this.map.get(gfn);
    if (mfn === NOT_RAM) return false;
    this.forget(gfn, mfn);
    this.domain.hypervisor.m2p.forget(mfn);
    this.frames.putPageAndType(mfn);
    return true;
  }

  /** No translation leads there any more. */
  private forget(gfn: Gfn, mfn: Mfn): void {
    this.map.set(gfn, NOT_RAM);
    this.domain.hypervisor.processor.dropFrame(mfn);
  }
}
