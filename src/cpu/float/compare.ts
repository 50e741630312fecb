// Ordering of two numbers, quiet (SNaN is invalid) or signaling (any NaN is), SDM Vol. 1, 4.9.1.1 and 8.3.6.
import type { FloatEnv } from './float-env.ts';
import { IE } from './format.ts';
import { noteDenormals } from './nan.ts';
import { bitLength, INFINITE, QNAN, SNAN, UNSUPPORTED, type Unpacked, ZERO } from './unpacked.ts';

export const LESS = -1;
export const EQUAL = 0;
export const GREATER = 1;
export const UNORDERED = 2;

/** Relation of a to b; raises IE and DE. */
export function compare(env: FloatEnv, a: Unpacked, b: Unpacked, signaling: boolean): number {
  if (a.kind >= QNAN || b.kind >= QNAN) {
    const bad = signaling || a.kind >= SNAN || b.kind >= SNAN;
    if (bad || a.kind === UNSUPPORTED || b.kind === UNSUPPORTED) env.flags |= IE;
    return UNORDERED;
  }
  noteDenormals(env, a, b);
  return order(a, b);
}

/** Relation of two values that are no NaNs. */
export function order(a: Unpacked, b: Unpacked): number {
  if (a.kind === ZERO) return b.kind === ZERO ? EQUAL : b.sign ? GREATER : LESS;
  if (b.kind === ZERO) return a.sign ? LESS : GREATER;
  if (a.sign !== b.sign) return a.sign ? LESS : GREATER;
  const magnitude = compareMagnitude(a, b);
  return magnitude === 0 ? EQUAL : magnitude < 0 === (a.sign === 0) ? LESS : GREATER;
}

/** Negative, 0 or positive for |a| against |b|; both are not zero and no NaNs. */
export function compareMagnitude(a: Unpacked, b: Unpacked): number {
  if (a.kind === INFINITE || b.kind === INFINITE) return a.kind - b.kind;
  const byTop = a.exp + bitLength(a.sig) - (b.exp + bitLength(b.sig));
  if (byTop !== 0) return byTop;
  const exp = Math.min(a.exp, b.exp);
  const x = a.sig << BigInt(a.exp - exp);
  const y = b.sig << BigInt(b.exp - exp);
  return x < y ? -1 : x > y ? 1 : 0;
}
