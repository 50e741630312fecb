// The adaptive binary range decoder of LZMA (LZMA specification by I. Pavlov, "Range Decoder"), over plain 32-bit numbers.
// Methods for runs of bits copy the fields into locals and write them back once: that halves the time a bit takes.

const TOP_SHIFT = 24;

export class RangeDecoder {
  input: Uint8Array = new Uint8Array(0);
  /** Where the next byte is read. It may run past `end` on bad input; callers compare after every symbol. */
  at = 0;
  end = 0;
  // Signed, so that V8 keeps them small integers; compared as unsigned.
  private range = -1;
  private code = 0;

  /** Starts at `at`: one zero byte, then the first four bytes of code. False where the first byte is wrong. */
  start(input: Uint8Array, at: number, end: number): boolean {
    this.input = input;
    this.range = -1;
    this.code = (input[at + 1] << 24) | (input[at + 2] << 16) | (input[at + 3] << 8) | input[at + 4];
    this.at = at + 5;
    this.end = end;
    return at + 5 <= end && input[at] === 0;
  }

  /** True when nothing is left over, as it must be after the last symbol. */
  get finished(): boolean {
    return this.code === 0;
  }

  /** Takes the byte that the next bit would take anyway; at a chunk's end it belongs to the chunk. */
  normalize(): void {
    if (this.range >>> TOP_SHIFT === 0) {
      this.range <<= 8;
      this.code = (this.code << 8) | this.input[this.at++];
    }
  }

  /** One bit with the adaptive probability at `index`. */
  bit(probs: Uint16Array, index: number): number {
    this.normalize();
    const p = probs[index];
    const bound = Math.imul(this.range >>> 11, p);
    if (this.code >>> 0 < bound >>> 0) {
      this.range = bound;
      probs[index] = p + ((2048 - p) >>> 5);
      return 0;
    }
    this.range = (this.range - bound) | 0;
    this.code = (this.code - bound) | 0;
    probs[index] = p - (p >>> 5);
    return 1;
  }

  /** Bits from the most significant down, each with the probability its predecessors select; the result has `limit` as bit. */
  tree(probs: Uint16Array, base: number, limit: number): number {
    const input = this.input;
    let { range, code, at } = this;
    let symbol = 1;
    while (symbol < limit) {
      if (range >>> TOP_SHIFT === 0) {
        range <<= 8;
        code = (code << 8) | input[at++];
      }
      const p = probs[base + symbol];
      const bound = Math.imul(range >>> 11, p);
      if (code >>> 0 < bound >>> 0) {
        range = bound;
        probs[base + symbol] = p + ((2048 - p) >>> 5);
        symbol <<= 1;
      } else {
        range = (range - bound) | 0;
        code = (code - bound) | 0;
        probs[base + symbol] = p - (p >>> 5);
        symbol = (symbol << 1) | 1;
      }
    }
    this.range = range;
    this.code = code;
    this.at = at;
    return symbol;
  }

  /** A literal after a match: the byte at the last distance selects the probabilities until the first difference. */
  matchedLiteral(probs: Uint16Array, base: number, matchByte: number): number {
    const input = this.input;
    let { range, code, at } = this;
    let symbol = 1;
    let match = matchByte << 1;
    let offset = 0x100;
    while (symbol < 0x100) {
      const matchBit = match & offset;
      match <<= 1;
      const index = base + offset + matchBit + symbol;
      if (range >>> TOP_SHIFT === 0) {
        range <<= 8;
        code = (code << 8) | input[at++];
      }
      const p = probs[index];
      const bound = Math.imul(range >>> 11, p);
      if (code >>> 0 < bound >>> 0) {
        range = bound;
        probs[index] = p + ((2048 - p) >>> 5);
        symbol <<= 1;
        offset &= ~matchBit;
      } else {
        range = (range - bound) | 0;
        code = (code - bound) | 0;
        probs[index] = p - (p >>> 5);
        symbol = (symbol << 1) | 1;
        offset &= matchBit;
      }
    }
    this.range = range;
    this.code = code;
    this.at = at;
    return symbol & 0xff;
  }

  /** `count` bits from the least significant up, each with the probability its predecessors select. */
  reverseTree(probs: Uint16Array, base: number, count: number): number {
    let symbol = 1;
    let value = 0;
    for (let i = 0; i < count; i++) {
      const bit = this.bit(probs, base + symbol);
      symbol = (symbol << 1) | bit;
      value |= bit << i;
    }
    return value;
  }

  /** `count` bits of probability one half. */
  direct(count: number): number {
    let value = 0;
    for (let i = 0; i < count; i++) {
      this.normalize();
      this.range >>>= 1;
      this.code = (this.code - this.range) | 0;
      const borrow = this.code >> 31;
      this.code = (this.code + (this.range & borrow)) | 0;
      value = (value << 1) + (borrow + 1);
    }
    return value;
  }
}
