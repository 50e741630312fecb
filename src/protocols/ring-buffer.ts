/**
 * A ring of bytes in a shared page: a power-of-two buffer with free-running 32-bit producer and consumer indices.
 * XenStore's and the console's rings are made of these. Source: docs/misc/xenstore-ring.txt, xen/include/public/io/console.h.
 *
 * Both indices lie in memory that the guest can write at any time: every call reads each of them once, and a pair
 * that no honest peer could have left (more bytes in flight than the ring holds) is reported, never followed.
 */
import { pageU32, type SharedPage, setPageU32 } from './shared-page.ts';

/** Offsets and size in bytes within the page; size a power of two. */
export interface ByteRingLayout {
  buffer: number;
  size: number;
  cons: number;
  prod: number;
}

/** What read() and friends answer where the indices make no sense. */
export const RING_BROKEN = -1;

export class ByteRing {
  readonly #page: SharedPage;
  readonly #layout: ByteRingLayout;

  constructor(page: SharedPage, layout: ByteRingLayout) {
    this.#page = page;
    this.#layout = layout;
  }

  /** Bytes waiting for the consumer, or RING_BROKEN. */
  get used(): number {
    const page = this.#page.bytes();
    const used = (pageU32(page, this.#layout.prod) - pageU32(page, this.#layout.cons)) >>> 0;
    return used > this.#layout.size ? RING_BROKEN : used;
  }

  /** Bytes that the producer may add, or RING_BROKEN. */
  get free(): number {
    const used = this.used;
    return used === RING_BROKEN ? RING_BROKEN : this.#layout.size - used;
  }

  /** Takes up to `max` bytes out. An empty array where nothing waits; RING_BROKEN where the indices make no sense. */
  read(max: number): Uint8Array | typeof RING_BROKEN {
    const { buffer, size, cons, prod } = this.#layout;
    const page = this.#page.bytes();
    const from = pageU32(page, cons);
    const used = (pageU32(page, prod) - from) >>> 0;
    if (used > size) return RING_BROKEN;
    const count = Math.min(used, max);
    const out = new Uint8Array(count);
    const start = from & (size - 1);
    const first = Math.min(count, size - start);
    out.set(page.subarray(buffer + start, buffer + start + first));
    out.set(page.subarray(buffer, buffer + count - first), first);
    setPageU32(page, cons, from + count);
    return out;
  }

  /** Puts in as much of `data` as fits and returns how many bytes that was; RING_BROKEN where the indices make no sense. */
  write(data: Uint8Array): number {
    const { buffer, size, cons, prod } = this.#layout;
    const page = this.#page.bytes();
    const to = pageU32(page, prod);
    const used = (to - pageU32(page, cons)) >>> 0;
    if (used > size) return RING_BROKEN;
    const count = Math.min(size - used, data.length);
    const start = to & (size - 1);
    const first = Math.min(count, size - start);
    page.set(data.subarray(0, first), buffer + start);
    page.set(data.subarray(first, count), buffer);
    setPageU32(page, prod, to + count);
    return count;
  }

  /** Empties the ring and sets both indices to 0. */
  reset(): void {
    const page = this.#page.bytes();
    setPageU32(page, this.#layout.cons, 0);
    setPageU32(page, this.#layout.prod, 0);
  }
}
