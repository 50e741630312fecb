// Debian with systemd on a disk, in the modes: from the kernel to a login, work on the file system and the network, and a clean end.

import { createHash } from 'node:crypto';
import { statSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterAll, describe, expect } from 'vitest';
import type { FileSource } from '../../src/backends/block/file-source.ts';
import type { Machine } from '../../src/index.ts';
import type { Mode } from '../../src/toolstack/image/modes.ts';
import { copyOfDisk, debianSystem, fileOnDisk, type Installed, machineWith, seesClean } from './disk.ts';
import { EXHAUSTIVE, testWith } from './kernels.ts';
import { Person } from './machine.ts';
import { serveRepository } from './package-repository.ts';

const NUMBERS = Array.from({ length: 100_000 }, (_, i) => `${i + 1}\n`).join('');
const SUM = `${createHash('sha256').update(NUMBERS).digest('hex')}  -\n`;

const server = createServer((_, response) => response.end(NUMBERS));
afterAll(() => server.close());

/** The port of the server that guests get a file from. */
async function served(): Promise<number> {
  if (!server.listening) await new Promise<void>(listening => server.listen(0, '127.0.0.1', listening));
  return (server.address() as AddressInfo).port;
}

/** Bytes that a file takes on its disk. */
const placeOf = (path: string): number => statSync(path).blocks * 512;

/** What a mode's system has beside what all have. */
const OF_ITS_OWN: Partial<Record<Mode, (person: Person, path: string) => Promise<void>>> = {
  async dom0(person) {
    expect(await person.runs('cat /proc/xen/capabilities')).toBe('control_d\n');
    expect(await person.runs('cd /sys/hypervisor; cat type guest_type version/* properties/pagesize; cd')).toBe(
      'xen\nPV\n.7\n4\n17\n1000\n',
    );
    // Debian's own service, which finds XenStore served.
    expect(await person.runs('systemctl is-active xen')).toBe('active\n');
    expect(await person.runs('systemctl status --no-pager xen')).toMatch(/\/xenconsoled/);
    expect(await person.runs('xl info')).toMatch(/^xen_version +: 4\.17\.7$/m);
    expect(await person.runs('xl list')).toMatch(/^Domain-0 +0 +512 +1 +r-----/m);
    await person.runs('xl debug-keys q');
    expect(await person.runs('xl dmesg')).toMatch(/^\(XEN\) General information for domain 0:$/m);
    expect(await person.runs('xenstore-ls -f /local/domain/0')).toMatch(/^\/local\/domain\/0\/name += "Domain-0"$/m);
  },

  async pv(person, path) {
    const repository = await serveRepository(['hello']);
    await person.runs('rm -f /etc/apt/sources.list.d/*');
    await person.runs(`echo "deb [trusted=yes] http://10.0.2.2:${repository.port} ./" > /etc/apt/sources.list`);
    const output = await person.runs('apt-get -qq update && apt-get -qq install hello');
    repository.server.close();
    expect(output).toMatch(/^Setting up hello /m);
    expect(await person.runs('hello; dpkg --audit')).toBe('Hello, world!\n');
    expect(repository.served).toContain('/./hello.deb');
    // Files that were there once take no place on this machine any more.
    await person.runs('head -c 32M /dev/zero > /root/large && sync && rm /root/large && sync');
    const before = placeOf(path);
    expect(await person.runs('fstrim -v /')).toMatch(/bytes\) trimmed$/m);
    await person.runs('sync');
    expect(before - placeOf(path)).toBeGreaterThan(30 << 20);
  },

  async pvhvm(person) {
    const log = await person.runs('dmesg');
    expect(log).toMatch(/unplug emulated disks/);
    expect(log).toMatch(/unplug emulated NICs/);
    expect(await person.runs('ls /sys/block')).toBe('xvda\n');
  },
};

async function boot(mode: Mode, system: Installed, disk: FileSource): Promise<[Machine, Person]> {
  const machine = await machineWith(mode, system, disk);
  const person = new Person(machine);
  await person.logsIn();
  return [machine, person];
}

describe('Debian on a disk', { timeout: 1_800_000 }, () => {
  const modes = ['native', 'dom0', 'pv', ...(EXHAUSTIVE ? (['pvh', 'pvhvm'] as const) : [])] as const;
  for (const mode of modes) {
    testWith(
      'generic',
      `comes to a login in mode ${mode}, gets a file from this machine, and keeps one`,
      async (kernel, context) => {
        const system = await debianSystem(kernel, context);
        const { path, disk } = copyOfDisk(system);
        const [machine, person] = await boot(mode, system, disk);
        expect(await person.runs('systemctl is-system-running --wait; systemctl --failed --no-legend')).toBe(
          'running\n',
        );
        const device = mode === 'native' || mode === 'dom0' ? 'vda' : 'xvda';
        expect(await person.runs('findmnt -no SOURCE,FSTYPE /')).toBe(`/dev/${device} ext4\n`);
        expect(await person.runs(`wget -qO- http://10.0.2.2:${await served()}/ | sha256sum`)).toBe(SUM);
        await OF_ITS_OWN[mode]?.(person, path);
        await person.runs('seq 100000 > /root/numbers');
        expect(await person.runs('sha256sum < /root/numbers')).toBe(SUM);
        await person.types('poweroff');
        expect(await person.seesItEnd()).toBe('poweroff');
        seesClean(path);
        expect(fileOnDisk(path, '/root/numbers').toString()).toBe(NUMBERS);
        machine.close();
        disk.close();
      },
    );
  }

  for (const mode of EXHAUSTIVE ? (['native', 'dom0'] as const) : [])
    testWith('generic', `starts again in mode ${mode} after a reboot`, async (kernel, context) => {
      const system = await debianSystem(kernel, context);
      const { path, disk } = copyOfDisk(system);
      const [first, person] = await boot(mode, system, disk);
      await person.runs('touch /root/before');
      await person.types('reboot');
      expect(await person.seesItEnd()).toBe('reboot');
      first.close();
      seesClean(path);
      // What runs machines decides whether one starts again; `domzero run` ends.
      const [second, again] = await boot(mode, system, disk);
      expect(await again.runs('ls /root')).toBe('before\n');
      await again.types('poweroff');
      expect(await again.seesItEnd()).toBe('poweroff');
      seesClean(path);
      second.close();
      disk.close();
    });
});
