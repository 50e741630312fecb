// RCPPS, RCPSS, RSQRTPS, RSQRTSS (SDM Vol. 2B). Intel promises a relative error of at most 1.5 * 2^-12 and no more, and
// processors differ; here the exact value is rounded to 12 bits, to nearest, which stays within 2^-12.
// Neither rounding control nor exceptions matter: denormal sources count as zero, results below the normal range are zero.
import { integerSqrt } from './arithmetic.ts';

const EXPONENT = 0x7f800000;
const FRACTION = 0x7fffff;
const INDEFINITE = 0xffc00000;

/** 12-bit significand of 1 / (significand / 2^23), and of its square root; computed once each. */
function roundedReciprocal(significand: number): number {
  // 2^11 <= result <= 2^12 for a value in (1/2, 1].
  return Math.round((2 ** 12 * 2 ** 23) / significand);
}

/** @param a binary32 bits */
export function rcp32(a: number): number {
  const sign = a >= 0x80000000 ? 0x80000000 : 0;
  const exponent = (a & EXPONENT) >>> 23;
  const fraction = a & FRACTION;
  if (exponent === 0xff) return fraction === 0 ? sign : (a | 0x400000) >>> 0;
  if (exponent === 0) return sign + EXPONENT;
  // 1 / (m * 2^e) with m in [1, 2): significand in (1/2, 1], of 12 bits after scaling by 2^12.
  const significand = roundedReciprocal(fraction | 0x800000);
  const resultExponent = 253 - exponent;
  if (significand === 0x1000) return sign + Math.max(resultExponent + 1, 0) * 0x800000;
  return resultExponent <= 0 ? sign : sign + resultExponent * 0x800000 + (significand - 0x800) * 0x1000;
}

/** @param a binary32 bits */
export function rsqrt32(a: number): number {
  const negative = a >= 0x80000000;
  const exponent = (a & EXPONENT) >>> 23;
  const fraction = a & FRACTION;
  if (exponent === 0xff && fraction !== 0) return (a | 0x400000) >>> 0;
  if (exponent === 0) return (negative ? 0x80000000 : 0) + EXPONENT;
  if (negative) return INDEFINITE;
  if (exponent === 0xff) return 0;
  // With an even power of two aside, m in [1, 4): 1 / sqrt(m) in (1/2, 1].
  const odd = (exponent & 1) === 0 ? 1 : 0;
  const m = BigInt((fraction | 0x800000) * (odd ? 2 : 1));
  // floor(sqrt(2^49 / m)) is twice the 12-bit significand plus its rounding bit.
  const doubled = Number(integerSqrt((1n << 49n) / m));
  const significand = (doubled + 1) >> 1;
  const resultExponent = 126 - ((exponent - 127 - odd) >> 1);
  if (significand === 0x1000) return (resultExponent + 1) * 0x800000;
  return resultExponent * 0x800000 + (significand - 0x800) * 0x1000;
}
