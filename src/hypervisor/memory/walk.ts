// Finds the L1 entry of a guest linear address by reading the guest's own tables. Source: xen/arch/x86/pv/mm.c, map_guest_l1e().
import type { Mfn } from '../../cpu/memory.ts';
import type { Hypervisor } from '../hypervisor.ts';
import { mfnOf, Pte, slotOf } from './pte.ts';

const LOWER_END = 1n << 47n;
const UPPER_START = 0xffff_8800_0000_0000n;
const NOT_FOUND = -1;

/** True for an address that is the guest's own: neither non-canonical nor in Xen's slots. */
export function isGuestAddress(linear: bigint): boolean {
  return linear < LOWER_END || linear >= UPPER_START;
}

/**
 * Index in EngineMemory.u32 of the L1 entry for an address below a 4-level root, or -1 where no L1 table stands there. The entry itself
 * may be absent.
 */
export function findL1Entry(hypervisor: Hypervisor, root: Mfn, linear: bigint): number {
  if (root === 0 || !isGuestAddress(linear)) return NOT_FOUND;
  const { frames, memory } = hypervisor;
  let table: number = root;
  for (let level = 4; level > 1; level--) {
    const at = frames.words(table) + slotOf(linear, level) * 2;
    const low = memory.u32[at];
    if ((low & (Pte.present | Pte.pse)) !== Pte.present) return NOT_FOUND;
    table = mfnOf(low, memory.u32[at + 1]);
    if (!frames.isRam(table)) return NOT_FOUND;
  }
  return frames.words(table) + slotOf(linear, 1) * 2;
}

/** The frame that an index of EngineMemory.u32 stands in. */
export function frameOfWord(hypervisor: Hypervisor, at: number): Mfn {
  return Math.floor((at * 4 - hypervisor.memory.ramBase) / 4096);
}
