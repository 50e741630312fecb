import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
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

it('opens memory, and drives without a disc', async () => {
  expect((await open('scratch:64M')).size).toBe(64 << 20);
  expect((await open('devtype=cdrom,vdev=xvdb,target=')).size).toBe(0);
});

it('says in a sentence what cannot be opened', async () => {
  await expect(open(join(directory, 'none'))).rejects.toThrow('there is no such file');
  await expect(open('https://example.org/disk.img')).rejects.toThrow('cannot be written to: say "ro", "overlay" or');
});
