// The grant entries that a guest and the hypervisor share, in both layouts. Source: xen/include/public/grant_table.h.
// What stands there is the guest's word: it is read once for every decision, and never trusted a second time.
import { GTF } from '../../abi/xen/grant-table.ts';
import type { EngineMemory, Mfn } from '../../cpu/memory.ts';

export type GrantVersion = 1 | 2;
/** Number of a grant in its domain's table. */
export type GrantRef = number;

const PAGE_SIZE = 4096;
export const ENTRY_SIZE = { 1: 8, 2: 16 } as const;
export const ENTRIES_PER_FRAME = { 1: PAGE_SIZE / 8, 2: PAGE_SIZE / 16 } as const;
const STATUS_SIZE = 2;
export const STATUS_PER_FRAME = PAGE_SIZE / STATUS_SIZE;

/** Status frames that so many grant frames of version 2 need. */
export function statusFramesFor(grantFrames: number): number {
  return Math.ceil((grantFrames * ENTRIES_PER_FRAME[2]) / STATUS_PER_FRAME);
}

/** Grant frames of version 2 whose status words need so many frames. */
export function grantFramesFor(statusFrames: number): number {
  return Math.ceil((statusFrames * STATUS_PER_FRAME) / ENTRIES_PER_FRAME[2]);
}

/** What a version 2 entry says beside its header. */
export interface EntryBody {
  frame: bigint;
  /** Sub-page grants. */
  pageOffset: number;
  length: number;
  /** Transitive grants. */
  transDomid: number;
  transRef: GrantRef;
}

export class SharedEntries {
  version: GrantVersion = 1;
  /** Frames of the table, and of the status words of version 2. */
  readonly frames: Mfn[] = [];
  readonly statusFrames: Mfn[] = [];
  private readonly memory: EngineMemory;

  constructor(memory: EngineMemory) {
    this.memory = memory;
  }

  /** Entries that the table has room for. */
  get count(): number {
    return this.frames.length * ENTRIES_PER_FRAME[this.version];
  }

  flags(ref: GrantRef): number {
    return this.memory.view.getUint16(this.at(ref), true);
  }

  /** The domain that the grant is for. */
  domid(ref: GrantRef): number {
    return this.memory.view.getUint16(this.at(ref) + 2, true);
  }

  body(ref: GrantRef): EntryBody {
    const { view } = this.memory;
    const at = this.at(ref);
    if (this.version === 1) {
      return {
        frame: BigInt(view.getUint32(at + 4, true)),
        pageOffset: 0,
        length: PAGE_SIZE,
        transDomid: 0,
        transRef: 0,
      };
    }
    return {
      frame: view.getBigUint64(at + 8, true),
      pageOffset: view.getUint16(at + 4, true),
      length: view.getUint16(at + 6, true),
      transDomid: view.getUint16(at + 4, true),
      transRef: view.getUint32(at + 8, true),
    };
  }

  /** Writes a whole entry for access to a page, as the toolstack does for the console's and XenStore's. */
  permit(ref: GrantRef, domid: number, frame: bigint, flags: number): void {
    const { view } = this.memory;
    const at = this.at(ref);
    this.memory.u8.fill(0, at, at + ENTRY_SIZE[this.version]);
    if (this.version === 1) view.setUint32(at + 4, Number(frame & 0xffffffffn), true);
    else view.setBigUint64(at + 8, frame, true);
    view.setUint16(at + 2, domid, true);
    view.setUint16(at, flags, true);
  }

  /** GTF_reading and GTF_writing: in the flags of version 1, in a word of their own in version 2. */
  status(ref: GrantRef): number {
    return this.memory.view.getUint16(this.statusAt(ref), true) & (GTF.reading | GTF.writing);
  }

  setStatus(ref: GrantRef, bits: number): void {
    const at = this.statusAt(ref);
    this.memory.view.setUint16(at, this.memory.view.getUint16(at, true) | bits, true);
  }

  clearStatus(ref: GrantRef, bits: number): void {
    const at = this.statusAt(ref);
    this.memory.view.setUint16(at, this.memory.view.getUint16(at, true) & ~bits, true);
  }

  /** Exchanges two entries with their status. */
  swap(a: GrantRef, b: GrantRef): void {
    this.swapBytes(this.at(a), this.at(b), ENTRY_SIZE[this.version]);
    if (this.version === 2) this.swapBytes(this.statusAt(a), this.statusAt(b), STATUS_SIZE);
  }

  private swapBytes(a: number, b: number, length: number): void {
    const { u8 } = this.memory;
    const saved = u8.slice(a, a + length);
    u8.copyWithin(a, b, b + length);
    u8.set(saved, b);
  }

  private at(ref: GrantRef): number {
    const perFrame = ENTRIES_PER_FRAME[this.version];
    return (
      this.memory.frameOffset(this.frames[Math.floor(ref / perFrame)]) + (ref % perFrame) * ENTRY_SIZE[this.version]
    );
  }

  private statusAt(ref: GrantRef): number {
    if (this.version === 1) return this.at(ref);
    const frame = this.statusFrames[Math.floor(ref / STATUS_PER_FRAME)];
    return this.memory.frameOffset(frame) + (ref % STATUS_PER_FRAME) * STATUS_SIZE;
  }
}
