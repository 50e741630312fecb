// Debian with systemd on a disk, in the modes: from the kernel to a login, work on the file system and the network, and a clean end.

import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { copyFileSync, constants as files } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterAll, describe, expect } from 'vitest';
import { FileSource } from '../../src/backends/block/file-source.ts';
import { Host, HostedDomain, type Machine, NativeMachine, ramForGuests } from '../../src/index.ts';
import { openBlockFile } from '../../src/platform/node/block-file.ts';
import { nodeSockets } from '../../src/platform/node/sockets.ts';
import { addVifs, openNetworks } from '../../src/toolstack/devices/network-setup.ts';
import { Vbd } from '../../src/toolstack/devices/vbd.ts';
import { parseVdev } from '../../src/toolstack/devices/vdev.ts';
import { debianSystem, type Installed, ROOT_PASSWORD, rootInitramfs } from './disk.ts';
import { scratchPath } from './domzero.ts';
import { EXHAUSTIVE, testWith } from './kernels.ts';
import { Person } from './machine.ts';

type GuestMode = 'pv' | 'pvh' | 'pvhvm';

const MEMORY = 512;
const NUMBERS = Array.from({ length: 100_000 }, (_, i) => `${i + 1}\n`).join('');
const SUM = `${createHash('sha256').update(NUMBERS).digest('hex')}  -\n`;

/** A PC whose first virtio disk has the system. */
function nativePc(system: Installed, disk: FileSource): Promise<Machine> {
  return NativeMachine.create({
    image: system.image,
    initrd: rootInitramfs(system, '/dev/vda'),
    cmdline: 'console=ttyS0 quiet',
    memoryMiB: MEMORY,
    disks: [disk],
    networks: { vifs: [{}], user: wake => ({ sockets: nodeSockets(wake) }) },
  });
}

/** A Xen guest with the system on xvda and a network device. */
async function guest(mode: GuestMode, system: Installed, disk: FileSource): Promise<Machine> {
  const host = await Host.create({ ramBytes: ramForGuests(MEMORY) });
  const options = {
    image: system.image,
    initrd: rootInitramfs(system, '/dev/xvda'),
    cmdline: 'console=hvc0 quiet',
    memoryMiB: MEMORY,
  };
  const create = {
    pv: () => host.createPvDomain(options),
    pvh: () => host.createPvhDomain(options),
    pvhvm: () => host.createPvHvmDomain(options),
  };
  const domain = create[mode]();
  new Vbd(host, domain, { vdev: parseVdev('xvda')!, source: disk });
  const vifs = [{}];
  const user = (wake: () => void) => ({ sockets: nodeSockets(wake) });
  const { hypervisor, scheduler } = host;
  const networks = openNetworks({ vifs, user }, { clock: hypervisor.clock, scheduler, wake: () => host.wake() });
  addVifs(networks, vifs, host, domain);
  return new HostedDomain(host, domain, networks);
}

async function logIn(person: Person): Promise<void> {
  await person.sees('domzero login:');
  await person.types('root');
  await person.sees('Password:');
  await person.types(ROOT_PASSWORD);
  await person.sees('# ');
  expect(await person.runs('systemctl is-system-running --wait; systemctl --failed --no-legend')).toBe('running\n');
}

/** Writes a file, switches off, and looks for it on the disk. */
async function keepsFile(person: Person, path: string): Promise<void> {
  await person.runs('seq 100000 > /root/numbers');
  expect(await person.runs('sha256sum < /root/numbers')).toBe(SUM);
  await person.types('poweroff');
  expect(await person.seesItEnd()).toBe('poweroff');
  const env = { PATH: '/usr/sbin:/sbin:/usr/bin:/bin' };
  const checked = spawnSync('e2fsck', ['-fn', path], { encoding: 'utf8', env });
  expect(checked.status, checked.stdout).toBe(0);
  const kept = spawnSync('debugfs', ['-R', 'cat /root/numbers', path], { maxBuffer: 1 << 20, env });
  expect(kept.stdout.toString()).toBe(NUMBERS);
}

const server = createServer((_, response) => response.end(NUMBERS));
afterAll(() => server.close());

/** The port of the server that guests get a file from. */
async function served(): Promise<number> {
  if (!server.listening) await new Promise<void>(listening => server.listen(0, '127.0.0.1', listening));
  return (server.address() as AddressInfo).port;
}

describe('Debian on a disk', { timeout: 1_800_000 }, () => {
  const copyOf = (system: Installed) => {
    const path = scratchPath('disk.ext4');
    copyFileSync(system.disk, path, files.COPYFILE_FICLONE);
    return { path, disk: new FileSource(openBlockFile(path, true)) };
  };

  testWith(
    'generic',
    'boots natively to a login, gets a file from this machine, and keeps one',
    async (kernel, context) => {
      const system = await debianSystem(kernel, context);
      const { path, disk } = copyOf(system);
      const machine = await nativePc(system, disk);
      const port = await served();
      const person = new Person(machine);
      await logIn(person);
      expect(await person.runs('findmnt -no SOURCE,FSTYPE /')).toBe('/dev/vda ext4\n');
      expect(await person.runs(`wget -qO- http://10.0.2.2:${port}/ | sha256sum`)).toBe(SUM);
      await keepsFile(person, path);
      machine.close();
      disk.close();
    },
  );

  for (const mode of EXHAUSTIVE ? (['pv', 'pvh', 'pvhvm'] as const) : (['pv'] as const)) {
    testWith(
      'generic',
      `boots as a ${mode} guest, gets a file from this machine, and keeps one`,
      async (kernel, context) => {
        const system = await debianSystem(kernel, context);
        const { path, disk } = copyOf(system);
        const machine = await guest(mode, system, disk);
        const port = await served();
        const person = new Person(machine);
        await logIn(person);
        expect(await person.runs('findmnt -no SOURCE,FSTYPE /')).toBe('/dev/xvda ext4\n');
        expect(await person.runs(`wget -qO- http://10.0.2.2:${port}/ | sha256sum`)).toBe(SUM);
        await keepsFile(person, path);
        machine.close();
        disk.close();
      },
    );
  }
});
