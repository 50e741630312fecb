// The kernel modules of a package, read when asked for: a package unpacks to hundreds of megabytes, of which a guest's
// initramfs needs a handful of files.

import { readElf } from '../../abi/elf.ts';
import { cString } from '../../util/bytes.ts';
import { decompress, detectCompression } from '../../util/decompress/index.ts';
import type { DebianPackage } from './debian-package.ts';
import { ImageError } from './error.ts';

export interface ModuleFile {
  /** Relative to lib/modules/RELEASE, such as "kernel/drivers/net/xen-netfront.ko". */
  readonly path: string;
  /** Bytes as packed, so of the compressed module where it is compressed. */
  readonly size: number;
}

export interface KernelModule {
  /** With underscores, as the kernel has it. */
  readonly name: string;
  /** Relative to lib/modules/RELEASE, ending in .ko. */
  readonly path: string;
  /** Decompressed. */
  readonly bytes: Uint8Array;
  /** Names of modules that must be loaded before it. */
  readonly dependencies: readonly string[];
}

/** A module's file as it stands in the package. */
interface PackedModule {
  readonly path: string;
  readonly bytes: Uint8Array;
}

/** Bytes. A whole kernel's modules of this size are a few dozen megabytes. */
const SMALL_MODULE = 40 << 10;

const MODULE_PATH = /\.ko(\.\w+)?$/;

export class ModuleTree {
  /** The kernel's release, the name of the directory under lib/modules. */
  readonly release: string;
  private readonly packages: readonly DebianPackage[];
  private listed: ModuleFile[] | null = null;

  constructor(release: string, packages: readonly DebianPackage[]) {
    this.release = release;
    this.packages = packages;
  }

  /** All files, modules and lists alike. Decompresses every package once, which takes seconds. */
  async list(): Promise<readonly ModuleFile[]> {
    if (this.listed === null) {
      const files: ModuleFile[] = [];
      for (const { path, entry } of this.entries()) files.push({ path, size: entry.size });
      this.listed = files;
    }
    return this.listed;
  }

  /**
   * The files for which `want` answers true, by path; modules are decompressed (and their paths end in .ko). One pass
   * over the packages, which ends as soon as `count` files were found.
   */
  async read(want: (path: string) => boolean, count = Number.POSITIVE_INFINITY): Promise<Map<string, Uint8Array>> {
    const found = new Map<string, Uint8Array>();
    for (const { path, entry } of this.entries()) {
      if (found.size >= count) break;
      if (want(path)) found.set(path, entry.read());
    }
    const result = new Map<string, Uint8Array>();
    for (const [path, bytes] of found) {
      const plain = path.replace(/(\.ko)\.\w+$/, '$1');
      const packed = plain !== path && detectCompression(bytes) !== null;
      result.set(plain, packed ? await decompress(bytes) : bytes);
    }
    return result;
  }

  /**
   * Modules by name ("xen-netfront" and "xen_netfront" are the same) and all that they depend on, in an order in which they can be
   * loaded. The package's own list of dependencies (modules.dep) is only made where it is installed, so they are read out of the
   * modules. Rejects with ImageError where one of them does not exist or is no module.
   */
  async withDependencies(names: Iterable<string>): Promise<KernelModule[]> {
    const wanted = new Set(Array.from(names, moduleName));
    const found = new Map<string, KernelModule>();
    const missing = () => [...wanted].filter(name => !found.has(name));
    for (let left = missing(); left.length > 0; left = missing()) {
      // What is found later in the package may depend on what has gone by: mostly small modules, so those are kept for a pass.
      const passed = new Map<string, PackedModule>();
      const take = async (module: PackedModule) => {
        const opened = await openModule(module);
        found.set(opened.name, opened);
        for (const dependency of opened.dependencies) {
          wanted.add(dependency);
          const earlier = passed.get(dependency);
          if (earlier !== undefined && !found.has(dependency)) await take(earlier);
        }
      };
      for (const { path, entry } of this.entries()) {
        const name = moduleName(path);
        if (!MODULE_PATH.test(path) || found.has(name)) continue;
        if (wanted.has(name)) await take({ path, bytes: entry.read() });
        else if (entry.size <= SMALL_MODULE) passed.set(name, { path, bytes: entry.read() });
        if (missing().length === 0) break;
      }
      const lost = left.find(name => !found.has(name));
      if (lost !== undefined) throw new ImageError(`there is no module ${lost} for ${this.release} in the package`);
    }
    return inLoadingOrder(found);
  }

  private *entries() {
    const prefix = new RegExp(`^(?:usr/)?lib/modules/${escapeRegExp(this.release)}/(.+)$`);
    for (const pack of this.packages) {
      for (const entry of pack.files()) {
        const match = entry.type === 'file' ? prefix.exec(entry.path) : null;
        if (match !== null) yield { path: match[1], entry };
      }
    }
  }
}

/** Throws ImageError for a file that is no module. */
async function openModule({ path, bytes: packed }: PackedModule): Promise<KernelModule> {
  const plain = path.replace(/(\.ko)\.\w+$/, '$1');
  try {
    const bytes = plain !== path && detectCompression(packed) !== null ? await decompress(packed) : packed;
    return { name: moduleName(path), path: plain, bytes, dependencies: dependenciesOf(bytes) };
  } catch (error) {
    const problem = error instanceof Error ? error.message : String(error);
    throw new ImageError(`${path}: the module cannot be read: ${problem}`, { cause: error });
  }
}

/** The field `depends` of a module's section .modinfo: "key=value" strings, each with a zero (include/linux/module.h, MODULE_INFO). */
function dependenciesOf(module: Uint8Array): string[] {
  const info = readElf(module).sections.find(section => section.name === '.modinfo')?.data ?? new Uint8Array(0);
  const names: string[] = [];
  for (let at = 0; at < info.length; ) {
    const field = cString(info, at);
    at += field.length + 1;
    const depends = /^depends=(.+)$/.exec(field)?.[1];
    if (depends !== undefined) names.push(...depends.split(',').map(moduleName));
  }
  return names;
}

/** Every module behind those it depends on. Dependencies that go round in a circle, which no kernel has, are cut somewhere. */
function inLoadingOrder(modules: ReadonlyMap<string, KernelModule>): KernelModule[] {
  const order = new Set<KernelModule>();
  const visited = new Set<string>();
  const visit = (name: string) => {
    const module = modules.get(name);
    if (module === undefined || visited.has(name)) return;
    visited.add(name);
    module.dependencies.forEach(visit);
    order.add(module);
  };
  for (const name of modules.keys()) visit(name);
  return [...order];
}

/** "xen_netfront" for "kernel/drivers/net/xen-netfront.ko.xz". */
export function moduleName(path: string): string {
  return path
    .replace(/^.*\//, '')
    .replace(/\.ko(\.\w+)?$/, '')
    .replaceAll('-', '_');
}

const escapeRegExp = (text: string) => text.replace(/[.*+?^${}()|[\]\\]/g, '\\$&');
