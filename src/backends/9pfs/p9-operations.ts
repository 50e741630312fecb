/**
 * What each 9P request does. Values are the client's: fids and names are checked here, paths are built from names alone, and the folder keeps them
 * inside. Throws ShareError for what is answered with an error.
 */
import {
  NO_FID,
  P9_HEADER,
  type P9Name,
  type P9Reply,
  type P9Request,
  p9DirectoryEntry,
  type Qid,
} from '../../protocols/p9.ts';
import { concatBytes } from '../../util/bytes.ts';
import { childOf, type Fid, type FidTable, parentOf } from './fid-table.ts';
import {
  ERRNO,
  type FileChanges,
  type FileStat,
  OPEN,
  S_IFDIR,
  S_IFMT,
  S_IFREG,
  type SharedFolder,
  ShareError,
} from './shared-folder.ts';

export interface Session {
  readonly folder: SharedFolder;
  readonly isReadOnly: boolean;
  readonly fids: FidTable;
  readonly qidOf: (stat: FileStat) => Qid;
  /** Largest message, in bytes. */
  messageSize: number;
}

type Operations = { [N in Exclude<P9Name, 'version'>]: (session: Session, request: P9Request<N>) => P9Reply<N> };

/** All that getattr gives without asking: mode, links, owner, device, times, inode, size, blocks. */
const GETATTR_BASIC = 0x7ffn;
const SETATTR = {
  mode: 0x01,
  uid: 0x02,
  gid: 0x04,
  size: 0x08,
  accessTime: 0x10,
  modifyTime: 0x20,
  accessTimeGiven: 0x80,
  modifyTimeGiven: 0x100,
} as const;
const AT_REMOVEDIR = 0x200;
const LOCK_SUCCESS = 0;
const UNLOCKED = 2;
/** Bytes of a reply to read or readdir beside its data. */
const DATA_OVERHEAD = P9_HEADER + 4;
const NS = 1_000_000_000n;
const MOST_NAME = 255;

const fail = (code: number): never => {
  throw new ShareError(code);
};

function mayChange({ isReadOnly }: Session): void {
  if (isReadOnly) fail(ERRNO.EROFS);
}

const offsetOf = (offset: bigint): number =>
  offset <= BigInt(Number.MAX_SAFE_INTEGER) - (1n << 32n) ? Number(offset) : fail(ERRNO.EINVAL);

function openFlags(session: Session, flags: number): number {
  const kept = flags & (OPEN.accessMode | OPEN.truncate | OPEN.append);
  if ((kept & OPEN.accessMode) === OPEN.accessMode) fail(ERRNO.EINVAL);
  if (kept !== OPEN.readOnly) mayChange(session);
  return kept;
}

/** Makes something in the directory of a fid, and tells what it is. */
function make(session: Session, number: number, name: string, making: (path: string, directory: Fid) => void): Qid {
  mayChange(session);
  const directory = session.fids.get(number);
  const path = childOf(directory.path, name);
  making(path, directory);
  return session.qidOf(session.folder.stat(path));
}

function rename(session: Session, from: string, to: string): void {
  mayChange(session);
  if (from === '') fail(ERRNO.EINVAL);
  session.folder.rename(from, to);
  session.fids.renamed(from, to);
}

function statOf({ folder }: Session, { file, path }: Fid): FileStat {
  // One that is open is itself, also when its name is gone.
  return file?.stat() ?? folder.stat(path);
}

