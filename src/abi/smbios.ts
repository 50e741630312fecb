// The system management BIOS's description of a machine. Source: DMTF DSP0134, SMBIOS reference specification 2.8.
// A structure's fixed part is followed by its strings; fields that refer to one hold its number, from 1, or 0 for none.
import { text, u16, u32, u64 } from './packed.ts';
import { bytes, struct, u8 } from './struct.ts';

export const SMBIOS_VERSION = { major: 2, minor: 8 } as const;

export const entryPoint = struct('smbios_entry_point', {
  anchor: text(4),
  /** Over the whole. */
  checksum: u8,
  length: u8,
  major: u8,
  minor: u8,
  /** Of the largest structure, strings included. */
  maximumSize: u16,
  revision: u8,
  formatted: bytes(5),
  intermediateAnchor: text(5),
  /** From the intermediate anchor on. */
  intermediateChecksum: u8,
  tableLength: u16,
  tableAddress: u32,
  structures: u16,
  bcdRevision: u8,
});
export const ANCHOR = '_SM_';
export const INTERMEDIATE_ANCHOR = '_DMI_';

const head = { type: u8, length: u8, handle: u16 };

export const biosInformation = struct('bios_information', {
  ...head,
  vendor: u8,
  version: u8,
  startSegment: u16,
  date: u8,
  romSize: u8,
  characteristics: u64,
  extension: bytes(2),
  major: u8,
  minor: u8,
  controllerMajor: u8,
  controllerMinor: u8,
});
export const BIOS_CHARACTERISTICS_UNKNOWN = 1n << 3n;
/** ACPI, and that all this is a virtual machine. */
export const BIOS_EXTENSION = [1, 1 << 4] as const;
export const NO_CONTROLLER = 0xff;

export const systemInformation = struct('system_information', {
  ...head,
  manufacturer: u8,
  product: u8,
  version: u8,
  serial: u8,
  uuid: bytes(16),
  wakeUp: u8,
  sku: u8,
  family: u8,
});
export const WAKE_UP_POWER_SWITCH = 6;

export const chassis = struct('chassis', {
  ...head,
  manufacturer: u8,
  kind: u8,
  version: u8,
  serial: u8,
  asset: u8,
  bootState: u8,
  powerState: u8,
  thermalState: u8,
  security: u8,
  oem: u32,
  height: u8,
  cords: u8,
  elements: u8,
  elementLength: u8,
  sku: u8,
});
export const CHASSIS_OTHER = 1;
export const STATE_SAFE = 3;
export const SECURITY_NONE = 3;

export const processor = struct('processor', {
  ...head,
  socket: u8,
  kind: u8,
  family: u8,
  manufacturer: u8,
  /** CPUID leaf 1: EAX, EDX. */
  signature: u32,
  features: u32,
  version: u8,
  voltage: u8,
  externalClock: u16,
  maximumSpeed: u16,
  currentSpeed: u16,
  status: u8,
  upgrade: u8,
  l1Cache: u16,
  l2Cache: u16,
  l3Cache: u16,
  serial: u8,
  asset: u8,
  part: u8,
  cores: u8,
  coresEnabled: u8,
  threads: u8,
  characteristics: u16,
  family2: u16,
});
export const PROCESSOR_CENTRAL = 3;
export const FAMILY_OTHER = 1;
export const SOCKET_POPULATED_ENABLED = 0x41;
export const UPGRADE_OTHER = 1;
export const NO_CACHE = 0xffff;
/** 64 bits, and more than one core. */
export const PROCESSOR_64_BIT = 1 << 2;
export const PROCESSOR_MULTI_CORE = 1 << 3;

export const memoryArray = struct('memory_array', {
  ...head,
  location: u8,
  use: u8,
  correction: u8,
  /** KiB, or the sign bit alone where that does not suffice and the extended field has bytes. */
  maximumKiB: u32,
  errors: u16,
  devices: u16,
  maximumBytes: u64,
});
export const LOCATION_OTHER = 1;
export const USE_SYSTEM_MEMORY = 3;
export const CORRECTION_NONE = 3;
export const NO_ERROR_RECORD = 0xfffe;
export const EXTENDED_CAPACITY = 0x8000_0000;

export const memoryDevice = struct('memory_device', {
  ...head,
  array: u16,
  errors: u16,
  totalWidth: u16,
  dataWidth: u16,
  /** MiB up to 32 GiB - 1, or 0x7fff where the extended field has it. */
  size: u16,
  form: u8,
  set: u8,
  locator: u8,
  bank: u8,
  kind: u8,
  detail: u16,
  speed: u16,
  manufacturer: u8,
  serial: u8,
  asset: u8,
  part: u8,
  attributes: u8,
  extendedSize: u32,
  configuredSpeed: u16,
  minimumVoltage: u16,
  maximumVoltage: u16,
  configuredVoltage: u16,
});
export const UNKNOWN_WIDTH = 0xffff;
export const EXTENDED_SIZE = 0x7fff;
export const FORM_DIMM = 9;
export const MEMORY_RAM = 7;
export const DETAIL_OTHER = 2;

export const memoryMapping = struct('memory_mapping', {
  ...head,
  /** First and last KiB; all ones where the extended fields have the bytes. */
  startKiB: u32,
  endKiB: u32,
  array: u16,
  partition: u8,
  start: u64,
  end: u64,
});

export const bootStatus = struct('boot_status', { ...head, reserved: bytes(6), status: bytes(1) });
export const endOfTable = struct('end_of_table', head);

export const StructureType = {
  bios: 0,
  system: 1,
  chassis: 3,
  processor: 4,
  memoryArray: 16,
  memoryDevice: 17,
  memoryMapping: 19,
  bootStatus: 32,
  end: 127,
} as const;
