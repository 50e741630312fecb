// A forward reader over bytes that come in pieces, such as a decompressor's output.

/** Reads forward; each call says how many bytes it wants. */
export class ByteSource {
  /** How many bytes were read or skipped. */
  at = 0;
  private piece: Uint8Array = new Uint8Array(0);
  private used = 0;
  private readonly pieces: Iterator<Uint8Array, unknown>;

  constructor(pieces: Iterable<Uint8Array>) {
    this.pieces = pieces[Symbol.iterator]();
  }

  /** The next `count` bytes, or fewer where the source ends. The result is the caller's. */
  read(count: number): Uint8Array {
    if (this.piece.length - this.used >= count) {
      const part = this.piece.slice(this.used, this.used + count);
      this.used += count;
      this.at += count;
      return part;
    }
    // Grown as bytes arrive, so that a wrong size in a header takes no memory.
    let out = new Uint8Array(Math.min(count, 1 << 20));
    let have = 0;
    while (have < count && this.fill()) {
      const take = Math.min(count - have, this.piece.length - this.used);
      if (have + take > out.length) {
        const larger = new Uint8Array(Math.min(count, Math.max(out.length * 2, have + take)));
        larger.set(out.subarray(0, have));
        out = larger;
      }
      out.set(this.piece.subarray(this.used, this.used + take), have);
      this.used += take;
      have += take;
    }
    this.at += have;
    return have === out.length ? out : out.slice(0, have);
  }

  /** Steps over `count` bytes; returns how many there were. */
  skip(count: number): number {
    let left = count;
    while (left > 0 && this.fill()) {
      const take = Math.min(left, this.piece.length - this.used);
      this.used += take;
      left -= take;
    }
    this.at += count - left;
    return count - left;
  }

  /** Makes sure that an unread byte is there; false at the end. */
  private fill(): boolean {
    while (this.used === this.piece.length) {
      const next = this.pieces.next();
      if (next.done) return false;
      this.piece = next.value;
      this.used = 0;
    }
    return true;
  }
}
