/**
 * What a 9P server needs of the host: one folder with all that is in it. Who implements this promises that no path leads out of the folder, whatever
 * links are in it and whoever changes it meanwhile: links are objects like others and are never followed.
 */

/** Names from the folder down, with "/" between them; '' is the folder itself. Each character is a byte (latin1). No name is empty, "." or "..". */
export type SharePath = string;

export const ERRNO = {
  EPERM: 1,
  ENOENT: 2,
  EIO: 5,
  EBADF: 9,
  ENOMEM: 12,
  EACCES: 13,
  EEXIST: 17,
  EXDEV: 18,
  ENOTDIR: 20,
  EISDIR: 21,
  EINVAL: 22,
  EMFILE: 24,
  EROFS: 30,
  ENAMETOOLONG: 36,
  ENOTEMPTY: 39,
  ELOOP: 40,
  EMSGSIZE: 90,
  EOPNOTSUPP: 95,
} as const;

/** Why something cannot be done, as an errno of Linux. */
export class ShareError extends Error {
  readonly code: number;

  constructor(code: number) {
    super(`errno ${code}`);
    this.name = 'ShareError';
    this.code = code;
  }
}

/** As struct stat has it; times in ns since 1970. */
export interface FileStat {
  readonly device: bigint;
  readonly inode: bigint;
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  readonly links: bigint;
  readonly special: bigint;
  readonly size: bigint;
  readonly blockSize: bigint;
  readonly blocks: bigint;
  readonly accessedNs: bigint;
  readonly modifiedNs: bigint;
  readonly changedNs: bigint;
}

/** Bits of `mode` that say what it is. */
export const S_IFMT = 0o170000;
export const S_IFREG = 0o100000;
export const S_IFDIR = 0o040000;
export const S_IFLNK = 0o120000;

export interface FileSystemStat {
  readonly type: number;
  readonly blockSize: number;
  readonly blocks: bigint;
  readonly free: bigint;
  readonly available: bigint;
  readonly files: bigint;
  readonly filesFree: bigint;
}

/** Whose a new file is to be. Hosts that do not let us give files away leave it ours. */
export interface Owner {
  readonly uid: number;
  readonly gid: number;
}

/** Flags of Linux's open(2) that have a meaning here. */
export const OPEN = {
  accessMode: 3,
  readOnly: 0,
  exclusive: 0o200,
  truncate: 0o1000,
  append: 0o2000,
} as const;

/** Changes to a file; what is undefined stays. */
export interface FileChanges {
  readonly mode?: number;
  readonly uid?: number;
  readonly gid?: number;
  readonly size?: bigint;
  /** ns since 1970, or now. */
  readonly accessedNs?: bigint | 'now';
  readonly modifiedNs?: bigint | 'now';
}

export interface OpenFile {
  /** Bytes read: 0 at the end. */
  read(offset: number, into: Uint8Array): number;
  write(offset: number, from: Uint8Array): number;
  sync(dataOnly: boolean): void;
  stat(): FileStat;
  close(): void;
}

/** A directory being listed: every entry once, without "." and "..". */
export interface OpenDirectory {
  /** Null behind the last one. */
  next(): { name: string; stat: FileStat } | null;
  rewind(): void;
  close(): void;
}

/** All methods throw ShareError. */
export interface SharedFolder {
  stat(path: SharePath): FileStat;
  statFileSystem(path: SharePath): FileSystemStat;
  readLink(path: SharePath): string;
  /** A regular file. */
  open(path: SharePath, flags: number): OpenFile;
  openDirectory(path: SharePath): OpenDirectory;
  /** Opens it where it is there already, unless the flags forbid that. */
  create(path: SharePath, flags: number, mode: number, owner: Owner): OpenFile;
  makeDirectory(path: SharePath, mode: number, owner: Owner): void;
  makeLink(path: SharePath, target: string, owner: Owner): void;
  hardLink(from: SharePath, to: SharePath): void;
  rename(from: SharePath, to: SharePath): void;
  remove(path: SharePath, isDirectory: boolean): void;
  change(path: SharePath, changes: FileChanges): void;
  /** Lets go of the folder. */
  close(): void;
}
