// Making a frame a page table, and unmaking it: every present entry is checked, counted, and rewritten as Xen has it.
// Source: xen/arch/x86/mm.c, promote_l1_table() to promote_l4_table(), demote_*, and pv/descriptor-tables.c.
import type { Mfn } from '../../cpu/memory.ts';
import type { Domain } from '../domain.ts';
import { validateDescriptors } from './descriptors.ts';
import { getL1, getUpper, putL1, putUpper } from './entries.ts';
import type { FrameTable } from './frame-table.ts';
import { adjustL1High, adjustL1Low, ENTRIES, FIRST_XEN_SLOT, LAST_XEN_SLOT, Pte } from './pte.ts';

const L1 = 1;
const L4 = 4;
const SEG_DESC = 5;

/** Checks the contents of a frame for the type that it is to have; 0, or -errno with everything put back. */
export function promote(frames: FrameTable, mfn: Mfn, type: number): number {
  const domain = frames.hypervisor.domains.get(frames.owner[mfn]);
  if (!domain?.isPv) return -22;
  if (type === SEG_DESC) return validateDescriptors(frames, mfn, domain);
  // 32-bit PAE tables have rules of their own (four L3 entries, Xen's slots in the fourth L2).
  if (domain.abi !== 'pv64') return -95;
  frames.hypervisor.work += ENTRIES;
  return type === L1 ? promoteL1(frames, mfn, domain) : promoteUpper(frames, mfn, type, domain);
}

/** Gives back what the entries of a validated table hold. */
export function demote(frames: FrameTable, mfn: Mfn, type: number): void {
  const domain = frames.hypervisor.domains.get(frames.owner[mfn]);
  frames.hypervisor.work += ENTRIES;
  const words = frames.hypervisor.memory.u32;
  const base = frames.words(mfn);
  for (let slot = 0; slot < ENTRIES; slot++) {
    const low = words[base + slot * 2];
    if (!(low & Pte.present)) continue;
    const high = words[base + slot * 2 + 1];
    if (type === L1) putL1(frames, low, high, domain);
    else if (type !== L4 || isGuestL4Slot(slot)) putUpper(frames, low, high, mfn);
  }
  // The frame may become another address space's root: nothing known of this one may be found there.
  if (type === L4) frames.hypervisor.processor.flushAddressSpace(BigInt(mfn) << 12n);
}

export function isGuestL4Slot(slot: number): boolean {
  return slot < FIRST_XEN_SLOT || slot > LAST_XEN_SLOT;
}

function promoteL1(frames: FrameTable, mfn: Mfn, domain: Domain): number {
  const words = frames.hypervisor.memory.u32;
  const base = frames.words(mfn);
  for (let slot = 0; slot < ENTRIES; slot++) {
    const at = base + slot * 2;
    let low = words[at];
    if (!(low & Pte.present)) continue;
    const high = words[at + 1];
    const rc = getL1(frames, low, high, domain, domain.id);
    if (rc < 0) {
      while (slot-- > 0) {
        const undo = words[base + slot * 2];
        if (undo & Pte.present) putL1(frames, undo, words[base + slot * 2 + 1], domain);
      }
      return rc;
    }
    low ^= rc;
    words[at] = adjustL1Low(low, high);
    words[at + 1] = adjustL1High(low, high);
  }
  return 0;
}

function promoteUpper(frames: FrameTable, mfn: Mfn, level: number, domain: Domain): number {
  const words = frames.hypervisor.memory.u32;
  const base = frames.words(mfn);
  for (let slot = 0; slot < ENTRIES; slot++) {
    if (level === L4 && !isGuestL4Slot(slot)) continue;
    const at = base + slot * 2;
    const low = words[at];
    if (!(low & Pte.present)) continue;
    const rc = getUpper(frames, level, low, words[at + 1], mfn, domain);
    if (rc !== 0) {
      while (slot-- > 0) {
        if (level === L4 && !isGuestL4Slot(slot)) continue;
        const undo = words[base + slot * 2];
        if (undo & Pte.present) putUpper(frames, undo, words[base + slot * 2 + 1], mfn);
      }
      return rc;
    }
    words[at] = level === L4 ? low | Pte.user | Pte.accessed : low | Pte.user;
  }
  if (level === L4) frames.hypervisor.addressSpace.fillXenSlots(mfn, domain);
  return 0;
}
