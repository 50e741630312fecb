// F2XM1, FYL2X, FYL2XP1 (SDM Vol. 2A, the table of results of each).
import { EXTENDED, UE, ZE } from './format.ts';
import { invalid, noteDenormal1, noteDenormals, propagate1 } from './nan.ts';
import { roundTo } from './rounding.ts';
import {
  bitLength,
  DEFAULT_NAN,
  FINITE,
  finite,
  INFINITE,
  INFINITIES,
  ONE,
  type Unpacked,
  withSign,
  ZERO,
  ZEROS,
} from './unpacked.ts';
import {
  exp2MinusOneFixed,
  FRACTION_BITS,
  LN2,
  LOG2E,
  log2Fixed,
  logOnePlusFixed,
  ONE_FIXED,
  toFixed,
} from './wide-functions.ts';
import { binary, inexactly, missingSt0, roundFixed, topOf } from './x87-series.ts';
import { begin, commit, denied, env, readSt, writeSt, type X87State } from './x87-state.ts';

export function f2xm1(s: X87State): void {
  begin(s);
  if (missingSt0(s)) return;
  const result = exp2MinusOne(readSt(s, 0));
  if (commit(s)) writeSt(s, 0, result);
}

/** Outside [-1, 1] the manual leaves the result open: here ST(0) stays what it was, save for infinities. */
function exp2MinusOne(a: Unpacked): Unpacked {
  const nan = propagate1(env, a);
  if (nan) return nan;
  if (a.kind === ZERO) return a;
  if (a.kind === INFINITE) return a.sign ? withSign(ONE, 1) : a;
  noteDenormal1(env, a);
  if (denied()) return DEFAULT_NAN;
  const top = topOf(a);
  if (top >= 0) {
    if (a.sig !== 1n << BigInt(bitLength(a.sig) - 1) || top > 0) return a;
    return inexactly(a.sign ? finite(1, -1, 1n) : ONE);
  }
  if (top < -120) return roundTo(env, EXTENDED, a.sign, a.exp - FRACTION_BITS, a.sig * LN2);
  const x = toFixed(a.exp, a.sig);
  return roundFixed(0, exp2MinusOneFixed(a.sign ? -x : x));
}

export function fyl2x(s: X87State): void {
  binary(s, yLog2X);
}

function yLog2X(y: Unpacked, x: Unpacked): Unpacked {
  if (x.kind !== ZERO && x.sign === 1) return invalid(env);
  if (x.kind === ZERO) {
    if (y.kind === ZERO) return invalid(env);
    if (y.kind === FINITE) env.flags |= ZE;
    return INFINITIES[y.sign ^ 1];
  }
  const one = x.kind === FINITE && topOf(x) === 0 && x.sig === 1n << BigInt(-x.exp);
  if (y.kind === INFINITE && one) return invalid(env);
  if (y.kind === ZERO && x.kind === INFINITE) return invalid(env);
  noteDenormals(env, y, x);
  if (denied()) return DEFAULT_NAN;
  if (one) return ZEROS[y.sign];
  const sign = y.sign ^ (x.kind === FINITE && topOf(x) < 0 ? 1 : 0);
  if (y.kind === INFINITE || x.kind === INFINITE) return INFINITIES[sign];
  if (y.kind === ZERO) return ZEROS[sign];
  return timesY(y, log2Fixed(x.exp, x.sig));
}

/** y times a fixed-point logarithm, which is exact only if it is an integer. */
function timesY(y: Unpacked, log: bigint): Unpacked {
  const exact = (log & (ONE_FIXED - 1n)) === 0n;
  const magnitude = log < 0n ? -log : log;
  const product = y.sig * (exact ? magnitude : magnitude | 1n);
  const result = roundTo(env, EXTENDED, y.sign ^ (log < 0n ? 1 : 0), y.exp - FRACTION_BITS, product);
  if (exact && result.kind === FINITE && topOf(result) < EXTENDED.emin) env.flags |= UE;
  return inexactly(result);
}

export function fyl2xp1(s: X87State): void {
  binary(s, yLog2XPlus1);
}

/** Beyond the documented -(1 - sqrt(2)/2) to sqrt(2) - 1 the same function goes on; from -1 down it is invalid. */
function yLog2XPlus1(y: Unpacked, x: Unpacked): Unpacked {
  const top = x.kind === FINITE ? topOf(x) : 0;
  if (x.sign === 1 && (x.kind === INFINITE || (x.kind === FINITE && top >= 0))) return invalid(env);
  if (y.kind === INFINITE && x.kind === ZERO) return invalid(env);
  if (y.kind === ZERO && x.kind === INFINITE) return invalid(env);
  noteDenormals(env, y, x);
  if (denied()) return DEFAULT_NAN;
  const sign = y.sign ^ x.sign;
  if (y.kind === INFINITE || x.kind === INFINITE) return INFINITIES[sign];
  if (y.kind === ZERO || x.kind === ZERO) return ZEROS[sign];
  if (top < -120) return roundTo(env, EXTENDED, sign, y.exp + x.exp - FRACTION_BITS, y.sig * x.sig * LOG2E);
  if (top > 200) return timesY(y, log2Fixed(x.exp, x.sig));
  const fixed = toFixed(x.exp, x.sig);
  if (top < -2) {
    const log = (logOnePlusFixed(x.sign ? -fixed : fixed) * LOG2E) >> BigInt(FRACTION_BITS);
    return timesY(y, log);
  }
  return timesY(y, log2Fixed(-FRACTION_BITS, ONE_FIXED + (x.sign ? -fixed : fixed)));
}
