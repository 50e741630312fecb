// The x86 branch filter of xz and LZMA (LZMA SDK "BCJ"; .xz file format, filter id 4), in the decoding direction: relative
// targets of CALL and JMP were made absolute before compression, since absolute targets repeat; this makes them relative.

/** How far back in the last bytes an opcode byte or a suspicious byte may stand, by the mask of recent opcode bytes. */
const MASK_ALLOWED = [true, true, true, false, true, false, false, false];
const MASK_BYTE = [0, 1, 2, 2, 3, 3, 3, 3];

const extends8 = (byte: number) => byte === 0 || byte === 0xff;

export class X86Filter {
  /** The stream offset of the next byte, modulo 2^32. */
  private position: number;
  private mask = 0;

  constructor(start = 0) {
    this.position = start;
  }

  /** Filters in place and returns how many bytes are final; the rest (at most 4) has to stand before the next piece. */
  run(bytes: Uint8Array): number {
    if (bytes.length <= 4) return 0;
    const limit = bytes.length - 4;
    let { mask } = this;
    let last = -1;
    let i = 0;
    for (; i < limit; i++) {
      if ((bytes[i] & 0xfe) !== 0xe8) continue;
      const gap = i - last;
      last = i;
      if (gap > 3) {
        mask = 0;
      } else {
        mask = (mask << (gap - 1)) & 7;
        if (mask !== 0 && (!MASK_ALLOWED[mask] || extends8(bytes[i + 4 - MASK_BYTE[mask]]))) {
          mask = ((mask << 1) | 1) & 7;
          continue;
        }
      }
      if (!extends8(bytes[i + 4])) {
        mask = ((mask << 1) | 1) & 7;
        continue;
      }
      const next = (this.position + i + 5) | 0;
      const source = bytes[i + 1] | (bytes[i + 2] << 8) | (bytes[i + 3] << 16) | (bytes[i + 4] << 24);
      let target = (source - next) | 0;
      if (mask !== 0) {
        // The encoder could not tell such a target from one it leaves alone, and flipped the bits below it.
        const shift = MASK_BYTE[mask] * 8;
        if (extends8((target >>> (24 - shift)) & 255)) {
          target = ((target ^ ((2 ** (32 - shift) - 1) | 0)) - next) | 0;
        }
      }
      bytes[i + 1] = target;
      bytes[i + 2] = target >> 8;
      bytes[i + 3] = target >> 16;
      bytes[i + 4] = target & (1 << 24) ? 0xff : 0;
      i += 4;
      mask = 0;
      last = i;
    }
    const gap = i - last;
    this.mask = gap > 3 ? 0 : (mask << (gap - 1)) & 7;
    this.position = (this.position + i) | 0;
    return i;
  }
}
