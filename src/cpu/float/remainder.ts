// The partial remainders of FPREM and FPREM1 (SDM Vol. 2A), exact by construction.
import { aborted, type FloatEnv } from './float-env.ts';
import { EXTENDED } from './format.ts';
import { invalid, noteDenormals, propagate2 } from './nan.ts';
import { roundTo } from './rounding.ts';
import { bitLength, DEFAULT_NAN, INFINITE, type Unpacked, ZERO, ZEROS } from './unpacked.ts';

export interface PartialRemainder {
  value: Unpacked;
  /** Low bits of the quotient, or -1 if there is none: a NaN. */
  quotient: number;
  /** False: the exponents were 64 or more apart and only part of the way was gone (C2). */
  complete: boolean;
}

/**
 * @param nearest FPREM1: the quotient is rounded to nearest even (IEEE remainder); FPREM: truncated
 * One step lowers the exponent of the dividend by 32 to 63; which of them is the implementation's choice, and
 * this takes the largest that leaves a multiple of 32, as Intel's and AMD's units do.
 */
export function partialRemainder(env: FloatEnv, a: Unpacked, b: Unpacked, nearest: boolean): PartialRemainder {
  const nan = propagate2(env, a, b);
  if (nan) return { value: nan, quotient: -1, complete: true };
  if (a.kind === INFINITE || b.kind === ZERO) return { value: invalid(env), quotient: -1, complete: true };
  noteDenormals(env, a, b);
  if (aborted(env)) return { value: DEFAULT_NAN, quotient: -1, complete: true };
  if (a.kind === ZERO) return { value: a, quotient: 0, complete: true };
  if (b.kind === INFINITE) return { value: roundTo(env, EXTENDED, a.sign, a.exp, a.sig), quotient: 0, complete: true };

  const distance = a.exp + bitLength(a.sig) - (b.exp + bitLength(b.sig));
  if (distance < -1) return { value: roundTo(env, EXTENDED, a.sign, a.exp, a.sig), quotient: 0, complete: true };
  if (distance >= 64) return partial(env, a, b, distance);

  const exp = Math.min(a.exp, b.exp);
  const x = a.sig << BigInt(a.exp - exp);
  const y = b.sig << BigInt(b.exp - exp);
  let quotient = x / y;
  let rest = x - quotient * y;
  let sign = a.sign;
  if (nearest && (rest * 2n > y || (rest * 2n === y && (quotient & 1n) === 1n))) {
    quotient += 1n;
    rest = y - rest;
    sign ^= 1;
  }
  // An exact zero has the sign of the dividend.
  const value = rest === 0n ? ZEROS[a.sign] : roundTo(env, EXTENDED, sign, exp, rest);
  return { value, quotient: Number(quotient & 7n), complete: true };
}

function partial(env: FloatEnv, a: Unpacked, b: Unpacked, distance: number): PartialRemainder {
  const step = (distance & 31) | 32;
  const scaled = b.exp + distance - step;
  const exp = Math.min(a.exp, scaled);
  const rest = (a.sig << BigInt(a.exp - exp)) % (b.sig << BigInt(scaled - exp));
  const value = rest === 0n ? ZEROS[a.sign] : roundTo(env, EXTENDED, a.sign, exp, rest);
  return { value, quotient: 0, complete: false };
}
