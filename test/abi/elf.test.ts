// ELF files of both classes, read back; and files that are broken in every place.

import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  bytesAtVirtual,
  ElfError,
  elfNotes,
  elfSymbols,
  PT_LOAD,
  PT_NOTE,
  readElf,
  SHT_NOTE,
  SHT_SYMTAB,
} from '../../src/abi/elf.ts';
import { concatBytes } from '../../src/util/bytes.ts';
import { little, makeElf, note, text } from '../toolstack/image/builders.ts';

const NOTES = concatBytes([note('Xen', 6, text('linux\0')), note('GNU', 3, Uint8Array.of(1, 2, 3))]);

describe.each([32, 64] as const)('an ELF file of %i bits', bits => {
  const base = bits === 64 ? 0xffffffff81000000n : 0xc1000000n;
  const word = bits / 8;
  const symbol =
    bits === 64
      ? [little(1, 4), little(2, 1), little(0, 1), little(1, 2), little(base, 8), little(16, 8)]
      : [little(1, 4), little(base, 4), little(16, 4), little(2, 1), little(0, 1), little(1, 2)];
  const file = makeElf({
    bits,
    entry: 0x1000000n,
    segments: [
      { type: PT_LOAD, vaddr: base, paddr: 0x1000000n, data: text('code'), memorySize: 0x3000 },
      { type: PT_NOTE, vaddr: 0n, data: NOTES },
    ],
    sections: [
      { name: '.symtab', type: SHT_SYMTAB, data: concatBytes(symbol), link: 2 },
      { name: '.strtab', type: 3, data: text('\0start\0') },
    ],
  });

  it('gives its headers, segments, sections, notes and symbols', () => {
    const elf = readElf(file);
    expect(elf).toMatchObject({ bits, type: 2, machine: bits === 64 ? 62 : 3, entry: 0x1000000n });
    expect(elf.segments[0]).toMatchObject({
      type: PT_LOAD,
      flags: 7,
      vaddr: base,
      paddr: 0x1000000n,
      memorySize: 0x3000,
    });
    expect(elf.segments[0].data).toEqual(text('code'));
    expect(elf.sections.map(section => section.name)).toEqual(['', '.symtab', '.strtab', '.shstrtab']);
    expect(elfNotes(elf)).toEqual([
      { owner: 'Xen', type: 6, data: text('linux\0') },
      { owner: 'GNU', type: 3, data: Uint8Array.of(1, 2, 3) },
    ]);
    expect(elfSymbols(elf)).toEqual([{ name: 'start', value: base, size: 16n, type: 2, section: 1 }]);
    expect(bytesAtVirtual(elf, base + 2n)).toEqual(text('de'));
    expect(bytesAtVirtual(elf, base + 4n)).toBeNull();
    expect(word * 8).toBe(bits);
  });

  it('takes the notes of sections where no segment has them', () => {
    const elf = readElf(makeElf({ bits, segments: [], sections: [{ name: '.note', type: SHT_NOTE, data: NOTES }] }));
    expect(elfNotes(elf).map(({ owner }) => owner)).toEqual(['Xen', 'GNU']);
  });

  it('is refused with one sentence when truncated, or read without its sections', () => {
    for (let length = 0; length < file.length; length++) {
      try {
        expect(readElf(file.subarray(0, length)).segments.length).toBe(2);
      } catch (error) {
        expect(error).toBeInstanceOf(ElfError);
      }
    }
    expect(() => readElf(file.subarray(0, 100))).toThrow('truncated');
  });

  it('never makes the reader fail otherwise, whatever bytes are changed', () => {
    const change = fc.tuple(fc.nat(file.length - 1), fc.nat(255));
    fc.assert(
      fc.property(fc.array(change, { maxLength: 6 }), changes => {
        const broken = file.slice();
        for (const [at, value] of changes) broken[at] = value;
        try {
          const elf = readElf(broken);
          elfNotes(elf);
          elfSymbols(elf);
          bytesAtVirtual(elf, base);
        } catch (error) {
          expect(error).toBeInstanceOf(ElfError);
        }
      }),
      { numRuns: 500 },
    );
  });
});

it('other files are no ELF files', () => {
  expect(() => readElf(text('MZ…'))).toThrow('not an ELF file');
  const big = makeElf({ segments: [] });
  big[5] = 2;
  expect(() => readElf(big)).toThrow('big-endian');
});
