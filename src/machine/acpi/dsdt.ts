// The differentiated system description: the devices that no bus enumerates, in AML.
import { HPET_LENGTH } from '../timers/hpet.ts';
import * as aml from './aml.ts';
import type { AcpiMachine, FixedHardware, IsaDevices, PciRoot } from './description.ts';
import { GPE0_LENGTH, PM_LENGTH, S5_SLEEP_TYPE } from './pm.ts';
import * as res from './resources.ts';

/** What `\_PIC` was told: 0 for 8259As, 1 for the I/O APIC. */
const APIC_MODE = '\\PICF';
const PCI_DEVICES = 32;
const PCI_PINS = 4;
const PCI_ADDRESS_PORTS = { start: 0xcf8, length: 8 };
/** PCI firmware specification 3.3, 4.5.1. */
const PCI_OSC_UUID = '33db4d5b-1ff7-401c-9657-7441c03dd766';
/** Hot plug, SHPC hot plug, power management events, error reporting, capability structure. */
const PCI_OSC_GRANTED = 0x1f;
const OSC_UNKNOWN_UUID = 4;

const hid = (id: string): aml.Aml => aml.name('_HID', aml.eisaId(id));
const current = (...descriptors: aml.Aml[]): aml.Aml => aml.name('_CRS', res.resources(...descriptors));

/** The terms of the DSDT, without its header. */
export function dsdtTerms(machine: AcpiMachine): aml.Aml {
  const { fixed, isa, hpet, pci } = machine;
  return [
    ...(fixed ? aml.name('\\_S5', aml.packageOf(...[S5_SLEEP_TYPE, S5_SLEEP_TYPE, 0, 0].map(aml.integer))) : []),
    ...(pci ? interruptMode() : []),
    ...aml.scope(
      '\\_SB',
      ...machine.apicIds.map((_, uid) => processor(uid)),
      ...(pci ? [pciRoot(pci)] : []),
      ...boardResources(fixed, pci),
      ...(hpet ? [aml.device('HPET', hid('PNP0103'), current(res.memory32(hpet.address, HPET_LENGTH)))] : []),
      ...(isa ? isaDevices(isa) : []),
    ),
  ];
}

function processor(uid: number): aml.Aml {
  const digits = uid.toString(16).toUpperCase().padStart(3, '0');
  return aml.device(`C${digits}`, aml.name('_HID', aml.string('ACPI0007')), aml.name('_UID', aml.integer(uid)));
}

function interruptMode(): aml.Aml {
  return [
    ...aml.name(APIC_MODE, aml.integer(0)),
    ...aml.method('\\_PIC', 1, aml.store(aml.arg(0), aml.path(APIC_MODE))),
  ];
}

function pciRoot(pci: PciRoot): aml.Aml {
  const identity = pci.ecam ? [hid('PNP0A08'), aml.name('_CID', aml.eisaId('PNP0A03'))] : [hid('PNP0A03')];
  const { start, length } = PCI_ADDRESS_PORTS;
  return aml.device(
    'PCI0',
    ...identity,
    ...['_UID', '_SEG', '_BBN'].map(at => aml.name(at, aml.integer(0))),
    current(
      res.busNumbers({ start: 0, end: pci.ecam?.buses ?? 256 }),
      res.io(start, length),
      ...pci.io.map(res.ioWindow),
      ...pci.memory.map(res.memoryWindow),
      ...(pci.memory64 ? [res.memoryWindow64(pci.memory64)] : []),
    ),
    ...(pci.ecam ? [operatingSystemCapabilities()] : []),
    aml.name('APRT', routing(pci.gsi)),
    aml.name('IPRT', routing(pci.isaIrq)),
    aml.method(
      '_PRT',
      0,
      aml.when(aml.path(APIC_MODE), aml.giveBack(aml.path('APRT'))),
      aml.giveBack(aml.path('IPRT')),
    ),
  );
}

/** Where each interrupt pin of each device goes, with no link device in between. */
function routing(inputOf: (device: number, pin: number) => number): aml.Aml {
  const entries: aml.Aml[] = [];
  for (let device = 0; device < PCI_DEVICES; device++) {
    for (let pin = 0; pin < PCI_PINS; pin++) {
      // address: any function of the device
      const entry = [device * 0x10000 + 0xffff, pin, 0, inputOf(device, pin)];
      entries.push(aml.packageOf(...entry.map(aml.integer)));
    }
  }
  return aml.packageOf(...entries);
}

/** The kernel asks for features of PCI Express; the firmware keeps none for itself. */
function operatingSystemCapabilities(): aml.Aml {
  return aml.serializedMethod(
    '_OSC',
    4,
    aml.dwordField(aml.arg(3), 0, 'CDW1'),
    aml.when(
      aml.equal(aml.arg(0), aml.uuid(PCI_OSC_UUID)),
      aml.dwordField(aml.arg(3), 8, 'CDW3'),
      aml.and(aml.path('CDW3'), aml.integer(PCI_OSC_GRANTED), aml.path('CDW3')),
    ),
    aml.otherwise(aml.or(aml.path('CDW1'), aml.integer(OSC_UNKNOWN_UUID), aml.path('CDW1'))),
    aml.giveBack(aml.arg(3)),
  );
}

/** What belongs to no device, and must not be given to one. */
function boardResources(fixed: FixedHardware | null, pci: PciRoot | null): aml.Aml[] {
  const taken: aml.Aml[] = [];
  if (pci?.ecam) taken.push(res.memory32(pci.ecam.address, pci.ecam.buses << 20));
  if (fixed) taken.push(res.io(fixed.pm, PM_LENGTH), res.io(fixed.gpe0, GPE0_LENGTH));
  if (fixed && fixed.smiCommand !== null) taken.push(res.io(fixed.smiCommand, 2));
  return taken.length === 0 ? [] : [aml.device('BRD0', hid('PNP0C02'), current(...taken))];
}

function isaDevices({ pic, timer, clock, keyboard, serial }: IsaDevices): aml.Aml[] {
  const devices: aml.Aml[] = [];
  const add = (at: string, id: string, ...descriptors: aml.Aml[]): void => {
    devices.push(aml.device(at, hid(id), current(...descriptors)));
  };
  if (pic) add('PIC', 'PNP0000', res.io(0x20, 2), res.io(0xa0, 2), res.irq(2));
  if (timer) {
    add('TMR', 'PNP0100', res.io(0x40, 4), res.irq(0));
    add('SPKR', 'PNP0800', res.io(0x61, 1));
  }
  if (clock) add('RTC', 'PNP0B00', res.io(0x70, 2), res.irq(8));
  if (keyboard) {
    add('PS2K', 'PNP0303', res.io(0x60, 1), res.io(0x64, 1), res.irq(1));
    add('PS2M', 'PNP0F13', res.irq(12));
  }
  serial.forEach(({ port, irq }, i) => {
    const uid = aml.name('_UID', aml.integer(i + 1));
    devices.push(aml.device(`UAR${i + 1}`, hid('PNP0501'), uid, current(res.io(port, 8), res.irq(irq))));
  });
  return devices;
}
