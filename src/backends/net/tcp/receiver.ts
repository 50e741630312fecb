// The receiving half of a connection: what is expected next, how much may come, and putting it in order. Source: RFC 9293 sections 3.8.6 and 3.10.7.4.
import { OutOfOrder } from './out-of-order.ts';
import { advance, distance, isAfter, isBefore } from './sequence.ts';

/** Bytes that may be on their way to the reader: the window at its largest. */
export const RECEIVE_BUFFER = 256 * 1024;
/** Shift of our windows: RECEIVE_BUFFER in 16 bits. */
export const RECEIVE_SCALE = 3;

export class Receiver {
  /** RCV.NXT. */
  next: number;
  /** Whether the peer uses window scaling, so that ours is used, too. */
  scale = 0;
  readonly #mss: number;
  readonly #outOfOrder = new OutOfOrder();
  /** The end of the window as the peer was told: it never goes back. */
  #edge: number;
  /** Bytes that the reader has and has not done with. */
  #unread = 0;
  /** Where the peer's FIN stands; null before it is known. */
  #finAt: number | null = null;

  /** @param next the sequence number behind the peer's SYN */
  constructor(next: number, mss: number) {
    this.next = next;
    this.#edge = next;
    this.#mss = mss;
  }

  /** The largest window that the header can say. */
  get #limit(): number {
    return this.scale === 0 ? 65535 : RECEIVE_BUFFER;
  }

  get #room(): number {
    return Math.max(0, Math.min(RECEIVE_BUFFER - this.#unread, this.#limit));
  }

  /** What the header's field says now. The window opens by whole segments alone, against the silly window syndrome. */
  window(): number {
    const edge = advance(this.next, this.#room);
    if (distance(edge, this.#edge) >= Math.min(this.#limit / 2, this.#mss)) this.#edge = edge;
    return Math.min(65535, Math.max(0, distance(this.#edge, this.next)) >> this.scale);
  }

  /** The reader has done with `count` bytes. True where the peer should hear of the room: it may be waiting for it. */
  consumed(count: number): boolean {
    this.#unread -= count;
    const before = distance(this.#edge, this.next);
    return before < this.#limit / 2 && this.#room - before >= this.#limit / 4;
  }

  /** Whether any of a segment lies in the window; one that starts where we expect it does, for what else it says. */
  accepts(seq: number, length: number): boolean {
    if (seq === this.next) return true;
    return (
      isBefore(seq, this.#edge) && (length === 0 ? !isBefore(seq, this.next) : isAfter(advance(seq, length), this.next))
    );
  }

  /** Takes a segment's data, cut to the window, and its FIN. What is in order by now goes to `deliver`, whose memory it is not. */
  take(seq: number, payload: Uint8Array, fin: boolean, deliver: (bytes: Uint8Array) => void): void {
    const known = Math.max(0, distance(this.next, seq));
    const end = Math.min(payload.length, distance(this.#edge, seq));
    if (fin && end === payload.length && this.#finAt === null) this.#finAt = advance(seq, payload.length);
    if (known < end) {
      const fresh = payload.subarray(known, end);
      const at = advance(seq, known);
      if (at === this.next) this.#deliver(fresh, deliver);
      else this.#outOfOrder.add(at, fresh);
    }
    for (let more = this.#outOfOrder.take(this.next); more !== null; more = this.#outOfOrder.take(this.next)) {
      this.#deliver(more, deliver);
    }
  }

  /** The peer's FIN is next: everything before it has been delivered. Steps over it. */
  takeFin(): boolean {
    if (this.#finAt !== this.next) return false;
    this.next = advance(this.next, 1);
    this.#outOfOrder.clear();
    return true;
  }

  /** Nothing behind a FIN is data. */
  #deliver(bytes: Uint8Array, deliver: (bytes: Uint8Array) => void): void {
    const length = this.#finAt === null ? bytes.length : Math.min(bytes.length, distance(this.#finAt, this.next));
    if (length <= 0) return;
    this.next = advance(this.next, length);
    this.#unread += length;
    deliver(bytes.subarray(0, length));
  }
}
