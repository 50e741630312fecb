// The sending half of a connection: what is under way, what may follow, and what is sent again. Sources: RFC 9293 sections 3.8 and 3.10.7.4,
// RFC 1122 section 4.2.3.4 (when a small segment is worth sending).
import { Congestion } from './congestion.ts';
import type { RoundTrip } from './round-trip.ts';
import { SendBuffer } from './send-buffer.ts';
import { advance, distance, isAfter, isBefore } from './sequence.ts';

/** Bytes that a writer should leave in the buffer at most. */
export const SEND_BUFFER = 256 * 1024;

/** Puts a segment on the wire: `payload` from sequence number `seq` on. */
export type Emit = (seq: number, payload: Uint8Array, fin: boolean) => void;

export class Sender {
  /** SND.UNA: the oldest that is not acknowledged. The buffer starts there. */
  unacknowledged: number;
  /** SND.NXT; goes back to send again. */
  next: number;
  /** Behind everything that was ever sent. */
  sent: number;
  readonly mss: number;
  readonly roundTrip: RoundTrip;
  readonly #buffer = new SendBuffer();
  readonly #congestion: Congestion;
  readonly #emit: Emit;
  /** SND.WND in bytes, the segment that it came with, and the largest that ever was. */
  #window: number;
  #windowSeq: number;
  #windowAck: number;
  #largestWindow: number;
  readonly scale: number;
  /** Where our FIN stands, once everything before it is known. */
  #finAt: number | null = null;
  /** The segment whose time is taken: its end, and when it was sent. */
  #timed: { end: number; sentNs: number } | null = null;

  /** From the segment that established the connection. */
  constructor(options: {
    next: number;
    mss: number;
    scale: number;
    window: number;
    windowSeq: number;
    roundTrip: RoundTrip;
    emit: Emit;
  }) {
    this.unacknowledged = this.next = this.sent = options.next;
    this.mss = options.mss;
    this.scale = options.scale;
    this.roundTrip = options.roundTrip;
    this.#emit = options.emit;
    this.#congestion = new Congestion(options.mss);
    this.#window = this.#largestWindow = options.window;
    this.#windowSeq = options.windowSeq;
    this.#windowAck = options.next;
  }

  /** Bytes that were written and not acknowledged. */
  get buffered(): number {
    return this.#buffer.length;
  }

  /** Sequence numbers under way. */
  get flight(): number {
    return distance(this.next, this.unacknowledged);
  }

  get #unsent(): number {
    return this.#buffer.length - this.flight;
  }

  /** Our FIN has been sent and acknowledged. */
  get isFinished(): boolean {
    return this.#finAt !== null && isAfter(this.unacknowledged, this.#finAt);
  }

  /** There is something that could not be sent and nothing under way whose acknowledgement would tell when it can. */
  get isStuck(): boolean {
    return this.flight === 0 && this.#unsent > 0;
  }

  write(bytes: Uint8Array): void {
    if (this.#finAt === null) this.#buffer.append(bytes);
  }

  /** Nothing more will be written: a FIN follows the last byte. */
  finish(): void {
    this.#finAt ??= advance(this.unacknowledged, this.#buffer.length);
  }

  /**
   * Sends what windows allow, in segments of at most `largest` bytes, while `isReady`.
   */
  transmit(largest: number, isReady: () => boolean, nowNs: number): void {
    while (isReady()) {
      const unsent = this.#unsent;
      if (unsent < 0 || (unsent === 0 && (this.#finAt === null || this.next !== this.#finAt))) return;
      const length = unsent === 0 ? 0 : this.#worthSending(unsent, largest);
      if (unsent > 0 && length === 0) return;
      this.#send(length, nowNs);
    }
  }

  /** Bytes of the next segment; 0 where it is better to wait. */
  #worthSending(unsent: number, largest: number): number {
    const allowed = Math.min(this.#window, this.#congestion.window) - this.flight;
    let length = Math.floor(Math.min(unsent, allowed, largest));
    if (length >= unsent) return unsent;
    if (length >= this.mss) length -= length % this.mss;
    else if (length < this.#largestWindow / 2) return 0;
    return Math.max(0, length);
  }

  #send(length: number, nowNs: number): void {
    const from = this.flight;
    const end = advance(this.next, length);
    const fin = this.#finAt === end;
    const seq = this.next;
    this.next = fin ? advance(end, 1) : end;
    const isFresh = isAfter(this.next, this.sent);
    if (isFresh) this.sent = this.next;
    // What is sent again is not timed: one cannot know which of the two was acknowledged (Karn).
    if (isFresh && this.#timed === null && this.roundTrip.backoff === 0)
      this.#timed = { end: this.next, sentNs: nowNs };
    this.#emit(seq, this.#buffer.read(from, from + length), fin);
  }

  /** Sends the oldest segment once more. */
  #sendFirstAgain(): void {
    this.#timed = null;
    const length = Math.min(this.#buffer.length, this.mss);
    const end = advance(this.unacknowledged, length);
    this.#emit(this.unacknowledged, this.#buffer.read(0, length), this.#finAt === end);
  }

  /** Asks for the peer's window with a byte of data, or sends the little that it allows. */
  probe(): void {
    const length = Math.max(1, Math.min(this.#unsent, this.#window, this.mss));
    const end = advance(this.unacknowledged, length);
    if (isAfter(end, this.sent)) this.sent = end;
    this.#emit(this.unacknowledged, this.#buffer.read(0, length), false);
  }

  /** Nothing was acknowledged in time: everything from the oldest on is sent again, as windows allow. */
  timedOut(): void {
    this.roundTrip.timedOut();
    this.#congestion.timedOut(this.flight);
    this.#timed = null;
    this.next = this.unacknowledged;
  }

  /**
   * An acceptable acknowledgement (not beyond `sent`). `window` is unscaled; `isPure`: the segment has nothing else to say.
   * @returns bytes or control flags that it newly acknowledges
   */
  acknowledge(ack: number, window: number, seq: number, isPure: boolean, nowNs: number): number {
    const bytes = window << this.scale;
    const count = distance(ack, this.unacknowledged);
    if (count > 0) this.#advance(ack, count, nowNs);
    else if (count === 0 && isPure && bytes === this.#window && this.flight > 0) {
      if (this.#congestion.duplicate(this.flight, this.sent)) this.#sendFirstAgain();
    }
    if (count >= 0 && !isBefore(seq, this.#windowSeq) && (seq !== this.#windowSeq || !isBefore(ack, this.#windowAck))) {
      this.#window = bytes;
      this.#largestWindow = Math.max(this.#largestWindow, bytes);
      this.#windowSeq = seq;
      this.#windowAck = ack;
    }
    return Math.max(0, count);
  }

  #advance(ack: number, count: number, nowNs: number): void {
    if (this.#timed !== null && !isBefore(ack, this.#timed.end)) {
      this.roundTrip.sample(nowNs - this.#timed.sentNs);
      this.#timed = null;
    }
    this.roundTrip.progress();
    this.#buffer.drop(Math.min(count, this.#buffer.length));
    this.unacknowledged = ack;
    if (isBefore(this.next, ack)) this.next = ack;
    if (this.#congestion.acknowledged(ack, count) && this.flight > 0) this.#sendFirstAgain();
  }
}
