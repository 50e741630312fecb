// The frame table: owner, references and type of every machine frame, and who gets free frames.
// Source of the rules: xen/arch/x86/mm.c (get_page, put_page, _get_page_type, _put_page_type), xen/common/page_alloc.c.
import { FRAME_FLAGS, FRAME_SIZE, FrameFlag } from '../../cpu/layout.ts';
import type { Mfn } from '../../cpu/memory.ts';
import type { Domain } from '../domain.ts';
import { DOMID_IO } from '../domain-ids.ts';
import { XenError } from '../errors.ts';
import type { Hypervisor } from '../hypervisor.ts';
import { demote, promote } from './validate.ts';

/** Owner of frames that nobody has. */
export const NO_OWNER = 0xffff;

/** Types of frames; a frame has one type while its type count is above 0. */
export const PageType = { none: 0, l1: 1, l2: 2, l3: 3, l4: 4, segDesc: 5, writable: 7, shared: 8 } as const;

/** Bits of FrameTable.flags. */
export const PageFlag = {
  /** The owner's allocation holds a reference. */
  allocated: 1,
  /** A pin holds a type reference and a reference. */
  pinned: 2,
  /** The contents have been found good for the type. */
  validated: 4,
  /** Xen's own page, perhaps shared with its owner: not counted as the domain's, not to be given away. */
  xenHeap: 8,
} as const;

export const INVALID_MFN = -1;

/** Conditions on frames to be allocated. */
export interface AllocationRequest {
  /** 2^order frames in a row, aligned to their number. */
  order?: number;
  /** Machine addresses must have no more bits than this. */
  addressBits?: number;
}

export class FrameTable {
  readonly hypervisor: Hypervisor;
  /** Frames of RAM; higher numbers are device space. */
  readonly count: number;
  readonly owner: Uint16Array;
  readonly type: Uint8Array;
  readonly typeCount: Uint32Array;
  readonly refCount: Uint32Array;
  readonly flags: Uint8Array;
  /** Linear page tables: > 0 the table's entries that point at tables of its own level, < 0 such entries that point at it. */
  readonly linear: Int32Array;
  /** 1: the frame had an owner before, so it may hold anything. */
  private readonly used: Uint8Array;
  /** Where frames that were freed wait; it may hold frames that are in use again, which are passed over. */
  private freed: number[] = [];
  private freeCount: number;
  /** Frames from here on were never given out one by one. */
  private fresh = 0;
  /** An entry above L1 was changed or removed; the hypercall that did it flushes at its end. */
  tablesChanged = false;
  /** Told of every frame that becomes free (the M2P forgets it). */
  onFree: ((mfn: Mfn) => void) | null = null;

  constructor(hypervisor: Hypervisor) {
    this.hypervisor = hypervisor;
    const n = hypervisor.memory.frames;
    this.count = n;
    this.owner = new Uint16Array(n).fill(NO_OWNER);
    this.type = new Uint8Array(n);
    this.typeCount = new Uint32Array(n);
    this.refCount = new Uint32Array(n);
    this.flags = new Uint8Array(n);
    this.used = new Uint8Array(this.count);
    this.linear = new Int32Array(n);
    this.freeCount = n;
  }

  /** Frames that nobody has. */
  get free(): number {
    return this.freeCount;
  }

  isRam(mfn: number): boolean {
    return mfn >= 0 && mfn < this.count;
  }

  /** Frames that are no RAM of anybody's (firmware's tables, the video hole): device memory that some domains may map. Before any is given out. */
  reserve(first: Mfn, count: number): void {
    for (let mfn = first; mfn < Math.min(first + count, this.count); mfn++) {
      if (this.owner[mfn] !== NO_OWNER) throw new Error(`frame ${mfn} is in use`);
      this.owner[mfn] = DOMID_IO;
      this.freeCount--;
    }
  }

  // Allocation -----------------------------------------------------------------------------------------------------------------

  /** Zeroed frames for a domain, counted as its own. The first of them; throws ENOMEM. Type none, one reference each. */
  allocate(domain: Domain, request: AllocationRequest = {}): Mfn {
    const frames = 2 ** (request.order ?? 0);
    if (domain.pages + frames > domain.maxPages) throw new XenError('ENOMEM', 'more pages than the domain may have');
    const mfn = this.take(domain.id, request);
    domain.pages += frames;
    return mfn;
  }

