// Which NaN an operation returns, and the checks that come before computing (SDM Vol. 1, 4.8.3.5 table 4-7, 4.9.2).
import type { FloatEnv } from './float-env.ts';
import { DE, IE } from './format.ts';
import { DEFAULT_NAN, QNAN, quieted, SNAN, UNSUPPORTED, type Unpacked } from './unpacked.ts';

export function invalid(env: FloatEnv): Unpacked {
  env.flags |= IE;
  return DEFAULT_NAN;
}

/** The NaN that one operand forces, or undefined if it is a number. */
export function propagate1(env: FloatEnv, a: Unpacked): Unpacked | undefined {
  if (a.kind < QNAN) return undefined;
  if (a.kind === UNSUPPORTED) return invalid(env);
  if (a.kind === SNAN) env.flags |= IE;
  return quieted(a);
}

/** The NaN that two operands force, or undefined if both are numbers. */
export function propagate2(env: FloatEnv, a: Unpacked, b: Unpacked): Unpacked | undefined {
  if (a.kind < QNAN && b.kind < QNAN) return undefined;
  if (a.kind === UNSUPPORTED || b.kind === UNSUPPORTED) return invalid(env);
  if (a.kind === SNAN || b.kind === SNAN) env.flags |= IE;
  if (a.kind < QNAN) return quieted(b);
  if (b.kind < QNAN || !env.x87) return quieted(a);
  return quieted(chooseX87(a, b));
}

/** For FMA: the first NaN in operand order. */
export function propagate3(env: FloatEnv, a: Unpacked, b: Unpacked, c: Unpacked): Unpacked | undefined {
  if (a.kind < QNAN && b.kind < QNAN && c.kind < QNAN) return undefined;
  if (a.kind === SNAN || b.kind === SNAN || c.kind === SNAN) env.flags |= IE;
  return quieted(a.kind >= QNAN ? a : b.kind >= QNAN ? b : c);
}

/** A QNaN before an SNaN, else the larger significand, else the positive one. */
function chooseX87(a: Unpacked, b: Unpacked): Unpacked {
  if (a.kind !== b.kind) return a.kind === QNAN ? a : b;
  if (a.sig !== b.sig) return a.sig > b.sig ? a : b;
  return a.sign === 0 ? a : b;
}

export function noteDenormal1(env: FloatEnv, a: Unpacked): void {
  if (a.denormal) env.flags |= DE;
}

export function noteDenormals(env: FloatEnv, a: Unpacked, b: Unpacked): void {
  if (a.denormal || b.denormal) env.flags |= DE;
}
