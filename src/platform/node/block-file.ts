// Files and block devices as disks, by synchronous calls. Node.js cannot punch holes into files: fallocate(1) of util-linux does, where there is one.
import { spawnSync } from 'node:child_process';
import { closeSync, constants, fdatasyncSync, fstatSync, openSync, readFileSync, readvSync, writevSync } from 'node:fs';
import type { BlockFile } from '../../backends/block/file-source.ts';
import { FileError, withFile } from './files.ts';

/** Buffers of one call at most: IOV_MAX. */
const MOST_BUFFERS = 1024;

/** Opens a raw image or a block device. Throws FileError with a sentence where that is refused. */
export function openBlockFile(path: string, isWritable: boolean): BlockFile {
  const flags = isWritable ? constants.O_RDWR : constants.O_RDONLY;
  const file = withFile(path, () => openSync(path, flags));
  return blockFile(path, file, isWritable);
}

/** Makes an empty file, where there must be none. Throws FileError. */
export function createBlockFile(path: string): BlockFile {
  const flags = constants.O_RDWR | constants.O_CREAT | constants.O_EXCL;
  return blockFile(
    path,
    withFile(path, () => openSync(path, flags, 0o666)),
    true,
  );
}

function blockFile(path: string, file: number, isWritable: boolean): BlockFile {
  const stat = fstatSync(file);
  if (!stat.isFile() && !stat.isBlockDevice()) {
    closeSync(file);
    throw new FileError(`${path}: neither a file nor a block device`);
  }
  return {
    isWritable,
    size: () => (stat.isBlockDevice() ? deviceSize(stat.rdev) : fstatSync(file).size),
    read: (offset, into) => {
      transfer(into, offset, (part, at) => {
        const count = readvSync(file, part, at);
        if (count > 0) return count;
        // the file has become shorter
        for (const buffer of part) buffer.fill(0);
        return part.reduce((sum, { length }) => sum + length, 0);
      });
    },
    write: (offset, from) => transfer(from, offset, (part, at) => writevSync(file, part, at)),
    sync: () => fdatasyncSync(file),
    ...(isWritable && stat.isFile() && process.platform === 'linux' ? { punch: puncher(file) } : {}),
    close: () => closeSync(file),
  };
}

const PUNCH = 'while read -r offset length; do fallocate -p -o $offset -l $length /dev/fd/3 || exit; done';

/** Punches holes until the file system or the machine turns out to be one that cannot. */
function puncher(file: number): NonNullable<BlockFile['punch']> {
  let works = true;
  return ranges => {
    if (!works) return;
    const input = ranges.map(({ offset, length }) => `${offset} ${length}\n`).join('');
    const { status } = spawnSync('sh', ['-c', PUNCH], { input, stdio: ['pipe', 'ignore', 'ignore', file] });
    works = status === 0;
  };
}

/** Calls `move` with buffers and their position until all is done; it says how many bytes it did. */
function transfer(
  buffers: readonly Uint8Array[],
  offset: number,
  move: (part: Uint8Array[], at: number) => number,
): void {
  let rest = buffers.filter(({ length }) => length > 0);
  for (let at = offset; rest.length > 0; ) {
    let done = move(rest.slice(0, MOST_BUFFERS), at);
    at += done;
    let whole = 0;
    while (whole < rest.length && done >= rest[whole].length) done -= rest[whole++].length;
    rest = rest.slice(whole);
    if (done > 0) rest[0] = rest[0].subarray(done);
  }
}

/** In bytes, from sysfs, where sizes are in units of 512 whatever the device's sectors are. */
function deviceSize(device: number): number {
  const major = ((device >>> 8) & 0xfff) | (Math.floor(device / 2 ** 32) & ~0xfff);
  const minor = (device & 0xff) | ((device >>> 12) & 0xfff00);
  return Number(readFileSync(`/sys/dev/block/${major}:${minor}/size`, 'utf8')) * 512;
}
