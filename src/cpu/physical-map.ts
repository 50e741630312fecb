// Second-level translation: which machine frame stands behind each frame of a guest's physical memory, as nested page tables have it
// (SDM Vol. 3C, 29.3; AMD APM Vol. 2, 15.25), but flat.
import type { Mfn } from './memory.ts';

/** A guest frame number: index of a 4 KiB page of a guest's physical address space. */
export type Gfn = number;

/** What a guest frame that is not RAM translates to: there are devices, or nothing. */
export const NOT_RAM = -1;

let maps = 0;

/**
 * Guest frame to machine frame. Translations that a processor keeps do not follow by themselves: whoever changes an entry that was RAM
 * calls `processor.dropFrame` for the machine frame that stood there. Entries that were not RAM are not kept anywhere.
 */
export class PhysicalMap {
  /** Tells maps apart where translations are kept; never 0. */
  readonly id = ++maps;
  /** Guest frames that are RAM. */
  count = 0;
  private entries: Int32Array;

  /** @param size guest frames that can be RAM: 0 to size - 1 */
  constructor(size = 0) {
    this.entries = new Int32Array(size).fill(NOT_RAM);
  }

  get size(): number {
    return this.entries.length;
  }

  /** Makes room for guest frames up to size - 1. Never shrinks. */
  grow(size: number): void {
    if (size <= this.size) return;
    const grown = new Int32Array(size).fill(NOT_RAM);
    grown.set(this.entries);
    this.entries = grown;
  }

  /** The machine frame, or NOT_RAM; any number may be asked for. */
  get(gfn: Gfn): Mfn {
    return gfn < this.entries.length ? this.entries[gfn] : NOT_RAM;
  }

  /** Gives what stood there before. Throws RangeError for a guest frame beyond the map's size. */
  set(gfn: Gfn, mfn: Mfn): Mfn {
    if (!(gfn >= 0 && gfn < this.size))
      throw new RangeError(`guest frame 0x${gfn.toString(16)} is beyond the map's ${this.size}`);
    const old = this.entries[gfn];
    this.entries[gfn] = mfn;
    this.count += (mfn === NOT_RAM ? 0 : 1) - (old === NOT_RAM ? 0 : 1);
    return old;
  }
}
