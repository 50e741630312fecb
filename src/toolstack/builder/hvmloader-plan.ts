// The board that HVM domains of Xen have: an i440FX by QEMU with Xen's own interrupt controllers and timers, as hvmloader arranges it.
// Source: tools/firmware/hvmloader (config.h, pci.c, e820.c), tools/libacpi (build.c, static_tables.c), xen/include/public/hvm/ioreq.h,
// xen/arch/x86/include/asm/hvm/vioapic.h, irq.h.
import type { BoardPlan } from '../../machine/board-plan.ts';

/** ISA interrupts that PCI's lines lead to. */
const PCI_ISA_IRQS = [5, 10, 11];

/** HVM_PARAM_ACPI_IOPORTS_LOCATION: where ACPI's registers are by its values; hvmloader asks for the second. */
export const PM_PLACES = [
  { pm: 0x1f40, gpe0: 0x1f68 },
  { pm: 0xb000, gpe0: 0xafe0 },
] as const;

export const HVMLOADER_PLAN: BoardPlan = {
  ...PM_PLACES[1],
  smiCommand: null,
  ecam: null,
  pci: { io: { start: 0xc000, end: 0x1_0000 }, memory: { start: 0xf000_0000, end: 0xfc00_0000 } },
  // Xen asserts inputs, whatever polarity the guest has been told of
  ioApic: { pins: 48, version: 0x11, heedsPolarity: false },
  ioApicId: 1,
  pciGsi: (slot, pin) => 16 + (((slot << 2) + (slot >> 3) + pin) & 31),
  linkIrqs: [5, 10, 11, 5],
  overrides: [
    { irq: 0, gsi: 2, level: false, activeLow: false },
    ...PCI_ISA_IRQS.map(irq => ({ irq, gsi: irq, level: true, activeLow: true })),
  ],
  rsdp: 0xf_6800,
  smbios: 0xf_0000,
};

/** From hvmloader's own memory on, up to 4 GiB: ACPI's tables first, which kernels are told of as such; then what nobody may use. */
export const RESERVED_START = 0xfc00_0000;
export const ACPI_TABLES = 0xfc00_a000;
/** Bytes from RESERVED_START on that are RAM and hold tables. */
export const ACPI_BYTES = 0x4_0000;
