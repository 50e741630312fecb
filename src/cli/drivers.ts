// Modules that a kernel needs for the devices which it is given, from its own package.

import { type Devices, frontendModules } from '../toolstack/devices/frontend-modules.ts';
import type { Mode } from '../toolstack/image/modes.ts';
import { type KernelModule, type ModuleTree, moduleName } from '../toolstack/image/modules.ts';

/** Reads each set once: a package takes seconds to go through. */
export class DriverSource {
  private readonly tree: ModuleTree | null;
  private readonly devices: Devices;
  private readonly read = new Map<string, Promise<readonly KernelModule[]>>();

  /** @param tree null for a kernel without a package: what it has is built in, or the user gives it */
  constructor(tree: ModuleTree | null, devices: Devices) {
    this.tree = tree;
    this.devices = devices;
  }

  /** In an order in which they can be loaded. What the package does not have is taken to be built in. Rejects with ImageError. */
  for(mode: Mode): Promise<readonly KernelModule[]> {
    const { tree } = this;
    const names = frontendModules(mode, this.devices);
    if (tree === null || names.length === 0) return Promise.resolve([]);
    const key = names.join();
    let modules = this.read.get(key);
    if (modules === undefined) this.read.set(key, (modules = find(tree, names)));
    return modules;
  }
}

async function find(tree: ModuleTree, names: readonly string[]): Promise<readonly KernelModule[]> {
  const there = new Set((await tree.list()).map(({ path }) => moduleName(path)));
  return tree.withDependencies(names.filter(name => there.has(name)));
}
