// Addition, multiplication, division, square root and fused multiply-add: exact on BigInt, then rounded once.
// Special cases: SDM Vol. 1, 4.8.3 and 4.9.1; priority of exceptions: 4.9.2.
import { aborted, type FloatEnv } from './float-env.ts';
import { DOWN, type Format, ZE } from './format.ts';
import { invalid, noteDenormal1, noteDenormals, propagate1, propagate2, propagate3 } from './nan.ts';
import { roundTo } from './rounding.ts';
import { bitLength, DEFAULT_NAN, INFINITE, INFINITIES, type Unpacked, ZERO, ZEROS } from './unpacked.ts';

/** Beyond this distance the smaller summand can only be a sticky bit; more than any product of two significands is long. */
const FAR = 300;

export function add(env: FloatEnv, fmt: Format, a: Unpacked, b: Unpacked): Unpacked {
  return propagate2(env, a, b) ?? sum(env, fmt, a, b, b.sign);
}

/** a - b */
export function sub(env: FloatEnv, fmt: Format, a: Unpacked, b: Unpacked): Unpacked {
  return propagate2(env, a, b) ?? sum(env, fmt, a, b, b.sign ^ 1);
}

function sum(env: FloatEnv, fmt: Format, a: Unpacked, b: Unpacked, bSign: number): Unpacked {
  if (a.kind === INFINITE && b.kind === INFINITE && a.sign !== bSign) return invalid(env);
  noteDenormals(env, a, b);
  if (aborted(env)) return DEFAULT_NAN;
  if (a.kind === INFINITE) return a;
  if (b.kind === INFINITE) return INFINITIES[bSign];
  return sumFinite(env, fmt, a.sign, a.exp, a.sig, bSign, b.exp, b.sig);
}

/** Significands may be zero. */
function sumFinite(
  env: FloatEnv,
  fmt: Format,
  aSign: number,
  aExp: number,
  aSig: bigint,
  bSign: number,
  bExp: number,
  bSig: bigint,
): Unpacked {
  if (aSig === 0n && bSig === 0n) return ZEROS[aSign === bSign ? aSign : env.rounding === DOWN ? 1 : 0];
  if (aSig === 0n) return roundTo(env, fmt, bSign, bExp, bSig);
  if (bSig === 0n) return roundTo(env, fmt, aSign, aExp, aSig);
  const distance = aExp + bitLength(aSig) - (bExp + bitLength(bSig));
  if (distance > FAR) return sumFar(env, fmt, aSign, aExp, aSig, aSign === bSign);
  if (distance < -FAR) return sumFar(env, fmt, bSign, bExp, bSig, aSign === bSign);
  const exp = Math.min(aExp, bExp);
  const x = aSig << BigInt(aExp - exp);
  const y = bSig << BigInt(bExp - exp);
  const total = (aSign ? -x : x) + (bSign ? -y : y);
  if (total === 0n) return ZEROS[env.rounding === DOWN ? 1 : 0];
  return total < 0n ? roundTo(env, fmt, 1, exp, -total) : roundTo(env, fmt, 0, exp, total);
}

function sumFar(env: FloatEnv, fmt: Format, sign: number, exp: number, sig: bigint, same: boolean): Unpacked {
  const wide = sig << BigInt(FAR);
  return roundTo(env, fmt, sign, exp - FAR, same ? wide + 1n : wide - 1n);
}

export function mul(env: FloatEnv, fmt: Format, a: Unpacked, b: Unpacked): Unpacked {
  const nan = propagate2(env, a, b);
  if (nan) return nan;
  if ((a.kind === INFINITE && b.kind === ZERO) || (a.kind === ZERO && b.kind === INFINITE)) return invalid(env);
  noteDenormals(env, a, b);
  if (aborted(env)) return DEFAULT_NAN;
  const sign = a.sign ^ b.sign;
  if (a.kind === INFINITE || b.kind === INFINITE) return INFINITIES[sign];
  if (a.kind === ZERO || b.kind === ZERO) return ZEROS[sign];
  return roundTo(env, fmt, sign, a.exp + b.exp, a.sig * b.sig);
}

/** a / b */
export function div(env: FloatEnv, fmt: Format, a: Unpacked, b: Unpacked): Unpacked {
  const nan = propagate2(env, a, b);
  if (nan) return nan;
  const sign = a.sign ^ b.sign;
  if (a.kind === b.kind && (a.kind === INFINITE || a.kind === ZERO)) return invalid(env);
  if (b.kind === ZERO && a.kind !== INFINITE) {
    env.flags |= ZE;
    return INFINITIES[sign];
  }
  noteDenormals(env, a, b);
  if (aborted(env)) return DEFAULT_NAN;
  if (a.kind === INFINITE) return INFINITIES[sign];
  if (a.kind === ZERO || b.kind === INFINITE) return ZEROS[sign];
  // At least two bits more than the format keeps, whatever the lengths of the operands.
  const shift = Math.max(0, fmt.precision + 3 + bitLength(b.sig) - bitLength(a.sig));
  const dividend = a.sig << BigInt(shift);
  let quotient = dividend / b.sig;
  if (quotient * b.sig !== dividend) quotient = (quotient << 1n) | 1n;
  else quotient <<= 1n;
  return roundTo(env, fmt, sign, a.exp - b.exp - shift - 1, quotient);
}

export function sqrt(env: FloatEnv, fmt: Format, a: Unpacked): Unpacked {
  const nan = propagate1(env, a);
  if (nan) return nan;
  if (a.kind === ZERO) return a;
  if (a.sign === 1) return invalid(env);
  noteDenormal1(env, a);
  if (aborted(env)) return DEFAULT_NAN;
  if (a.kind === INFINITE) return a;
  let shift = Math.max(0, 2 * (fmt.precision + 3) - bitLength(a.sig));
  if ((a.exp - shift) % 2 !== 0) shift++;
  const radicand = a.sig << BigInt(shift);
  const root = integerSqrt(radicand);
  const jammed = (root << 1n) | (root * root === radicand ? 0n : 1n);
  return roundTo(env, fmt, 0, (a.exp - shift) / 2 - 1, jammed);
}

/** Largest integer whose square does not exceed x, by Newton's iteration from above. */
export function integerSqrt(x: bigint): bigint {
  if (x === 0n) return 0n;
  let root = 1n << BigInt((bitLength(x) + 1) >> 1);
  for (;;) {
    const next = (root + x / root) >> 1n;
    if (next >= root) return root;
    root = next;
  }
}

/** a * b + c with one rounding. */
export function fma(env: FloatEnv, fmt: Format, a: Unpacked, b: Unpacked, c: Unpacked): Unpacked {
  const nan = propagate3(env, a, b, c);
  if (nan) return nan;
  const sign = a.sign ^ b.sign;
  if ((a.kind === INFINITE && b.kind === ZERO) || (a.kind === ZERO && b.kind === INFINITE)) return invalid(env);
  const infiniteProduct = a.kind === INFINITE || b.kind === INFINITE;
  if (infiniteProduct && c.kind === INFINITE && c.sign !== sign) return invalid(env);
  noteDenormals(env, a, b);
  noteDenormal1(env, c);
  if (aborted(env)) return DEFAULT_NAN;
  if (infiniteProduct) return INFINITIES[sign];
  if (c.kind === INFINITE) return c;
  return sumFinite(env, fmt, sign, a.exp + b.exp, a.sig * b.sig, c.sign, c.exp, c.sig);
}
