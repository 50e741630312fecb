// The abstract builder's floating-point vector operations by lanes (WebAssembly specification 2.0, 4.3.3 "Floating-Point Operations"): JavaScript's
// numbers are binary64, and binary32 results follow from them by one more rounding (Figueroa, 1995: it is innocuous for these operations).

const buffer = new ArrayBuffer(16);
const words = new BigUint64Array(buffer);
const f32 = new Float32Array(buffer);
const f64 = new Float64Array(buffer);
const i32 = new Int32Array(buffer);

function put(v: bigint): void {
  words[0] = BigInt.asUintN(64, v);
  words[1] = v >> 64n;
}
const take = (): bigint => words[0] | (words[1] << 64n);

type Shape = 'f32x4' | 'f64x2';

function lanesOf(shape: Shape, v: bigint): number[] {
  put(v);
  return [...(shape === 'f32x4' ? f32 : f64)];
}

/** A whole number nearest to x, the even one of two. */
function nearest(x: number): number {
  if (!(Math.abs(x) < 2 ** 52)) return x;
  const down = Math.floor(x);
  const rest = x - down;
  const whole = rest > 0.5 || (rest === 0.5 && down % 2 !== 0) ? down + 1 : down;
  // a zero keeps the sign
  return whole === 0 ? x * 0 : whole;
}

const ARITHMETIC: Record<string, (a: number, b: number) => number> = {
  add: (a, b) => a + b,
  sub: (a, b) => a - b,
  mul: (a, b) => a * b,
  div: (a, b) => a / b,
  sqrt: a => Math.sqrt(a),
  abs: a => Math.abs(a),
  nearest,
  // biome-ignore lint/complexity/useMathMinMax: NaNs and zeros are other than Math.min's
  pmin: (a, b) => (b < a ? b : a),
  // biome-ignore lint/complexity/useMathMinMax: as above
  pmax: (a, b) => (a < b ? b : a),
};
const RELATIONS: Record<string, (a: number, b: number) => boolean> = {
  eq: (a, b) => a === b,
  ne: (a, b) => a !== b,
  lt: (a, b) => a < b,
  le: (a, b) => a <= b,
  gt: (a, b) => a > b,
  ge: (a, b) => a >= b,
};
const saturated = (x: number): number => Math.max(-(2 ** 31), Math.min(2 ** 31 - 1, Math.trunc(x) || 0));

/** Conversions fill lanes from below; the rest is 0. */
const CONVERSIONS: Record<string, (v: bigint) => void> = {
  'f64x2.promote_low_f32x4': v => f64.set(lanesOf('f32x4', v).slice(0, 2)),
  'f32x4.demote_f64x2_zero': v => f32.set([...lanesOf('f64x2', v), 0, 0]),
  'f64x2.convert_low_i32x4_s': v => {
    put(v);
    f64.set([...i32].slice(0, 2));
  },
  'f32x4.convert_i32x4_s': v => {
    put(v);
    f32.set([...i32]);
  },
  'i32x4.trunc_sat_f64x2_s_zero': v => i32.set([...lanesOf('f64x2', v).map(saturated), 0, 0]),
  'i32x4.trunc_sat_f32x4_s': v => i32.set(lanesOf('f32x4', v).map(saturated)),
};

/** Null where it is no such operation. NaNs come out as JavaScript makes them: no instruction lets one through. */
export function evaluateFloat(op: string, [a, b]: readonly bigint[]): bigint | null {
  const convert = CONVERSIONS[op];
  if (convert) {
    convert(a);
    return take();
  }
  const [shape, name] = op.split('.') as [Shape, string];
  if (shape !== 'f32x4' && shape !== 'f64x2') return null;
  const x = lanesOf(shape, a);
  const y = lanesOf(shape, b ?? 0n);
  const relation = RELATIONS[name];
  if (relation) {
    const bits = shape === 'f32x4' ? 32n : 64n;
    return x.reduce((v, lane, i) => (relation(lane, y[i]) ? v | (((1n << bits) - 1n) << (bits * BigInt(i))) : v), 0n);
  }
  (shape === 'f32x4' ? f32 : f64).set(x.map((lane, i) => ARITHMETIC[name](lane, y[i])));
  return take();
}
