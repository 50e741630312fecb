// Power cuts: a guest writes, syncs and says so on its console; domzero is killed in the middle of it; the next boot recovers the file system, and what the
// guest had said is there.

import { spawn, spawnSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { describe, expect } from 'vitest';
import { copyOfDisk, debianSystem, fileOnDisk, putOnDisk, rootInitramfs, seesClean } from './disk.ts';
import { domzero, PROGRAM, scratchPath } from './domzero.ts';
import { testWith } from './kernels.ts';

const BLOCK = 4096;
const BLOCKS = 512;
const BATCH = 8;
/** Acknowledged batches before the cut, at least. */
const ENOUGH = 30;

/** Where write number `n` goes: the same in the guest, in 32 bits. */
const blockOf = (n: number): number => (Math.imul(n, 2654435761) >>> 16) % BLOCKS;

/**
 * Writes blocks of a file in a random order, each with its number of writing all over; after a batch, a sync, and then its last number on the console. Beside it, a
 * file for every batch, synced with its directory.
 */
const WRITER = `#!/usr/bin/perl
use strict; use Fcntl; use IO::Handle;
$| = 1;
sysopen(my $data, '/root/data', O_RDWR) or die "data: $!";
sysopen(my $root, '/root', O_RDONLY) or die "root: $!";
for (my $n = 1; ; $n++) {
  my $block = ((($n * 2654435761) & 0xffffffff) >> 16) % ${BLOCKS};
  sysseek($data, $block * ${BLOCK}, 0);
  syswrite($data, pack('V', $n) x ${BLOCK / 4}) == ${BLOCK} or die "write: $!";
  next if $n % ${BATCH};
  $data->sync or die "sync: $!";
  sysopen(my $file, "/root/batch-$n", O_WRONLY | O_CREAT) or die "batch: $!";
  syswrite($file, "$n\\n");
  $file->sync or die "sync: $!";
  $root->sync or die "sync: $!";
  syswrite(STDOUT, "written $n\\n");
}
`;

/** Mounting has recovered the file system before this runs. */
const ENDER = `#!/usr/bin/perl
system('mount -o remount,ro /') == 0 or die;
print "recovered\\n";
syscall(169, 0xfee1dead, 672274793, 0x4321fedc);
`;

/** Runs until enough has been acknowledged, and a little longer; then kills it. Gives the last number that was. */
async function cutPower(args: readonly string[]): Promise<number> {
  const child = spawn(process.execPath, [PROGRAM, ...args], { stdio: ['ignore', 'pipe', 'pipe'] });
  let text = '';
  let last = 0;
  child.stderr.on('data', chunk => {
    text += chunk;
  });
  child.stdout.on('data', chunk => {
    text += chunk;
    for (const [, n] of text.matchAll(/^written (\d+)\r?\n/gm)) last = Math.max(last, Number(n));
    text = text.slice(-4096);
    // In the middle of whatever it does then.
    if (last >= ENOUGH * BATCH) setTimeout(() => child.kill('SIGKILL'), 20 + Math.random() * 300);
  });
  const signal = await new Promise(ended => child.on('close', (_, how) => ended(how)));
  expect(signal, text).toBe('SIGKILL');
  return last;
}

/** Each block holds one of the writes to it as a whole, and none from before the last one that was acknowledged. */
function keepsAcknowledged(data: Buffer, acknowledged: number): void {
  const least = new Array<number>(BLOCKS).fill(0);
  for (let n = 1; n <= acknowledged; n++) least[blockOf(n)] = n;
  expect(data.length).toBe(BLOCK * BLOCKS);
  for (let block = 0; block < BLOCKS; block++) {
    const content = data.subarray(block * BLOCK, (block + 1) * BLOCK);
    const n = content.readUInt32LE(0);
    for (let at = 0; at < BLOCK; at += 4) expect(content.readUInt32LE(at)).toBe(n);
    expect(n).toBeGreaterThanOrEqual(least[block]);
    if (n !== 0) expect(blockOf(n)).toBe(block);
  }
}

describe('a power cut', { timeout: 1_800_000 }, () => {
  for (const kind of ['a raw file', 'a kept overlay'] as const)
    testWith('generic', `loses nothing of ${kind} that a guest has synced`, async (kernel, context) => {
      const overlay = scratchPath('overlay.qcow2');
      if (kind === 'a kept overlay' && spawnSync('qemu-img', ['--version']).status !== 0)
        context.skip('qemu-img is not installed');
      const system = await debianSystem(kernel, context);
      const { path, disk } = copyOfDisk(system);
      disk.close();
      putOnDisk(path, '/root/writer', WRITER);
      putOnDisk(path, '/root/ender', ENDER);
      putOnDisk(path, '/root/data', Buffer.alloc(BLOCK * BLOCKS));
      const base = readFileSync(path);
      const boot = (program: string): string[] => {
        const initrd = scratchPath('root.cpio');
        writeFileSync(initrd, rootInitramfs(system, '/dev/xvda', program));
        const spec = kind === 'a raw file' ? path : `${path},overlay=${overlay}`;
        return ['run', ...kernel, '--mode', 'pv', '--initrd', initrd, '--disk', spec, '--append', 'quiet'];
      };
      await domzero(['--version']);
      const acknowledged = await cutPower(boot('/root/writer'));
      const { out } = await domzero(boot('/root/ender'));
      expect(out).toMatch(/recovered/);
      let after = path;
      if (kind === 'a kept overlay') {
        expect(base.equals(readFileSync(path))).toBe(true);
        const checked = spawnSync('qemu-img', ['check', overlay], { encoding: 'utf8' });
        expect(checked.status, checked.stdout + checked.stderr).toBe(0);
        after = scratchPath('after.ext4');
        expect(spawnSync('qemu-img', ['convert', '-O', 'raw', overlay, after]).status).toBe(0);
      }
      seesClean(after);
      keepsAcknowledged(fileOnDisk(after, '/root/data'), acknowledged);
      for (let n = BATCH; n <= acknowledged; n += BATCH)
        expect(fileOnDisk(after, `/root/batch-${n}`).toString()).toBe(`${n}\n`);
    });
});
