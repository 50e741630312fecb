// A Debian system on a disk for these tests, and an initramfs that goes on with it.

import { readFileSync } from 'node:fs';
import { basename } from 'node:path';
import type { TestContext } from 'vitest';
import { type Driver, driverModules, type KernelImage, type KernelModule, loadImages } from '../../src/index.ts';
import { AptError } from '../../src/platform/node/debian/apt.ts';
import { debianDiskImage } from '../../src/platform/node/debian/disk-image.ts';
import { cachedModules } from '../../src/platform/node/module-cache.ts';
import { builtinInitramfs } from '../../src/toolstack/init/initramfs.ts';

export const ROOT_PASSWORD = 'domzero';

const DRIVERS: readonly Driver[] = ['virtio disk', 'virtio network', 'xen disk', 'xen network', 'ext4'];

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
  const modules = await cachedModules(image, [...names, 'autofs4']);
  const disk = debianDiskImage({ rootPassword: ROOT_PASSWORD, kernel: { release: image.release, modules } });
  return { image, modules, disk };
}

/** Loads the modules and starts systemd from the disk. */
export function rootInitramfs({ image, modules }: Installed, device: string): Uint8Array {
  return builtinInitramfs({
    bits: image.elf.bits,
    modules,
    actions: [{ do: 'root', device, type: 'ext4', program: '/sbin/init' }],
  });
}
