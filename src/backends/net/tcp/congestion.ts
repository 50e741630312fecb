// How much may be under way: slow start, congestion avoidance and recovery from loss. Sources: RFC 5681, RFC 6582 (NewReno), RFC 6928. A guest's
// device has room or not and loses nothing, but a switch between guests drops what does not fit.
import { isAfter } from './sequence.ts';

const DUPLICATES = 3;
const INITIAL_SEGMENTS = 10;

export class Congestion {
  readonly #mss: number;
  #window: number;
  #threshold = Number.POSITIVE_INFINITY;
  #duplicates = 0;
  /** While it recovers: what was sent when the loss was noticed. */
  #recover: number | null = null;

  constructor(mss: number) {
    this.#mss = mss;
    this.#window = INITIAL_SEGMENTS * mss;
  }

  /** Bytes that may be under way. */
  get window(): number {
    return this.#window;
  }

  /**
   * `count` new bytes were acknowledged, up to `ack`. True where the first segment that is still missing is to be sent again at once (a partial
   * acknowledgement during recovery).
   */
  acknowledged(ack: number, count: number): boolean {
    this.#duplicates = 0;
    if (this.#recover !== null) {
      if (isAfter(this.#recover, ack)) {
        this.#window = Math.max(this.#mss, this.#window - count + this.#mss);
        return true;
      }
      this.#recover = null;
      this.#window = this.#threshold;
      return false;
    }
    this.#window +=
      this.#window < this.#threshold ? Math.min(count, 2 * this.#mss) : (this.#mss * this.#mss) / this.#window;
    return false;
  }

  /** The same acknowledgement came again. True where that means loss: the first missing segment is to be sent again. */
  duplicate(flight: number, sent: number): boolean {
    this.#duplicates++;
    if (this.#recover !== null) {
      this.#window += this.#mss;
      return false;
    }
    if (this.#duplicates !== DUPLICATES) return false;
    this.#recover = sent;
    this.#threshold = Math.max(flight / 2, 2 * this.#mss);
    this.#window = this.#threshold + DUPLICATES * this.#mss;
    return true;
  }

  /** Nothing was acknowledged in time. */
  timedOut(flight: number): void {
    this.#threshold = Math.max(flight / 2, 2 * this.#mss);
    this.#window = this.#mss;
    this.#recover = null;
    this.#duplicates = 0;
  }
}
