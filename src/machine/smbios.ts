// The SMBIOS tables of a machine: who made it and what is in it, for inventories and for kernels that know a machine's quirks by its name.
// Source: DMTF DSP0134, SMBIOS reference specification 2.8.
import { checksum, filled } from '../abi/packed.ts';
import * as abi from '../abi/smbios.ts';
import type { Type } from '../abi/struct.ts';
import type { CpuModel } from '../cpu/models/model.ts';
import type { PlacedBytes } from './acpi/tables.ts';

/** Who made a machine and its firmware. */
export interface SmbiosIdentity {
  /** The date is written month/day/year. */
  readonly bios: { readonly vendor: string; readonly version: string; readonly date: string };
  readonly system: { readonly manufacturer: string; readonly product: string; readonly version: string };
  /** 16 bytes, in the order in which they are written; absent where the machine has none. */
  readonly uuid?: Uint8Array;
}

export interface SmbiosMachine extends SmbiosIdentity {
  /** One package with so many cores; the name and CPUID leaf 1's EAX and EDX. */
  readonly processor: {
    readonly manufacturer: string;
    readonly name: string;
    readonly signature: number;
    readonly features: number;
    readonly mhz: number;
    readonly cores: number;
  };
  /** Ranges of RAM, in bytes. */
  readonly ram: readonly { readonly address: number; readonly size: number }[];
}

const KIB = 1024;
const MIB = 1024 * KIB;
const MAX_U32 = 0xffff_ffff;
const MAX_U8 = 0xff;
const BIOS_SEGMENT = 0xf000;
/** ROM size 0 is 64 KiB. */
const ENTRY_ALIGN = 16;
/** The first three groups of a UUID are little-endian here. */
const UUID_ORDER = Uint8Array.of(3, 2, 1, 0, 5, 4, 7, 6, 8, 9, 10, 11, 12, 13, 14, 15);

/** A structure without its place: what a handle points at is another's number. */
class Table {
  readonly structures: Uint8Array[] = [];

  /** Adds a structure; its fields that are strings become numbers of strings. Returns its handle. */
  add<T extends { type: number; length: number; handle: number }>(
    layout: Type<T>,
    type: number,
    values: { [K in keyof T]?: T[K] | string },
  ): number {
    const handle = this.structures.length;
    const strings: string[] = [];
    const fields = Object.entries(values).map(([field, value]) => {
      if (typeof value !== 'string') return [field, value];
      return [field, value === '' ? 0 : strings.push(value)];
    });
    const fixed = filled(layout, {
      ...Object.fromEntries(fields),
      type,
      length: layout.size(64),
      handle,
    } as Partial<T>);
    // with no string there are two zero bytes all the same
    const text = strings.length === 0 ? '\0\0' : `${strings.join('\0')}\0\0`;
    this.structures.push(Uint8Array.from([...fixed, ...[...text].map(c => c.charCodeAt(0))]));
    return handle;
  }
}

/** @param at a multiple of 16 from 0xf0000 on: the entry point stands there, where kernels look for it, and the table behind it. */
export function smbiosTables(machine: SmbiosMachine, at: number): PlacedBytes[] {
  const { structures } = describe(machine);
  const table = Uint8Array.from(structures.flatMap(structure => [...structure]));
  const address = at + Math.ceil(abi.entryPoint.size(64) / ENTRY_ALIGN) * ENTRY_ALIGN;
  const { major, minor } = abi.SMBIOS_VERSION;
  const entry = filled(abi.entryPoint, {
    anchor: abi.ANCHOR,
    length: abi.entryPoint.size(64),
    major,
    minor,
    maximumSize: Math.max(...structures.map(({ length }) => length)),
    intermediateAnchor: abi.INTERMEDIATE_ANCHOR,
    tableLength: table.length,
    tableAddress: address,
    structures: structures.length,
    bcdRevision: (major << 4) | minor,
  });
  const view = new DataView(entry.buffer);
  const intermediate = entry.subarray(abi.entryPoint.offset('intermediateAnchor', 64));
  abi.entryPoint.update(view, 0, { intermediateChecksum: checksum(intermediate) }, 64);
  abi.entryPoint.update(view, 0, { checksum: checksum(entry) }, 64);
  return [
    { address: at, bytes: entry },
    { address, bytes: table },
  ];
}

