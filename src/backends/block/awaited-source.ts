// A source that takes its time, with a count of what is on its way: a host whose guests all wait must not take that for the end.
import type { BlockDone, BlockSource } from './source.ts';

export class AwaitedSource implements BlockSource {
  private readonly inner: BlockSource;
  private readonly onDone: () => void;
  private pending = 0;

  /** @param onDone told after every request that is done: a host that sleeps looks again. */
  constructor(inner: BlockSource, onDone: () => void) {
    this.inner = inner;
    this.onDone = onDone;
  }

  /** Requests have been made that are not done. */
  get isBusy(): boolean {
    return this.pending > 0;
  }

  get size(): number {
    return this.inner.size;
  }
  get sectorSize(): number {
    return this.inner.sectorSize;
  }
  get isReadOnly(): boolean {
    return this.inner.isReadOnly;
  }
  get canDiscard(): boolean {
    return this.inner.canDiscard;
  }
  get isImmediate(): boolean {
    return this.inner.isImmediate;
  }

  read(offset: number, into: readonly Uint8Array[], done: BlockDone): void {
    this.inner.read(offset, into, this.counted(done));
  }
  write(offset: number, from: readonly Uint8Array[], done: BlockDone): void {
    this.inner.write(offset, from, this.counted(done));
  }
  flush(done: BlockDone): void {
    this.inner.flush(this.counted(done));
  }
  discard(offset: number, length: number, done: BlockDone): void {
    this.inner.discard(offset, length, this.counted(done));
  }
  writeZeroes(offset: number, length: number, done: BlockDone): void {
    this.inner.writeZeroes(offset, length, this.counted(done));
  }
  close(): void {
    this.inner.close();
  }

  private counted(done: BlockDone): BlockDone {
    this.pending++;
    return error => {
      this.pending--;
      done(error);
      this.onDone();
    };
  }
}
