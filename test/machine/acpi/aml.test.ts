import { describe, expect, it } from 'vitest';
import * as aml from '../../../src/machine/acpi/aml.ts';
import * as res from '../../../src/machine/acpi/resources.ts';

const hex = (bytes: aml.Aml) => bytes.map(byte => byte.toString(16).padStart(2, '0')).join(' ');
const text = (bytes: aml.Aml) => String.fromCharCode(...bytes);

describe('AML', () => {
  it('writes names', () => {
    expect(text(aml.path('_HID'))).toBe('_HID');
    expect(text(aml.path('PIC'))).toBe('PIC_');
    expect(text(aml.path('\\_SB.PCI0'))).toBe('\\._SB_PCI0');
    expect(text(aml.path('^^A.B.C'))).toBe('^^/\x03A___B___C___');
    expect(text(aml.path('\\'))).toBe('\\\0');
    expect(() => aml.path('lower')).toThrow(RangeError);
  });

  it('writes constants in their shortest form', () => {
    const cases: [number | bigint, string][] = [
      [0, '00'],
      [1, '01'],
      [2, '0a 02'],
      [0x100, '0b 00 01'],
      [0x10000, '0c 00 00 01 00'],
      [0x1_0000_0000n, '0e 00 00 00 00 01 00 00 00'],
    ];
    for (const [value, bytes] of cases) expect(hex(aml.integer(value))).toBe(bytes);
    expect(hex(aml.eisaId('PNP0A03'))).toBe('0c 41 d0 0a 03');
  });

  it('counts the bytes of a length among its own', () => {
    // a buffer of n bytes: opcode, length, size, content
    const sizes = [0, 10, 59, 60, 61, 62, 63, 250, 4080, 4092, 4093, 5000, 70_000, 1 << 21];
    for (const n of sizes) {
      const bytes = aml.buffer(Array.from({ length: n }, () => 0));
      const lead = bytes[1];
      const extra = lead >> 6;
      let length = extra === 0 ? lead : lead & 0xf;
      for (let i = 0; i < extra; i++) length += bytes[2 + i] * 2 ** (4 + 8 * i);
      expect(length).toBe(bytes.length - 1);
      if (extra > 0) expect(lead & 0x30).toBe(0);
    }
  });

  it('writes resources as the tables of the specification have them', () => {
    expect(hex(res.io(0x3f8, 8))).toBe('47 01 f8 03 f8 03 01 08');
    expect(hex(res.irq(4))).toBe('22 10 00');
    expect(hex(res.memory32(0xfed00000, 0x400))).toBe('86 09 00 01 00 00 d0 fe 00 04 00 00');
    expect(hex(res.busNumbers({ start: 0, end: 256 }))).toBe('88 0d 00 02 0c 00 00 00 00 00 ff 00 00 00 00 01');
    expect(hex(res.resources(res.irq(1)))).toBe('11 08 0a 05 22 02 00 79 00');
  });
});
