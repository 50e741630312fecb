import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, it } from 'vitest';
import type { BlockSource } from '../../../src/backends/block/source.ts';
import { openDisk } from '../../../src/platform/node/disks.ts';
import { parseDisk } from '../../../src/toolstack/devices/disk-spec.ts';

const directory = mkdtempSync(join(tmpdir(), 'domzero-disks-'));
afterAll(() => rmSync(directory, { recursive: true }));

const path = join(directory, 'disk.img');
const open = (text: string): Promise<BlockSource> => openDisk(parseDisk(text));

function writes(source: BlockSource): boolean {
  let failed: Error | null = null;
  source.write(0, [Uint8Array.of(1, 2, 3)], error => {
    failed = error;
  });
  source.close();
  return failed === null;
}

it('opens files as the person wants them', async () => {
  writeFileSync(path, new Uint8Array(4096));
  expect(writes(await open(`${path},ro`))).toBe(false);
  expect(writes(await open(`${path},overlay`))).toBe(true);
  expect(readFileSync(path)[0]).toBe(0);
  expect(writes(await open(path))).toBe(true);
  expect([...readFileSync(path).subarray(0, 3)]).toEqual([1, 2, 3]);
});

/** The first bytes of a disk. */
function beginning(source: BlockSource): number[] {
  const bytes = new Uint8Array(3);
  source.read(0, [bytes], () => {});
  source.close();
  return [...bytes];
}

it('keeps what is written over a base in a file of its own, from one time to the next', async () => {
  const kept = join(directory, 'kept.qcow2');
  writeFileSync(path, new Uint8Array(1 << 20).fill(7));
  expect(beginning(await open(`${path},overlay=${kept},ro`))).toEqual([7, 7, 7]);
  expect(existsSync(kept)).toBe(false);
  expect(beginning(await open(`${path},overlay=${kept}`))).toEqual([7, 7, 7]);
  expect(writes(await open(`${path},overlay=${kept}`))).toBe(true);
  expect(beginning(await open(`${path},overlay=${kept}`))).toEqual([1, 2, 3]);
  expect(beginning(await open(`${kept},format=qcow2`))).toEqual([1, 2, 3]);
  expect(readFileSync(path)[0]).toBe(7);
  const before = readFileSync(kept);
  expect(writes(await open(`${path},overlay=${kept},ro`))).toBe(false);
  expect(writes(await open(`${path},overlay=${kept},overlay`))).toBe(true);
  expect(readFileSync(kept).equals(before)).toBe(true);
});

it('stands overlays on overlays, by paths from where they are', async () => {
  const [deep, upper, lower] = ['deep', 'deep/upper.qcow2', 'lower.qcow2'].map(name => join(directory, name));
  mkdirSync(deep);
  writeFileSync(path, new Uint8Array(1 << 20).fill(7));
  expect(writes(await open(`${path},overlay=${lower}`))).toBe(true);
  expect(beginning(await open(`${lower},qcow2,overlay=${upper}`))).toEqual([1, 2, 3]);
  expect(beginning(await open(`${upper},qcow2`))).toEqual([1, 2, 3]);
});

it('says in a sentence what is wrong with an image', async () => {
  const [other, kept, none] = ['other.img', 'wrong.qcow2', 'none.qcow2'].map(name => join(directory, name));
  writeFileSync(other, new Uint8Array(512));
  (await open(`${other},overlay=${kept}`)).close();
  await expect(open(`${path},overlay=${kept}`)).rejects.toThrow(`it is an overlay of ${other}, not of ${path}`);
  await expect(open(`${other},format=qcow2`)).rejects.toThrow(`${other}: it is no qcow2 image`);
  writeFileSync(none, new Uint8Array(0));
  await expect(open(`${none},format=qcow2`)).rejects.toThrow('it is no qcow2 image');
  rmSync(other);
  await expect(open(`${kept},format=qcow2`)).rejects.toThrow('there is no such file');
});

it('opens memory, and drives without a disc', async () => {
  expect((await open('scratch:64M')).size).toBe(64 << 20);
  expect((await open('devtype=cdrom,vdev=xvdb,target=')).size).toBe(0);
});

it('says in a sentence what cannot be opened', async () => {
  await expect(open(join(directory, 'none'))).rejects.toThrow('there is no such file');
  await expect(open('https://example.org/disk.img')).rejects.toThrow('cannot be written to: say "ro", "overlay" or');
});
