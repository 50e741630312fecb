// Every format on what the real tools wrote: small committed files, and larger data where this machine has the tool.

import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { DecompressError, decompress, decompressPieces, detectCompression } from '../../src/util/decompress/index.ts';
import { noise, sampleBytes } from './decompress-sample.ts';

const fixture = (name: string) =>
  new Uint8Array(readFileSync(new URL(`../fixtures/decompress/${name}`, import.meta.url)));
const SAMPLE = sampleBytes(4000);

/** File, format, and whether a checksum covers the whole output. */
const FIXTURES = [
  ['sample.gz', 'gzip', true],
  ['sample.bz2', 'bzip2', true],
  ['sample.lzma', 'lzma', false],
  ['sample-x86.xz', 'xz', true],
  ['sample-blocks.xz', 'xz', true],
  ['sample.lzo', 'lzo', true],
  ['sample.lz4', 'lz4', false],
  ['sample.zst', 'zstd', true],
] as const;

describe.each(FIXTURES)('%s', (name, format, checked) => {
  const packed = fixture(name);

  it('decompresses to what was compressed', async () => {
    expect(detectCompression(packed)).toBe(format);
    expect(await decompress(packed)).toEqual(SAMPLE);
  });

  it('reads from a part of a larger buffer', async () => {
    const larger = new Uint8Array(packed.length + 100).fill(0x55);
    larger.set(packed, 37);
    expect(await decompress(larger.subarray(37, 37 + packed.length))).toEqual(SAMPLE);
  });

  it('refuses every truncation', async () => {
    for (let length = 0; length < packed.length; length++) {
      const result = decompress(packed.subarray(0, length));
      // lz4's legacy frame has no end mark: cut between blocks (here, with none) it is a valid shorter file.
      if (format === 'lz4' && length === 4) expect((await result).length).toBe(0);
      else await expect(result, `cut at ${length}`).rejects.toThrow(DecompressError);
    }
  });

  it('answers every changed byte with an error, or with the right data, or (without a checksum) with a bounded output', async () => {
    const next = noise(7);
    for (let at = 0; at < packed.length; at++) {
      const broken = packed.slice();
      broken[at] ^= 1 + (next() % 255);
      const result = await decompress(broken, { maxSize: 1 << 20 }).catch((error: unknown) => error);
      if (result instanceof Uint8Array) {
        if (checked) expect(Buffer.compare(result, SAMPLE), `byte ${at}`).toBe(0);
        else expect(result.length).toBeLessThanOrEqual(1 << 20);
      } else {
        expect(result, `byte ${at}`).toBeInstanceOf(DecompressError);
      }
    }
  });

  it('keeps to the largest output that it may make', async () => {
    await expect(decompress(packed, { maxSize: 3999 })).rejects.toThrow(/larger than 3999 bytes/);
    expect((await decompress(packed, { maxSize: 4000 })).length).toBe(4000);
  });

  it('ends on noise behind a right start', () => {
    fc.assert(
      fc.property(fc.nat(packed.length), fc.uint8Array({ maxLength: 2000 }), (keep, junk) => {
        const broken = new Uint8Array(keep + junk.length);
        broken.set(packed.subarray(0, keep));
        broken.set(junk, keep);
        let size = 0;
        try {
          for (const piece of decompressPieces(broken)) if ((size += piece.length) > 1 << 22) break;
        } catch (error) {
          expect(error).toBeInstanceOf(DecompressError);
        }
      }),
      { numRuns: 200 },
    );
  });
});

describe('decompress', () => {
  it('names what it does not know', async () => {
    await expect(decompress(new Uint8Array(10))).rejects.toThrow('no known compressed format');
    await expect(decompress(new Uint8Array(0))).rejects.toThrow(DecompressError);
  });

  it('refuses trailing rubbish where the format has an end, and joins streams that follow each other', async () => {
    for (const name of ['sample.gz', 'sample.bz2', 'sample-blocks.xz', 'sample.zst']) {
      const packed = fixture(name);
      const twice = new Uint8Array(packed.length * 2);
      twice.set(packed);
      twice.set(packed, packed.length);
      const both = await decompress(twice);
      expect(both.length, name).toBe(8000);
      expect(both.subarray(4000), name).toEqual(SAMPLE);
      const tail = new Uint8Array(packed.length + 16).fill(0x77);
      tail.set(packed);
      await expect(decompress(tail), name).rejects.toThrow(DecompressError);
    }
  });
});

// [what to run, its arguments]: each compresses standard input to standard output.
const TOOLS: readonly (readonly [string, readonly string[]])[] = [
  ['gzip', ['-1c']],
  ['gzip', ['-9c']],
  ['bzip2', ['-1c']],
  ['bzip2', ['-9c']],
  ['xz', ['--format=lzma', '-c']],
  ['xz', ['--format=lzma', '--lzma1=preset=9e,dict=64KiB', '-c']],
  ['xz', ['-0c']],
  ['xz', ['-9ec', '--check=crc32', '--x86', '--lzma2=dict=1MiB']],
  ['xz', ['--x86', '--lzma2=preset=6,lc=1,lp=3,pb=4', '--check=none', '-c']],
  ['xz', ['--block-size=200000', '--check=sha256', '-c']],
  ['xz', ['--lzma2=dict=4KiB', '-c']],
  ['lzop', ['-1c']],
  ['lzop', ['-9c']],
  ['lz4', ['-l', '-1', '-c', '-']],
  ['lz4', ['-l', '-12', '-c', '-']],
  ['zstd', ['-1', '-c', '-q']],
  ['zstd', ['-12', '-c', '-q', '--no-check']],
  ['zstd', ['-19', '--zstd=wlog=18', '-c', '-q']],
  ['zstd', ['-3', '--long=24', '-c', '-q']],
  ['zstd', ['--fast=5', '-c', '-q']],
];

describe.each(TOOLS)('what %s %j makes (skipped where it is not installed)', (tool, options) => {
  const missing = spawnSync(tool, ['--version']).error !== undefined;
  it.skipIf(missing).each([0, 5, 200_000])('of %i bytes', async size => {
    const kinds: [string, Uint8Array][] = [['sample', sampleBytes(size, size + 3)]];
    if (size > 5)
      kinds.push(['zeros', new Uint8Array(size)], ['noise', Uint8Array.from({ length: size }, noise(size))]);
    for (const [what, data] of kinds) {
      const run = spawnSync(tool, options, { input: data, maxBuffer: 1 << 26 });
      expect(run.status, run.stderr.toString()).toBe(0);
      const result = await decompress(new Uint8Array(run.stdout));
      expect(result.length, what).toBe(size);
      expect(Buffer.compare(result, data), what).toBe(0);
    }
  });
});
