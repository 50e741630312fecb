/**
 * A folder of this machine, shared. Paths are walked name by name from an open directory, never following a link: openat(2) with O_NOFOLLOW, which
 * Node does not have, but Linux's /proc/self/fd/N/name is the same thing. So nothing outside can be reached, whatever is renamed or
 * linked meanwhile. Sources: open(2), proc(5), path_resolution(7).
 */
import {
  type BigIntStats,
  chmodSync,
  chownSync,
  closeSync,
  constants,
  type Dir,
  fdatasyncSync,
  fstatSync,
  fsyncSync,
  lchownSync,
  linkSync,
  lstatSync,
  lutimesSync,
  mkdirSync,
  opendirSync,
  openSync,
  readlinkSync,
  readSync,
  renameSync,
  rmdirSync,
  statfsSync,
  symlinkSync,
  truncateSync,
  unlinkSync,
  utimesSync,
  writeSync,
} from 'node:fs';
import {
  ERRNO,
  type FileChanges,
  type FileStat,
  OPEN,
  type OpenDirectory,
  type OpenFile,
  type Owner,
  S_IFDIR,
  S_IFLNK,
  S_IFMT,
  S_IFREG,
  type SharedFolder,
  ShareError,
  type SharePath,
} from '../../backends/9pfs/shared-folder.ts';
import { FileError, withFile } from './files.ts';

const { O_CREAT, O_DIRECTORY, O_EXCL, O_NOFOLLOW, O_NONBLOCK, O_RDONLY } = constants;
/** Of Linux; Node has no name for it: a place in the tree, without any right to what is there. */
const O_PATH = 0o10000000;
/** What nobody outside of a guest shall get from it. */
const SET_ID = 0o6000;

/** @param path followed to where it leads, once. Throws FileError. */
export function openSharedFolder(path: string): SharedFolder {
  if (process.platform !== 'linux') throw new FileError(`${path}: folders can be shared on Linux alone`);
  return new NodeFolder(withFile(path, () => openSync(path, O_PATH | O_DIRECTORY)));
}

const bytesOf = (latin1: string): Buffer => Buffer.from(latin1, 'latin1');
/** The object that a descriptor stands for. */
const itself = (fd: number): string => `/proc/self/fd/${fd}`;
const inside = (fd: number, name: string): Buffer => bytesOf(`/proc/self/fd/${fd}/${name}`);

/** Errors of the system as what the client is told. */
function asShare<T>(action: () => T): T {
  try {
    return action();
  } catch (error) {
    const { errno } = error as NodeJS.ErrnoException;
    if (error instanceof ShareError || errno === undefined) throw error;
    throw new ShareError(-errno);
  }
}

function statOf(stat: BigIntStats): FileStat {
  return {
    device: stat.dev,
    inode: stat.ino,
    mode: Number(stat.mode),
    uid: Number(stat.uid),
    gid: Number(stat.gid),
    links: stat.nlink,
    special: stat.rdev,
    size: stat.size,
    blockSize: stat.blksize,
    blocks: stat.blocks,
    accessedNs: stat.atimeNs,
    modifiedNs: stat.mtimeNs,
    changedNs: stat.ctimeNs,
  };
}

const fstat = (fd: number): FileStat => statOf(fstatSync(fd, { bigint: true }));

/** Calls `use` with a new descriptor, which is closed afterwards. */
function withDescriptor<T>(fd: number, use: (fd: number) => T): T {
  try {
    return use(fd);
  } finally {
    closeSync(fd);
  }
}

class NodeFolder implements SharedFolder {
  readonly #root: number;

  constructor(root: number) {
    this.#root = root;
  }

