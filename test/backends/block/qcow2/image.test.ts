// qcow2 images beside QEMU's own tool: it finds nothing wrong with ours, and reads from them what was written; we read its.
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterAll, describe, expect, it } from 'vitest';
import { MemorySource } from '../../../../src/backends/block/memory-source.ts';
import { OverlaySource } from '../../../../src/backends/block/overlay-source.ts';
import { createQcow2, Qcow2Image } from '../../../../src/backends/block/qcow2/image.ts';
import type { BlockSource } from '../../../../src/backends/block/source.ts';
import { createBlockFile, openBlockFile } from '../../../../src/platform/node/block-file.ts';
import { PowerLossFile, PowerLost } from '../power-loss-file.ts';

const directory = mkdtempSync(join(tmpdir(), 'domzero-qcow2-'));
afterAll(() => rmSync(directory, { recursive: true }));
let files = 0;
const place = (name: string): string => join(directory, `${files++}-${name}`);

const CLUSTER = 65536;
const MIB = 1 << 20;
const hasQemu = spawnSync('qemu-img', ['--version']).status === 0;

function qemuImg(...args: string[]): string {
  const { status, stdout, stderr } = spawnSync('qemu-img', args, { encoding: 'utf8' });
  if (status !== 0) throw new Error(`qemu-img ${args.join(' ')}: ${stderr}${stdout}`);
  return stdout;
}

/** All that QEMU reads from an image. */
function qemuReads(image: string): Buffer {
  const raw = place('raw');
  qemuImg('convert', '-O', 'raw', image, raw);
  return readFileSync(raw);
}

function write(source: BlockSource, offset: number, bytes: Uint8Array): void {
  source.write(offset, [bytes], failed);
}
function read(source: BlockSource, offset: number, length: number): Uint8Array {
  const bytes = new Uint8Array(length).fill(0xee);
  source.read(offset, [bytes], failed);
  return bytes;
}
/** Much faster than expect() to say no. */
const same = (a: Uint8Array, b: Uint8Array): boolean => Buffer.compare(a, b) === 0;
const failed = (error: Error | null): void => {
  if (error) throw error;
};

const pattern = (length: number, seed: number): Uint8Array =>
  Uint8Array.from({ length }, (_, i) => (i * 7 + (i >> 8) + seed) & 0xff);
const alone = (image: Qcow2Image): OverlaySource => new OverlaySource(new MemorySource({ size: image.size }), image);

