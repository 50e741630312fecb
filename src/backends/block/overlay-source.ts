// A disk that starts as a copy of another and leaves that untouched: what is written goes to a top, by blocks; the rest is read from the base. The top
// decides how long it is kept: memory for this run, a qcow2 image for longer.
import { MemoryTop } from './memory-top.ts';
import { type BlockDone, type BlockSource, outOfRange } from './source.ts';
import { lengthOf, sliceOf } from './vectors.ts';

/** Where an overlay keeps what differs from its base. All is done when a call returns; methods throw Error for what the medium refuses. */
export interface OverlayTop {
  /** In bytes; behind the end of a smaller base there are zeros. */
  readonly size: number;
  readonly isReadOnly: boolean;
  /** Bytes of a block, which is either the top's as a whole or the base's. */
  readonly blockSize: number;
  /** Whether the block is the top's. Throws where what says so is damaged. */
  has(block: number): boolean;
  /** Only of blocks that are the top's. */
  read(offset: number, into: readonly Uint8Array[]): void;
  /** Blocks that are touched are the top's afterwards: one that was not, and is not covered, is zeros elsewhere. */
  write(offset: number, from: readonly Uint8Array[]): void;
  writeZeroes(offset: number, length: number): void;
  /** See BlockSource.discard; what is the base's stays. */
  discard(offset: number, length: number): void;
  flush(): void;
  close(): void;
}

/** Bytes of one kind that follow one another. */
interface Run {
  readonly offset: number;
  readonly length: number;
  readonly from: 'top' | 'base' | 'nowhere';
}

export class OverlaySource implements BlockSource {
  readonly size: number;
  readonly sectorSize: number;
  readonly isReadOnly: boolean;
  readonly canDiscard: boolean;
  readonly isImmediate: boolean;
  private readonly base: BlockSource;
  private readonly top: OverlayTop;
  private readonly blockSize: number;

  /** Base and top are the overlay's from now on: nobody else may write to them, and closing closes them. */
  constructor(base: BlockSource, top: OverlayTop = new MemoryTop(base.size)) {
    this.base = base;
    this.top = top;
    this.size = top.size;
    this.blockSize = top.blockSize;
    this.sectorSize = base.sectorSize;
    this.isReadOnly = top.isReadOnly;
    this.canDiscard = !top.isReadOnly;
    this.isImmediate = base.isImmediate;
  }

  read(offset: number, into: readonly Uint8Array[], done: BlockDone): void {
    const length = lengthOf(into);
    const error = outOfRange(this.size, offset, length);
    if (error) return done(error);
    let runs: Run[] = [];
    const unknown = attempt(() => {
      runs = this.runs(offset, length);
    });
    if (unknown) return done(unknown);
    const finished = gather(runs.length, done);
    for (const run of runs) {
      const buffers = sliceOf(into, run.offset - offset, run.length);
      if (run.from === 'base') this.base.read(run.offset, buffers, finished);
      else if (run.from === 'top') finished(attempt(() => this.top.read(run.offset, buffers)));
      else {
        for (const buffer of buffers) buffer.fill(0);
        finished(null);
      }
    }
  }

  write(offset: number, from: readonly Uint8Array[], done: BlockDone): void {
    this.change(offset, lengthOf(from), () => this.top.write(offset, from), done);
  }

  writeZeroes(offset: number, length: number, done: BlockDone): void {
    this.change(offset, length, () => this.top.writeZeroes(offset, length), done);
  }

  flush(done: BlockDone): void {
    done(this.isReadOnly ? null : attempt(() => this.top.flush()));
  }

  discard(offset: number, length: number, done: BlockDone): void {
    done(this.refusal(offset, length) ?? attempt(() => this.top.discard(offset, length)));
  }

  close(): void {
    this.base.close();
    this.top.close();
  }

  private change(offset: number, length: number, action: () => void, done: BlockDone): void {
    const error = this.refusal(offset, length);
    if (error || length === 0) return done(error);
    this.copyEdges(offset, length, copyError => done(copyError ?? attempt(action)));
  }

  private refusal(offset: number, length: number): Error | null {
    return this.isReadOnly ? new Error('read-only') : outOfRange(this.size, offset, length);
  }

  /** Blocks of which only a part will be written are copied first. */
  private copyEdges(offset: number, length: number, done: BlockDone): void {
    const end = offset + length;
    const edges = new Set<number>();
    if (offset % this.blockSize !== 0) edges.add(Math.floor(offset / this.blockSize));
    if (end % this.blockSize !== 0 && end !== this.size) edges.add(Math.floor(end / this.blockSize));
    let missing: number[] = [];
    const unknown = attempt(() => {
      missing = [...edges].filter(block => !this.top.has(block));
    });
    if (unknown) return done(unknown);
    const finished = gather(missing.length, done);
    for (const block of missing) this.copyBlock(block, finished);
  }

  private copyBlock(block: number, done: BlockDone): void {
    const at = block * this.blockSize;
    // What the base does not have of it is zeros in the top by itself.
    const content = new Uint8Array(Math.max(0, Math.min(this.blockSize, this.size - at, this.base.size - at)));
    if (content.length === 0) return done(null);
    this.base.read(at, [content], error => {
      // another write may have brought it here in the meantime, and more than the base has
      const copy = (): void => {
        if (!this.top.has(block)) this.top.write(at, [content]);
      };
      done(error ?? attempt(copy));
    });
  }

  private runs(offset: number, length: number): Run[] {
    const runs: Run[] = [];
    const end = offset + length;
    for (let at = offset; at < end; ) {
      const from = this.whose(at);
      let next = at;
      do next = this.boundaryAfter(next);
      while (next < end && this.whose(next) === from);
      const stop = Math.min(next, end);
      runs.push({ offset: at, length: stop - at, from });
      at = stop;
    }
    return runs;
  }

  private whose(at: number): Run['from'] {
    if (this.top.has(Math.floor(at / this.blockSize))) return 'top';
    return at < this.base.size ? 'base' : 'nowhere';
  }

  /** Where the next block begins, or the base ends. */
  private boundaryAfter(at: number): number {
    const next = (Math.floor(at / this.blockSize) + 1) * this.blockSize;
    return at < this.base.size ? Math.min(next, this.base.size) : next;
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

/** Calls `done` after as many calls of the result, with the first error; at once where none are to come. */
function gather(count: number, done: BlockDone): BlockDone {
  let left = count;
  let first: Error | null = null;
  if (left === 0) done(null);
  return error => {
    first ??= error;
    if (--left === 0) done(first);
  };
}
