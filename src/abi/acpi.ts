// ACPI's tables. Source: ACPI specification 6.5, chapter 5; PCI Firmware specification 3.3 (MCFG); IA-PC HPET specification 1.0a (HPET).
// All are packed: fields stand where the ones before them end.
import { text, u16, u32, u64 } from './packed.ts';
import { bytes, struct, u8 } from './struct.ts';

/** Generic address structure. */
export const AddressSpace = { memory: 0, io: 1 } as const;
export const AccessWidth = { any: 0, byte: 1, word: 2, dword: 3, qword: 4 } as const;
export const genericAddress = struct('generic_address', {
  space: u8,
  bitWidth: u8,
  bitOffset: u8,
  access: u8,
  address: u64,
});

export const rsdp = struct('rsdp', {
  signature: text(8),
  /** Over the first 20 bytes. */
  checksum: u8,
  oemId: text(6),
  revision: u8,
  rsdtAddress: u32,
  length: u32,
  xsdtAddress: u64,
  /** Over all. */
  extendedChecksum: u8,
  reserved: bytes(3),
});
export const RSDP_SIGNATURE = 'RSD PTR ';
/** What the first checksum of the RSDP covers: the whole structure of ACPI 1.0. */
export const RSDP_V1_LENGTH = 20;

export const tableHeader = struct('table_header', {
  signature: text(4),
  length: u32,
  revision: u8,
  checksum: u8,
  oemId: text(6),
  oemTableId: text(8),
  oemRevision: u32,
  creatorId: text(4),
  creatorRevision: u32,
});

/** Fixed ACPI description table, revision 5. */
export const fadt = struct('fadt', {
  header: tableHeader,
  facs: u32,
  dsdt: u32,
  reserved0: u8,
  pmProfile: u8,
  sciInterrupt: u16,
  smiCommand: u32,
  acpiEnable: u8,
  acpiDisable: u8,
  s4BiosRequest: u8,
  pstateControl: u8,
  pm1aEventBlock: u32,
  pm1bEventBlock: u32,
  pm1aControlBlock: u32,
  pm1bControlBlock: u32,
  pm2ControlBlock: u32,
  pmTimerBlock: u32,
  gpe0Block: u32,
  gpe1Block: u32,
  pm1EventLength: u8,
  pm1ControlLength: u8,
  pm2ControlLength: u8,
  pmTimerLength: u8,
  gpe0BlockLength: u8,
  gpe1BlockLength: u8,
  gpe1Base: u8,
  cstateControl: u8,
  c2Latency: u16,
  c3Latency: u16,
  flushSize: u16,
  flushStride: u16,
  dutyOffset: u8,
  dutyWidth: u8,
  dayAlarm: u8,
  monthAlarm: u8,
  century: u8,
  bootFlags: u16,
  reserved1: u8,
  flags: u32,
  resetRegister: genericAddress,
  resetValue: u8,
  armBootFlags: u16,
  minorRevision: u8,
  xFacs: u64,
  xDsdt: u64,
  xPm1aEventBlock: genericAddress,
  xPm1bEventBlock: genericAddress,
  xPm1aControlBlock: genericAddress,
  xPm1bControlBlock: genericAddress,
  xPm2ControlBlock: genericAddress,
  xPmTimerBlock: genericAddress,
  xGpe0Block: genericAddress,
  xGpe1Block: genericAddress,
  sleepControl: genericAddress,
  sleepStatus: genericAddress,
});
/**
 * The revisions that are made here. Kernels older than a revision warn that they cut it off, so a PC has ACPI 2.0's, which ends before the
 * sleep registers; a hardware-reduced machine needs the newer one.
 */
export const FadtRevision = { acpi2: 3, hardwareReduced: 5 } as const;
export const FADT_ACPI2_LENGTH = fadt.offset('sleepControl', 64);

export const FadtFlags = {
  wbinvd: 1 << 0,
  c1: 1 << 2,
  /** The sleep button is a device, or there is none. */
  noFixedSleepButton: 1 << 5,
  /** The clock cannot wake by its fixed event. */
  noFixedRtcWake: 1 << 6,
  timer32: 1 << 8,
  resetRegister: 1 << 10,
  hardwareReduced: 1 << 20,
} as const;

export const FadtBootFlags = {
  legacyDevices: 1 << 0,
  keyboardController: 1 << 1,
  noVga: 1 << 2,
  noCmosClock: 1 << 5,
} as const;

/** Latencies that say that there are no such states. */
export const NO_C2 = 0xfff;
export const NO_C3 = 0xfff;

export const facs = struct('facs', {
  signature: text(4),
  length: u32,
  hardwareSignature: u32,
  wakingVector: u32,
  globalLock: u32,
  flags: u32,
  xWakingVector: u64,
  version: u8,
  reserved0: bytes(3),
  ospmFlags: u32,
  reserved1: bytes(24),
});
export const FACS_ALIGN = 64;

export const madt = struct('madt', { header: tableHeader, localApic: u32, flags: u32 });
/** There is a pair of 8259As too. */
export const MADT_PC_AT = 1;
/** Flags of a local APIC: the processor can be used. */
export const MADT_ENABLED = 1;
export const MadtType = { localApic: 0, ioApic: 1, override: 2, localNmi: 4, x2Apic: 9, x2Nmi: 10 } as const;
export const madtLocalApic = struct('madt_local_apic', { type: u8, length: u8, uid: u8, apicId: u8, flags: u32 });
export const madtIoApic = struct('madt_io_apic', {
  type: u8,
  length: u8,
  id: u8,
  reserved: u8,
  address: u32,
  gsiBase: u32,
});
export const madtOverride = struct('madt_override', {
  type: u8,
  length: u8,
  bus: u8,
  irq: u8,
  gsi: u32,
  flags: u16,
});
export const madtLocalNmi = struct('madt_local_nmi', { type: u8, length: u8, uid: u8, flags: u16, lint: u8 });
export const madtX2Apic = struct('madt_x2apic', {
  type: u8,
  length: u8,
  reserved: u16,
  apicId: u32,
  flags: u32,
  uid: u32,
});
export const madtX2Nmi = struct('madt_x2apic_nmi', {
  type: u8,
  length: u8,
  flags: u16,
  uid: u32,
  lint: u8,
  reserved: bytes(3),
});
/** MPS INTI flags of overrides; 0 is as the bus has it. */
export const Inti = { activeHigh: 1, activeLow: 3, edge: 1 << 2, level: 3 << 2 } as const;
export const ALL_PROCESSORS = { localApic: 0xff, x2Apic: 0xffff_ffff } as const;

export const hpet = struct('hpet', {
  header: tableHeader,
  blockId: u32,
  address: genericAddress,
  number: u8,
  minimumTick: u16,
  protection: u8,
});

export const mcfg = struct('mcfg', { header: tableHeader, reserved: u64 });
export const mcfgWindow = struct('mcfg_window', {
  address: u64,
  segment: u16,
  firstBus: u8,
  lastBus: u8,
  reserved: u32,
});
