// Page-table entries as two 32-bit halves: what PV guests may say in them and how Xen rewrites them.
// Sources: SDM Vol. 3A, 4.5; xen/arch/x86/mm.c (L*_DISALLOW_MASK), xen/arch/x86/pv/mm.h (adjust_guest_*). Halves are used because page
// tables are the hypervisor's hottest data, and 64-bit integers cost an allocation each.

/** Flag bits of the low half. */
export const Pte = {
  present: 0x001,
  rw: 0x002,
  user: 0x004,
  pwt: 0x008,
  pcd: 0x010,
  accessed: 0x020,
  dirty: 0x040,
  /** PSE in L2 and L3 entries, PAT in L1 entries. */
  pse: 0x080,
  global: 0x100,
  avail: 0xe00,
} as const;

/** Flag bits of the high half (bit n of it is bit n + 32 of the entry). */
export const PteHigh = {
  /** Bit 52: Xen's mark for a page of the guest's kernel (the guest did not ask for U). */
  guestKernel: 1 << 20,
  address: 0x000fffff,
  /** NX, as the unsigned value. */
  noExecute: 0x80000000,
} as const;

export const ENTRIES = 512;
/** L4 slots that are Xen's: 0xffff800000000000 to 0xffff87ffffffffff. */
export const FIRST_XEN_SLOT = 256;
export const LAST_XEN_SLOT = 271;

const CACHE_ATTRIBUTES = Pte.pwt | Pte.pcd | Pte.pse;
/** Flags that L2 to L4 entries must not have: PWT, PCD, PSE, G. */
export const UPPER_DISALLOWED = Pte.pwt | Pte.pcd | Pte.pse | Pte.global;

/** Flags that L1 entries must not have: cache attributes, unless the domain has devices. */
export function l1Disallowed(mayChooseCaching: boolean): number {
  return mayChooseCaching ? 0 : CACHE_ATTRIBUTES;
}

// What may change in a present entry without its being validated again: A, D, U, G, the available bits, NX.
const FAST_LOW = Pte.avail | Pte.global | Pte.dirty | Pte.accessed | Pte.user;

/** True where two present entries differ at most in bits that need no new validation. RW is not among them (XSA-182). */
export function differsHarmlessly(oldLow: number, oldHigh: number, low: number, high: number): boolean {
  return ((oldLow ^ low) & ~FAST_LOW) === 0 && ((oldHigh ^ high) & PteHigh.address) === 0;
}

/** The frame that an entry points at; up to 2^40 - 1, so perhaps no frame of RAM. */
export function mfnOf(low: number, high: number): number {
  return (low >>> 12) + (high & PteHigh.address) * 0x100000;
}

/** Low half of a 64-bit guest's present L1 entry as Xen installs it. The high half is adjustL1High's. */
export function adjustL1Low(low: number, high: number): number {
  const kernel = (low & Pte.user) === 0 || (high & PteHigh.guestKernel) !== 0;
  return kernel ? low | Pte.user : low | Pte.global | Pte.user;
}

/** High half of a 64-bit guest's present L1 entry: a page without U is marked as the guest kernel's. */
export function adjustL1High(low: number, high: number): number {
  return (low & Pte.user) === 0 ? high | PteHigh.guestKernel : high;
}

/** Index in a table of the given level (1 to 4) for a linear address. */
export function slotOf(linear: bigint, level: number): number {
  return Number((linear >> BigInt(12 + 9 * (level - 1))) & 511n);
}

/** A present entry of Xen's own making. */
export function entry(mfn: number, flags: number): { low: number; high: number } {
  return { low: ((mfn << 12) | flags) >>> 0, high: Math.floor(mfn / 0x100000) };
}
