// The kernels that a command line names: files, of which several may be one kernel (Debian's split packages).

import { basename } from 'node:path';
import { readFile } from '../platform/node/files.ts';
import { DebianPackage, isDebianPackage } from '../toolstack/image/debian-package.ts';
import { type KernelImage, loadImages } from '../toolstack/image/index.ts';

/** Paths of the files that make one kernel. */
export type ImageFiles = readonly string[];

/** "6.1.0-56-amd64" for the packages linux-image-6.1.0-56-amd64 and linux-modules-6.1.0-56-amd64. */
const PART_NAME = /^linux-(?:image|binary|modules)-(\d.*?)(?:-unsigned)?$/;

/**
 * Puts files that belong to the same kernel together, in the order of their first ones. Throws FileError or ImageError for a
 * file that cannot be read.
 */
export function groupFiles(paths: readonly string[]): ImageFiles[] {
  const groups = new Map<string, { files: string[]; packages: Set<string> }>();
  for (const path of paths) {
    const bytes = readFile(path);
    const name = isDebianPackage(bytes) ? (new DebianPackage(bytes, path).control.get('Package') ?? '') : '';
    const release = PART_NAME.exec(name)?.[1];
    const group = release === undefined ? undefined : groups.get(release);
    // The same package again (of another version, say) is another kernel.
    if (release === undefined || group?.packages.has(name)) groups.set(path, { files: [path], packages: new Set() });
    else if (group === undefined) groups.set(release, { files: [path], packages: new Set([name]) });
    else {
      group.files.push(path);
      group.packages.add(name);
    }
  }
  return [...groups.values()].map(group => group.files);
}

/** Reads a kernel. Rejects with FileError or ImageError. */
export function loadFiles(files: ImageFiles): Promise<KernelImage> {
  return loadImages(files.map(path => ({ name: basename(path), bytes: readFile(path) })));
}
