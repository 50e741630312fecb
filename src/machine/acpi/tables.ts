// The ACPI tables of a machine, from its description to bytes at addresses. Source: ACPI specification 6.5, chapter 5.
import * as abi from '../../abi/acpi.ts';
import { checksum, filled } from '../../abi/packed.ts';
import type { Of, Type } from '../../abi/struct.ts';
import { CENTURY } from '../timers/rtc-calendar.ts';
import type { AcpiMachine } from './description.ts';
import { dsdtTerms } from './dsdt.ts';
import { ACPI_DISABLE, ACPI_ENABLE, GPE0_LENGTH, PM_TIMER, PM1_CONTROL, PM1_STATUS } from './pm.ts';

export interface PlacedBytes {
  readonly address: number;
  readonly bytes: Uint8Array;
}

/** APIC IDs from here on have entries of the x2APIC's kind. */
const FIRST_X2APIC_ID = 255;
const ISA_BUS = 0;
/** The local APIC's input that NMIs come by. */
const NMI_LINT = 1;
const TABLE_ALIGN = 16;
const OEM_REVISION = 1;
/** Counter periods that a periodic timer needs to lose no interrupt. */
const HPET_MINIMUM_TICK = 100;

const REVISION = { rsdp: 2, rsdt: 1, dsdt: 2, madt: 3, hpet: 1, mcfg: 1, facs: 2 } as const;

/**
 * Tables from `tables` on, and the root pointer at `rsdp`. Kernels find the latter by themselves below 1 MiB from 0xe0000 on, at a multiple of
 * 16; elsewhere they have to be told. The rest stands below 4 GiB.
 */
export function acpiTables(machine: AcpiMachine, at: { rsdp: number; tables: number }): PlacedBytes[] {
  const placed: PlacedBytes[] = [];
  let next = at.tables;
  const place = (bytes: Uint8Array, align = TABLE_ALIGN): number => {
    const address = Math.ceil(next / align) * align;
    next = address + bytes.length;
    placed.push({ address, bytes });
    return address;
  };
  const table = (signature: string, revision: number, fixed: Uint8Array, ...rest: Uint8Array[]): number =>
    place(withHeader(machine, signature, revision, fixed, ...rest));

  const facs = machine.fixed ? place(facsBytes(), abi.FACS_ALIGN) : 0;
  const header = new Uint8Array(abi.tableHeader.size(64));
  const dsdt = table('DSDT', REVISION.dsdt, header, Uint8Array.from(dsdtTerms(machine)));
  const roots = [
    table('FACP', fadtRevision(machine), fadtBytes(machine, facs, dsdt)),
    table('APIC', REVISION.madt, ...madtBytes(machine)),
  ];
  if (machine.hpet) roots.push(table('HPET', REVISION.hpet, hpetBytes(machine.hpet)));
  if (machine.pci?.ecam) roots.push(table('MCFG', REVISION.mcfg, ...mcfgBytes(machine.pci.ecam)));
  const rsdt = table('RSDT', REVISION.rsdt, header, ...roots.map(address => number(address, 4)));
  const xsdt = table('XSDT', REVISION.rsdt, header, ...roots.map(address => number(address, 8)));
  placed.push({ address: at.rsdp, bytes: rsdpBytes(machine, rsdt, xsdt) });
  return placed;
}

const number = (value: number, length: number): Uint8Array =>
  Uint8Array.from({ length }, (_, i) => Number((BigInt(value) >> BigInt(8 * i)) & 0xffn));

function withHeader(
  { oem }: AcpiMachine,
  signature: string,
  revision: number,
  fixed: Uint8Array,
  ...rest: Uint8Array[]
): Uint8Array {
  const length = rest.reduce((sum, part) => sum + part.length, fixed.length);
  const bytes = new Uint8Array(length);
  let at = 0;
  for (const part of [fixed, ...rest]) {
    bytes.set(part, at);
    at += part.length;
  }
  const header = {
    signature,
    length,
    revision,
    oemId: oem.id,
    oemTableId: oem.table,
    oemRevision: OEM_REVISION,
    creatorId: oem.creator,
    creatorRevision: OEM_REVISION,
  };
  const view = new DataView(bytes.buffer);
  abi.tableHeader.update(view, 0, header, 64);
  abi.tableHeader.update(view, 0, { checksum: checksum(bytes) }, 64);
  return bytes;
}

function rsdpBytes({ oem }: AcpiMachine, rsdt: number, xsdt: number): Uint8Array {
  const bytes = filled(abi.rsdp, {
    signature: abi.RSDP_SIGNATURE,
    oemId: oem.id,
    revision: REVISION.rsdp,
    rsdtAddress: rsdt,
    length: abi.rsdp.size(64),
    xsdtAddress: BigInt(xsdt),
  });
  const view = new DataView(bytes.buffer);
  abi.rsdp.update(view, 0, { checksum: checksum(bytes.subarray(0, abi.RSDP_V1_LENGTH)) }, 64);
  abi.rsdp.update(view, 0, { extendedChecksum: checksum(bytes) }, 64);
  return bytes;
}

const facsBytes = (): Uint8Array =>
  filled(abi.facs, { signature: 'FACS', length: abi.facs.size(64), version: REVISION.facs });

type GenericAddress = Of<typeof abi.genericAddress>;

