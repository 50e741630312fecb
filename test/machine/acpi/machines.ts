// Machines to describe: a PC of our own, a genuine Xen HVM guest's platform, and a PVH guest's.
import type { AcpiMachine } from '../../../src/machine/acpi/description.ts';
import { ISA_OVERRIDES } from '../../../src/machine/interrupts/irq-wiring.ts';

export const pc: AcpiMachine = {
  oem: { id: 'DMZERO', table: 'DMZEROPC', creator: 'DMZ0' },
  apicIds: [0, 1, 2, 3],
  localApic: 0xfee0_0000,
  ioApic: { id: 0, address: 0xfec0_0000 },
  overrides: ISA_OVERRIDES,
  fixed: { sci: 9, pm: 0x600, gpe0: 0x620, smiCommand: 0xb2, reset: { port: 0xcf9, value: 6 } },
  isa: { pic: true, timer: true, clock: true, keyboard: true, serial: [{ port: 0x3f8, irq: 4 }] },
  hpet: { address: 0xfed0_0000, capabilities: 0x8086_a201 },
  pci: {
    ecam: { address: 0xe000_0000, buses: 256 },
    io: [
      { start: 0, end: 0xcf8 },
      { start: 0xd00, end: 0x1_0000 },
    ],
    memory: [
      { start: 0xc000_0000, end: 0xe000_0000 },
      { start: 0xf000_0000, end: 0xfec0_0000 },
    ],
    memory64: { start: 0x80_0000_0000, end: 0x90_0000_0000 },
    gsi: (device, pin) => 16 + ((device + pin) % 4),
    isaIrq: (device, pin) => [10, 11][(device + pin) % 2],
  },
};

export const pvhvm: AcpiMachine = {
  ...pc,
  oem: { id: 'Xen', table: 'HVM', creator: 'HVML' },
  apicIds: [0, 2, 4],
  fixed: { sci: 9, pm: 0xb000, gpe0: 0xafe0, smiCommand: null, reset: { port: 0xcf9, value: 6 } },
  pci: {
    ecam: null,
    io: pc.pci!.io,
    memory: [{ start: 0xf000_0000, end: 0xfc00_0000 }],
    memory64: null,
    gsi: (device, pin) => 16 + (((device << 2) + (device >> 3) + pin) & 31),
    isaIrq: (device, pin) => [5, 10, 11, 5][(device + pin) % 4],
  },
};

export const pvh: AcpiMachine = {
  oem: { id: 'Xen', table: 'HVM', creator: 'HVML' },
  apicIds: Array.from({ length: 130 }, (_, i) => 2 * i),
  localApic: 0xfee0_0000,
  ioApic: null,
  overrides: [],
  fixed: null,
  isa: null,
  hpet: null,
  pci: null,
};
