// The machine-to-physical table: for every machine frame the guest frame number that its owner gave it. PV guests read it directly.
// Source: public/arch-x86/xen.h (machine_to_phys_mapping), xen/arch/x86/x86_64/mm.c.
import { FRAME_SIZE } from '../../cpu/layout.ts';
import type { Mfn } from '../../cpu/memory.ts';
import { DOMID_XEN } from '../domain-ids.ts';
import type { FrameTable } from './frame-table.ts';

const ENTRY_BYTES = 8;
const ENTRIES_PER_FRAME = FRAME_SIZE / ENTRY_BYTES;
const INVALID = 0xffffffff;
/** A guest frame number that stands for "none". */
export const INVALID_PFN = 0xffffffffffffffffn;

export class M2p {
  /** First of the frames that hold the table; they follow each other. */
  readonly firstMfn: Mfn;
  readonly frames: number;
  private readonly words: Uint32Array;
  private readonly base: number;

  /** Takes the first free frames of the machine for the table, so it must come before everything else. */
  constructor(frames: FrameTable) {
    this.frames = Math.ceil(frames.count / ENTRIES_PER_FRAME);
    this.firstMfn = frames.allocateXen(DOMID_XEN, false);
    for (let i = 1; i < this.frames; i++) {
      if (frames.allocateXen(DOMID_XEN, false) !== this.firstMfn + i) throw new Error('the M2P needs frames in a row');
    }
    this.words = frames.hypervisor.memory.u32;
    this.base = frames.words(this.firstMfn);
    this.words.fill(INVALID, this.base, this.base + (this.frames * FRAME_SIZE) / 4);
    frames.onFree = mfn => this.forget(mfn);
  }

  set(mfn: Mfn, pfn: bigint): void {
    this.words[this.base + mfn * 2] = Number(pfn & 0xffffffffn);
    this.words[this.base + mfn * 2 + 1] = Number((pfn >> 32n) & 0xffffffffn);
  }

  forget(mfn: Mfn): void {
    this.words[this.base + mfn * 2] = INVALID;
    this.words[this.base + mfn * 2 + 1] = INVALID;
  }

  /** The guest frame number, or INVALID_PFN. */
  get(mfn: Mfn): bigint {
    const at = this.base + mfn * 2;
    return BigInt(this.words[at]) | (BigInt(this.words[at + 1]) << 32n);
  }
}
