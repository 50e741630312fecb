// The kernel modules of a package, read when asked for: a package unpacks to hundreds of megabytes, of which a guest's
// initramfs needs a handful of files.

import { decompress, detectCompression } from '../../util/decompress/index.ts';
import type { DebianPackage } from './debian-package.ts';

export interface ModuleFile {
  /** Relative to lib/modules/RELEASE, such as "kernel/drivers/net/xen-netfront.ko". */
  readonly path: string;
  /** Bytes as packed, so of the compressed module where it is compressed. */
  readonly size: number;
}

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

  /** Modules by name ("xen-netfront" and "xen_netfront" are the same); those that do not exist are not in the result. */
  async readModules(names: Iterable<string>): Promise<Map<string, Uint8Array>> {
    const wanted = new Map(Array.from(names, name => [moduleName(name), name]));
    const files = await this.read(path => /\.ko(\.\w+)?$/.test(path) && wanted.has(moduleName(path)), wanted.size);
    return new Map(Array.from(files, ([path, bytes]) => [wanted.get(moduleName(path))!, bytes]));
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

/** "xen_netfront" for "kernel/drivers/net/xen-netfront.ko.xz". */
export function moduleName(path: string): string {
  return path
    .replace(/^.*\//, '')
    .replace(/\.ko(\.\w+)?$/, '')
    .replaceAll('-', '_');
}

const escapeRegExp = (text: string) => text.replace(/[.*+?^${}()|[\]\\]/g, '\\$&');
