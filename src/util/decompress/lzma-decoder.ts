// The LZMA symbol decoder that .lzma, LZMA2 and so .xz share (LZMA specification by I. Pavlov).

import { RangeDecoder } from './range-decoder.ts';
import type { Window } from './window.ts';

// One array holds every probability; these are the places of the groups in it.
const IS_MATCH = 0; // [state 12][position 16]
const IS_REP = IS_MATCH + 192; // [state]
const IS_REP_G0 = IS_REP + 12;
const IS_REP_G1 = IS_REP_G0 + 12;
const IS_REP_G2 = IS_REP_G1 + 12;
const IS_REP0_LONG = IS_REP_G2 + 12; // [state][position]
const SLOT = IS_REP0_LONG + 192; // [length state 4][64]
const SPECIAL = SLOT + 256; // distances 4 to 127
const ALIGN = SPECIAL + 128;
const MATCH_LENGTH = ALIGN + 16;
const REP_LENGTH = MATCH_LENGTH + 514;
const LITERAL = REP_LENGTH + 514; // [context][0x300]

// Within a length coder.
const CHOICE2 = 1;
const LOW = 2;
const MID = LOW + 128;
const HIGH = MID + 128;

/** The longest match, by which decode() may pass its limit. */
export const MAX_MATCH = 273;

export type Stop = 'limit' | 'end-marker' | 'bad-distance' | 'input-ended';

export class LzmaDecoder {
  readonly coder = new RangeDecoder();
  private readonly window: Window;
  private probs = new Uint16Array(0);
  private literalContextBits = 0;
  private literalPositionMask = 0;
  private positionMask = 0;
  private state = 0;
  private readonly reps = new Int32Array(4);
  /** Bytes written since the dictionary was reset; its low bits choose probabilities. */
  private written = 0;

  constructor(window: Window) {
    this.window = window;
  }

  /** Takes the byte (pb * 5 + lp) * 9 + lc and resets the state. False where it is none. */
  setProperties(byte: number): boolean {
    if (byte >= 9 * 5 * 5) return false;
    const lc = byte % 9;
    const lp = Math.floor(byte / 9) % 5;
    this.literalContextBits = lc;
    this.literalPositionMask = (1 << lp) - 1;
    this.positionMask = (1 << Math.floor(byte / 45)) - 1;
    const count = LITERAL + (0x300 << (lc + lp));
    if (this.probs.length !== count) this.probs = new Uint16Array(count);
    this.resetState();
    return true;
  }

  resetState(): void {
    this.state = 0;
    this.reps.fill(0);
    this.probs.fill(1024);
  }

  /** Forgets what was written: no match may refer to it any more. */
  resetDictionary(): void {
    this.window.start = this.window.at;
    this.written = 0;
  }

  /** Counts bytes that were written to the window without this decoder (LZMA2's stored chunks). */
  noteStored(count: number): void {
    this.written += count;
  }

  /** Decodes symbols until `count` bytes are written (a last match may write MAX_MATCH - 1 more) or something stops it. */
  decode(count: number): Stop {
    const { coder, window, probs, positionMask, literalPositionMask, literalContextBits } = this;
    window.reserve(count + MAX_MATCH);
    const buffer = window.buffer;
    const begin = window.at;
    const base = this.written - begin;
    const limit = begin + count;
    let { state } = this;
    let [rep0, rep1, rep2, rep3] = this.reps;
    let at = begin;
    let stop: Stop = 'limit';
    while (at < limit) {
      if (coder.at > coder.end) {
        stop = 'input-ended';
        break;
      }
      const position = (base + at) & positionMask;
      if (coder.bit(probs, IS_MATCH + (state << 4) + position) === 0) {
        const previous = at > window.start ? buffer[at - 1] : 0;
        const high = ((base + at) & literalPositionMask) << literalContextBits;
        const context = LITERAL + 0x300 * (high + (previous >>> (8 - literalContextBits)));
        if (state < 7) {
          buffer[at++] = coder.tree(probs, context, 0x100);
          state = state < 4 ? 0 : state - 3;
        } else {
          buffer[at] = coder.matchedLiteral(probs, context, buffer[at - rep0 - 1]);
          at++;
          state = state < 10 ? state - 3 : state - 6;
        }
        continue;
      }
      let length: number;
      if (coder.bit(probs, IS_REP + state) === 0) {
        rep3 = rep2;
        rep2 = rep1;
        rep1 = rep0;
        length = this.length(MATCH_LENGTH, position);
        rep0 = this.distance(length);
        state = state < 7 ? 7 : 10;
        if (rep0 === -1) {
          stop = 'end-marker';
          break;
        }
      } else {
        if (coder.bit(probs, IS_REP_G0 + state) === 0) {
          if (coder.bit(probs, IS_REP0_LONG + (state << 4) + position) === 0) {
            const from = at - rep0 - 1;
            if (from < window.start || rep0 < 0) {
              stop = 'bad-distance';
              break;
            }
            buffer[at++] = buffer[from];
            state = state < 7 ? 9 : 11;
            continue;
          }
        } else {
          let distance = rep1;
          if (coder.bit(probs, IS_REP_G1 + state) !== 0) {
            if (coder.bit(probs, IS_REP_G2 + state) === 0) {
              distance = rep2;
            } else {
              distance = rep3;
              rep3 = rep2;
            }
            rep2 = rep1;
          }
          rep1 = rep0;
          rep0 = distance;
        }
        length = this.length(REP_LENGTH, position);
        state = state < 7 ? 8 : 11;
      }
      const from = at - rep0 - 1;
      // A negative distance is one of 2 GiB or more, which no window here reaches.
      if (from < window.start || rep0 < 0) {
        stop = 'bad-distance';
        break;
      }
      if (rep0 >= length && length > 24) buffer.copyWithin(at, from, from + length);
      else for (let i = 0; i < length; i++) buffer[at + i] = buffer[from + i];
      at += length;
    }
    if (stop === 'limit' && coder.at > coder.end) stop = 'input-ended';
    this.state = state;
    this.reps[0] = rep0;
    this.reps[1] = rep1;
    this.reps[2] = rep2;
    this.reps[3] = rep3;
    this.written += at - begin;
    window.at = at;
    return stop;
  }

  private length(base: number, position: number): number {
    const { coder, probs } = this;
    if (coder.bit(probs, base) === 0) return 2 - 8 + coder.tree(probs, base + LOW + (position << 3), 8);
    if (coder.bit(probs, base + CHOICE2) === 0) return 10 - 8 + coder.tree(probs, base + MID + (position << 3), 8);
    return 18 - 256 + coder.tree(probs, base + HIGH, 256);
  }

  /** Distance minus one as a signed number; -1 is the end marker. */
  private distance(length: number): number {
    const { coder, probs } = this;
    const group = length < 6 ? length - 2 : 3;
    const slot = coder.tree(probs, SLOT + (group << 6), 64) - 64;
    if (slot < 4) return slot;
    const bits = (slot >> 1) - 1;
    const high = (2 | (slot & 1)) << bits;
    // The reverse trees overlap as the format has them: slot 4's starts at SPECIAL, and index 0 of each is unused.
    if (slot < 14) return high + coder.reverseTree(probs, SPECIAL + high - slot, bits);
    return (high + (coder.direct(bits - 4) << 4) + coder.reverseTree(probs, ALIGN, 4)) | 0;
  }
}
