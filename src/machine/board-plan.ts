// Where a board's chips stand and how its interrupts are wired, as far as boards differ.

import type { IoApicModel } from './interrupts/io-apic.ts';
import { ISA_OVERRIDES, type IsaOverride, swizzledGsi } from './interrupts/irq-wiring.ts';
import type { LayoutOptions, MemoryRange } from './memory-layout.ts';
import { ECAM_SIZE } from './pci/config-access.ts';
import type { PciWindows } from './pci/firmware.ts';

export interface BoardPlan {
  /** Ports of ACPI's registers. Without the SMI command the board is in ACPI mode from the start. */
  readonly pm: number;
  readonly gpe0: number;
  readonly smiCommand: number | null;
  /** Physical address of PCI's configuration window; null for a bus that is not PCI Express. */
  readonly ecam: number | null;
  /** RAM below 4 GiB ends where the memory window begins, at the latest. */
  readonly pci: PciWindows;
  readonly ioApic: IoApicModel;
  /** Id of the I/O APIC in ACPI's tables. */
  readonly ioApicId: number;
  /** Inputs of the I/O APIC of PCI slots' pins, INTA# being 0. */
  readonly pciGsi: (slot: number, pin: number) => number;
  /** ISA interrupts of PIRQA to PIRQD for kernels that use the 8259s. */
  readonly linkIrqs: readonly [number, number, number, number];
  /** What ACPI's tables say of ISA interrupts. */
  readonly overrides: readonly IsaOverride[];
  /** Addresses of ACPI's root pointer and of SMBIOS's entry, where software looks for them. */
  readonly rsdp: number;
  readonly smbios: number;
}

/** A PC of our own. */
export const OWN_PLAN = {
  pm: 0x600,
  gpe0: 0x620,
  smiCommand: 0xb2,
  ecam: 0xe000_0000,
  pci: { io: { start: 0xc000, end: 0x1_0000 }, memory: { start: 0xc000_0000, end: 0xe000_0000 } },
  ioApic: { pins: 24, version: 0x20, heedsPolarity: true },
  ioApicId: 0,
  pciGsi: swizzledGsi,
  linkIrqs: [10, 11, 10, 11],
  overrides: ISA_OVERRIDES,
  rsdp: 0xe_0000,
  smbios: 0xf_0000,
} as const satisfies BoardPlan;

/** For layOutMemory: where RAM has to end, and what is nobody's. */
export function holeOf({ pci, ecam }: BoardPlan): Pick<LayoutOptions, 'holeStart'> & { reserved: MemoryRange[] } {
  return {
    holeStart: pci.memory.start,
    reserved: ecam === null ? [] : [{ address: ecam, size: ECAM_SIZE, type: 2 }],
  };
}
