// Selectors and descriptors that Xen reserves in every PV guest's GDT, and the per-domain linear area they are read through.
// Source: xen/include/public/arch-x86/xen-x86_64.h (FLAT_*), Xen's per-CPU GDT and its per-domain slot.

/** Limit of GDTR in bytes - 1: the guest's 14 frames and one of Xen's. */
export const GDT_LIMIT = 15 * 4096 - 1;

export const FLAT_KERNEL_CS = 0xe033;
export const FLAT_USER_CS32 = 0xe023;
export const FLAT_KERNEL_SS = 0xe02b;

/** Xen's own descriptors, by selector: guests see and load those of DPL 3. */
export const XEN_DESCRIPTORS: ReadonlyMap<number, bigint> = new Map([
  [0xe008, 0x00af9b000000ffffn], // ring 0 code, 64-bit
  [0xe010, 0x00cf93000000ffffn], // ring 0 data
  [0xe020, 0x00cffb000000ffffn], // ring 3 code, compatibility
  [0xe028, 0x00cff3000000ffffn], // ring 3 data
  [0xe030, 0x00affb000000ffffn], // ring 3 code, 64-bit
  [0xe038, 0x00cf9b000000ffffn], // ring 0 code, compatibility
  [0xe060, 0x0000910000000000n], // whose limit is the processor's number: 0, there is one
]);

/** Linear address of the per-domain area. */
export const PERDOMAIN_VIRT_START = 0xffff820000000000n;
/** One vCPU's part of it: 16 pages of GDT, then 16 pages of LDT. */
export const GDT_LDT_VCPU_BYTES = 32 * 4096;
export const LDT_PAGE_OFFSET = 16;

/** Linear address of a vCPU's GDT. */
export function gdtVirtStart(vcpuId: number): bigint {
  return PERDOMAIN_VIRT_START + BigInt(vcpuId * GDT_LDT_VCPU_BYTES);
}

/** Linear address that a vCPU's LDT is read through. */
export function ldtVirtStart(vcpuId: number): bigint {
  return gdtVirtStart(vcpuId) + BigInt(LDT_PAGE_OFFSET * 4096);
}

/** The hole that belongs to Xen: [start, end). No guest stack frame, breakpoint or mapping may stand in it. */
export const HYPERVISOR_VIRT_START = 0xffff800000000000n;
export const HYPERVISOR_VIRT_END = 0xffff880000000000n;

/** True for the upper half of an address that is canonical and not in the hole, as guest pointers must be. @param high signed */
export function isGuestHalf(high: number): boolean {
  const unsigned = high >>> 0;
  return unsigned < 0x8000 || unsigned >= Number(HYPERVISOR_VIRT_END >> 32n);
}

/** True where bits 63..47 are all equal. */
export function isCanonical(address: bigint): boolean {
  const top = address >> 47n;
  return top === 0n || top === 0x1ffffn;
}

/** Attribute bits of the flat segments, in the layout of SEG_FIELD.attributes: type, S, DPL 3, P; L or D/B; G. */
export const FLAT_CODE64_ATTRIBUTES = 0xa0fb;
export const FLAT_CODE32_ATTRIBUTES = 0xc0fb;
export const FLAT_DATA_ATTRIBUTES = 0xc0f3;