  close(): void {
    closeSync(this.#root);
  }

  /** The directory that a path is in, and its name there. */
  #inParent<T>(path: SharePath, use: (directory: number, name: string) => T): T {
    const names = path === '' ? ['.'] : path.split('/');
    const last = names.pop()!;
    // Nobody asks for it: the server has no such paths.
    if (names.includes('..') || last === '..') throw new ShareError(ERRNO.EINVAL);
    return asShare(() => {
      let directory = this.#root;
      try {
        for (const name of names) {
          const next = openSync(inside(directory, name), O_PATH | O_DIRECTORY | O_NOFOLLOW);
          if (directory !== this.#root) closeSync(directory);
          directory = next;
        }
        return use(directory, last);
      } finally {
        if (directory !== this.#root) closeSync(directory);
      }
    });
  }

  /** The object itself, which may be a link, held by a descriptor without rights. */
  #withObject<T>(path: SharePath, use: (fd: number) => T): T {
    return this.#inParent(path, (directory, name) =>
      withDescriptor(openSync(inside(directory, name), O_PATH | O_NOFOLLOW), use),
    );
  }

  stat(path: SharePath): FileStat {
    return this.#inParent(path, (directory, name) => statOf(lstatSync(inside(directory, name), { bigint: true })));
  }

  statFileSystem(path: SharePath): ReturnType<SharedFolder['statFileSystem']> {
    return this.#withObject(path, fd => {
      const { type, bsize, blocks, bfree, bavail, files, ffree } = statfsSync(itself(fd), { bigint: true });
      return {
        type: Number(BigInt.asUintN(32, type)),
        blockSize: Number(bsize),
        blocks,
        free: bfree,
        available: bavail,
        files,
        filesFree: ffree,
      };
    });
  }

  readLink(path: SharePath): string {
    return this.#inParent(path, (directory, name) =>
      readlinkSync(inside(directory, name), { encoding: 'buffer' }).toString('latin1'),
    );
  }

  open(path: SharePath, flags: number): OpenFile {
    return this.#withObject(path, fd => {
      const kind = fstat(fd).mode & S_IFMT;
      // Opening a device or a FIFO of the host does things.
      if (kind !== S_IFREG) throw new ShareError(kind === S_IFLNK ? ERRNO.ELOOP : ERRNO.EPERM);
      return new NodeFile(openSync(itself(fd), flags & ~OPEN.exclusive));
    });
  }

  openDirectory(path: SharePath): OpenDirectory {
    return this.#inParent(path, (directory, name) => {
      return new NodeDirectory(openSync(inside(directory, name), O_RDONLY | O_DIRECTORY | O_NOFOLLOW));
    });
  }

  create(path: SharePath, flags: number, mode: number, owner: Owner): OpenFile {
    const made = this.#inParent(path, (directory, name) => {
      try {
        return openSync(inside(directory, name), flags | O_CREAT | O_EXCL | O_NOFOLLOW | O_NONBLOCK, mode & ~SET_ID);
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code === 'EEXIST' && !(flags & OPEN.exclusive)) return null;
        throw error;
      }
    });
    if (made === null) return this.open(path, flags);
    giveTo(made, mode & ~SET_ID, owner);
    return new NodeFile(made);
  }

  makeDirectory(path: SharePath, mode: number, owner: Owner): void {
    this.#inParent(path, (directory, name) => {
      mkdirSync(inside(directory, name), mode);
      const fd = openSync(inside(directory, name), O_PATH | O_DIRECTORY | O_NOFOLLOW);
      withDescriptor(fd, () => giveTo(fd, mode, owner));
    });
  }

  makeLink(path: SharePath, target: string, { uid, gid }: Owner): void {
    this.#inParent(path, (directory, name) => {
      symlinkSync(bytesOf(target), inside(directory, name));
      ifAllowed(() => lchownSync(inside(directory, name), uid, gid));
    });
  }

  hardLink(from: SharePath, to: SharePath): void {
    this.#inParent(from, (fromDirectory, fromName) =>
      this.#inParent(to, (directory, name) => linkSync(inside(fromDirectory, fromName), inside(directory, name))),
    );
  }

  rename(from: SharePath, to: SharePath): void {
    this.#inParent(from, (fromDirectory, fromName) =>
      this.#inParent(to, (directory, name) => renameSync(inside(fromDirectory, fromName), inside(directory, name))),
    );
  }

  remove(path: SharePath, isDirectory: boolean): void {
    this.#inParent(path, (directory, name) => (isDirectory ? rmdirSync : unlinkSync)(inside(directory, name)));
  }

  change(path: SharePath, changes: FileChanges): void {
    const { mode, uid, gid, size, accessedNs, modifiedNs } = changes;
    this.#withObject(path, fd => {
      const stat = fstat(fd);
      const kind = stat.mode & S_IFMT;
      if (size !== undefined) {
        if (kind !== S_IFREG) throw new ShareError(kind === S_IFDIR ? ERRNO.EISDIR : ERRNO.EINVAL);
        truncateSync(itself(fd), Number(size));
      }
      const owner = [uid ?? stat.uid, gid ?? stat.gid] as const;
      const hasOwner = uid !== undefined || gid !== undefined;
      const times = [timeOf(accessedNs, stat.accessedNs), timeOf(modifiedNs, stat.modifiedNs)] as const;
      const hasTimes = accessedNs !== undefined || modifiedNs !== undefined;
      if (kind !== S_IFLNK) {
        if (hasOwner) chownSync(itself(fd), ...owner);
        if (mode !== undefined) chmodSync(itself(fd), kind === S_IFDIR ? mode : mode & ~SET_ID);
        if (hasTimes) utimesSync(itself(fd), ...times);
        return;
      }
      if (mode !== undefined) throw new ShareError(ERRNO.EOPNOTSUPP);
      this.#inParent(path, (directory, name) => {
        if (hasOwner) lchownSync(inside(directory, name), ...owner);
        if (hasTimes) lutimesSync(inside(directory, name), ...times);
      });
    });
  }
}

