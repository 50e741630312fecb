// FSIN, FCOS, FSINCOS, FPTAN, FPATAN (SDM Vol. 2A, the table of results of each; pi: Vol. 1, 8.3.8).
import { compareMagnitude } from './compare.ts';
import { EXTENDED } from './format.ts';
import { invalid, noteDenormal1, noteDenormals, propagate1 } from './nan.ts';
import { roundTo } from './rounding.ts';
import { bitLength, DEFAULT_NAN, FINITE, INFINITE, ONE, type Unpacked, ZERO, ZEROS } from './unpacked.ts';
import { atanFixed, cosFixed, FRACTION_BITS, PI, reduceAngle, sinFixed } from './wide-functions.ts';
import { binary, cannotPush, LINEAR, missingSt0, nudged, roundFixed, topOf } from './x87-series.ts';
import { begin, C2, commit, denied, env, push, readSt, writeSt, type X87State } from './x87-state.ts';

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

function trigonometric(a: Unpacked, atZero: Unpacked, f: (a: Unpacked) => Unpacked): Unpacked {
  const nan = propagate1(env, a);
  if (nan) return nan;
  if (a.kind === INFINITE) return invalid(env);
  if (a.kind === ZERO) return atZero;
  noteDenormal1(env, a);
  return denied() ? DEFAULT_NAN : f(a);
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
    // The angle is beside the axis by less than a rounding can see.
    if (!flat) return roundFixed(y.sign, PI >> 1n);
    if (x.sign) return roundFixed(y.sign, PI);
    return smallQuotient(y, x);
  }
  const shift = under.exp - over.exp - FRACTION_BITS;
  const quotient = shift >= 0 ? over.sig / (under.sig << BigInt(shift)) : (over.sig << BigInt(-shift)) / under.sig;
  let angle = atanFixed(quotient);
  if (!flat) angle = (PI >> 1n) - angle;
  return roundFixed(y.sign, x.sign ? PI - angle : angle);
}

/** y / x where it is so small that its arctangent is the next value below. */
function smallQuotient(y: Unpacked, x: Unpacked): Unpacked {
  const shift = 160 + bitLength(x.sig) - bitLength(y.sig);
  const quotient = (y.sig << BigInt(shift)) / x.sig;
  const exact = quotient * x.sig === y.sig << BigInt(shift);
  return roundTo(env, EXTENDED, y.sign, y.exp - x.exp - shift - 1, (quotient << 1n) + (exact ? -1n : 1n));
}
