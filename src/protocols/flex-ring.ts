/**
 * A ring of bytes over several pages, with its indices in another one: of two such rings (in and out) 9pfs' transport is made. Source: "flexible
 * rings" in xen/include/public/io/ring.h, docs/misc/9pfs.pandoc.
 *
 * Our own index is kept here and only shown in the page; the peer's is read once a call, and one that no honest peer could show is reported
 * and never followed.
 */
import { RING_BROKEN } from './ring-buffer.ts';
import { pageU32, type SharedPage, setPageU32 } from './shared-page.ts';

const PAGE = 4096;

export interface FlexRingShape {
  /** The page with the indices, and where they are in it. */
  readonly indices: SharedPage;
  readonly cons: number;
  readonly prod: number;
  /** The ring's bytes; as many pages as a power of two. */
  readonly pages: readonly SharedPage[];
}

class FlexPages {
  readonly size: number;
  protected readonly shape: FlexRingShape;

  constructor(shape: FlexRingShape) {
    this.shape = shape;
    this.size = shape.pages.length * PAGE;
  }

  protected index(offset: number): number {
    return pageU32(this.shape.indices.bytes(), offset);
  }

  protected show(offset: number, value: number): void {
    setPageU32(this.shape.indices.bytes(), offset, value);
  }

  /** Calls `piece` with each part of the ring's `length` bytes from `index` on, and where it is among them. */
  protected each(index: number, length: number, piece: (part: Uint8Array, at: number) => void): void {
    for (let at = 0; at < length; ) {
      const place = (index + at) & (this.size - 1);
      const inPage = place % PAGE;
      const part = Math.min(PAGE - inPage, length - at);
      piece(this.shape.pages[Math.floor(place / PAGE)]!.bytes().subarray(inPage, inPage + part), at);
      at += part;
    }
  }
}

export class FlexConsumer extends FlexPages {
  #taken: number;

  /** Goes on where the indices say that an earlier consumer left off. */
  constructor(shape: FlexRingShape) {
    super(shape);
    this.#taken = this.index(shape.cons);
  }

  /** Bytes that wait, or RING_BROKEN. */
  get waiting(): number {
    const waiting = (this.index(this.shape.prod) - this.#taken) >>> 0;
    return waiting > this.size ? RING_BROKEN : waiting;
  }

  /** Copies bytes of which `waiting` has said that they are there, and leaves them. */
  peek(into: Uint8Array): void {
    this.each(this.#taken, into.length, (part, at) => into.set(part, at));
  }

  /** The peer can use the room again. */
  drop(count: number): void {
    this.#taken = (this.#taken + count) >>> 0;
    this.show(this.shape.cons, this.#taken);
  }
}

export class FlexProducer extends FlexPages {
  #made: number;

  constructor(shape: FlexRingShape) {
    super(shape);
    this.#made = this.index(shape.prod);
  }

  /** Bytes that can be put in, or RING_BROKEN. */
  get free(): number {
    const used = (this.#made - this.index(this.shape.cons)) >>> 0;
    return used > this.size ? RING_BROKEN : this.size - used;
  }

  /** Puts in bytes for which `free` has said that there is room, and shows them. */
  put(bytes: Uint8Array): void {
    this.each(this.#made, bytes.length, (part, at) => part.set(bytes.subarray(at, at + part.length)));
    this.#made = (this.#made + bytes.length) >>> 0;
    this.show(this.shape.prod, this.#made);
  }
}
