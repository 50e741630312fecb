// A read-only disk of which parts are obtained from far away, as by HTTP range requests. Chunks are kept, and asked for once: disks are read in small
// pieces, and often the same ones.
import { type BlockDone, type BlockSource, outOfRange } from './source.ts';
import { lengthOf, scatter } from './vectors.ts';

/** Obtains bytes. Rejects where it cannot. */
export interface RangeReader {
  /** Of the whole, in bytes. */
  readonly size: number;
  /** Exactly `length` bytes. */
  read(offset: number, length: number): Promise<Uint8Array>;
  close?(): void;
}

export interface RangeSourceOptions {
  /** Bytes asked for at a time. Default 256 KiB. */
  chunk?: number;
  /** Bytes kept. Default 64 MiB. */
  cache?: number;
}

export class RangeSource implements BlockSource {
  readonly size: number;
  readonly sectorSize = 512;
  readonly isReadOnly = true;
  readonly canDiscard = false;
  readonly isImmediate = false;
  private readonly reader: RangeReader;
  private readonly chunk: number;
  private readonly most: number;
  /** Chunks, the one used longest ago first. */
  private readonly chunks = new Map<number, Promise<Uint8Array>>();

  constructor(reader: RangeReader, { chunk = 256 << 10, cache = 64 << 20 }: RangeSourceOptions = {}) {
    this.reader = reader;
    this.size = Math.floor(reader.size / this.sectorSize) * this.sectorSize;
    this.chunk = chunk;
    this.most = Math.max(1, Math.floor(cache / chunk));
  }

  read(offset: number, into: readonly Uint8Array[], done: BlockDone): void {
    const length = lengthOf(into);
    const error = outOfRange(this.size, offset, length);
    if (error) {
      queueMicrotask(() => done(error));
      return;
    }
    this.fill(offset, length, into).then(
      () => done(null),
      (reason: unknown) => done(reason instanceof Error ? reason : new Error(String(reason))),
    );
  }

  write(_offset: number, _from: readonly Uint8Array[], done: BlockDone): void {
    done(new Error('read-only'));
  }

  flush(done: BlockDone): void {
    done(null);
  }

  discard(_offset: number, _length: number, done: BlockDone): void {
    done(new Error('read-only'));
  }

  writeZeroes(_offset: number, _length: number, done: BlockDone): void {
    done(new Error('read-only'));
  }

  close(): void {
    this.chunks.clear();
    this.reader.close?.();
  }

  private async fill(offset: number, length: number, into: readonly Uint8Array[]): Promise<void> {
    const end = offset + length;
    const wanted: Promise<void>[] = [];
    for (let index = Math.floor(offset / this.chunk); index * this.chunk < end; index++) {
      const start = index * this.chunk;
      const from = Math.max(offset, start);
      const to = Math.min(end, start + this.chunk);
      wanted.push(
        this.obtain(index).then(bytes => scatter(into, from - offset, bytes.subarray(from - start, to - start))),
      );
    }
    await Promise.all(wanted);
  }

  private obtain(index: number): Promise<Uint8Array> {
    const known = this.chunks.get(index);
    this.chunks.delete(index);
    const start = index * this.chunk;
    const bytes = known ?? this.ask(index, start, Math.min(this.chunk, this.size - start));
    this.chunks.set(index, bytes);
    for (const oldest of this.chunks.keys()) {
      if (this.chunks.size <= this.most) break;
      this.chunks.delete(oldest);
    }
    return bytes;
  }

  private async ask(index: number, start: number, length: number): Promise<Uint8Array> {
    try {
      const bytes = await this.reader.read(start, length);
      if (bytes.length !== length) throw new Error(`${bytes.length} bytes instead of ${length}`);
      return bytes;
    } catch (error) {
      // the next one asks again
      this.chunks.delete(index);
      throw error;
    }
  }
}