  /** The same beyond the domain's maximum, for a caller that frees as many at once (XENMEM_exchange). */
  allocateExtra(domain: Domain, request: AllocationRequest = {}): Mfn {
    const mfn = this.take(domain.id, request);
    domain.pages += 2 ** (request.order ?? 0);
    return mfn;
  }

  /**
   * Zeroed frames of Xen's own. With an owner that is a domain's id that domain may map them (shared_info, grant frames), for writing
   * where `writable`; they are not counted as its pages and no page table can be made of them.
   */
  allocateXen(owner: number, writable: boolean, request: AllocationRequest = {}): Mfn {
    const mfn = this.take(owner, request);
    for (let i = mfn; i < mfn + 2 ** (request.order ?? 0); i++) {
      this.flags[i] |= PageFlag.xenHeap | PageFlag.validated;
      this.type[i] = writable ? PageType.writable : PageType.none;
      this.typeCount[i] = 1;
    }
    return mfn;
  }

  /** Gives back what allocateXen gave. The guest may still have mappings: the frame is free when they are gone. */
  freeXen(mfn: Mfn): void {
    if (!(this.flags[mfn] & PageFlag.xenHeap)) throw new Error(`frame ${mfn} is not Xen's`);
    this.typeCount[mfn]--;
    this.flags[mfn] &= ~PageFlag.allocated;
    this.putPage(mfn);
  }

  private take(owner: number, request: AllocationRequest): Mfn {
    const order = request.order ?? 0;
    const bits = request.addressBits ?? 64;
    const limit = Math.min(this.count, bits >= 64 ? this.count : 2 ** Math.max(0, bits - 12));
    const mfn = order === 0 && limit === this.count ? this.nextFree() : this.findRun(2 ** order, limit);
    if (mfn === INVALID_MFN) throw new XenError('ENOMEM', 'no free frames');
    const n = 2 ** order;
    for (let i = mfn; i < mfn + n; i++) {
      this.owner[i] = owner;
      this.flags[i] = PageFlag.allocated;
      this.refCount[i] = 1;
      this.type[i] = PageType.none;
      this.typeCount[i] = 0;
      this.linear[i] = 0;
    }
    this.freeCount -= n;
    // frames that nobody has had are zero, and cost no memory of the host until somebody writes to them
    const { memory } = this.hypervisor;
    for (let i = mfn; i < mfn + n; i++) {
      if (!this.used[i]) continue;
      this.used[i] = 0;
      memory.u8.fill(0, memory.frameOffset(i), memory.frameOffset(i) + FRAME_SIZE);
    }
    return mfn;
  }

  private nextFree(): Mfn {
    for (let mfn = this.freed.pop(); mfn !== undefined; mfn = this.freed.pop()) {
      if (this.owner[mfn] === NO_OWNER) return mfn;
    }
    while (this.fresh < this.count) {
      const mfn = this.fresh++;
      if (this.owner[mfn] === NO_OWNER) return mfn;
    }
    return INVALID_MFN;
  }

  /** Looks from the top, so that runs and single frames meet late. */
  private findRun(length: number, limit: number): Mfn {
    for (let start = Math.floor(limit / length - 1) * length; start >= 0; start -= length) {
      let i = start;
      while (i < start + length && this.owner[i] === NO_OWNER) i++;
      if (i === start + length) return start;
    }
    return INVALID_MFN;
  }

  /** The last reference is gone. */
  private release(mfn: Mfn): void {
    const { hypervisor } = this;
    if (this.typeCount[mfn] !== 0) throw new Error(`frame ${mfn} freed while it has type references`);
    if (!(this.flags[mfn] & PageFlag.xenHeap)) {
      const domain = hypervisor.domains.get(this.owner[mfn]);
      if (domain) domain.pages--;
    }
    this.owner[mfn] = NO_OWNER;
    this.type[mfn] = PageType.none;
    this.flags[mfn] = 0;
    this.used[mfn] = 1;
    this.freeCount++;
    this.onFree?.(mfn);
    hypervisor.processor.dropFrame(mfn);
    // Runs leave entries behind in the list when they take frames; it must not grow without end.
    if (this.freed.length > 2 * this.count) this.freed = this.freed.filter(m => this.owner[m] === NO_OWNER);
    if (mfn < this.fresh) this.freed.push(mfn);
  }

  // References -----------------------------------------------------------------------------------------------------------------

