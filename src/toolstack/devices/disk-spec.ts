// What a person writes for a disk, in xl's syntax: docs/man/xl-disk-configuration.5.pod. Beside it, parts may be left out or stand in any order
// where they cannot be mistaken: "disk.img", "disk.img,ro", "disk.img,xvdb".
import { parseVdev, type Vdev, xvdName } from './vdev.ts';

export interface DiskSpec {
  /** What the person wrote. */
  readonly text: string;
  /** A file, a block device, a URL, "scratch:64M" for memory. Empty for a CD drive without a disc. */
  readonly target: string;
  /** Null: the next one that is free. */
  readonly vdev: Vdev | null;
  readonly isReadOnly: boolean;
  readonly isCdrom: boolean;
  /** Null: where the medium can. */
  readonly discard: boolean | null;
  readonly format: 'raw' | 'qcow2';
  /** Our own: what the guest writes is forgotten afterwards, and the target is not touched. */
  readonly isOverlay: boolean;
  /** Our own: a qcow2 image for what the guest writes, made where there is none; the target is not touched. */
  readonly overlayFile: string | null;
}

/** A mistake in what a person wrote: one sentence. */
export class DiskSpecError extends Error {
  override name = 'DiskSpecError';
}

/** Each disk's own name, or the next of xvda, xvdb, … that is free. Throws DiskSpecError where two have the same. */
export function assignVdevs(specs: readonly DiskSpec[]): Vdev[] {
  const taken = new Set<number>();
  for (const { vdev } of specs) {
    if (vdev && taken.has(vdev.number)) throw new DiskSpecError(`two disks are ${vdev.name}`);
    if (vdev) taken.add(vdev.number);
  }
  let next = 0;
  return specs.map(({ vdev }) => {
    if (vdev) return vdev;
    for (;;) {
      const free = parseVdev(xvdName(next++))!;
      if (taken.has(free.number)) continue;
      taken.add(free.number);
      return free;
    }
  });
}

/** Bytes of a disk in memory that is there for this run alone; null for another kind of target, or one with a wrong size. */
export function scratchSize(target: string): number | null {
  const match = /^scratch:(\d{1,9})([KMG])$/.exec(target);
  if (!match) return null;
  return Number(match[1]) * { K: 1024, M: 1 << 20, G: 1 << 30 }[match[2] as 'K' | 'M' | 'G'];
}

interface Parts {
  target?: string;
  format?: string;
  vdev?: string;
  access?: string;
  cdrom: boolean;
  overlay: boolean;
  overlayFile: string | null;
  discard: boolean | null;
}

const FORMATS = ['raw', 'qcow', 'qcow2', 'vhd', 'vhdx', 'qed', 'empty'];
const ACCESS: Readonly<Record<string, boolean>> = { ro: true, r: true, rw: false, w: false };

/** Throws DiskSpecError. */
export function parseDisk(text: string): DiskSpec {
  const parts = split(text);
  const format = parts.format ?? 'raw';
  if (!FORMATS.includes(format)) throw new DiskSpecError(`a disk's format is not "${format}"`);
  if (format !== 'raw' && format !== 'qcow2' && format !== 'empty')
    throw new DiskSpecError(`disks of format ${format} are not built: give a raw one or a qcow2 one`);
  const target = parts.target ?? '';
  // What is in a file never decides: a guest may have written it.
  if (parts.format === undefined && /\.qcow2$/.test(target))
    throw new DiskSpecError(`${target} may be a qcow2 image: say "format=qcow2", or "format=raw" if it is none`);
  if (target === '' && !parts.cdrom)
    throw new DiskSpecError(`a disk needs a target: a file or a block device, not "${text}"`);
  const vdev = parts.vdev === undefined ? null : parseVdev(parts.vdev);
  if (parts.vdev !== undefined && !vdev)
    throw new DiskSpecError(`"${parts.vdev}" is no virtual disk, such as xvda is one`);
  const access = parts.access ?? (parts.cdrom ? 'ro' : 'rw');
  if (!(access in ACCESS)) throw new DiskSpecError(`access to a disk is ro or rw, not "${access}"`);
  return {
    text,
    target,
    vdev,
    isReadOnly: ACCESS[access],
    isCdrom: parts.cdrom,
    discard: parts.discard,
    format: format === 'qcow2' ? 'qcow2' : 'raw',
    isOverlay: parts.overlay,
    overlayFile: parts.overlayFile,
  };
}

function split(text: string): Parts {
  const parts: Parts = { cdrom: false, overlay: false, overlayFile: null, discard: null };
  for (let rest = text; rest !== ''; ) {
    // A target that is named takes all that follows, commas too.
    const named = /^\s*target=(.*)$/s.exec(rest);
    if (named) {
      parts.target = named[1];
      break;
    }
    const [, item, further] = /^([^,]*),?(.*)$/s.exec(rest)!;
    take(parts, item.trim());
    rest = further;
  }
  return parts;
}

function take(parts: Parts, item: string): void {
  if (item === '') return;
  const [, key, value] = /^(format|vdev|access|devtype|overlay|backendtype|script|backend)=(.*)$/.exec(item) ?? [];
  switch (key ?? item) {
    case 'format':
    case 'vdev':
    case 'access':
      setVdev(parts, key as 'format' | 'vdev' | 'access', value);
      return;
    case 'devtype':
      if (value !== 'disk' && value !== 'cdrom')
        throw new DiskSpecError(`a disk's devtype is disk or cdrom, not "${value}"`);
      parts.cdrom = value === 'cdrom';
      return;
    case 'cdrom':
      parts.cdrom = true;
      return;
    case 'discard':
    case 'no-discard':
      parts.discard = item === 'discard';
      return;
    case 'overlay':
      if (value === undefined) parts.overlay = true;
      else if (value !== '') parts.overlayFile = value;
      else throw new DiskSpecError('an overlay is kept in a file: overlay=FILE');
      return;
    // Who serves the disk and how is ours to say.
    case 'backendtype':
    case 'direct-io-safe':
      return;
    case 'script':
    case 'backend':
      throw new DiskSpecError(`${key} of a disk is not built`);
    default:
      positional(parts, item);
  }
}

/** Old files write "xvda:cdrom". */
function setVdev(parts: Parts, key: 'format' | 'vdev' | 'access', value: string): void {
  if (key !== 'vdev' || !value.endsWith(':cdrom')) {
    parts[key] = value;
    return;
  }
  parts.vdev = value.slice(0, -':cdrom'.length);
  parts.cdrom = true;
}

/** The first is the target; others are told apart by what they can be. */
function positional(parts: Parts, item: string): void {
  if (/^(\w|-)+=/.test(item) && parts.target !== undefined) throw new DiskSpecError(`a disk has no "${item}"`);
  if (parts.target === undefined) parts.target = item.replace(/^(?:phy|file|raw|aio|tap:aio|tap2:aio):/, '');
  else if (parts.format === undefined && FORMATS.includes(item)) parts.format = item;
  else if (parts.access === undefined && item in ACCESS) parts.access = item;
  else if (parts.vdev === undefined) setVdev(parts, 'vdev', item);
  else throw new DiskSpecError(`"${item}" of a disk cannot be understood`);
}
