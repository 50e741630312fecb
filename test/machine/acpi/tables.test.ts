import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import * as abi from '../../../src/abi/acpi.ts';
import type { Of } from '../../../src/abi/struct.ts';
import { acpiTables, type PlacedBytes } from '../../../src/machine/acpi/tables.ts';
import { pc, pvh, pvhvm } from './machines.ts';

const AT = { rsdp: 0xe0000, tables: 0xbffc_0000 };
const machines = { pc, pvhvm, pvh };
const view = (bytes: Uint8Array) => new DataView(bytes.buffer, bytes.byteOffset);
const sum = (bytes: Uint8Array) => bytes.reduce((a, b) => a + b, 0) & 0xff;
const signature = ({ bytes }: PlacedBytes) => String.fromCharCode(...bytes.subarray(0, 4));
const find = (tables: PlacedBytes[], name: string) => tables.find(table => signature(table) === name)!;

/** The FADT, whatever its revision leaves out being 0. */
function fadtOf(tables: PlacedBytes[]): Of<typeof abi.fadt> {
  const whole = new Uint8Array(abi.fadt.size(64));
  whole.set(find(tables, 'FACP').bytes);
  return abi.fadt.read(view(whole), 0, 64);
}

/** Types and contents of the MADT's entries. */
function madtEntries(tables: PlacedBytes[]): Uint8Array[] {
  const { bytes } = find(tables, 'APIC');
  const entries = [];
  for (let at = abi.madt.size(64); at < bytes.length; at += bytes[at + 1]) {
    entries.push(bytes.subarray(at, at + bytes[at + 1]));
  }
  return entries;
}

describe('layouts', () => {
  it('have the sizes of the specification', () => {
    const sizes = [abi.rsdp, abi.tableHeader, abi.fadt, abi.facs, abi.madt, abi.hpet, abi.mcfg, abi.mcfgWindow];
    expect(sizes.map(type => type.size(64))).toEqual([36, 36, 268, 64, 44, 56, 44, 16]);
    const { madtLocalApic, madtIoApic, madtOverride, madtLocalNmi, madtX2Apic, madtX2Nmi } = abi;
    const entries = [madtLocalApic, madtIoApic, madtOverride, madtLocalNmi, madtX2Apic, madtX2Nmi];
    expect(entries.map(type => type.size(64))).toEqual([8, 12, 10, 6, 16, 12]);
    expect(abi.fadt.offset('flags', 64)).toBe(112);
    expect(abi.fadt.offset('xPm1aControlBlock', 64)).toBe(172);
    expect(abi.FADT_ACPI2_LENGTH).toBe(244);
  });
});

