// Lanes moved about by MMX and SSE: unpacks, shuffles by immediate or by vector, byte shifts, extraction and insertion
// (SDM Vol. 2: PUNPCK, PSHUF, SHUFPS, PALIGNR, PINSR, PEXTR, INSERTPS and their families).
import type { Operand, Ops, Value, Vector, Width } from './ops.ts';
import { maskFromBits } from './sse-integer.ts';
import { enterMmx, type Lanes, type LanesImmediate, mmxSource, repeat, writeMmx } from './sse-operands.ts';
import { waitForPending } from './x87-instructions.ts';

const IOTA_LOW = 0x0706050403020100n;
const IOTA_HIGH = 0x0f0e0d0c0b0a0908n;

function iota(o: Ops): Vector {
  return o.constVector(IOTA_LOW, IOTA_HIGH);
}

/** A fixed shuffle of 32 bytes: 0-15 the destination's, 16-31 the source's. */
export function fixedShuffle(bytes: readonly number[]): Lanes {
  return (o, x, y) => o.vec('i8x16.shuffle', [x, y], bytes);
}

/** Interleaves the lower (from = 0) or upper (from = 8) halves: PUNPCKLBW to PUNPCKHQDQ, UNPCKLPS and others. */
export function unpack(laneBytes: number, from: 0 | 8): Lanes {
  const bytes: number[] = [];
  for (let at = from; at < from + 8; at += laneBytes)
    for (const operand of [0, 16]) for (let b = 0; b < laneBytes; b++) bytes.push(operand + at + b);
  return fixedShuffle(bytes);
}

/** MOVSLDUP, MOVSHDUP, MOVDDUP: lanes of the source alone, by number. */
export function pickLanes(laneBytes: number, lanes: readonly number[]): Lanes {
  return fixedShuffle(lanes.flatMap(lane => Array.from({ length: laneBytes }, (_, b) => 16 + lane * laneBytes + b)));
}

/** PSHUFB: a source byte chooses a byte of the destination, or 0 with its top bit. @param lanes 16, or 8 for MMX */
export function pshufb(lanes: 16 | 8): Lanes {
  return (o, x, y) => o.vec('i8x16.swizzle', [x, o.vec('v128.and', [y, repeat(o, 8, BigInt(0x80 | (lanes - 1)))])]);
}

/** Two-bit fields first … first + count - 1 of the immediate, each at the bottom of its lane of a 64-bit value. */
function spreadFields(o: Ops, imm: Value, first: number, count: number, laneBits: number): Value {
  let sum: Value | null = null;
  for (let i = 0; i < count; i++) {
    const f = o.bin('and', o.bin('shr_u', imm, o.const(2 * (first + i))), o.const(3));
    const placed = o.bin('shl', f, o.const(i * laneBits));
    sum = sum !== null ? o.bin('or', sum, placed) : placed;
  }
  return sum!;
}

/** Byte indices for a swizzle from two fields that choose 32-bit lanes. */
function dwordIndices(o: Ops, imm: Value, first: number): Value {
  const fields = spreadFields(o, imm, first, 2, 32);
  return o.bin('add', o.bin('mul', fields, o.const(0x04040404)), o.const(0x0302010003020100n));
}

/** Byte indices from four fields that choose 16-bit lanes of one half. */
function wordIndices(o: Ops, imm: Value, half: 0 | 8): Value {
  const fields = spreadFields(o, imm, 0, 4, 16);
  const base = 0x0100010001000100n + BigInt(half) * 0x0101010101010101n;
  return o.bin('add', o.bin('mul', fields, o.const(0x0202)), o.const(base));
}

export const pshufd: LanesImmediate = (o, _x, y, imm) =>
  o.vec('i8x16.swizzle', [y, o.vectorFrom(dwordIndices(o, imm, 0), dwordIndices(o, imm, 2))]);
