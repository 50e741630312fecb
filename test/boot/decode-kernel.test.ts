// Every instruction of a stock kernel decodes to what iced-x86 makes of it: length, registers, memory operands, immediates.
import { readFileSync } from 'node:fs';
import { basename } from 'node:path';
import { expect } from 'vitest';
import { loadImages } from '../../src/toolstack/image/index.ts';
import { Differences, hex, strictComparer } from '../oracle/decode/differences.ts';
import { testWith } from './kernels.ts';

/** SHF_EXECINSTR */
const EXECUTABLE = 4n;

testWith('cloud', 'its text decodes as iced-x86 decodes it', async files => {
  const image = await loadImages(files.map(file => ({ name: basename(file), bytes: readFileSync(file) })));
  const comparer = strictComparer();
  const found = new Differences();
  for (const section of image.elf.sections.filter(s => (s.flags & EXECUTABLE) !== 0n)) {
    const { data: text, address } = section;
    const reference = comparer.open(text, 64, address);
    for (let at = 0; at < text.length; ) {
      reference.position = at;
      reference.ip = address + BigInt(at);
      const { difference, length, name } = comparer.compareAt(reference, text, at, 64);
      const here = at;
      found.add(
        name,
        difference,
        () => `${(address + BigInt(here)).toString(16)} ${hex(text.subarray(here, here + 15))}`,
      );
      at += length;
    }
    reference.free();
  }
  expect(found.compared).toBeGreaterThan(1_000_000);
  expect(found.lines).toEqual([]);
});