describe.each(Object.entries(machines))('the tables of a %s', (kind, machine) => {
  const tables = acpiTables(machine, AT);

  it('lead from the root pointer to tables with sound lengths and checksums', () => {
    const root = find(tables, 'RSD ');
    expect(root.address).toBe(AT.rsdp);
    expect(sum(root.bytes.subarray(0, 20))).toBe(0);
    expect(sum(root.bytes)).toBe(0);
    const rsdp = abi.rsdp.read(view(root.bytes), 0, 64);
    const reached = new Set<number>();
    for (const [address, width] of [
      [rsdp.rsdtAddress, 4],
      [Number(rsdp.xsdtAddress), 8],
    ]) {
      const { bytes } = tables.find(table => table.address === address)!;
      const listed = [];
      for (let at = 36; at < bytes.length; at += width) {
        listed.push(width === 4 ? view(bytes).getUint32(at, true) : Number(view(bytes).getBigUint64(at, true)));
      }
      for (const at of [address, ...listed]) reached.add(at);
    }
    const fadt = fadtOf(tables);
    expect(Number(fadt.xDsdt)).toBe(fadt.dsdt);
    reached.add(fadt.dsdt);
    for (const address of reached) {
      const { bytes } = tables.find(table => table.address === address)!;
      expect(abi.tableHeader.read(view(bytes), 0, 64).length).toBe(bytes.length);
      expect(sum(bytes)).toBe(0);
    }
    const facs = machine.fixed ? 1 : 0;
    expect(reached.size).toBe(tables.length - 1 - facs);
    if (facs) expect(find(tables, 'FACS').address).toBe(fadt.facs);
  });

  it('do not overlap', () => {
    const placed = tables.filter(({ address }) => address !== AT.rsdp).sort((a, b) => a.address - b.address);
    for (let i = 1; i < placed.length; i++) {
      expect(placed[i].address).toBeGreaterThanOrEqual(placed[i - 1].address + placed[i - 1].bytes.length);
    }
  });

  it("satisfy ACPICA's compiler both ways", context => {
    if (spawnSync('iasl', ['-v']).error) context.skip('iasl (acpica-tools) is not installed');
    const folder = mkdtempSync(join(tmpdir(), `acpi-${kind}-`));
    try {
      for (const table of tables.filter(t => !['RSD ', 'FACS'].includes(signature(t)))) {
        const file = join(folder, signature(table));
        writeFileSync(`${file}.dat`, table.bytes);
        const disassembled = spawnSync('iasl', ['-d', `${file}.dat`], { encoding: 'utf8' });
        expect(disassembled.stdout + disassembled.stderr).not.toMatch(/warning|error|invalid/i);
        const compiled = spawnSync('iasl', ['-oa', '-p', `${file}-again`, `${file}.dsl`], { encoding: 'utf8' });
        expect(compiled.stdout + compiled.stderr).toMatch(/0 Errors, 0 Warnings, 0 Remarks/);
        const again = readFileSync(`${file}-again.aml`);
        // the compiler puts its own name into the header
        const lengths = [again, table.bytes].map(bytes => bytes.length);
        expect(lengths[0]).toBe(lengths[1]);
        expect(Buffer.compare(again.subarray(36), table.bytes.subarray(36))).toBe(0);
      }
    } finally {
      rmSync(folder, { recursive: true });
    }
  });
});

describe('MADT', () => {
  it('has processors, the I/O APIC, overrides and the NMI of a PC', () => {
    const entries = madtEntries(acpiTables(pc, AT));
    expect(entries.map(([type]) => type)).toEqual([0, 0, 0, 0, 1, 2, 2, 2, 2, 2, 4]);
    const overrides = entries.filter(([type]) => type === 2).map(e => abi.madtOverride.read(view(e), 0, 64));
    expect(overrides[0]).toMatchObject({ irq: 0, gsi: 2, flags: 0 });
    expect(overrides.find(({ irq }) => irq === 9)).toMatchObject({ gsi: 9, flags: 0xd });
  });

  it('has local APICs alone for a PVH guest, those from 255 on as x2APICs', () => {
    const entries = madtEntries(acpiTables(pvh, AT));
    expect(entries.map(([type]) => type)).toEqual([...Array(128).fill(0), 9, 9]);
    expect(abi.madtX2Apic.read(view(entries[129]), 0, 64)).toMatchObject({ apicId: 258, uid: 129, flags: 1 });
  });
});

describe('FADT', () => {
  it('of a PVH guest is hardware-reduced and names no registers', () => {
    const fadt = fadtOf(acpiTables(pvh, AT));
    expect(fadt.header).toMatchObject({ revision: 5, length: 268 });
    expect(fadt.flags & abi.FadtFlags.hardwareReduced).not.toBe(0);
    expect(fadt).toMatchObject({ pm1aEventBlock: 0, pmTimerBlock: 0, facs: 0, bootFlags: 0x24 });
  });

  it('of an HVM guest has the registers at the ports of genuine Xen, and ACPI on', () => {
    const fadt = fadtOf(acpiTables(pvhvm, AT));
    expect(fadt.header).toMatchObject({ revision: 3, length: 244 });
    expect(fadt).toMatchObject({ pm1aEventBlock: 0xb000, pm1aControlBlock: 0xb004, pmTimerBlock: 0xb008 });
    expect(fadt).toMatchObject({ gpe0Block: 0xafe0, smiCommand: 0, sciInterrupt: 9 });
    expect(fadt.xPmTimerBlock).toEqual({ space: 1, bitWidth: 32, bitOffset: 0, access: 3, address: 0xb008n });
  });
});