export const OPERATIONS: Operations = {
  statfs: ({ folder, fids }, { fid }) => {
    const all = folder.statFileSystem(fids.get(fid).path);
    return { ...all, id: 0n, nameLength: MOST_NAME };
  },

  lopen: (session, { fid: number, flags }) => {
    const { folder, fids, qidOf } = session;
    const fid = fids.get(number);
    const stat = folder.stat(fid.path);
    const kept = openFlags(session, flags);
    if ((stat.mode & S_IFMT) !== S_IFDIR) fids.openFile(fid, () => folder.open(fid.path, kept));
    else if (kept !== OPEN.readOnly) fail(ERRNO.EISDIR);
    else fids.openDirectory(fid, folder);
    return { qid: qidOf(stat), unit: 0 };
  },

  lcreate: (session, { fid: number, name, flags, mode, gid }) => {
    mayChange(session);
    const { folder, fids, qidOf } = session;
    const fid = fids.get(number);
    const path = childOf(fid.path, name);
    const kept = openFlags(session, flags) | (flags & OPEN.exclusive);
    fids.openFile(fid, () => folder.create(path, kept, mode & 0o7777, { uid: fid.uid, gid }));
    fids.move(fid, path);
    return { qid: qidOf(fid.file!.stat()), unit: 0 };
  },

  symlink: (session, { fid, name, target, gid }) => ({
    qid: make(session, fid, name, (path, { uid }) => {
      if (target === '' || target.includes('\0')) fail(ERRNO.EINVAL);
      session.folder.makeLink(path, target, { uid, gid });
    }),
  }),

  mknod: (session, { fid, name, mode, gid }) => ({
    qid: make(session, fid, name, (path, { uid }) => {
      if ((mode & S_IFMT) !== S_IFREG) fail(ERRNO.EPERM);
      session.folder.create(path, OPEN.exclusive, mode & 0o7777, { uid, gid }).close();
    }),
  }),

  rename: (session, { fid, directory, name }) => {
    rename(session, session.fids.get(fid).path, childOf(session.fids.get(directory).path, name));
    return {};
  },

  readlink: ({ folder, fids }, { fid }) => ({ target: folder.readLink(fids.get(fid).path) }),

  getattr: (session, { fid }) => {
    const stat = statOf(session, session.fids.get(fid));
    const { mode, uid, gid, links, special, size, blockSize, blocks, accessedNs, modifiedNs, changedNs } = stat;
    return {
      valid: GETATTR_BASIC,
      qid: session.qidOf(stat),
      mode,
      uid,
      gid,
      links,
      device: special,
      size,
      blockSize,
      blocks,
      accessSeconds: accessedNs / NS,
      accessNs: accessedNs % NS,
      modifySeconds: modifiedNs / NS,
      modifyNs: modifiedNs % NS,
      changeSeconds: changedNs / NS,
      changeNs: changedNs % NS,
      birthSeconds: 0n,
      birthNs: 0n,
      generation: 0n,
      dataVersion: 0n,
    };
  },

  setattr: (session, request) => {
    mayChange(session);
    const { valid } = request;
    const time = (set: number, given: number, seconds: bigint, ns: bigint): bigint | 'now' | undefined => {
      if (!(valid & set)) return undefined;
      return valid & given ? seconds * NS + ns : 'now';
    };
    const accessedNs = time(SETATTR.accessTime, SETATTR.accessTimeGiven, request.accessSeconds, request.accessNs);
    const modifiedNs = time(SETATTR.modifyTime, SETATTR.modifyTimeGiven, request.modifySeconds, request.modifyNs);
    const changes: FileChanges = {
      ...(valid & SETATTR.mode ? { mode: request.mode & 0o7777 } : {}),
      ...(valid & SETATTR.uid ? { uid: request.uid } : {}),
      ...(valid & SETATTR.gid ? { gid: request.gid } : {}),
      ...(valid & SETATTR.size ? { size: BigInt(offsetOf(request.size)) } : {}),
      ...(accessedNs === undefined ? {} : { accessedNs }),
      ...(modifiedNs === undefined ? {} : { modifiedNs }),
    };
    session.folder.change(session.fids.get(request.fid).path, changes);
    return {};
  },

  xattrwalk: () => fail(ERRNO.EOPNOTSUPP),
  xattrcreate: () => fail(ERRNO.EOPNOTSUPP),

  readdir: (session, { fid: number, offset, count }) => ({
    data: listing(
      session,
      session.fids.get(number),
      offsetOf(offset),
      Math.min(count, session.messageSize - DATA_OVERHEAD),
    ),
  }),

  fsync: ({ fids }, { fid, dataOnly }) => {
    fids.get(fid).file?.sync(dataOnly !== 0);
    return {};
  },

  lock: ({ fids }, { fid }) => {
    fids.get(fid);
    return { status: LOCK_SUCCESS };
  },

  getlock: ({ fids }, { fid, start, length, process, client }) => {
    fids.get(fid);
    return { type: UNLOCKED, start, length, process, client };
  },

  link: (session, { directory, fid, name }) => {
    mayChange(session);
    const { folder, fids } = session;
    folder.hardLink(fids.get(fid).path, childOf(fids.get(directory).path, name));
    return {};
  },

  mkdir: (session, { fid, name, mode, gid }) => ({
    qid: make(session, fid, name, (path, { uid }) => session.folder.makeDirectory(path, mode & 0o7777, { uid, gid })),
  }),

  renameat: (session, { oldDirectory, oldName, newDirectory, newName }) => {
    const { fids } = session;
    const from = childOf(fids.get(oldDirectory).path, oldName);
    rename(session, from, childOf(fids.get(newDirectory).path, newName));
    return {};
  },

  unlinkat: (session, { directory, name, flags }) => {
    mayChange(session);
    const path = childOf(session.fids.get(directory).path, name);
    session.folder.remove(path, (flags & AT_REMOVEDIR) !== 0);
    return {};
  },

  auth: () => fail(ERRNO.EOPNOTSUPP),

  attach: ({ folder, fids, qidOf }, { fid, authFid, uid }) => {
    if (authFid !== NO_FID) fail(ERRNO.EINVAL);
    const stat = folder.stat('');
    fids.add(fid, '', uid);
    return { qid: qidOf(stat) };
  },

  // Every request is answered before the next is looked at: there is never one to give up.
  flush: () => ({}),

  walk: ({ folder, fids, qidOf }, { fid: number, newFid, names }) => {
    const fid = fids.get(number);
    const found: Qid[] = [];
    let { path } = fid;
    for (const name of names) {
      const next = name === '..' ? parentOf(path) : childOf(path, name);
      try {
        found.push(qidOf(folder.stat(next)));
      } catch (error) {
        if (error instanceof ShareError && found.length > 0) return { qids: found };
        throw error;
      }
      path = next;
    }
    if (newFid !== number) fids.add(newFid, path, fid.uid);
    else if (fid.isOpen) fail(ERRNO.EBADF);
    else fids.move(fid, path);
    return { qids: found };
  },

  read: ({ fids, messageSize }, { fid, offset, count }) => {
    const { file } = fids.get(fid);
    if (file === null) return fail(ERRNO.EBADF);
    const bytes = new Uint8Array(Math.min(count, messageSize - DATA_OVERHEAD));
    return { data: bytes.subarray(0, file.read(offsetOf(offset), bytes)) };
  },

  write: (session, { fid, offset, data }) => {
    mayChange(session);
    const { file } = session.fids.get(fid);
    if (file === null) return fail(ERRNO.EBADF);
    return { count: file.write(offsetOf(offset), data) };
  },

  clunk: ({ fids }, { fid }) => {
    fids.remove(fid);
    return {};
  },

  remove: (session, { fid: number }) => {
    const { path } = session.fids.get(number);
    // The fid is gone in any case.
    session.fids.remove(number);
    mayChange(session);
    if (path === '') fail(ERRNO.EINVAL);
    session.folder.remove(path, (session.folder.stat(path).mode & S_IFMT) === S_IFDIR);
    return {};
  },
};

