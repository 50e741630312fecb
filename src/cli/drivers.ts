// Modules that a kernel needs for the devices which it is given, from its own package.

import { cachedModules } from '../platform/node/module-cache.ts';
import { driverModules, type KernelImage } from '../toolstack/image/index.ts';
import { deviceBus, type Mode } from '../toolstack/image/modes.ts';
import type { KernelModule } from '../toolstack/image/modules.ts';

export type Device = 'disk' | 'network' | 'share';

export function devicesOf(has: Readonly<Record<Device, boolean>>): Device[] {
  return (['disk', 'network', 'share'] as const).filter(device => has[device]);
}

/** Reads each set once: a package takes seconds to go through. */
export class DriverSource {
  private readonly image: Pick<KernelImage, 'sha256' | 'config' | 'modules'>;
  private readonly devices: readonly Device[];
  private readonly read = new Map<string, Promise<readonly KernelModule[]>>();

  constructor(image: Pick<KernelImage, 'sha256' | 'config' | 'modules'>, devices: readonly Device[]) {
    this.image = image;
    this.devices = devices;
  }

  /** In an order in which they can be loaded; none where they are built in, or nobody knows. Rejects with ImageError. */
  for(mode: Mode): Promise<readonly KernelModule[]> {
    const kind = deviceBus(mode);
    const names = this.devices.flatMap(device => driverModules(this.image, `${kind} ${device}`) ?? []);
    const { modules: tree } = this.image;
    if (tree === null || names.length === 0) return Promise.resolve([]);
    const key = names.join();
    let modules = this.read.get(key);
    if (modules === undefined) this.read.set(key, (modules = cachedModules(this.image, names)));
    return modules;
  }
}
