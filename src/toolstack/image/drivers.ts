// What a kernel needs before it can use a kind of device: nothing where the driver is built in, else modules of its package.

import type { KernelImage } from './kernel.ts';

/** The symbols of a kernel's configuration that make a driver up (Linux, Kconfig), with the modules they become. */
const DRIVERS = {
  'xen disk': { XEN_BLKDEV_FRONTEND: 'xen-blkfront' },
  'xen network': { XEN_NETDEV_FRONTEND: 'xen-netfront' },
  'virtio disk': { VIRTIO_PCI: 'virtio_pci', VIRTIO_BLK: 'virtio_blk' },
  'virtio network': { VIRTIO_PCI: 'virtio_pci', VIRTIO_NET: 'virtio_net' },
  'xen share': { NET_9P: '9pnet', NET_9P_XEN: '9pnet_xen', '9P_FS': '9p' },
  'virtio share': { VIRTIO_PCI: 'virtio_pci', NET_9P: '9pnet', NET_9P_VIRTIO: '9pnet_virtio', '9P_FS': '9p' },
  // ext4 asks the crypto API for its checksum by name, so no dependency says so.
  ext4: { EXT4_FS: 'ext4', CRYPTO_CRC32C: 'crc32c_generic' },
} as const satisfies Record<string, Readonly<Record<string, string>>>;
export type Driver = keyof typeof DRIVERS;

/** Names of the modules to load for this driver; null where the kernel has none, or it is unknown (an image without its configuration). */
export function driverModules(
  { config, modules }: Pick<KernelImage, 'config' | 'modules'>,
  driver: Driver,
): string[] | null {
  if (config === null) return null;
  const names: string[] = [];
  for (const [symbol, module] of Object.entries(DRIVERS[driver])) {
    const value = config.get(symbol);
    if (value === 'm' && modules !== null) names.push(module);
    else if (value !== 'y') return null;
  }
  return names;
}
