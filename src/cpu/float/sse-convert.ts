// One lane of the CVT family (SDM Vol. 1, 11.4.1.6; Vol. 2A "CVT..."). Integers are signed; "t" forms truncate.
import { convert, fromInteger, toInteger } from './convert.ts';
import type { FloatEnv } from './float-env.ts';
import { BINARY32, BINARY64, TOWARD_ZERO } from './format.ts';
import { roundTo } from './rounding.ts';
import { pack32, pack64, unpack32, unpack64, ZERO } from './unpacked.ts';

export function f32ToF64(env: FloatEnv, a: number): bigint {
  return pack64(convert(env, BINARY64, unpack32(env, a)));
}

export function f64ToF32(env: FloatEnv, a: bigint): number {
  return pack32(convert(env, BINARY32, unpack64(env, a)));
}

/** CVTSS2SI, CVTPS2DQ, CVTPS2PI to 32 bits; 0x80000000 is the integer indefinite. */
export function f32ToI32(env: FloatEnv, a: number, truncate: boolean): number {
  return Number(toInteger(env, unpack32(env, a), 32, truncate ? TOWARD_ZERO : env.rounding));
}

export function f32ToI64(env: FloatEnv, a: number, truncate: boolean): bigint {
  return toInteger(env, unpack32(env, a), 64, truncate ? TOWARD_ZERO : env.rounding);
}

export function f64ToI32(env: FloatEnv, a: bigint, truncate: boolean): number {
  return Number(toInteger(env, unpack64(env, a), 32, truncate ? TOWARD_ZERO : env.rounding));
}

export function f64ToI64(env: FloatEnv, a: bigint, truncate: boolean): bigint {
  return toInteger(env, unpack64(env, a), 64, truncate ? TOWARD_ZERO : env.rounding);
}

/** From an integer of 32 or 64 bits; raises PE alone. */
export function intToF32(env: FloatEnv, value: bigint): number {
  const a = fromInteger(value);
  return a.kind === ZERO ? 0 : pack32(roundTo(env, BINARY32, a.sign, a.exp, a.sig));
}

export function intToF64(env: FloatEnv, value: bigint): bigint {
  const a = fromInteger(value);
  return a.kind === ZERO ? 0n : pack64(roundTo(env, BINARY64, a.sign, a.exp, a.sig));
}
