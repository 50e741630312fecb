// The decoder against iced-x86: over every case's bytes and over random bytes. A stock kernel's whole text: test/boot/decode-kernel.test.ts.
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import { type Decoded, Decoder } from '../../src/cpu/decode/decoder.ts';
import { createEncodingTable } from '../../src/cpu/encodings/index.ts';
import type { Bitness } from '../oracle/decode/compare.ts';
import { Differences, hex, strictComparer } from '../oracle/decode/differences.ts';
import { readFixture } from '../oracle/fixture-file.ts';
import { Prng } from '../oracle/prng.ts';

const FIXTURES = fileURLToPath(new URL('../fixtures/cpu/', import.meta.url));

describe('decoder against iced-x86', () => {
  const comparer = strictComparer();

  it("decodes every case's instruction alike", () => {
    const found = new Differences();
    for (const file of readdirSync(FIXTURES).filter(f => f.endsWith('.bin.gz') && !f.startsWith('ring0'))) {
      for (const group of readFixture(readFileSync(join(FIXTURES, file)))) {
        for (const { input } of group.cases) {
          const { difference } = comparer.compare(input.code, input.mode);
          found.add(group.name, difference, () => `${input.mode}-bit ${hex(input.code)}`);
        }
      }
    }
    expect(found.compared).toBeGreaterThan(40_000);
    expect(found.lines).toEqual([]);
  });

  it('decodes random bytes alike', () => {
    const found = new Differences();
    const prng = new Prng(0xdec0de);
    const bytes = new Uint8Array(24);
    const prefixes = [0x66, 0x67, 0xf2, 0xf3, 0xf0, 0x64, 0x2e];
    for (const bitness of [64, 32, 16] as Bitness[]) {
      for (let n = 0; n < 60_000; n++) {
        let at = 0;
        while (prng.oneIn(3) && at < 4) bytes[at++] = prng.oneIn(8) ? 0x40 | prng.below(16) : prng.pick(prefixes);
        const map = prng.below(4);
        if (map > 0) bytes[at++] = 0x0f;
        if (map > 2) bytes[at++] = prng.pick([0x38, 0x3a]);
        for (; at < bytes.length; at++) bytes[at] = prng.u32();
        const { difference, name } = comparer.compare(bytes, bitness);
        found.add(name, difference, () => `${bitness}-bit ${hex(bytes)}`);
      }
    }
    expect(found.lines).toEqual([]);
  });

  it('stops at the end of the bytes at hand', () => {
    const decoder = new Decoder(createEncodingTable());
    const whole = Uint8Array.from([0x66, 0x48, 0x81, 0x84, 0x88, 1, 2, 3, 4, 5, 6, 7, 8]);
    for (let end = 0; end < whole.length; end++) {
      expect(decoder.decode(whole, 0, end, 1)).toBe('more' satisfies Decoded);
    }
    expect(decoder.decode(whole, 0, whole.length, 1)).toMatchObject({ length: whole.length });
  });
});
