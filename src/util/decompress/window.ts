// The sliding window of a dictionary coder: what was written last, kept so that matches can copy from it. Memory stays at
// about the dictionary's size however long the stream is, and never grows faster than real output does.

import { DecompressError } from './error.ts';

/** A larger dictionary than this is refused once the output really needs it. */
const MAX_WINDOW = 1 << 30;

export class Window {
  buffer: Uint8Array;
  /** Where the next byte is written. */
  at = 0;
  /** The first byte of `buffer` that a match may refer to. */
  start = 0;
  private taken = 0;
  private readonly format: string;
  private readonly dictionary: number;

  /** `input` is how many compressed bytes there are: a guess at the output, so that the buffer seldom has to grow. */
  constructor(format: string, dictionary: number, input: number) {
    this.format = format;
    this.dictionary = dictionary;
    this.buffer = new Uint8Array(Math.min(this.fullSize(0), input * 8) + 4096);
  }

  /** Makes room for `count` more bytes: older than the dictionary slides out, else the buffer grows. All output must be taken. */
  reserve(count: number): void {
    if (this.at + count <= this.buffer.length) return;
    if (this.at > this.dictionary + count) {
      const from = this.at - this.dictionary;
      this.buffer.copyWithin(0, from, this.at);
      this.start = Math.max(0, this.start - from);
      this.at = this.taken = this.dictionary;
      if (this.at + count <= this.buffer.length) return;
    }
    const wanted = Math.min(this.buffer.length * 2, this.fullSize(count));
    const size = Math.max(wanted, this.at + count);
    if (size > MAX_WINDOW) throw new DecompressError(this.format, 'needs a dictionary of more than 512 MiB');
    const larger = new Uint8Array(size);
    larger.set(this.buffer.subarray(0, this.at));
    this.buffer = larger;
  }

  /** A quarter more than the dictionary: sliding then costs about four copied bytes for each that is written. */
  private fullSize(count: number): number {
    return Math.ceil(this.dictionary * 1.25) + (4 << 20) + count;
  }

  /** A copy of what was written since the last call. */
  take(): Uint8Array {
    const piece = this.buffer.slice(this.taken, this.at);
    this.taken = this.at;
    return piece;
  }

  /** Appends bytes as they are. */
  append(bytes: Uint8Array): void {
    this.reserve(bytes.length);
    this.buffer.set(bytes, this.at);
    this.at += bytes.length;
  }

  /** Copies `length` bytes from `distance` back; the two may overlap. Room was reserved. False where the distance is too far. */
  copy(distance: number, length: number): boolean {
    const { buffer, at } = this;
    const from = at - distance;
    if (from < this.start || distance === 0) return false;
    if (distance >= length && length > 24) buffer.copyWithin(at, from, from + length);
    else for (let i = 0; i < length; i++) buffer[at + i] = buffer[from + i];
    this.at = at + length;
    return true;
  }
}