  /** Takes a reference to a frame of this owner; false where the frame is not its. */
  getPage(mfn: number, owner: number): boolean {
    if (
      !this.isRam(mfn) ||
      this.owner[mfn] !== owner ||
      this.refCount[mfn] === 0 ||
      this.refCount[mfn] === 0xffffffff
    ) {
      return false;
    }
    this.refCount[mfn]++;
    return true;
  }

  putPage(mfn: Mfn): void {
    if (this.refCount[mfn] === 0) throw new Error(`frame ${mfn} has no reference to give back`);
    if (--this.refCount[mfn] === 0) this.release(mfn);
  }

  /** The owner gives the frame up (XENMEM_decrease_reservation): true where it held its allocation reference. */
  putAllocation(mfn: Mfn): boolean {
    if (!(this.flags[mfn] & PageFlag.allocated)) return false;
    this.flags[mfn] &= ~PageFlag.allocated;
    this.putPage(mfn);
    return true;
  }

  /**
   * Takes a type reference, making the frame one of this type if nothing else uses it. The caller holds a reference. 0 or -errno; the
   * whole tree below a page table is validated before this returns.
   */
  getPageType(mfn: Mfn, type: number): number {
    const count = this.typeCount[mfn];
    if (count === 0xffffffff) return -22;
    if (count === 0) {
      const old = this.type[mfn];
      if (old !== type) {
        this.flags[mfn] &= ~PageFlag.validated;
        this.type[mfn] = type;
        // No stale translation may write to a frame whose contents are about to be trusted.
        if (old === PageType.writable) this.hypervisor.processor.dropWriteAccess(mfn);
      }
    } else if (this.type[mfn] !== type) {
      return -22;
    }
    if (this.flags[mfn] & PageFlag.validated) {
      this.typeCount[mfn] = count + 1;
      return 0;
    }
    // Only a table that is just being validated further up has a count and no validation: it refers to itself.
    if (count !== 0) return -22;
    this.typeCount[mfn] = 1;
    if (type === PageType.writable || type === PageType.shared) {
      this.flags[mfn] |= PageFlag.validated;
      return 0;
    }
    this.linear[mfn] = 0;
    const rc = promote(this, mfn, type);
    if (rc === 0) {
      this.flags[mfn] |= PageFlag.validated;
    } else {
      this.typeCount[mfn] = 0;
      this.type[mfn] = PageType.none;
    }
    return rc;
  }

  /** getPageType for callers that need no error number. */
  tryGetPageType(mfn: Mfn, type: number): boolean {
    return this.getPageType(mfn, type) === 0;
  }

  /** Gives a type reference back; `table` is the page table whose entry held it, if one did. */
  putPageType(mfn: Mfn, table: number = INVALID_MFN): void {
    const count = this.typeCount[mfn];
    if (count === 0) throw new Error(`frame ${mfn} has no type reference to give back`);
    const type = this.type[mfn];
    if (count === 1 && type >= PageType.l1 && type <= PageType.l4) {
      this.flags[mfn] &= ~PageFlag.validated;
      demote(this, mfn, type);
    }
    if (table !== INVALID_MFN && this.type[table] === type) {
      this.linear[mfn]++;
      this.linear[table]--;
    }
    this.typeCount[mfn] = count - 1;
  }

  /** A reference and a type reference at once; 0 or -errno. */
  getPageAndType(mfn: number, owner: number, type: number): number {
    if (!this.getPage(mfn, owner)) return -22;
    const rc = this.getPageType(mfn, type);
    if (rc !== 0) this.putPage(mfn);
    return rc;
  }

  putPageAndType(mfn: Mfn, table: number = INVALID_MFN): void {
    this.putPageType(mfn, table);
    this.putPage(mfn);
  }

  // Contents -------------------------------------------------------------------------------------------------------------------

  /** Index in EngineMemory.u32 of a frame's first word. */
  words(mfn: Mfn): number {
    return this.hypervisor.memory.frameOffset(mfn) >>> 2;
  }

  /** Ends a batch of page-table updates. */
  flushChangedTables(): void {
    if (!this.tablesChanged) return;
    this.tablesChanged = false;
    this.hypervisor.processor.flushAll();
  }

  /** To be called after the hypervisor wrote to a frame that a guest may have executed. */
  wrote(mfn: Mfn, offset: number, length: number): void {
    if (this.hypervisor.memory.u8[FRAME_FLAGS + mfn] & FrameFlag.code) {
      this.hypervisor.processor.wroteFrame(mfn, offset, length);
    }
  }
}
