// Integer lane operations of MMX and SSE (SDM Vol. 2: the P... instructions), on whole vectors and without operands.
import type { Ops, Value, Vector } from './ops.ts';
import { type Lanes, repeat, zero } from './sse-operands.ts';

/** A lane operation that WebAssembly has as it is. */
export function direct(op: string): Lanes {
  return (o, x, y) => o.vec(op, [x, y]);
}

/** PANDN: ~dst & src. */
export const pandn: Lanes = (o, x, y) => o.vec('v128.andnot', [y, x]);

/** High halves of 32-bit products: PMULHW, PMULHUW. */
export function multiplyHigh(sign: 's' | 'u'): Lanes {
  const lanes = [0, 1, 2, 3, 4, 5, 6, 7].flatMap(i => [i * 4 + 2, i * 4 + 3]);
  return (o, x, y) =>
    o.vec(
      'i8x16.shuffle',
      [o.vec(`i32x4.extmul_low_i16x8_${sign}`, [x, y]), o.vec(`i32x4.extmul_high_i16x8_${sign}`, [x, y])],
      lanes,
    );
}

/** Products of the even 32-bit lanes. */
export const pmuludq: Lanes = (o, x, y) => {
  const low = repeat(o, 64, 0xffffffffn);
  return o.vec('i64x2.mul', [o.vec('v128.and', [x, low]), o.vec('v128.and', [y, low])]);
};
export const pmuldq: Lanes = (o, x, y) => {
  const even = (v: Vector) => o.vec('i64x2.shr_s', [o.vec('i64x2.shl', [v, o.const(32)]), o.const(32)]);
  return o.vec('i64x2.mul', [even(x), even(y)]);
};

export const pmaddwd: Lanes = (o, x, y) => o.vec('i32x4.dot_i16x8_s', [x, y]);

/** WebAssembly saturates -1 * -1 to 0x7fff, a value that nothing else gives; here it is 0x8000. */
export const pmulhrsw: Lanes = (o, x, y) => {
  const z = o.letVector(o.vec('i16x8.q15mulr_sat_s', [x, y]));
  return o.vec('v128.xor', [z, o.vec('i16x8.eq', [z, repeat(o, 16, 0x7fffn)])]);
};

/** Unsigned bytes of the destination times signed ones of the source, neighbours added with saturation. */
export const pmaddubsw: Lanes = (o, x, y) => {
  const even = o.vec('i16x8.mul', [
    o.vec('v128.and', [x, repeat(o, 16, 0xffn)]),
    o.vec('i16x8.shr_s', [o.vec('i16x8.shl', [y, o.const(8)]), o.const(8)]),
  ]);
  const odd = o.vec('i16x8.mul', [o.vec('i16x8.shr_u', [x, o.const(8)]), o.vec('i16x8.shr_s', [y, o.const(8)])]);
  return o.vec('i16x8.add_sat_s', [even, odd]);
};

/** |x - y| of unsigned bytes. */
export const byteDistance: Lanes = (o, x, y) =>
  o.vec('v128.or', [o.vec('i8x16.sub_sat_u', [x, y]), o.vec('i8x16.sub_sat_u', [y, x])]);

/** Sums of eight byte distances in each half. */
export const psadbw: Lanes = (o, x, y) => {
  const words = o.vec('i16x8.extadd_pairwise_i8x16_u', [byteDistance(o, x, y)]);
  const dwords = o.letVector(o.vec('i32x4.extadd_pairwise_i16x8_s', [words]));
  const sums = o.vec('i64x2.add', [dwords, o.vec('i64x2.shr_u', [dwords, o.const(32)])]);
  return o.vec('v128.and', [sums, repeat(o, 64, 0xffffn)]);
};

/** PHADDW, PHSUBD and others: `op` on the even and the odd lanes of both operands. */
export function horizontal(op: string, laneBytes: 2 | 4): Lanes {
  const pick = (odd: 0 | 1) => {
    const lanes: number[] = [];
    for (let at = odd * laneBytes; at < 32; at += 2 * laneBytes) for (let b = 0; b < laneBytes; b++) lanes.push(at + b);
    return lanes;
  };
  return (o, x, y) => o.vec(op, [o.vec('i8x16.shuffle', [x, y], pick(0)), o.vec('i8x16.shuffle', [x, y], pick(1))]);
}

/** PSIGN: negated where the source is negative, 0 where it is 0. */
export function psign(shape: 'i8x16' | 'i16x8' | 'i32x4'): Lanes {
  return (o, x, y) => {
    const negative = o.letVector(o.vec(`${shape}.gt_s`, [zero(o), y]));
    const signed = o.vec(`${shape}.sub`, [o.vec('v128.xor', [x, negative]), negative]);
    return o.vec('v128.andnot', [signed, o.vec(`${shape}.eq`, [y, zero(o)])]);
  };
}