/** As many whole entries as fit, from the one with this number on; "." and ".." are the first two. */
function listing(session: Session, fid: Fid, offset: number, room: number): Uint8Array {
  const list = fid.listing;
  if (list === null) return fail(ERRNO.EBADF);
  if (offset !== list.position) {
    list.directory.rewind();
    list.kept = null;
    list.position = 0;
  }
  const entries: Uint8Array[] = [];
  for (let left = room; ; list.position++) {
    const entry = list.kept ?? nextEntry(session, fid, list.position);
    list.kept = null;
    if (entry === null) break;
    if (list.position < offset) continue;
    const { name, stat } = entry;
    const type = (stat.mode & S_IFMT) >> 12;
    const bytes = p9DirectoryEntry({ qid: session.qidOf(stat), offset: BigInt(list.position + 1), type, name });
    if (bytes.length > left) {
      list.kept = entry;
      break;
    }
    left -= bytes.length;
    entries.push(bytes);
  }
  return concatBytes(entries);
}

function nextEntry(
  { folder }: Session,
  { listing: list, path }: Fid,
  position: number,
): { name: string; stat: FileStat } | null {
  if (position === 0) return { name: '.', stat: folder.stat(path) };
  if (position === 1) return { name: '..', stat: folder.stat(parentOf(path)) };
  return list!.directory.next();
}
