// Bytes on their way to the peer: sent and not yet acknowledged, or not yet sent. A circular buffer that grows with need.

const FIRST_SIZE = 4096;

export class SendBuffer {
  #buffer: Uint8Array = new Uint8Array(0);
  #start = 0;
  #length = 0;

  get length(): number {
    return this.#length;
  }

  append(bytes: Uint8Array): void {
    if (this.#length + bytes.length > this.#buffer.length) this.#grow(this.#length + bytes.length);
    const at = (this.#start + this.#length) & (this.#buffer.length - 1);
    const first = Math.min(bytes.length, this.#buffer.length - at);
    this.#buffer.set(bytes.subarray(0, first), at);
    this.#buffer.set(bytes.subarray(first), 0);
    this.#length += bytes.length;
  }

  /** Copies [from, to) out. */
  read(from: number, to: number): Uint8Array {
    const out = new Uint8Array(to - from);
    if (to === from) return out;
    const at = (this.#start + from) & (this.#buffer.length - 1);
    const first = Math.min(out.length, this.#buffer.length - at);
    out.set(this.#buffer.subarray(at, at + first));
    out.set(this.#buffer.subarray(0, out.length - first), first);
    return out;
  }

  /** Lets the first `count` bytes go. */
  drop(count: number): void {
    this.#length -= count;
    this.#start = this.#length === 0 ? 0 : (this.#start + count) & (this.#buffer.length - 1);
  }

  #grow(needed: number): void {
    let size = Math.max(FIRST_SIZE, this.#buffer.length);
    while (size < needed) size *= 2;
    const buffer = new Uint8Array(size);
    buffer.set(this.read(0, this.#length));
    this.#buffer = buffer;
    this.#start = 0;
  }
}
