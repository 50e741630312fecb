// A disk in a raw file or on a block device of the surroundings, by calls that return when they are done: runs of a guest stay the same run,
// however slow the medium.
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
  close(): void;
}

const ZEROS = new Uint8Array(1 << 20);

export class FileSource implements BlockSource {
  readonly sectorSize: number;
  readonly isReadOnly: boolean;
  /** No surroundings of ours can punch holes into files. */
  readonly canDiscard = false;
  readonly isImmediate = true;
  private readonly file: BlockFile;
  private bytes: number;
  private isClosed = false;

  /** The file is the source's from now on. It is read-only where the file is, or `isReadOnly` says so. */
  constructor(file: BlockFile, options: { sectorSize?: number; isReadOnly?: boolean } = {}) {
    this.file = file;
    this.sectorSize = options.sectorSize ?? 512;
    this.isReadOnly = (options.isReadOnly ?? false) || !file.isWritable;
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
    done(this.refusal(offset, lengthOf(from)) ?? attempt(() => this.file.write(offset, from)));
  }

  flush(done: BlockDone): void {
    done(this.isReadOnly ? null : attempt(() => this.file.sync()));
  }

  discard(offset: number, length: number, done: BlockDone): void {
    done(this.refusal(offset, length));
  }

  writeZeroes(offset: number, length: number, done: BlockDone): void {
    const zero = (): void => {
      for (let at = 0; at < length; at += ZEROS.length) {
        this.file.write(offset + at, [ZEROS.subarray(0, Math.min(ZEROS.length, length - at))]);
      }
    };
    done(this.refusal(offset, length) ?? attempt(zero));
  }

  close(): void {
    if (!this.isClosed) this.file.close();
    this.isClosed = true;
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