export const pshuflw: LanesImmediate = (o, _x, y, imm) =>
  o.vec('i8x16.swizzle', [y, o.vectorFrom(wordIndices(o, imm, 0), o.const(IOTA_HIGH))]);
export const pshufhw: LanesImmediate = (o, _x, y, imm) =>
  o.vec('i8x16.swizzle', [y, o.vectorFrom(o.const(IOTA_LOW), wordIndices(o, imm, 8))]);

export const shufps: LanesImmediate = (o, x, y, imm) => {
  const none = o.const(-1); // an index beyond the vector gives 0
  return o.vec('v128.or', [
    o.vec('i8x16.swizzle', [x, o.vectorFrom(dwordIndices(o, imm, 0), none)]),
    o.vec('i8x16.swizzle', [y, o.vectorFrom(none, dwordIndices(o, imm, 2))]),
  ]);
};

export const shufpd: LanesImmediate = (o, x, y, imm) => {
  const chosen = (v: Vector, bit: number) =>
    o.select(o.cmp('ne', o.bin('and', imm, o.const(bit)), o.const(0)), o.vectorHigh(v), o.vectorLow(v));
  return o.vectorFrom(chosen(x, 1), chosen(y, 2));
};

/** PALIGNR: bytes imm … imm + 15 of destination and source, the source below. */
export const palignr: LanesImmediate = (o, x, y, imm) => {
  const from = o.letVector(o.vec('i8x16.add_sat_u', [iota(o), o.vec('i8x16.splat', [imm])]));
  return o.vec('v128.or', [
    o.vec('i8x16.swizzle', [y, from]),
    o.vec('i8x16.swizzle', [x, o.vec('i8x16.sub', [from, repeat(o, 8, 16n)])]),
  ]);
};
/** The 64-bit form has both operands in one vector. */
export const palignrMmx: LanesImmediate = (o, x, y, imm) =>
  psrldq(o, o.vectorFrom(o.vectorLow(y), o.vectorLow(x)), imm);

/** Whole-register shifts by bytes. */
export function psrldq(o: Ops, x: Vector, count: Value): Vector {
  return o.vec('i8x16.swizzle', [x, o.vec('i8x16.add_sat_u', [iota(o), o.vec('i8x16.splat', [count])])]);
}
export function pslldq(o: Ops, x: Vector, count: Value): Vector {
  const clamped = o.select(o.cmp('gt_u', count, o.const(15)), o.const(16), count);
  return o.vec('i8x16.swizzle', [x, o.vec('i8x16.sub', [iota(o), o.vec('i8x16.splat', [clamped])])]);
}

// ---- single lanes

type LaneWidth = 8 | 16 | 32 | 64;
const SHAPES: Record<LaneWidth, 'i8x16' | 'i16x8' | 'i32x4' | 'i64x2'> = {
  8: 'i8x16',
  16: 'i16x8',
  32: 'i32x4',
  64: 'i64x2',
};

/** The lane that the immediate's low bits name. */
function extractLane(o: Ops, x: Vector, laneBits: LaneWidth, lanes: number, imm: Value): Value {
  const first = o.bin('mul', o.bin('and', imm, o.const(lanes - 1)), o.const(laneBits / 8));
  return o.zext(laneBits, o.vectorLow(psrldq(o, x, first)));
}

/** x with one lane replaced by a value. */
function insertLane(o: Ops, x: Vector, laneBits: LaneWidth, lanes: number, imm: Value, v: Value): Vector {
  const shape = SHAPES[laneBits];
  let low = 0n;
  let high = 0n;
  const half = 64 / laneBits;
  for (let i = 0; i < half; i++) {
    low |= BigInt(i) << BigInt(i * laneBits);
    high |= BigInt(i + half) << BigInt(i * laneBits);
  }
  const index = o.vec(`${shape}.splat`, [o.bin('and', imm, o.const(lanes - 1))]);
  const mask = o.vec(`${shape}.eq`, [index, o.constVector(low, high)]);
  return o.vec('v128.bitselect', [o.vec(`${shape}.splat`, [v]), x, mask]);
}

