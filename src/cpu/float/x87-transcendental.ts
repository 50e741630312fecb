// FSIN, FCOS, FSINCOS, FPTAN, FPATAN, F2XM1, FYL2X, FYL2XP1: special cases (SDM Vol. 2A, the tables of each) and final rounding.

import { compareMagnitude } from './compare.ts';
import { EXTENDED, PE, UE, ZE } from './format.ts';
import { invalid, noteDenormal1, noteDenormals, propagate1, propagate2 } from './nan.ts';
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
  atanFixed,
  cosFixed,
  exp2MinusOneFixed,
  FRACTION_BITS,
  LN2,
  LOG2E,
  log2Fixed,
  logOnePlusFixed,
  ONE_FIXED,
  PI,
  reduceAngle,
  sinFixed,
  toFixed,
} from './wide-functions.ts';
import {
  begin,
  C2,
  commit,
  denied,
  env,
  isEmpty,
  pop,
  push,
  readSt,
  stackFault,
  writeSt,
  type X87State,
} from './x87-state.ts';

/** Exponent of the leading bit. */
function topOf(a: Unpacked): number {
  return a.exp + bitLength(a.sig) - 1;
}

/** Below this exponent a function is its first term, give or take less than any rounding sees. */
const LINEAR = -70;
const JAM_BITS = 80;

/** sig * 2^exp, moved by less than a rounding can see: `direction` 1 away from zero, -1 toward it. */
function nudged(sign: number, exp: number, sig: bigint, direction: number): Unpacked {
  return roundTo(env, EXTENDED, sign, exp - JAM_BITS, (sig << BigInt(JAM_BITS)) + BigInt(direction));
}

/** Rounds a fixed-point value that is irrational, or cut off. */
function roundFixed(sign: number, value: bigint): Unpacked {
  const magnitude = value < 0n ? -value : value;
  return roundTo(env, EXTENDED, value < 0n ? sign ^ 1 : sign, -FRACTION_BITS, magnitude | 1n);
}

function sine(a: Unpacked): Unpacked {
  if (topOf(a) < LINEAR) return nudged(a.sign, a.exp, a.sig, -1);
  const { quadrant, rest } = reduceAngle(a.exp, a.sig);
  const value = quadrant & 1 ? cosFixed(rest) : sinFixed(rest);
  return roundFixed(a.sign ^ (quadrant >> 1), value);
}

function cosine(a: Unpacked): Unpacked {
  if (topOf(a) < LINEAR) return nudged(0, 0, 1n, -1);
  const { quadrant, rest } = reduceAngle(a.exp, a.sig);
  const value = quadrant & 1 ? sinFixed(rest) : cosFixed(rest);
  return roundFixed(quadrant === 1 || quadrant === 2 ? 1 : 0, value);
}

function tangent(a: Unpacked): Unpacked {
  if (topOf(a) < LINEAR) return nudged(a.sign, a.exp, a.sig, 1);
  const { quadrant, rest } = reduceAngle(a.exp, a.sig);
  const sin = sinFixed(rest);
  const cos = cosFixed(rest);
  const [over, under] = quadrant & 1 ? [-cos, sin] : [sin, cos];
  const sign = a.sign ^ (over < 0n !== under < 0n ? 1 : 0);
  const quotient = ((over < 0n ? -over : over) << BigInt(FRACTION_BITS)) / (under < 0n ? -under : under);
  return roundFixed(sign, quotient);
}

function beginTrigonometric(s: X87State): void {
  begin(s);
  s.fsw &= ~C2;
}

/** FSIN, FCOS and FPTAN refuse arguments from 2^63 on: C2 is set and nothing else happens. */
function outOfRange(s: X87State, a: Unpacked): boolean {
  if (a.kind !== FINITE || topOf(a) < 63) return false;
  s.fsw |= C2;
  return true;
}

/** Processors flag PE also for the few results that are exact. */
function inexactly(value: Unpacked): Unpacked {
  env.flags |= PE;
  return value;
}

function trigonometric(a: Unpacked, atZero: Unpacked, f: (a: Unpacked) => Unpacked): Unpacked {
  const nan = propagate1(env, a);
  if (nan) return nan;
  if (a.kind === INFINITE) return invalid(env);
  if (a.kind === ZERO) return atZero;
  noteDenormal1(env, a);
  return denied() ? DEFAULT_NAN : f(a);
}

function missingSt0(s: X87State): boolean {
  if (!isEmpty(s, 0)) return false;
  if (stackFault(s, false)) writeSt(s, 0, DEFAULT_NAN);
  return true;
}

