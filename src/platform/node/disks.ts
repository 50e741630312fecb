// What a person names as a disk, opened: files and block devices, qcow2 images with what they stand on, resources by HTTP, memory.
import { existsSync } from 'node:fs';
import { dirname, relative, resolve } from 'node:path';
import { type BlockFile, FileSource } from '../../backends/block/file-source.ts';
import { httpReader } from '../../backends/block/http-reader.ts';
import { MemorySource } from '../../backends/block/memory-source.ts';
import { OverlaySource } from '../../backends/block/overlay-source.ts';
import { Qcow2Error } from '../../backends/block/qcow2/header.ts';
import { createQcow2, Qcow2Image, readHeader } from '../../backends/block/qcow2/image.ts';
import { RangeSource } from '../../backends/block/range-source.ts';
import type { BlockSource } from '../../backends/block/source.ts';
import { type DiskSpec, DiskSpecError, scratchSize } from '../../toolstack/devices/disk-spec.ts';
import { createBlockFile, openBlockFile } from './block-file.ts';
import { FileError } from './files.ts';

const isUrl = (target: string): boolean => /^https?:\/\//.test(target);
/** Images that stand on each other, at most: one may name itself. */
const MOST_IMAGES = 32;

/** Rejects with a sentence where it cannot be opened as the person wants it. */
export async function openDisk({ target, format, isReadOnly, isOverlay, overlayFile }: DiskSpec): Promise<BlockSource> {
  const scratch = target === '' ? 0 : scratchSize(target);
  if (scratch !== null) return new MemorySource({ size: scratch, isReadOnly });
  const mayWrite = !isReadOnly && !isOverlay;
  if (mayWrite && overlayFile === null && isUrl(target))
    throw new DiskSpecError(`${target} cannot be written to: say "ro", "overlay" or "overlay=FILE" after a comma`);
  // Who only reads has no use for an empty one.
  const isKept = overlayFile !== null && (mayWrite || existsSync(overlayFile));
  const disk = isKept
    ? await openKept(overlayFile, { target, format }, mayWrite)
    : await openImage(target, format, mayWrite);
  return isOverlay ? new OverlaySource(disk) : disk;
}

/** The overlay in a file, which is made where there is none. */
async function openKept(
  file: string,
  base: Pick<DiskSpec, 'target' | 'format'>,
  mayWrite: boolean,
): Promise<BlockSource> {
  const name = isUrl(base.target) ? base.target : relative(dirname(resolve(file)), resolve(base.target));
  if (!existsSync(file)) {
    const source = await openImage(base.target, base.format, false);
    const { size } = source;
    source.close();
    const made = createBlockFile(file);
    try {
      explained(file, () => createQcow2(made, size, { file: name, format: base.format }));
    } finally {
      made.close();
    }
  }
  const { backing } = header(file);
  const named = backing && (isUrl(backing.file) ? backing.file : resolve(dirname(file), backing.file));
  if (named !== (isUrl(base.target) ? base.target : resolve(base.target)))
    throw new FileError(`${file}: it is an overlay of ${named ?? 'nothing'}, not of ${base.target}`);
  return openImage(file, 'qcow2', mayWrite);
}

async function openImage(target: string, format: string, mayWrite: boolean, depth = 0): Promise<BlockSource> {
  if (depth > MOST_IMAGES) throw new FileError(`${target}: too many images stand on each other`);
  if (isUrl(target)) {
    if (format !== 'raw') throw new DiskSpecError(`${target} cannot be read as ${format}: only as a raw disk`);
    return new RangeSource(await httpReader(target, fetch));
  }
  if (format === 'raw') return new FileSource(openBlockFile(target, mayWrite));
  if (format !== 'qcow2') throw new FileError(`${target}: images of format ${format} are not built`);
  const { backing, size } = header(target);
  const base = backing
    ? await openImage(placeOf(target, backing.file), backing.format, false, depth + 1)
    : new MemorySource({ size, isReadOnly: true });
  const file = openBlockFile(target, mayWrite);
  try {
    return new OverlaySource(
      base,
      explained(target, () => new Qcow2Image(file)),
    );
  } catch (error) {
    base.close();
    file.close();
    throw error;
  }
}

/** Where an image's base is. */
function placeOf(image: string, base: string): string {
  if (isUrl(base)) return base;
  if (/^[a-z][a-z0-9+.-]*:/.test(base)) throw new FileError(`${image}: its base "${base}" is no file`);
  return resolve(dirname(image), base);
}

function header(path: string): ReturnType<typeof readHeader> {
  const file: BlockFile = openBlockFile(path, false);
  try {
    return explained(path, () => readHeader(file));
  } finally {
    file.close();
  }
}

function explained<T>(path: string, action: () => T): T {
  try {
    return action();
  } catch (error) {
    throw error instanceof Qcow2Error ? new FileError(`${path}: ${error.message}`) : error;
  }
}