describe.skipIf(!hasQemu)('qcow2 beside QEMU (skipped where qemu-img is not installed)', () => {
  it('an image of ours is in order, and has what was written', () => {
    const path = place('ours.qcow2');
    const size = 520 * MIB + 512;
    const file = createBlockFile(path);
    createQcow2(file, size, null);
    qemuImg('check', path);
    const source = alone(new Qcow2Image(file));
    write(source, 100, pattern(3 * CLUSTER, 1));
    write(source, 519 * MIB - 5, pattern(10, 2));
    write(source, size - 3, pattern(3, 3));
    source.writeZeroes(CLUSTER, CLUSTER, failed);
    source.discard(0, 2 * CLUSTER, failed);
    source.close();
    expect(qemuImg('check', path)).toMatch(/No errors were found/);
    const again = alone(new Qcow2Image(openBlockFile(path, false)));
    const seen = qemuReads(path);
    expect(seen.length).toBe(size);
    for (const at of [0, 2 * CLUSTER, 3 * CLUSTER, 519 * MIB - CLUSTER, size - 512]) {
      const length = Math.min(CLUSTER, size - at);
      expect(same(read(again, at, length), seen.subarray(at, at + length))).toBe(true);
    }
    expect(read(again, 3 * CLUSTER, 100)).toEqual(pattern(3 * CLUSTER, 1).subarray(3 * CLUSTER - 100));
    expect(read(again, size - 3, 3)).toEqual(pattern(3, 3));
    again.close();
  });

  it('an image with its base, smaller than it, is the same disk to QEMU', () => {
    const base = place('base.raw');
    writeFileSync(base, pattern(5 * CLUSTER + 512, 9));
    const path = place('overlay.qcow2');
    const file = createBlockFile(path);
    createQcow2(file, 8 * CLUSTER, { file: base, format: 'raw' });
    const source = new OverlaySource(MemorySource.of(readFileSync(base), { isReadOnly: true }), new Qcow2Image(file));
    write(source, CLUSTER + 3, pattern(5, 1));
    write(source, 5 * CLUSTER + 600, pattern(5, 1));
    write(source, 7 * CLUSTER + 1, pattern(5, 1));
    source.writeZeroes(10, 2 * CLUSTER, failed);
    const expected = read(source, 0, 8 * CLUSTER);
    source.close();
    expect(qemuImg('check', path)).toMatch(/No errors/);
    expect(same(qemuReads(path), expected)).toBe(true);
    expect(JSON.parse(qemuImg('info', '--output=json', path))).toMatchObject({
      'backing-filename': base,
      'backing-filename-format': 'raw',
      'virtual-size': 8 * CLUSTER,
      'dirty-flag': false,
    });
    expect(same(readFileSync(base), pattern(5 * CLUSTER + 512, 9))).toBe(true);
  });

  it.each([
    ['compressed', ['-c']],
    ['of version 2', ['-o', 'compat=0.10']],
    ['of small clusters', ['-o', 'cluster_size=512']],
    ['of large clusters, compressed', ['-c', '-o', 'cluster_size=2M']],
    ['with metadata in place', ['-o', 'preallocation=metadata']],
  ])('an image of QEMU that is %s is read', (_, options) => {
    const raw = place('raw');
    const content = pattern(3 * MIB, 5);
    content.fill(0, MIB, 2 * MIB);
    writeFileSync(raw, content);
    const path = place('theirs.qcow2');
    qemuImg('convert', '-f', 'raw', '-O', 'qcow2', ...options, raw, path);
    const source = alone(new Qcow2Image(openBlockFile(path, false)));
    expect(same(read(source, 0, 3 * MIB), content)).toBe(true);
    expect(same(read(source, MIB - 700, 1400), content.subarray(MIB - 700, MIB + 700))).toBe(true);
    source.close();
  });

  it.each([
    ['of small clusters', ['-o', 'cluster_size=512']],
    ['compressed', ['-c']],
    ['compressed, of small clusters', ['-c', '-o', 'cluster_size=4k']],
    ['with metadata in place', ['-o', 'preallocation=metadata']],
  ])('an image of QEMU that is %s is written to and stays in order, grown counts too', (_, options) => {
    const raw = place('raw');
    const content = new Uint8Array(9 * MIB + 512);
    content.set(pattern(2 * MIB, 5));
    writeFileSync(raw, content);
    const path = place('theirs.qcow2');
    qemuImg('convert', '-f', 'raw', '-O', 'qcow2', ...options, raw, path);
    const source = alone(new Qcow2Image(openBlockFile(path, true)));
    for (const [at, length] of [
      [1000, 70_000],
      [MIB + 1, 10],
      [2 * MIB - 5, 7 * MIB + 77],
    ]) {
      write(source, at, pattern(length, at));
      content.set(pattern(length, at), at);
    }
    source.close();
    expect(qemuImg('check', path)).toMatch(/No errors/);
    expect(same(qemuReads(path), content)).toBe(true);
  });

  it('an image that was left open is mended by QEMU, and by us', () => {
    const left = place('left.qcow2');
    const file = createBlockFile(left);
    createQcow2(file, 16 * MIB, null);
    const source = alone(new Qcow2Image(file));
    write(source, 0, pattern(5 * CLUSTER, 1));
    source.flush(failed);
    write(source, MIB, pattern(CLUSTER, 2));
    const ours = place('ours.qcow2');
    writeFileSync(ours, readFileSync(left));
    expect(JSON.parse(qemuImg('info', '--output=json', left))).toMatchObject({ 'dirty-flag': true });
    qemuImg('check', '-r', 'all', left);
    expect(same(qemuReads(left).subarray(0, 5 * CLUSTER), pattern(5 * CLUSTER, 1))).toBe(true);
    const again = alone(new Qcow2Image(openBlockFile(ours, true)));
    expect(same(read(again, 0, 5 * CLUSTER), pattern(5 * CLUSTER, 1))).toBe(true);
    again.close();
    expect(qemuImg('check', ours)).toMatch(/No errors/);
  });

  it('what cannot be written to says why', () => {
    const open = (...options: string[]): (() => void) => {
      const path = place('theirs.qcow2');
      qemuImg('create', '-f', 'qcow2', ...options, path, '1M');
      return () => new Qcow2Image(openBlockFile(path, true)).close();
    };
    expect(open('-o', 'compat=0.10')).toThrow('version 2');
    expect(open('-o', 'refcount_bits=1')).toThrow('16 bits');
    expect(open('-o', 'extended_l2=on')).toThrow('features that are not built');
    const path = place('snapshot.qcow2');
    qemuImg('create', '-f', 'qcow2', path, '1M');
    qemuImg('snapshot', '-c', 'then', path);
    expect(() => new Qcow2Image(openBlockFile(path, true))).toThrow('snapshots');
    expect(() => new Qcow2Image(openBlockFile(path, false)).close()).not.toThrow();
  });
});