/** Seconds, as Node takes times. */
function timeOf(time: bigint | 'now' | undefined, before: bigint): number {
  if (time === 'now') return Date.now() / 1000;
  return Number(time ?? before) / 1e9;
}

/** Whoever runs us has a umask, and may be nobody who can give files away: then they stay ours. */
function giveTo(fd: number, mode: number, { uid, gid }: Owner): void {
  ifAllowed(() => chownSync(itself(fd), uid, gid));
  chmodSync(itself(fd), mode);
}

function ifAllowed(action: () => void): void {
  try {
    action();
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EPERM') throw error;
  }
}

class NodeFile implements OpenFile {
  readonly #fd: number;

  constructor(fd: number) {
    this.#fd = fd;
  }

  read(offset: number, into: Uint8Array): number {
    return asShare(() => readSync(this.#fd, into, 0, into.length, offset));
  }

  write(offset: number, from: Uint8Array): number {
    return asShare(() => writeSync(this.#fd, from, 0, from.length, offset));
  }

  sync(dataOnly: boolean): void {
    asShare(() => (dataOnly ? fdatasyncSync : fsyncSync)(this.#fd));
  }

  stat(): FileStat {
    return asShare(() => fstat(this.#fd));
  }

  close(): void {
    closeSync(this.#fd);
  }
}

class NodeDirectory implements OpenDirectory {
  readonly #fd: number;
  #dir: Dir;

  constructor(fd: number) {
    this.#fd = fd;
    try {
      this.#dir = this.#openDir();
    } catch (error) {
      closeSync(fd);
      throw error;
    }
  }

  #openDir(): Dir {
    return asShare(() => opendirSync(itself(this.#fd), { encoding: 'latin1' as BufferEncoding }));
  }

  next(): ReturnType<OpenDirectory['next']> {
    return asShare(() => {
      for (;;) {
        const entry = this.#dir.readSync();
        if (entry === null) return null;
        const stat = statSyncIfThere(inside(this.#fd, entry.name));
        // Removed since it was listed.
        if (stat !== null) return { name: entry.name, stat: statOf(stat) };
      }
    });
  }

  rewind(): void {
    this.#dir.closeSync();
    this.#dir = this.#openDir();
  }

  close(): void {
    this.#dir.closeSync();
    closeSync(this.#fd);
  }
}

function statSyncIfThere(path: Buffer): BigIntStats | null {
  return lstatSync(path, { bigint: true, throwIfNoEntry: false }) ?? null;
}
