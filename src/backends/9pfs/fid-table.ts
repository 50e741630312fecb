// The files that a client has numbers for. A fid is a path, and costs no file of the host until it is opened; what a client can make us remember and
// hold open is bounded.
import {
  ERRNO,
  type OpenDirectory,
  type OpenFile,
  type SharedFolder,
  ShareError,
  type SharePath,
} from './shared-folder.ts';

/** Bytes of paths and what fids cost beside them, together. */
const MOST_BYTES = 32 << 20;
const FID_COST = 256;
const MOST_OPEN = 1024;
/** As Linux's PATH_MAX. */
const MOST_PATH = 4096;

/** A directory being listed: how many entries were given, and one that did not fit into the last reply. */
export interface Listing {
  readonly directory: OpenDirectory;
  position: number;
  kept: ReturnType<OpenDirectory['next']>;
}

export class Fid {
  path: SharePath;
  /** Who attached: owner of what is made by this fid. */
  readonly uid: number;
  file: OpenFile | null = null;
  listing: Listing | null = null;

  constructor(path: SharePath, uid: number) {
    this.path = path;
    this.uid = uid;
  }

  get isOpen(): boolean {
    return this.file !== null || this.listing !== null;
  }
}

export class FidTable {
  readonly #fids = new Map<number, Fid>();
  #bytes = 0;
  #open = 0;

  get size(): number {
    return this.#fids.size;
  }

  /** Throws EBADF. */
  get(number: number): Fid {
    const fid = this.#fids.get(number);
    if (fid === undefined) throw new ShareError(ERRNO.EBADF);
    return fid;
  }

  /** A new fid. Throws where the number is taken, or there are too many. */
  add(number: number, path: SharePath, uid: number): void {
    if (this.#fids.has(number)) throw new ShareError(ERRNO.EBADF);
    this.#spend(FID_COST + path.length);
    this.#fids.set(number, new Fid(path, uid));
  }

  /** Lets a fid stand for something else. */
  move(fid: Fid, path: SharePath): void {
    this.#spend(path.length - fid.path.length);
    fid.path = path;
  }

  #spend(bytes: number): void {
    if (this.#bytes + bytes > MOST_BYTES) throw new ShareError(ERRNO.ENOMEM);
    this.#bytes += bytes;
  }

  openFile(fid: Fid, open: () => OpenFile): void {
    this.#mayOpen(fid);
    fid.file = open();
    this.#open++;
  }

  openDirectory(fid: Fid, folder: SharedFolder): void {
    this.#mayOpen(fid);
    fid.listing = { directory: folder.openDirectory(fid.path), position: 0, kept: null };
    this.#open++;
  }

  #mayOpen(fid: Fid): void {
    if (fid.isOpen) throw new ShareError(ERRNO.EBADF);
    if (this.#open >= MOST_OPEN) throw new ShareError(ERRNO.EMFILE);
  }

  /** What was at or below `from` is below `to` now. */
  renamed(from: SharePath, to: SharePath): void {
    for (const fid of this.#fids.values()) {
      const isIt = fid.path === from;
      if (!isIt && !fid.path.startsWith(`${from}/`)) continue;
      const path = to + fid.path.slice(from.length);
      // One that would be too long stays, and leads nowhere.
      if (path.length <= MOST_PATH) this.move(fid, path);
    }
  }

  remove(number: number): void {
    const fid = this.get(number);
    this.#fids.delete(number);
    this.#bytes -= FID_COST + fid.path.length;
    if (!fid.isOpen) return;
    this.#open--;
    fid.file?.close();
    fid.listing?.directory.close();
  }

  clear(): void {
    for (const number of [...this.#fids.keys()]) this.remove(number);
  }
}

/** A name in a directory. Throws for what is no name of an entry. */
export function childOf(path: SharePath, name: string): SharePath {
  if (name === '' || name === '.' || name === '..' || /[/\0]/.test(name)) throw new ShareError(ERRNO.EINVAL);
  const child = path === '' ? name : `${path}/${name}`;
  if (name.length > 255 || child.length > MOST_PATH) throw new ShareError(ERRNO.ENAMETOOLONG);
  return child;
}

/** The directory that it is in; the folder itself is its own. */
export function parentOf(path: SharePath): SharePath {
  return path.slice(0, Math.max(0, path.lastIndexOf('/')));
}
