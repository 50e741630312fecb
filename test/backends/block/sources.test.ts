// All sources do the same for whoever uses them: each is compared with an array of bytes, under random requests.
import { spawnSync } from 'node:child_process';
import {
  closeSync,
  existsSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  readSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import fc from 'fast-check';
import { afterAll, describe, expect, it } from 'vitest';
import { AwaitedSource } from '../../../src/backends/block/awaited-source.ts';
import { FileSource } from '../../../src/backends/block/file-source.ts';
import { MemorySource } from '../../../src/backends/block/memory-source.ts';
import { MemoryTop } from '../../../src/backends/block/memory-top.ts';
import { OverlaySource } from '../../../src/backends/block/overlay-source.ts';
import type { Backing } from '../../../src/backends/block/qcow2/header.ts';
import { createQcow2, Qcow2Image } from '../../../src/backends/block/qcow2/image.ts';
import { type RangeReader, RangeSource } from '../../../src/backends/block/range-source.ts';
import type { BlockSource } from '../../../src/backends/block/source.ts';
import { openBlockFile } from '../../../src/platform/node/block-file.ts';
import { PowerLossFile } from './power-loss-file.ts';

const SIZE = 64 * 1024;
const directory = mkdtempSync(join(tmpdir(), 'domzero-block-'));
afterAll(() => rmSync(directory, { recursive: true }));

const content = (): Uint8Array => Uint8Array.from({ length: SIZE }, (_, i) => (i * 31 + (i >> 9)) & 0xff);

/** Much faster than expect() to say no. */
const same = (a: Uint8Array, b: Uint8Array): boolean => Buffer.compare(a, b) === 0;

let made = 0;
function newFile(bytes: Uint8Array): string {
  const path = join(directory, `disk${made++}.img`);
  writeFileSync(path, bytes);
  return path;
}

const reader = (bytes: Uint8Array): RangeReader & { asked: [number, number][] } => {
  const asked: [number, number][] = [];
  return {
    asked,
    size: bytes.length,
    read: async (offset, length) => {
      asked.push([offset, length]);
      return bytes.slice(offset, offset + length);
    },
  };
};

/** One that this machine has, is not too small, and lets us read it. */
const blockDevice = blockDevices().find(path => {
  try {
    openBlockFile(path, false).close();
    return true;
  } catch {
    return false;
  }
});

function blockDevices(): string[] {
  if (!existsSync('/sys/class/block')) return [];
  const isLarge = (name: string): boolean => Number(readFileSync(`/sys/class/block/${name}/size`, 'utf8')) > 1024;
  return readdirSync('/sys/class/block')
    .filter(isLarge)
    .map(name => `/dev/${name}`);
}

const promise = (start: (done: (error: Error | null) => void) => void): Promise<void> =>
  new Promise((resolve, reject) => start(error => (error ? reject(error) : resolve())));

const read = async (source: BlockSource, offset: number, lengths: number[]): Promise<Uint8Array> => {
  const buffers = lengths.map(length => new Uint8Array(length).fill(0xee));
  await promise(done => source.read(offset, buffers, done));
  return new Uint8Array(Buffer.concat(buffers));
};

function keptTop(backing: Backing | null): Qcow2Image {
  const file = openBlockFile(newFile(new Uint8Array(0)), true);
  createQcow2(file, SIZE, backing);
  return new Qcow2Image(file);
}

const kinds: [string, () => BlockSource][] = [
  ['memory', () => MemorySource.of(content())],
  ['a file', () => new FileSource(openBlockFile(newFile(content()), true))],
  ['an overlay on memory', () => new OverlaySource(MemorySource.of(content(), { isReadOnly: true }))],
  ['an overlay on what takes its time', () => new OverlaySource(new RangeSource(reader(content()), { chunk: 4096 }))],
  [
    'a kept overlay on memory',
    () => new OverlaySource(MemorySource.of(content(), { isReadOnly: true }), keptTop({ file: 'base', format: 'raw' })),
  ],
  [
    'a kept overlay on what takes its time',
    () => new OverlaySource(new RangeSource(reader(content())), keptTop({ file: 'base', format: 'raw' })),
  ],
];

describe.each(kinds)('%s', (_name, make) => {
  it('is a disk', async () => {
    const request = fc.record({
      kind: fc.constantFrom('read', 'write', 'zeroes', 'flush'),
      offset: fc.oneof(
        fc.nat(SIZE),
        fc.nat(8).map(i => i * 4096),
        fc.nat(16),
      ),
      lengths: fc.array(fc.oneof(fc.nat(9000), fc.constantFrom(0, 512, 4096)), { minLength: 1, maxLength: 4 }),
      seed: fc.nat(255),
    });
    await fc.assert(
      fc.asyncProperty(fc.array(request, { maxLength: 25 }), async requests => {
        const source = make();
        const model = content();
        for (const { kind, offset, lengths, seed } of requests) {
          const length = lengths.reduce((sum, part) => sum + part, 0);
          const end = offset + length;
          if (kind === 'flush') await promise(done => source.flush(done));
          else if (end > SIZE) await expect(read(source, offset, lengths)).rejects.toThrow(RangeError);
          else if (kind === 'read')
            expect(same(await read(source, offset, lengths), model.slice(offset, end))).toBe(true);
          else if (kind === 'zeroes') {
            await promise(done => source.writeZeroes(offset, length, done));
            model.fill(0, offset, end);
          } else {
            const buffers = lengths.map((part, i) => new Uint8Array(part).fill(seed + i));
            await promise(done => source.write(offset, buffers, done));
            let at = offset;
            for (const buffer of buffers) {
              model.set(buffer, at);
              at += buffer.length;
            }
          }
        }
        expect(same(await read(source, 0, [SIZE]), model)).toBe(true);
        source.close();
      }),
      { numRuns: 20 },
    );
  });

  it('calls back within the call exactly if it says so', async () => {
    const source = make();
    let isDone = false;
    await promise(done => {
      source.read(0, [new Uint8Array(512)], error => {
        isDone = true;
        done(error);
      });
      expect(isDone).toBe(source.isImmediate);
    });
    source.close();
  });

  it('refuses ranges outside of it, for writing too', async () => {
    const source = make();
    await expect(promise(done => source.write(SIZE - 1, [new Uint8Array(2)], done))).rejects.toThrow(RangeError);
    await expect(promise(done => source.writeZeroes(-512, 512, done))).rejects.toThrow(RangeError);
    source.close();
  });
});

describe('MemorySource', () => {
  it('takes memory for what is written alone, and gives back what is discarded', async () => {
    const source = new MemorySource({ size: 2 ** 40, sectorSize: 4096 });
    await promise(done => source.write(2 ** 39 - 100, [new Uint8Array(200).fill(1)], done));
    expect(source.allocated).toBe(2 * 65536);
    await promise(done => source.discard(0, 2 ** 39, done));
    await promise(done => source.discard(0, 2 ** 40, done));
    expect(source.allocated).toBe(0);
  });

  it('refuses writes where it is read-only', async () => {
    const source = new MemorySource({ size: 4096, isReadOnly: true });
    await expect(promise(done => source.write(0, [new Uint8Array(1)], done))).rejects.toThrow('read-only');
    await expect(promise(done => source.writeZeroes(0, 1, done))).rejects.toThrow('read-only');
  });

  it('forgets what is cut off', async () => {
    const source = MemorySource.of(content());
    source.resize(512);
    source.resize(SIZE);
    expect(await read(source, 511, [2])).toEqual(Uint8Array.of(content()[511], 0));
  });
});

describe('FileSource', () => {
  it('writes through to the file, many buffers at a time', async () => {
    const path = newFile(content());
    const source = new FileSource(openBlockFile(path, true));
    const buffers = Array.from({ length: 3000 }, (_, i) => new Uint8Array(7).fill(i));
    await promise(done => source.write(1000, buffers, done));
    await promise(done => source.flush(done));
    const expected = content();
    expected.set(Buffer.concat(buffers), 1000);
    expect(new Uint8Array(readFileSync(path))).toEqual(expected);
    source.close();
  });

  it('is read-only where the file is', async () => {
    const path = newFile(content());
    const source = new FileSource(openBlockFile(path, false));
    expect(source.isReadOnly).toBe(true);
    await expect(promise(done => source.write(0, [new Uint8Array(1)], done))).rejects.toThrow('read-only');
    await promise(done => source.flush(done));
    source.close();
  });

  it('sees a file grow, and reads zeros where it has become shorter', async () => {
    const path = newFile(content());
    const source = new FileSource(openBlockFile(path, true), { sectorSize: 4096 });
    expect(source.refreshSize()).toBe(false);
    const file = openSync(path, 'r+');
    writeSync(file, new Uint8Array(5000), 0, 5000, SIZE);
    closeSync(file);
    expect(source.refreshSize()).toBe(true);
    expect(source.size).toBe(SIZE + 4096);
    truncateSync(path, 4096);
    expect(await read(source, 4095, [2])).toEqual(Uint8Array.of(content()[4095], 0));
    source.close();
  });

  it.skipIf(spawnSync('fallocate', ['--version']).error !== undefined)(
    'gives the place of what is discarded back, and of nothing else (skipped without fallocate)',
    async () => {
      const MIB = 1 << 20;
      const path = newFile(new Uint8Array(8 * MIB).fill(1));
      const place = (): number => statSync(path).blocks * 512;
      const before = place();
      const source = new FileSource(openBlockFile(path, true));
      expect(source.canDiscard).toBe(true);
      await promise(done => source.discard(MIB + 1, 4 * MIB, done));
      await promise(done => source.write(2 * MIB, [new Uint8Array(512).fill(2)], done));
      await promise(done => source.discard(6 * MIB, 512, done));
      expect(place()).toBe(before);
      await promise(done => source.flush(done));
      expect(before - place()).toBeGreaterThan(3.5 * MIB);
      expect((await read(source, 2 * MIB, [512])).every(byte => byte === 2)).toBe(true);
      expect((await read(source, 3 * MIB, [MIB])).every(byte => byte === 0)).toBe(true);
      for (const at of [0, 5 * MIB + 1, 6 * MIB]) {
        const kept = await read(source, at, [at === 0 ? MIB + 1 : 2 * MIB - 1]);
        expect(kept.every(byte => byte === 1)).toBe(true);
      }
      await promise(done => source.discard(7 * MIB, 65536, done));
      source.close();
      expect(before - place()).toBeGreaterThan(3.55 * MIB);
      expect(statSync(path).size).toBe(8 * MIB);
    },
  );

  it('keeps what was flushed when power is lost', async () => {
    const file = new PowerLossFile(content());
    const source = new FileSource(file);
    await promise(done => source.write(100, [new Uint8Array(1000).fill(1)], done));
    await promise(done => source.flush(done));
    await promise(done => source.write(4096, [new Uint8Array(512).fill(2)], done));
    const expected = content().fill(1, 100, 1100);
    expect(
      same(
        file.afterLoss(() => false),
        expected,
      ),
    ).toBe(true);
    expect(
      same(
        file.afterLoss(() => true),
        expected.fill(2, 4096, 4608),
      ),
    ).toBe(true);
  });

  it.skipIf(blockDevice === undefined)('reads a block device (skipped where none may be read)', async () => {
    const source = new FileSource(openBlockFile(blockDevice!, false));
    expect(source.size).toBe(Number(readFileSync(`/sys/class/block/${basename(blockDevice!)}/size`, 'utf8')) * 512);
    const expected = Buffer.alloc(8192);
    const file = openSync(blockDevice!, 'r');
    readSync(file, expected, 0, 8192, source.size - 8192);
    closeSync(file);
    expect(same(await read(source, source.size - 8192, [8192]), expected)).toBe(true);
    source.close();
  });

  it('says what cannot be a disk', () => {
    expect(() => openBlockFile(join(directory, 'none'), true)).toThrow('there is no such file');
    expect(() => openBlockFile(directory, false)).toThrow('neither a file nor a block device');
  });
});

describe('OverlaySource', () => {
  it('leaves its base alone', async () => {
    const path = newFile(content());
    const top = new MemoryTop(SIZE);
    const source = new OverlaySource(new FileSource(openBlockFile(path, false)), top);
    await promise(done => source.write(100, [new Uint8Array(10000)], done));
    expect(top.changed).toBe(3 * 4096);
    expect(new Uint8Array(readFileSync(path))).toEqual(content());
    source.close();
  });

  it('keeps both of two writes that wait for the same block', async () => {
    const source = new OverlaySource(new RangeSource(reader(content())));
    await Promise.all([
      promise(done => source.write(10, [Uint8Array.of(1, 2)], done)),
      promise(done => source.write(20, [Uint8Array.of(3, 4)], done)),
      promise(done => source.write(0, [new Uint8Array(4096).fill(9)], done)),
    ]);
    const after = await read(source, 0, [4097]);
    const expected = new Uint8Array(4097).fill(9);
    expected[4096] = content()[4096];
    expected.set([1, 2], 10);
    expected.set([3, 4], 20);
    expect(after).toEqual(expected);
  });
});

describe('RangeSource', () => {
  it('asks for chunks, and once', async () => {
    const from = reader(content().subarray(0, 10000));
    const source = new RangeSource(from, { chunk: 4096, cache: 8192 });
    expect(source.size).toBe(9728);
    await Promise.all([read(source, 5000, [100]), read(source, 4096, [4096])]);
    expect(from.asked).toEqual([[4096, 4096]]);
    expect(await read(source, 0, [9728])).toEqual(content().slice(0, 9728));
    expect(from.asked).toEqual([
      [4096, 4096],
      [0, 4096],
      [8192, 1536],
    ]);
    await read(source, 4096, [1]);
    await read(source, 0, [1]);
    expect(from.asked).toHaveLength(4);
  });

  it('passes errors on, and asks again', async () => {
    let asked = 0;
    const source = new RangeSource({
      size: 4096,
      read: async (_offset, length) => {
        if (asked++ === 0) throw new Error('no route to host');
        return new Uint8Array(asked === 2 ? 1 : length);
      },
    });
    await expect(read(source, 0, [10])).rejects.toThrow('no route to host');
    await expect(read(source, 0, [10])).rejects.toThrow('1 bytes instead of 4096');
    expect(await read(source, 0, [10])).toEqual(new Uint8Array(10));
  });
});

describe('AwaitedSource', () => {
  it('counts what is on its way, and tells when something has come', async () => {
    let told = 0;
    const source = new AwaitedSource(new RangeSource(reader(content())), () => told++);
    expect(source.isBusy).toBe(false);
    const both = [read(source, 0, [512]), read(source, 4096, [512])];
    expect(source.isBusy).toBe(true);
    await Promise.all(both);
    expect(source.isBusy).toBe(false);
    expect(told).toBe(2);
  });
});
