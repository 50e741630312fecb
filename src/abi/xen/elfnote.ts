// Xen's ELF notes (xen/include/public/elfnote.h) and the feature flags that two of them carry
// (xen/include/public/features.h). The owner name of such a note is "Xen".

export const XEN_ELFNOTE = {
  INFO: 0,
  ENTRY: 1,
  HYPERCALL_PAGE: 2,
  VIRT_BASE: 3,
  PADDR_OFFSET: 4,
  XEN_VERSION: 5,
  GUEST_OS: 6,
  GUEST_VERSION: 7,
  LOADER: 8,
  PAE_MODE: 9,
  FEATURES: 10,
  BSD_SYMTAB: 11,
  HV_START_LOW: 12,
  L1_MFN_VALID: 13,
  SUSPEND_CANCEL: 14,
  INIT_P2M: 15,
  MOD_START_PFN: 16,
  SUPPORTED_FEATURES: 17,
  PHYS32_ENTRY: 18,
  PHYS32_RELOC: 19,
} as const;

export type XenNoteName = keyof typeof XEN_ELFNOTE;

/** Notes whose value is text; L1_MFN_VALID and PHYS32_RELOC are structures, all others are numbers. */
export const TEXT_NOTES: ReadonlySet<XenNoteName> = new Set([
  'INFO',
  'XEN_VERSION',
  'GUEST_OS',
  'GUEST_VERSION',
  'LOADER',
  'PAE_MODE',
  'FEATURES',
  'BSD_SYMTAB',
]);

/** XENFEAT_* bits by name. */
export const XENFEAT = {
  writable_page_tables: 0,
  writable_descriptor_tables: 1,
  auto_translated_physmap: 2,
  supervisor_mode_kernel: 3,
  pae_pgdir_above_4gb: 4,
  mmu_pt_update_preserve_ad: 5,
  highmem_assist: 6,
  gnttab_map_avail_bits: 7,
  hvm_callback_vector: 8,
  hvm_safe_pvclock: 9,
  hvm_pirqs: 10,
  dom0: 11,
  grant_map_identity: 12,
  memory_op_vnode_supported: 13,
  ARM_SMCCC_supported: 14,
  linux_rsdp_unrestricted: 15,
  not_direct_mapped: 16,
  direct_mapped: 17,
} as const;

export type XenFeature = keyof typeof XENFEAT;

const NAMES = new Map<number, XenNoteName>(
  Object.entries(XEN_ELFNOTE).map(([name, number]) => [number, name as XenNoteName]),
);

/** The note's name, or null for a number that this version of the interface does not define. */
export function xenNoteName(number: number): XenNoteName | null {
  return NAMES.get(number) ?? null;
}
