// What a person names as a disk, opened: files and block devices, resources by HTTP, memory.
import { FileSource } from '../../backends/block/file-source.ts';
import { httpReader } from '../../backends/block/http-reader.ts';
import { MemorySource } from '../../backends/block/memory-source.ts';
import { OverlaySource } from '../../backends/block/overlay-source.ts';
import { RangeSource } from '../../backends/block/range-source.ts';
import type { BlockSource } from '../../backends/block/source.ts';
import { type DiskSpec, DiskSpecError, scratchSize } from '../../toolstack/devices/disk-spec.ts';
import { openBlockFile } from './block-file.ts';

/** Rejects with a sentence where it cannot be opened as the person wants it. */
export async function openDisk({ target, isReadOnly, isOverlay }: DiskSpec): Promise<BlockSource> {
  const scratch = target === '' ? 0 : scratchSize(target);
  if (scratch !== null) return new MemorySource({ size: scratch, isReadOnly });
  const mayWrite = !isReadOnly && !isOverlay;
  if (!/^https?:\/\//.test(target)) {
    const file = new FileSource(openBlockFile(target, mayWrite));
    return isOverlay ? new OverlaySource(file) : file;
  }
  if (mayWrite) throw new DiskSpecError(`${target} cannot be written to: say "ro" or "overlay" after a comma`);
  const remote = new RangeSource(await httpReader(target, fetch));
  return isOverlay ? new OverlaySource(remote) : remote;
}
