// Elementary functions on BigInt fixed point, far beyond the 64 bits that the x87 keeps, so that one final rounding is right
// except where the true value lies within 2^-60 ulp of a boundary. Taylor series after argument reduction.
import { integerSqrt } from './arithmetic.ts';
import { bitLength } from './unpacked.ts';

/** Fraction bits of fixed-point numbers. Arguments down to 2^-120 leave 200 significant bits. */
export const FRACTION_BITS = 320;
const F = BigInt(FRACTION_BITS);
export const ONE_FIXED = 1n << F;

/** The x87 reduces the arguments of FSIN, FCOS and FPTAN with pi truncated to 66 bits (SDM Vol. 1, 8.3.8): value * 2^66. */
const PI_66 = 0xc90fdaa22168c234cn;
const PI_66_FRACTION = 66;

/** sig * 2^exp as fixed point, truncated. */
export function toFixed(exp: number, sig: bigint): bigint {
  const shift = exp + FRACTION_BITS;
  return shift >= 0 ? sig << BigInt(shift) : sig >> BigInt(-shift);
}

const times = (a: bigint, b: bigint): bigint => (a * b) >> F;

/** atan(1/n) for a small integer n. */
function arctanInverse(n: bigint): bigint {
  const square = n * n;
  let power = ONE_FIXED / n;
  let sum = power;
  for (let k = 3n, negative = true; power !== 0n; k += 2n, negative = !negative) {
    power /= square;
    sum += negative ? -(power / k) : power / k;
  }
  return sum;
}

/** atanh(t) for |t| well below 1. */
function arctanhFixed(t: bigint): bigint {
  const square = times(t, t);
  let power = t;
  let sum = t;
  // Arithmetic shifts round a negative power to -1, never to 0.
  for (let k = 3n; power > 1n || power < -1n; k += 2n) {
    power = times(power, square);
    sum += power / k;
  }
  return sum;
}

/** Machin's formula. */
export const PI = 4n * (4n * arctanInverse(5n) - arctanInverse(239n));
export const LN2 = 2n * arctanhFixed(ONE_FIXED / 3n);
/** 1 / ln 2 */
export const LOG2E = (ONE_FIXED << F) / LN2;

export interface Reduced {
  /** Which multiple of pi/2 was taken away, modulo 4. */
  quadrant: number;
  /** What is left, fixed point, |rest| <= pi/4. */
  rest: bigint;
}

/** |x| = sig * 2^exp, below 2^63 and not below 2^-120, less the nearest multiple of the x87's pi/2. */
export function reduceAngle(exp: number, sig: bigint): Reduced {
  const x = toFixed(exp, sig);
  const half = PI_66 << BigInt(FRACTION_BITS - PI_66_FRACTION - 1);
  const multiple = (x + (half >> 1n)) / half;
  return { quadrant: Number(multiple & 3n), rest: x - multiple * half };
}

export function sinFixed(x: bigint): bigint {
  const square = times(x, x);
  let term = x;
  let sum = x;
  for (let k = 2n; term > 1n || term < -1n; k += 2n) {
    term = -times(term, square) / (k * (k + 1n));
    sum += term;
  }
  return sum;
}

export function cosFixed(x: bigint): bigint {
  const square = times(x, x);
  let term = ONE_FIXED;
  let sum = term;
  for (let k = 1n; term > 1n || term < -1n; k += 2n) {
    term = -times(term, square) / (k * (k + 1n));
    sum += term;
  }
  return sum;
}

/** atan(q) for 0 <= q <= 1, the argument halved three times first. */
export function atanFixed(q: bigint): bigint {
  const HALVINGS = 3n;
  let x = q;
  for (let i = 0n; i < HALVINGS; i++) {
    const root = integerSqrt((ONE_FIXED << F) + x * x);
    x = (x << F) / (ONE_FIXED + root);
  }
  const square = times(x, x);
  let power = x;
  let sum = x;
  for (let k = 3n; power > 1n || power < -1n; k += 2n) {
    power = -times(power, square);
    sum += power / k;
  }
  return sum << HALVINGS;
}

/** ln(1 + x) for 1 + x near 1, from t = x / (2 + x). */
export function logOnePlusFixed(x: bigint): bigint {
  return 2n * arctanhFixed((x << F) / (2n * ONE_FIXED + x));
}

/** sqrt(2) to a few digits: where the significand is halved so that no logarithm cancels. */
const SPLIT = (ONE_FIXED * 1414n) / 1000n;

/** log2(sig * 2^exp); exact (an integer) for powers of two. */
export function log2Fixed(exp: number, sig: bigint): bigint {
  let exponent = exp + bitLength(sig) - 1;
  let significand = toFixed(1 - bitLength(sig), sig);
  if (significand > SPLIT) {
    significand >>= 1n;
    exponent++;
  }
  return BigInt(exponent) * ONE_FIXED + times(logOnePlusFixed(significand - ONE_FIXED), LOG2E);
}

/** 2^x - 1 for |x| <= 1. */
export function exp2MinusOneFixed(x: bigint): bigint {
  const z = times(x, LN2);
  let term = z;
  let sum = z;
  for (let k = 2n; term > 1n || term < -1n; k++) {
    term = times(term, z) / k;
    sum += term;
  }
  return sum;
}
