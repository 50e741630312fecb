// Debian's stock kernels: what a meta package such as linux-image-amd64 stands for today, obtained through apt.

import { type Apt, AptError } from './apt.ts';

/** Packages that a kernel's own package may be split into (Debian from 7.x on). */
const KERNEL_PART = /^linux-(?:image|binary|modules)-\d/;

/**
 * The paths of a kernel's package files: the package that `meta` depends on, and those that it is split into. Throws AptError.
 */
export function obtainKernel(meta: string, apt: Apt): string[] {
  const image = apt.show(meta).dependencies.find(name => KERNEL_PART.test(name));
  if (image === undefined) throw new AptError(`${meta} depends on no kernel package`);
  const files: string[] = [];
  const wanted = [image];
  for (const name of wanted) {
    const info = apt.show(name);
    files.push(apt.download(info));
    for (const part of info.dependencies) {
      if (KERNEL_PART.test(part) && !wanted.includes(part)) wanted.push(part);
    }
  }
  return files;
}