/** Operations on the source alone: PABS and others. */
export function onSource(op: string): Lanes {
  return (o, _x, y) => o.vec(op, [y]);
}

/** The smallest word of the source and its index. */
export const phminposuw: Lanes = (o, _x, y) => {
  let low = y;
  for (const step of [2, 4, 8]) {
    const rotated = Array.from({ length: 16 }, (_, i) => (i + step) & 15);
    low = o.letVector(o.vec('i16x8.min_u', [low, o.vec('i8x16.shuffle', [low, low], rotated)]));
  }
  const where = o.un('ctz', o.vecToValue('i16x8.bitmask', [o.vec('i16x8.eq', [y, low])]));
  const smallest = o.vecToValue('i16x8.extract_lane_u', [low], 0);
  return o.vectorFrom(o.bin('or', smallest, o.bin('shl', where, o.const(16))), o.const(0));
};

/** Sums of distances between four bytes of the source and eight neighbourhoods of the destination. */
export function mpsadbw(o: Ops, x: Vector, y: Vector, imm: Value): Vector {
  const field = (shift: number, mask: number) => o.let(o.bin('and', o.bin('shl', imm, o.const(shift)), o.const(mask)));
  const block = field(2, 12); // imm[1:0] * 4
  const window = field(0, 4); // imm[2] * 4
  const iota = o.constVector(0x0706050403020100n, 0x0f0e0d0c0b0a0908n);
  const at = o.letVector(o.vec('i8x16.add', [iota, o.vec('i8x16.splat', [window])]));
  let sum = zero(o);
  for (let k = 0; k < 4; k++) {
    const offsets = o.vec('i8x16.add', [at, repeat(o, 8, BigInt(k))]);
    const a = o.letVector(o.vec('i8x16.swizzle', [x, offsets]));
    const same = o.vec('i8x16.splat', [o.bin('add', block, o.const(k))]);
    const b = o.letVector(o.vec('i8x16.swizzle', [y, same]));
    sum = o.letVector(o.vec('i16x8.add', [sum, o.vec('i16x8.extend_low_i8x16_u', [byteDistance(o, a, b)])]));
  }
  return sum;
}

// ---- shifts by one count for all lanes

type ShiftShape = 'i16x8' | 'i32x4' | 'i64x2';
const LANE_BITS: Record<ShiftShape, number> = { i16x8: 16, i32x4: 32, i64x2: 64 };

export type Shift = (o: Ops, x: Vector, count: Value) => Vector;

/** Counts beyond the lane's width give zeros. */
export function logicalShift(shape: ShiftShape, direction: 'shl' | 'shr_u'): Shift {
  return (o, x, count) =>
    o.selectVector(
      o.cmp('gt_u', count, o.const(LANE_BITS[shape] - 1)),
      zero(o),
      o.vec(`${shape}.${direction}`, [x, count]),
    );
}

/** Counts beyond the lane's width leave the sign alone. */
export function arithmeticShift(shape: 'i16x8' | 'i32x4'): Shift {
  const most = LANE_BITS[shape] - 1;
  return (o, x, count) =>
    o.vec(`${shape}.shr_s`, [x, o.select(o.cmp('gt_u', count, o.const(most)), o.const(most), count)]);
}

/** Counts that a vector source holds in its lower half. */
export function byVector(shift: Shift): Lanes {
  return (o, x, y) => shift(o, x, o.let(o.vectorLow(y)));
}

// ---- blends

/** Each lane from the source where the mask's lane has its sign set. */
export function blendBySign(o: Ops, x: Vector, y: Vector, mask: Vector, laneBits: 8 | 32 | 64): Vector {
  const shape = laneBits === 8 ? 'i8x16' : laneBits === 32 ? 'i32x4' : 'i64x2';
  return o.vec('v128.bitselect', [y, x, o.vec(`${shape}.shr_s`, [mask, o.const(laneBits - 1)])]);
}

/** All ones in each lane whose bit of the immediate is set. */
export function maskFromBits(o: Ops, bits: Value, shape: 'i16x8' | 'i32x4' | 'i64x2'): Vector {
  const laneBits = LANE_BITS[shape];
  let low = 0n;
  let high = 0n;
  for (let i = 0; i < 64 / laneBits; i++) {
    low |= (1n << BigInt(i)) << BigInt(i * laneBits);
    high |= (1n << BigInt(i + 64 / laneBits)) << BigInt(i * laneBits);
  }
  const each = o.constVector(low, high);
  return o.vec(`${shape}.eq`, [o.vec('v128.and', [o.vec(`${shape}.splat`, [bits]), each]), each]);
}

export function blendByBits(shape: 'i16x8' | 'i32x4' | 'i64x2') {
  return (o: Ops, x: Vector, y: Vector, imm: Value): Vector =>
    o.vec('v128.bitselect', [y, x, maskFromBits(o, imm, shape)]);
}
