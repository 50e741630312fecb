// xen/include/public/physdev.h
import { array, handle, i32, struct, u8, u16, u32, u64, ulong } from '../struct.ts';

export const PHYSDEVOP = {
  irq_unmask_notify: 4, irq_status_query: 5, set_iopl: 6, set_iobitmap: 7, apic_read: 8, apic_write: 9, alloc_irq_vector: 10, eoi: 12,
  map_pirq: 13, unmap_pirq: 14, manage_pci_add: 15, manage_pci_remove: 16, pirq_eoi_gmfn_v1: 17, restore_msi: 19, manage_pci_add_ext: 20,
  setup_gsi: 21, get_free_pirq: 23, pci_mmcfg_reserved: 24, pci_device_add: 25, pci_device_remove: 26, restore_msi_ext: 27,
  pirq_eoi_gmfn_v2: 28, dbgp_op: 29, prepare_msix: 30, release_msix: 31,
} as const; // biome-ignore format: a table

/** XENIRQSTAT_*. */
export const XENIRQSTAT = { needs_eoi: 1, shared: 2 } as const;
/** MAP_PIRQ_TYPE_*. */
export const MAP_PIRQ_TYPE = { msi: 0, gsi: 1, unknown: 2, msi_seg: 3, multi_msi: 4 } as const;

export const physdevEoi = struct('physdev_eoi', { irq: u32 });
export const physdevPirqEoiGmfn = struct('physdev_pirq_eoi_gmfn', { gmfn: ulong });
export const physdevIrqStatusQuery = struct('physdev_irq_status_query', { irq: u32, flags: u32 });
export const physdevSetIopl = struct('physdev_set_iopl', { iopl: u32 });
export const physdevSetIobitmap = struct('physdev_set_iobitmap', { bitmap: handle, nrPorts: u32 });
export const physdevApic = struct('physdev_apic', { apicPhysbase: ulong, reg: u32, value: u32 });
export const physdevIrq = struct('physdev_irq', { irq: u32, vector: u32 });
export const physdevMapPirq = struct('physdev_map_pirq', {
  domid: u16,
  type: i32,
  index: i32,
  pirq: i32,
  bus: i32,
  devfn: i32,
  entryNr: i32,
  tableBase: u64,
});
export const physdevUnmapPirq = struct('physdev_unmap_pirq', { domid: u16, pirq: i32 });
export const physdevManagePci = struct('physdev_manage_pci', { bus: u8, devfn: u8 });
export const physdevManagePciExt = struct('physdev_manage_pci_ext', {
  bus: u8,
  devfn: u8,
  isExtfn: u32,
  isVirtfn: u32,
  physfn: struct('physfn', { bus: u8, devfn: u8 }),
});
export const physdevRestoreMsi = struct('physdev_restore_msi', { bus: u8, devfn: u8 });
export const physdevSetupGsi = struct('physdev_setup_gsi', { gsi: i32, triggering: u8, polarity: u8 });
export const physdevGetFreePirq = struct('physdev_get_free_pirq', { type: i32, pirq: u32 });
export const physdevPciMmcfgReserved = struct('physdev_pci_mmcfg_reserved', {
  address: u64,
  segment: u16,
  startBus: u8,
  endBus: u8,
  flags: u32,
});
export const physdevPciDevice = struct('physdev_pci_device', { seg: u16, bus: u8, devfn: u8 });
export const physdevPciDeviceAdd = struct('physdev_pci_device_add', {
  seg: u16,
  bus: u8,
  devfn: u8,
  flags: u32,
  physfn: struct('physfn', { bus: u8, devfn: u8 }),
  optarr: array(u32, 0),
});
