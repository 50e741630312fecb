// The decoder against iced-x86: over every case's bytes, over random bytes, and over the whole text of a stock kernel.
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import { type Decoded, Decoder, type Instruction } from '../../src/cpu/decode/decoder.ts';
import { createEncodingTable } from '../../src/cpu/encodings/index.ts';
import { loadImage } from '../../src/toolstack/image/index.ts';
import { type Bitness, Comparer } from '../oracle/decode/compare.ts';
import { kernelPackage } from '../oracle/decode/kernel-package.ts';
import { readFixture } from '../oracle/fixture-file.ts';
import { requiredEncodings } from '../oracle/generate/codes.ts';
import { Prng } from '../oracle/prng.ts';

const FIXTURES = fileURLToPath(new URL('../fixtures/cpu/', import.meta.url));

const required = new Set(requiredEncodings().map(e => e.name));

/** NOPs, hints and prefetches: which of their unused operands a table names does not matter. */
function isNop(i: Instruction): boolean {
  const { map, opcode } = i.row;
  return (map === 1 && (opcode === 0x0d || (opcode >= 0x18 && opcode <= 0x1f))) || (map === 0 && opcode === 0x90);
}

const comparer = new Comparer(new Decoder(createEncodingTable()), {
  mayLack: (name, legacy) => !legacy || !required.has(name),
  skipOperands: isNop,
});

/** Differences by kind, so that a hundred alike are one line. */
class Differences {
  private readonly kinds = new Map<string, { count: number; example: string }>();
  compared = 0;

  add(name: string, difference: string | null, bytes: () => string): void {
    this.compared++;
    if (difference === null) return;
    const kind = `${name}: ${difference.replace(/\d{3,}/g, 'N')}`;
    const known = this.kinds.get(kind);
    if (known) known.count++;
    else this.kinds.set(kind, { count: 1, example: `${bytes()} ${difference}` });
  }

  get lines(): string[] {
    return [...this.kinds.values()].sort((a, b) => b.count - a.count).map(k => `${k.count} times, e.g. ${k.example}`);
  }
}

const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex');

describe('decoder against iced-x86', () => {
  it("decodes every case's instruction alike", () => {
    const found = new Differences();
    for (const file of readdirSync(FIXTURES).filter(f => f.endsWith('.bin.gz'))) {
      for (const group of readFixture(readFileSync(join(FIXTURES, file)))) {
        for (const { input } of group.cases) {
          const { difference } = comparer.compare(input.code, input.mode);
          found.add(group.name, difference, () => `${input.mode}-bit ${hex(input.code)}`);
        }
      }
    }
    expect(found.compared).toBeGreaterThan(40_000);
    expect(found.lines.slice(0, 40)).toEqual([]);
  });

  it('decodes random bytes alike', () => {
    const found = new Differences();
    const prng = new Prng(0xdec0de);
    const bytes = new Uint8Array(24);
    for (const bitness of [64, 32, 16] as Bitness[]) {
      for (let n = 0; n < 60_000; n++) {
        let at = 0;
        while (prng.oneIn(3) && at < 4)
          bytes[at++] = prng.pick([0x66, 0x67, 0xf2, 0xf3, 0xf0, 0x64, 0x2e, 0x40 | prng.below(16)]);
        const map = prng.below(4);
        if (map > 0) bytes[at++] = 0x0f;
        if (map > 2) bytes[at++] = prng.pick([0x38, 0x3a]);
        for (; at < bytes.length; at++) bytes[at] = prng.u32();
        const { difference, name } = comparer.compare(bytes, bitness);
        found.add(name, difference, () => `${bitness}-bit ${hex(bytes)}`);
      }
    }
    expect(found.lines.slice(0, 40)).toEqual([]);
  });

  it('stops at the end of the bytes at hand', () => {
    const decoder = new Decoder(createEncodingTable());
    const whole = Uint8Array.from([0x66, 0x48, 0x81, 0x84, 0x88, 1, 2, 3, 4, 5, 6, 7, 8]);
    for (let end = 0; end < whole.length; end++)
      expect(decoder.decode(whole, 0, end, 1)).toBe('more' satisfies Decoded);
    expect(decoder.decode(whole, 0, whole.length, 1)).toMatchObject({ length: whole.length });
  });

  const kernel = kernelPackage();
  it.skipIf(kernel === null)(
    "decodes every instruction of a stock kernel's text alike",
    { timeout: 300_000 },
    async context => {
      if (kernel === null || !existsSync(kernel)) return context.skip('no kernel package in the cache');
      const image = await loadImage(readFileSync(kernel), 'kernel');
      const found = new Differences();
      for (const segment of image.elf.segments.filter(s => (s.flags & 1) !== 0 && s.type === 1)) {
        const text = segment.data;
        const reference = comparer.open(text, 64, segment.vaddr);
        for (let at = 0; at < text.length; ) {
          reference.position = at;
          reference.ip = segment.vaddr + BigInt(at);
          const { difference, length, name } = comparer.compareAt(reference, text, at, 64);
          const here = at;
          found.add(
            name,
            difference,
            () => `${(segment.vaddr + BigInt(here)).toString(16)} ${hex(text.subarray(here, here + 15))}`,
          );
          at += length;
        }
        reference.free();
      }
      expect(found.compared).toBeGreaterThan(1_000_000);
      expect(found.lines.slice(0, 40)).toEqual([]);
    },
  );
});