/** PEXTRB, PEXTRW, PEXTRD, PEXTRQ, EXTRACTPS: a register destination is cleared above the lane. @param lane null: 32 or 64 by size */
export function extract(lane: 8 | 16 | 32 | null) {
  return (o: Ops, w: Width, dst: Operand, src: Operand, imm: Operand): void => {
    const bits = lane ?? w;
    const v = o.let(extractLane(o, o.readVector(src, 128), bits, 128 / bits, o.read(imm, 8)));
    o.write(dst, dst.kind === 'mem' || bits === 64 ? bits : 32, v);
  };
}

/** PINSRB, PINSRW, PINSRD, PINSRQ. */
export function insert(lane: 8 | 16 | null) {
  return (o: Ops, w: Width, dst: Operand, src: Operand, imm: Operand): void => {
    const bits = lane ?? w;
    const v = o.read(src, bits);
    o.writeVector(dst, 128, insertLane(o, o.readVector(dst, 128), bits, 128 / bits, o.read(imm, 8), v));
  };
}

export function pextrwMmx(o: Ops, _w: Width, dst: Operand, src: Operand, imm: Operand): void {
  waitForPending(o);
  const v = o.let(extractLane(o, mmxSource(o, src), 16, 4, o.read(imm, 8)));
  enterMmx(o);
  o.write(dst, 32, v);
}
export function pinsrwMmx(o: Ops, _w: Width, dst: Operand, src: Operand, imm: Operand): void {
  waitForPending(o);
  const v = o.read(src, 16);
  const z = o.let(o.vectorLow(insertLane(o, mmxSource(o, dst), 16, 4, o.read(imm, 8), v)));
  enterMmx(o);
  writeMmx(o, dst, z);
}

/** INSERTPS: imm[7:6] the source's lane (a register's), imm[5:4] the destination's, imm[3:0] lanes to clear. */
export function insertps(o: Ops, _w: Width, dst: Operand, src: Operand, imm: Operand): void {
  const i = o.let(o.read(imm, 8));
  const v =
    src.kind === 'mem' ? o.read(src, 32) : extractLane(o, o.readVector(src, 128), 32, 4, o.bin('shr_u', i, o.const(6)));
  const inserted = insertLane(o, o.readVector(dst, 128), 32, 4, o.bin('shr_u', i, o.const(4)), v);
  o.writeVector(dst, 128, o.vec('v128.andnot', [inserted, maskFromBits(o, i, 'i32x4')]));
}

/** PMOVMSKB, MOVMSKPS, MOVMSKPD. */
export function signMask(shape: 'i8x16' | 'i32x4' | 'i64x2') {
  return (o: Ops, _w: Width, dst: Operand, src: Operand): void =>
    o.write(dst, 32, o.vecToValue(`${shape}.bitmask`, [o.readVector(src, 128)]));
}
export function pmovmskbMmx(o: Ops, _w: Width, dst: Operand, src: Operand): void {
  waitForPending(o);
  const v = o.let(o.zext(8, o.vecToValue('i8x16.bitmask', [mmxSource(o, src)])));
  enterMmx(o);
  o.write(dst, 32, v);
}

/** PMOVSX, PMOVZX: the low lanes widened in steps of two. @param steps lane widths on the way, e.g. [8, 16, 32] for PMOVSXBD */
export function widen(sign: 's' | 'u', steps: readonly LaneWidth[]) {
  const memory = (128 * steps[0]) / steps[steps.length - 1];
  return (o: Ops, _w: Width, dst: Operand, src: Operand): void => {
    let v = o.readVector(src, memory as 64 | 32 | 16);
    for (let i = 1; i < steps.length; i++)
      v = o.vec(`${SHAPES[steps[i]]}.extend_low_${SHAPES[steps[i - 1]]}_${sign}`, [v]);
    o.writeVector(dst, 128, v);
  };
}
