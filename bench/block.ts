// A disk's throughput: sequential and random transfers of a guest, on one raw image, as PV disk of PV and PVH guests and as virtio disk of a bare
// machine, beside QEMU (TCG) with virtio on the same image. Lanes run in turn; processor time is what counts on a busy machine. Needs gcc and
// Debian's qemu-system-x86.
//   npx tsx bench/block.ts KERNEL.deb [rounds [MiB]]
import { mkdtempSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { compare, domzero, ioGuest, measure, qemu } from './io-guest.ts';

async function main(): Promise<void> {
  const [file, rounds = '3', mib = '64'] = process.argv.slice(2);
  if (!file) throw new Error('usage: npx tsx bench/block.ts KERNEL.deb [rounds [MiB]]');
  const folder = mkdtempSync(join(tmpdir(), 'domzero-block-'));
  try {
    const guest = await ioGuest(folder, [file], 'disk');
    const image = join(folder, 'disk.img');
    writeFileSync(image, '');
    truncateSync(image, Number(mib) << 20);
    const own = (mode: 'native' | 'pv' | 'pvh') => () =>
      measure([domzero(guest, mode, `mib=${mib} disk=${mode === 'native' ? 'vda' : 'xvda'}`, ['--disk', image])]);
    const drive = ['-drive', `file=${image},format=raw,if=virtio,cache=writeback`];
    const lanes = {
      pv: own('pv'),
      pvh: own('pvh'),
      native: own('native'),
      qemu: () => measure([qemu(guest, `mib=${mib} disk=vda`, drive)]),
    };
    await compare(lanes, Number(rounds));
  } finally {
    rmSync(folder, { recursive: true });
  }
}

await main();
