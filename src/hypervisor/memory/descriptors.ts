// Segment descriptors that a PV guest may have in its GDT and LDT. Source: xen/arch/x86/pv/descriptor-tables.c, check_descriptor().
import type { Mfn } from '../../cpu/memory.ts';
import type { Domain } from '../domain.ts';
import type { FrameTable } from './frame-table.ts';

const PRESENT = 1 << 15;
const DPL_SHIFT = 13;
const DPL = 3 << DPL_SHIFT;
const CODE_OR_DATA = 1 << 12;
const TYPE = 0xf << 8;
const CALL_GATE = 0xc << 8;
const LONG = 1 << 21;
const GRANULARITY = 1 << 23;
const DESCRIPTORS = 512;
const FIRST_RESERVED_ENTRY = 14 * DESCRIPTORS;
const FLAT_KERNEL_CS = 0xe033;
const FLAT_COMPAT_KERNEL_CS = 0xe019;
/** Where a 32-bit guest's read-only M2P starts: flat segments reach beyond it. */
const COMPAT_HYPERVISOR_START = 0xf5800000;
const EINVAL = -22;

/** A descriptor's two words. */
export interface Descriptor {
  low: number;
  high: number;
}

/** The descriptor as Xen installs it (privilege levels raised, call gates disarmed), or null where it may not be installed. */
export function checkDescriptor(domain: Domain, low: number, high: number): Descriptor | null {
  const is32 = domain.abi === 'pv32';
  if (!(high & PRESENT)) return { low, high }; // using it faults
  const lowest = is32 ? 1 : 3;
  const dpl = Math.max((high & DPL) >> DPL_SHIFT, lowest);
  let b = (high & ~DPL) | (dpl << DPL_SHIFT);
  if (b & CODE_OR_DATA) {
    let a = low;
    if (is32) {
      if (b & LONG) return null;
      const base = ((b & 0xff000000) | ((b & 0xff) << 16) | (a >>> 16)) >>> 0;
      const units = ((b & 0xf0000) | (a & 0xffff)) + 1;
      const limit = b & GRANULARITY ? units * 4096 : units;
      if (base === 0 && limit > COMPAT_HYPERVISOR_START) {
        a |= 0xffff;
        b |= 0xf0000;
      }
    }
    return { low: a >>> 0, high: b >>> 0 };
  }
  // Type 0 is harmless; it is the second half of a 64-bit call gate.
  if ((b & TYPE) === 0) return { low, high };
  if ((b & TYPE) !== CALL_GATE) return null;
  const selector = low >>> 16;
  const targetFine =
    selector >> 3 < FIRST_RESERVED_ENTRY ||
    selector === (is32 ? FLAT_COMPAT_KERNEL_CS : FLAT_KERNEL_CS) ||
    selector & 4;
  if (!targetFine) return null;
  // DPL 0 makes every use of the gate fault with its selector, so that it can be emulated; the guest's DPL is kept in the RPL.
  b &= ~DPL;
  if (b & (is32 ? 0xe0 : 0xff)) return null;
  return { low: ((low & 0xffff) | (((selector & ~3) | dpl) << 16)) >>> 0, high: b >>> 0 };
}

/** Checks and rewrites all 512 descriptors of a frame; 0 or -EINVAL. */
export function validateDescriptors(frames: FrameTable, mfn: Mfn, domain: Domain): number {
  const words = frames.hypervisor.memory.u32;
  const base = frames.words(mfn);
  frames.hypervisor.work += DESCRIPTORS;
  for (let i = 0; i < DESCRIPTORS; i++) {
    const at = base + i * 2;
    if (words[at] === 0 && words[at + 1] === 0) continue;
    const checked = checkDescriptor(domain, words[at], words[at + 1]);
    if (!checked) return EINVAL;
    words[at] = checked.low;
    words[at + 1] = checked.high;
  }
  return 0;
}
