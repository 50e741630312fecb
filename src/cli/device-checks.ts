// The devices that `check` gives a machine: the user's, and beside them what our init tries out where the kernel has drivers for it, a disk
// in memory and a network with nothing but its router. What the kernel has as modules comes out of its own package.

import { cachedModules } from '../platform/node/module-cache.ts';
import type { CheckedDevice } from '../report/boot.ts';
import { type DiskSpec, parseDisk } from '../toolstack/devices/disk-spec.ts';
import { driverModules, type KernelImage, type KernelModule } from '../toolstack/image/index.ts';
import { deviceBus, type Mode } from '../toolstack/image/modes.ts';
import type { Action } from '../toolstack/init/script.ts';

export interface DeviceChecks {
  readonly checked: readonly CheckedDevice[];
  readonly disks: readonly DiskSpec[];
  /** In loading order. */
  readonly modules: readonly KernelModule[];
  /** What init does once they are loaded. */
  readonly actions: readonly Action[];
}

/** What the user asks for. */
interface Asked {
  readonly disks: readonly DiskSpec[];
  readonly net: 'user' | 'none' | undefined;
  /** Init is ours, and reports. */
  readonly hasReport: boolean;
}

const DISK_NAMES = { virtio: 'vda', xen: 'xvda' } as const;
/** Addresses of the user-mode network; the first that its DHCP would give. */
const NETWORK = { name: 'eth0', address: '10.0.2.15', netmask: '255.255.255.0', gateway: '10.0.2.2' } as const;

/** Rejects with ImageError for a package whose modules cannot be read. */
export async function deviceChecks(
  image: Pick<KernelImage, 'sha256' | 'config' | 'modules'>,
  mode: Mode,
  { disks, net, hasReport }: Asked,
): Promise<DeviceChecks> {
  const bus = deviceBus(mode);
  const [disk, network] = [driverModules(image, `${bus} disk`), driverModules(image, `${bus} network`)];
  // A disk of the user's is not written to; a network that was asked for is expected to work.
  const checksDisk = hasReport && disks.length === 0 && disk !== null;
  const checksNetwork = hasReport && (net === 'user' || (net === undefined && network !== null));
  const names = [
    ...(checksDisk || disks.length > 0 ? (disk ?? []) : []),
    ...(checksNetwork || net === 'user' ? (network ?? []) : []),
  ];
  const checked: CheckedDevice[] = [];
  const actions: Action[] = [];
  if (checksDisk) {
    checked.push('disk');
    actions.push({ do: 'disk', name: DISK_NAMES[bus] });
  }
  if (checksNetwork) {
    checked.push('network');
    actions.push({ do: 'network', ...NETWORK });
  }
  return {
    checked,
    actions,
    // Boots run beside one another: none may write to what others read.
    disks: checksDisk ? [parseDisk('scratch:8M')] : disks.map(spec => ({ ...spec, isOverlay: true })),
    modules: await cachedModules(image, [...new Set(names)]),
  };
}