export function fsin(s: X87State): void {
  beginTrigonometric(s);
  if (missingSt0(s)) return;
  const a = readSt(s, 0);
  if (outOfRange(s, a)) return;
  const result = trigonometric(a, a, sine);
  if (commit(s)) writeSt(s, 0, result);
}

export function fcos(s: X87State): void {
  beginTrigonometric(s);
  if (missingSt0(s)) return;
  const a = readSt(s, 0);
  if (outOfRange(s, a)) return;
  const result = trigonometric(a, ONE, cosine);
  if (commit(s)) writeSt(s, 0, result);
}

/** An instruction that replaces ST(0) and pushes found no operand or no room. */
function cannotPush(s: X87State): boolean {
  const underflow = isEmpty(s, 0);
  if (!underflow && isEmpty(s, 7)) return false;
  if (stackFault(s, !underflow)) {
    writeSt(s, 0, DEFAULT_NAN);
    push(s, DEFAULT_NAN);
  }
  return true;
}

export function fsincos(s: X87State): void {
  beginTrigonometric(s);
  if (cannotPush(s)) return;
  const a = readSt(s, 0);
  if (outOfRange(s, a)) return;
  const sin = trigonometric(a, a, sine);
  const cos = trigonometric(a, ONE, cosine);
  if (!commit(s)) return;
  writeSt(s, 0, sin);
  push(s, cos);
}

export function fptan(s: X87State): void {
  beginTrigonometric(s);
  if (cannotPush(s)) return;
  const a = readSt(s, 0);
  if (outOfRange(s, a)) return;
  const tan = trigonometric(a, a, tangent);
  if (!commit(s)) return;
  writeSt(s, 0, tan);
  // A NaN is pushed again in place of the 1.
  push(s, tan.kind > INFINITE ? tan : ONE);
}

/** Runs a function of ST(1) and ST(0) that leaves its result in ST(1) and pops. */
function binary(s: X87State, f: (y: Unpacked, x: Unpacked) => Unpacked): void {
  begin(s);
  if (isEmpty(s, 0) || isEmpty(s, 1)) {
    if (!stackFault(s, false)) return;
    writeSt(s, 1, DEFAULT_NAN);
  } else {
    const y = readSt(s, 1);
    const x = readSt(s, 0);
    const result = propagate2(env, y, x) ?? f(y, x);
    if (!commit(s)) return;
    writeSt(s, 1, result);
  }
  pop(s);
}

export function fpatan(s: X87State): void {
  binary(s, arctangent);
}

/** eighths * pi / 8 */
function partOfPi(sign: number, eighths: bigint): Unpacked {
  return roundFixed(sign, (PI * eighths) >> 3n);
}

function arctangent(y: Unpacked, x: Unpacked): Unpacked {
  noteDenormals(env, y, x);
  if (denied()) return DEFAULT_NAN;
  if (y.kind === INFINITE) return partOfPi(y.sign, x.kind !== INFINITE ? 4n : x.sign ? 6n : 2n);
  if (y.kind === ZERO || x.kind === INFINITE) return x.sign ? partOfPi(y.sign, 8n) : ZEROS[y.sign];
  if (x.kind === ZERO) return partOfPi(y.sign, 4n);

  const flat = compareMagnitude(y, x) <= 0;
  const [over, under] = flat ? [y, x] : [x, y];
  const distance = topOf(over) - topOf(under);
  if (distance < LINEAR) {
    if (!flat) return nudged(y.sign, -FRACTION_BITS, PI >> 1n, 0);
    if (x.sign) return roundFixed(y.sign, PI - 1n);
    return smallQuotient(y, x);
  }
  const shift = under.exp - over.exp - FRACTION_BITS;
  const quotient = shift >= 0 ? over.sig / (under.sig << BigInt(shift)) : (over.sig << BigInt(-shift)) / under.sig;
  let angle = atanFixed(quotient);
  if (!flat) angle = (PI >> 1n) - angle;
  return roundFixed(y.sign, x.sign ? (flat ? PI - angle : PI - angle) : angle);
}

/** y / x where it is so small that its arctangent is the next value below. */
function smallQuotient(y: Unpacked, x: Unpacked): Unpacked {
  const shift = 160 + bitLength(x.sig) - bitLength(y.sig);
  const quotient = (y.sig << BigInt(shift)) / x.sig;
  const exact = quotient * x.sig === y.sig << BigInt(shift);
  return roundTo(env, EXTENDED, y.sign, y.exp - x.exp - shift - 1, (quotient << 1n) + (exact ? -1n : 1n));
}

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
