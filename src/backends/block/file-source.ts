// A disk in a raw file or on a block device of the surroundings, by calls that return when they are done: runs of a guest stay the same run,
// however slow the medium.
import { DiscardedRanges } from './discarded-ranges.ts';
import { type BlockDone, type BlockSource, outOfRange } from './source.ts';
import { lengthOf } from './vectors.ts';

/** What the surroundings offer of an open file. Methods throw Error for what the medium refuses. */
export interface BlockFile {
  readonly isWritable: boolean;
  /** In bytes, as it is now. */
  size(): number;
  /** Fills `into`; what is behind the end reads as zeros. */
  read(offset: number, into: readonly Uint8Array[]): void;
  write(offset: number, from: readonly Uint8Array[]): void;
  /** Everything written is on the medium afterwards: fdatasync. */
  sync(): void;
  /** Gives the ranges' place on the medium back, as far as that is possible: they read as zeros, or as before. Absent where it never is. */
  punch?(ranges: readonly { offset: number; length: number }[]): void;
  close(): void;
}

const ZEROS = new Uint8Array(1 << 20);
/** Holes are made of whole pages, and not before they are worth it: making some takes a process. */
const PAGE = 4096;
const WORTH_IT = 1 << 20;
const MOST_RANGES = 4096;

export class FileSource implements BlockSource {
  readonly sectorSize: number;
  readonly isReadOnly: boolean;
  readonly canDiscard: boolean;
  readonly isImmediate = true;
  private readonly file: BlockFile;
  /** To be given back. */
  private readonly discarded = new DiscardedRanges();
  private bytes: number;
  private isClosed = false;

  /** The file is the source's from now on. It is read-only where the file is, or `isReadOnly` says so. */
  constructor(file: BlockFile, options: { sectorSize?: number; isReadOnly?: boolean } = {}) {
    this.file = file;
    this.sectorSize = options.sectorSize ?? 512;
    this.isReadOnly = (options.isReadOnly ?? false) || !file.isWritable;
    this.canDiscard = !this.isReadOnly && file.punch !== undefined;
    this.bytes = this.wholeSectors();
  }

  get size(): number {
    return this.bytes;
  }

  /** Looks at the file's size again: true where the disk's has changed, and devices are to be told. */
  refreshSize(): boolean {
    const before = this.bytes;
    this.bytes = this.wholeSectors();
    return this.bytes !== before;
  }

  read(offset: number, into: readonly Uint8Array[], done: BlockDone): void {
    done(outOfRange(this.bytes, offset, lengthOf(into)) ?? attempt(() => this.file.read(offset, into)));
  }

  write(offset: number, from: readonly Uint8Array[], done: BlockDone): void {
    const length = lengthOf(from);
    this.discarded.remove(offset, length);
    done(this.refusal(offset, length) ?? attempt(() => this.file.write(offset, from)));
  }

  flush(done: BlockDone): void {
    if (this.isReadOnly) return done(null);
    const error = attempt(() => this.file.sync());
    if (this.discarded.total >= WORTH_IT) this.punch();
    done(error);
  }

  /** Takes effect at some later time, if at all. */
  discard(offset: number, length: number, done: BlockDone): void {
    const error = this.refusal(offset, length);
    if (!error && this.canDiscard) {
      const start = Math.ceil(offset / PAGE) * PAGE;
      this.discarded.add(start, Math.floor((offset + length) / PAGE) * PAGE - start);
      if (this.discarded.count > MOST_RANGES) this.punch();
    }
    done(error);
  }

  writeZeroes(offset: number, length: number, done: BlockDone): void {
    const zero = (): void => {
      for (let at = 0; at < length; at += ZEROS.length) {
        this.file.write(offset + at, [ZEROS.subarray(0, Math.min(ZEROS.length, length - at))]);
      }
    };
    this.discarded.remove(offset, length);
    done(this.refusal(offset, length) ?? attempt(zero));
  }

  close(): void {
    if (this.isClosed) return;
    this.isClosed = true;
    this.punch();
    this.file.close();
  }

  private punch(): void {
    const ranges = this.discarded.take();
    if (ranges.length > 0) this.file.punch?.(ranges);
  }

  private refusal(offset: number, length: number): Error | null {
    return this.isReadOnly ? new Error('read-only') : outOfRange(this.bytes, offset, length);
  }

  /** An end that is no whole sector cannot be reached. */
  private wholeSectors(): number {
    return Math.floor(this.file.size() / this.sectorSize) * this.sectorSize;
  }
}

function attempt(action: () => void): Error | null {
  try {
    action();
    return null;
  } catch (error) {
    return error instanceof Error ? error : new Error(String(error));
  }
}
