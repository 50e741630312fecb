import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import * as abi from '../../src/abi/smbios.ts';
import type { Type } from '../../src/abi/struct.ts';
import { type SmbiosMachine, smbiosTables } from '../../src/machine/smbios.ts';

const GIB = 2 ** 30;
const machine: SmbiosMachine = {
  bios: { vendor: 'domzero', version: '1.0', date: '11/28/2026' },
  system: { manufacturer: 'domzero', product: 'PC', version: '' },
  uuid: Uint8Array.from({ length: 16 }, (_, i) => i),
  processor: { manufacturer: 'AMD', name: 'EPYC', signature: 0xb00f21, features: 0x178bfbff, mhz: 1000, cores: 4 },
  ram: [
    { address: 0, size: 3 * GIB },
    { address: 4 * GIB, size: 5 * GIB },
  ],
};
const view = (bytes: Uint8Array) => new DataView(bytes.buffer, bytes.byteOffset);
const sum = (bytes: Uint8Array) => bytes.reduce((a, b) => a + b, 0) & 0xff;

describe('SMBIOS', () => {
  it('has the lengths that version 2.8 gives its structures', () => {
    const { biosInformation, systemInformation, chassis, processor, memoryArray, memoryDevice, memoryMapping } = abi;
    const layouts = [biosInformation, systemInformation, chassis, processor, memoryArray, memoryDevice, memoryMapping];
    expect(layouts.map(layout => layout.size(64))).toEqual([0x18, 0x1b, 0x16, 0x2a, 0x17, 0x28, 0x1f]);
    expect(abi.entryPoint.size(64)).toBe(0x1f);
    expect(abi.bootStatus.size(64)).toBe(0x0b);
  });

  it('leads from the entry point through all structures to the end', () => {
    const [entry, table] = smbiosTables(machine, 0xf0000);
    expect([entry.address, table.address]).toEqual([0xf0000, 0xf0020]);
    expect(sum(entry.bytes)).toBe(0);
    expect(sum(entry.bytes.subarray(0x10))).toBe(0);
    const { tableAddress, tableLength, structures } = abi.entryPoint.read(view(entry.bytes), 0, 64);
    expect([tableAddress, tableLength]).toEqual([table.address, table.bytes.length]);
    const types = [];
    let at = 0;
    while (at < tableLength) {
      const { type, length, handle } = abi.endOfTable.read(view(table.bytes), at, 64);
      expect(handle).toBe(types.length);
      types.push(type);
      at += length;
      while (table.bytes[at] !== 0 || table.bytes[at + 1] !== 0) at++;
      at += 2;
    }
    expect(types).toEqual([0, 1, 3, 4, 16, 17, 19, 19, 32, 127]);
    expect(types.length).toBe(structures);
  });

  it('says to dmidecode what it was told', context => {
    if (spawnSync('dmidecode', ['--version']).error) context.skip('dmidecode is not installed');
    const folder = mkdtempSync(join(tmpdir(), 'smbios-'));
    try {
      const dump = new Uint8Array(64 * 1024);
      for (const { address, bytes } of smbiosTables(machine, 0)) dump.set(bytes, address);
      const file = join(folder, 'dump');
      writeFileSync(file, dump);
      const { stdout, stderr } = spawnSync('dmidecode', ['--from-dump', file], { encoding: 'utf8' });
      expect(stderr).toBe('');
      expect(stdout).not.toMatch(/broken|invalid|truncated|bad index|out of spec|outside/i);
      for (const said of [
        'SMBIOS 2.8 present',
        'Product Name: PC',
        'UUID: 00010203-0405-0607-0809-0a0b0c0d0e0f',
        'Core Count: 4',
        'Maximum Capacity: 8 GB',
        'Size: 8 GB',
        'Starting Address: 0x00100000000',
        'Ending Address: 0x0023FFFFFFF',
        'System Boot Information',
      ]) {
        expect(stdout).toContain(said);
      }
    } finally {
      rmSync(folder, { recursive: true });
    }
  });

  it('counts terabytes', () => {
    const [, table] = smbiosTables({ ...machine, ram: [{ address: 0, size: 6 * 1024 * GIB }] }, 0xf0000);
    const found = new Map<number, number>();
    let at = 0;
    while (at < table.bytes.length) {
      const { type, length } = abi.endOfTable.read(view(table.bytes), at, 64);
      found.set(type, at);
      at += length;
      while (table.bytes[at] !== 0 || table.bytes[at + 1] !== 0) at++;
      at += 2;
    }
    const { memoryArray, memoryDevice, memoryMapping } = abi.StructureType;
    const read = <T>(layout: Type<T>, type: number) => layout.read(view(table.bytes), found.get(type)!, 64);
    expect(read(abi.memoryArray, memoryArray)).toMatchObject({ maximumKiB: 0x8000_0000, maximumBytes: 6n << 40n });
    expect(read(abi.memoryDevice, memoryDevice)).toMatchObject({ size: 0x7fff, extendedSize: 6 << 20 });
    expect(read(abi.memoryMapping, memoryMapping)).toMatchObject({ endKiB: 0xffff_ffff, end: (6n << 40n) - 1n });
  });
});
