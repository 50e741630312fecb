// The frame table: owner, type and counts of every machine frame. Source of the rules: xen/arch/x86/mm.c, asm-x86/mm.h.
import type { Mfn } from '../../cpu/memory.ts';
import { XenError } from '../errors.ts';
import type { Hypervisor } from '../hypervisor.ts';

/** Owner of frames that nobody has. */
export const NO_OWNER = 0xffff;

/** Types of frames; a frame has one type while its type count is above 0. */
export const PageType = { none: 0, l1: 1, l2: 2, l3: 3, l4: 4, segDesc: 5, writable: 7, shared: 8 } as const;

/** Bits of FrameTable.flags. */
export const PageFlag = {
  /** The domain still has its allocation reference. */
  allocated: 1,
  /** A pin holds a type reference. */
  pinned: 2,
  /** The contents have been validated for the type. */
  validated: 4,
  /** Xen's own: never freed, never typed by guests. */
  xenHeap: 8,
} as const;

export class FrameTable {
  readonly hypervisor: Hypervisor;
  readonly count: number;
  readonly owner: Uint16Array;
  readonly type: Uint8Array;
  readonly typeCount: Uint32Array;
  readonly refCount: Uint32Array;
  readonly flags: Uint8Array;
  /** Free frames: a bump pointer below which the free stack has what came back. */
  private readonly freeStack: Uint32Array;
  private freeTop = 0;

  constructor(hypervisor: Hypervisor) {
    this.hypervisor = hypervisor;
    const n = hypervisor.memory.frames;
    this.count = n;
    this.owner = new Uint16Array(n).fill(NO_OWNER);
    this.type = new Uint8Array(n);
    this.typeCount = new Uint32Array(n);
    this.refCount = new Uint32Array(n);
    this.flags = new Uint8Array(n);
    this.freeStack = new Uint32Array(n);
    for (let mfn = n - 1; mfn >= 0; mfn--) this.freeStack[this.freeTop++] = mfn;
  }

  /** Frames that nobody has. */
  get free(): number {
    return this.freeTop;
  }

  /** A zeroed frame for an owner; throws ENOMEM. */
  allocate(owner: number): Mfn {
    if (this.freeTop === 0) throw new XenError('ENOMEM');
    const mfn = this.freeStack[--this.freeTop];
    this.owner[mfn] = owner;
    this.flags[mfn] = PageFlag.allocated;
    this.refCount[mfn] = 1;
    this.hypervisor.memory.frame(mfn).fill(0);
    return mfn;
  }
}
