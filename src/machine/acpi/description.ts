// A machine as its ACPI tables describe it: plain data that whoever puts the machine together writes down once.
import type { Window } from './resources.ts';

/** An ISA interrupt that is not a rising edge at the I/O APIC pin of its own number. */
export interface InterruptOverride {
  readonly irq: number;
  readonly gsi: number;
  readonly level: boolean;
  readonly activeLow: boolean;
}

/** Power management registers (pm.ts); without them a machine is "hardware-reduced". */
export interface FixedHardware {
  /** ISA interrupt of the SCI. */
  readonly sci: number;
  /** Ports of the PM1a and timer block, of GPE0, and of the SMI command; null where the machine is in ACPI mode from the start. */
  readonly pm: number;
  readonly gpe0: number;
  readonly smiCommand: number | null;
  /** Port and value that reset the machine. */
  readonly reset: { readonly port: number; readonly value: number };
}

export interface PciRoot {
  /** A PCI Express root has a memory-mapped configuration window, a megabyte a bus. */
  readonly ecam: { readonly address: number; readonly buses: number } | null;
  /** What the bridge passes on; memory above 4 GiB only where there is a window. */
  readonly io: readonly Window[];
  readonly memory: readonly Window[];
  readonly memory64: Window | null;
  /** I/O APIC pin, and in PIC mode ISA interrupt, of a device's pin INTA (0) to INTD (3). */
  gsi(device: number, pin: number): number;
  isaIrq(device: number, pin: number): number;
}

/** Devices at ISA's usual places. */
export interface IsaDevices {
  readonly pic: boolean;
  /** The 8254 and the speaker's port. */
  readonly timer: boolean;
  readonly clock: boolean;
  /** Keyboard controller with keyboard and mouse. */
  readonly keyboard: boolean;
  readonly serial: readonly { readonly port: number; readonly irq: number }[];
}

export interface AcpiMachine {
  /** Who made it: at most 6, 8 and 4 characters. */
  readonly oem: { readonly id: string; readonly table: string; readonly creator: string };
  /** APIC IDs of the processors, the boot processor's first. */
  readonly apicIds: readonly number[];
  readonly localApic: number;
  readonly ioApic: { readonly id: number; readonly address: number } | null;
  readonly overrides: readonly InterruptOverride[];
  readonly fixed: FixedHardware | null;
  readonly isa: IsaDevices | null;
  /** Address of the event timers' registers and their capability register's low half. */
  readonly hpet: { readonly address: number; readonly capabilities: number } | null;
  readonly pci: PciRoot | null;
}
