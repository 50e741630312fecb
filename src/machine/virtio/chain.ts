// A request as the driver has laid it out: buffers in guest memory, first those to be read, then those to be written (virtio 1.2, 2.6.4). Where one
// buffer ends and the next begins means nothing; offsets count over all of a kind.
import type { PhysicalMemory } from '../physical-memory.ts';

/** A buffer in guest memory, by physical address. */
export interface Segment {
  readonly address: number;
  readonly length: number;
}

export class Chain {
  /** Index of its first descriptor, by which the driver knows it. */
  readonly head: number;
  readonly readable: readonly Segment[];
  readonly writable: readonly Segment[];
  readonly readableLength: number;
  readonly writableLength: number;
  private readonly memory: PhysicalMemory;

  constructor(memory: PhysicalMemory, head: number, readable: readonly Segment[], writable: readonly Segment[]) {
    this.memory = memory;
    this.head = head;
    this.readable = readable;
    this.writable = writable;
    this.readableLength = total(readable);
    this.writableLength = total(writable);
  }

  /** Copies what the driver sends, from `offset` on. False where it is shorter or not in RAM. */
  read(offset: number, into: Uint8Array): boolean {
    const pieces = slice(this.readable, offset, into.length);
    let done = 0;
    let whole = true;
    for (const { address, length } of pieces) {
      whole = this.memory.read(address, into.subarray(done, done + length)) && whole;
      done += length;
    }
    return whole && done === into.length;
  }

  /** Copies to the driver's buffers, from `offset` on. False where they are shorter or not in RAM. */
  write(offset: number, from: Uint8Array): boolean {
    const pieces = slice(this.writable, offset, from.length);
    let done = 0;
    let whole = true;
    for (const { address, length } of pieces) {
      whole = this.memory.write(address, from.subarray(done, done + length)) && whole;
      done += length;
    }
    return whole && done === from.length;
  }

  /** Live views of what the driver sends; null where part of it is no RAM or not there. */
  readViews(offset: number, length: number): Uint8Array[] | null {
    return this.views(this.readable, offset, length);
  }

  /** Live views of the driver's buffers; null as above. Whoever has written through them calls `wrote`. */
  writeViews(offset: number, length: number): Uint8Array[] | null {
    return this.views(this.writable, offset, length);
  }

  wrote(offset: number, length: number): void {
    for (const piece of slice(this.writable, offset, length)) this.memory.wrote(piece.address, piece.length);
  }

  private views(segments: readonly Segment[], offset: number, length: number): Uint8Array[] | null {
    const views: Uint8Array[] = [];
    let found = 0;
    for (const piece of slice(segments, offset, length)) {
      const parts = this.memory.views(piece.address, piece.length);
      if (!parts) return null;
      views.push(...parts);
      found += piece.length;
    }
    return found === length ? views : null;
  }
}

const total = (segments: readonly Segment[]): number => segments.reduce((sum, { length }) => sum + length, 0);

/** The part of `length` bytes from `offset` on, as far as it exists. */
function slice(segments: readonly Segment[], offset: number, length: number): Segment[] {
  const pieces: Segment[] = [];
  let skip = offset;
  let left = length;
  for (const segment of segments) {
    if (left === 0) break;
    const part = Math.min(segment.length - skip, left);
    if (part > 0) {
      pieces.push({ address: segment.address + skip, length: part });
      left -= part;
    }
    skip = Math.max(0, skip - segment.length);
  }
  return pieces;
}