function describe({ bios, system, uuid, processor, ram }: SmbiosMachine): Table {
  const table = new Table();
  const { StructureType: type } = abi;
  table.add(abi.biosInformation, type.bios, {
    ...bios,
    startSegment: BIOS_SEGMENT,
    characteristics: abi.BIOS_CHARACTERISTICS_UNKNOWN,
    extension: Uint8Array.from(abi.BIOS_EXTENSION),
    controllerMajor: abi.NO_CONTROLLER,
    controllerMinor: abi.NO_CONTROLLER,
  });
  table.add(abi.systemInformation, type.system, {
    ...system,
    ...(uuid ? { uuid: UUID_ORDER.map(i => uuid[i]) } : {}),
    wakeUp: abi.WAKE_UP_POWER_SWITCH,
  });
  table.add(abi.chassis, type.chassis, {
    manufacturer: system.manufacturer,
    kind: abi.CHASSIS_OTHER,
    bootState: abi.STATE_SAFE,
    powerState: abi.STATE_SAFE,
    thermalState: abi.STATE_SAFE,
    security: abi.SECURITY_NONE,
  });
  const cores = Math.min(processor.cores, MAX_U8);
  table.add(abi.processor, type.processor, {
    socket: 'CPU 0',
    kind: abi.PROCESSOR_CENTRAL,
    family: abi.FAMILY_OTHER,
    family2: abi.FAMILY_OTHER,
    manufacturer: processor.manufacturer,
    version: processor.name,
    signature: processor.signature,
    features: processor.features,
    maximumSpeed: processor.mhz,
    currentSpeed: processor.mhz,
    status: abi.SOCKET_POPULATED_ENABLED,
    upgrade: abi.UPGRADE_OTHER,
    l1Cache: abi.NO_CACHE,
    l2Cache: abi.NO_CACHE,
    l3Cache: abi.NO_CACHE,
    cores,
    coresEnabled: cores,
    threads: cores,
    characteristics: abi.PROCESSOR_64_BIT | (cores > 1 ? abi.PROCESSOR_MULTI_CORE : 0),
  });
  describeMemory(table, ram);
  table.add(abi.bootStatus, type.bootStatus, {});
  table.add(abi.endOfTable, type.end, {});
  return table;
}

function describeMemory(table: Table, ram: SmbiosMachine['ram']): void {
  const { StructureType: type } = abi;
  const bytes = ram.reduce((sum, { size }) => sum + size, 0);
  const fits = bytes / KIB < abi.EXTENDED_CAPACITY;
  const array = table.add(abi.memoryArray, type.memoryArray, {
    location: abi.LOCATION_OTHER,
    use: abi.USE_SYSTEM_MEMORY,
    correction: abi.CORRECTION_NONE,
    maximumKiB: fits ? bytes / KIB : abi.EXTENDED_CAPACITY,
    errors: abi.NO_ERROR_RECORD,
    devices: 1,
    maximumBytes: fits ? 0n : BigInt(bytes),
  });
  const mib = Math.floor(bytes / MIB);
  table.add(abi.memoryDevice, type.memoryDevice, {
    array,
    errors: abi.NO_ERROR_RECORD,
    totalWidth: abi.UNKNOWN_WIDTH,
    dataWidth: abi.UNKNOWN_WIDTH,
    size: Math.min(mib, abi.EXTENDED_SIZE),
    extendedSize: mib < abi.EXTENDED_SIZE ? 0 : mib,
    form: abi.FORM_DIMM,
    locator: 'DIMM 0',
    kind: abi.MEMORY_RAM,
    detail: abi.DETAIL_OTHER,
  });
  for (const { address, size } of ram) {
    const last = address + size - 1;
    const near = last / KIB < MAX_U32;
    table.add(abi.memoryMapping, type.memoryMapping, {
      startKiB: near ? address / KIB : MAX_U32,
      endKiB: near ? Math.floor(last / KIB) : MAX_U32,
      array,
      partition: 1,
      start: near ? 0n : BigInt(address),
      end: near ? 0n : BigInt(last),
    });
  }
}

/** What CPUID says of a processor of a model. */
export function smbiosProcessor(model: CpuModel, cores: number): SmbiosMachine['processor'] {
  const leaf = (number: number) => model.leaves.find(({ leaf }) => leaf === number);
  const brand = [0x80000002, 0x80000003, 0x80000004].flatMap(number => {
    const { eax = 0, ebx = 0, ecx = 0, edx = 0 } = leaf(number) ?? {};
    return [eax, ebx, ecx, edx];
  });
  const letters = brand.flatMap(word => [0, 8, 16, 24].map(shift => (word >>> shift) & 0xff));
  return {
    manufacturer: model.vendor,
    name: String.fromCharCode(...letters.filter(letter => letter !== 0)).trim(),
    signature: leaf(1)?.eax ?? 0,
    features: leaf(1)?.edx ?? 0,
    mhz: Math.round(model.frequencyKHz / 1000),
    cores,
  };
}
