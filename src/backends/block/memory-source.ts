// A disk in memory that takes no more than what has been written to it: chunks that were never written, or have been discarded, are not there.
import { type BlockDone, type BlockSource, outOfRange } from './source.ts';
import { lengthOf } from './vectors.ts';

const CHUNK = 64 * 1024;

export interface MemorySourceOptions {
  /** In bytes, a multiple of the sector size. */
  size: number;
  sectorSize?: number;
  isReadOnly?: boolean;
}

export class MemorySource implements BlockSource {
  readonly sectorSize: number;
  readonly isReadOnly: boolean;
  readonly canDiscard = true;
  readonly isImmediate = true;
  private bytes: number;
  private readonly chunks = new Map<number, Uint8Array>();

  constructor({ size, sectorSize = 512, isReadOnly = false }: MemorySourceOptions) {
    if (size % sectorSize !== 0) throw new RangeError(`a disk of ${size} bytes has no sectors of ${sectorSize}`);
    this.bytes = size;
    this.sectorSize = sectorSize;
    this.isReadOnly = isReadOnly;
  }

  /** A disk with this content, rounded up to whole sectors with zeros. */
  static of(content: Uint8Array, options: { sectorSize?: number; isReadOnly?: boolean } = {}): MemorySource {
    const { sectorSize = 512 } = options;
    const source = new MemorySource({ ...options, size: Math.ceil(content.length / sectorSize) * sectorSize });
    source.put(0, content);
    return source;
  }

  get size(): number {
    return this.bytes;
  }

  /** What there was stays; what is cut off is gone. */
  resize(size: number): void {
    if (size < this.bytes) this.clear(size, this.bytes - size);
    this.bytes = size;
  }

  /** Bytes of memory taken. */
  get allocated(): number {
    return this.chunks.size * CHUNK;
  }

  read(offset: number, into: readonly Uint8Array[], done: BlockDone): void {
    const error = outOfRange(this.bytes, offset, lengthOf(into));
    if (error) return done(error);
    let at = offset;
    for (const buffer of into) {
      eachPiece(at, buffer.length, (chunk, start, from, length) => {
        const content = this.chunks.get(chunk);
        if (content) buffer.set(content.subarray(start, start + length), from);
        else buffer.fill(0, from, from + length);
      });
      at += buffer.length;
    }
    done(null);
  }

  write(offset: number, from: readonly Uint8Array[], done: BlockDone): void {
    const error = this.isReadOnly ? new Error('read-only') : outOfRange(this.bytes, offset, lengthOf(from));
    if (error) return done(error);
    let at = offset;
    for (const buffer of from) {
      this.put(at, buffer);
      at += buffer.length;
    }
    done(null);
  }

  flush(done: BlockDone): void {
    done(null);
  }

  discard(offset: number, length: number, done: BlockDone): void {
    this.writeZeroes(offset, length, done);
  }

  writeZeroes(offset: number, length: number, done: BlockDone): void {
    const error = this.isReadOnly ? new Error('read-only') : outOfRange(this.bytes, offset, length);
    if (!error) this.clear(offset, length);
    done(error);
  }

  close(): void {
    this.chunks.clear();
  }

  private put(offset: number, bytes: Uint8Array): void {
    eachPiece(offset, bytes.length, (chunk, start, from, length) => {
      let content = this.chunks.get(chunk);
      if (!content) this.chunks.set(chunk, (content = new Uint8Array(CHUNK)));
      content.set(bytes.subarray(from, from + length), start);
    });
  }

  private clear(offset: number, length: number): void {
    const last = offset + length;
    for (const [chunk, content] of this.chunks) {
      const from = Math.max(offset, chunk * CHUNK);
      const to = Math.min(last, (chunk + 1) * CHUNK);
      if (from >= to) continue;
      if (to - from === CHUNK) this.chunks.delete(chunk);
      else content.fill(0, from - chunk * CHUNK, to - chunk * CHUNK);
    }
  }
}

/** Calls `each` for the part of a range in every chunk: which chunk, where in it, where in the range, how long. */
function eachPiece(
  offset: number,
  length: number,
  each: (chunk: number, start: number, from: number, length: number) => void,
): void {
  for (let from = 0; from < length; ) {
    const start = (offset + from) % CHUNK;
    const part = Math.min(CHUNK - start, length - from);
    each(Math.floor((offset + from) / CHUNK), start, from, part);
    from += part;
  }
}
