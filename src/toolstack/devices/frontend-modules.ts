// The drivers of our devices, which most distributions' kernels have as modules: what to load before there is a disk or a network.
import type { Mode } from '../image/modes.ts';

export interface Devices {
  readonly hasDisk: boolean;
  readonly hasNetwork: boolean;
}

/** Names of modules, in an order in which they can be loaded once what they depend on is there. */
export function frontendModules(mode: Mode, { hasDisk, hasNetwork }: Devices): string[] {
  const isGuest = mode !== 'native' && mode !== 'dom0';
  const [disk, network, bus] = isGuest
    ? ['xen_blkfront', 'xen_netfront', []]
    : ['virtio_blk', 'virtio_net', ['virtio_pci']];
  if (!hasDisk && !hasNetwork) return [];
  return [...bus, ...(hasDisk ? [disk] : []), ...(hasNetwork ? [network] : [])];
}