function ports(port: number, bytes: number, access: number): GenericAddress {
  return { space: abi.AddressSpace.io, bitWidth: 8 * bytes, bitOffset: 0, access, address: BigInt(port) };
}

const fadtRevision = ({ fixed }: AcpiMachine): number =>
  fixed ? abi.FadtRevision.acpi2 : abi.FadtRevision.hardwareReduced;

function fadtBytes({ fixed, isa }: AcpiMachine, facs: number, dsdt: number): Uint8Array {
  const { byte, word, dword } = abi.AccessWidth;
  const { FadtFlags: flags, FadtBootFlags: boot } = abi;
  const common: Partial<Of<typeof abi.fadt>> = {
    dsdt,
    xDsdt: BigInt(dsdt),
    bootFlags:
      boot.noVga |
      (isa ? boot.legacyDevices : 0) |
      (isa?.keyboard ? boot.keyboardController : 0) |
      (isa?.clock ? 0 : boot.noCmosClock),
    century: isa?.clock ? CENTURY : 0,
    c2Latency: abi.NO_C2,
    c3Latency: abi.NO_C3,
    flags: flags.wbinvd | flags.c1 | flags.noFixedSleepButton | flags.noFixedRtcWake,
  };
  if (!fixed) return filled(abi.fadt, { ...common, flags: flags.wbinvd | flags.c1 | flags.hardwareReduced });
  const { pm, gpe0, smiCommand, reset } = fixed;
  const bytes = filled(abi.fadt, {
    ...common,
    facs,
    xFacs: BigInt(facs),
    sciInterrupt: fixed.sci,
    smiCommand: smiCommand ?? 0,
    acpiEnable: smiCommand === null ? 0 : ACPI_ENABLE,
    acpiDisable: smiCommand === null ? 0 : ACPI_DISABLE,
    pm1aEventBlock: pm + PM1_STATUS,
    pm1aControlBlock: pm + PM1_CONTROL,
    pmTimerBlock: pm + PM_TIMER,
    gpe0Block: gpe0,
    pm1EventLength: 4,
    pm1ControlLength: 2,
    pmTimerLength: 4,
    gpe0BlockLength: GPE0_LENGTH,
    xPm1aEventBlock: ports(pm + PM1_STATUS, 4, word),
    xPm1aControlBlock: ports(pm + PM1_CONTROL, 2, word),
    xPmTimerBlock: ports(pm + PM_TIMER, 4, dword),
    xGpe0Block: ports(gpe0, GPE0_LENGTH, byte),
    flags: common.flags! | flags.timer32 | flags.resetRegister,
    resetRegister: ports(reset.port, 1, byte),
    resetValue: reset.value,
  });
  return bytes.slice(0, abi.FADT_ACPI2_LENGTH);
}

function madtBytes({ apicIds, localApic, ioApic, overrides, isa }: AcpiMachine): [Uint8Array, ...Uint8Array[]] {
  const { MadtType: type, Inti: inti, MADT_ENABLED: flags } = abi;
  const withX2Apic = apicIds.some(id => id >= FIRST_X2APIC_ID);
  const entry = <T extends { type: number; length: number }>(kind: Type<T>, values: Partial<T>): Uint8Array =>
    filled(kind, { ...values, length: kind.size(64) } as Partial<T>);
  return [
    filled(abi.madt, { localApic, flags: isa?.pic ? abi.MADT_PC_AT : 0 }),
    ...apicIds.map((apicId, uid) =>
      apicId >= FIRST_X2APIC_ID
        ? entry(abi.madtX2Apic, { type: type.x2Apic, apicId, uid, flags })
        : entry(abi.madtLocalApic, { type: type.localApic, apicId, uid, flags }),
    ),
    ...(ioApic ? [entry(abi.madtIoApic, { type: type.ioApic, id: ioApic.id, address: ioApic.address })] : []),
    ...overrides.map(({ irq, gsi, level, activeLow }) =>
      entry(abi.madtOverride, {
        type: type.override,
        bus: ISA_BUS,
        irq,
        gsi,
        flags: level ? inti.level | (activeLow ? inti.activeLow : inti.activeHigh) : 0,
      }),
    ),
    ...(ioApic
      ? [entry(abi.madtLocalNmi, { type: type.localNmi, uid: abi.ALL_PROCESSORS.localApic, lint: NMI_LINT })]
      : []),
    ...(withX2Apic && ioApic
      ? [entry(abi.madtX2Nmi, { type: type.x2Nmi, uid: abi.ALL_PROCESSORS.x2Apic, lint: NMI_LINT })]
      : []),
  ];
}

function hpetBytes({ address, capabilities }: NonNullable<AcpiMachine['hpet']>): Uint8Array {
  return filled(abi.hpet, {
    blockId: capabilities,
    address: { space: abi.AddressSpace.memory, bitWidth: 0, bitOffset: 0, access: 0, address: BigInt(address) },
    minimumTick: HPET_MINIMUM_TICK,
  });
}

function mcfgBytes({ address, buses }: { address: number; buses: number }): [Uint8Array, Uint8Array] {
  return [filled(abi.mcfg, {}), filled(abi.mcfgWindow, { address: BigInt(address), firstBus: 0, lastBus: buses - 1 })];
}
