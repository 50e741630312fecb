// Data that came before what precedes it. Source: RFC 9293 section 3.10.7.4 (a segment ahead of RCV.NXT is kept).
import { advance, distance, isAfter, isBefore } from './sequence.ts';

/** Pieces kept at most: a sender that makes very small ones has to send them again. */
const MAX_PIECES = 256;

interface Piece {
  seq: number;
  bytes: Uint8Array;
}

const endOf = ({ seq, bytes }: Piece): number => advance(seq, bytes.length);

export class OutOfOrder {
  /** In order, without overlap. */
  readonly #pieces: Piece[] = [];

  get pieces(): number {
    return this.#pieces.length;
  }

  /** Keeps a copy of data within the receive window; of what is there already, the first copy stays. */
  add(seq: number, bytes: Uint8Array): void {
    let from = seq;
    const end = advance(seq, bytes.length);
    let at = 0;
    while (isBefore(from, end)) {
      const next = this.#pieces[at];
      if (next !== undefined && !isAfter(endOf(next), from)) {
        at++;
        continue;
      }
      if (next !== undefined && !isAfter(next.seq, from)) {
        from = endOf(next);
        at++;
        continue;
      }
      const to = next !== undefined && isBefore(next.seq, end) ? next.seq : end;
      if (this.#pieces.length >= MAX_PIECES) return;
      const piece = bytes.slice(distance(from, seq), distance(to, seq));
      this.#pieces.splice(at, 0, { seq: from, bytes: piece });
      from = to;
      at++;
    }
  }

  /** Takes out what follows directly on `next`; null where nothing does. */
  take(next: number): Uint8Array | null {
    for (;;) {
      const first = this.#pieces[0];
      if (first === undefined || isAfter(first.seq, next)) return null;
      this.#pieces.shift();
      const known = distance(next, first.seq);
      if (known < first.bytes.length) return known === 0 ? first.bytes : first.bytes.subarray(known);
    }
  }

  clear(): void {
    this.#pieces.length = 0;
  }
}