describe('qcow2', () => {
  const SECTOR = 512;
  const SIZE = 1100 * MIB;
  /** Sectors in three tables, some in one cluster. */
  const PLACES = [0, 1, 127, 128, 200, 300, MIB, MIB + 127, 2 * MIB, 2 * MIB + 128];
  const BASE_SECTORS = 256;
  const sector = (value: number): Uint8Array => new Uint8Array(SECTOR).fill(value);
  const base = (): MemorySource =>
    MemorySource.of(new Uint8Array(BASE_SECTORS * SECTOR).fill(255), { isReadOnly: true });

  const step = fc.record({
    kind: fc.constantFrom('write', 'write', 'write', 'zeroes', 'discard', 'flush', 'flush'),
    place: fc.nat(PLACES.length - 1),
    sectors: fc.integer({ min: 1, max: 3 }),
    value: fc.integer({ min: 1, max: 254 }),
  });
  const life = fc.record({
    lastFlush: fc.nat(4),
    operations: fc.nat(4),
    steps: fc.array(step, { maxLength: 30 }),
    kept: fc.array(fc.boolean(), { minLength: 64, maxLength: 64 }),
  });

  it('keeps what was flushed, whatever else is lost with the power, time and again', () => {
    fc.assert(
      fc.property(fc.array(life, { minLength: 1, maxLength: 4 }), fc.boolean(), (lives, endsInOrder) => {
        let file = new PowerLossFile();
        createQcow2(file, SIZE, null);
        /** What each sector may be after a loss, and what it may be now. */
        const durable = new Map<number, Set<number>>();
        const now = new Map<number, Set<number>>();
        const asMade = (at: number): Set<number> => new Set([at < BASE_SECTORS ? 255 : 0]);
        for (const { steps, lastFlush, operations, kept } of lives) {
          const source = new OverlaySource(base(), new Qcow2Image(file));
          const possible = new Map([...durable].map(([at, values]) => [at, new Set(values)]));
          const becomes = (at: number, values: Set<number>): void => {
            now.set(at, values);
            possible.set(at, new Set([...(possible.get(at) ?? asMade(at)), ...values]));
          };
          let flushes = 0;
          const live = ({ kind, place, sectors, value }: (typeof steps)[number]): void => {
            const first = PLACES[place];
            const length = kind === 'discard' ? 256 : sectors;
            if (kind === 'flush') {
              if (flushes++ === lastFlush) file.losePowerAfter(operations);
              source.flush(failed);
              for (const [at, values] of now) possible.set(at, new Set(values));
              return;
            }
            for (let at = first; at < first + length; at++) {
              if (kind === 'discard') becomes(at, new Set([...(now.get(at) ?? asMade(at)), 0]));
              else becomes(at, new Set([kind === 'write' ? value : 0]));
            }
            if (kind === 'write') source.write(first * SECTOR, Array(length).fill(sector(value)), failed);
            else if (kind === 'zeroes') source.writeZeroes(first * SECTOR, length * SECTOR, failed);
            else source.discard(first * SECTOR, length * SECTOR, failed);
          };
          try {
            for (const step of steps) live(step);
            for (const [at, values] of now) expect(values).toContain(read(source, at * SECTOR, SECTOR)[0]);
          } catch (error) {
            if (!(error instanceof PowerLost)) throw error;
          }
          let i = 0;
          file = new PowerLossFile(file.afterLoss(() => kept[i++ % kept.length]));
          const after = new OverlaySource(base(), new Qcow2Image(new PowerLossFile(file.content())));
          for (const [at, values] of possible) {
            const seen = read(after, at * SECTOR, SECTOR);
            expect(seen.every(byte => byte === seen[0])).toBe(true);
            expect([...values]).toContain(seen[0]);
            durable.set(at, new Set([seen[0]]));
            now.set(at, new Set([seen[0]]));
          }
          // What was never written is the base's, or nothing.
          for (const [at, value] of [
            [100, 255],
            [130, 255],
            [270, 0],
            [MIB + 5, 0],
          ] as const)
            if (!possible.has(at)) expect(read(after, at * SECTOR, SECTOR)[0]).toBe(value);
        }
        if (!hasQemu || !endsInOrder) return;
        const path = place('after.qcow2');
        writeFileSync(path, file.content());
        alone(new Qcow2Image(openBlockFile(path, true))).close();
        qemuImg('check', path);
        rmSync(path);
      }),
      { numRuns: 40, endOnFailure: true },
    );
  });

  it('gives clusters back that were discarded, once nothing refers to them', () => {
    const file = new PowerLossFile();
    createQcow2(file, 64 * MIB, null);
    const source = alone(new Qcow2Image(file));
    for (let i = 0; i < 12; i++) {
      write(source, (i % 16) * MIB, pattern(MIB, i));
      source.discard((i % 16) * MIB, MIB, failed);
      source.flush(failed);
    }
    expect(file.size()).toBeLessThan(4 * MIB);
    source.close();
  });

  it('is not touched by reading', () => {
    const file = new PowerLossFile();
    createQcow2(file, MIB, null);
    const before = file.content();
    const source = alone(new Qcow2Image(file));
    read(source, 0, MIB);
    source.flush(failed);
    source.close();
    expect(same(file.content(), before)).toBe(true);
  });

  it('never does more than throw, whatever is in the file', () => {
    const file = new PowerLossFile();
    createQcow2(file, 64 * MIB, { file: 'base', format: 'raw' });
    const image = alone(new Qcow2Image(file));
    write(image, 5, pattern(3 * CLUSTER, 1));
    image.close();
    const whole = file.content();
    const damage = fc.record({ at: fc.oneof(fc.nat(127), fc.nat(whole.length - 1)), value: fc.nat(255) });
    fc.assert(
      fc.property(fc.array(damage, { minLength: 1, maxLength: 6 }), changes => {
        const bytes = whole.slice();
        for (const { at, value } of changes) bytes[at] = value;
        let source: OverlaySource;
        try {
          source = alone(new Qcow2Image(new PowerLossFile(bytes)));
        } catch (error) {
          expect((error as Error).name).toBe('Qcow2Error');
          return;
        }
        const length = Math.min(4 * CLUSTER, source.size);
        source.read(0, [new Uint8Array(length)], () => {});
        source.write(0, [new Uint8Array(length)], () => {});
        source.flush(() => {});
      }),
      { numRuns: 200 },
    );
  });
});
