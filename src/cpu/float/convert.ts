// Conversions between formats, to and from integers, and rounding to integral values (SDM Vol. 1, 4.9.1, 8.3.3, 11.4.1.6).
import { aborted, type FloatEnv } from './float-env.ts';
import { type Format, IE, PE, type Rounding } from './format.ts';
import { noteDenormal1, propagate1 } from './nan.ts';
import { roundAt, roundTo } from './rounding.ts';
import { bitLength, DEFAULT_NAN, FINITE, finite, QNAN, type Unpacked, ZERO } from './unpacked.ts';

/** To another format: quiets an SNaN (IE), raises DE for a denormal source, then what rounding raises. */
export function convert(env: FloatEnv, fmt: Format, a: Unpacked): Unpacked {
  const nan = propagate1(env, a);
  if (nan) return nan;
  noteDenormal1(env, a);
  if (aborted(env)) return DEFAULT_NAN;
  return a.kind === FINITE ? roundTo(env, fmt, a.sign, a.exp, a.sig) : a;
}

/** An integer of up to 64 bits as an unrounded value; integer zero is +0. */
export function fromInteger(value: bigint): Unpacked {
  return value < 0n ? finite(1, 0, -value) : finite(0, 0, value);
}

/**
 * To a signed integer of `bits` bits. What does not fit, infinities and NaNs raise IE alone and give the integer
 * indefinite, -2^(bits-1). Denormals raise no DE.
 */
export function toInteger(env: FloatEnv, a: Unpacked, bits: number, mode: Rounding): bigint {
  const limit = 1n << BigInt(bits - 1);
  if (a.kind === ZERO) return 0n;
  if (a.kind === FINITE && a.exp + bitLength(a.sig) <= bits + 1) {
    const magnitude = roundAt(env, mode, a.sign, a.exp, a.sig, 0);
    const value = a.sign ? -magnitude : magnitude;
    if (value >= -limit && value < limit) {
      if (env.inexact) env.flags |= PE;
      return value;
    }
  }
  env.roundedUp = false;
  env.flags |= IE;
  return -limit;
}

/** To an unsigned integer of `bits` bits; IE and 2^bits - 1 where it does not fit. */
export function toUnsigned(env: FloatEnv, a: Unpacked, bits: number, mode: Rounding): bigint {
  const limit = 1n << BigInt(bits);
  if (a.kind === ZERO) return 0n;
  if (a.kind === FINITE && a.exp + bitLength(a.sig) <= bits + 1) {
    const magnitude = roundAt(env, mode, a.sign, a.exp, a.sig, 0);
    if (magnitude === 0n || (a.sign === 0 && magnitude < limit)) {
      if (env.inexact) env.flags |= PE;
      return magnitude;
    }
  }
  env.roundedUp = false;
  env.flags |= IE;
  return limit - 1n;
}

/** To an integral value of the same format; keeps the sign of zero. `exact` suppresses PE (imm8 bit 3 of ROUNDPS). */
export function roundToIntegral(env: FloatEnv, a: Unpacked, mode: Rounding, exact: boolean): Unpacked {
  if (a.kind >= QNAN) return propagate1(env, a)!;
  env.roundedUp = false;
  if (a.kind !== FINITE || a.exp >= 0) return a;
  const magnitude = roundAt(env, mode, a.sign, a.exp, a.sig, 0);
  if (env.inexact && !exact) env.flags |= PE;
  return finite(a.sign, 0, magnitude);
}
