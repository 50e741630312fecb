/**
 * The ring of requests and responses that a front end and a back end share, over one or several pages. Source: xen/include/public/io/ring.h.
 *
 *   0 req_prod   4 req_event   8 rsp_prod   12 rsp_event   64 entries, as many as fit, rounded down to a power of two
 *
 * A slot holds a request and, once that has been taken out, a response. Indices run free over 32 bits. The peer can write the pages at any
 * time: indices are read once, an impossible one is reported and never followed, and a request is copied out before anyone looks at it.
 */
import { RING_BROKEN } from './ring-buffer.ts';
import { pageU32, type SharedPage, setPageU32 } from './shared-page.ts';

const REQ_PROD = 0;
const REQ_EVENT = 4;
const RSP_PROD = 8;
const RSP_EVENT = 12;
const ENTRIES = 64;
const PAGE = 4096;

export interface RingShape {
  /** The ring's pages, in order. */
  pages: readonly SharedPage[];
  /** Size in bytes of the larger of request and response in the front end's ABI. */
  entrySize: number;
}

/** Slots of a ring of so many pages. */
export function ringSize(pages: number, entrySize: number): number {
  return 2 ** Math.floor(Math.log2((pages * PAGE - ENTRIES) / entrySize));
}

/** The pages of a ring, as both ends see them. */
class RingPages {
  readonly size: number;
  readonly entrySize: number;
  readonly #pages: readonly SharedPage[];

  constructor({ pages, entrySize }: RingShape) {
    this.#pages = pages;
    this.entrySize = entrySize;
    this.size = ringSize(pages.length, entrySize);
  }

  index(offset: number): number {
    return pageU32(this.#pages[0]!.bytes(), offset);
  }

  setIndex(offset: number, value: number): void {
    setPageU32(this.#pages[0]!.bytes(), offset, value);
  }

  /** Copies an entry out. Entries of rings of several pages may lie across two of them. */
  read(index: number, into: Uint8Array): void {
    this.#pieces(index, this.entrySize, (page, from, to, at) => into.set(page.subarray(from, to), at));
  }

  write(index: number, entry: Uint8Array): void {
    this.#pieces(index, Math.min(entry.length, this.entrySize), (page, from, to, at) =>
      page.set(entry.subarray(at, at + to - from), from),
    );
  }

  #pieces(
    index: number,
    length: number,
    piece: (page: Uint8Array, from: number, to: number, at: number) => void,
  ): void {
    const start = ENTRIES + (index & (this.size - 1)) * this.entrySize;
    const inPage = start % PAGE;
    const page = Math.floor(start / PAGE);
    const first = Math.min(length, PAGE - inPage);
    piece(this.#pages[page]!.bytes(), inPage, inPage + first, 0);
    if (first < length) piece(this.#pages[page + 1]!.bytes(), 0, length - first, first);
  }
}

/** True where the peer asked to hear of an index that lies in (from, to]. */
const passes = (event: number, from: number, to: number): boolean => (to - event) >>> 0 < (to - from) >>> 0;

export class BackRing {
  readonly #ring: RingPages;
  readonly #request: Uint8Array;
  #taken: number;
  #answered: number;

  /** Goes on where an earlier back end of the same ring left off (at 0 on a fresh one). */
  constructor(shape: RingShape) {
    this.#ring = new RingPages(shape);
    this.#request = new Uint8Array(shape.entrySize);
    this.#answered = this.#ring.index(RSP_PROD);
    this.#taken = this.#answered;
  }

  /** Slots. */
  get size(): number {
    return this.#ring.size;
  }

  /** Requests taken out and not yet answered. */
  get outstanding(): number {
    return (this.#taken - this.#answered) >>> 0;
  }

  /** Requests that wait, or RING_BROKEN where the front end claims more than a ring can hold. */
  get waiting(): number {
    const made = this.#ring.index(REQ_PROD);
    if ((made - this.#answered) >>> 0 > this.#ring.size) return RING_BROKEN;
    // Behind what was taken: the front end has moved its index back.
    const waiting = (made - this.#taken) >>> 0;
    return waiting > this.#ring.size ? RING_BROKEN : waiting;
  }

  /** Takes the next request, of which `waiting` has said that it is there: a copy, good until the next take(). */
  take(): Uint8Array {
    this.#ring.read(this.#taken, this.#request);
    this.#taken = (this.#taken + 1) >>> 0;
    return this.#request;
  }

  /** Puts the next response in; the front end sees it after push(). Only for requests that were taken. */
  answer(response: Uint8Array): void {
    if (this.#taken === this.#answered) throw new RangeError('a response without a request');
    this.#ring.write(this.#answered, response);
    this.#answered = (this.#answered + 1) >>> 0;
  }

  /** Shows the responses. True where the front end wants an event for them. */
  push(): boolean {
    const from = this.#ring.index(RSP_PROD);
    this.#ring.setIndex(RSP_PROD, this.#answered);
    return passes(this.#ring.index(RSP_EVENT), from, this.#answered);
  }

  /** Asks for an event once `count` requests wait. To be followed by another look at `waiting`. */
  askFor(count: number): void {
    this.#ring.setIndex(REQ_EVENT, this.#taken + count);
  }

  save(): { taken: number; answered: number } {
    return { taken: this.#taken, answered: this.#answered };
  }

  load({ taken, answered }: { taken: number; answered: number }): void {
    this.#taken = taken;
    this.#answered = answered;
  }
}

export class FrontRing {
  readonly #ring: RingPages;
  readonly #response: Uint8Array;
  #made = 0;
  #seen = 0;

  /** Initialises the shared page. */
  constructor(shape: RingShape) {
    this.#ring = new RingPages(shape);
    this.#response = new Uint8Array(shape.entrySize);
    this.#ring.setIndex(REQ_PROD, 0);
    this.#ring.setIndex(RSP_PROD, 0);
    this.#ring.setIndex(REQ_EVENT, 1);
    this.#ring.setIndex(RSP_EVENT, 1);
  }

  get size(): number {
    return this.#ring.size;
  }

  /** Requests that fit now. */
  get free(): number {
    return this.#ring.size - ((this.#made - this.#seen) >>> 0);
  }

  /** Puts a request in, which the back end sees after push(). False where the ring is full. */
  request(entry: Uint8Array): boolean {
    if (this.free === 0) return false;
    this.#ring.write(this.#made, entry);
    this.#made = (this.#made + 1) >>> 0;
    return true;
  }

  /** Shows the requests. True where the back end wants an event for them. */
  push(): boolean {
    const from = this.#ring.index(REQ_PROD);
    this.#ring.setIndex(REQ_PROD, this.#made);
    return passes(this.#ring.index(REQ_EVENT), from, this.#made);
  }

  /** Responses that wait, or RING_BROKEN where there are more than requests were made. */
  get waiting(): number {
    const waiting = (this.#ring.index(RSP_PROD) - this.#seen) >>> 0;
    return waiting > (this.#made - this.#seen) >>> 0 ? RING_BROKEN : waiting;
  }

  /** The next response: a copy, good until the next take(). */
  take(): Uint8Array {
    this.#ring.read(this.#seen, this.#response);
    this.#seen = (this.#seen + 1) >>> 0;
    return this.#response;
  }

  /** Asks for an event at the next response. To be followed by another look at `waiting`. */
  askForNext(): void {
    this.#ring.setIndex(RSP_EVENT, this.#seen + 1);
  }
}
