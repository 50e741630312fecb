// tar and ar as the system's tools write them (where present), and as they are broken.

import { spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterAll, describe, expect, it } from 'vitest';
import { isAr, readAr } from '../../src/util/ar.ts';
import { ByteSource } from '../../src/util/byte-source.ts';
import { readTar, type TarEntry } from '../../src/util/tar.ts';
import { makeAr, makeTar, text } from '../toolstack/image/builders.ts';
import { sampleBytes } from './decompress-sample.ts';

/** The bytes in pieces of changing sizes, as a decompressor gives them. */
function* inPieces(bytes: Uint8Array, size: number) {
  for (let at = 0; at < bytes.length; at += size) yield bytes.subarray(at, at + size);
}

const summary = (entry: TarEntry) => ({ path: entry.path, type: entry.type, mode: entry.mode, link: entry.linkTarget });
const missing = (tool: string) => spawnSync(tool, ['--version']).error !== undefined;

const folder = mkdtempSync(join(tmpdir(), 'domzero-archives-'));
afterAll(() => rmSync(folder, { recursive: true }));
const long = 'a-name-that-is-much-too-long-for-the-hundred-bytes-of-a-tar-header/'.repeat(3);
mkdirSync(join(folder, 'tree', long), { recursive: true });
const data = sampleBytes(70_000);
writeFileSync(join(folder, 'tree', long, 'file'), data, { mode: 0o640 });
writeFileSync(join(folder, 'tree', 'empty'), '', { mode: 0o755 });
symlinkSync('where/it/points', join(folder, 'tree', 'link'));

describe.skipIf(missing('tar'))('tar (skipped where the system has none)', () => {
  it.each(['gnu', 'pax', 'ustar', 'oldgnu'])('reads the format %s', format => {
    const file = join(folder, `${format}.tar`);
    const made = spawnSync('tar', ['--format', format, '--sort=name', '-C', join(folder, 'tree'), '-cf', file, '.']);
    expect(made.status, made.stderr.toString()).toBe(0);
    const archive = new Uint8Array(readFileSync(file));
    for (const piece of [7, 512, 1 << 20]) {
      const entries = [];
      for (const entry of readTar(inPieces(archive, piece))) {
        entries.push(summary(entry));
        if (entry.path.endsWith('/file')) expect(Buffer.compare(entry.read(), data)).toBe(0);
      }
      expect(entries).toContainEqual({ path: `${long}file`, type: 'file', mode: 0o640, link: '' });
      expect(entries).toContainEqual({ path: 'empty', type: 'file', mode: 0o755, link: '' });
      expect(entries).toContainEqual({ path: 'link', type: 'symlink', mode: 0o777, link: 'where/it/points' });
      expect(entries).toContainEqual(expect.objectContaining({ path: long.slice(0, -1), type: 'directory' }));
    }
  });
});

describe('readTar', () => {
  const archive = makeTar({ './a': text('one'), 'b/': new Uint8Array(0), '/c': text('three') });

  it('gives entries with clean paths, read or passed over', () => {
    const all = [...readTar([archive])];
    expect(all.map(entry => [entry.path, entry.type])).toEqual([
      ['a', 'file'],
      ['b', 'directory'],
      ['c', 'file'],
    ]);
    const contents = [];
    for (const entry of readTar([archive])) contents.push(new TextDecoder().decode(entry.read()));
    expect(contents).toEqual(['one', '', 'three']);
  });

  it('says where an archive is cut or changed', () => {
    expect(() => [...readTar([archive.subarray(0, 700)])]).toThrow('truncated');
    const changed = archive.slice();
    changed[3] ^= 1;
    expect(() => [...readTar([changed])]).toThrow('corrupted');
  });

  it('throws nothing but RangeError, and reads no more than there is', () => {
    const change = fc.tuple(fc.nat(archive.length - 1), fc.nat(255));
    fc.assert(
      fc.property(fc.nat(archive.length), fc.array(change, { maxLength: 5 }), (length, changes) => {
        const broken = archive.slice(0, length);
        for (const [at, value] of changes) if (at < length) broken[at] = value;
        try {
          for (const entry of readTar([broken])) expect(entry.read().length).toBeLessThanOrEqual(length);
        } catch (error) {
          expect(error).toBeInstanceOf(RangeError);
        }
      }),
      { numRuns: 500 },
    );
  });
});

describe('readAr', () => {
  const archive = makeAr({ 'debian-binary': text('2.0\n'), 'odd.tar': text('odd'), last: text('end!') });

  it('gives the members', () => {
    expect(isAr(archive)).toBe(true);
    expect(readAr(archive).map(({ name, data }) => [name, new TextDecoder().decode(data)])).toEqual([
      ['debian-binary', '2.0\n'],
      ['odd.tar', 'odd'],
      ['last', 'end!'],
    ]);
  });

  it('says what is wrong', () => {
    expect(() => readAr(text('!<arch'))).toThrow('not an ar archive');
    expect(() => readAr(archive.subarray(0, -1))).toThrow('truncated');
    expect(() => readAr(archive.subarray(0, 100))).toThrow('truncated');
    const changed = archive.slice();
    changed[8 + 48] = 0x78;
    expect(() => readAr(changed)).toThrow('corrupted');
  });

  it.skipIf(missing('ar'))('reads what the system’s ar writes (skipped where there is none)', () => {
    writeFileSync(join(folder, 'x'), 'first');
    writeFileSync(join(folder, 'y'), 'second');
    expect(spawnSync('ar', ['rc', 'test.a', 'x', 'y'], { cwd: folder }).status).toBe(0);
    const members = readAr(new Uint8Array(readFileSync(join(folder, 'test.a'))));
    expect(members.map(({ name, data }) => [name, new TextDecoder().decode(data)])).toEqual([
      ['x', 'first'],
      ['y', 'second'],
    ]);
  });
});

it('ByteSource reads and skips across pieces, and says when bytes end', () => {
  fc.assert(
    fc.property(
      fc.uint8Array({ maxLength: 200 }),
      fc.integer({ min: 1, max: 50 }),
      fc.array(fc.tuple(fc.boolean(), fc.nat(60))),
      (bytes, piece, steps) => {
        const source = new ByteSource(inPieces(bytes, piece));
        let at = 0;
        for (const [skip, count] of steps) {
          const end = Math.min(bytes.length, at + count);
          if (skip) expect(source.skip(count)).toBe(end - at);
          else expect(source.read(count)).toEqual(bytes.slice(at, end));
          at = end;
          expect(source.at).toBe(at);
        }
      },
    ),
  );
});
