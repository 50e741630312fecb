// The top of an overlay that is forgotten with the run: blocks in memory.
import { MemorySource } from './memory-source.ts';
import type { OverlayTop } from './overlay-source.ts';
import type { BlockDone } from './source.ts';
import { lengthOf } from './vectors.ts';

export class MemoryTop implements OverlayTop {
  readonly size: number;
  readonly isReadOnly = false;
  readonly blockSize = 4096;
  private readonly memory: MemorySource;
  private readonly blocks: Uint8Array;
  private count = 0;

  constructor(size: number) {
    this.size = size;
    this.memory = new MemorySource({ size });
    this.blocks = new Uint8Array(Math.ceil(Math.ceil(size / this.blockSize) / 8));
  }

  /** Bytes that differ from the base, or could. */
  get changed(): number {
    return this.count * this.blockSize;
  }

  has(block: number): boolean {
    return (this.blocks[block >> 3] & (1 << (block & 7))) !== 0;
  }

  read(offset: number, into: readonly Uint8Array[]): void {
    this.memory.read(offset, into, thrown);
  }

  write(offset: number, from: readonly Uint8Array[]): void {
    this.take(offset, lengthOf(from));
    this.memory.write(offset, from, thrown);
  }

  writeZeroes(offset: number, length: number): void {
    this.take(offset, length);
    this.memory.writeZeroes(offset, length, thrown);
  }

  /** What was written here reads as zeros afterwards, and its memory is free. */
  discard(offset: number, length: number): void {
    this.memory.discard(offset, length, thrown);
  }

  /** There is nothing that could outlive the process. */
  flush(): void {}

  close(): void {
    this.memory.close();
  }

  private take(offset: number, length: number): void {
    const { blockSize, blocks } = this;
    for (let block = Math.floor(offset / blockSize); block * blockSize < offset + length; block++) {
      if (this.has(block)) continue;
      blocks[block >> 3] |= 1 << (block & 7);
      this.count++;
    }
  }
}

const thrown: BlockDone = error => {
  if (error) throw error;
};
