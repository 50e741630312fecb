// A disk that starts as a copy of another and leaves that untouched: what is written goes to memory, by blocks; the rest is read from the base.
import { MemorySource } from './memory-source.ts';
import { type BlockDone, type BlockSource, outOfRange } from './source.ts';
import { lengthOf, sliceOf } from './vectors.ts';

const BLOCK = 4096;

/** Bytes of one kind that follow one another. */
interface Run {
  readonly offset: number;
  readonly length: number;
  readonly isOurs: boolean;
}

export class OverlaySource implements BlockSource {
  readonly size: number;
  readonly sectorSize: number;
  readonly isReadOnly = false;
  readonly canDiscard = true;
  readonly isImmediate: boolean;
  private readonly base: BlockSource;
  private readonly top: MemorySource;
  /** Blocks that are in `top`. */
  private readonly ours: Bitmap;

  /** The base is the overlay's from now on: nobody may write to it, and closing closes it. */
  constructor(base: BlockSource) {
    this.base = base;
    this.size = base.size;
    this.sectorSize = base.sectorSize;
    this.isImmediate = base.isImmediate;
    this.ours = new Bitmap(Math.ceil(base.size / BLOCK));
    this.top = new MemorySource({ size: base.size, sectorSize: base.sectorSize });
  }

  /** Bytes that differ from the base, or could. */
  get changed(): number {
    return this.ours.count * BLOCK;
  }

  read(offset: number, into: readonly Uint8Array[], done: BlockDone): void {
    const length = lengthOf(into);
    const error = outOfRange(this.size, offset, length);
    if (error) return done(error);
    const runs = this.runs(offset, length);
    const finished = gather(runs.length, done);
    for (const run of runs) {
      const source = run.isOurs ? this.top : this.base;
      source.read(run.offset, sliceOf(into, run.offset - offset, run.length), finished);
    }
  }

  write(offset: number, from: readonly Uint8Array[], done: BlockDone): void {
    const length = lengthOf(from);
    const error = outOfRange(this.size, offset, length);
    if (error || length === 0) return done(error);
    this.copyEdges(offset, length, copyError => {
      if (copyError) return done(copyError);
      this.take(offset, length);
      this.top.write(offset, from, done);
    });
  }

  /** There is nothing that could outlive the process. */
  flush(done: BlockDone): void {
    done(null);
  }

  /** What was written here reads as zeros afterwards, and its memory is free; what is the base's stays. */
  discard(offset: number, length: number, done: BlockDone): void {
    this.top.discard(offset, length, done);
  }

  writeZeroes(offset: number, length: number, done: BlockDone): void {
    const error = outOfRange(this.size, offset, length);
    if (error || length === 0) return done(error);
    this.copyEdges(offset, length, copyError => {
      if (copyError) return done(copyError);
      this.take(offset, length);
      this.top.writeZeroes(offset, length, done);
    });
  }

  close(): void {
    this.base.close();
    this.top.close();
  }

  private take(offset: number, length: number): void {
    for (let block = Math.floor(offset / BLOCK); block * BLOCK < offset + length; block++) this.ours.add(block);
  }

  /** Blocks of which only a part will be written are copied first. */
  private copyEdges(offset: number, length: number, done: BlockDone): void {
    const end = offset + length;
    const edges = new Set<number>();
    if (offset % BLOCK !== 0) edges.add(Math.floor(offset / BLOCK));
    if (end % BLOCK !== 0 && end !== this.size) edges.add(Math.floor(end / BLOCK));
    const missing = [...edges].filter(block => !this.ours.has(block));
    const finished = gather(missing.length, done);
    for (const block of missing) this.copyBlock(block, finished);
  }

  private copyBlock(block: number, done: BlockDone): void {
    const at = block * BLOCK;
    const content = new Uint8Array(Math.min(BLOCK, this.size - at));
    this.base.read(at, [content], error => {
      // another write may have brought it here in the meantime, and more than the base has
      if (error || this.ours.has(block)) return done(error);
      this.ours.add(block);
      this.top.write(at, [content], done);
    });
  }

  private runs(offset: number, length: number): Run[] {
    const runs: Run[] = [];
    const end = offset + length;
    for (let at = offset; at < end; ) {
      const isOurs = this.ours.has(Math.floor(at / BLOCK));
      let next = at;
      do next = (Math.floor(next / BLOCK) + 1) * BLOCK;
      while (next < end && this.ours.has(next / BLOCK) === isOurs);
      const stop = Math.min(next, end);
      runs.push({ offset: at, length: stop - at, isOurs });
      at = stop;
    }
    return runs;
  }
}

class Bitmap {
  count = 0;
  private readonly bytes: Uint8Array;

  constructor(bits: number) {
    this.bytes = new Uint8Array(Math.ceil(bits / 8));
  }

  has(bit: number): boolean {
    return (this.bytes[bit >> 3] & (1 << (bit & 7))) !== 0;
  }

  add(bit: number): void {
    if (this.has(bit)) return;
    this.bytes[bit >> 3] |= 1 << (bit & 7);
    this.count++;
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
