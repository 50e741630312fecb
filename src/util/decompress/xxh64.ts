// XXH64 (xxHash specification), of which zstd keeps the low 32 bits as checksum. 64-bit values are pairs of 32-bit numbers,
// since BigInt is too slow for tens of megabytes: lane n has its low half at 2n and its high half at 2n + 1.

const P1 = [0x85ebca87, 0x9e3779b1];
const P2 = [0x27d4eb4f, 0xc2b2ae3d];
const P3 = [0x9e3779f9, 0x165667b1];
const P4 = [0xc2b2ae63, 0x85ebca77];
const P5 = [0x165667c5, 0x27d4eb2f];

/** A running XXH64 with seed 0. */
export class Xxh64 {
  /** The four accumulators, then one lane for results. */
  private readonly v = new Int32Array(10);
  private readonly pending = new Uint8Array(32);
  private pendingLength = 0;
  private length = 0;

  constructor() {
    const { v } = this;
    this.load(0, P1);
    this.addConstant(0, P2);
    this.load(1, P2);
    this.load(2, [0, 0]);
    this.load(3, [-P1[0] | 0, ~P1[1] | 0]);
    v[8] = v[9] = 0;
  }

  add(bytes: Uint8Array): void {
    this.length += bytes.length;
    let at = 0;
    if (this.pendingLength > 0) {
      at = Math.min(32 - this.pendingLength, bytes.length);
      this.pending.set(bytes.subarray(0, at), this.pendingLength);
      this.pendingLength += at;
      if (this.pendingLength < 32) return;
      this.stripe(this.pending, 0);
      this.pendingLength = 0;
    }
    for (; at + 32 <= bytes.length; at += 32) this.stripe(bytes, at);
    this.pending.set(bytes.subarray(at));
    this.pendingLength = bytes.length - at;
  }

  /** The low 32 bits, unsigned. Nothing can be added after it. */
  finish(): number {
    const { v, pending } = this;
    const result = 4;
    if (this.length >= 32) {
      v[8] = v[9] = 0;
      for (const [lane, bits] of [1, 7, 12, 18].entries()) {
        const copy = [v[2 * lane], v[2 * lane + 1]];
        this.rotate(lane, bits);
        this.addConstant(result, [v[2 * lane], v[2 * lane + 1]]);
        this.load(lane, copy);
      }
      for (let lane = 0; lane < 4; lane++) {
        // Each accumulator goes through one round of its own, starting at zero.
        const [low, high] = [v[2 * lane], v[2 * lane + 1]];
        this.load(lane, [0, 0]);
        this.round(lane, low, high);
        this.xor(result, v[2 * lane], v[2 * lane + 1]);
        this.multiply(result, P1);
        this.addConstant(result, P4);
      }
    } else {
      this.load(result, P5);
    }
    this.addConstant(result, [this.length | 0, Math.floor(this.length / 2 ** 32)]);
    let at = 0;
    const u32 = (i: number) => pending[i] | (pending[i + 1] << 8) | (pending[i + 2] << 16) | (pending[i + 3] << 24);
    for (; at + 8 <= this.pendingLength; at += 8) {
      this.load(0, [0, 0]);
      this.round(0, u32(at), u32(at + 4));
      this.xor(result, v[0], v[1]);
      this.rotate(result, 27);
      this.multiply(result, P1);
      this.addConstant(result, P4);
    }
    if (at + 4 <= this.pendingLength) {
      this.load(0, [u32(at), 0]);
      this.multiply(0, P1);
      this.xor(result, v[0], v[1]);
      this.rotate(result, 23);
      this.multiply(result, P2);
      this.addConstant(result, P3);
      at += 4;
    }
    for (; at < this.pendingLength; at++) {
      this.load(0, [pending[at], 0]);
      this.multiply(0, P5);
      this.xor(result, v[0], v[1]);
      this.rotate(result, 11);
      this.multiply(result, P1);
    }
    this.xor(result, v[9] >>> 1, 0); // h ^= h >> 33
    this.multiply(result, P2);
    this.xor(result, (v[9] << 3) | (v[8] >>> 29), v[9] >>> 29); // h ^= h >> 29
    this.multiply(result, P3);
    return (v[8] ^ v[9]) >>> 0; // h ^= h >> 32
  }

  private stripe(bytes: Uint8Array, at: number): void {
    for (let lane = 0; lane < 4; lane++) {
      const i = at + 8 * lane;
      const low = bytes[i] | (bytes[i + 1] << 8) | (bytes[i + 2] << 16) | (bytes[i + 3] << 24);
      const high = bytes[i + 4] | (bytes[i + 5] << 8) | (bytes[i + 6] << 16) | (bytes[i + 7] << 24);
      this.round(lane, low, high);
    }
  }

  /** lane = rotate(lane + input * P2, 31) * P1 */
  private round(lane: number, low: number, high: number): void {
    const { v } = this;
    const l = 2 * lane;
    const productHigh = (multiplyHigh(low, P2[0]) + Math.imul(low, P2[1]) + Math.imul(high, P2[0])) | 0;
    const sum = (v[l] >>> 0) + (Math.imul(low, P2[0]) >>> 0);
    const sumLow = sum | 0;
    const sumHigh = (v[l + 1] + productHigh + (sum > 0xffffffff ? 1 : 0)) | 0;
    const rotatedLow = (sumLow << 31) | (sumHigh >>> 1);
    const rotatedHigh = (sumHigh << 31) | (sumLow >>> 1);
    v[l] = Math.imul(rotatedLow, P1[0]);
    v[l + 1] = multiplyHigh(rotatedLow, P1[0]) + Math.imul(rotatedLow, P1[1]) + Math.imul(rotatedHigh, P1[0]);
  }

  private load(lane: number, [low, high]: readonly number[]): void {
    this.v[2 * lane] = low;
    this.v[2 * lane + 1] = high;
  }

  private addConstant(lane: number, [low, high]: readonly number[]): void {
    const { v } = this;
    const sum = (v[2 * lane] >>> 0) + (low >>> 0);
    v[2 * lane] = sum;
    v[2 * lane + 1] = v[2 * lane + 1] + high + (sum > 0xffffffff ? 1 : 0);
  }

  private multiply(lane: number, [low, high]: readonly number[]): void {
    const { v } = this;
    const l = v[2 * lane];
    v[2 * lane + 1] = multiplyHigh(l, low) + Math.imul(l, high) + Math.imul(v[2 * lane + 1], low);
    v[2 * lane] = Math.imul(l, low);
  }

  private rotate(lane: number, bits: number): void {
    const { v } = this;
    const [low, high] = [v[2 * lane], v[2 * lane + 1]];
    v[2 * lane] = (low << bits) | (high >>> (32 - bits));
    v[2 * lane + 1] = (high << bits) | (low >>> (32 - bits));
  }

  private xor(lane: number, low: number, high: number): void {
    this.v[2 * lane] ^= low;
    this.v[2 * lane + 1] ^= high;
  }
}

/** The upper 32 bits of the product of two unsigned 32-bit numbers. */
function multiplyHigh(a: number, b: number): number {
  const [aLow, aHigh, bLow, bHigh] = [a & 0xffff, a >>> 16, b & 0xffff, b >>> 16];
  const low = Math.imul(aLow, bLow) >>> 0;
  const middle = (Math.imul(aHigh, bLow) >>> 0) + (low >>> 16);
  const middle2 = (Math.imul(aLow, bHigh) >>> 0) + (middle & 0xffff);
  return (Math.imul(aHigh, bHigh) + Math.floor(middle / 65536) + Math.floor(middle2 / 65536)) | 0;
}
