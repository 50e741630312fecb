// A Debian system on a disk for these tests, and an initramfs that goes on with it.

import { spawnSync } from 'node:child_process';
import { copyFileSync, constants as files, readFileSync } from 'node:fs';
import { basename, dirname } from 'node:path';
import { expect, type TestContext } from 'vitest';
import { FileSource } from '../../src/backends/block/file-source.ts';
import type { BlockSource } from '../../src/backends/block/source.ts';
import {
  type Driver,
  driverModules,
  Host,
  HostedDomain,
  type KernelImage,
  type KernelModule,
  loadImages,
  type Machine,
  NativeMachine,
  ramForGuests,
} from '../../src/index.ts';
import { openBlockFile } from '../../src/platform/node/block-file.ts';
import { AptError } from '../../src/platform/node/debian/apt.ts';
import { debianDiskImage } from '../../src/platform/node/debian/disk-image.ts';
import { cachedModules } from '../../src/platform/node/module-cache.ts';
import { nodeSockets } from '../../src/platform/node/sockets.ts';
import { addVifs, openNetworks } from '../../src/toolstack/devices/network-setup.ts';
import { Vbd } from '../../src/toolstack/devices/vbd.ts';
import { parseVdev } from '../../src/toolstack/devices/vdev.ts';
import { Dom0Machine } from '../../src/toolstack/dom0.ts';
import { deviceBus, type Mode } from '../../src/toolstack/image/modes.ts';
import { builtinInitramfs } from '../../src/toolstack/init/initramfs.ts';
import { scratchPath } from './domzero.ts';

export const ROOT_PASSWORD = 'domzero';

const DRIVERS: readonly Driver[] = ['virtio disk', 'virtio network', 'xen disk', 'xen network', 'ext4'];
/** What the system itself loads, natively or in Dom0. */
const ON_DISK = ['autofs4', 'xen-privcmd', 'xenfs', 'xen-evtchn', 'xen-gntdev', 'xen-gntalloc', 'binfmt_misc'];
/** The control domain's, which do nothing elsewhere. */
const PACKAGES = ['xen-utils-4.17', 'xenstore-utils'];

export interface Installed {
  readonly image: KernelImage;
  /** What the kernel needs for its disks and networks, in loading order. */
  readonly modules: readonly KernelModule[];
  /** The path of the disk's image, which must not be changed. */
  readonly disk: string;
}

let made: Promise<Installed> | null = null;

/** Debian as it would be installed with this kernel. Skips the test where it cannot be made. */
export async function debianSystem(kernel: readonly string[], context: TestContext): Promise<Installed> {
  try {
    return await (made ??= install(kernel));
  } catch (error) {
    if (!(error instanceof AptError)) throw error;
    return context.skip(error.message);
  }
}

export async function install(kernel: readonly string[]): Promise<Installed> {
  const image = await loadImages(kernel.map(path => ({ name: basename(path), bytes: readFileSync(path) })));
  const names = DRIVERS.flatMap(driver => driverModules(image, driver) ?? []);
  const modules = await cachedModules(image, names);
  const onDisk = await cachedModules(image, [...names, ...ON_DISK]);
  const disk = debianDiskImage({
    packages: PACKAGES,
    rootPassword: ROOT_PASSWORD,
    kernel: { release: image.release, modules: onDisk },
  });
  return { image, modules, disk };
}

/** Loads the modules and starts systemd, or another program, from the disk. */
export function rootInitramfs({ image, modules }: Installed, device: string, program = '/sbin/init'): Uint8Array {
  return builtinInitramfs({
    bits: image.elf.bits,
    modules,
    actions: [{ do: 'root', device, type: 'ext4', program }],
  });
}

/** A copy of the system's disk that a test may write to. */
export function copyOfDisk(system: Installed): { path: string; disk: FileSource } {
  const path = scratchPath('disk.ext4');
  copyFileSync(system.disk, path, files.COPYFILE_FICLONE);
  return { path, disk: new FileSource(openBlockFile(path, true)) };
}

const MEMORY = 512;
const user = (wake: () => void) => ({ sockets: nodeSockets(wake) });

/** A machine whose first disk has the system, with a network that leads to this machine. */
export async function machineWith(mode: Mode, system: Installed, disk: BlockSource): Promise<Machine> {
  const isBare = deviceBus(mode) === 'virtio';
  const options = {
    image: system.image,
    initrd: rootInitramfs(system, isBare ? '/dev/vda' : '/dev/xvda'),
    cmdline: `console=${mode === 'native' ? 'ttyS0' : 'hvc0'} quiet`,
    memoryMiB: MEMORY,
  };
  const vifs = [{}];
  const bare = { ...options, disks: [disk], networks: { vifs, user } };
  if (mode === 'native') return NativeMachine.create(bare);
  if (mode === 'dom0') return Dom0Machine.create(bare);
  if (mode === 'dom0pvh') return Dom0Machine.create({ ...bare, kind: 'pvh' });
  const host = await Host.create({ ramBytes: ramForGuests(MEMORY) });
  const create = {
    pv: () => host.createPvDomain(options),
    pvh: () => host.createPvhDomain(options),
    pvhvm: () => host.createPvHvmDomain(options),
  };
  const domain = create[mode]();
  new Vbd(host, domain, { vdev: parseVdev('xvda')!, source: disk });
  const { hypervisor, scheduler } = host;
  const networks = openNetworks({ vifs, user }, { clock: hypervisor.clock, scheduler, wake: () => host.wake() });
  addVifs(networks, vifs, host, domain);
  return new HostedDomain(host, domain, networks);
}

const env = { PATH: '/usr/sbin:/sbin:/usr/bin:/bin' };

/** e2fsck finds nothing to mend. */
export function seesClean(path: string): void {
  const { status, stdout } = spawnSync('e2fsck', ['-fn', path], { encoding: 'utf8', env });
  expect(status, stdout).toBe(0);
}

/** Puts a file, for everybody to run, on a disk that no machine uses. */
export function putOnDisk(path: string, name: string, content: Uint8Array | string): void {
  const file = basename(name);
  const lines = [`cd ${dirname(name)}`, `write ${scratchPath('file', content)} ${file}`, `sif ${file} mode 0100755`];
  const { status, stderr } = spawnSync('debugfs', ['-w', '-f', '-', path], {
    input: `${lines.join('\n')}\n`,
    encoding: 'utf8',
    env,
  });
  expect(status, stderr).toBe(0);
}

/** A file on a disk that no machine uses. */
export function fileOnDisk(path: string, name: string): Buffer {
  return spawnSync('debugfs', ['-R', `cat ${name}`, path], { maxBuffer: 1 << 26, env }).stdout;
}
